//! `sse-bench cost`: what one delivered event costs in instructions, by layer of the server.
//!
//! callgrind counts the instructions of the program itself, exactly: the same code gives the same
//! count, whatever else the machine does. The kernel's part is not in it; the system calls are.

mod count;
mod layer;
mod profile;
mod report;
mod share;
mod stored;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use fleet::{Package, Servers};

pub use self::count::Load;
use self::layer::{Layer, Layers, Source};
use self::profile::{Place, Profile};
pub use self::report::{Earlier, Hot, Report, Row, Sums};
use crate::outputs::Document;
use crate::report::Environment;
use crate::run::progress::Progress;

/// Events were written together, so the counts are not of single ones; or a count has grown.
const EXIT_FAILED: u8 = 1;

/// Which servers, and how much.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
A topic has --subscribers streams. Each message is published when all streams have the one \
before, so every delivery is one event and one write. The tool callgrind counts the instructions \
of a release build with one worker; they do not depend on how busy the machine is. An instruction \
belongs to the layer of the source file that it was compiled from, inlined code too. Then 50 more \
streams are opened, and the instructions of each up to its first event are counted.

Examples:
  sse-bench cost                              all servers and encodings
  sse-bench cost axum --encoding shared       one of them
  sse-bench cost axum --lines 20              its 20 most expensive functions
  sse-bench cost --json - | jq '.rows[] | {server, encoding, instructions}'
  sse-bench cost --against before.json        has a count grown by over 3 %?
  sse-bench cost --check                      compare with each cost.json
  sse-bench cost axum --store                 write axum's cost.json
  sse-bench cost --splice bench/COSTS.md      put the tables into a document
  sse-bench cost --from a.json --from b.json  the tables of earlier runs

Exit codes:
  0  counted
  1  events were written together or more than once, or a count has changed
  2  could not run")]
pub struct Args {
    /// Servers of the workspace, by name or folder [default: all]
    #[arg(value_name = "NAME")]
    servers: Vec<String>,
    /// Only this encoding
    #[arg(long, value_name = "NAME")]
    encoding: Option<String>,
    /// Streams of the topic
    #[arg(long, default_value_t = 200, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    subscribers: u16,
    /// Messages that count, after 100 that do not
    #[arg(long, default_value_t = 300, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    messages: u16,
    /// Print so many of the most expensive functions and lines of each server
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    lines: usize,
    /// Count nothing, and take the rows from the JSON of an earlier run; several are joined
    #[arg(long, value_name = "FILE", conflicts_with_all = ["servers", "encoding", "check"])]
    from: Vec<PathBuf>,
    /// Fail if a count is over 3 % larger than in this JSON of an earlier run
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Count the servers that have a cost.json in their folder, and fail if one differs by over 3 %
    #[arg(long, conflicts_with_all = ["store", "subscribers", "messages"])]
    check: bool,
    /// Write the results as JSON; - is standard output, instead of the table
    #[arg(long, help_heading = "Output", value_name = "FILE")]
    json: Option<PathBuf>,
    /// Replace the text between the `sse-bench cost` markers of this document by the tables
    #[arg(long, help_heading = "Output", value_name = "FILE")]
    splice: Option<PathBuf>,
    /// Write the counts into the cost.json of each server
    #[arg(long, help_heading = "Output",
          conflicts_with_all = ["encoding", "subscribers", "messages"])]
    store: bool,
}

/// Messages before the count begins.
const UNCOUNTED: usize = 100;

/// Streams that are opened after the count of events, and counted for themselves.
const OPENED: usize = 50;

/// Counts, and prints a table.
///
/// # Errors
/// If a server does not build or run, or valgrind is not there.
pub fn run(args: &Args) -> Result<ExitCode> {
    // Before minutes are spent, and before --json writes the same file.
    let earlier = args.against.as_deref().map(Earlier::read).transpose()?;
    let document =
        args.splice.as_deref().map(|it| Document::read(it, "sse-bench cost")).transpose()?;
    let all = fleet::discover()?;
    let (packages, report) = if args.from.is_empty() {
        let packages = select(&all, args)?;
        let report = count(&packages, args)?;
        (packages, report)
    } else {
        let report = Report::read(&args.from)?;
        (all.into_iter().filter(|it| report.has(it.short_name())).collect(), report)
    };
    write(&report, args)?;
    if let Some(document) = document {
        document.splice(&report.markdown())?;
    }
    let mut wrong = earlier.map_or(Vec::new(), |it| report.grown(&it));
    if args.check {
        wrong.extend(stored::check(&report, &packages)?);
    }
    if args.store {
        stored::store(&report, &packages)?;
    }
    wrong.iter().for_each(|words| eprintln!("{words}"));
    let is_fine = wrong.is_empty() && report.rows.iter().all(Row::is_one_write);
    Ok(ExitCode::from(if is_fine { 0 } else { EXIT_FAILED }))
}

/// Counts these servers.
fn count(packages: &[Package], args: &Args) -> Result<Report> {
    let wanted = |it: &&String| args.encoding.as_ref().is_none_or(|one| one == *it);
    let load = Load {
        subscribers: args.subscribers.into(),
        uncounted: UNCOUNTED,
        counted: args.messages.into(),
        opened: OPENED,
    };
    let open_files = fleet::raise_fd_limit().context("cannot raise the limit of open files")?;
    let mut progress = Progress::new();
    let mut rows = Vec::new();
    for package in packages {
        progress.hand_over(&format!("build {}", package.name));
        let binary = fleet::build_with_lines(package)?;
        for encoding in package.encodings.iter().filter(wanted) {
            progress.say(&format!("count {} {encoding}", package.short_name()));
            rows.push(row(package, &binary, encoding, load)?);
        }
    }
    progress.end();
    let environment = Environment::read(open_files, fleet::allowed_cores()?.len());
    Ok(Report::new(environment, load, rows))
}

/// The servers that were asked for.
fn select(all: &[Package], args: &Args) -> Result<Vec<Package>> {
    let mut packages = match args.servers.as_slice() {
        [] => all.to_vec(),
        names => Servers::named(names)?.only_ours()?,
    };
    if args.check {
        packages.retain(stored::has);
        if packages.is_empty() {
            bail!("none of these servers has a {}; --store writes it", stored::FILE);
        }
    }
    if let Some(encoding) = &args.encoding {
        let known: BTreeSet<_> = packages.iter().flat_map(|it| &it.encodings).collect();
        if !known.contains(encoding) {
            let known = Vec::from_iter(known.into_iter().map(String::as_str)).join(", ");
            bail!("there is no such encoding; choose one of: {known}");
        }
    }
    Ok(packages)
}

/// Writes the JSON where it is wanted, and the table unless the JSON takes its place.
fn write(report: &Report, args: &Args) -> Result<()> {
    let json = serde_json::to_string_pretty(report)? + "\n";
    let mut out = io::stdout().lock();
    match &args.json {
        Some(path) if path == Path::new("-") => return Ok(out.write_all(json.as_bytes())?),
        Some(path) => conform::report::write(path, &json)?,
        None => {}
    }
    Ok(out.write_all(report.text(args.lines).as_bytes())?)
}

/// Counts one server with one encoding.
///
/// # Errors
/// As [`run`].
pub fn row(package: &Package, binary: &Path, encoding: &str, load: Load) -> Result<Row> {
    let folder = format!("cost-{}-{}-{encoding}", std::process::id(), package.short_name());
    let folder = fleet::target_directory()?.join(folder);
    let counts = count::count(&package.launch(binary, encoding), load, &folder)
        .with_context(|| format!("{} {encoding}", package.short_name()))?;
    let mut layers = Layers::new(package, binary)?;
    let mut evaluate = |it: &_, divisor: f64| evaluate(it, &mut layers, binary, divisor);
    Ok(Row {
        server: package.short_name().to_owned(),
        framework: format!("{} {}", package.framework, package.framework_version),
        encoding: encoding.to_owned(),
        event: evaluate(&counts.events, load.deliveries() as f64),
        opening: evaluate(&counts.opening, load.opened as f64),
    })
}

/// The sums over a profile, divided.
fn evaluate(profile: &Profile, layers: &mut Layers, binary: &Path, divisor: f64) -> Sums {
    let is_program =
        |object: usize| Path::new(&profile.objects[object]).file_name() == binary.file_name();
    let mut source = |at: Place| match is_program(at.object) {
        true => layers.source(at.address).clone(),
        false => Source::libc(&profile.functions[at.function]),
    };
    let mut sums = Sums::default();
    for cost in &profile.own {
        let instructions = cost.instructions as f64 / divisor;
        sums.instructions += instructions;
        *sums.by_file.entry(source(cost.at).layer).or_default() += instructions;
        if cost.system_calls > 0 {
            // A name has the version of the symbol behind it, a thread's number or a recursion.
            let name = profile.functions[cost.at.function].as_str();
            let name = name.split(['@', '\'']).next().unwrap_or(name).to_owned();
            *sums.system_calls.entry(name).or_default() += cost.system_calls as f64 / divisor;
        }
    }
    for call in &profile.calls {
        let name = profile.functions[call.to.1].as_str();
        if is_program(call.from.object) && ALLOCATIONS.contains(&name) {
            sums.allocations += call.count as f64 / divisor;
        }
    }
    let lines = share::with_libraries(profile, &mut source);
    let lines = lines.into_iter().map(|(source, it)| (source, it / divisor)).collect::<Vec<_>>();
    for (source, instructions) in &lines {
        *sums.by_caller.entry(source.layer).or_default() += instructions;
    }
    (sums.functions, sums.lines) = (functions(&lines), hottest(lines));
    sums.writes = sums.system_calls.iter().filter(|(name, _)| is_write(name)).map(|it| it.1).sum();
    sums
}

/// The lines, the most expensive first.
fn hottest(lines: impl IntoIterator<Item = (Source, f64)>) -> Vec<Hot> {
    let mut lines: Vec<_> = lines.into_iter().filter(|it| it.1 >= LEAST).collect();
    lines.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    lines.into_iter().map(|(source, instructions)| Hot::new(source, instructions)).collect()
}

/// The functions, the most expensive first, each with its most expensive line.
fn functions(lines: &[(Source, f64)]) -> Vec<Hot> {
    let mut functions: HashMap<(&str, &str), (f64, &Source, f64)> = HashMap::new();
    for (source, instructions) in lines {
        let key = (source.file.as_str(), source.function.as_str());
        let (sum, line, most) = functions.entry(key).or_insert((0.0, source, 0.0));
        *sum += instructions;
        if (*instructions, &**line) > (*most, source) {
            (*line, *most) = (source, *instructions);
        }
    }
    hottest(functions.into_values().map(|(sum, line, _)| (line.clone(), sum)))
}

/// Functions of the C library that allocate.
const ALLOCATIONS: &[&str] = &["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"];

/// Functions of the C library that write to a socket.
const WRITES: &[&str] = &["write", "writev", "send", "sendto", "sendmsg"];

/// Whether the system calls of this function are writes: one of the C library, or one of a program that calls the system
/// by itself, as rustix does in the function that asks for it.
fn is_write(function: &str) -> bool {
    WRITES.contains(&function) || function.ends_with("::poll_write")
}

/// Functions and lines that cost fewer instructions are not kept.
const LEAST: f64 = 1.0;

/// A number for each layer.
pub type ByLayer = BTreeMap<Layer, f64>;
