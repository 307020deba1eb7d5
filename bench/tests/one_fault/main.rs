//! The suite is tested: a small server that is right, with one switch a case that makes it wrong.
//!
//! This binary is both: started with `serve --fault S4.06 --port 0` it is the server, otherwise it
//! runs the tests. With no fault every case must pass; with its fault each case must be missed. A
//! case without a fault in the server stays green, so its test fails: a new case brings its fault.

mod encoder;
mod http;
mod server;

use std::process::{Command, ExitCode};
use std::sync::OnceLock;
use std::time::Duration;

use bench::conformance::{
    CaseResult, Deviations, Level, Selection, Target, Verdict, cases, check_each,
};
use bench::fleet::{Launch, Server};
use libtest_mimic::{Arguments, Failed, Trial};

/// Further ways to miss a case, each its own switch.
const MORE_FAULTS: &[(&str, &str)] = &[
    ("S1.02", "twice"),
    ("S2.04", "length"),
    ("S9.05", "without-get"),
    ("S9.22", "8000"),
    ("S10.07", "head"),
    ("S10.08", "stream"),
    ("S11.01", "exit-code"),
];

/// What `sse-bench conform server URL` makes of a fault, with and without `--strict`.
const EXIT_CODES: &[(&str, bool, i32)] = &[
    ("none", true, 0),
    ("S1.06", false, 0),
    ("S1.06", true, 1),
    ("S9.10", false, 1),
    // No event stream, so there is nothing to check.
    ("S1.02", false, 2),
];

/// How long a case waits for a server that is known to be wrong.
const PATIENCE: Duration = Duration::from_millis(1500);

static FAULT: OnceLock<String> = OnceLock::new();

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|it| it == "serve") {
        let fault = arguments.iter().skip_while(|it| *it != "--fault").nth(1);
        FAULT.get_or_init(|| fault.cloned().unwrap_or_default());
        server::serve();
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(8);
    let mut trials = vec![Trial::test("no-fault-all-green", || {
        let results = check_with("none", &[], Duration::from_secs(5))?;
        let red: Vec<_> = results.iter().filter(|it| !is_green(it)).collect();
        if red.is_empty() { Ok(()) } else { Err(format!("{red:#?}").into()) }
    })];
    for case in cases().filter(|case| case.level != Level::Info) {
        trials.push(Trial::test(case.name(), || turns_red(case.id, case.id)));
    }
    for (id, fault) in MORE_FAULTS {
        let fault = format!("{id}-{fault}");
        trials.push(Trial::test(fault.clone(), move || turns_red(id, &fault)));
    }
    for (fault, strict, code) in EXIT_CODES {
        let strict_words = if *strict { "-strict" } else { "" };
        let name = format!("command-{fault}{strict_words}-exits-{code}");
        trials.push(Trial::test(name, || exits_with(fault, *strict, *code)));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Whether the server has this fault.
fn fault(id: &str) -> bool {
    FAULT.get().is_some_and(|fault| fault == id)
}

fn turns_red(id: &str, fault: &str) -> Result<(), Failed> {
    let results = check_with(fault, &[id.to_owned()], PATIENCE)?;
    match results.as_slice() {
        [result] if result.is_miss() && result.is_unexpected(true) => Ok(()),
        others => Err(format!("the fault {fault} is not seen: {others:#?}").into()),
    }
}

/// The command against the server as it would be against anybody's.
fn exits_with(fault: &str, strict: bool, code: i32) -> Result<(), Failed> {
    let server = Server::start(&launch(fault)?).map_err(|error| words(&error))?;
    let url = format!("http://{}/ticks?interval_ms=50", server.addr());
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-bench"));
    command.args(["conform", "server", &url]).args(strict.then_some("--strict"));
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr).into_owned();
    let one_line = complained.lines().count() == usize::from(code == 2);
    if output.status.code() == Some(code) && one_line {
        return Ok(());
    }
    Err(format!("{}, not {code}\n{said}\n{complained}", output.status).into())
}

fn check_with(fault: &str, only: &[String], patience: Duration) -> Result<Vec<CaseResult>, Failed> {
    let launch = launch(fault)?;
    let server = Server::start(&launch).map_err(|error| words(&error))?;
    let target = Target::contract(server.addr(), Some(launch)).with_patience(patience);
    let selection = Selection::new(only, &[])?;
    Ok(check_each(&target, &selection, &Deviations::default(), &|_| {}))
}

fn launch(fault: &str) -> Result<Launch, Failed> {
    let args = ["serve", "--fault", fault].map(str::to_owned).to_vec();
    Ok(Launch { binary: std::env::current_exe()?, args, core: None })
}

fn words(error: &anyhow::Error) -> Failed {
    format!("{error:#}").into()
}

fn is_green(result: &CaseResult) -> bool {
    matches!(result.verdict, Verdict::Pass | Verdict::Info)
}
