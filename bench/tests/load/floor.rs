//! The generator against the floor, which lies by a known amount: the harness must find exactly it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleet::{Launch, Server};
use load::Shape;
use load::generator::{self, Outcome};
use load::plan::{Plan, Stop};
use load::shape::{Broadcast, Counted, Firehose, Ticks};
use load::timer::{MILLISECOND_NS, SECOND_NS, unix_ns};
use wire::Request;
use wire::server::RequestReader;

use crate::waits::in_time;

/// Few subscribers, so that the test runs beside others; the counts are exact all the same.
pub const SUBSCRIBERS: u64 = 40;

/// From the last connection to the time when all have to be open: this runs beside other tests.
const OPEN_NS: u64 = 3 * SECOND_NS;

/// Further time for streams that are not paced: only a stream that never completes uses it up.
const COMPLETE_NS: u64 = 100 * SECOND_NS;

pub fn floor(faults: &[&str]) -> Server {
    let args = ["floor"].into_iter().chain(faults.iter().copied()).map(str::to_owned).collect();
    let launch =
        Launch { binary: env!("CARGO_BIN_EXE_sse-bench").into(), args, ..Launch::default() };
    Server::start(&launch).unwrap()
}

/// 5 messages to warm up, 20 in the window.
const BROADCAST: Broadcast = Broadcast {
    subscribers: SUBSCRIBERS,
    interval_us: 10_000,
    warm_up: 5,
    messages: 20,
    pad_bytes: 0,
    stalled_each: 0,
};

/// 10 events each in the window.
const TICKS: Ticks =
    Ticks { subscribers: SUBSCRIBERS, interval_ms: 20, warm_up: 2, events: 10, aligned: false };

pub fn broadcast() -> Shape {
    Shape::Broadcast(BROADCAST)
}

fn ticks() -> Shape {
    Shape::Ticks(TICKS)
}

fn plan(shape: &Shape, addr: SocketAddr) -> Plan {
    let mut plan = shape.plan_with_slack(addr, unix_ns(), OPEN_NS);
    if let (Shape::Counted(_), Stop::WhenComplete { at_latest_ns }) = (shape, &mut plan.stop) {
        *at_latest_ns += COMPLETE_NS;
        // A stream that a busy host opens late has its events all the same.
        plan.up_by_ns += COMPLETE_NS;
    }
    plan
}

fn load(addr: SocketAddr, shape: &Shape) -> Outcome {
    generator::run(&plan(shape, addr), unix_ns, |_| {}).unwrap()
}

/// Runs the workload against a floor with these faults, which must end well in any case.
fn outcome(shape: &Shape, faults: &[&str]) -> Outcome {
    let server = floor(faults);
    let outcome = load(server.addr(), shape);
    assert!(server.stop().unwrap().status.success());
    outcome
}

#[test]
fn an_honest_server_has_no_fault_and_every_delivery_is_counted() {
    for (shape, each) in [(broadcast(), 20), (ticks(), 10)] {
        let outcome = outcome(&shape, &[]);
        assert_eq!(outcome.fault(), None, "{shape:?}");
        assert_eq!(outcome.expected, SUBSCRIBERS * each);
        assert_eq!(outcome.delivered, outcome.expected);
        assert_eq!(outcome.latency_ns.len(), outcome.expected);
    }
}

#[test]
fn every_dropped_event_is_a_gap() {
    // Of 25 events, 7, 14 and 21 are dropped; 5 events warm up, so all are in the window.
    let outcome = outcome(&broadcast(), &["--fault-drop-each", "7"]);
    assert_eq!(outcome.gaps, SUBSCRIBERS * 3);
    assert_eq!(outcome.delivered, SUBSCRIBERS * 17);
    assert_eq!((outcome.duplicates, outcome.out_of_order), (0, 0));
    assert_eq!(outcome.fault().unwrap(), format!("{} events lost", SUBSCRIBERS * 3));
}

#[test]
fn a_last_event_that_never_comes_is_a_gap() {
    let outcome = outcome(&broadcast(), &["--fault-drop-each", "25"]);
    assert_eq!((outcome.gaps, outcome.delivered), (SUBSCRIBERS, SUBSCRIBERS * 19));
}

#[test]
fn every_doubled_event_is_a_duplicate_and_no_delivery() {
    let outcome = outcome(&broadcast(), &["--fault-duplicate-each", "7"]);
    assert_eq!(outcome.duplicates, SUBSCRIBERS * 3);
    assert_eq!((outcome.gaps, outcome.out_of_order), (0, 0));
    assert_eq!(outcome.delivered, outcome.expected);
}

#[test]
fn every_swapped_pair_is_out_of_order_and_nothing_else() {
    let outcome = outcome(&broadcast(), &["--fault-swap-each", "7"]);
    assert_eq!(outcome.out_of_order, SUBSCRIBERS * 3);
    assert_eq!((outcome.gaps, outcome.duplicates), (0, 0));
    assert_eq!(outcome.delivered, outcome.expected);
}

#[test]
fn ticks_show_the_same_faults() {
    let dropped = outcome(&ticks(), &["--fault-drop-each", "5"]);
    assert!(dropped.gaps >= SUBSCRIBERS * 2, "{}", dropped.gaps);
    assert_eq!(dropped.delivered, SUBSCRIBERS * 8);
    let doubled = outcome(&ticks(), &["--fault-duplicate-each", "5"]);
    assert!(doubled.duplicates >= SUBSCRIBERS * 2, "{}", doubled.duplicates);
    assert_eq!(doubled.delivered, doubled.expected);
}

#[test]
fn a_delay_shows_in_the_latency_in_full() {
    for shape in [broadcast(), ticks()] {
        let outcome = outcome(&shape, &["--fault-delay-us", "30000"]);
        assert_eq!(outcome.fault(), None, "{shape:?}");
        let least_ms = outcome.latency_ns.min() / 1_000_000;
        assert!((29..200).contains(&least_ms), "{shape:?}: {least_ms} ms");
    }
}

/// The first of those that are written together waits for the whole budget, and none is lost.
#[test]
fn messages_that_wait_for_each_other_all_come() {
    let outcome = outcome(&broadcast(), &["--coalesce-ms", "60"]);
    assert_eq!(outcome.fault(), None);
    assert_eq!(outcome.delivered, outcome.expected);
    let most = outcome.messages.iter().map(|it| it.first_ns - it.scheduled_ns).max().unwrap();
    assert!(most >= 59 * MILLISECOND_NS, "{most} ns");
}

/// With a budget that the test does not live to see: a stream that opens, enough bytes and the end do
/// not wait for it.
#[test]
fn messages_wait_for_no_more_than_a_write_can_hold() {
    let server = floor(&["--coalesce-ms", "60000"]);
    let (host, log) = (server.addr().to_string(), wire::Log::new());
    let request = |method: &str| Request::new(method, "/messages/room").header("Host", &host);
    let connect = || wire::Connection::open(&host, Duration::from_secs(30), &log).unwrap();
    let open = || wire::EventStream::open(connect(), &request("GET")).unwrap();
    let mut publisher = connect();
    let mut publish = |text: &str| {
        let (head, mut body) = publisher.ask(&request("POST").body(text)).unwrap();
        publisher.read_body_to_end(&mut body).unwrap();
        assert_eq!(head.status, 201);
    };
    let mut first = open();
    publish("before the second stream");
    let mut second = open();
    assert_eq!(first.next_event().unwrap().unwrap().data, "before the second stream");
    let half = "x".repeat(40_000);
    publish(&half);
    publish(&half);
    for stream in [&mut first, &mut second] {
        assert!(stream.take(2).unwrap().iter().all(|it| it.data == half));
    }
    publish("the last");
    server.stop().unwrap();
    for mut stream in [first, second] {
        assert_eq!(stream.next_event().unwrap().unwrap().data, "the last");
        assert_eq!(stream.next_event().unwrap(), None);
    }
}

#[test]
fn a_server_that_is_not_there_is_a_fault_and_not_a_hang() {
    let server = floor(&[]);
    let addr = server.addr();
    server.stop().unwrap();
    let fault = load(addr, &broadcast()).fault().unwrap();
    assert!(fault.contains("refused"), "{fault}");
}

#[test]
fn a_server_that_dies_is_a_fault_and_not_a_hang() {
    let server = floor(&[]);
    let mut plan = plan(&broadcast(), server.addr());
    plan.marks_ns = vec![plan.window_ns.start];
    let mut server = Some(server);
    let outcome = generator::run(&plan, unix_ns, |_| drop(server.take())).unwrap();
    assert_eq!(outcome.early_closes, SUBSCRIBERS);
    assert!(outcome.fault().unwrap().contains("streams ended early"));
}

#[test]
fn an_answer_that_is_no_stream_is_a_fault() {
    let server = floor(&[]);
    let mut plan = plan(&broadcast(), server.addr());
    plan.request = Request::new("GET", "/nothing").header("Host", "floor").to_bytes();
    let fault = generator::run(&plan, unix_ns, |_| {}).unwrap().fault().unwrap();
    assert!(fault.contains("answered 404"), "{fault}");
}

/// Two streams of each, all due at once.
#[test]
fn aligned_ticks_are_due_at_the_same_instant() {
    let outcome = outcome(&Shape::Ticks(Ticks { aligned: true, ..TICKS }), &[]);
    assert_eq!(outcome.fault(), None);
    // Off a common schedule, the streams' stamps would differ; here each is a multiple of 20 ms.
    assert!(outcome.latency_ns.len() == SUBSCRIBERS * 10);
}

fn counted(subscribers: u64, events: u64) -> Shape {
    Shape::Counted(Counted { subscribers, events })
}

/// One in ten thousand, exactly, in three hundred thousand.
#[test]
fn a_rare_fault_is_counted_exactly() {
    for (fault, lost, doubled) in [("--fault-drop-each", 30, 0), ("--fault-duplicate-each", 0, 30)]
    {
        let outcome = outcome(&counted(10, 30_000), &[fault, "10000"]);
        assert_eq!((outcome.gaps, outcome.duplicates), (lost, doubled), "{fault}");
        assert_eq!(outcome.delivered, 300_000 - lost, "{fault}");
    }
    let swapped = outcome(&counted(1, 10_000), &["--fault-swap-each", "7001"]);
    assert_eq!((swapped.out_of_order, swapped.gaps, swapped.duplicates), (1, 0, 0));
    let honest = outcome(&counted(3, 10_000), &[]);
    assert_eq!((honest.fault(), honest.delivered), (None, 30_000));
}

/// A stream without end owes what is left out of it, not what was still to come.
#[test]
fn a_stream_without_end_is_checked_too() {
    let endless = Shape::Firehose(Firehose { subscribers: 3, warm_up_ms: 10, window_ms: 500 });
    let honest = outcome(&endless, &[]);
    assert_eq!((honest.fault(), honest.delivered), (None, honest.expected));
    assert!(honest.delivered > 10_000, "{}", honest.delivered);
    let dropped = outcome(&endless, &["--fault-drop-each", "1000"]);
    assert!(dropped.gaps > 3 && dropped.expected == dropped.delivered + dropped.gaps);
    assert!(dropped.fault().unwrap().contains("events lost"), "{:?}", dropped.fault());
}

/// A server that stalls and says that nothing happened has moved its own schedule.
#[test]
fn a_server_that_stamps_late_is_caught() {
    // In the middle of a window of a second, however long the streams took to open.
    let ticks = Ticks { events: 50, ..TICKS };
    let before_window = OPEN_NS / MILLISECOND_NS / ticks.interval_ms;
    let shape = Shape::Ticks(ticks);
    let at = (before_window + 25).to_string();
    let stall = ["--fault-stall-at", &at, "--fault-stall-ms", "150"];
    let honest = outcome(&shape, &stall);
    assert!(honest.latency_ns.max() >= 148_000_000, "{}", honest.latency_ns.max());
    let lying = outcome(&shape, &[stall.as_slice(), &["--fault-restamp"]].concat());
    assert!(lying.off_schedule > 0);
    assert!(lying.fault().unwrap().contains("stamps off schedule"), "{:?}", lying.fault());
}

#[test]
fn stalled_readers_owe_nothing_and_the_others_get_everything() {
    let stalled = Broadcast { stalled_each: 10, pad_bytes: 4000, ..BROADCAST };
    let outcome = outcome(&Shape::Broadcast(stalled), &[]);
    assert_eq!(outcome.fault(), None);
    assert_eq!(outcome.expected, SUBSCRIBERS * 9 / 10 * 20);
    assert_eq!(outcome.delivered, outcome.expected);
}

#[test]
fn a_broadcast_has_a_skew_and_a_connection_its_times() {
    let outcome = outcome(&broadcast(), &[]);
    assert_eq!(outcome.skew_ns.len(), 20);
    assert!(outcome.messages.iter().all(|it| it.count == SUBSCRIBERS));
    for histogram in [&outcome.connect_ns, &outcome.headers_ns, &outcome.first_event_ns] {
        assert_eq!(histogram.len(), SUBSCRIBERS);
    }
    assert!(outcome.first_event_ns.min() >= outcome.headers_ns.min());
    assert_eq!(outcome.timeline.iter().map(|it| it.events).sum::<u64>(), SUBSCRIBERS * 20);
}

/// The command's exit code and what it says on stderr.
fn command(args: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sse-bench")).args(args).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn what_cannot_run_is_one_line_with_advice_and_exit_code_2() {
    let server = floor(&[]);
    let no_stream = format!("http://{}/healthz", server.addr());
    for (args, advice) in [
        (["run", "--only", "nope"], "choose one of"),
        (["run", "--profile", "nope"], "choose quick, standard, full"),
        (["report", "--splice=x", "/nope"], "give the folder that a run wrote"),
        (["load", "--unchecked", "http://127.0.0.1:1/"], "refused"),
        (["load", "--unchecked", "ftp://127.0.0.1:1/"], "no http:// or https:// URL"),
        (["load", "--unchecked", no_stream.as_str()], "instead of 200 text/event-stream"),
    ] {
        let (code, words) = command(&args);
        assert_eq!((code, words.lines().count()), (2, 1), "{args:?}: {words}");
        assert!(words.contains(advice), "{args:?}: {words}");
    }
    server.stop().unwrap();
}

#[test]
fn load_counts_the_events_of_any_stream() {
    let server = floor(&[]);
    let url = format!("http://{}/ticks?interval_ms=50&stamp=1", server.addr());
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-bench"));
    command.args(["load", "--unchecked", &url, "--connections", "20", "--duration-s", "3"]);
    // 20 streams of 60 events; where the window cuts, a host that is not late moves three events of each at most.
    let output = in_time(Duration::from_millis(150), || command.output().unwrap());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let events = text.lines().find_map(|line| line.strip_prefix("events")).unwrap();
    let events: u64 = events.split_whitespace().next().unwrap().parse().unwrap();
    assert!((1140..=1260).contains(&events), "{text}");
    assert!(text.contains("20 of 20 opened") && text.contains("p99"), "{text}");
}

#[test]
fn load_publishes_writes_files_and_fails_by_condition() {
    let server = floor(&[]);
    let folder = std::env::temp_dir().join(format!("sse-bench-load-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (json, hlog) = (folder.join("load.json"), folder.join("load.hlog"));
    let url = format!("http://{}/messages/room", server.addr());
    let run = |conditions: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_sse-bench"))
            .args([
                "load",
                "--unchecked",
                &url,
                "--connections",
                "10",
                "--duration-s",
                "60",
                "--events",
                "100",
            ])
            .args(["--publish", &url, "--publish-every-ms", "50"])
            .args(["--publish-body", r#"{"at":{"ms":{scheduled_ms}},"n":{n}}"#])
            .args(["--stamp-path", "at.ms", "--json"])
            .arg(&json)
            .arg("--hlog")
            .arg(&hlog)
            .args(conditions)
            .output()
            .unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = run(&["--fail-if", "p99>10s", "--fail-if", "events<100"]);
    assert_eq!(code, 0, "{text}");
    let (code, text) = run(&["--fail-if", "p50>1ns"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("FAILED         p50>1ns"), "{text}");
    let report: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!(report["opened"], 10);
    assert_eq!(report["latency"]["n"], report["events"]);
    assert_eq!(report["failed_conditions"][0], "p50>1ns");
    assert!(std::fs::read_to_string(&hlog).unwrap().contains("Tag=load"));
    std::fs::remove_dir_all(&folder).unwrap();
    server.stop().unwrap();
}

/// The end of a run in which texts arrive, and of one in which none does.
const TWO_TEXTS: &[&str] = &["--duration-s", "60", "--events", "10"];
const A_SECOND: &[&str] = &["--duration-s", "1"];

/// `load` on a room of the floor, up to this end: exit code and text.
fn load_room(server: &Server, end: &[&str], publishing: &[&str]) -> (i32, String) {
    let url = format!("http://{}/messages/room", server.addr());
    let output = Command::new(env!("CARGO_BIN_EXE_sse-bench"))
        .args(["load", "--unchecked", &url, "--connections", "5"])
        .args(end)
        .args(["--publish-every-ms", "100"])
        .args(publishing)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[test]
fn a_publisher_that_fails_is_counted_and_fails_the_run() {
    let server = floor(&[]);
    // Bound, and then closed: no server listens there.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let closed = format!("http://{closed}/say");
    let refusing = format!("http://{}/nowhere", server.addr());
    for publishing in [
        &["--publish", &closed][..],
        &["--publish", &refusing],
        &["--publish-cmd", "false"],
        &["--publish-cmd", "no-such-program {text}"],
    ] {
        let publishing = [publishing, &["--fail-if", "errors>0"]].concat();
        let (code, text) = load_room(&server, A_SECOND, &publishing);
        assert_eq!(code, 1, "{publishing:?}: {text}");
        assert!(text.contains("FAILED         errors>0"), "{publishing:?}: {text}");
        assert!(text.contains("first failure  publishing: "), "{publishing:?}: {text}");
        let line = text.lines().find(|line| line.starts_with("published")).unwrap();
        assert!(!line.contains("which 0 failed"), "{publishing:?}: {text}");
    }
    server.stop().unwrap();
}

/// Streams of `load_room`.
const SUBSCRIBED: u64 = 5;

/// Each answer is the last one on its connection. A server of the second kind says so with its version, and its body
/// ends with the connection; one of the first kind takes its time to close.
#[test]
fn a_publisher_takes_a_new_connection_where_the_server_ends_the_old_one() {
    let server = floor(&[]);
    let room = server.addr();
    for (head, closes_at_once) in [
        ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", false),
        ("HTTP/1.0 200 OK\r\n\r\nok", true),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/messages/room", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for mut socket in listener.incoming().map_while(Result::ok) {
                let reader = Arc::new(socket.try_clone().unwrap());
                let Some((_, bytes)) = RequestReader::new(reader, 1024).next_request() else {
                    continue;
                };
                let mut origin = TcpStream::connect(room).unwrap();
                origin.write_all(&bytes).unwrap();
                assert!(origin.read(&mut [0; 1024]).unwrap() > 0);
                socket.write_all(head.as_bytes()).unwrap();
                if !closes_at_once {
                    open.push(socket);
                }
            }
        });
        let publishing = ["--publish", &url, "--fail-if", "errors>0"];
        let (code, text) = load_room(&server, TWO_TEXTS, &publishing);
        assert_eq!(code, 0, "{head}: {text}");
        assert!(text.contains("of which 0 failed"), "{head}: {text}");
        let events = text.lines().find_map(|line| line.strip_prefix("events"));
        let events = events.and_then(|line| line.split_whitespace().next()?.parse().ok());
        assert!(events > Some(SUBSCRIBED), "{head}: {text}");
    }
    server.stop().unwrap();
}

#[test]
fn a_command_publishes() {
    let server = floor(&[]);
    let url = format!("http://{}/messages/room", server.addr());
    let command = format!("curl -fsS --data-binary @- {url}");
    let publishing = ["--publish-cmd", &command, "--fail-if", "events<5"];
    let (code, text) = load_room(&server, TWO_TEXTS, &publishing);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("of which 0 failed"), "{text}");
    server.stop().unwrap();
}

#[test]
fn load_ends_after_so_many_events() {
    let server = floor(&[]);
    let url = format!("http://{}/ticks?interval_ms=20&stamp=1", server.addr());
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-bench"));
    command.args([
        "load",
        "--unchecked",
        &url,
        "--connections",
        "5",
        "--duration-s",
        "60",
        "--events",
        "100",
    ]);
    command.args(["--json", "-"]);
    let (_watch, begin) = (conform::host::Watch::start(), Instant::now());
    let output = command.output().unwrap();
    // After a pause of the host, all that has come meanwhile is counted at once: 250 a second.
    let late = conform::host::worst_since(begin).as_secs_f64();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let events = report["events"].as_u64().unwrap();
    let most = 130 + (2.0 * 250.0 * late) as u64;
    assert!((100..most).contains(&events), "{events}, and the host was {late:.3} s late");
    assert!(report["seconds"].as_f64().unwrap() < 10.0 + 10.0 * late);
}
