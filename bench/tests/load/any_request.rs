//! `load` asks as its user wants it: over TLS, with POST and a body, and again when an answer has ended.

use std::io::Write as _;
use std::process::{Command, Stdio};

use load::generator;
use load::timer::{SECOND_NS, unix_ns};
use serde_json::Value;
use wire::{Tls, Trust};

use crate::chat::{BODY, Chat, PATH, TOKEN, authority};
use crate::floor::{SUBSCRIBERS, broadcast, floor};

/// The command's exit code, its report, and what it says besides.
fn load(arguments: &[&str]) -> (i32, Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-bench"));
    let output = command
        .args(["load", "--unchecked"])
        .args(arguments)
        .args(["--json", "-"])
        .output()
        .unwrap();
    let json = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().unwrap(), json, String::from_utf8(output.stderr).unwrap())
}

/// An answer that breaks within a chunk.
const CUT: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                   Transfer-Encoding: chunked\r\n\r\n9\r\ndata: x\n\n\r\n9\r\nda";

#[test]
fn over_tls_every_delivery_is_counted() {
    let server = floor(&[]);
    let (authority, file) = authority("counted");
    // Forty handshakes take a busy host longer than forty connections.
    let mut plan = broadcast().plan_with_slack(server.addr(), unix_ns(), 12 * SECOND_NS);
    plan.addr = authority.relay(&["localhost"], server.addr());
    let trust = Trust { cacert: Some(file.clone()), ..Trust::default() };
    plan.tls = Some(Tls::new("localhost", &trust).unwrap());
    let outcome = generator::run(&plan, unix_ns, |_| {}).unwrap();
    assert_eq!(outcome.fault(), None);
    assert_eq!((outcome.expected, outcome.delivered), (SUBSCRIBERS * 20, SUBSCRIBERS * 20));
    assert_eq!(outcome.headers_ns.len(), SUBSCRIBERS);
    std::fs::remove_file(file).unwrap();
    server.stop().unwrap();
}

#[test]
fn a_wrong_certificate_is_one_line_with_advice() {
    let chat = Chat::start();
    let (authority, file) = authority("wrong");
    let port = authority.relay(&["localhost"], chat.address).port();
    let (url, file) = (format!("https://localhost:{port}{PATH}"), file.to_str().unwrap());
    let ask = |more: &[&str]| {
        load(
            &[&["-d", BODY, "-H", TOKEN, "--requests", "3", "--connections", "1", &url], more]
                .concat(),
        )
    };
    for trust in [&["--cacert", file][..], &["--insecure"]] {
        let (code, json, words) = ask(trust);
        assert_eq!((code, &json["answers"]["whole"]), (0, &3.into()), "{json} {words}");
    }
    for trust in [&[][..], &["--cacert", file, "--server-name", "other.example"]] {
        let (code, _, words) = ask(trust);
        assert_eq!((code, words.lines().count()), (2, 1), "{words}");
        assert!(words.contains("--cacert FILE"), "{words}");
        assert!(words.trim_end().ends_with("--insecure"), "{words}");
    }
    std::fs::remove_file(file).unwrap();
}

#[test]
fn answers_that_end_are_asked_for_again_and_counted() {
    let chat = Chat::start();
    let url = chat.url();
    let asked = ["-d", BODY, "-H", TOKEN, "--requests", "30", "--connections", "4", &url];
    let (code, json, words) = load(&asked);
    assert_eq!(code, 0, "{json} {words}");
    let answers = &json["answers"];
    for (name, count) in [("asked", 30), ("whole", 30), ("failed", 0), ("unfinished", 0)] {
        assert_eq!(answers[name], count, "{name}: {json}");
    }
    assert_eq!((&json["events_each"]["p50"], &json["events"]), (&5.into(), &150.into()));
    for times in [&json["duration"], &json["time_to_headers"], &json["time_to_first_event"]] {
        assert_eq!(times["n"], 30, "{json}");
    }
    let requests = chat.requests();
    assert_eq!(requests.len(), 30);
    let are_whole = requests.iter().all(|it| it.method == "POST" && it.body == BODY.as_bytes());
    assert!(are_whole, "{requests:?}");
}

#[test]
fn a_body_from_standard_input_is_sent_with_each_request() {
    let chat = Chat::start();
    let mut running = Command::new(env!("CARGO_BIN_EXE_sse-bench"))
        .args(["load", "--unchecked", "-d", "-", "-H", TOKEN, "--requests", "3"])
        .args(["--connections", "1", &chat.url()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    running.stdin.take().unwrap().write_all(BODY.as_bytes()).unwrap();
    let output = running.wait_with_output().unwrap();
    let bodies: Vec<_> = chat.requests().into_iter().map(|it| it.body).collect();
    assert_eq!(bodies, [BODY.as_bytes(); 3]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn answers_that_are_cut_or_refused_fail() {
    let refused = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    let chat = Chat::refusing(move |number| match number % 5 {
        0 => Some(CUT),
        1 => Some(refused),
        _ => None,
    });
    let url = chat.url();
    let asked = ["-d", BODY, "-H", TOKEN, "--requests", "20", "--connections", "1", &url];
    let (code, json, words) = load(&asked);
    assert_eq!(code, 1, "{json} {words}");
    let answers = &json["answers"];
    assert_eq!((&answers["whole"], &answers["failed"]), (&12.into(), &8.into()), "{json}");
    // The event before a cut was received.
    assert_eq!(json["events"], 12 * 5 + 4, "{json}");
}

#[test]
fn streams_that_end_are_no_silence_without_requests_either() {
    let chat = Chat::start();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-bench"));
    command.args([
        "load",
        "--unchecked",
        "-d",
        BODY,
        "-H",
        TOKEN,
        "--connections",
        "20",
        "--duration-s",
        "1",
    ]);
    let output = command.arg(chat.url()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("100 before all were open"), "{text}");
    assert!(text.contains("--requests is for answers that end"), "{text}");
}
