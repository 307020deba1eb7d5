//! The generator against the floor, which lies by a known amount: the harness must find exactly it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::process::Command;

use bench::fleet::{Launch, Server};
use bench::load::generator::{self, Outcome};
use bench::load::{Shape, Workload};
use bench::timer::unix_ns;

/// Few subscribers, so that the test runs beside others; the counts are exact all the same.
const SUBSCRIBERS: u64 = 40;

fn floor(faults: &[&str]) -> Server {
    let args = ["floor"].into_iter().chain(faults.iter().copied()).map(str::to_owned).collect();
    let launch = Launch { binary: env!("CARGO_BIN_EXE_sse-bench").into(), args, core: None };
    Server::start(&launch).unwrap()
}

/// 5 messages to warm up, 20 in the window.
fn broadcast() -> Workload {
    let shape =
        Shape::Broadcast { subscribers: SUBSCRIBERS, interval_ms: 10, warm_up: 5, messages: 20 };
    Workload { shape, ..Workload::broadcast(0) }
}

/// 10 events each in the window.
fn ticks() -> Workload {
    let shape = Shape::Ticks { subscribers: SUBSCRIBERS, interval_ms: 20, warm_up: 2, events: 10 };
    Workload { shape, ..Workload::ticks(0) }
}

fn load(addr: SocketAddr, workload: &Workload) -> Outcome {
    generator::run(&workload.plan(addr, unix_ns()), unix_ns, |_| {}).unwrap()
}

/// Runs the workload against a floor with these faults, which must end well in any case.
fn outcome(workload: &Workload, faults: &[&str]) -> Outcome {
    let server = floor(faults);
    let outcome = load(server.addr(), workload);
    assert!(server.stop().unwrap().status.success());
    outcome
}

#[test]
fn an_honest_server_has_no_fault_and_every_delivery_is_counted() {
    for (workload, each) in [(broadcast(), 20), (ticks(), 10)] {
        let outcome = outcome(&workload, &[]);
        assert_eq!(outcome.fault(), None, "{}", workload.name);
        assert_eq!(outcome.expected, SUBSCRIBERS * each);
        assert_eq!(outcome.delivered, outcome.expected);
        assert_eq!(outcome.latency_ns.len(), outcome.expected);
    }
}

#[test]
fn every_dropped_event_is_a_gap() {
    // Of 25 events, 7, 14 and 21 are dropped; 5 events warm up, so all are in the window.
    let outcome = outcome(&broadcast(), &["--fault-drop-each", "7"]);
    assert_eq!(outcome.gaps, SUBSCRIBERS * 3);
    assert_eq!(outcome.delivered, SUBSCRIBERS * 17);
    assert_eq!((outcome.duplicates, outcome.out_of_order), (0, 0));
    assert_eq!(outcome.fault().unwrap(), format!("{} events lost", SUBSCRIBERS * 3));
}

#[test]
fn a_last_event_that_never_comes_is_a_gap() {
    let outcome = outcome(&broadcast(), &["--fault-drop-each", "25"]);
    assert_eq!((outcome.gaps, outcome.delivered), (SUBSCRIBERS, SUBSCRIBERS * 19));
}

#[test]
fn every_doubled_event_is_a_duplicate_and_no_delivery() {
    let outcome = outcome(&broadcast(), &["--fault-duplicate-each", "7"]);
    assert_eq!(outcome.duplicates, SUBSCRIBERS * 3);
    assert_eq!((outcome.gaps, outcome.out_of_order), (0, 0));
    assert_eq!(outcome.delivered, outcome.expected);
}

#[test]
fn every_swapped_pair_is_out_of_order_and_nothing_else() {
    let outcome = outcome(&broadcast(), &["--fault-swap-each", "7"]);
    assert_eq!(outcome.out_of_order, SUBSCRIBERS * 3);
    assert_eq!((outcome.gaps, outcome.duplicates), (0, 0));
    assert_eq!(outcome.delivered, outcome.expected);
}

#[test]
fn ticks_show_the_same_faults() {
    let dropped = outcome(&ticks(), &["--fault-drop-each", "5"]);
    assert!(dropped.gaps >= SUBSCRIBERS * 2, "{}", dropped.gaps);
    assert_eq!(dropped.delivered, SUBSCRIBERS * 8);
    let doubled = outcome(&ticks(), &["--fault-duplicate-each", "5"]);
    assert!(doubled.duplicates >= SUBSCRIBERS * 2, "{}", doubled.duplicates);
    assert_eq!(doubled.delivered, doubled.expected);
}

#[test]
fn a_delay_shows_in_the_latency_in_full() {
    for workload in [broadcast(), ticks()] {
        let outcome = outcome(&workload, &["--fault-delay-us", "30000"]);
        assert_eq!(outcome.fault(), None, "{}", workload.name);
        let least_ms = outcome.latency_ns.min() / 1_000_000;
        assert!((29..200).contains(&least_ms), "{}: {least_ms} ms", workload.name);
    }
}

#[test]
fn a_server_that_is_not_there_is_a_fault_and_not_a_hang() {
    let server = floor(&[]);
    let addr = server.addr();
    server.stop().unwrap();
    let fault = load(addr, &broadcast()).fault().unwrap();
    assert!(fault.contains("refused"), "{fault}");
}

#[test]
fn a_server_that_dies_is_a_fault_and_not_a_hang() {
    let server = floor(&[]);
    let workload = broadcast();
    let mut plan = workload.plan(server.addr(), unix_ns());
    plan.marks_ns = vec![plan.window_ns.start];
    let mut server = Some(server);
    let outcome = generator::run(&plan, unix_ns, |_| drop(server.take())).unwrap();
    assert_eq!(outcome.early_closes, SUBSCRIBERS);
    assert!(outcome.fault().unwrap().contains("streams ended early"));
}

#[test]
fn an_answer_that_is_no_stream_is_a_fault() {
    let server = floor(&[]);
    let mut plan = broadcast().plan(server.addr(), unix_ns());
    plan.target = "/nothing".into();
    let fault = generator::run(&plan, unix_ns, |_| {}).unwrap().fault().unwrap();
    assert!(fault.contains("answered 404"), "{fault}");
}

/// The command's exit code and what it says on stderr.
fn command(args: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sse-bench")).args(args).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn what_cannot_run_is_one_line_with_advice_and_exit_code_2() {
    let server = floor(&[]);
    let no_stream = format!("http://{}/healthz", server.addr());
    for (args, advice) in [
        (["run", "--only", "nope"], "choose one of"),
        (["run", "--profile", "nope"], "choose quick or standard"),
        (["report", "--splice=x", "/nope"], "give the folder that a run wrote"),
        (["load", "--duration-s=1", "http://127.0.0.1:1/"], "refused"),
        (["load", "--duration-s=1", "https://127.0.0.1:1/"], "not an http:// URL"),
        (["load", "--duration-s=1", no_stream.as_str()], "instead of 200 text/event-stream"),
    ] {
        let (code, words) = command(&args);
        assert_eq!((code, words.lines().count()), (2, 1), "{args:?}: {words}");
        assert!(words.contains(advice), "{args:?}: {words}");
    }
    server.stop().unwrap();
}

#[test]
fn load_counts_the_events_of_any_stream() {
    let server = floor(&[]);
    let url = format!("http://{}/ticks?interval_ms=50&stamp=1", server.addr());
    let output = Command::new(env!("CARGO_BIN_EXE_sse-bench"))
        .args(["load", &url, "--connections", "20", "--duration-s", "1"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    // 20 streams of 20 events a second; where the window cuts, one event of each may be missing.
    let events = text.lines().find_map(|line| line.strip_prefix("events")).unwrap();
    let events: u64 = events.split_whitespace().next().unwrap().parse().unwrap();
    assert!((380..=420).contains(&events), "{text}");
    assert!(text.contains("20 of 20 opened") && text.contains("p99"), "{text}");
}
