//! `sse-bench bus`: what does a broker between the nodes cost?
//!
//! The same server is measured with its topics in memory and on NATS JetStream, on one node and on two, in rounds that
//! visit all of them in a balanced random order. Each window has a fresh broker and fresh nodes. Only ratios within a
//! run mean anything. A window in which an event is lost, doubled or out of order, or the rate is not held, is void, and
//! fails the run.

mod fan_out;
mod publishing;
mod report;
mod stage;
mod topics;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use anyhow::{Context, Result, ensure};
use conform::report::complain;
use fleet::{Launch, Servers};
use load::stats;
use serde::{Deserialize, Serialize};

pub use self::report::{Line, Report, Window};
use self::stage::Stage;
use crate::outputs::{Document, Outputs};
use crate::report::{Environment, Generator};
use crate::run::gate::{self, ATTEMPTS_MAX, Gate, REPEATED_SHARE_MAX};
use crate::run::progress::Progress;
use crate::run::window::Cores;
use crate::{broker, chaos};

/// A window was void.
const EXIT_VOID: u8 = 1;
/// The ledger does not see what is planted into it.
const EXIT_SELF_CHECK: u8 = 3;

/// The markers in a document.
const COMMAND: &str = "sse-bench bus";

/// Which server, and how much.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Release builds of one server with the feature nats are measured: as one node with topics in \
memory, as one node on JetStream, and as two nodes on it.
  publish  1 and 16 publishers on kept connections; each sends a message when
           the one before is acknowledged
  fan-out  a message each 40 ms for all readers; each of two nodes has half of
           them
  memory   of a node without topics, and with one event in each of 1000 topics

Broker and nodes share one core, and the load has another one: two nodes share the work here, and \
not the time for it. A ratio is taken within a round, and its 95 % interval stands in brackets. A \
lost, doubled or misordered event makes a window void, and so does a rate that is not held.

Examples:
  sse-bench bus axum --quick                           three rounds, a minute
  sse-bench bus --from DIR/bus.json --splice GUIDE.md  tables of an earlier run
  sse-bench bus --json DIR/bus.json --md DIR/README.md --splice GUIDE.md

Ctrl-C ends the run early and prints the results so far.

Exit codes:
  0  measured
  1  a window was void
  2  could not run
  3  self-check failed")]
pub struct Args {
    /// A server of this repository, by name or folder
    #[arg(default_value = "axum", value_name = "SERVER")]
    server: String,
    /// Measure so many rounds
    #[arg(long, value_name = "NUMBER", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Measure three rounds
    #[arg(long, conflicts_with = "rounds")]
    quick: bool,
    /// Readers of the fan-out
    #[arg(long, value_name = "NUMBER", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(2..=10_000))]
    readers: u64,
    /// Seed of the order of measurement
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Start debug builds of the server: to try the command
    #[arg(long)]
    debug: bool,
    /// Build nothing: the program of the server is in this folder, with the feature nats
    #[arg(long, value_name = "FOLDER", conflicts_with = "debug")]
    programs: Option<PathBuf>,
    /// The broker's program [default: nats-server of the PATH, or the one that ./test.sh unpacks]
    #[arg(long, value_name = "FILE")]
    nats_server: Option<PathBuf>,
    /// Measure nothing, and take the JSON of an earlier run
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Where the results go
    #[command(flatten)]
    outputs: Outputs,
    /// Replace the text between the `sse-bench bus` markers of this document by the table
    #[arg(long, help_heading = "Output", value_name = "FILE")]
    splice: Option<PathBuf>,
}

/// The server that is measured.
#[derive(Debug, Clone, Default)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// How a node is started; it knows `--bus`.
    pub launch: Launch,
    /// The broker's program.
    pub nats_server: PathBuf,
}

/// The nodes of a window, and their bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Setup {
    /// One node, its topics in memory.
    Memory,
    /// One node on JetStream.
    OneNode,
    /// Two of them.
    TwoNodes,
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Setup::Memory => "in memory",
            Setup::OneNode => "on JetStream",
            Setup::TwoNodes => "on two nodes",
        })
    }
}

/// The work of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Publishers that wait for each acknowledgement.
    Publish {
        /// How many.
        publishers: u64,
        /// Messages that count, of all of them.
        messages: u64,
    },
    /// Readers of one topic.
    FanOut {
        /// Readers on all nodes.
        subscribers: u64,
        /// Messages that count.
        messages: u64,
        /// Between two of them, microseconds.
        interval_us: u64,
    },
    /// Topics with an event in each.
    Topics {
        /// How many.
        topics: u64,
    },
}

/// How much is measured.
#[derive(Debug, Clone)]
pub struct Size {
    /// The work of each round, with each setup that can do it.
    pub tasks: Vec<Task>,
    /// Rounds.
    pub rounds: u32,
    /// Gives the order.
    pub seed: u64,
}

/// The figures of a window, each with what it is of.
#[derive(Debug, Default)]
struct Measured {
    figures: Vec<(String, f64)>,
    /// The part of the time in which the load used its core.
    load_share: f64,
    /// Why it does not count.
    void: Option<String>,
}

impl Setup {
    fn has_broker(self) -> bool {
        self != Setup::Memory
    }

    fn nodes(self) -> usize {
        if self == Setup::TwoNodes { 2 } else { 1 }
    }
}

impl Task {
    /// The setups that are compared under it.
    fn setups(self) -> &'static [Setup] {
        match self {
            Task::FanOut { .. } => &[Setup::Memory, Setup::OneNode, Setup::TwoNodes],
            // The second node has no part in it.
            Task::Publish { .. } | Task::Topics { .. } => &[Setup::Memory, Setup::OneNode],
        }
    }

    /// The name of a figure of it.
    fn label(self, figure: &str) -> String {
        match self {
            Task::Publish { publishers, .. } => format!("publish by {publishers}: {figure}"),
            Task::FanOut { subscribers, .. } => format!("fan-out to {subscribers}: {figure}"),
            Task::Topics { topics } => format!("{topics} topics: {figure}"),
        }
    }

    fn connections(self) -> u64 {
        match self {
            Task::Publish { publishers, .. } => publishers,
            Task::FanOut { subscribers, .. } => subscribers,
            Task::Topics { topics } => topics,
        }
    }
}

impl Size {
    /// All tasks at their full size.
    pub fn full(readers: u64, rounds: u32, seed: u64) -> Size {
        let tasks = vec![
            Task::Publish { publishers: 1, messages: 2000 },
            Task::Publish { publishers: 16, messages: 8000 },
            Task::FanOut { subscribers: readers, messages: 25, interval_us: 40_000 },
            Task::Topics { topics: 1000 },
        ];
        Size { tasks, rounds, seed }
    }
}

/// Measures and prints a table.
///
/// # Errors
/// When there is no such server or broker, one does not start, or a file cannot be written.
pub fn run(args: &Args) -> Result<ExitCode> {
    // Before minutes are spent.
    let document = args.splice.as_deref().map(|it| Document::read(it, COMMAND)).transpose()?;
    if let Err(words) = chaos::self_check() {
        complain(&format!("the ledger does not see what is planted: {words}"));
        return Ok(ExitCode::from(EXIT_SELF_CHECK));
    }
    let report = match &args.from {
        Some(file) => Report::read(file)?,
        None => measured(args)?,
    };
    args.outputs.publish(&report, &report.text(), &report.markdown())?;
    match document {
        Some(_) if report.interrupted || report.is_void() => {
            eprintln!(
                "sse-bench: the run is not whole, so the document keeps the tables that it has"
            );
        }
        Some(document) => document.splice(&report.section())?,
        None => {}
    }
    Ok(ExitCode::from(if report.is_void() { EXIT_VOID } else { 0 }))
}

fn measured(args: &Args) -> Result<Report> {
    let began = jiff::Timestamp::now();
    let packages = Servers::named(&[&args.server])?.only_ours()?;
    let [package] = packages.as_slice() else { anyhow::bail!("name one server") };
    let rounds = if args.quick { 3 } else { args.rounds };
    let size = Size::full(args.readers, rounds, args.seed);
    let open_files = enough_fds(&size)?;
    let nats_server = broker::program(args.nats_server.as_deref())?;
    let broker = broker::version(&nats_server)?;
    let mut progress = Progress::new();
    let binary = match &args.programs {
        Some(folder) => folder.join(&package.name),
        None => {
            progress.hand_over(&format!("build {} with the feature nats", package.name));
            fleet::build_with(package, &["nats"], !args.debug)?
        }
    };
    ensure!(binary.is_file(), "there is no {}", binary.display());
    let name = package.short_name().to_owned();
    let launch = package.launch(&binary, "shared");
    let subject = Subject { name: name.clone(), launch, nats_server };
    let build = match (&args.programs, args.debug) {
        (Some(_), _) => "given",
        (None, true) => "debug",
        (None, false) => "release",
    };
    let environment = Environment::read(open_files, fleet::allowed_cores()?.len());
    let cancel = fleet::stopped_by_signals()?;
    let windows = measure(&subject, &size, &cancel, |words| progress.say(words))?;
    progress.end();
    let framework = format!("{} {}", package.framework, package.framework_version);
    Ok(Report {
        began: format!("{began:.0}"),
        command: command(args),
        server: name,
        framework,
        broker,
        build: build.to_owned(),
        interrupted: cancel.load(Relaxed),
        environment,
        ..Report::of(windows)
    })
}

/// Measures all rounds, until all is done or interrupted.
///
/// # Errors
/// When a broker or a node does not start, or one does not answer.
pub fn measure(
    subject: &Subject,
    size: &Size,
    cancel: &AtomicBool,
    mut say: impl FnMut(&str),
) -> Result<Vec<Window>> {
    let (cores, note) = Cores::choose();
    note.iter().for_each(|it| say(it));
    let turns: Vec<(Task, Setup)> =
        size.tasks.iter().flat_map(|task| task.setups().iter().map(|it| (*task, *it))).collect();
    let mut random = fastrand::Rng::with_seed(size.seed);
    let orders = stats::balanced(turns.len(), size.rounds as usize, &mut random);
    let mut repeats = (f64::from(size.rounds) * turns.len() as f64 * REPEATED_SHARE_MAX) as u32;
    let mut windows = Vec::new();
    for (round, order) in (1..).zip(orders) {
        say(&format!("round {round} of {}", size.rounds));
        for (task, setup) in order.into_iter().map(|it| turns[it]) {
            let mut attempt = 1;
            let window = loop {
                let window = window(subject, task, setup, &cores);
                if cancel.load(Relaxed) {
                    // Ctrl-C in a terminal may have ended a part of it.
                    return Ok(windows);
                }
                let window = Window { round, ..window? };
                // No busy host loses an event that is waited for; a fan-out may end before it comes.
                let is_lost = window.void.is_some() && !matches!(task, Task::FanOut { .. });
                let is_last = attempt == ATTEMPTS_MAX || repeats == 0;
                if is_lost || window.disturbed.is_none() || is_last {
                    break window;
                }
                (attempt, repeats) = (attempt + 1, repeats - 1);
            };
            if let Some(why) = &window.void {
                say(&format!("round {round}, {}, {setup}: VOID: {why}", task.label("all")));
            }
            windows.push(window);
        }
    }
    Ok(windows)
}

/// One window on fresh nodes.
fn window(subject: &Subject, task: Task, setup: Setup, cores: &Cores) -> Result<Window> {
    let both = cores.both();
    let mut gate = Gate::open(&both);
    let stage = Stage::start(subject, setup, cores.server)?;
    gate.start();
    let before = stage.cpu()?;
    let mut measured = match task {
        Task::Publish { publishers, messages } => {
            publishing::window(&stage, publishers, messages, cores.generator)
        }
        Task::FanOut { subscribers, messages, interval_us } => {
            fan_out::window(&stage, subscribers, messages, interval_us, cores.generator)
        }
        Task::Topics { topics } => topics::window(&stage, topics),
    }?;
    let used = stage.cpu().map(|it| it.since(before)).ok();
    measured.void = measured.void.or_else(|| stage.panic());
    drop(stage);
    let host = gate.close(used.map(|it| it.nodes_ns + it.broker_ns), task.connections(), &both);
    let disturbed = gate::poisoned(&host, &Generator::default());
    Ok(Window::new(setup, measured, disturbed))
}

/// Each reader is an open file, here and in the nodes, which have the same limit.
fn enough_fds(size: &Size) -> Result<u64> {
    let limit = fleet::raise_fd_limit().context("cannot raise the limit of open files")?;
    let most = size.tasks.iter().map(|it| it.connections()).max().unwrap_or(0);
    let needed = most + fleet::SPARE_FDS;
    ensure!(
        limit >= needed,
        "{needed} open files are needed and {limit} allowed; raise it: ulimit -Hn {needed}, or take fewer --readers"
    );
    Ok(limit)
}

/// The command that does the same again.
fn command(args: &Args) -> String {
    let Args { server, rounds, readers, seed, .. } = args;
    let rounds = if args.quick { " --quick".to_owned() } else { format!(" --rounds {rounds}") };
    let debug = if args.debug { " --debug" } else { "" };
    format!("sse-bench bus {server}{rounds} --readers {readers} --seed {seed}{debug}")
}
