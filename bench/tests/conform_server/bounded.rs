//! `sse-bench conform`, held to a bounded time and memory.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// The most resident memory that the command may ever have, KiB: a few of its own limits.
const MEMORY_KIB: u64 = 300 * 1024;

/// The output of the command.
pub struct Said {
    pub code: Option<i32>,
    pub stderr: String,
    pub stdout: String,
    results: Vec<Value>,
}

impl Said {
    /// The ids of the cases with this verdict.
    pub fn verdicts(&self, wanted: &str) -> Vec<&str> {
        let wanted = self.results.iter().filter(|it| it["verdict"] == wanted);
        wanted.filter_map(|it| it["id"].as_str()).collect()
    }

    /// The behaviour that the report names for a case.
    #[allow(dead_code, reason = "each test binary uses its part of this module")]
    pub fn actual(&self, id: &str) -> &str {
        let result = self.results.iter().find(|it| it["id"] == id);
        result.and_then(|it| it["actual"].as_str()).unwrap_or_default()
    }

    /// The exit code of a run in which cases are blocked: 2 if nothing was judged, else 1.
    #[allow(dead_code, reason = "each test binary uses its part of this module")]
    pub fn code_if_blocked(&self) -> i32 {
        let judged = ["pass", "non-strict", "fail", "info"];
        if judged.iter().all(|it| self.verdicts(it).is_empty()) { 2 } else { 1 }
    }

    /// Everything, for the message of a failure.
    pub fn all(&self) -> String {
        format!("{:?}\n{}\n{}", self.code, self.stderr, self.stdout)
    }
}

/// Runs `sse-bench conform` with these arguments. A command that has not ended within `deadline`
/// hangs. All that it tries it can judge.
pub fn conform(arguments: &[&str], deadline: Duration) -> Said {
    let said = run(arguments, deadline);
    assert_eq!(said.verdicts("error"), [""; 0], "{}", said.all());
    said
}

/// The same for a subject that may leave it without a judgement.
pub fn run(arguments: &[&str], deadline: Duration) -> Said {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("sse-hostile-{}-{number}.json", std::process::id());
    let json = std::env::temp_dir().join(name);
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_sse-bench"))
        .current_dir(workspace)
        .arg("conform")
        .args(arguments)
        .arg("--json")
        .arg(&json)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let [stdout, stderr] =
        [read_all(child.stdout.take().unwrap()), read_all(child.stderr.take().unwrap())];
    let began = Instant::now();
    let mut peak_kib = 0;
    let status = loop {
        peak_kib = peak_kib.max(peak(child.id()));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > deadline {
            let _ = child.kill();
            panic!("{arguments:?} hangs: {}", stdout.join().unwrap());
        }
        thread::sleep(Duration::from_millis(5));
    };
    let report = std::fs::read_to_string(&json).ok();
    let _ = std::fs::remove_file(&json);
    let results = report.map(|text| {
        let report: Value = serde_json::from_str(&text).unwrap();
        report["runs"][0]["results"].as_array().expect("a report has results").clone()
    });
    let said = Said {
        code: status.code(),
        stdout: stdout.join().unwrap(),
        stderr: stderr.join().unwrap(),
        results: results.unwrap_or_default(),
    };
    assert!(said.code.is_some_and(|code| code != 101), "a panic: {}", said.all());
    assert!(peak_kib < MEMORY_KIB, "{arguments:?}: {peak_kib} KiB of memory");
    said
}

fn read_all(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|it| it.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}
