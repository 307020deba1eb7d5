//! `sse-bench soak`: an hour of mixed load on each server, and what it leaves behind.
//!
//! The clients are those of `chaos`, moved and cut as a seed decides, beside guests that come, stall, send nonsense and
//! go. A ledger says whether a message was lost. Each second the system and the server say what it holds; behind a
//! warm-up the slope of each measure has an interval, and a verdict only where the whole interval allows it.

mod course;
mod guests;
mod reading;
mod report;
mod station;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use conform::Deviations;
use conform::host::Watch;
use conform::report::complain;
use fleet::{Launch, Package, Servers};

pub use self::course::{Course, Growth};
pub use self::guests::Guests;
pub use self::reading::Reading;
pub use self::report::{Report, Row};
use self::station::View;
use crate::chaos;
use crate::outputs::Outputs;
use crate::report::Environment;
use crate::run::progress::Progress;

/// Nothing was lost or left behind, as far as can be told.
const EXIT_HELD: u8 = 0;
/// Something was.
const EXIT_FAILED: u8 = 1;
/// A server could not be run.
const EXIT_COULD_NOT_RUN: u8 = 2;
/// The ledger or the statistics do not see what is planted.
const EXIT_SELF_CHECK: u8 = 3;

/// No step takes so long; debug builds on a busy machine take their time.
const PATIENCE: Duration = Duration::from_secs(45);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// Between two lines of progress, in a short run and in a long one.
const PROGRESS: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(60)];
/// A run is long from here on.
const LONG: Duration = Duration::from_secs(600);
/// Open files for each reader, with its relay, and for the guests.
const FDS_EACH: u64 = 8;

/// Which servers, how long, how much.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
All servers run at the same time, each with a load of its own:
  readers     of a topic, each through a relay; moved away and back with their
              last id, or cut behind some byte
  publishers  of numbered messages to that topic, and of one message each to
              topics that are left to expire
  visitors    of /ticks, /time and /simulation; they stay for seconds and come
              again
  nuisances   readers that do not read, malformed requests, requests that are
              never whole

Memory (heap and stacks), descriptors and threads are read each second, in short runs four times, \
and open streams and sources are read from /metrics. The server warms up in the first 15 %, at \
least a minute, at most a third. Then twenty means in a row give a slope with a 95 % interval:
  grows        the whole interval is above 1 an hour (memory: 1 MiB, or 2 % if
               that is more)
  holds        the whole interval is below
  cannot tell  neither: run longer. Under ten minutes only a rise that no cache
               explains is judged (6 MiB, 20 of the others)

Each message must come to each reader once and in order. At the end all descriptors and streams \
must be given back.

Examples:
  sse-bench soak --release                             all of ours, an hour
  sse-bench soak axum poem --duration-s 60 --seed 7    two of them, a minute
  sse-bench soak --release --json target/soak.json --md target/soak.md

Ctrl-C ends the run early and prints the results so far.

Exit codes:
  0  held, or cannot tell
  1  a message was lost, or something grows or is not given back
  2  could not run
  3  self-check failed")]
pub struct Args {
    /// Servers of this repository, by name or folder, or `ours`
    #[arg(default_value = "ours", value_name = "SERVERS")]
    servers: Vec<String>,
    /// Seed of all that is random [default: random, and printed]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// How long the load is held
    #[arg(long = "duration-s", alias = "duration", value_name = "SECONDS", default_value_t = 3600,
          value_parser = clap::value_parser!(u64).range(10..=86_400))]
    duration: u64,
    /// Readers of each server's topic
    #[arg(long, value_name = "NUMBER", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=500))]
    clients: u16,
    /// Messages a second to each server
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=200))]
    rate: u64,
    /// Start release builds of the servers
    #[arg(long)]
    release: bool,
    /// Where the results go
    #[command(flatten)]
    outputs: Outputs,
}

/// A server to be soaked.
#[derive(Debug, Clone, Default)]
pub struct Subject {
    /// Its name in the report.
    pub name: String,
    /// Framework and version.
    pub framework: String,
    /// How it is started.
    pub launch: Launch,
    /// Places in the source whose panics its deviations list.
    pub known_panics: Vec<String>,
}

/// The load on each server.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Of all that is random.
    pub seed: u64,
    /// How long it is held.
    pub lasts: Duration,
    /// Readers of the topic.
    pub clients: usize,
    /// Messages a second.
    pub rate: u64,
}

/// Soaks the servers and prints a table.
///
/// # Errors
/// When there is no such server, one does not build, or a file cannot be written.
pub fn run(args: &Args) -> Result<ExitCode> {
    let began = jiff::Timestamp::now();
    if let Err(words) = self_check() {
        complain(&format!("the self-check failed: {words}"));
        return Ok(ExitCode::from(EXIT_SELF_CHECK));
    }
    let packages = Servers::named(&args.servers)?.only_ours()?;
    let open_files = enough_fds(args, packages.len())?;
    let mut progress = Progress::new();
    let subjects: Vec<Subject> = packages
        .iter()
        .map(|it| subject(it, args.release, &mut progress))
        .collect::<Result<_>>()?;
    let cancel = fleet::stopped_by_signals()?;
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(0..1 << 32));
    let plan = Plan {
        seed,
        lasts: Duration::from_secs(args.duration),
        clients: args.clients.into(),
        rate: args.rate,
    };
    let environment = Environment::read(open_files, fleet::allowed_cores()?.len());
    let rows = soak(&subjects, &plan, &cancel, |words| progress.say(words));
    progress.end();
    let report = Report {
        began: format!("{began:.0}"),
        command: command(args, seed),
        seed,
        release: args.release,
        interrupted: cancel.load(Relaxed),
        environment,
        rows,
        ..Report::new(&plan)
    };
    args.outputs.publish(&report, &report.text(), &report.markdown())?;
    Ok(ExitCode::from(if report.rows.iter().any(Row::has_failed) {
        EXIT_FAILED
    } else if report.rows.iter().any(|it| it.not_judged.is_some()) {
        EXIT_COULD_NOT_RUN
    } else {
        EXIT_HELD
    }))
}

/// Soaks all of them at the same time; a row for each.
pub fn soak(
    subjects: &[Subject],
    plan: &Plan,
    cancel: &AtomicBool,
    mut say: impl FnMut(&str),
) -> Vec<Row> {
    let _watch = Watch::start();
    let views: Vec<View> = subjects.iter().map(|_| View::default()).collect();
    let start = Instant::now();
    let every = if plan.lasts < LONG { PROGRESS[0] } else { PROGRESS[1] };
    thread::scope(|scope| {
        let running: Vec<_> = subjects
            .iter()
            .zip(&views)
            .map(|(subject, view)| {
                scope.spawn(move || {
                    let outcome = station::run(subject, plan, cancel, view);
                    view.is_over.store(true, Relaxed);
                    outcome
                })
            })
            .collect();
        let mut next = start;
        while running.iter().any(|it| !it.is_finished()) {
            if Instant::now() >= next {
                next += every;
                say(&line(&views, start.elapsed(), plan));
            }
            // The clock of the display, not a wait for something.
            thread::sleep(LOOK * 10);
        }
        let row = |(subject, it): (&Subject, thread::ScopedJoinHandle<'_, Result<_>>)| {
            let outcome = it.join().unwrap_or_else(|_| Err(anyhow!("its thread has panicked")));
            Row::of(subject, plan, outcome)
        };
        subjects.iter().zip(running).map(row).collect()
    })
}

/// `1:05 of 60:00, 6 servers: 7812 messages, 640 moves, memory 3.1 to 9.8 MiB`.
fn line(views: &[View], at: Duration, plan: &Plan) -> String {
    let clock = |it: Duration| format!("{}:{:02}", it.as_secs() / 60, it.as_secs() % 60);
    let (at, of) = (clock(at), clock(plan.lasts));
    let messages: u64 = views.iter().map(|it| it.messages.load(Relaxed)).sum();
    let moves: u64 = views.iter().map(|it| it.moves.load(Relaxed)).sum();
    let mib = |it: &View| it.memory_bytes.load(Relaxed) as f64 / 1024.0 / 1024.0;
    let least = views.iter().map(mib).fold(f64::INFINITY, f64::min);
    let most = views.iter().map(mib).fold(0.0, f64::max);
    let running = views.iter().filter(|it| !it.is_over.load(Relaxed)).count();
    format!(
        "{at} of {of}, {running} servers: {messages} messages, {moves} moves, memory {least:.1} to {most:.1} MiB"
    )
}

/// The ledger and the statistics see what is planted.
fn self_check() -> Result<(), String> {
    chaos::self_check().map_err(|words| format!("the ledger: {words}"))?;
    course::self_check().map_err(|words| format!("the slopes: {words}"))
}

fn subject(package: &Package, release: bool, progress: &mut Progress) -> Result<Subject> {
    progress.hand_over(&format!("build {}", package.name));
    let binary = fleet::build(package, release)?;
    let deviations = Deviations::read(&package.folder).map_err(anyhow::Error::msg)?;
    let place =
        |failure: &str| Some(failure.split_once("panics in ")?.1.split(": ").nth(1)?.to_owned());
    Ok(Subject {
        name: package.short_name().to_owned(),
        framework: format!("{} {}", package.framework, package.framework_version),
        launch: package.launch(&binary, "shared"),
        known_panics: deviations.attacks().iter().filter_map(|it| place(&it.failure)).collect(),
    })
}

/// Each connection is an open file, here and in the servers, which have the same limit.
fn enough_fds(args: &Args, servers: usize) -> Result<u64> {
    let limit = fleet::raise_fd_limit().context("cannot raise the limit of open files")?;
    let needed = (u64::from(args.clients) + 8) * FDS_EACH * servers as u64 + fleet::SPARE_FDS;
    ensure!(
        limit >= needed,
        "{} clients at {servers} servers need {needed} open files and {limit} are allowed; raise it: ulimit -Hn \
         {needed}, or take fewer --clients",
        args.clients
    );
    Ok(limit)
}

/// The command that does the same again.
fn command(args: &Args, seed: u64) -> String {
    let Args { servers, duration, clients, rate, .. } = args;
    let servers = servers.join(" ");
    let release = if args.release { " --release" } else { "" };
    format!(
        "sse-bench soak {servers} --seed {seed} --duration-s {duration} --clients {clients} --rate {rate}{release}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planted_losses_and_slopes_are_seen_before_each_run() {
        assert_eq!(self_check(), Ok(()));
    }
}
