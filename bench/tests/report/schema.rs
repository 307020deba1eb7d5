//! A report is as `report.schema.json` says, field by field: its readers may rely on that.

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

/// The keywords of JSON Schema that the file uses; any other in it is a mistake of the file.
const KEYWORDS: [&str; 14] = [
    "$schema",
    "$defs",
    "$ref",
    "title",
    "description",
    "type",
    "required",
    "properties",
    "additionalProperties",
    "items",
    "enum",
    "const",
    "minimum",
    "anyOf",
];

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

fn schema() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/report.schema.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The first place where `value` is not as `schema` says.
fn fault(root: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
    if let Some(allowed) = schema.as_bool() {
        return (!allowed).then(|| format!("{at} must not be there"));
    }
    let rules = schema.as_object().unwrap();
    let unknown = rules.keys().find(|it| !KEYWORDS.contains(&it.as_str()));
    assert_eq!(unknown, None, "the schema uses a keyword that this test does not check");
    if let Some(name) = rules.get("$ref") {
        let path = name.as_str().unwrap().trim_start_matches('#');
        return fault(root, root.pointer(path).unwrap(), value, at);
    }
    if let Some(choices) = rules.get("anyOf") {
        let all: Vec<_> =
            choices.as_array().unwrap().iter().map(|it| fault(root, it, value, at)).collect();
        return if all.iter().any(Option::is_none) { None } else { all.into_iter().next_back()? };
    }
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        other => panic!("type {other}"),
    };
    if let Some(kind) = rules.get("type") {
        let names: Vec<&str> = match kind {
            Value::String(one) => vec![one],
            many => many.as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect(),
        };
        if !names.iter().any(|it| is(it)) {
            return Some(format!("{at} is {value}, not {names:?}"));
        }
    }
    if let Some(only) = rules.get("const")
        && only != value
    {
        return Some(format!("{at} is {value}, not {only}"));
    }
    if let Some(choices) = rules.get("enum")
        && !choices.as_array().unwrap().contains(value)
    {
        return Some(format!("{at} is {value}, none of {choices}"));
    }
    if let (Some(least), Some(number)) = (rules.get("minimum"), value.as_f64())
        && number < least.as_f64().unwrap()
    {
        return Some(format!("{at} is {value}, below {least}"));
    }
    if let Some(object) = value.as_object() {
        for name in rules.get("required").and_then(Value::as_array).into_iter().flatten() {
            if !object.contains_key(name.as_str().unwrap()) {
                return Some(format!("{at} has no {name}"));
            }
        }
        let known = rules.get("properties").and_then(Value::as_object);
        for (name, field) in object {
            let rule = known.and_then(|it| it.get(name)).or(rules.get("additionalProperties"));
            let found = rule.and_then(|it| fault(root, it, field, &format!("{at}.{name}")));
            if found.is_some() {
                return found;
            }
        }
    }
    let (items, rule) = (value.as_array()?, rules.get("items")?);
    items
        .iter()
        .enumerate()
        .find_map(|(at_item, it)| fault(root, rule, it, &format!("{at}[{at_item}]")))
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
    let schema = schema();
    assert_eq!(fault(&schema, &schema, &report, "report"), None);
    assert!(report["rows"][0]["cells"][0]["windows"].as_array().unwrap().len() > 1);

    // The other files are there, and the page stands alone.
    let page = std::fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(page.len() < 400_000 && !page.contains("<script"));
    assert!(folder.join("report.md").exists() && folder.join("round-1.hlog").exists());

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
    assert_eq!(fault(&schema, &schema, &report, "report"), None);
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
        assert!(fault(&schema, &schema, &broken, "report").is_some(), "{pointer}");
    }
    let mut extra = report;
    extra["surprise"] = json!(1);
    assert!(fault(&schema, &schema, &extra, "report").is_some());
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
