//! `sse-bench chaos`: nodes on a broker, readers that move between them, and everything dies at times.
//!
//! A seed decides a schedule: readers are moved and cut, nodes killed and held, brokers restarted. A ledger has each
//! message that was acknowledged and each event that a reader saw, and is compared with the broker's own stream at
//! the end. No verdict depends on a time: readers have caught up when they have seen a later message, and a deadline
//! that passes means that the run says nothing. On a failure fewer and fewer steps are played, down to the shortest
//! schedule that still shows it.

pub(crate) mod books;
mod edit;
pub(crate) mod node;
mod play;
pub(crate) mod publisher;
pub(crate) mod reader;
pub(crate) mod relay;
mod report;
mod schedule;
mod shrink;
mod texts;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use conform::report::complain;
use fleet::Package;
use wire::ledger::{GapWord, Ledger, Promise};

pub use self::play::Figures;
use self::play::{Outcome, Stage};
pub use self::report::{Finding, Report, Row, Shortest};
pub use self::schedule::{Action, Schedule, Step};
use self::schedule::{Length, Plan};
use crate::broker;
use crate::outputs::Outputs;
use crate::report::Environment;
use crate::run::progress::Progress;

/// All promises were kept.
const EXIT_HELD: u8 = 0;
/// One was broken.
const EXIT_FAILED: u8 = 1;
/// The ledger does not see what is planted into it.
const EXIT_SELF_CHECK: u8 = 3;

/// The topic of all messages.
const TOPIC: &str = "chaos";

/// No step takes so long; debug builds on a busy machine take their time.
const PATIENCE: Duration = Duration::from_secs(45);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Open files of a reader: its connection, and both ends of the relay's, twice while it moves.
const FDS_EACH: u64 = 8;

/// The length of a run, and its schedule.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Brokers and nodes are started (servers of this repository, built with the feature nats). Each \
client opens a stream through a relay of its own, and publishers post numbered messages to all \
nodes. Then, as the seed decides:
  move     a client closes its stream and opens one at another node, with its
           last id
  cut      the connection of a client ends behind some byte
  kill     a node gets SIGKILL, and is started again
  stop     a node gets SIGSTOP, and SIGCONT seconds later
  restart  a broker gets SIGKILL, and is started again with its store

A POST without an answer, or answered with 503, is sent again with the same Idempotency-Key, at \
any node. At the end all clients catch up. Each client must have seen each acknowledged message \
once, in the order of the ids, and the broker's own stream must have it. A gap is a loss, since \
the retention exceeds each absence. With --gaps the retention is shorter: then a gap must stand \
where messages are gone, with the right number if it has one.

On a failure the run is repeated with fewer and fewer steps. The shortest schedule that still \
showed the failure is written to target/sse-bench/, with the command that plays it. A seed gives \
the same schedule again, and not the same run: threads and the kernel decide, too.

Examples:
  sse-bench chaos                                      a minute, a random seed
  sse-bench chaos --moves 1000 --seed 1,2,3 --release  three runs of 5 minutes
  sse-bench chaos --brokers 3 --nodes axum,poem        three copies of a message
  sse-bench chaos --gaps --seed 7                      does a gap report a loss?
  sse-bench chaos --print --seed 7 > seven.json        a schedule, to be edited
  sse-bench chaos --replay seven.json                  and to be played

Exit codes:
  0  all promises held
  1  a promise was broken
  2  could not run, or clients did not catch up
  3  self-check failed")]
pub struct Args {
    /// Seeds of schedules, with commas between them [default: a random one, which is printed]
    #[arg(long, value_name = "NUMBER", value_delimiter = ',')]
    seed: Vec<u64>,
    /// How long messages are published
    #[arg(long = "duration-s", alias = "duration", value_name = "SECONDS", default_value_t = 60, conflicts_with = "moves",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    duration: u64,
    /// How often clients are moved, instead of a duration: each of them every 15 s
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    moves: Option<u64>,
    /// Clients that read
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=2000))]
    clients: u16,
    /// Messages a second, of all publishers together; fewer if the nodes do not keep up
    #[arg(long, value_name = "NUMBER", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=5000))]
    rate: u64,
    /// Brokers: 1, or 3 with three copies of each message
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = ["1", "3"])]
    brokers: String,
    /// Servers, a node each, with commas between them; one that is named twice is two nodes
    #[arg(long, value_name = "NAMES", default_value = "ours", value_delimiter = ',')]
    nodes: Vec<String>,
    /// Absences are longer than the retention: a gap must say so, and silence is a loss
    #[arg(long)]
    gaps: bool,
    /// Start release builds of the servers
    #[arg(long)]
    release: bool,
    /// Build nothing: the programs of the servers are in this folder, with the feature nats
    #[arg(long, value_name = "FOLDER", conflicts_with = "release")]
    programs: Option<PathBuf>,
    /// The broker's program [default: nats-server of the PATH, or the one that ./test.sh unpacks]
    #[arg(long, value_name = "FILE")]
    nats_server: Option<PathBuf>,
    /// Play a schedule from a file; it has a seed, a length, nodes, clients and a rate of its own
    #[arg(long, value_name = "FILE",
          conflicts_with_all = ["seed", "duration", "moves", "clients", "rate", "brokers", "nodes", "gaps", "print"])]
    replay: Option<PathBuf>,
    /// Print the schedule, and do not play it
    #[arg(long)]
    print: bool,
    /// At most so many runs search for the shortest schedule of a failure; 0 searches for none
    #[arg(long, value_name = "NUMBER", default_value_t = 16)]
    replays: usize,
    /// Where the results go
    #[command(flatten)]
    outputs: Outputs,
}

/// Plays schedules and prints a table.
///
/// # Errors
/// When there is no such server or broker, one does not start, or the clients do not catch up.
pub fn run(args: &Args) -> Result<ExitCode> {
    let began = jiff::Timestamp::now();
    if let Err(words) = self_check() {
        complain(&format!("the ledger does not see what is planted: {words}"));
        return Ok(ExitCode::from(EXIT_SELF_CHECK));
    }
    let all = fleet::discover()?;
    let schedules = schedules(args, &all)?;
    if args.print {
        let mut out = io::stdout().lock();
        for it in &schedules {
            out.write_all(it.to_json().as_bytes())?;
        }
        return Ok(ExitCode::from(EXIT_HELD));
    }
    let target = fleet::target_directory()?;
    let nats_server = broker::program(args.nats_server.as_deref())?;
    let open_files = enough_fds(&schedules)?;
    let mut progress = Progress::new();
    let mut report = Report {
        began: format!("{began:.0}"),
        command: command(args),
        release: args.programs.is_none().then_some(args.release),
        broker: broker::version(&nats_server)?,
        environment: Environment::read(open_files, fleet::allowed_cores()?.len()),
        ..Report::default()
    };
    for schedule in &schedules {
        let folder = target.join("chaos").join(std::process::id().to_string());
        let mut stage = Stage { nodes: Vec::new(), nats_server: nats_server.clone(), folder };
        for name in &schedule.nodes {
            let package = fleet::find(&all, name)?;
            let launch = launch(args, package, &stage, &mut progress)?;
            stage.nodes.push((name.clone(), launch));
        }
        let (seed, steps) = (schedule.seed, schedule.steps.len());
        progress.say(&format!("seed {seed}: {steps} steps in {} s", schedule.duration_ms / 1000));
        let outcome = stage.play(schedule, &mut progress)?;
        report.rows.push(row(args, &stage, schedule, &outcome, &mut progress)?);
    }
    progress.end();
    args.outputs.publish(&report, &report.text(), &report.markdown())?;
    Ok(ExitCode::from(if report.has_failed() { EXIT_FAILED } else { EXIT_HELD }))
}

/// The schedules that are asked for.
fn schedules(args: &Args, all: &[Package]) -> Result<Vec<Schedule>> {
    if let Some(file) = &args.replay {
        return Ok(vec![Schedule::read(file)?]);
    }
    let mut nodes = Vec::new();
    for name in &args.nodes {
        match name.as_str() {
            "ours" => nodes.extend(all.iter().map(|it| it.short_name().to_owned())),
            name => nodes.push(fleet::find(all, name)?.short_name().to_owned()),
        }
    }
    let length = args.moves.map_or(Length::Seconds(args.duration), Length::Moves);
    let random = [fastrand::u64(0..1 << 32)];
    let seeds = if args.seed.is_empty() { &random[..] } else { &args.seed };
    let schedule = |seed: &u64| {
        Schedule::of(&Plan {
            seed: *seed,
            nodes: nodes.clone(),
            brokers: args.brokers.parse()?,
            clients: args.clients.into(),
            rate: args.rate,
            gaps: args.gaps,
            length,
        })
    };
    seeds.iter().map(schedule).collect()
}

/// How a node of a server is started; it is built once.
fn launch(
    args: &Args,
    package: &Package,
    stage: &Stage,
    progress: &mut Progress,
) -> Result<fleet::Launch> {
    if let Some((_, launch)) = stage.nodes.iter().find(|it| it.0 == package.short_name()) {
        return Ok(launch.clone());
    }
    let binary = match &args.programs {
        Some(folder) => folder.join(&package.name),
        None => {
            progress.hand_over(&format!("build {} with the feature nats", package.name));
            fleet::build_with(package, &["nats"], args.release)?
        }
    };
    ensure!(binary.is_file(), "there is no {}", binary.display());
    Ok(package.launch(&binary, "shared"))
}

/// The row of a run, with the shortest schedule if it failed.
fn row(
    args: &Args,
    stage: &Stage,
    schedule: &Schedule,
    outcome: &Outcome,
    progress: &mut Progress,
) -> Result<Row> {
    let mut row = Row::of(schedule, outcome, command_of(args, schedule));
    if !row.has_failed() || args.replays == 0 {
        return Ok(row);
    }
    let (kinds, mut number) = (row.kinds(), 0);
    progress.say(&format!("seed {}: FAILED ({})", schedule.seed, kinds.join(", ")));
    let shows = |steps: &[Step]| -> Result<bool> {
        number += 1;
        let shorter = schedule.with_steps(steps);
        let (at_most, count) = (args.replays, steps.len());
        progress.say(&format!("replay {number} of {at_most} at most, with {count} steps"));
        // A replay that could not run has not shown it.
        let Ok(outcome) = stage.play(&shorter, progress) else { return Ok(false) };
        let replayed = Row::of(&shorter, &outcome, String::new());
        let shows = replayed.kinds().iter().any(|it| kinds.contains(it));
        progress.say(if shows { "it fails, too" } else { "it does not fail" });
        Ok(shows)
    };
    let (steps, replays) = shrink::shrink(&schedule.steps, args.replays, shows)?;
    let shortest = match steps.len() == schedule.steps.len() {
        true => schedule.clone(),
        false => schedule.with_steps(&steps),
    };
    let name = format!("chaos-{}-{}.json", schedule.seed, std::process::id());
    let file = fleet::target_directory()?.join("sse-bench").join(name);
    conform::report::write(&file, &shortest.to_json())?;
    let here = std::env::current_dir().unwrap_or_default();
    let file = file.strip_prefix(here).unwrap_or(&file).display().to_string();
    let again = format!("sse-bench chaos --replay {file}{}", options(args));
    row.shortest = Some(Shortest { file, steps: steps.len(), replays, again });
    Ok(row)
}

/// Each connection is an open file, here and in the nodes, which have the same limit.
fn enough_fds(schedules: &[Schedule]) -> Result<u64> {
    let limit = fleet::raise_fd_limit().context("cannot raise the limit of open files")?;
    let clients = schedules.iter().map(|it| it.clients).max().unwrap_or(0) as u64;
    let needed = clients * FDS_EACH + fleet::SPARE_FDS + publisher::PUBLISHERS as u64;
    ensure!(
        limit >= needed,
        "{clients} clients need {needed} open files and {limit} are allowed; raise it: ulimit -Hn {needed}, or take \
         fewer --clients"
    );
    Ok(limit)
}

/// The command that does all of it again, on any machine.
fn command(args: &Args) -> String {
    if let Some(file) = &args.replay {
        return format!("sse-bench chaos --replay {}{}", file.display(), options(args));
    }
    let mut words = String::from("sse-bench chaos");
    if !args.seed.is_empty() {
        let seeds: Vec<String> = args.seed.iter().map(u64::to_string).collect();
        words += &format!(" --seed {}", seeds.join(","));
    }
    words + &length_and_more(args) + &options(args)
}

/// The command that plays one of the schedules again.
fn command_of(args: &Args, schedule: &Schedule) -> String {
    if args.replay.is_some() {
        return command(args);
    }
    format!("sse-bench chaos --seed {}{}{}", schedule.seed, length_and_more(args), options(args))
}

fn length_and_more(args: &Args) -> String {
    let Args { clients, rate, brokers, nodes, .. } = args;
    let length = match args.moves {
        Some(moves) => format!(" --moves {moves}"),
        None => format!(" --duration-s {}", args.duration),
    };
    let gaps = if args.gaps { " --gaps" } else { "" };
    let nodes = nodes.join(",");
    format!("{length} --clients {clients} --rate {rate} --brokers {brokers} --nodes {nodes}{gaps}")
}

fn options(args: &Args) -> String {
    let release = if args.release { " --release" } else { "" };
    let folder = args.programs.as_ref().map(|it| format!(" --programs {}", it.display()));
    format!("{release}{}", folder.unwrap_or_default())
}

/// The ledger sees each of the faults that it is there for.
pub(crate) fn self_check() -> Result<(), String> {
    let judge = |seen: &[u64], has_gap: bool, kept: u64| {
        let mut ledger = Ledger::new(1);
        for number in 0..5 {
            ledger.acknowledge(number, &format!("e-{number}"));
        }
        (0..kept).for_each(|it| ledger.keep(it, &format!("e-{it}")));
        seen.iter().for_each(|it| ledger.see(0, *it, &format!("e-{it}")));
        if has_gap {
            ledger.gap(0, GapWord::Possible);
        }
        let judgement = ledger.judge(Promise::Whole);
        let all = judgement.of_servers().into_iter().chain(judgement.of_broker());
        all.filter(|it| it.1.count > 0).map(|it| it.0).collect::<Vec<_>>()
    };
    for (seen, has_gap, kept, expected) in [
        (&[0, 1, 2, 3, 4][..], false, 5, &[][..]),
        (&[0, 1, 3, 4], false, 5, &["lost"]),
        (&[0, 1, 2, 2, 3, 4], false, 5, &["doubled"]),
        (&[0, 2, 1, 3, 4], false, 5, &["out of order"]),
        (&[0, 1, 2, 3, 4], true, 5, &["gap"]),
        (&[0, 1, 2, 3, 4], false, 4, &["lost by the broker"]),
    ] {
        let found = judge(seen, has_gap, kept);
        if found != expected {
            return Err(format!("{found:?} of {seen:?}, not {expected:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_is_checked_before_each_run() {
        assert_eq!(self_check(), Ok(()));
    }
}
