//! The suite is tested: a small server that is right, with one switch a case that makes it wrong.
//!
//! This binary is both: started with `serve --fault S4.06 --port 0` it is the server, otherwise it
//! runs the tests. With no fault every case must pass. With a fault its case must fail, and
//! beside it only those that `faults.rs` lists: the whole suite runs under each switch, without the
//! floods and the long cases, which run under their own. A case without a fault in the server stays
//! green, so its test fails: a new case brings its fault.

mod encoder;
mod faults;
mod http;
mod http2;
mod server;
mod stream;
mod topics;
mod ways;

use std::collections::BTreeSet;
use std::process::{Command, ExitCode};
use std::sync::OnceLock;
use std::time::Duration;

use conform::server::{Case, Need, Selection, Target, cases, check_each};
use conform::{CaseResult, Deviations, Level, Verdict};
use fleet::{Launch, Server};
use libtest_mimic::{Arguments, Failed, Trial};

use crate::faults::{ALSO, MORE_FAULTS};

/// Exit codes of `sse-bench conform server URL` for a fault, with further arguments.
const EXIT_CODES: &[(&str, &[&str], i32)] = &[
    ("none", &["--strict"], 0),
    ("S1.06", &[], 0),
    ("S1.06", &["--strict"], 1),
    // A fault of HTTP is shown, and by default only one of the stream fails the run.
    ("S9.10", &[], 0),
    ("S9.10", &["--scope=all"], 1),
    ("S9.10", &["--scope=http"], 1),
    ("S3.01", &["--scope=http"], 0),
    ("S3.01", &[], 1),
    // No event stream, so there is nothing to check.
    ("S1.02", &[], 2),
];

/// How long a case waits for a server that is known to be wrong.
const PATIENCE: Duration = Duration::from_millis(3000);
/// The keep-alive of the server: short, so that cases that wait for it are.
const KEEP_ALIVE: Duration = Duration::from_millis(100);
/// Long cases run in a tenth of their time here: the server is as fast.
const LONG_SCALE: f64 = 0.1;
/// They begin first: whatever else there is ends while they wait.
const LONGEST: &[&str] = &["command-", "S5.02-S5.02-room", "S7.05-S7.05-room"];
/// Tests that run at a time for each core: they wait more than they compute, and each has a server.
const TEST_THREADS_PER_CORE: usize = 8;

static FAULT: OnceLock<String> = OnceLock::new();

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|it| it == "serve") {
        let fault = arguments.iter().skip_while(|it| *it != "--fault").nth(1);
        FAULT.get_or_init(|| fault.cloned().unwrap_or_default());
        server::serve();
    }
    let mut arguments = Arguments::from_args();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(TEST_THREADS_PER_CORE * cores);
    let mut trials = vec![
        Trial::test("faults-name-cases", faults_name_cases),
        Trial::test("no-fault-all-green", || all_green(&fast())),
        Trial::test("no-fault-http2-all-green", || all_green(&http2())),
    ];
    for (fault, more, code) in EXIT_CODES {
        let name = format!("command-{fault}{}-exits-{code}", more.concat().replace("--", "-"));
        trials.push(Trial::test(name, || exits_with(fault, more, *code)));
    }
    for case in cases().filter(|case| !is_fast(case)) {
        trials.push(Trial::test(format!("no-fault-{}", case.name()), || all_green(&[case])));
    }
    for case in cases().filter(|case| case.level != Level::Info) {
        trials.push(Trial::test(case.name(), || turns_red(case, case.id)));
    }
    for (id, fault) in MORE_FAULTS {
        let Some(case) = cases().find(|case| case.id == *id) else { continue };
        let fault = format!("{id}-{fault}");
        trials.push(Trial::test(fault.clone(), move || turns_red(case, &fault)));
    }
    trials.extend(ways::trials());
    trials.sort_by_key(|it| !LONGEST.iter().any(|name| it.name().starts_with(name)));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Whether the server has this fault.
fn fault(id: &str) -> bool {
    FAULT.get().is_some_and(|fault| fault == id)
}

/// The value of a flag of the server.
fn option(name: &str, default: usize) -> usize {
    static ARGUMENTS: OnceLock<Vec<String>> = OnceLock::new();
    let arguments = ARGUMENTS.get_or_init(|| std::env::args().collect());
    let value = arguments.iter().skip_while(|it| *it != name).nth(1);
    value.and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// The cases that run under every switch, but for those of HTTP/2.
fn fast() -> Vec<&'static Case> {
    cases().filter(|case| is_fast(case) && !is_http2(case)).collect()
}

/// The cases over HTTP/2. Another part of the server answers them, so a switch is seen there or by the others.
fn http2() -> Vec<&'static Case> {
    cases().filter(|case| is_http2(case)).collect()
}

fn is_http2(case: &Case) -> bool {
    case.needs.contains(&Need::Http2)
}

fn is_fast(case: &Case) -> bool {
    let target = Target::contract(([127, 0, 0, 1], 1).into(), None);
    !case.is_flood() && !case.is_long(&target)
}

fn faults_name_cases() -> Result<(), Failed> {
    let known = |id: &str| cases().any(|case| case.id == id);
    let of_fault = |fault: &str| known(fault.split('-').next().unwrap_or_default());
    let unknown = MORE_FAULTS.iter().map(|(id, _)| *id).filter(|id| !known(id));
    let unknown = unknown.chain(ALSO.iter().map(|(fault, _)| *fault).filter(|it| !of_fault(it)));
    let unknown: Vec<_> = unknown
        .chain(ALSO.iter().flat_map(|(_, ids)| *ids).copied().filter(|id| !known(id)))
        .collect();
    if unknown.is_empty() { Ok(()) } else { Err(format!("no such cases: {unknown:?}").into()) }
}

fn all_green(wanted: &[&Case]) -> Result<(), Failed> {
    let results = check_with("none", wanted, Duration::from_secs(5))?;
    let red: Vec<_> = results.iter().filter(|it| !is_green(it)).collect();
    let complete = results.len() == wanted.len();
    if red.is_empty() && complete { Ok(()) } else { Err(format!("{red:#?}").into()) }
}

/// The fault's own case fails, the other listed cases fail or are blocked, and no more.
fn turns_red(case: &'static Case, fault: &str) -> Result<(), Failed> {
    let mut wanted = match () {
        () if is_http2(case) => http2(),
        () if is_fast(case) => fast(),
        () => vec![case],
    };
    // They record what they see and never fail.
    wanted.retain(|case| case.level != Level::Info);
    let results = check_with(fault, &wanted, PATIENCE)?;
    let with = |wanted: &dyn Fn(&CaseResult) -> bool| -> BTreeSet<&str> {
        results.iter().filter(|it| wanted(it)).map(|it| it.id.as_str()).collect()
    };
    let also = ALSO.iter().find(|(other, _)| *other == fault).map_or(&[][..], |(_, ids)| *ids);
    let expected: BTreeSet<&str> = also.iter().copied().chain([case.id]).collect();
    let red = with(&CaseResult::is_miss);
    let blocked = with(&|it| it.verdict == Verdict::Blocked);
    let errors = with(&|it| it.verdict == Verdict::Error);
    let green: Vec<_> =
        expected.iter().filter(|id| !red.contains(*id) && !blocked.contains(*id)).collect();
    let others: Vec<_> = red.difference(&expected).collect();
    let is_exact = red.contains(case.id) && green.is_empty() && others.is_empty();
    if is_exact && errors.is_empty() {
        return Ok(());
    }
    let shown = |it: &&CaseResult| it.id == case.id || others.contains(&&it.id.as_str());
    let shown: Vec<_> = results.iter().filter(shown).map(text).collect();
    Err(format!(
        "under {fault}: green but should not be {green:?}{}, red but should not be {others:?}, \
         errors {errors:?}, blocked {}\n{}",
        advice(&green, fault),
        blocked.len(),
        shown.join("\n")
    )
    .into())
}

/// The usual reason of a new case, whose fault is not written yet.
fn advice(green: &[&&str], fault: &str) -> String {
    match green {
        [] => String::new(),
        _ => format!(" (a new case brings its fault, `fault({fault:?})` in this folder)"),
    }
}

fn text(result: &CaseResult) -> String {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_default();
    let (expected, actual) = (or_none(&result.expected), or_none(&result.actual));
    format!("{} {}: {expected} / {actual}", result.name(), result.verdict.word())
}

/// The command against the server as it would be against any other.
fn exits_with(fault: &str, more: &[&str], code: i32) -> Result<(), Failed> {
    let server = Server::start(&launch(fault)?).map_err(|error| words(&error))?;
    let url = format!("http://{}/ticks?interval_ms=50", server.addr());
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-bench"));
    command.args(["conform", "server", &url]).args(more);
    // It keeps the requests of failures in `target`.
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr).into_owned();
    // On a busy machine it says now and then how far it is.
    let complaints = complained.lines().filter(|line| !line.contains(" cases, "));
    let one_line = complaints.count() == usize::from(code == 2);
    if output.status.code() == Some(code) && one_line {
        return Ok(());
    }
    Err(format!("{}, not {code}\n{said}\n{complained}", output.status).into())
}

fn check_with(
    fault: &str,
    wanted: &[&Case],
    patience: Duration,
) -> Result<Vec<CaseResult>, Failed> {
    let launch = launch(fault)?;
    let server = Server::start(&launch).map_err(|error| words(&error))?;
    let target = Target::contract(server.addr(), Some(launch)).with_patience(patience);
    let mut target = target.with_keep_alive(KEEP_ALIVE).over_http2();
    if wanted.iter().all(|case| case.is_long(&target) && !case.is_flood()) {
        target = target.with_scale(LONG_SCALE);
    }
    let ids: Vec<_> = wanted.iter().map(|case| case.id.to_owned()).collect();
    let selection = Selection::new(&ids, &[])?;
    Ok(check_each(&target, &selection, &Deviations::default(), &|_| {}))
}

fn launch(fault: &str) -> Result<Launch, Failed> {
    let keep_alive_ms = KEEP_ALIVE.as_millis().to_string();
    let args = ["serve", "--fault", fault, "--keep-alive-ms", &keep_alive_ms];
    let args = args.map(str::to_owned).to_vec();
    Ok(Launch { binary: std::env::current_exe()?, args, ..Launch::default() })
}

fn words(error: &anyhow::Error) -> Failed {
    format!("{error:#}").into()
}

fn is_green(result: &CaseResult) -> bool {
    matches!(result.verdict, Verdict::Pass | Verdict::Info)
}
