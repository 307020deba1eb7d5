//! Adapters that are right, and adapters that are right but for one thing: the harness reports that thing, and
//! no failure of the client behind them.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::bounded::{self, Said};

/// A run that has not ended by then hangs.
const DEADLINE: Duration = Duration::from_secs(600);
/// The adapter of a client that passes all cases.
const RIGHT: &str = "node bench/clients/node-sse/adapter.mjs";
/// As in an environment that is as slow as a test may have to be.
const PATIENCE_MS: &str = "10000";

fn conform(command: &str, args: &[&str]) -> Said {
    let first = ["client", "--cmd", command, "--patience-ms", PATIENCE_MS];
    bounded::run(&[&first[..], args].concat(), DEADLINE)
}

/// The right adapter, within a shell that does something more.
fn within(script: &str) -> String {
    format!("sh -c '{}' sh", script.replace("ADAPTER", &format!("{RIGHT} \"$1\"")))
}

/// The exit code of `--check-adapter`, and its lines that are not ok.
fn wrong(command: &str) -> (Option<i32>, Vec<String>) {
    let said = conform(command, &["--check-adapter"]);
    let lines = said.stdout.lines().chain(said.stderr.lines()).filter(|it| !it.starts_with("ok "));
    (said.code, lines.map(str::to_owned).collect())
}

#[test]
fn an_adapter_is_checked_by_itself() {
    assert_eq!(wrong(RIGHT), (Some(0), vec![]));
    let only = |script: &str, step: &str, words: &str| {
        let (code, lines) = wrong(&within(script));
        assert_eq!(code, Some(1), "{lines:?}");
        let is_it = |it: &String| it.starts_with(&format!("WRONG {step}:")) && it.contains(words);
        assert!(lines.len() == 1 && is_it(&lines[0]), "{script}: {lines:?}");
    };
    only("ADAPTER; exit 3", "end", "exit code 3");
    only("ADAPTER | sed -u s/é/e/", "event", "hello");
    only("SSE_CASE_OPTIONS= ; export SSE_CASE_OPTIONS; exec ADAPTER", "options", "headers");
    let said = conform(&within("echo starting; exec ADAPTER"), &["--check-adapter"]);
    assert!(said.code == Some(2) && said.stderr.contains("no description"), "{}", said.all());
}

#[test]
fn an_open_that_comes_too_early_is_one_failure() {
    let script =
        "case $1 in --describe) ;; *) echo \"{\\\"k\\\":\\\"open\\\"}\" ;; esac; exec ADAPTER";
    let args = ["--only", "C1,C2,C5.01,C5.02,C5.03,C7.03,C7.06,C8.05,C8.11"];
    let said = conform(&within(script), &args);
    assert_eq!(said.verdicts("fail"), ["C5.01"], "{}", said.all());
    for verdict in ["non-strict", "adapter", "error", "blocked"] {
        assert_eq!(said.verdicts(verdict), [""; 0], "{}", said.all());
    }
    assert!(said.actual("C5.02").contains("because of C5.01"), "{}", said.all());
}

#[test]
fn a_client_that_holds_its_events_back_is_one_failure() {
    let command = "node bench/tests/conform_client/held_back.mjs";
    let args = ["--caps", "none", "--only", "C1,C2,C3,C4,C5.04,C7.13,C7.18"];
    let said = conform(command, &args);
    assert_eq!(said.verdicts("non-strict"), ["C2.08"], "{}", said.all());
    for verdict in ["fail", "adapter", "error", "blocked"] {
        assert_eq!(said.verdicts(verdict), [""; 0], "{}", said.all());
    }
    assert!(said.actual("C2.07").contains("because of C2.08"), "{}", said.all());
    assert!(said.actual("C7.13").contains("because of C2.08"), "{}", said.all());
}

#[test]
fn what_fails_today_can_be_written_down_and_is_known_then() {
    let file = temporary("baseline.toml");
    let path = file.to_str().unwrap();
    let command = "sh -c 'exec curl -sN -X POST \"$1\"' sh";
    let run = |more: &[&str]| {
        conform(command, &[&["--caps", "none", "--only", "C1.01"][..], more].concat())
    };
    assert_eq!(run(&["--write-baseline", path]).code, Some(1));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("case = \"C1.01\"") && text.contains("POST"), "{text}");
    assert_eq!(run(&["--baseline", path]).code, Some(0));
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn a_run_that_judged_nothing_is_no_success() {
    let said = conform(RIGHT, &["--caps", "none", "--only", "C6.01"]);
    assert_eq!(said.code, Some(2), "{}", said.all());
    assert!(said.stderr.contains("nothing was judged"), "{}", said.all());
    assert!(said.stdout.contains("does not offer: R"), "{}", said.all());
}

#[test]
fn a_run_that_is_stopped_keeps_what_it_has() {
    let file = temporary("stopped.json");
    let mut child = Command::new(env!("CARGO_BIN_EXE_sse-bench"))
        .current_dir(workspace())
        .args(["conform", "client", "--cmd", RIGHT, "--patience-ms", PATIENCE_MS])
        // The last of them is silent for 40 s.
        .args(["--only", "C1.01,C2.01,C7.15", "--json"])
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("category 2 lines has ended")));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let rest: Vec<_> = lines.collect();
    assert_eq!(child.wait().unwrap().code(), Some(2), "{rest:?}");
    assert!(rest.iter().any(|it| it.contains("stopped after 2 of 3 cases")), "{rest:?}");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    std::fs::remove_file(&file).unwrap();
    let results = report["runs"][0]["results"].as_array().unwrap();
    let kept = results.iter().map(|it| [&it["id"], &it["verdict"]].map(|it| it.as_str().unwrap()));
    assert_eq!(kept.collect::<Vec<_>>(), [["C1.01", "pass"], ["C2.01", "pass"]]);
}

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("sse-adapters-{}-{name}", std::process::id()))
}

fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}
