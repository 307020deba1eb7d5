//! The suite for nodes is tested: two small nodes that share a log, with one switch a case that makes them wrong.
//!
//! With no fault every case must pass. With a fault its case must fail, and no other case but those that
//! rest on it, which are blocked. Nodes that are innocent in a way of their own are accused of no MUST, and
//! of a recommendation only where that is listed.
//!
//! This binary is also the command that kills a node, and a node that is a process.

mod nodes;

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, ExitCode};
use std::time::Duration;

use conform::cluster::{Case, Choice, Cluster, Power, cases, check};
use conform::{CaseResult, Cost, Deviations, Target, Verdict};
use libtest_mimic::{Arguments, Failed, Trial};
use wire::publish::PublishArgs;
use wire::server::Answer;
use wire::{Budget, Connection, Log, Request, Trust};

use crate::nodes::{KEEP_ALIVE, Nodes};

/// How long a case waits for nodes that are known to be wrong.
const PATIENCE: Duration = Duration::from_millis(2500);
/// For what only a broken test waits for.
const DEADLINE: Duration = Duration::from_secs(30);
/// Tests that run at a time for each core: they wait more than they compute.
const TEST_THREADS_PER_CORE: usize = 8;

/// Ways of their authors, the recommendations that they do not follow, and the cases, if not all.
const INNOCENTS: &[(&str, &[&str], &[&str])] = &[
    ("batches", &[], &[]),
    ("live-only", &[], &[]),
    ("live-only-with-ids", &[], &[]),
    // Each text that is left out costs a wait.
    ("latest", &[], &["S13.01", "S13.02", "S13.03", "S13.12", "S13.14"]),
    ("ids-of-the-connection", &[], &[]),
    // A reader that changes nodes cannot go on: that much is said.
    ("ids-of-the-node", &["S13.06"], &[]),
    // Nothing outlives the process, and the nodes say so.
    ("forgets", &[], &[]),
];

/// Exit codes of the command under a fault, with the cases to run, and whether nodes serve the contract.
const EXIT_CODES: &[(&str, &str, bool, i32)] = &[
    ("", "S13.01,S13.08,S13.14", true, 0),
    ("", "S13.01,S13.08", false, 0),
    // Advice to others, a promise of nodes that serve our topics.
    ("S13.08", "S13.01,S13.08", false, 0),
    ("S13.08", "S13.01,S13.08", true, 1),
    ("S13.07", "S13.07", false, 1),
    ("S13.14", "S13.14", true, 1),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[1..] {
        ["control", address, target] => return control(address, target),
        ["serve", port] => serve(port),
        _ => {}
    }
    let mut arguments = Arguments::from_args();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(TEST_THREADS_PER_CORE * cores);
    let mut trials = vec![
        Trial::test("no-fault-all-green", all_green),
        Trial::test("one-place-to-publish", one_place),
        Trial::test("command-starts-the-nodes", starts_the_nodes),
        Trial::test("command-writes-reports", writes_reports),
    ];
    trials.extend(cases().map(|case| Trial::test(case.name(), move || turns_red(case))));
    for (way, advised, only) in INNOCENTS {
        let name = format!("innocent-{way}");
        trials.push(Trial::test(name, move || is_innocent(way, advised, only)));
    }
    for (fault, only, is_contract, code) in EXIT_CODES {
        let name = format!("command-{only}-with-{fault:?}-{is_contract}-exits-{code}");
        trials.push(Trial::test(name, move || exits_with(fault, only, *is_contract, *code)));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn all_green() -> Result<(), Failed> {
    let results = results("", &Choice::default(), true)?;
    let red: Vec<_> = results.iter().filter(|it| it.verdict != Verdict::Pass).collect();
    if red.is_empty() && results.len() == cases().count() {
        Ok(())
    } else {
        Err(format!("{red:#?}").into())
    }
}

/// The case of the fault fails, cases that rest on it are blocked, and no more.
fn turns_red(case: &'static Case) -> Result<(), Failed> {
    let is_wanted = |it: &&Case| it.id == case.id || !it.cost.contains(&Cost::Flood);
    let wanted: Vec<_> = cases().filter(is_wanted).map(|it| it.id.to_owned()).collect();
    let results = results(case.id, &Choice::new(&wanted, &[])?, true)?;
    let is_right = |it: &CaseResult| match it.verdict {
        Verdict::Fail | Verdict::NonStrict => it.id == case.id,
        Verdict::Blocked => it.because.as_deref() == Some(case.id),
        verdict => verdict == Verdict::Pass && it.id != case.id,
    };
    let wrong: Vec<_> = results.iter().filter(|it| !is_right(it)).map(text).collect();
    let advice = "a new case brings its fault into nodes.rs";
    if wrong.is_empty() { Ok(()) } else { Err(format!("{}\n{advice}", wrong.join("\n")).into()) }
}

fn is_innocent(way: &str, advised: &[&str], only: &[&str]) -> Result<(), Failed> {
    let only: Vec<_> = only.iter().map(ToString::to_string).collect();
    let results = results(way, &Choice::new(&only, &[])?, true)?;
    let is_right = |it: &CaseResult| match it.verdict {
        Verdict::Pass | Verdict::Info | Verdict::Skip => !advised.contains(&it.id.as_str()),
        Verdict::NonStrict => advised.contains(&it.id.as_str()),
        Verdict::Blocked => it.because.as_deref().is_some_and(|id| advised.contains(&id)),
        Verdict::Fail | Verdict::Error | Verdict::Adapter => false,
    };
    let mut wrong: Vec<_> = results.iter().filter(|it| !is_right(it)).map(text).collect();
    let passes = |id: &str| results.iter().any(|it| it.id == id && it.verdict == Verdict::Pass);
    if !passes("S13.01") {
        wrong.push("nothing was delivered".to_owned());
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// Where all texts go to one place, cases that choose the node are skipped, and the others hold.
fn one_place() -> Result<(), Failed> {
    let results = results("", &Choice::default(), false)?;
    // The last one kills the node that is the place.
    let skipped = ["S13.04", "S13.13", "S13.14", "S13.19"];
    let expected = |it: &CaseResult| match skipped.contains(&it.id.as_str()) {
        true => Verdict::Skip,
        false => Verdict::Pass,
    };
    let wrong: Vec<_> = results.iter().filter(|it| it.verdict != expected(it)).map(text).collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

fn results(way: &str, choice: &Choice, at_each: bool) -> Result<Vec<CaseResult>, Failed> {
    let nodes = Nodes::start(way);
    let node = |at: usize| {
        let url = |at: usize| format!("http://{}/room", nodes.addresses[at]);
        let publishing = PublishArgs {
            publish: Some(url(if at_each { at } else { 0 })),
            publish_method: "POST".to_owned(),
            publish_body: "{text}".to_owned(),
            ..PublishArgs::default()
        };
        let publication = publishing.publication(&Trust::default())?.expect("it has a URL");
        let target = Target::url(&url(at), PATIENCE)?.with_keep_alive(KEEP_ALIVE);
        let (to_kill, to_start) = (nodes.clone(), nodes.clone());
        let power = Power {
            kill: Some(Box::new(move || {
                to_kill.kill(at);
                Ok(())
            })),
            start: Some(Box::new(move || {
                to_start.revive(at);
                Ok(())
            })),
        };
        Ok::<_, String>((target.with_publication(publication), power))
    };
    let cluster = Cluster::new(vec![node(0)?, node(1)?], at_each, &Budget::unlimited())?;
    Ok(check(&cluster, choice, &Deviations::default()))
}

fn text(result: &CaseResult) -> String {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_default();
    let (expected, actual) = (or_none(&result.expected), or_none(&result.actual));
    format!("{} {}: {expected} / {actual}", result.name(), result.verdict.word())
}

/// The command against nodes as against those of anybody; they are killed by commands.
fn exits_with(fault: &str, only: &str, is_contract: bool, code: i32) -> Result<(), Failed> {
    exits(command(fault, only, is_contract)?, code, "")
}

/// The JSON is what the schema says, and the other reports name the case.
fn writes_reports() -> Result<(), Failed> {
    let folder = std::env::temp_dir().join(format!("sse-cluster-{}", std::process::id()));
    let mut command = command("S13.08", "S13.01,S13.08", true)?;
    let files = ["json", "junit", "md", "html"].map(|it| (it, folder.join(format!("report.{it}"))));
    for (option, path) in &files {
        command.arg(format!("--{option}")).arg(path);
    }
    exits(command, 1, "S13.08 resume-elsewhere")?;
    let texts: Result<Vec<_>, _> =
        files.iter().map(|(_, path)| std::fs::read_to_string(path)).collect();
    let texts = texts?;
    std::fs::remove_dir_all(&folder)?;
    let schema: serde_json::Value = serde_json::from_str(conform::report::JSON_SCHEMA)?;
    let json: serde_json::Value = serde_json::from_str(&texts[0])?;
    let validator = jsonschema::validator_for(&schema)?;
    if let Some(error) = validator.iter_errors(&json).next() {
        return Err(format!("not as the schema says: {error}").into());
    }
    match texts.iter().find(|it| !it.contains("S13.08")) {
        None => Ok(()),
        Some(text) => Err(format!("S13.08 is not in {text}").into()),
    }
}

fn command(fault: &str, only: &str, is_contract: bool) -> Result<Command, Failed> {
    let nodes = Nodes::start(fault);
    let path = if is_contract { "/messages/room" } else { "/room" };
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-bench"));
    command.args(["conform", "cluster", "--only", only, "--patience-ms", "2500"]);
    command.args(nodes.addresses.iter().map(|it| format!("http://{it}{path}")));
    if !is_contract {
        command.args(["--publish", "/room"]);
    }
    let control = switchboard(nodes);
    let program = std::env::current_exe()?;
    for (option, word) in [("--kill-cmd", "kill"), ("--start-cmd", "start")] {
        command.arg(option);
        command.arg(format!("'{}' control {control} /{word}/{{node}}", program.display()));
    }
    Ok(command)
}

/// Nodes that the command starts are processes, which know nothing of each other.
fn starts_the_nodes() -> Result<(), Failed> {
    let free = || fleet::free_port().map_err(|error| Failed::from(format!("{error:#}")));
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-bench"));
    command.args(["conform", "cluster", "--only", "S13.12", "--publish", "/room"]);
    for _ in 0..2 {
        command.arg(format!("http://127.0.0.1:{}/room", free()?));
    }
    let program = std::env::current_exe()?;
    command.args(["--start-cmd", &format!("'{}' serve {{port}}", program.display())]);
    exits(command, 0, "1 passed")
}

fn exits(mut command: Command, code: i32, words: &str) -> Result<(), Failed> {
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.code() == Some(code) && said.contains(words) {
        return Ok(());
    }
    let complained = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}, not {code}\n{said}\n{complained}", output.status).into())
}

/// An address at which nodes are killed and started.
fn switchboard(nodes: Nodes) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    wire::server::serve(listener, 0, move |request| {
        let (word, number) = request.target.rsplit_once('/').unwrap_or_default();
        let at = number.parse::<usize>().expect("the number of a node") - 1;
        match word {
            "/kill" => nodes.kill(at),
            _ => nodes.revive(at),
        }
        Answer { status: "200 OK", ..Answer::default() }
    });
    address
}

/// The command that kills a node, or starts it.
fn control(address: &str, target: &str) -> ExitCode {
    let request = Request::new("GET", target).header("Host", "nodes");
    let asked = Connection::open(address, DEADLINE, &Log::new())
        .and_then(|mut it| it.ask(&request).map(|_| ()));
    if asked.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A node that is a process.
fn serve(port: &str) -> ! {
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).expect("the port is free");
    let _nodes = Nodes::at("", vec![listener]);
    loop {
        std::thread::park();
    }
}
