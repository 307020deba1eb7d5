//! The suite gives the same verdicts ten times in a row on a busy machine.
//!
//! Ignored by default, because it takes about twenty minutes:
//! `cargo test -p sse-bench --test conform_stability -- --ignored --nocapture`. The environment
//! variables `SSE_STABILITY_RUNS` (10) and `SSE_STABILITY_SERVER` (`all`) make it shorter.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::Value;

/// A process that does nothing but take a core; it ends with the value.
struct Spinning(Child);

impl Spinning {
    fn start() -> Spinning {
        let mut command = Command::new("sh");
        Spinning(command.args(["-c", "while :; do :; done"]).spawn().expect("there is a shell"))
    }
}

impl Drop for Spinning {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "takes twenty minutes; CONTRIBUTING.md has the command"]
fn ten_runs_beside_a_spinning_process_give_the_same_verdicts() {
    let runs: u32 = setting("SSE_STABILITY_RUNS", "10").parse().expect("a number of runs");
    let server = setting("SSE_STABILITY_SERVER", "all");
    let json = std::env::temp_dir().join(format!("sse-stability-{}.json", std::process::id()));
    let _spinning = Spinning::start();
    let mut seen: BTreeMap<String, BTreeMap<String, u32>> = BTreeMap::new();
    let mut why: BTreeMap<(String, String), String> = BTreeMap::new();
    for run in 1..=runs {
        let began = Instant::now();
        let status = Command::new(env!("CARGO_BIN_EXE_sse-bench"))
            .args(["conform", "server", &server, "--json"])
            .arg(&json)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("the command starts");
        assert_ne!(status.code(), Some(2), "it could not run; try it by hand");
        let text = std::fs::read_to_string(&json).expect("it writes the report");
        let report: Value = serde_json::from_str(&text).expect("the report is JSON");
        for run in report["runs"].as_array().expect("a report has runs") {
            let label = format!("{} {}", word(run, "name"), word(run, "encoding"));
            for result in run["results"].as_array().expect("a run has results") {
                let name = format!("{label} {}-{}", word(result, "id"), word(result, "slug"));
                let verdict = word(result, "verdict").to_owned();
                if ["fail", "non-strict", "blocked", "error"].contains(&verdict.as_str()) {
                    let seen = word(result, "actual");
                    why.insert((name.clone(), verdict.clone()), seen.to_owned());
                }
                *seen.entry(name).or_default().entry(verdict).or_default() += 1;
            }
        }
        println!("run {run} of {runs}: {status}, {:.0} s", began.elapsed().as_secs_f64());
    }
    let _ = std::fs::remove_file(&json);
    let unstable: Vec<_> = seen.iter().filter(|(_, verdicts)| verdicts.len() > 1).collect();
    println!("{} verdicts in each of {runs} runs, {} unstable", seen.len(), unstable.len());
    for (name, verdicts) in &unstable {
        println!("{name}: {verdicts:?}");
        why.iter()
            .filter(|((case, _), _)| case == *name)
            .for_each(|((_, verdict), actual)| println!("  {verdict}: {actual}"));
    }
    assert!(unstable.is_empty(), "{} verdicts changed", unstable.len());
}

fn word<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}
