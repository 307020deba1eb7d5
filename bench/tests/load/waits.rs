//! Known truths: the floor lies about first event, gaps, stalls and ends by known amounts, and they are found.
//!
//! Counts are exact. A wait that the floor makes has that lower bound, whatever the host does. Where a
//! claim needs the host to be in time, an attempt counts only if it was.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use conform::host::{self, Watch};
use serde_json::Value;

use crate::chat::Chat;
use crate::floor::floor;

/// Attempts until the host has to have been in time once.
const ATTEMPTS: usize = 7;

/// A host later than this could be what these tests find: half of the shortest wait that they judge.
const LATE: Duration = Duration::from_millis(500);

const MS: u64 = 1_000_000;

/// `load` on a floor with these faults.
fn output(faults: &[&str], path: &str, arguments: &[&str]) -> Output {
    let server = floor(faults);
    let output = Command::new(env!("CARGO_BIN_EXE_sse-bench"))
        .args(["load", "--unchecked"])
        .arg(format!("http://{}{path}", server.addr()))
        .args(arguments)
        .output()
        .unwrap();
    server.stop().unwrap();
    output
}

/// Its exit code, and what it printed.
fn run(faults: &[&str], path: &str, arguments: &[&str]) -> (i32, String) {
    let output = output(faults, path, arguments);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

/// Its exit code, and its report.
fn json(faults: &[&str], path: &str, arguments: &[&str]) -> (i32, Value) {
    let output = output(faults, path, &[arguments, &["--json", "-"]].concat());
    let json = serde_json::from_slice(&output.stdout);
    (output.status.code().unwrap(), json.unwrap_or_else(|error| panic!("{error}: {output:?}")))
}

/// The result of an attempt during which the host was late by less than this.
pub fn in_time<T>(late: Duration, mut attempt: impl FnMut() -> T) -> T {
    let _watch = Watch::start();
    for _ in 0..ATTEMPTS {
        let begin = Instant::now();
        let result = attempt();
        if host::worst_since(begin) < late {
            return result;
        }
    }
    panic!("not judged: the host was late by {late:?} or more in {ATTEMPTS} attempts");
}

fn number(json: &Value, path: &str) -> u64 {
    let found = json.pointer(path).and_then(Value::as_u64);
    found.unwrap_or_else(|| panic!("{path} in {json}"))
}

#[test]
fn a_late_head_and_a_late_first_event_are_found_in_full() {
    let faults = ["--fault-head-ms", "300", "--fault-first-ms", "200"];
    let asked = |slo| {
        let (code, json) = json(
            &faults,
            "/ticks?interval_ms=10&count=4",
            &["--requests", "12", "--connections", "4", "--slo", slo],
        );
        assert_eq!(code, 0, "{json}");
        json
    };
    let found = asked("headers<300ms");
    for (wait, at_least_ms) in [
        ("time_to_headers", 300),
        ("time_to_first_event", 500),
        ("time_to_second_event", 510),
        ("duration", 530),
    ] {
        assert_eq!(number(&found, &format!("/{wait}/n")), 12, "{found}");
        let half_ns = number(&found, &format!("/{wait}/p50_ns"));
        assert!(half_ns >= at_least_ms * MS, "{wait}: {found}");
    }
    // No stream had its head sooner, nor its first event.
    assert_eq!(number(&found, "/goodput/good"), 0, "{found}");
    assert_eq!(number(&asked("first-event<500ms"), "/goodput/good"), 0);
    assert_eq!(number(&asked("first-event<3000s"), "/goodput/good"), 12);
    assert_eq!((number(&found, "/events"), number(&found, "/gap/n")), (48, 36), "{found}");
    let each = ["min", "max", "n"].map(|it| number(&found, &format!("/events_each/{it}")));
    assert_eq!(each, [4, 4, 12], "{found}");
}

/// Twice in a stream of eight events the floor is silent for two seconds; a second is a stall.
#[test]
fn every_silence_within_a_stream_is_a_stall_and_nothing_else_is() {
    let faults = ["--fault-gap-each", "4", "--fault-gap-ms", "2000"];
    let arguments = ["--requests", "6", "--connections", "3", "--stall", "1s"];
    let (code, found) =
        in_time(LATE, || json(&faults, "/ticks?interval_ms=10&count=8", &arguments));
    assert_eq!(code, 0, "{found}");
    assert_eq!((number(&found, "/stalls/count"), number(&found, "/stalls/streams")), (12, 6));
    assert_eq!((number(&found, "/gap/n"), number(&found, "/events")), (42, 48), "{found}");
    assert!(number(&found, "/gap/max_ns") >= 1500 * MS, "{found}");
    // Five of seven gaps are short.
    assert!(number(&found, "/gap/p50_ns") < 1000 * MS, "{found}");
    let slowest = &found["slowest"];
    assert!([4, 8].contains(&number(slowest, "/before_event")), "{found}");
    assert!(number(slowest, "/wait_ns") >= 1500 * MS, "{found}");
    // Two silences, whatever the host does.
    assert!(number(&found, "/duration/p50_ns") >= 4000 * MS, "{found}");
}

/// A silence that lasts until the run is over has no event that ends it, and is a stall all the same.
#[test]
fn a_stream_that_falls_silent_for_good_stalls() {
    let faults = ["--fault-gap-each", "3", "--fault-gap-ms", "600000"];
    let arguments = ["--connections", "5", "--duration-s", "3", "--stall", "1s"];
    let more = ["--fail-if", "stalls>0", "--slo", "gap<1s"];
    let arguments = [&arguments[..], &more].concat();
    let (code, found) = in_time(LATE, || json(&faults, "/ticks?interval_ms=10", &arguments));
    assert_eq!((code, &found["failed_conditions"][0]), (1, &"stalls>0".into()), "{found}");
    assert_eq!(number(&found, "/stalls/streams"), 5, "{found}");
    assert_eq!((number(&found, "/events_each/max"), number(&found, "/goodput/good")), (2, 0));
    assert_eq!(
        (number(&found, "/slowest/before_event"), &found["slowest"]["came"]),
        (3, &false.into()),
        "{found}"
    );
}

const ENDS: [&str; 4] = ["--fault-refuse-each", "4", "--fault-cut-each", "3"];

/// Of twelve, 4, 8 and 12 are refused, 3, 6 and 9 are cut behind their first event.
#[test]
fn every_end_is_counted_as_what_it_was() {
    let arguments =
        ["--requests", "12", "--connections", "1", "--slo", "duration<3000s", "--fail-if"];
    let arguments = [&arguments[..], &["goodput<50.1%", "--fail-if", "goodput<50%"]].concat();
    let (code, found) = json(&ENDS, "/ticks?interval_ms=10&count=5", &arguments);
    assert_eq!((code, &found["failed_conditions"]), (1, &vec!["goodput<50.1%"].into()), "{found}");
    let ends = ["whole", "cut", "refused", "without_mark", "unreachable", "malformed", "open"];
    let ends = ends.map(|it| number(&found, &format!("/ends/{it}")));
    assert_eq!(ends, [6, 3, 3, 0, 0, 0, 0], "{found}");
    assert_eq!(number(&found, "/events"), 6 * 5 + 3, "{found}");
    assert_eq!(number(&found, "/goodput/good"), 6, "{found}");
    let refused = serde_json::json!([
        { "status": 503, "content_type": "text/plain", "body": "the floor refuses", "count": 3 }
    ]);
    assert_eq!(found["refusals"], refused);
}

#[test]
fn the_text_says_the_same_in_eighty_columns() {
    let arguments = ["--requests", "12", "--connections", "1", "--slo", "duration<3000s"];
    let more = ["--stall", "1s", "--fail-if", "errors>0"];
    let path = "/ticks?interval_ms=10&count=5";
    let (code, text) = run(&ENDS, path, &[&arguments[..], &more].concat());
    assert_eq!(code, 1, "{text}");
    for line in [
        "answers        6 whole, 6 failed, 0 unfinished of 12 asked",
        "ends           6 whole, 3 cut, 3 refused",
        "refused        3 times 503 text/plain: the floor refuses",
        "an answer      1 to 5 events, p50 5",
        "goodput        6 of 12 keep to --slo, 50.0 %",
        "first failure  request 3: closed its stream before the end",
        "FAILED         errors>0",
    ] {
        assert!(text.lines().any(|it| it.starts_with(line)), "{line:?} in\n{text}");
    }
    for name in [
        "headers",
        "first event",
        "second event",
        "gap",
        "mean gap",
        "duration",
        "stalls",
        "slowest",
    ] {
        assert!(text.lines().any(|it| it.starts_with(name)), "{name} in\n{text}");
    }
    assert!(text.lines().all(|it| it.chars().count() <= 80), "{text}");
}

/// Forty waits are enough for a line; what a server says is never markup.
#[test]
fn the_page_has_the_text_and_the_charts_and_needs_nothing_else() {
    let said =
        "HTTP/1.1 500 Oops\r\nContent-Type: text/html\r\nContent-Length: 10\r\n\r\n<b>bad</b>";
    let chat = Chat::refusing(move |number| (number == 1).then_some(said));
    let file = std::env::temp_dir().join(format!("sse-load-{}.html", std::process::id()));
    let output = Command::new(env!("CARGO_BIN_EXE_sse-bench"))
        .args([
            "load",
            "--unchecked",
            &chat.url(),
            "-d",
            crate::chat::BODY,
            "-H",
            crate::chat::TOKEN,
        ])
        .args(["--requests", "41", "--connections", "2", "--html"])
        .arg(&file)
        .output()
        .unwrap();
    let (text, page) = (output.stdout, std::fs::read_to_string(&file).unwrap());
    std::fs::remove_file(&file).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(
        page.contains("answers        40 whole, 1 failed") && text.contains("40 whole"),
        "{text}"
    );
    assert!(page.contains("&lt;b&gt;bad&lt;/b&gt;") && !page.contains("<b>"), "{page}");
    assert!(page.contains("Half of the streams had their first event after"), "{page}");
    for line in ["headers", "first event", "second event", "duration"] {
        assert!(page.contains(&format!("</i>{line}</li>")), "{line}: {page}");
    }
    for outside in ["url(", "src=", "@import"] {
        assert!(!page.contains(outside), "{outside}: {page}");
    }
    let (drawn, _) = page.split_once("<script").expect("it sorts tables");
    assert!(!drawn.contains("NaN"), "{page}");
    // Two steps of time and more are a line over time.
    let path = "/ticks?interval_ms=150&count=3";
    let asked = ["--requests", "2", "--connections", "1", "--html", file.to_str().unwrap()];
    let (code, text) = run(&[], path, &asked);
    let page = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(code == 0 && page.contains("</i>events</li>"), "{text} {page}");
}

#[test]
fn an_answer_ends_with_its_mark_and_fails_without_it() {
    let path = "/ticks?interval_ms=10&count=5";
    let asked = ["--requests", "6", "--connections", "2", "--until"];
    let (code, found) = json(&[], path, &[&asked[..], &["Hello! This is event 3"]].concat());
    assert_eq!((code, number(&found, "/ends/until_mark")), (0, 6), "{found}");
    assert_eq!((number(&found, "/events"), number(&found, "/duration/n")), (18, 6), "{found}");
    let (code, found) = json(&[], path, &[&asked[..], &["[DONE]"]].concat());
    assert_eq!((code, number(&found, "/ends/without_mark")), (1, 6), "{found}");
    assert_eq!((number(&found, "/events"), number(&found, "/answers/failed")), (30, 6), "{found}");
}

/// Two connections, answers of 400 ms or more, a request each 20 ms: number 20 is due after 380 ms, and
/// its head cannot come before ten answers of 400 ms are over.
#[test]
fn an_open_loop_counts_from_when_a_request_was_due() {
    let path = "/ticks?interval_ms=10&count=1";
    for arrivals in [&["--rate", "50"][..], &["--rate", "50", "--poisson"]] {
        let asked = ["--requests", "20", "--connections", "2"];
        let (code, found) = json(&["--fault-head-ms", "400"], path, &[arrivals, &asked].concat());
        assert_eq!((code, number(&found, "/answers/whole")), (0, 20), "{found}");
        assert_eq!(found["answers"]["poisson"], arrivals.contains(&"--poisson"), "{found}");
        // At random times the last one is due later.
        let at_least_ms = if arrivals.contains(&"--poisson") { 3000 } else { 3620 };
        assert!(number(&found, "/time_to_headers/max_ns") >= at_least_ms * MS, "{found}");
        assert!(number(&found, "/slowest/wait_ns") >= at_least_ms * MS, "{found}");
        assert!((1..=18).contains(&number(&found, "/answers/held_back")), "{found}");
    }
}

#[test]
fn an_open_loop_asks_for_its_time_and_waits_for_the_answers() {
    let path = "/ticks?interval_ms=10&count=2";
    let arguments = ["--rate", "40", "--duration-s", "1"];
    let (code, found) = json(&["--fault-head-ms", "1500"], path, &arguments);
    assert_eq!((code, number(&found, "/answers/whole")), (0, 40), "{found}");
    assert_eq!(number(&found, "/events"), 80, "{found}");
    // Behind its patience an answer is not finished, and that is no success.
    let arguments = [&arguments[..], &["--patience", "100ms"]].concat();
    let (code, found) = in_time(LATE, || json(&["--fault-head-ms", "600000"], path, &arguments));
    assert_eq!(code, 2, "{found}");
    assert_eq!(number(&found, "/answers/unfinished"), 40, "{found}");
}

#[test]
fn streams_that_do_not_open_cost_the_others_nothing() {
    let arguments = ["--connections", "10", "--duration-s", "2"];
    let path = "/ticks?interval_ms=100";
    let (code, found) = in_time(LATE, || json(&["--fault-refuse-each", "2"], path, &arguments));
    assert_eq!((code, number(&found, "/opened")), (1, 5), "{found}");
    assert_eq!(number(&found, "/not_open_in_time"), 5, "{found}");
    assert_eq!((number(&found, "/ends/refused"), number(&found, "/ends/open")), (5, 5));
    assert!(number(&found, "/events") > 0 && number(&found, "/events_each/n") == 5, "{found}");
    // With the patience that it takes, a late head is a time like any other.
    let arguments = [&arguments[..], &["--patience", "20s"]].concat();
    let (code, found) = json(&["--fault-head-ms", "2500"], path, &arguments);
    assert_eq!((code, number(&found, "/opened")), (0, 10), "{found}");
    assert!(number(&found, "/time_to_headers/p50_ns") >= 2500 * MS, "{found}");
}

#[test]
fn a_stream_without_events_is_no_silent_success() {
    let arguments = ["--connections", "3", "--duration-s", "1"];
    let (code, text) = in_time(LATE, || run(&[], "/messages/quiet", &arguments));
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("no event came") && text.contains("--fail-if 'events<1'"), "{text}");
    let more = ["--fail-if", "events<1"];
    let (code, text) = run(&[], "/messages/quiet", &[&arguments[..], &more].concat());
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("FAILED         events<1"), "{text}");
}

/// A generator that does not find known truths prints no figure; every floor of this one lies beyond them.
#[test]
fn a_generator_that_finds_no_truth_prints_no_figure() {
    let server = floor(&[]);
    let run = |more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_sse-bench"))
            .arg("load")
            .arg(format!("http://{}/ticks?interval_ms=10", server.addr()))
            .args(["--connections", "2", "--duration-s", "1"])
            .args(more)
            .env("FLOOR_FAULT_DROP_EACH", "3")
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
        (output.status.code().unwrap(), text)
    };
    let (code, [figures, words]) = run(&[]);
    assert_eq!((code, figures.as_str()), (3, ""), "{words}");
    assert!(
        words.contains("23 events in truth, found") && words.contains("--unchecked"),
        "{words}"
    );
    let (code, [figures, words]) = run(&["--unchecked"]);
    assert_eq!((code, words.as_str()), (0, ""), "{figures}");
    assert!(figures.contains("events ") && figures.contains("\nUNCHECKED "), "{figures}");
    let (_, [json, _]) = run(&["--unchecked", "--json", "-"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let passed = [0, 1, 2].map(|at| json["self_check"][at]["passed"].as_bool().unwrap());
    assert_eq!(passed, [true, false, false], "{json}");
    server.stop().unwrap();
}

/// A server that refuses and never ends the body of its refusal holds up nothing.
#[test]
fn a_refusal_without_an_end_is_one_all_the_same() {
    let endless = "HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain\r\n\
                   Content-Length: 90\r\n\r\nslow \u{1b}[31mdown\n";
    let chat = Chat::refusing(move |number| (number <= 2).then_some(endless));
    let output = Command::new(env!("CARGO_BIN_EXE_sse-bench"))
        .args([
            "load",
            "--unchecked",
            &chat.url(),
            "-d",
            crate::chat::BODY,
            "-H",
            crate::chat::TOKEN,
        ])
        .args(["--requests", "4", "--connections", "1", "--duration-s", "60", "--json", "-"])
        .output()
        .unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((number(&found, "/ends/refused"), number(&found, "/ends/whole")), (2, 2), "{found}");
    // Nothing in it commands a terminal.
    assert_eq!(found["refusals"][0]["body"], "slow \u{fffd}[31mdown", "{found}");
}

#[test]
fn a_condition_needs_what_it_is_about() {
    for (condition, advice) in [("goodput<95%", "--slo"), ("stalls>0", "--stall")] {
        let (code, words) = run(&[], "/ticks", &["--fail-if", condition]);
        assert_eq!((code, words.lines().count()), (2, 1), "{words}");
        assert!(words.contains(advice), "{words}");
    }
}
