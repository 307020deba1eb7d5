//! `sse-bench run`: build, check, measure, report.
//!
//! Every window is a fresh server process. Windows are measured in rounds: each round visits every
//! server and the floor once for each workload, in a random order that the report's seed gives
//! again, so that a slow minute of the host does not fall on one server.

mod check;
mod progress;
mod self_check;
mod window;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use signal_hook::consts::{SIGINT, SIGTERM};

use self::progress::Progress;
use self::window::Cores;
use crate::fleet::{self, Launch, Package};
use crate::load::Workload;
use crate::report::{self, Cell, Environment, Report, Row};

/// The harness does not find what is known to be there.
const EXIT_SELF_CHECK_FAILED: u8 = 3;

/// Descriptors that a window needs beside one for each connection: epoll, timers, pipes, files.
pub(crate) const SPARE_FDS: u64 = 64;

/// Starting and stopping a server, for the estimate of the time left.
const OVERHEAD: Duration = Duration::from_millis(200);

/// A small set of servers and how thoroughly to measure them.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// How thorough: quick (under 4 minutes once built) or standard (under 20)
    #[arg(long, default_value = "quick", value_name = "NAME")]
    profile: String,
    /// Only these servers, by name or folder, with commas [default: all]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
    /// Only these workloads, with commas [default: all]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    workloads: Vec<String>,
    /// Do not run the conformance suite first
    #[arg(long)]
    skip_conformance: bool,
    /// Where to write the report [default: a new folder in target/sse-bench]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Seed of the order of measurement [default: random]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

/// How thorough a run is.
#[derive(Debug, Clone)]
pub struct Profile {
    /// What people call it.
    pub name: &'static str,
    /// How often each server meets each workload.
    pub rounds: u32,
    /// What it meets.
    pub workloads: Vec<Workload>,
}

impl Profile {
    /// Every profile, the quickest first.
    pub fn all() -> Vec<Profile> {
        let workloads = |messages, events| {
            vec![Workload::broadcast(messages), Workload::ticks(events), Workload::idle()]
        };
        vec![
            Profile { name: "quick", rounds: 3, workloads: workloads(25, 4) },
            Profile { name: "standard", rounds: 10, workloads: workloads(50, 8) },
        ]
    }

    fn find(name: &str) -> Result<Profile> {
        let all = Profile::all();
        let known: Vec<_> = all.iter().map(|it| it.name).collect();
        let known = known.join(" or ");
        all.into_iter()
            .find(|it| it.name == name)
            .with_context(|| format!("there is no profile {name:?}; choose {known}"))
    }
}

/// What is measured under one name: a server in one encoding, or the floor.
#[derive(Debug)]
struct Contestant {
    row: Row,
    launch: Option<Launch>,
    package: Option<Package>,
}

/// Runs everything and prints the report.
///
/// The exit code is 0 if every result is as expected, else 1.
///
/// # Errors
/// When nothing could be measured at all.
pub fn run(args: &Args) -> Result<ExitCode> {
    let began = Timestamp::now();
    let profile = Profile::find(&args.profile)?;
    let workloads = select_workloads(profile.workloads, &args.workloads)?;
    let packages = select_packages(fleet::discover()?, &args.only)?;
    let open_files = enough_fds(&workloads)?;
    let folder = match &args.out {
        Some(folder) => folder.clone(),
        None => {
            let name = began.strftime("%Y-%m-%dT%H%M%SZ").to_string();
            fleet::target_directory()?.join("sse-bench").join(name)
        }
    };
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&interrupted))?;
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }

    let mut progress = Progress::new();
    let floor = std::env::current_exe().context("cannot find the harness's own binary")?;
    let floor = Launch { binary: floor, args: vec!["floor".into()], core: None };
    progress.say("self-check: the floor lies by a known amount");
    if let Some(fault) = self_check::fault(&floor)? {
        progress.end();
        eprintln!("sse-bench: the self-check failed, so no number is to be believed: {fault}");
        return Ok(ExitCode::from(EXIT_SELF_CHECK_FAILED));
    }
    let mut contestants = build(&packages, floor, &interrupted, &mut progress)?;
    let timed = Instant::now();
    if !args.skip_conformance {
        check::check_all(&mut contestants, &interrupted, &mut progress);
    }

    let (cores, core_note) = Cores::choose();
    let mut environment = Environment::read(open_files, fleet::allowed_cores()?.len());
    environment.server_core = cores.server;
    environment.generator_core = cores.generator;
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(0..1 << 32));
    for contestant in &mut contestants {
        contestant.row.cells = workloads
            .iter()
            .map(|it| Cell { workload: it.name.clone(), windows: Vec::new(), summary: None })
            .collect();
    }
    measure(&mut contestants, &workloads, profile.rounds, cores, seed, &interrupted, &mut progress);
    progress.end();

    let complete = !interrupted.load(Ordering::Relaxed);
    let mut report = Report {
        schema: report::SCHEMA,
        began: format!("{began:.0}"),
        took_s: timed.elapsed().as_secs_f64(),
        command: command_line(),
        profile: profile.name.into(),
        seed,
        complete,
        environment,
        workloads,
        rows: contestants.into_iter().map(|it| it.row).collect(),
        notes: core_note.into_iter().chain(debug_note()).collect(),
    };
    report.summarise();
    report.save(&folder)?;
    write!(io::stdout(), "{}\nWritten to {}\n", report::text(&report), shown(&folder))?;
    Ok(ExitCode::from(u8::from(!(complete && report.is_as_expected()))))
}

fn select_workloads(all: Vec<Workload>, only: &[String]) -> Result<Vec<Workload>> {
    for name in only {
        if !all.iter().any(|it| it.name == *name) {
            let known: Vec<_> = all.iter().map(|it| it.name.as_str()).collect();
            bail!("there is no workload {name:?}; choose of: {}", known.join(", "));
        }
    }
    Ok(all.into_iter().filter(|it| only.is_empty() || only.contains(&it.name)).collect())
}

fn select_packages(all: Vec<Package>, only: &[String]) -> Result<Vec<Package>> {
    let mut chosen = Vec::new();
    for name in only {
        chosen.push(fleet::find(&all, name)?.name.clone());
    }
    Ok(all.into_iter().filter(|it| only.is_empty() || chosen.contains(&it.name)).collect())
}

fn enough_fds(workloads: &[Workload]) -> Result<u64> {
    let limit = fleet::raise_fd_limit().context("cannot raise the limit of open files")?;
    let needed = workloads.iter().map(Workload::connections).max().unwrap_or(0) + SPARE_FDS;
    if limit < needed {
        bail!("{needed} open files are needed and {limit} allowed; raise it: ulimit -Hn {needed}");
    }
    Ok(limit)
}

fn build(
    packages: &[Package],
    floor: Launch,
    interrupted: &AtomicBool,
    progress: &mut Progress,
) -> Result<Vec<Contestant>> {
    let mut contestants = vec![Contestant {
        row: Row {
            server: "floor".into(),
            framework: "floor".into(),
            framework_version: env!("CARGO_PKG_VERSION").into(),
            encoding: None,
            conformance: None,
            error: None,
            cells: Vec::new(),
        },
        launch: Some(floor),
        package: None,
    }];
    for (index, package) in packages.iter().enumerate() {
        progress.say(&format!("build {}/{}  {}", index + 1, packages.len(), package.name));
        let built = fleet::build(package, true);
        if interrupted.load(Ordering::Relaxed) {
            bail!("interrupted before anything was measured");
        }
        for encoding in &package.encodings {
            contestants.push(Contestant {
                row: Row {
                    server: package.short_name().into(),
                    framework: package.framework.clone(),
                    framework_version: package.framework_version.clone(),
                    encoding: Some(encoding.clone()),
                    conformance: None,
                    error: built.as_ref().err().map(|error| format!("{error:#}")),
                    cells: Vec::new(),
                },
                launch: built.as_ref().ok().map(|binary| package.launch(binary, encoding)),
                package: Some(package.clone()),
            });
        }
    }
    Ok(contestants)
}

fn measure(
    contestants: &mut [Contestant],
    workloads: &[Workload],
    rounds: u32,
    cores: Cores,
    seed: u64,
    interrupted: &AtomicBool,
    progress: &mut Progress,
) {
    let mut random = fastrand::Rng::with_seed(seed);
    let running: Vec<usize> =
        (0..contestants.len()).filter(|index| contestants[*index].launch.is_some()).collect();
    let once: Duration =
        workloads.iter().map(|it| Duration::from_nanos(it.duration_ns()) + OVERHEAD).sum();
    progress.expect(once * rounds * running.len() as u32);
    let mut position = 0;
    for round in 1..=rounds {
        for (place, workload) in workloads.iter().enumerate() {
            let mut order = running.clone();
            random.shuffle(&mut order);
            for index in order {
                let contestant = &mut contestants[index];
                let Some(launch) = &contestant.launch else { continue };
                if interrupted.load(Ordering::Relaxed) {
                    return;
                }
                position += 1;
                let row = &contestant.row;
                let encoding = row.encoding.as_deref().unwrap_or_default();
                progress.step(
                    &format!(
                        "measure round {round}/{rounds}  {}  {} {encoding}",
                        workload.name, row.server
                    ),
                    Duration::from_nanos(workload.duration_ns()) + OVERHEAD,
                );
                let window = window::measure(launch, workload, cores);
                contestant.row.cells[place].windows.push(report::Window {
                    round,
                    position,
                    ..window
                });
            }
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
        assert_eq!(error, "there is no profile \"fast\"; choose quick or standard");
        let all = || Profile::find("quick").unwrap().workloads;
        let error = select_workloads(all(), &["nope".into()]).unwrap_err().to_string();
        assert!(error.contains("broadcast, ticks, idle"), "{error}");
        assert_eq!(select_workloads(all(), &["ticks".into()]).unwrap().len(), 1);
    }

    #[test]
    fn the_quick_profile_fits_its_time() {
        let profile = Profile::find("quick").unwrap();
        let once: Duration = profile
            .workloads
            .iter()
            .map(|it| Duration::from_nanos(it.duration_ns()) + OVERHEAD)
            .sum();
        // Five frameworks in two encodings, one in one, and the floor; the rest is for conformance.
        assert!(once * profile.rounds * 12 < Duration::from_secs(4 * 60 - 50), "{once:?}");
    }
}
