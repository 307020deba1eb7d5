//! `sse-bench chaos` on real nodes and brokers: schedules of fixed seeds hold, and each planted fault turns the command
//! red and is what the shortest schedule has left.
//!
//! The servers are built with the feature `nats`. `./test.sh` builds them beforehand and names their folder in
//! `SSE_NATS_SERVERS`; without it the command builds them.
//!
//! No verdict is a time: a run on a host that is too slow for its deadlines ends with exit code 2.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../workspace/servers.rs"]
mod servers;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// Few enough for two cores that do something else as well.
const SMALL: [&str; 4] = ["--clients", "20", "--rate", "50"];

/// The names of so many servers.
fn nodes(count: usize) -> Vec<&'static str> {
    servers::packages().iter().map(|it| it.short_name()).take(count).collect()
}

/// Runs the command; its exit code, and its report.
fn chaos(arguments: &[&str]) -> (Option<i32>, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-bench"));
    command.args(["chaos", "--json", "-"]).args(arguments);
    if let Some(folder) = std::env::var_os("SSE_NATS_SERVERS") {
        command.arg("--programs").arg(folder);
    }
    let output = command.output().unwrap();
    let report = String::from_utf8(output.stdout).unwrap();
    eprintln!("{}\n{report}", String::from_utf8_lossy(&output.stderr));
    (output.status.code(), serde_json::from_str(&report).unwrap_or_default())
}

/// Plays what a seed decides: nothing is lost, doubled or out of order.
fn holds(arguments: &[&str]) -> Value {
    let (code, report) = chaos(&[&SMALL[..], arguments].concat());
    assert_eq!(code, Some(0), "see the report above");
    let row = report["rows"][0].clone();
    assert_eq!(row["findings"], json!([]));
    let figure = |name: &str| row["figures"][name].as_u64().unwrap();
    for name in ["moves", "kills", "stops", "broker_restarts", "cuts", "acknowledged"] {
        assert!(figure(name) > 0, "a run without {name} says little: {row}");
    }
    row
}

#[test]
fn six_nodes_on_one_broker_lose_and_double_nothing() {
    let row = holds(&["--seed", "1", "--duration-s", "60"]);
    let (acknowledged, delivered) = (&row["figures"]["acknowledged"], &row["figures"]["delivered"]);
    assert!(delivered.as_u64() >= acknowledged.as_u64().map(|it| it * 20), "{row}");
}

#[test]
fn six_nodes_on_three_brokers_lose_and_double_nothing() {
    holds(&["--seed", "2", "--duration-s", "40", "--brokers", "3"]);
}

#[test]
fn a_loss_beyond_the_retention_is_never_silent() {
    holds(&["--seed", "3", "--duration-s", "30", "--gaps", "--nodes", &nodes(3).join(",")]);
}

/// A schedule of some usual disturbances with this one among them, for client 3, which has no other.
fn planted(fault: &Value) -> Value {
    json!({
        "schema": 1, "seed": 9, "nodes": nodes(2), "brokers": 1, "clients": 4, "rate": 50,
        "duration_ms": 2000, "retain": 10_000, "gaps": false,
        "steps": [
            { "at_ms": 300, "action": "cut", "client": 1, "after_bytes": 333 },
            { "at_ms": 600, "action": "kill", "node": 0, "down_ms": 200 },
            { "at_ms": 900, "action": "move", "client": 2, "node": 1, "away_ms": 50 },
            fault,
            { "at_ms": 1500, "action": "move", "client": 0, "node": 1, "away_ms": 0 },
            { "at_ms": 1800, "action": "stop", "node": 0, "for_ms": 200 },
        ],
    })
}

fn file(name: &str, schedule: &Value) -> PathBuf {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-{name}.json"));
    std::fs::write(&file, schedule.to_string()).unwrap();
    file
}

/// The command turns red in this way, finds this one disturbance, and it alone turns the command red again.
fn is_found(action: &str, fault: &Value, kind: &str) {
    let file = file(action, &planted(fault));
    let (code, report) = chaos(&["--replay", file.to_str().unwrap()]);
    assert_eq!(code, Some(1), "the fault {action} was not seen");
    let row = &report["rows"][0];
    assert_eq!((&row["findings"][0]["kind"], &row["findings"][1]), (&json!(kind), &Value::Null));

    let shortest = row["shortest"]["file"].as_str().unwrap();
    let steps: Value = serde_json::from_str(&std::fs::read_to_string(shortest).unwrap()).unwrap();
    let steps = steps["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 1, "{steps:?}");
    assert_eq!(steps[0]["action"], action);
    let (code, report) = chaos(&["--replay", shortest, "--replays", "0"]);
    assert_eq!((code, &report["rows"][0]["findings"][0]["kind"]), (Some(1), &json!(kind)));
    std::fs::remove_file(shortest).unwrap();
}

#[test]
fn an_event_that_the_way_to_a_client_swallows_is_lost() {
    let fault = json!({ "at_ms": 1200, "action": "swallow_event", "client": 3 });
    is_found("swallow_event", &fault, "lost");
}

#[test]
fn an_event_that_is_played_twice_is_doubled() {
    let fault = json!({ "at_ms": 1200, "action": "repeat_event", "client": 3 });
    is_found("repeat_event", &fault, "doubled");
}

#[test]
fn a_client_that_comes_back_with_an_older_id_has_an_event_again() {
    let fault = json!({ "at_ms": 1200, "action": "forget_event", "client": 3 });
    is_found("forget_event", &fault, "doubled");
}

#[test]
fn a_message_that_the_broker_lost_fails_unless_the_schedule_says_why() {
    let fault = json!({ "at_ms": 1200, "action": "remove_message" });
    is_found("remove_message", &fault, "lost by the broker");
    let mut schedule = planted(&fault);
    schedule["broker_loss"] = json!("an operator has removed a message");
    let file = file("remove-message-allowed", &schedule);
    let (code, report) = chaos(&["--replay", file.to_str().unwrap()]);
    assert_eq!((code, &report["rows"][0]["findings"][0]["count"]), (Some(0), &json!(1)));
}
