//! `sse replay`: a recording as a server, as it was and with faults.
#![allow(clippy::unwrap_used)] // A test may panic, and its helpers with it.

mod played;

use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use played::{Answer, File, Replay, assert_refused, read_to, run};

/// Two events of ten bytes in two pieces, at once, and then the end.
const LINES: &str = "0 status 200\nheader content-type: text/event-stream\nheader x-a: 1\n\
    0 \"data: 01\\n\\n\"\n0 \"data: 02\\n\\n\"\n0 whole\n";
const CHUNKS: &str = "a\r\ndata: 01\n\n\r\na\r\ndata: 02\n\n\r\n";
const LAST: &str = "0\r\n\r\n";

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn every_connection_path_and_method_gets_the_recording() {
    let mut replay = Replay::start(&File::recording(LINES), &[]);
    let whole = format!("{CHUNKS}{LAST}");
    for request in
        ["GET / HTTP/1.1\r\n\r\n", "DELETE /a?b HTTP/1.1\r\nLast-Event-ID: 41\x1b\r\n\r\n"]
    {
        let answer = Answer::read(replay.ask(request));
        assert!(answer.head.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}");
        for field in ["content-type: text/event-stream", "x-a: 1", "transfer-encoding: chunked"] {
            assert!(answer.head.contains(&format!("\r\n{field}\r\n")), "{answer:?}");
        }
        assert_eq!((text(&answer.body), answer.error), (&*whole, None));
    }
    let line = replay.logged("DELETE");
    assert_eq!(line, "sse: connection 2: DELETE /a?b, Last-Event-ID 41\u{241b}");
    let line = replay.logged("connection 2");
    assert!(line.starts_with("sse: connection 2: whole, after 20 bytes in "), "{line}");
    // The answer is over long before this body is, and reaches the client all the same.
    let large = "x".repeat(16 << 20);
    let post = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{large}", large.len());
    let answer = Answer::read(replay.ask(&post));
    assert_eq!((text(&answer.body), answer.error), (&*whole, None));

    let answer = Answer::read(replay.ask("HEAD / HTTP/1.1\r\n\r\n"));
    assert!(answer.head.contains("x-a: 1") && answer.body.is_empty(), "{answer:?}");
    let answer = Answer::read(replay.ask("GET / HTTP/1.0\r\n\r\n"));
    assert!(!answer.head.contains("chunked"), "{answer:?}");
    assert_eq!(text(&answer.body), "data: 01\n\ndata: 02\n\n");
    let answer = Answer::read(replay.ask("PRI * HTTP/2.0\r\n\r\n"));
    assert!(answer.head.starts_with("HTTP/1.1 400 "), "{answer:?}");
}

#[test]
fn nothing_comes_before_its_time() {
    let file = File::recording("100 status 200\n200 \"a\"\n400 \"b\"\n800 whole\n");
    let replay = Replay::start(&file, &[]);
    let start = Instant::now();
    let mut socket = replay.ask("GET / HTTP/1.0\r\n\r\n");
    for (end, ms) in [("HTTP/1.1 200 OK", 100), ("\r\n\r\na", 200), ("b", 400)] {
        read_to(&mut socket, end);
        assert!(start.elapsed() >= Duration::from_millis(ms), "{end}: {:?}", start.elapsed());
    }
    let (_, took) = replay.timed_answer();
    assert!(took >= Duration::from_millis(800), "{took:?}");
    // A thousand times as fast, or at once: an hour is over in time for this test.
    let file = File::recording("0 status 200\n3600000 \"a\"\n3600000 whole\n");
    for (speed, least_ms) in [("1000", 3_600), ("max", 0)] {
        let (answer, took) = Replay::start(&file, &["--speed", speed]).timed_answer();
        assert!(took >= Duration::from_millis(least_ms), "{took:?}");
        assert_eq!(text(&answer.body), "1\r\na\r\n0\r\n\r\n");
    }
}

#[test]
fn a_cut_is_at_its_byte_and_a_client_sees_it() {
    let file = File::recording(LINES);
    for (at, expected) in [
        (0, ""),
        (4, "a\r\ndata"),
        (10, "a\r\ndata: 01\n\n\r\n"),
        (15, "a\r\ndata: 01\n\n\r\na\r\ndata:"),
        (20, CHUNKS),
    ] {
        let at = at.to_string();
        let replay = Replay::start(&file, &["--cut-at", &at]);
        let answer = replay.answer();
        assert_eq!((text(&answer.body), answer.error), (expected, None), "{at}");
        let (code, _, stderr) = run(&["tail", "--once", &replay.url]);
        assert_eq!((code, stderr.contains("broke")), (1, true), "{at}: {stderr}");
        let answer = Replay::start(&file, &["--cut-at", &at, "--end", "reset"]).answer();
        assert_eq!(answer.error, Some(ErrorKind::ConnectionReset), "{at}");
    }
    // HTTP is content with this one, and the last event is lost all the same.
    let replay = Replay::start(&file, &["--cut-at", "15", "--end", "whole"]);
    assert_eq!(text(&replay.answer().body), "a\r\ndata: 01\n\n\r\n5\r\ndata:\r\n0\r\n\r\n");
    let (code, stdout, stderr) = run(&["tail", "--once", "--json", &replay.url]);
    assert_eq!((code, text(&stdout).lines().count()), (0, 1), "{stderr}");
}

#[test]
fn a_stall_is_at_its_byte_for_ever_or_for_its_time() {
    let file = File::recording(LINES);
    let mut replay = Replay::start(&file, &["--stall-at", "15"]);
    let mut socket = replay.ask("GET / HTTP/1.0\r\n\r\n");
    read_to(&mut socket, "data: 01\n\ndata:");
    drop(socket);
    replay.logged("the client has left, after 15 bytes");
    let replay = Replay::start(&file, &["--stall-at", "15", "--stall", "500ms"]);
    let (answer, took) = replay.timed_answer();
    let split = "a\r\ndata: 01\n\n\r\n5\r\ndata:\r\n5\r\n 02\n\n\r\n0\r\n\r\n";
    assert_eq!(text(&answer.body), split);
    assert!(took >= Duration::from_millis(500), "{took:?}");
}

#[test]
fn the_first_answers_have_another_status_and_later_ones_are_as_recorded() {
    let options = ["--status", "503", "-H", "Retry-After: 5", "-H", "X-A: 2", "--first", "2"];
    let replay = Replay::start(&File::recording(LINES), &options);
    for _ in 0..2 {
        let answer = replay.answer();
        assert!(answer.head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer:?}");
        assert!(answer.head.contains("\r\nretry-after: 5\r\nx-a: 2\r\n"), "{answer:?}");
        assert!(!answer.head.contains("x-a: 1"), "{answer:?}");
    }
    let answer = replay.answer();
    assert!(answer.head.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}");
    assert!(answer.head.contains("x-a: 1") && !answer.head.contains("retry-after"), "{answer:?}");
}

#[test]
fn a_body_is_coded_or_only_said_to_be() {
    let file = File::recording(LINES);
    for coding in ["gzip", "gzip-unflushed"] {
        let replay = Replay::start(&file, &["--coding", coding]);
        let answer = Answer::read(replay.ask("GET / HTTP/1.0\r\n\r\n"));
        assert!(answer.head.contains("\r\ncontent-encoding: gzip\r\n"), "{answer:?}");
        let mut decoded = String::new();
        GzDecoder::new(&*answer.body).read_to_string(&mut decoded).unwrap();
        assert_eq!(decoded, "data: 01\n\ndata: 02\n\n", "{coding}");
        let (code, _, stderr) = run(&["tail", &replay.url]);
        assert_eq!((code, stderr.contains("coded as gzip")), (2, true), "{stderr}");
    }
    let answer = Replay::start(&file, &["-H", "Content-Encoding: gzip"]).answer();
    assert!(answer.head.contains("\r\ncontent-encoding: gzip\r\n"), "{answer:?}");
    assert_eq!(text(&answer.body), format!("{CHUNKS}{LAST}"));
}

#[test]
fn a_clump_comes_at_its_end_in_one_chunk() {
    let lines = "0 status 200\n0 \"a\"\n299 \"b\"\n300 \"c\"\n310 whole\n";
    let replay = Replay::start(&File::recording(lines), &["--clump", "300ms"]);
    let (answer, took) = replay.timed_answer();
    assert_eq!(text(&answer.body), "2\r\nab\r\n1\r\nc\r\n0\r\n\r\n");
    assert!(took >= Duration::from_millis(600), "{took:?}");
}

#[test]
fn a_loop_goes_on_until_the_client_leaves() {
    let file = File::recording("0 status 200\n0 \"ab\"\n20 cut\n");
    let mut replay = Replay::start(&file, &["--loop"]);
    let mut socket = replay.ask("GET / HTTP/1.0\r\n\r\n");
    read_to(&mut socket, "\r\n\r\nababab");
    drop(socket);
    replay.logged("the client has left");
    assert_refused(&["replay", file.path(), "--loop", "--speed", "max"], "--loop needs times");
}

#[test]
fn more_connections_than_allowed_wait() {
    let file = File::recording("0 status 200\n0 \"a\"\n");
    let mut replay = Replay::start(&file, &["--max-connections", "1"]);
    let first = replay.ask("GET /1 HTTP/1.1\r\n\r\n");
    replay.logged("1 connections are open; more of them wait");
    let mut second = replay.ask("GET /2 HTTP/1.1\r\n\r\n");
    second.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(second.read(&mut [0]).is_err());
    drop(first);
    replay.logged("connection 1: the client has left");
    replay.logged("GET /2");
}

#[test]
fn bad_input_is_named_in_one_line() {
    let file = File::recording(LINES);
    let later = File::new("sse-recording 2\n0 status 200\n");
    assert_refused(&["replay", later.path()], "this program reads \"sse-recording 1\"");
    let other = File::new("data: a\n\n");
    assert_refused(&["replay", other.path()], "it is no recording");
    assert_refused(&["replay", File::new(b"\xff").path()], "is no recording: not UTF-8");
    assert_refused(&["replay", "/nonexistent"], "cannot read /nonexistent");
    let wrong = File::recording("0 status 200\n\n0 \"a\\q\"\n");
    assert_refused(&["replay", wrong.path()], "line 4: a backslash stands before");
    for (options, what) in [
        (["--cut-at", "21"], "--cut-at 21 is beyond the body, which has 20 bytes"),
        (["--stall-at", "21"], "--stall-at 21 is beyond the body, which has 20 bytes"),
        (["--speed", "0"], "a factor from 0.01 to 1000, or max"),
        (["--status", "600"], "200..=599"),
        (["--max-connections", "0"], "1..=100000"),
        (["--first", "0"], "--first"),
        (["--clump", "3 parsecs"], "write it as 30s, 500ms or 2m"),
        (["--stall", "1s"], "--stall-at"),
        (["-H", "X"], "write a header as 'Name: value'"),
        (["-H", "Content-Length: 3"], "replay sends its own"),
        (["--coding", "br"], "gzip-unflushed"),
    ] {
        assert_refused(&[&["replay", file.path()], &options[..]].concat(), what);
    }
    let replay = Replay::start(&file, &[]);
    let port = replay.url.rsplit(':').next().unwrap();
    assert_refused(&["replay", file.path(), "--port", port], "choose another with --port");
}
