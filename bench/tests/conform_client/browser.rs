//! `conform client --serve` with Chromium: where a browser fails, the suite is wrong until proven
//! otherwise.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A run takes a minute; one that has not ended by then hangs.
const DEADLINE: Duration = Duration::from_secs(300);

/// Cases that take a browser long.
const SLOW: &str = "C7.15,C8.02,C8.03,C8.07,C8.08";
/// Known failures of Chromium, each checked by hand against the standard, WPT, and its source
/// (`third_party/blink/renderer/modules/eventsource/event_source.cc`): it refuses a charset other
/// than UTF-8 (`DidReceiveResponse`; WPT `format-utf-8`), and never sends a preflight (`Connect`,
/// `kPreventPreflight`; WPT `eventsource-cross-origin-preflight`).
const KNOWN: [&str; 2] = ["C4.08", "C9.04"];

/// A process that ends with the test.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn chromium_misses_only_what_is_known() {
    let folder = std::env::temp_dir().join(format!("sse-page-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let json = folder.join("a.json");
    let mut harness = Command::new(env!("CARGO_BIN_EXE_sse-bench"))
        // Cases that take minutes in a browser are left to the command itself.
        .args(["conform", "client", "--serve", "127.0.0.1:0", "--skip", SLOW, "--json"])
        .arg(&json)
        .stdout(Stdio::piped())
        .spawn()
        .map(Guard)
        .unwrap();
    let mut lines = BufReader::new(harness.0.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let url = first.split(' ').find(|it| it.starts_with("http://")).unwrap().to_owned();
    let reading = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>());
    let browser = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"])
        .arg("--remote-debugging-port=0")
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg(&url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map(Guard)
        .expect("chromium is missing; apt-get install chromium");
    let began = Instant::now();
    while harness.0.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < DEADLINE, "it hangs; does chromium start here?");
        std::thread::sleep(Duration::from_millis(50));
    }
    let said = reading.join().unwrap().join("\n");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    let run = &report["runs"][0];
    assert_eq!(run["name"], "Chromium", "{said}");
    let with = |verdict: &str| -> Vec<&str> {
        let results = run["results"].as_array().unwrap();
        let wanted = results.iter().filter(|it| it["verdict"] == verdict);
        wanted.filter_map(|it| it["id"].as_str()).collect()
    };
    assert_eq!(with("fail"), KNOWN, "{said}");
    for verdict in ["blocked", "error"] {
        assert_eq!(with(verdict), [""; 0], "{said}");
    }
    for id in ["C3.26", "C5.10", "C6.20", "C9.01", "C9.02", "C9.03", "C9.05"] {
        assert!(with("pass").contains(&id), "{id}: {said}");
    }
    drop(browser);
    let _ = std::fs::remove_dir_all(&folder);
}
