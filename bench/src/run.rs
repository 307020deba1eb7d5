//! `sse-bench run`: build, check, measure, report.
//!
//! Every window is a fresh server process. Windows are measured in rounds: each round visits every
//! server, a second copy of one of them, and the floor once for each workload, in a balanced random
//! order that the report's seed gives again, so that a slow minute of the host does not fall on one
//! server. A window in which the host was disturbed is measured again.

mod calls;
mod check;
mod contestant;
pub(crate) mod gate;
pub(crate) mod progress;
mod rounds;
mod self_check;
pub(crate) mod window;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use conform::report::{Paint, complain};
use fleet::{Launch, Servers};
use jiff::Timestamp;
use load::Workload;
use load::truths::{self, Check};

use self::contestant::{Contestant, add_twin, build, peers_note};
use self::progress::Progress;
use self::rounds::Rounds;
use self::window::Cores;
use crate::report::{self, BareLoop, Environment, Report};

/// The harness does not find what is known to be there.
const EXIT_SELF_CHECK_FAILED: u8 = 3;

/// The profile that asks how cost grows.
pub const SCALING: &str = "scaling";

/// A small set of servers and how thoroughly to measure them.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// How thorough: quick (under 4 minutes once built), standard (under 20) or full. Or scaling: more readers,
    /// larger messages, a second worker. Or field: the workloads that servers of other ecosystems carry, too
    /// [default: quick, and field with peers]
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// These servers, with commas: ours, peers (those of other ecosystems, in bench/servers), all, names, or
    /// folders with a server.toml; `floor` alone measures only what this host and this harness can do
    /// [default: ours]
    #[arg(long, alias = "only", value_delimiter = ',', value_name = "NAMES")]
    servers: Vec<String>,
    /// Measure although the self-check fails, as on a host that is always busy; the report says so
    #[arg(long)]
    unchecked: bool,
    /// Only these workloads, with commas [default: all]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    workloads: Vec<String>,
    /// Do not run the conformance suite first
    #[arg(long)]
    skip_conformance: bool,
    /// Measure a second floor too: it lets a message wait so long, milliseconds, and writes it together
    /// with those that came meanwhile
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=1000))]
    coalesce_ms: Option<u64>,
    /// Where to write the report [default: a new folder in target/sse-bench]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print every column of the tables, however narrow the terminal is
    #[arg(long)]
    wide: bool,
    /// Seed of the order of measurement [default: random]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

/// How thorough a run is.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Its name on the command line.
    pub name: &'static str,
    /// How long a run of it may take, builds excluded: windows are measured again only as long as
    /// there is time for it.
    pub at_most: Duration,
    /// The workloads for each server, and how often each runs.
    pub workloads: Vec<Workload>,
    /// Our servers in their shared encoding, with each of these numbers of workers; empty: in all encodings, with
    /// as many workers as they take by themselves.
    pub workers: &'static [u32],
}

impl Profile {
    /// Every profile, the quickest first.
    pub fn all() -> Vec<Profile> {
        let thorough = |k: u32| {
            vec![
                Workload::broadcast(1000, 40, 25, 5 * k),
                Workload::busy_broadcast(100, 3 * k),
                Workload::ticks(4, 4 * k),
                Workload::aligned(2, 3 * k),
                Workload::broadcast(1, 10, 50, 3 * k),
                Workload::broadcast(100, 20, 25, 3 * k),
                Workload::broadcast(5000, 200, 6, 2 * k),
                Workload::broadcast(10_000, 400, 4, 2 * k),
                Workload::firehose(500, 3 * k),
                Workload::connect_storm(2000, 3 * k),
                Workload::idle(2000, k),
                Workload::stalled(0, 2 * k),
                Workload::stalled(100, 2 * k),
                Workload::stalled(10, 2 * k),
            ]
        };
        vec![
            Profile {
                name: "quick",
                at_most: Duration::from_secs(4 * 60),
                workloads: vec![
                    Workload::broadcast(1000, 40, 15, 4),
                    Workload::ticks(2, 3),
                    Workload::firehose(500, 1),
                    Workload::idle(1000, 1),
                ],
                workers: &[],
            },
            Profile {
                name: "standard",
                at_most: Duration::from_secs(20 * 60),
                workloads: thorough(1),
                workers: &[],
            },
            Profile {
                name: "full",
                at_most: Duration::from_secs(90 * 60),
                workloads: thorough(3),
                workers: &[],
            },
            Profile {
                name: SCALING,
                at_most: Duration::from_secs(20 * 60),
                workloads: vec![
                    Workload::broadcast(100, 20, 50, 3),
                    Workload::broadcast(1000, 40, 25, 3),
                    Workload::broadcast(15_000, 800, 4, 2),
                    Workload::sized(64, 15, 3),
                    Workload::sized(1024, 15, 3),
                    Workload::sized(8 * 1024, 15, 3),
                    Workload::sized(60 * 1024, 15, 3),
                ],
                workers: &[1, 2],
            },
            Profile {
                name: "field",
                at_most: Duration::from_secs(60 * 60),
                workloads: vec![
                    Workload::broadcast(1000, 40, 25, 5),
                    Workload::busy_broadcast_of(500, 100, 3),
                    // Some servers give each stream a thread of a hundred, or a process of thirty.
                    Workload::broadcast(20, 40, 25, 3),
                    Workload::idle(1000, 1),
                ],
                workers: &[],
            },
        ]
    }

    fn find(name: &str) -> Result<Profile> {
        let all = Profile::all();
        let known: Vec<_> = all.iter().map(|it| it.name).collect();
        let known = known.join(", ");
        all.into_iter()
            .find(|it| it.name == name)
            .with_context(|| format!("there is no profile {name:?}; choose {known}"))
    }
}

/// Runs everything and prints the report.
///
/// The exit code is 0 if every result is as expected, else 1.
///
/// # Errors
/// When nothing could be measured at all.
pub fn run(args: &Args) -> Result<ExitCode> {
    let setup = Setup::of(args)?;
    let mut progress = Progress::new();
    let Some(truths) = Truths::find(&setup, &mut progress)? else {
        return Ok(ExitCode::from(EXIT_SELF_CHECK_FAILED));
    };
    let mut contestants = build(&setup, &mut progress)?;
    // From here on as if the build had taken no time.
    let began = Instant::now().checked_sub(truths.took).unwrap_or_else(Instant::now);
    if !args.skip_conformance {
        check::check_all(&mut contestants, &setup.interrupted, &mut progress);
    }
    add_twin(&mut contestants);
    measure(&setup, &mut contestants, began, &mut progress);
    progress.end();

    let report = setup.report(truths, &contestants, began.elapsed());
    report.save(&setup.folder)?;
    rounds::save(&setup.folder, &setup.workloads, &contestants)?;
    let (text, folder) =
        (report::text(&report, Paint::for_stdout(), args.wide), shown(&setup.folder));
    write!(io::stdout(), "{text}\nWritten to {folder}\n")?;
    let mut failures = report.failures();
    if report.partial {
        failures.insert(0, "the run was ended before its last round".to_owned());
    }
    if failures.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    complain(&format!("exit code 1: {}", failures.join("\n")));
    Ok(ExitCode::FAILURE)
}

/// The choices and the place of a run, settled before anything runs.
struct Setup {
    began: Timestamp,
    profile: &'static str,
    at_most: Duration,
    workloads: Vec<Workload>,
    workers: &'static [u32],
    servers: Servers,
    folder: PathBuf,
    seed: u64,
    unchecked: bool,
    environment: Environment,
    floor: Launch,
    coalesce_ms: Option<u64>,
    cores: Cores,
    core_note: Option<String>,
    interrupted: Arc<AtomicBool>,
}

impl Setup {
    fn of(args: &Args) -> Result<Setup> {
        let began = Timestamp::now();
        let servers = select_servers(&args.servers)?;
        let usual = if servers.peers.is_empty() { "quick" } else { "field" };
        let profile = args.profile.as_deref().unwrap_or(usual);
        let Profile { name: profile, at_most, workloads, workers } = Profile::find(profile)?;
        let workloads = select_workloads(workloads, &args.workloads)?;
        let open_files = enough_fds(&workloads)?;
        let folder = match &args.out {
            Some(folder) => folder.clone(),
            None => {
                let name = began.strftime("%Y-%m-%dT%H%M%SZ").to_string();
                fleet::target_directory()?.join("sse-bench").join(name)
            }
        };
        let interrupted = fleet::stopped_by_signals()?;
        let (cores, core_note) = Cores::choose();
        let mut environment = Environment::read(open_files, fleet::allowed_cores()?.len());
        environment.server_core = cores.server;
        environment.generator_core = cores.generator;
        let binary = std::env::current_exe().context("cannot find the harness's own binary")?;
        Ok(Setup {
            began,
            profile,
            at_most,
            workloads,
            workers,
            servers,
            folder,
            seed: args.seed.unwrap_or_else(|| fastrand::u64(0..1 << 32)),
            unchecked: args.unchecked,
            environment,
            floor: Launch { binary, args: vec!["floor".into()], ..Launch::default() },
            coalesce_ms: args.coalesce_ms,
            cores,
            core_note,
            interrupted,
        })
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    fn report(&self, truths: Truths, contestants: &[Contestant], took: Duration) -> Report {
        let mut report = Report {
            schema: report::SCHEMA,
            began: format!("{:.0}", self.began),
            took_s: took.as_secs_f64(),
            command: command_line(),
            profile: self.profile.into(),
            seed: self.seed,
            partial: self.is_interrupted(),
            environment: self.environment.clone(),
            self_check: truths.checks,
            bare_loop: truths.bare_loop,
            trust: report::Trust::default(),
            workloads: self.workloads.clone(),
            rows: contestants.iter().map(|it| it.row(&self.workloads)).collect(),
            notes: self
                .core_note
                .iter()
                .cloned()
                .chain(debug_note())
                .chain(truths.notes)
                .chain(peers_note(contestants))
                .collect(),
        };
        report.summarise();
        report
    }
}

/// In the line of progress.
const SELF_CHECK: &str = "self-check: known truths";

/// The harness's findings about itself, before it measures others.
struct Truths {
    checks: Vec<Check>,
    bare_loop: Option<BareLoop>,
    notes: Vec<String>,
    took: Duration,
}

impl Truths {
    /// Nothing if a truth was not found, and that was printed.
    fn find(setup: &Setup, progress: &mut Progress) -> Result<Option<Truths>> {
        let began = Instant::now();
        progress.say(SELF_CHECK);
        let again = |words: &str| progress.say(&format!("{SELF_CHECK}, {words}"));
        let checks = self_check::run(&setup.floor, &setup.cores, &again)?;
        let mut notes = Vec::new();
        if let Some(why) = truths::untrue(&checks) {
            if !setup.unchecked {
                progress.end();
                let busy = self_check::quiet(&setup.cores).map_or(String::new(), |why| {
                    format!("the host is too busy to measure, try when it is quiet, or look without trust, with --unchecked: {why}\n")
                });
                complain(&format!("{busy}{why}"));
                return Ok(None);
            }
            notes.push("The self-check failed: no number here can be trusted.".to_owned());
        }
        progress.say("self-check: the generator beside a bare receive loop");
        let bare_loop = self_check::bare_loop(&setup.floor, &setup.cores)
            .map_err(|error| notes.push(format!("{error:#}")))
            .ok();
        Ok(Some(Truths { checks, bare_loop, notes, took: began.elapsed() }))
    }
}

fn measure(setup: &Setup, contestants: &mut [Contestant], began: Instant, progress: &mut Progress) {
    for contestant in contestants.iter_mut() {
        contestant.measured.resize_with(setup.workloads.len(), Vec::new);
    }
    let counts = calls::can_count();
    let calls = if counts { calls::TAKES * contestants.len() as u32 } else { Duration::ZERO };
    let rounds = Rounds {
        workloads: &setup.workloads,
        cores: &setup.cores,
        seed: setup.seed,
        at_most: setup.at_most.saturating_sub(began.elapsed() + calls),
        interrupted: &setup.interrupted,
    };
    rounds.measure(contestants, progress);
    if counts && !setup.is_interrupted() {
        count_calls(contestants, &setup.cores, progress);
    }
}

fn select_workloads(all: Vec<Workload>, only: &[String]) -> Result<Vec<Workload>> {
    for name in only {
        if !all.iter().any(|it| it.name == *name) {
            let known: Vec<_> = all.iter().map(|it| it.name.as_str()).collect();
            let near = fleet::did_you_mean(name, known.iter().copied());
            bail!("there is no workload {name:?}{near}; choose of: {}", known.join(", "));
        }
    }
    Ok(all.into_iter().filter(|it| only.is_empty() || only.contains(&it.name)).collect())
}

fn select_servers(names: &[String]) -> Result<Servers> {
    // The floor is in every run.
    let named: Vec<&String> = names.iter().filter(|it| *it != report::FLOOR).collect();
    if names.is_empty() { Servers::named(&["ours"]) } else { Servers::named(&named) }
}

fn enough_fds(workloads: &[Workload]) -> Result<u64> {
    let limit = fleet::raise_fd_limit().context("cannot raise the limit of open files")?;
    let needed =
        workloads.iter().map(|it| it.shape.connections()).max().unwrap_or(0) + fleet::SPARE_FDS;
    if limit < needed {
        bail!("{needed} open files are needed and {limit} allowed; raise it: ulimit -Hn {needed}");
    }
    Ok(limit)
}

fn count_calls(contestants: &mut [Contestant], cores: &Cores, progress: &mut Progress) {
    let scratch = std::env::temp_dir();
    // Those of a server of others are not counted: its answers to a POST are not known.
    let counted = |it: &&mut Contestant| it.row.twin_of.is_none() && it.room.is_none();
    for contestant in contestants.iter_mut().filter(counted) {
        let Some(launch) = &contestant.launch else { continue };
        progress.say(&format!("count write calls  {}", contestant.row.key()));
        match calls::per_event(launch, cores, &scratch) {
            Ok(calls) => contestant.row.write_calls_per_event = Some(calls),
            Err(error) => progress.say(&format!("no write calls: {error:#}")),
        }
    }
}

fn debug_note() -> Option<String> {
    let note =
        "The harness is a debug build, and the floor is part of it: ratios to it are too low.";
    cfg!(debug_assertions).then(|| note.to_owned())
}

fn command_line() -> String {
    let mut words = std::env::args();
    // The path to the binary says nothing to a reader.
    words.next();
    ["sse-bench".to_owned()].into_iter().chain(words).collect::<Vec<_>>().join(" ")
}

/// Relative to the current directory if it lies below it.
fn shown(folder: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    folder.strip_prefix(&here).unwrap_or(folder).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_are_answered_with_those_that_exist() {
        let error = Profile::find("fast").unwrap_err().to_string();
        assert_eq!(
            error,
            "there is no profile \"fast\"; choose quick, standard, full, scaling, field"
        );
        let all = || Profile::find("quick").unwrap().workloads;
        let error = select_workloads(all(), &["nope".into()]).unwrap_err().to_string();
        assert!(error.contains("broadcast-1000, ticks"), "{error}");
        assert_eq!(select_workloads(all(), &["ticks".into()]).unwrap().len(), 1);
    }

    /// Five frameworks in two encodings, one in one, a twin, and the floor.
    #[test]
    fn profiles_fit_their_time() {
        // The field has its own number of servers.
        for profile in Profile::all().into_iter().filter(|it| it.name != "field") {
            let all: Duration = profile
                .workloads
                .iter()
                .map(|it| {
                    rounds::takes(it) * it.rounds * (12 + u32::from(it.shape.has_headlines()))
                })
                .sum();
            // The rest is for the self-check, the bare loop, conformance, the write calls, and for
            // what has to be measured again.
            let rest = Duration::from_secs(60) + profile.at_most / 20;
            assert!(all + rest < profile.at_most, "{}: {all:?}", profile.name);
        }
    }

    #[test]
    fn every_shape_is_in_the_standard_profile_and_names_are_unique() {
        let all = Profile::find("standard").unwrap().workloads;
        let names: std::collections::BTreeSet<_> = all.iter().map(|it| &it.name).collect();
        assert_eq!(names.len(), all.len());
        let shapes: std::collections::HashSet<_> =
            all.iter().map(|it| std::mem::discriminant(&it.shape)).collect();
        assert_eq!(shapes.len(), 5);
    }
}
