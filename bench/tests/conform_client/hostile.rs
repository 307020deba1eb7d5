//! `conform client` against commands that are hostile, broken, or no clients at all.
//!
//! For any command the run ends within a bounded time and memory, with verdicts or with
//! exit code 2 and one line; and nothing that it started is left behind.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A run that has not ended by then hangs.
const DEADLINE: Duration = Duration::from_secs(60);
/// The most resident memory that the run may ever have, KiB: a few of its own limits.
const MEMORY_KIB: u64 = 300 * 1024;

struct Said {
    code: Option<i32>,
    stderr: String,
    stdout: String,
    results: Vec<Value>,
}

impl Said {
    fn with(&self, verdict: &str) -> Vec<&str> {
        let wanted = self.results.iter().filter(|it| it["verdict"] == verdict);
        wanted.filter_map(|it| it["id"].as_str()).collect()
    }

    fn actual(&self, id: &str) -> &str {
        let result = self.results.iter().find(|it| it["id"] == id);
        result.and_then(|it| it["actual"].as_str()).unwrap_or_default()
    }

    fn all(&self) -> String {
        format!("{:?}\n{}\n{}", self.code, self.stderr, self.stdout)
    }
}

fn conform(command: &str, args: &[&str]) -> Said {
    conform_within("2000", command, args)
}

/// The same with another patience, in milliseconds: for a client whose end is awaited.
fn conform_within(patience_ms: &str, command: &str, args: &[&str]) -> Said {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("sse-client-hostile-{}-{number}.json", std::process::id());
    let json: PathBuf = std::env::temp_dir().join(name);
    let mut child = Command::new(env!("CARGO_BIN_EXE_sse-bench"))
        .args(["conform", "client", "--cmd", command, "--patience-ms", patience_ms, "--json"])
        .arg(&json)
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let read_all = |mut from: Box<dyn Read + Send>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = from.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let stdout = read_all(Box::new(child.stdout.take().unwrap()));
    let stderr = read_all(Box::new(child.stderr.take().unwrap()));
    let began = Instant::now();
    let mut peak_kib = 0;
    let status = loop {
        peak_kib = peak_kib.max(peak(child.id()));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > DEADLINE {
            let _ = child.kill();
            panic!("{command} makes it hang: {}", stdout.join().unwrap());
        }
        thread::sleep(Duration::from_millis(5));
    };
    let report = std::fs::read_to_string(&json).ok();
    let _ = std::fs::remove_file(&json);
    let report: Value = report.map(|it| serde_json::from_str(&it).unwrap()).unwrap_or_default();
    let said = Said {
        code: status.code(),
        stdout: stdout.join().unwrap(),
        stderr: stderr.join().unwrap(),
        results: report["runs"][0]["results"].as_array().cloned().unwrap_or_default(),
    };
    assert!(said.code.is_some_and(|code| code != 101), "a panic: {}", said.all());
    assert!(peak_kib < MEMORY_KIB, "{command}: {peak_kib} KiB of memory");
    assert_eq!(said.with("error"), [""; 0], "{}", said.all());
    said
}

fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|it| it.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}

/// It is blamed once, for what was seen; what depends on that is not judged.
fn blamed_once(command: &str, words: &str) {
    let said = conform(command, &["--caps", "none"]);
    assert_eq!(said.code, Some(1), "{}", said.all());
    assert_eq!(said.with("fail"), ["C1.01"], "{}", said.all());
    assert!(said.actual("C1.01").contains(words), "{words:?} is not in {}", said.actual("C1.01"));
    assert!(said.with("blocked").len() > 80 && said.with("pass").is_empty(), "{}", said.all());
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
    assert_eq!(said.with("fail"), ["C1.01"], "{}", said.all());
    assert!(said.stdout.contains("lines of the protocol"), "{}", said.all());
    conform("yes garbage", &["--caps", "none"]);
    conform("sh -c 'cat /dev/urandom'", &["--caps", "none"]);
}

#[test]
fn a_client_that_floods() {
    let event = r#"{"k":"event","type":"message","data":"x","id":""}"#;
    let said =
        conform(&format!("sh -c \"yes '{}'\"", event.replace('"', "\\\"")), &["--caps", "none"]);
    assert_eq!(said.with("fail"), ["C1.01"], "{}", said.all());
    // One line without an end.
    let said = conform("sh -c 'cat /dev/zero'", &["--caps", "none"]);
    assert_eq!(said.with("fail"), ["C1.01"], "{}", said.all());
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
    assert!(said.with("pass").contains(&"C1.01"), "{}", said.all());
    assert!(said.with("fail").contains(&"C2.01"), "{}", said.all());
    assert!(said.with("blocked").len() > 30, "{}", said.all());
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
