//! The `sse-bench` command.

mod pages;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use bench::report::{self, Report};
use bench::run::{self, Profile};
use bench::{attack, bus, chaos, cost, servers, site, soak};
use clap::{CommandFactory, Parser, Subcommand};
use conform::report::{Paint, complain};

/// The harness could not do what it was asked to.
const EXIT_COULD_NOT_RUN: u8 = 2;

/// The harness does not find known truths.
const EXIT_SELF_CHECK: u8 = 3;

/// Checks and measures servers of Server-Sent Events.
///
/// Without a subcommand it does the main job: it builds every server of the workspace, checks that
/// each conforms, measures what each costs, prints a table, and writes a report.
#[derive(Parser)]
#[command(name = "sse-bench", version, propagate_version = true)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  sse-bench                                  our servers, in under 4 minutes
  sse-bench run --servers axum,poem          two of them
  sse-bench run --servers all                and those of other ecosystems
  sse-bench run --profile standard           more rounds, tighter ranges
  sse-bench conform server http://HOST/PATH  does a server keep the rules?
  sse-bench servers list                     the servers that have a name
  sse-bench load http://HOST/PATH            100 open streams: rate, latency
  sse-bench attack axum                      do crowds and floods break it?
  sse-bench chaos --brokers 3                does a cluster lose messages?
  sse-bench bus axum --quick                 how much does a broker cost?
  sse-bench soak --release                   is anything left after an hour?
  sse-bench cost axum                        where do instructions go?
  sse-bench report --splice README.md DIR    put a summary into a document
  sse-bench compare DIR DIR                  is the second better or worse?
  sse-bench site --out DIR                   all verdicts and figures as pages

Exit codes:
  0  all as expected
  1  an unexpected result
  2  could not run
  3  self-check failed")]
struct Cli {
    #[command(flatten)]
    run: run::Args,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Build, check and measure the servers; write a report (default)
    #[command(after_help = "\
Examples:
  sse-bench run --servers axum,poem
  sse-bench run --profile standard --out target/standard
  sse-bench run --servers peers    other ecosystems: broadcast and idle memory
  sse-bench run --servers axum,node-http,go-nethttp --out target/three

Exit codes:
  0  all as expected
  1  an unexpected result
  2  could not run
  3  self-check failed")]
    Run(run::Args),
    /// Check whether a server, a cluster or a client conforms
    #[command(subcommand)]
    Conform(Conform),
    /// Hold many streams of any server open, and count the events
    Load(Box<load::Args>),
    /// Attack the servers with crowds, floods and nonsense
    Attack(attack::Args),
    /// Kill nodes and brokers under readers, and look for lost messages
    Chaos(chaos::Args),
    /// Measure what a broker between the nodes costs
    Bus(bus::Args),
    /// Load servers for an hour: is a message lost, does memory grow?
    Soak(soak::Args),
    /// Count the instructions of one delivered event, by layer
    Cost(cost::Args),
    /// List the named servers, or install those of other ecosystems
    #[command(subcommand)]
    Servers(servers::Command),
    /// List cases, rules, servers or workloads
    #[command(subcommand)]
    List(List),
    /// Render a report again, or put its summary into a document
    #[command(after_help = "\
Examples:
  sse-bench report target/sse-bench/2026-11-29T124048Z
  sse-bench report --splice README.md bench/results/DATE-HOST")]
    Report(ReportArgs),
    /// Compare two reports, with intervals; more reports give a trend
    Compare(report::compare::Args),
    /// Make a static site of all verdicts and figures that are kept
    Site(site::Args),
    /// Print completions for a shell
    #[command(after_help = "\
Examples:
  source <(sse-bench completions bash)
  sse-bench completions zsh > ~/.zfunc/_sse-bench
  sse-bench completions fish > ~/.config/fish/completions/sse-bench.fish")]
    Completions {
        /// The shell
        shell: pages::Known,
    },
    /// Print the manual page, or write one for each subcommand
    #[command(after_help = "\
Examples:
  sse-bench man | man -l -
  sse-bench man --directory ~/.local/share/man/man1")]
    Man(pages::ManArgs),
    /// Serve the physical floor: the least that a server on this host can cost
    #[command(hide = true)]
    Floor(load::floor::Args),
}

#[derive(Subcommand)]
enum Conform {
    /// Check any server by URL, or those that have a name
    Server(Box<conform::ServerArgs>),
    /// Check whether several nodes behave like one server
    Cluster(Box<conform::cluster::ClusterArgs>),
    /// Check a client: a command, a test service, or a browser
    Client(Box<conform::ClientArgs>),
    /// Merge the JSON files of several runs into one matrix
    Report(conform::ReportArgs),
}

#[derive(Subcommand)]
enum List {
    /// The cases of the conformance suite
    #[command(after_help = "\
Examples:
  sse-bench list cases | grep S5    those about timing
  sse-bench list cases --json \\
    | jq '.cases[] | select(.level == \"MUST\") | .claim'")]
    Cases(conform::ListArgs),
    /// The rules of the standards, and the cases that check each
    #[command(after_help = "\
Examples:
  sse-bench list rules | grep ^D    those of HTTP
  sse-bench list rules --json \\
    | jq '.rules[] | select(.cases == []) | {id, reason}'")]
    Rules(conform::ListArgs),
    /// The servers of this repository (all: sse-bench servers list)
    #[command(after_help = "Examples:\n  sse-bench list servers --json | jq -r '.[].name'")]
    Servers {
        /// Write the list as JSON
        #[arg(long)]
        json: bool,
    },
    /// The workloads and the questions that they answer
    #[command(after_help = "Examples:\n  sse-bench list workloads --json | jq -r '.[].question'")]
    Workloads {
        /// Write the list as JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
struct ReportArgs {
    /// The folder that a run wrote
    folder: PathBuf,
    /// Replace the text between the `sse-bench report` markers of this document by a narrow table
    #[arg(long, value_name = "FILE")]
    splice: Option<PathBuf>,
    /// With --splice: files of `conform server --json`, whose counts of failed cases go into the table
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "splice")]
    verdicts: Vec<PathBuf>,
    /// Print every column of the tables, however narrow the terminal is
    #[arg(long)]
    wide: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command.unwrap_or(Command::Run(cli.run)) {
        Command::Run(args) => run::run(&args),
        Command::Conform(Conform::Server(args)) => conform::run_server(&args),
        Command::Conform(Conform::Cluster(args)) => conform::cluster::run_cluster(&args),
        Command::Conform(Conform::Client(args)) => conform::run_client(&args),
        Command::Conform(Conform::Report(args)) => conform::merge_reports(&args),
        Command::Load(args) => load::run(&args, report::load_page),
        Command::Attack(args) => attack::run(&args),
        Command::Chaos(args) => chaos::run(&args),
        Command::Bus(args) => bus::run(&args),
        Command::Soak(args) => soak::run(&args),
        Command::Cost(args) => cost::run(&args),
        Command::Servers(command) => servers::run(&command),
        Command::List(list) => print_list(&list),
        Command::Report(args) => print_report(&args),
        Command::Compare(args) => report::compare::run(&args),
        Command::Site(args) => site::run(&args),
        Command::Completions { shell } => pages::completions(Cli::command(), shell),
        Command::Man(args) => pages::man(Cli::command(), &args),
        Command::Floor(args) => load::floor::serve(&args).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        // `sse-bench list cases | head` has seen enough; that is no failure.
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if kind == Some(io::ErrorKind::BrokenPipe) {
            return ExitCode::SUCCESS;
        }
        complain(&format!("{error:#}"));
        let is_untrue = error.is::<load::Untrue>();
        ExitCode::from(if is_untrue { EXIT_SELF_CHECK } else { EXIT_COULD_NOT_RUN })
    })
}

fn print_list(list: &List) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    match list {
        List::Cases(args) => conform::list_cases(args)?,
        List::Rules(args) => conform::list_rules(args)?,
        List::Servers { json } => {
            let packages = fleet::discover()?;
            if *json {
                writeln!(out, "{}", serde_json::to_string_pretty(&packages)?)?;
            } else {
                for it in &packages {
                    let encodings = it.encodings.join(", ");
                    let framework = format!("{} {}", it.framework, it.framework_version);
                    writeln!(out, "{:<14} {framework:<22} {encodings}", it.short_name())?;
                }
            }
        }
        List::Workloads { json } => {
            let mut profiles = Profile::all();
            // A workload of several is shown as standard has it.
            profiles.rotate_left(1);
            let mut workloads: Vec<load::Workload> = Vec::new();
            for it in profiles.into_iter().flat_map(|it| it.workloads) {
                if !workloads.iter().any(|known| known.name == it.name) {
                    workloads.push(it);
                }
            }
            if *json {
                writeln!(out, "{}", serde_json::to_string_pretty(&workloads)?)?;
            } else {
                for it in &workloads {
                    let lead = format!("{:<25} ", it.name);
                    out.write_all(
                        Paint::for_stdout().hang(&lead, lead.len(), &it.question).as_bytes(),
                    )?;
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_report(args: &ReportArgs) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    let mut report = Report::load(&args.folder)?;
    report.summarise();
    let Some(document) = &args.splice else {
        report.render(&args.folder)?;
        write!(out, "{}", report::text(&report, Paint::for_stdout(), args.wide))?;
        return Ok(ExitCode::SUCCESS);
    };
    let shown = document.display();
    let old = std::fs::read_to_string(document).with_context(|| format!("cannot read {shown}"))?;
    let mut arguments = format!("--splice {shown} {}", args.folder.display());
    let mut verdicts = Vec::new();
    if !args.verdicts.is_empty() {
        arguments += &format!(" --verdicts {}", conform::folder_or_files(&args.verdicts));
        verdicts = conform::report::Document::read(&args.verdicts)?.runs;
    }
    let text = report::headline_markdown(&report, &verdicts);
    let new = conform::splice(&old, "sse-bench report", &arguments, &text)
        .with_context(|| format!("cannot splice into {shown}"))?;
    std::fs::write(document, new).with_context(|| format!("cannot write {shown}"))?;
    writeln!(out, "{shown}: the summary of {} is in", args.folder.display())?;
    Ok(ExitCode::SUCCESS)
}
