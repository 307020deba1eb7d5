//! A report is as `report.schema.json` says, field by field: its readers may rely on that.

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use jsonschema::Validator;
use serde_json::{Value, json};

/// Set, it has the test write the schema that it would else compare.
const UPDATE: &str = "SSE_UPDATE_SCHEMA";

/// The lies of the floor that the harness must find, in order.
const TRUTHS: [&str; 7] = [
    "+1000 µs, within 2 %",
    "30 lost, 0 doubled, 0 out of order",
    "0 lost, 30 doubled, 0 out of order",
    "0 lost, 0 doubled, 1 out of order",
    "a latency of 200 ms or more",
    "stamps off the schedule",
    "the window is poisoned",
];

fn schema() -> Validator {
    jsonschema::validator_for(bench::report::schema().as_value()).unwrap()
}

/// The first place where `value` is not as the schema says.
fn fault(schema: &Validator, value: &Value) -> Option<String> {
    schema.iter_errors(value).next().map(|it| format!("{}: {it}", it.instance_path()))
}

#[test]
fn the_file_is_the_schema_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("report.schema.json");
    let schema = bench::report::schema().to_value();
    if std::env::var_os(UPDATE).is_some() {
        let text = serde_json::to_string_pretty(&schema).unwrap();
        std::fs::write(&path, text + "\n").unwrap();
    }
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(file == schema, "write it: {UPDATE}=1 cargo test -p sse-bench --test report");
}

/// One run at a time: each starves a generator on purpose.
static ALONE: Mutex<()> = Mutex::new(());

/// A report made by the command itself, of a workload with every kind of field.
fn report(folder: &Path) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_sse-bench"))
        .args(["run", "--only", "floor", "--unchecked", "--workloads", "ticks,idle", "--out"])
        .arg(folder)
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    // A window may lose an event on a busy host.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{words}");
    serde_json::from_str(&std::fs::read_to_string(folder.join("report.json")).unwrap()).unwrap()
}

#[test]
fn what_a_run_writes_is_as_the_schema_says_and_every_known_truth_was_found() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = std::env::temp_dir().join(format!("sse-bench-schema-{}", std::process::id()));
    let report = report(&folder);
    let checks = report["self_check"].as_array().unwrap();
    let truths: Vec<_> = checks.iter().map(|it| it["truth"].as_str().unwrap()).collect();
    assert_eq!(truths, TRUTHS);
    for check in checks.iter().filter(|it| it["passed"] == false) {
        // +1 ms within 2 % needs a moment of quiet. Without one the harness has to say so; a wrong
        // number fails, and counts are exact whatever the host does.
        let found = check["found"].as_str().unwrap();
        assert!(check["truth"] == TRUTHS[0] && found.starts_with("not judged"), "{check}");
        eprintln!("the host was busy all the time: {found}");
    }
    assert_eq!(fault(&schema(), &report), None);
    let windows = report["rows"][0]["cells"][0]["windows"].as_array().unwrap();
    assert!(windows.len() > 1);

    // The other files are there, and the page stands alone.
    let page = std::fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(page.len() < 400_000);
    // Its one script is in the page, and no text of a server makes another.
    assert_eq!((page.matches("<script").count(), page.contains("<script src")), (1, false));
    assert!(folder.join("report.md").exists());
    // A round has its log if it has latencies. On a busy host it may have none: streams that are not open in
    // time end a window before its first event.
    for round in 1..=windows.iter().filter_map(|it| it["round"].as_u64()).max().unwrap() {
        let mut of_it = windows.iter().filter(|it| it["round"] == round);
        let has_latencies = of_it.any(|it| it["delivered"].as_u64().unwrap() > 0);
        let log = folder.join(format!("round-{round}.hlog"));
        assert_eq!(log.exists(), has_latencies, "round {round}: {windows:?}");
    }

    std::fs::remove_dir_all(&folder).unwrap();
}

/// A report as it is published: measured in quiet, so that nothing in it is left out.
fn published_report() -> Value {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    let folders = std::fs::read_dir(results).unwrap().map(|entry| entry.unwrap().path());
    let reports = folders.map(|folder| folder.join("report.json")).filter(|path| path.is_file());
    // The folders begin with the day.
    let newest = reports.max().expect("a report is published");
    serde_json::from_str(&std::fs::read_to_string(newest).unwrap()).unwrap()
}

#[test]
fn a_report_that_is_not_as_the_schema_says_is_found() {
    let (schema, report) = (schema(), published_report());
    assert_eq!(fault(&schema, &report), None);
    for (pointer, wrong) in [
        ("/schema", json!(1)),
        ("/rows/0/encoding", json!(7)),
        ("/rows/0/cells/0/windows/0/round", json!(0)),
        ("/rows/0/cells/0/windows/0/host", json!({})),
        ("/rows/0/cells/0/summary/measures", json!({"x": {}})),
        ("/trust/twin", json!([{}])),
        ("/bare_loop/ratio/method", json!("guess")),
    ] {
        let mut broken = report.clone();
        *broken.pointer_mut(pointer).unwrap() = wrong;
        assert!(fault(&schema, &broken).is_some(), "{pointer}");
    }
    let mut extra = report;
    extra["surprise"] = json!(1);
    assert!(fault(&schema, &extra).is_some());
}

/// Every floor of this run drops events that it does not own up to: no number may be printed.
#[test]
fn a_truth_that_is_not_found_ends_the_run_with_exit_code_3() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = std::env::temp_dir().join(format!("sse-bench-untrue-{}", std::process::id()));
    let output = Command::new(env!("CARGO_BIN_EXE_sse-bench"))
        .args(["run", "--only", "floor", "--workloads", "idle", "--out"])
        .arg(&folder)
        .env("FLOOR_FAULT_DROP_EACH", "9000")
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{words}");
    assert!(words.contains("the self-check failed, so no number can be trusted"), "{words}");
    assert!(output.stdout.is_empty() && !folder.exists());
}
