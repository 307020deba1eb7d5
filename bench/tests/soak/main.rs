//! `sse-bench soak` on real servers: all of ours keep their promises for a while, and a server that leaks is found.
//!
//! No verdict is a time: in so short a run a slope counts only if no cache explains the rise, and the end is a
//! condition with a deadline of 45 s.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../workspace/servers.rs"]
mod servers;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bench::soak::{Plan, Row, Subject, soak};
use fleet::Launch;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-bench"));
    command.args(["soak", "--json", "-"]).args(arguments);
    command
}

#[test]
fn all_of_ours_keep_their_promises_and_give_all_back() {
    let output = command(&["ours", "--seed", "1", "--duration-s", "45"]).output().unwrap();
    let report = String::from_utf8(output.stdout).unwrap();
    eprintln!("{}\n{report}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "see the report above");
    let report: Value = serde_json::from_str(&report).unwrap();
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), fleet::discover().unwrap().len());
    for row in rows {
        assert_eq!(row["findings"], json!([]));
        let figure = |it: &Value| it.as_u64().unwrap();
        for name in ["acknowledged", "delivered", "moves", "cuts", "breaks", "readings"] {
            assert!(figure(&row[name]) > 0, "a run without {name} says little: {row}");
        }
        for name in ["visits", "visited_events", "stalls", "nonsense", "topics"] {
            assert!(figure(&row["guests"][name]) > 0, "a run without {name} says little: {row}");
        }
        assert_eq!(row["idle_after"]["streams"], 0);
        let growth = |it: &Value| it["growth"] == "cannot_tell";
        assert!(row["courses"].as_array().unwrap().iter().all(growth), "a run of 45 s: {row}");
    }
}

/// With 100 KiB each three times the rise that a short run needs, and there are other connections, too.
const MESSAGES: u64 = 200;

/// A soak of one server, in this process.
fn soaked(launch: Launch, seconds: u64) -> Row {
    let subject = Subject { name: "double".into(), launch, ..Subject::default() };
    let plan = Plan { seed: 7, lasts: Duration::from_secs(seconds), clients: 4, rate: 20 };
    let say = |words: &str| eprintln!("{words}");
    soak(&[subject], &plan, &AtomicBool::new(false), say).swap_remove(0)
}

#[test]
fn a_server_that_keeps_a_descriptor_and_100_kib_of_each_connection_is_found() {
    let package = &servers::packages()[0];
    let real = package.launch(&servers::binary(package).unwrap(), "shared");
    let double = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/soak/leaks.py");
    let args = [vec![double.into(), real.binary.display().to_string()], real.args].concat();
    let launch = Launch { binary: "python3".into(), args, ..Launch::default() };
    // A leak shows with each connection, and each message is one: a host on which hardly any comes shows none.
    let mut attempts = (0..3).map(|_| soaked(launch.clone(), 30));
    let row = attempts.find(|it| it.acknowledged >= MESSAGES).expect("a host that has time for it");
    assert_eq!(row.not_judged, None);
    for words in ["grows: memory", "grows: descriptors", "not given back when all clients had left"]
    {
        assert!(row.findings.iter().any(|it| it.starts_with(words)), "{words}: {:?}", row.findings);
    }
    assert!(row.acknowledged > 0 && row.findings.len() == 3, "{:?}", row.findings);
}

#[test]
fn a_server_that_does_not_start_is_not_judged() {
    let row = soaked(Launch { binary: "/bin/false".into(), ..Launch::default() }, 10);
    assert!(row.not_judged.is_some() && !row.has_failed(), "{row:?}");
}

#[test]
fn ctrl_c_keeps_what_was_measured() {
    let mut running = command(&[servers::packages()[0].short_name(), "--duration-s", "600"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(running.stderr.take().unwrap()).lines();
    assert!(lines.any(|it| it.unwrap().contains("0:00 of 10:00")));
    kill_process(Pid::from_child(&running), Signal::INT).unwrap();
    // The rest is read, too, so that a full pipe holds up nothing.
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    let output = running.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{rest:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["interrupted"], &report["duration_s"]), (&json!(true), &json!(600)));
    assert_eq!(report["rows"][0]["findings"], json!([]));
    assert!(report["rows"][0]["acknowledged"].as_u64() > Some(0));
}
