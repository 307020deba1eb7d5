//! `sse-bench bus` on real nodes and a broker, at a small size: each window has its figures, and a node that loses an
//! event makes it void.
//!
//! No figure is judged here: a test runs beside others. The servers are built with the feature `nats`, as for
//! `bench/tests/bus`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../workspace/servers.rs"]
mod servers;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use bench::bus::{Report, Setup, Size, Subject, Task, Window, measure};
use fleet::{Launch, Package};
use serde_json::Value;

/// The place of a server with a framework among ours.
const SERVER: usize = 2;

/// Its program, with the feature, built once.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let package = package();
        match std::env::var_os("SSE_NATS_SERVERS") {
            Some(folder) => PathBuf::from(folder).join(&package.name),
            None => fleet::build_with(package, &["nats"], false).unwrap(),
        }
    })
}

fn package() -> &'static Package {
    let all = servers::packages();
    &all[SERVER % all.len()]
}

/// A round of these tasks.
fn measured(launch: Launch, tasks: Vec<Task>) -> Vec<Window> {
    let nats_server = bench::broker::program(None).unwrap();
    let subject = Subject { name: "node".into(), launch, nats_server };
    let size = Size { tasks, rounds: 1, seed: 1 };
    let say = |words: &str| eprintln!("{words}");
    measure(&subject, &size, &AtomicBool::new(false), say).unwrap()
}

const FAN_OUT: Task = Task::FanOut { subscribers: 8, messages: 6, interval_us: 100_000 };
const PUBLISH: Task = Task::Publish { publishers: 2, messages: 40 };
const TOPICS: Task = Task::Topics { topics: 20 };

#[test]
fn each_setup_has_its_figures_and_loses_nothing() {
    let windows = measured(package().launch(program(), "shared"), vec![FAN_OUT, PUBLISH, TOPICS]);
    let report = Report::of(windows);
    let text = report.text();
    eprintln!("{text}");
    assert!(!report.is_void(), "{text}");
    assert_eq!(report.windows.len(), 3 + 2 + 2);
    for (figure, comparisons) in [
        ("publish by 2: answer p50, µs", 1),
        ("publish by 2: answer p99, µs", 1),
        ("publish by 2: messages/s", 1),
        ("fan-out to 8: latency p50, µs", 2),
        ("fan-out to 8: latency p99, µs", 2),
        ("fan-out to 8: node CPU, µs/delivery", 2),
        ("fan-out to 8: broker CPU, µs/message", 2),
        ("a node without topics: MiB", 1),
        ("20 topics: node, KiB each", 1),
        ("20 topics: broker, KiB each", 1),
    ] {
        let lines: Vec<_> = report.lines.iter().filter(|it| it.figure == figure).collect();
        assert_eq!(lines.len(), comparisons, "{figure}: {text}");
        assert!(lines.iter().all(|it| it.value.is_some()), "{figure}: {text}");
        let of_broker = figure.contains("broker");
        let base = lines.iter().filter(|it| it.base_value.is_some()).count();
        assert_eq!(base, comparisons - usize::from(of_broker), "{figure}: {text}");
    }
}

#[test]
fn a_node_that_loses_an_event_makes_a_window_void() {
    let real = package().launch(program(), "shared");
    let double = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bus_cost/swallows.py");
    let args = [double, real.binary].map(|it| it.display().to_string());
    let args = args.into_iter().chain(real.args).collect();
    let launch = Launch { binary: "python3".into(), args, ..Launch::default() };
    let windows = measured(launch, vec![FAN_OUT, PUBLISH]);
    for it in &windows {
        // Of each stream one, and of the publishers' messages one.
        let words = it.void.as_deref().unwrap_or("nothing is found");
        let is_it = words.contains("events lost") || words.starts_with("1 lost: reader 0");
        assert!(is_it, "{:?}: {words}", it.setup);
    }
    let report = Report::of(windows);
    assert!(report.is_void() && report.lines.is_empty());
    assert!(report.text().contains("VOID: round 1, on two nodes: "), "{}", report.text());
    assert!(report.windows.iter().any(|it| it.setup == Setup::Memory));
}

#[test]
fn the_command_writes_what_it_reads_again() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bus-cost");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let json = folder.join("bus.json");
    let report = Report { command: "sse-bench bus x".into(), ..Report::of(Vec::new()) };
    std::fs::write(&json, serde_json::to_string(&report).unwrap()).unwrap();
    let document = folder.join("document.md");
    std::fs::write(&document, "a\n<!-- sse-bench bus -->\n<!-- /sse-bench bus -->\nb\n").unwrap();
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sse-bench"));
        command.args(["bus", "--from", json.to_str().unwrap()]).args(more).output().unwrap()
    };
    let output = run(&["--json", "-", "--splice", document.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let again: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(again["command"], "sse-bench bus x");
    let spliced = std::fs::read_to_string(&document).unwrap();
    assert!(
        spliced.starts_with("a\n<!-- sse-bench bus --splice") && spliced.contains("Medians of")
    );
    std::fs::write(&document, "no marker").unwrap();
    assert_eq!(run(&["--splice", document.to_str().unwrap()]).status.code(), Some(2));
}
