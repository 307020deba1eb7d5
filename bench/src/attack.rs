//! `sse-bench attack`: crowds, floods and nonsense against the servers of the workspace.
//!
//! An attack starts a server anew, does one thing to it at a size that is chosen, and looks whether a
//! promise still holds. All that is random comes from the seed. A limit of a framework is an
//! `[[attack]]` entry in the server's `deviations.toml`: it is shown and fails no run, and it is out of
//! date once the server withstands the attack.

mod broadcast;
pub(crate) mod kernel_memory;
mod malformed;
mod report;
mod sigterm;
mod size;
mod stalled;
mod streams;
mod target;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use conform::host::{self, Watch};
use conform::{AttackDeviation, Deviations};
use fleet::{Package, Servers};
use serde::Serialize;

pub use self::report::{Report, Row, Verdict};
pub use self::size::Size;
pub use self::target::{PATIENCE, Target};
use crate::outputs::Outputs;
use crate::report::Environment;
use crate::run::progress::Progress;

/// A server withstood all attacks, or failed as is known.
const EXIT_HELD: u8 = 0;
/// A promise was broken, or a known failure is none any more.
const EXIT_FAILED: u8 = 1;
/// An attack could not be made or judged.
const EXIT_COULD_NOT_RUN: u8 = 2;

/// A host that is late by this much with a few milliseconds of work gives a server so little of a core that
/// a wait of any length says nothing.
const BUSY: Duration = Duration::from_millis(300);

/// Which servers, which attacks, and how large.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Attacks, each on a fresh process:
  streams    many streams stay open: each gets each event, and at the end all
             descriptors are free again
  sigterm    SIGTERM with many streams: each ends whole, with a retry line, and
             the server exits with 0 within 2 s
  broadcast  8 publishers at once: each reader gets each message once, all in
             one order
  malformed  random malformed requests: no other client loses anything, and
             nothing is left behind
  stalled    readers that do not read: each takes 256 KiB of the kernel's
             memory at most

Sizes:
  short   6 servers in a minute
  medium  some minutes
  long    half an hour; a stream is an open file, so it needs ulimit -n 20000

Examples:
  sse-bench attack                                   all servers, all attacks
  sse-bench attack axum --only malformed --seed 7    one attack, with its seed
  sse-bench attack ours --size long --release \\
    --json target/attack.json --md target/attack.md
  sse-bench attack --json - | jq '.rows[] | select(.verdict != \"held\")'

A known limit of a framework is an [[attack]] entry in the server's deviations.toml.

Exit codes:
  0  all attacks held, or failed as is known
  1  an attack failed, or a known failure is gone
  2  could not run, or the host was too busy to judge")]
pub struct Args {
    /// A server of this repository, by name or folder, or `ours`
    #[arg(default_value = "ours", value_name = "NAME")]
    server: String,
    /// How large: short, medium or long
    #[arg(long, default_value = "short", value_name = "NAME", value_parser = Size::find)]
    size: Size,
    /// Seed of all that is random [default: random, and printed]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Only the attacks with this word in their names
    #[arg(long, value_name = "WORD")]
    only: Option<String>,
    /// Attack release builds instead of debug builds: sizes above short are meant for them
    #[arg(long)]
    release: bool,
    /// Where the results go
    #[command(flatten)]
    outputs: Outputs,
}

/// A promise, and how it is attacked.
#[derive(Debug)]
pub struct Attack {
    /// Its name on the command line.
    pub name: &'static str,
    /// The promise, with the numbers of a size.
    pub promise: fn(&Size) -> String,
    run: fn(&Target) -> Outcome,
}

/// All attacks.
pub const ATTACKS: &[Attack] = &[
    Attack { name: "streams", promise: streams::promise, run: streams::run },
    Attack { name: "sigterm", promise: sigterm::promise, run: sigterm::run },
    Attack { name: "broadcast", promise: broadcast::promise, run: broadcast::run },
    Attack { name: "malformed", promise: malformed::promise, run: malformed::run },
    Attack { name: "stalled", promise: stalled::promise, run: stalled::run },
];

/// The figures of an attack that a server withstood.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// The one for the table, with its unit.
    pub headline: String,
    /// All of them.
    pub all: serde_json::Value,
}

/// Why an attack has no figures.
#[derive(Debug)]
pub enum Failure {
    /// The server broke its promise.
    Broken(String),
    /// It did not keep it in time: broken, unless the host was too busy.
    Late(String),
    /// The attack could not be made, or says nothing on so busy a host.
    NotJudged(String),
}

/// The end of an attack.
pub type Outcome = std::result::Result<Figures, Failure>;

impl Attack {
    /// Attacks a fresh process of a server.
    ///
    /// # Errors
    /// When the promise is broken, or nothing can be said.
    pub fn run(&self, target: &Target) -> Outcome {
        let _watch = Watch::start();
        (self.run)(target).map_err(|failure| {
            let Failure::Late(words) = failure else { return failure };
            let begin = Instant::now().checked_sub(target.patience);
            let host_late = begin.map_or(Duration::ZERO, host::worst_since);
            if host_late > BUSY {
                let late = host_late.as_millis();
                return Failure::NotJudged(format!("{words}, on a host late by {late} ms itself"));
            }
            Failure::Broken(words)
        })
    }

    /// The entry that says that this attack fails on a release or debug build, if there is one.
    pub fn known<'d>(&self, all: &'d Deviations, release: bool) -> Option<&'d AttackDeviation> {
        let build = if release { "release" } else { "debug" };
        let holds = |it: &&AttackDeviation| it.build.as_deref().is_none_or(|it| it == build);
        all.attacks().iter().filter(holds).find(|it| it.attack == self.name)
    }
}

/// Attacks the servers and prints a table.
///
/// # Errors
/// When there is no such server or attack, a server does not build, or a file cannot be written.
pub fn run(args: &Args) -> Result<ExitCode> {
    let began = jiff::Timestamp::now();
    let attacks = select(args.only.as_deref())?;
    let packages = packages(&args.server)?;
    let open_files = enough_fds(&args.size)?;
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(0..1 << 32));
    let mut progress = Progress::new();
    let mut rows = Vec::new();
    for package in &packages {
        progress.hand_over(&format!("build {}", package.name));
        let binary = fleet::build(package, args.release)?;
        let deviations = deviations(package)?;
        let launch = package.launch(&binary, "shared");
        let target = Target { launch, size: args.size, seed, patience: PATIENCE };
        for attack in &attacks {
            let (number, all) = (rows.len() + 1, packages.len() * attacks.len());
            let (server, name) = (package.short_name(), attack.name);
            progress.say(&format!("[{number}/{all}] {server} {name}"));
            let began = Instant::now();
            let outcome = attack.run(&target);
            let took_s = began.elapsed().as_secs_f64();
            let framework = format!("{} {}", package.framework, package.framework_version);
            rows.push(Row {
                server: server.to_owned(),
                framework,
                took_s,
                again: command(args, server, Some(name), seed),
                ..Row::judge(name, outcome, attack.known(&deviations, args.release))
            });
        }
    }
    progress.end();
    let environment = Environment::read(open_files, fleet::allowed_cores()?.len());
    let report = Report {
        began: format!("{began:.0}"),
        command: command(args, &args.server, args.only.as_deref(), seed),
        seed,
        size: args.size,
        release: args.release,
        environment,
        rows,
        ..Report::default()
    };
    args.outputs.publish(&report, &report.text(), &report.markdown())?;
    Ok(ExitCode::from(if report.has(Verdict::Failed) || report.has(Verdict::Healed) {
        EXIT_FAILED
    } else if report.has(Verdict::NotJudged) {
        EXIT_COULD_NOT_RUN
    } else {
        EXIT_HELD
    }))
}

/// The attacks whose names contain a word.
fn select(word: Option<&str>) -> Result<Vec<&'static Attack>> {
    let has = |it: &&Attack| word.is_none_or(|word| it.name.contains(word));
    let found: Vec<_> = ATTACKS.iter().filter(has).collect();
    if found.is_empty() {
        let names: Vec<_> = ATTACKS.iter().map(|it| it.name).collect();
        bail!("no attack has {:?} in its name; there are {}", word.unwrap_or(""), names.join(", "));
    }
    Ok(found)
}

fn packages(server: &str) -> Result<Vec<Package>> {
    Servers::named(&[server])?.only_ours()
}

/// The known failures of a server; each names an attack.
fn deviations(package: &Package) -> Result<Deviations> {
    let deviations = Deviations::read(&package.folder).map_err(anyhow::Error::msg)?;
    let is_known = |it: &&AttackDeviation| ATTACKS.iter().any(|attack| attack.name == it.attack);
    match deviations.attacks().iter().find(|it| !is_known(it)) {
        Some(it) => bail!("deviations.toml of {}: no attack {:?}", package.name, it.attack),
        None => Ok(deviations),
    }
}

/// Each connection is an open file, here and in the server, which has the same limit.
fn enough_fds(size: &Size) -> Result<u64> {
    let limit = fleet::raise_fd_limit().context("cannot raise the limit of open files")?;
    let needed = size.connections() as u64 + fleet::SPARE_FDS;
    if limit < needed {
        bail!(
            "--size {} needs {needed} open files and {limit} are allowed; raise it: \
             ulimit -Hn {needed}, or take a smaller size",
            size.name
        );
    }
    Ok(limit)
}

/// The command that does the same again.
fn command(args: &Args, server: &str, only: Option<&str>, seed: u64) -> String {
    let only = only.map_or(String::new(), |it| format!(" --only {it}"));
    let release = if args.release { " --release" } else { "" };
    format!("sse-bench attack {server}{only} --size {} --seed {seed}{release}", args.size.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attacks_are_found_by_a_word_of_their_names() {
        let names = |word| select(word).unwrap().iter().map(|it| it.name).collect::<Vec<_>>();
        assert_eq!(names(Some("stal")), ["stalled"]);
        assert_eq!(names(None).len(), ATTACKS.len());
        let error = select(Some("nope")).unwrap_err().to_string();
        assert!(error.contains("\"nope\"") && error.contains("sigterm"), "{error}");
    }
}
