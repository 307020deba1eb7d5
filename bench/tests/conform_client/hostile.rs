//! `conform client` against commands that are hostile, broken, or no clients at all.
//!
//! For any command the run ends within a bounded time and memory, with verdicts or with
//! exit code 2 and one line; and nothing that it started is left behind.

use std::process::Command;
use std::time::Duration;

use crate::bounded::{self, Said};

/// A run that has not ended by then hangs.
const DEADLINE: Duration = Duration::from_secs(60);

fn conform(command: &str, args: &[&str]) -> Said {
    conform_within("2000", command, args)
}

/// The same with another patience, in milliseconds: for a client whose end is awaited.
fn conform_within(patience_ms: &str, command: &str, args: &[&str]) -> Said {
    bounded::conform(&arguments(patience_ms, command, args), DEADLINE)
}

fn arguments<'a>(patience_ms: &'a str, command: &'a str, args: &[&'a str]) -> Vec<&'a str> {
    [&["client", "--cmd", command, "--patience-ms", patience_ms], args].concat()
}

/// Before it has asked for anything it fails nothing: its adapter did, once, or it could not be judged.
/// Cases that depend on it are not judged, either.
fn not_blamed(verdict: &str, code: i32, command: &str, words: &str) {
    let said = bounded::run(&arguments("2000", command, &["--caps", "none"]), DEADLINE);
    assert_eq!(said.code, Some(code), "{}", said.all());
    assert_eq!(said.verdicts(verdict), ["C1.01"], "{}", said.all());
    assert!(said.actual("C1.01").contains(words), "{words:?} is not in {}", said.actual("C1.01"));
    assert!(said.verdicts("skip").len() > 80, "{}", said.all());
    for none in ["pass", "fail", "non-strict", "blocked"] {
        assert_eq!(said.verdicts(none), [""; 0], "{}", said.all());
    }
}

#[test]
fn a_client_that_hangs() {
    not_blamed("error", 3, "sleep 1000 #", "--patience-ms");
}

#[test]
fn a_client_that_exits_at_once() {
    not_blamed("adapter", 2, "true", "exit code 0");
    not_blamed("adapter", 2, "sh -c 'echo no such option >&2; exit 3'", "no such option");
}

#[test]
fn a_client_that_crashes() {
    not_blamed("adapter", 2, "sh -c 'kill -SEGV $$'", "signal 11");
}

#[test]
fn a_client_that_is_no_program() {
    not_blamed("adapter", 2, "/no/such/program", "exit code 127");
}

#[test]
fn a_client_that_ignores_the_url() {
    not_blamed("error", 3, "sh -c 'echo \"{\\\"k\\\":\\\"open\\\"}\"; sleep 1000'", "open");
}

#[test]
fn a_client_that_prints_garbage() {
    let command = "sh -c 'echo it is lost >&2; echo Hello; sleep 1000'";
    not_blamed("adapter", 2, command, "Hello");
    not_blamed("adapter", 2, command, "it is lost");
    conform("yes garbage", &["--caps", "none"]);
    conform("sh -c 'cat /dev/urandom'", &["--caps", "none"]);
}

#[test]
fn a_client_that_floods() {
    let event = r#"{"k":"event","type":"message","data":"x","id":""}"#;
    let events = format!("sh -c \"yes '{}'\"", event.replace('"', "\\\""));
    // The second prints one line without an end.
    for command in [events.as_str(), "sh -c 'cat /dev/zero'"] {
        let said = bounded::run(&arguments("2000", command, &["--caps", "none"]), DEADLINE);
        // A slow host may not see the flood reach its limit in the time for a first request.
        let none = [said.verdicts("adapter"), said.verdicts("error")].concat();
        assert_eq!(none, ["C1.01"], "{}", said.all());
        assert_eq!(said.verdicts("fail"), [""; 0], "{}", said.all());
    }
    // Its last words are kept, not all of them.
    let complains = "sh -c 'yes complaint | head -c 50000000 >&2; exit 1'";
    let said = conform_within("30000", complains, &["--caps", "none", "--only", "C1.01"]);
    assert!(said.actual("C1.01").contains("complaint"), "{}", said.all());
}

#[test]
fn a_client_that_reads_but_says_nothing() {
    if Command::new("curl").arg("--version").output().is_err() {
        panic!("curl is missing; apt-get install curl");
    }
    let args = ["--caps", "none", "--only", "C1,C2,C3,C5.08"];
    let said = conform("sh -c 'exec curl -sN \"$0\" >/dev/null'", &args);
    assert!(said.verdicts("pass").contains(&"C1.01"), "{}", said.all());
    assert!(said.verdicts("fail").contains(&"C2.01"), "{}", said.all());
    assert!(said.verdicts("skip").len() > 30, "{}", said.all());
}

#[test]
fn a_client_that_never_ends_leaves_nothing_behind() {
    let mark = format!("1000.{}", std::process::id());
    let command = format!("sh -c 'trap \"\" TERM INT; sleep {mark} & sleep {mark}; wait'");
    let args = ["--caps", "none", "--only", "C1.01,C1.02"];
    bounded::run(&arguments("2000", &command, &args), DEADLINE);
    let left = || {
        let processes = std::fs::read_dir("/proc").unwrap();
        let commands =
            processes.filter_map(|it| std::fs::read(it.ok()?.path().join("cmdline")).ok());
        let is_left = |it: &Vec<u8>| {
            it.starts_with(b"sleep\0") && it.windows(mark.len()).any(|it| it == mark.as_bytes())
        };
        commands.filter(is_left).count()
    };
    // They have been killed, and need a core to end.
    let none_is_left = || match left() {
        0 => Ok(()),
        count => Err(format!("{count} are left")),
    };
    fleet::eventually(Duration::from_secs(30), Duration::from_millis(20), none_is_left).unwrap();
}

#[test]
fn what_cannot_run_is_told_in_one_line() {
    for (command, args, words) in [
        ("true", &[][..], "--caps"),
        ("echo nonsense", &[], "--caps"),
        ("true", &["--caps", "Xx"], "Xx"),
        ("true", &["--caps", "R", "--only", "C99"], "C99"),
        ("true", &["--caps", "R", "--baseline", "/no/such/file"], "/no/such/file"),
    ] {
        let said = conform(command, args);
        assert_eq!(said.code, Some(2), "{}", said.all());
        assert_eq!(said.stderr.trim_end().lines().count(), 1, "{}", said.stderr);
        assert!(said.stderr.contains(words), "{words:?} is not in {}", said.stderr);
    }
}
