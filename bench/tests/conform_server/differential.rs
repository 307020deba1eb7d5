//! The suite's judgement of framing agrees with curl's output for the same bytes.
//!
//! Answers of our servers are recorded as they come off the socket, and some are made by hand, whole
//! and broken. Each is replayed to `wire` and to curl, with and without `--raw`, in odd
//! pieces: same chunks, same body, same events, and the same opinion on whether it is complete.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use client::parser::{Item, Parser};
use fleet::{Package, Server};
use serde_json::json;
use wire::{Connection, EventStream, Log, Request};

/// No answer takes long; debug builds on a busy machine take their time.
const PATIENCE: Duration = Duration::from_secs(10);
/// A recorded answer is larger than buffers and smaller than patience.
const RECORD_LIMIT: u64 = 4 << 20;

/// One reader's result for an answer: the body as it is, its chunks, its events, or its complaint.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    body: Vec<u8>,
    chunks: Vec<u64>,
    events: Vec<(String, String, String)>,
}

#[test]
fn our_servers_say_the_same_to_both() {
    for package in crate::servers::packages() {
        for encoding in &package.encodings {
            let server = start(package, encoding);
            for (what, request) in requests() {
                let name = format!("{} {encoding} {what}", package.name);
                let answer = record(&server, &request);
                let (head, body) = split(&answer);
                assert!(
                    head.starts_with(b"HTTP/1.") && head[8..].starts_with(b" 200"),
                    "{name}: {}",
                    head.escape_ascii()
                );
                assert!(body.len() > 100, "{name}: {}", body.escape_ascii());
                let seen = agree(&name, &answer).unwrap_or_else(|| panic!("{name}: not whole"));
                assert!(!seen.events.is_empty(), "{name} has events");
            }
            server.stop().expect("it stops");
        }
    }
}

#[test]
fn framings_made_by_hand_are_read_alike() {
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (name, lines, body, chunks) in [
        ("one chunk", chunked, "9\r\ndata: a\n\n\r\n0\r\n\r\n", &[9][..]),
        (
            "two events in three chunks",
            chunked,
            "4\r\ndata\r\n5\r\n: a\n\n\r\n9\r\ndata: b\n\n\r\n0\r\n\r\n",
            &[4, 5, 9],
        ),
        (
            "upper case, zeros and an extension",
            chunked,
            "00A;x=\"y\"\r\ndata: ab\n\n\r\n0\r\n\r\n",
            &[10],
        ),
        ("a trailer", chunked, "9\r\ndata: a\n\n\r\n0\r\nX-End: 1\r\n\r\n", &[9]),
        (
            "what looks like a chunk in a chunk",
            chunked,
            "12\r\ndata: 5\r\ndata: 0\n\n\r\n0\r\n\r\n",
            &[18],
        ),
        ("a length", "Content-Length: 9\r\n", "data: a\n\n", &[]),
        ("the close", "Connection: close\r\n", "data: a\n\n: more\n", &[]),
        ("nothing", chunked, "0\r\n\r\n", &[]),
    ] {
        let answer = answer(lines, body);
        let seen = agree(name, &answer).unwrap_or_else(|| panic!("{name}: not whole"));
        assert_eq!(seen.chunks, chunks, "{name}");
    }
}

#[test]
fn what_is_broken_is_broken_for_both() {
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (name, lines, body) in [
        ("no last chunk", chunked, "9\r\ndata: a\n\n\r\n"),
        ("half a chunk", chunked, "14\r\ndata: a\n\n"),
        ("no chunk at all", chunked, ""),
        ("a size that is none", chunked, "zz\r\ndata: a\n\n\r\n0\r\n\r\n"),
        ("less than the length", "Content-Length: 20\r\n", "data: a\n\n"),
    ] {
        assert_eq!(agree(name, &answer(lines, body)), None, "{name} is not whole");
    }
}

/// Both readers' opinion, which must be one; `None` if the answer is not whole.
fn agree(name: &str, answer: &[u8]) -> Option<Seen> {
    let ours = wire(answer);
    let decoded = curl(answer, &[]);
    let raw = curl(answer, &["--raw"]);
    match (ours, decoded) {
        (Ok(ours), Ok(body)) => {
            let raw = raw.unwrap_or_else(|error| panic!("{name}: curl --raw: {error}"));
            assert_eq!(raw, split(answer).1, "{name}: what curl --raw shows is what was sent");
            let is_chunked = head_has(answer, "transfer-encoding: chunked");
            let chunks = if is_chunked { chunks_in(&raw) } else { Vec::new() };
            let events = events_in(&body);
            assert_eq!(ours, Seen { body, chunks, events }, "{name}");
            Some(ours)
        }
        (Err(_), Err(_)) => None,
        (ours, curls) => panic!("{name}: the suite says {ours:?}, curl says {curls:?}"),
    }
}

/// The answer as the suite reads it.
fn wire(answer: &[u8]) -> Result<Seen, String> {
    let ask = || {
        let connection = Connection::open(&replay(answer), PATIENCE, &Log::new());
        connection.map_err(|error| error.to_string())
    };
    let request = Request::new("GET", "/").header("Host", "replay");
    let mut connection = ask()?;
    let (_, mut body) = connection.ask(&request).map_err(|error| error.to_string())?;
    let bytes = connection.read_body_to_end(&mut body).map_err(|error| error.to_string())?;
    let mut stream = EventStream::open(ask()?, &request).map_err(|error| error.to_string())?;
    let events = stream.read_to_end().map_err(|error| error.to_string())?;
    let events = events.into_iter().map(|it| (it.event, it.data, it.id)).collect();
    Ok(Seen { body: bytes, chunks: body.chunk_sizes().to_vec(), events })
}

/// The answer as curl shows it, or its exit code and words.
fn curl(answer: &[u8], arguments: &[&str]) -> Result<Vec<u8>, String> {
    let url = format!("http://{}/", replay(answer));
    let mut command = Command::new("curl");
    command.args(["-q", "-sS", "-N", "--noproxy", "*", "-m", "10"]).args(arguments).arg(url);
    let output = command.output().unwrap_or_else(|error| {
        panic!("cannot run curl: {error}; on Debian: apt-get install curl")
    });
    match output.status.code() {
        Some(0) => Ok(output.stdout),
        code => Err(format!("exit code {code:?}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

/// A server that says these bytes to one client, in odd pieces; its address.
fn replay(answer: &[u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    let answer = answer.to_vec();
    thread::spawn(move || {
        let (mut socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if socket.read(&mut byte)? == 0 {
                break;
            }
            request.extend(byte);
        }
        // Small at first, so that every border of head, size and data is cut somewhere.
        let (mut rest, mut length) = (answer.as_slice(), 1);
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(length.min(rest.len()));
            socket.write_all(piece)?;
            rest = after;
            length = length % 700 + 13;
        }
        std::io::Result::Ok(())
    });
    address
}

fn start(package: &Package, encoding: &str) -> Server {
    let binary = crate::servers::binary(package).unwrap_or_else(|error| panic!("{error}"));
    let launch = package.launch(&binary, encoding).with_args(["--conformance"]);
    Server::start(&launch).unwrap_or_else(|error| panic!("{}: {error:#}", package.name))
}

/// Streams with an end: a flood, events with pauses, large events, all for HTTP/1.0 as well.
fn requests() -> Vec<(String, Request)> {
    let script = |items: serde_json::Value| {
        format!("/script?events={}", URL_SAFE_NO_PAD.encode(items.to_string()))
    };
    let targets = [
        ("ticks", "/ticks?interval_ms=0&count=300&pad=100".to_owned()),
        (
            "script",
            script(json!([
                { "comment": "first", "id": "1", "data": "one\ntwo" },
                { "event": "naïve-✓", "data": "😀", "delay_ms": 5, "repeat": 10 },
                { "retry": 1500, "data": "last" },
            ])),
        ),
        ("large", script(json!([{ "data": "x", "times": 200_000, "repeat": 3 }]))),
    ];
    let both = |(name, target): (&str, String)| {
        let request = Request::new("GET", &target).header("Host", "localhost");
        let request = request.header("Connection", "close");
        let old = request.clone().http10();
        [(name.to_owned(), request), (format!("{name} for HTTP/1.0"), old)]
    };
    targets.into_iter().flat_map(both).collect()
}

/// All bytes of the answer, up to the close.
fn record(server: &Server, request: &Request) -> Vec<u8> {
    let mut socket = TcpStream::connect(server.addr()).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("an option");
    socket.write_all(&request.to_bytes()).expect("it reads");
    let mut answer = Vec::new();
    socket.take(RECORD_LIMIT).read_to_end(&mut answer).expect("it closes");
    answer
}

fn answer(lines: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{lines}\r\n{body}").into_bytes()
}

fn split(answer: &[u8]) -> (&[u8], &[u8]) {
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n").expect("a head has an end");
    answer.split_at(end + 4)
}

fn head_has(answer: &[u8], line: &str) -> bool {
    String::from_utf8_lossy(split(answer).0).to_ascii_lowercase().lines().any(|it| it == line)
}

/// The chunk sizes, read once more without any code of the suite.
fn chunks_in(raw: &[u8]) -> Vec<u64> {
    let mut sizes = Vec::new();
    let mut rest = raw;
    loop {
        let end = rest.iter().position(|byte| *byte == b'\r').expect("a size line has an end");
        let line = std::str::from_utf8(&rest[..end]).expect("ASCII");
        let size = usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16);
        let size = size.expect("a hexadecimal number");
        if size == 0 {
            return sizes;
        }
        sizes.push(size as u64);
        rest = &rest[end + 2 + size + 2..];
    }
}

/// The events in a body, as type, data and last event id.
fn events_in(body: &[u8]) -> Vec<(String, String, String)> {
    let mut parser = Parser::new();
    parser.push(body);
    let mut events = Vec::new();
    while let Some(item) = parser.next_item().expect("no line is too long") {
        if let Item::Event(event) = item {
            let owned = |text: &str| text.to_owned();
            events.push((owned(event.event), owned(event.data), owned(event.last_event_id)));
        }
    }
    events
}
