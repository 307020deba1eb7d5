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
    let arguments = [&["client", "--cmd", command, "--patience-ms", patience_ms], args].concat();
    bounded::conform(&arguments, DEADLINE)
}

/// It is blamed once, for what was seen; what depends on that is not judged.
fn blamed_once(command: &str, words: &str) {
    let said = conform(command, &["--caps", "none"]);
    assert_eq!(said.code, Some(1), "{}", said.all());
    assert_eq!(said.verdicts("fail"), ["C1.01"], "{}", said.all());
    assert!(said.actual("C1.01").contains(words), "{words:?} is not in {}", said.actual("C1.01"));
    assert!(
        said.verdicts("blocked").len() > 80 && said.verdicts("pass").is_empty(),
        "{}",
        said.all()
    );
}

#[test]
fn a_client_that_hangs() {
    blamed_once("sleep 1000 #", "reported nothing");
}

#[test]
fn a_client_that_exits_at_once() {
    blamed_once("true", "exit code 0");
    blamed_once("sh -c 'echo no such option >&2; exit 3'", "no such option");
}

#[test]
fn a_client_that_crashes() {
    blamed_once("sh -c 'kill -SEGV $$'", "signal 11");
}

#[test]
fn a_client_that_is_no_program() {
    blamed_once("/no/such/program", "exit code 127");
}

#[test]
fn a_client_that_ignores_the_url() {
    blamed_once("sh -c 'echo \"{\\\"k\\\":\\\"open\\\"}\"; sleep 1000'", "open");
}

#[test]
fn a_client_that_prints_garbage() {
    let said = conform("sh -c 'echo Hello; sleep 1000'", &["--caps", "none"]);
    assert_eq!(said.verdicts("fail"), ["C1.01"], "{}", said.all());
    assert!(said.stdout.contains("lines of the protocol"), "{}", said.all());
    conform("yes garbage", &["--caps", "none"]);
    conform("sh -c 'cat /dev/urandom'", &["--caps", "none"]);
}

#[test]
fn a_client_that_floods() {
    let event = r#"{"k":"event","type":"message","data":"x","id":""}"#;
    let said =
        conform(&format!("sh -c \"yes '{}'\"", event.replace('"', "\\\"")), &["--caps", "none"]);
    assert_eq!(said.verdicts("fail"), ["C1.01"], "{}", said.all());
    // One line without an end.
    let said = conform("sh -c 'cat /dev/zero'", &["--caps", "none"]);
    assert_eq!(said.verdicts("fail"), ["C1.01"], "{}", said.all());
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
    assert!(said.verdicts("blocked").len() > 30, "{}", said.all());
}

#[test]
fn a_client_that_never_ends_leaves_nothing_behind() {
    let mark = format!("1000.{}", std::process::id());
    let command = format!("sh -c 'trap \"\" TERM INT; sleep {mark} & sleep {mark}; wait'");
    conform(&command, &["--caps", "none", "--only", "C1.01,C1.02"]);
    let processes = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok());
    let left = processes.filter(|it| {
        it.starts_with(b"sleep\0") && it.windows(mark.len()).any(|it| it == mark.as_bytes())
    });
    assert_eq!(left.count(), 0);
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
