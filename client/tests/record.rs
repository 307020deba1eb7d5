//! `sse record`: a stream on disk is the stream that was read.
#![allow(clippy::unwrap_used)] // A test may panic, and its helpers with it.

mod peer;
mod played;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Command;
use std::time::Duration;

use peer::{Answer, CHUNKED, Peer, held, raw, status, stream};
use played::{File, Replay, assert_refused, run, sse};

/// Attempts until one has to count.
const ATTEMPTS: usize = 7;

/// Events of each kind, and a comment with each byte.
fn body() -> Vec<u8> {
    let all: Vec<u8> = (0..=255).collect();
    let before = "id: 1\nevent: add\ndata: grüße \"x\" \\n\ndata:  two\n\nretry: 50\n: ";
    [before.as_bytes(), &all, b"\n\ndata: last\n\n"].concat()
}

/// Exit code, recording and standard error of `sse record`.
fn recorded(arguments: &[&str]) -> (i32, String, String) {
    let (code, stdout, stderr) = run(&[&["record"], arguments].concat());
    (code, String::from_utf8(stdout).unwrap(), stderr)
}

/// Lines without the time in front.
fn without_times(text: &str) -> Vec<&str> {
    let number = |it: char| it.is_ascii_digit() || it == ' ';
    text.lines().filter(|it| !it.starts_with('#')).map(|it| it.trim_start_matches(number)).collect()
}

/// The events that `sse tail` sees in one stream, but for their times.
fn events(url: &str) -> Vec<serde_json::Value> {
    let (code, stdout, stderr) = run(&["tail", "--once", "--json", "--comments", url]);
    assert_eq!(code, 0, "{stderr}");
    let lines = std::str::from_utf8(&stdout).unwrap().lines();
    let without_time = |line| {
        let mut event: serde_json::Value = serde_json::from_str(line).unwrap();
        event.as_object_mut().unwrap().remove("time").unwrap();
        event
    };
    lines.map(without_time).collect()
}

#[test]
fn a_recording_that_is_replayed_is_the_same_stream_to_the_last_byte() {
    let peer = Peer::start([stream(body()), stream(body())]);
    let url = peer.url("/x");
    let seen = events(&url);
    assert_eq!(seen.len(), 3, "{seen:?}");
    let (code, text, stderr) = recorded(&[&url]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.ends_with("whole\n"), "{stderr}");
    let replay = Replay::start(&File::new(&text), &[]);
    assert_eq!(events(&replay.url), seen);
    let (code, bytes, _) = run(&["tail", "--raw", &replay.url]);
    assert_eq!((code, bytes), (0, body()));
}

#[test]
fn a_recording_is_text_a_line_for_each_piece() {
    let peer = Peer::start([Box::new(|socket: &mut std::net::TcpStream| {
        socket.write_all(CHUNKED.replacen("\r\n", "\r\nX-Odd: a\"\\\r\n", 1).as_bytes()).unwrap();
        socket.write_all(b"9\r\ndata: a\n\n\r\n").unwrap();
        // A schedule, not a wait for something.
        std::thread::sleep(Duration::from_millis(300));
        socket.write_all(b"4\r\n\xff\n\x1b\xc3\r\n3\r\n\xbc\n\n\r\n0\r\n\r\n").unwrap();
    }) as Answer]);
    let (code, text, stderr) = recorded(&[&peer.url("/x?key=s3cret")]);
    assert_eq!(code, 0, "{stderr}");
    let lines = without_times(&text);
    assert_eq!(lines[..2], ["sse-recording 1", "status 200"], "{text}");
    for line in ["header content-type: text/event-stream", r#"header x-odd: a"\\"#] {
        assert!(lines.contains(&line), "{text}");
    }
    let pieces: Vec<_> = lines.iter().copied().filter(|it| it.starts_with('"')).collect();
    assert_eq!(pieces, [r#""data: a\n\n""#, r#""\xff\n\x1b\xc3""#, r#""\xbc\n\n""#], "{text}");
    assert_eq!(lines.last(), Some(&"whole"));
    let times = text.lines().filter_map(|it| it.split_whitespace().next()?.parse::<u64>().ok());
    let times: Vec<_> = times.collect();
    assert_eq!(times.len(), 5, "{text}");
    // It counts from the request, which the peer had before it began to wait.
    assert!(times.is_sorted() && times[2] >= 300, "{times:?}");
    assert!(!text.contains("s3cret") && text.contains(&peer.url("/x?…")), "{text}");
}

#[test]
fn the_request_is_that_of_tail_and_leaves_no_secret_in_the_file() {
    let authority = wire::peer::Authority::new();
    let head = CHUNKED.replacen("\r\n", "\r\nSet-Cookie: id=s3cret\r\n", 1);
    let peer = Peer::start([raw(head + "0\r\n\r\n")]);
    let secured = authority.relay(&["localhost"], peer.address);
    let cacert = File::new("");
    authority.save(std::path::Path::new(cacert.path()));
    let url = format!("https://me:s3cret@localhost:{}/x", secured.port());
    let arguments =
        ["--cacert", cacert.path(), "-H", "X-Key: s3cret", "-d", "{\"s3cret\":1}", &url];
    let (code, text, stderr) = recorded(&arguments);
    assert_eq!(code, 0, "{stderr}");
    let request = peer.request();
    assert_eq!((request.method.as_str(), &*request.body), ("POST", b"{\"s3cret\":1}" as &[u8]));
    for (name, value) in [("x-key", &b"s3cret"[..]), ("accept-encoding", b"identity")] {
        assert_eq!(request.field(name).unwrap(), value);
    }
    assert!(request.field("authorization").is_some());
    assert!(!text.contains("s3cret") && text.contains("# POST https://localhost"), "{text}");
    assert!(!stderr.contains("s3cret") && stderr.contains("cookies are left out"), "{stderr}");
}

#[test]
fn a_signal_keeps_what_has_arrived() {
    for (signal, name) in [("-INT", "Ctrl-C"), ("-TERM", "SIGTERM")] {
        let peer = Peer::start([held("data: a\n\n")]);
        let mut child = sse(&["record", &peer.url("/")]).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        while !text.contains("data: a") {
            assert!(stdout.read_line(&mut text).unwrap() > 0, "{text}");
        }
        let kill = Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(kill.unwrap().success());
        stdout.read_to_string(&mut text).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        let last = format!("open: {name}");
        assert_eq!(without_times(&text).last(), Some(&last.as_str()), "{text}");
        // A client of the replay sees the event, and then waits as that one did.
        let replay = Replay::start(&File::new(&text), &[]);
        let (code, ..) = run(&["tail", "--until", "a", &replay.url]);
        assert_eq!(code, 0);
    }
}

/// The recording of a second. On a busy machine the stream may open later, or its event come: such an
/// attempt says nothing.
fn recorded_for_a_second() -> (i32, String, String) {
    for _ in 0..ATTEMPTS {
        let peer = Peer::start([held("data: a\n\n")]);
        let seen = recorded(&["--timeout", "1s", &peer.url("/")]);
        if seen.1.contains("data: a") {
            return seen;
        }
    }
    panic!("not judged: no event came within a second in {ATTEMPTS} attempts");
}

#[test]
fn a_recording_has_bounds() {
    let peer = Peer::start([stream("data: a\n\n")]);
    let url = peer.url("/");
    let (code, text, stderr) = recorded(&["--max-bytes", "7", &url]);
    assert_eq!(code, 0, "{stderr}");
    let lines = without_times(&text);
    assert!(
        text.contains("\"data: a\"") && lines.last().unwrap().starts_with("open: 7 "),
        "{text}"
    );
    let (code, text, stderr) = recorded_for_a_second();
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(without_times(&text).last(), Some(&"open: --timeout"), "{text}");
    for bad in ["0", "67108865", "1M"] {
        assert_refused(&["record", "--max-bytes", bad, &url], bad);
    }
    assert_refused(&["record", "--timeout", "2000m", &url], "at most a day");
}

#[test]
fn an_answer_that_breaks_is_recorded_as_such_and_breaks_again() {
    let file = File::recording(
        "0 status 200\nheader content-type: text/event-stream\n1 \"data: a\\n\\n\"\n",
    );
    for (end, word) in [("cut", "cut"), ("reset", "reset")] {
        let origin = Replay::start(&file, &["--end", end]);
        let (code, text, stderr) = recorded(&[&origin.url]);
        assert_eq!((code, stderr.contains("then it broke: ")), (1, true), "{stderr}");
        let last = without_times(&text).pop().unwrap();
        assert!(last.starts_with(&format!("{word}: ")), "{text}");
        let replay = Replay::start(&File::new(&text), &[]);
        let (code, _, stderr) = run(&["tail", "--once", &replay.url]);
        assert_eq!((code, stderr.contains("after 1 events")), (1, true), "{stderr}");
    }
}

#[test]
fn any_answer_can_be_recorded_but_none_is_an_error() {
    let refused = "HTTP/1.1 401 X\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nno, 1";
    let peer = Peer::start([raw(refused), status("204 No Content", "")]);
    let url = peer.url("/");
    let (code, text, stderr) = recorded(&[&url]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("401 Unauthorized"), "{stderr}");
    let answer = Replay::start(&File::new(&text), &[]).answer();
    assert!(answer.head.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{answer:?}");
    assert_eq!(answer.body, b"5\r\nno, 1\r\n0\r\n\r\n");
    let (code, text, _) = recorded(&[&url]);
    assert_eq!(code, 0);
    let answer = Replay::start(&File::new(&text), &[]).answer();
    assert!(answer.head.starts_with("HTTP/1.1 204 No Content\r\n"), "{answer:?}");
    assert!(!answer.head.contains("transfer-encoding") && answer.body.is_empty(), "{answer:?}");

    let mute = Peer::start([Box::new(|socket: &mut std::net::TcpStream| {
        let _ = socket.read(&mut [0; 1]);
    }) as Answer]);
    assert_refused(&["record", "--timeout", "300ms", &mute.url("/")], "--timeout before");
    assert_refused(&["record", &peer::Port::new().url()], "is the server running");
}
