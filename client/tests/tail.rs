//! `sse tail` in scripts: other requests than GET, an end that is waited for, and TLS.
#![allow(clippy::unwrap_used)] // A test may panic, and its helpers with it.

mod peer;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use wire::http2::{ACK, END_HEADERS, END_STREAM, Frame, Kind, PREFACE, encode};

use peer::{Answer, CHUNKED, Peer, held, raw, stream};

/// Attempts until one has to count.
const ATTEMPTS: usize = 7;

const ANSWER: &str = "data: {\"delta\":\"Hel\"}\n\ndata: {\"delta\":\"lo\"}\n\ndata: [DONE]\n\n";

fn run_with(arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    run_with(arguments, "")
}

/// A file of this test process alone.
fn file(name: &str) -> PathBuf {
    let name = format!("{}-{name}", std::process::id());
    std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// An event stream that breaks within a chunk.
fn cut(body: &str) -> Answer {
    raw(format!("{CHUNKED}{:x}\r\n{body}", body.len() + 10))
}

#[test]
fn a_body_makes_it_a_post_that_is_sent_once() {
    let peer = Peer::start([stream(ANSWER), stream(ANSWER), stream(ANSWER)]);
    let secret = file("secret");
    std::fs::write(&secret, "Authorization: Bearer s3cret\n").unwrap();
    let (header, url) = (format!("@{}", secret.display()), peer.url("/v1/chat/completions"));
    let body = file("body");
    std::fs::write(&body, "{\"stream\":true}").unwrap();
    let at_body = format!("@{}", body.display());
    for (data, input) in [("{\"stream\":true}", ""), (&at_body, ""), ("-", "{\"stream\":true}")] {
        let arguments = ["tail", "--json", "-H", &header, "-d", data, &url];
        let (code, stdout, stderr) = run_with(&arguments, input);
        assert_eq!((code, stdout.lines().count()), (0, 3), "{stderr}");
        // It has not answered 204.
        assert!(!stderr.contains("204"), "{stderr}");
        let request = peer.request();
        assert_eq!(
            (request.method.as_str(), &*request.body),
            ("POST", b"{\"stream\":true}" as &[u8])
        );
        assert_eq!(request.field("content-type").unwrap(), b"application/json");
        assert_eq!(request.field("authorization").unwrap(), b"Bearer s3cret");
    }
    assert!(peer.request_so_far().is_none());
    std::fs::remove_file(secret).unwrap();
    std::fs::remove_file(body).unwrap();
}

#[test]
fn the_method_is_the_one_that_is_asked_for() {
    let peer = Peer::start([stream("data: a\n\n"), stream("data: a\n\n")]);
    for more in [&[][..], &["--raw"]] {
        let url = peer.url("/");
        let arguments = [&["tail", "-X", "PUT", "-H", "Content-Type: a/b", "-d", "x", &url], more];
        assert_eq!(run(&arguments.concat()).0, 0);
        let request = peer.request();
        assert_eq!((request.method.as_str(), &*request.body), ("PUT", b"x" as &[u8]));
        assert_eq!(request.field("content-type").unwrap(), b"a/b");
    }
}

#[test]
fn it_ends_at_the_event_that_is_waited_for() {
    let body = "data: a\n\nevent: end\ndata: b\n\ndata: [DONE]\n\ndata: c\n\n";
    for (until, shown) in [(["--until", "[DONE]"], 3), (["--until-event", "end"], 2)] {
        let peer = Peer::start([held(body)]);
        let url = peer.url("/");
        let (code, stdout, stderr) = run(&["tail", until[0], until[1], &url]);
        assert_eq!((code, stdout.lines().count()), (0, shown), "{stderr}");
    }
}

#[test]
fn once_reads_one_stream_and_its_exit_code_says_how_it_ended() {
    let peer = Peer::start([stream("data: a\n\n"), stream("data: a\n\n"), cut("data: a\n\n")]);
    let url = peer.url("/");
    let (code, stdout, stderr) = run(&["tail", "--once", "--expect", "1", &url]);
    assert_eq!((code, stdout.lines().count()), (0, 1), "{stderr}");
    let (code, _, stderr) = run(&["tail", "--once", "--until", "[DONE]", &url]);
    assert_eq!((code, stderr.contains("before the wanted event")), (1, true), "{stderr}");
    let (code, _, stderr) = run(&["tail", "--once", &url]);
    assert_eq!((code, stderr.contains("broke")), (1, true), "{stderr}");
    assert_eq!(std::iter::from_fn(|| peer.request_so_far()).count(), 3);
    // A POST that breaks was read all the same.
    let peer = Peer::start([cut("data: a\n\n")]);
    let (code, _, stderr) = run(&["tail", "-d", "x", &peer.url("/")]);
    assert_eq!((code, stderr.contains("after 1 events")), (1, true), "{stderr}");
}

/// The exit code and the output for a stream of one event within a second. On a busy machine the stream may open later, or
/// its event come: such an attempt says nothing.
fn read_for_a_second(more: &[&str]) -> (i32, String, String) {
    for _ in 0..ATTEMPTS {
        let peer = Peer::start([held("data: a\n\n")]);
        let seen = run(&[&["tail", "--timeout", "1s", &peer.url("/")], more].concat());
        if seen.2.contains("reading ") && seen.1.lines().count() == 1 {
            return seen;
        }
    }
    panic!("not judged: no event came within a second in {ATTEMPTS} attempts");
}

#[test]
fn too_few_events_and_a_time_that_is_over_are_exit_code_1() {
    let (code, _, stderr) = read_for_a_second(&["--expect", "2"]);
    assert_eq!(
        (code, stderr.contains("1 events came, and 2 were expected")),
        (1, true),
        "{stderr}"
    );
    let (code, _, stderr) = read_for_a_second(&["--until", "b"]);
    assert_eq!((code, stderr.contains("did not come within 1s")), (1, true), "{stderr}");
    assert_eq!(read_for_a_second(&["--expect", "1"]).0, 0);
    // No stream at all is exit code 2, however long one waits.
    let peer = Peer::start([Box::new(|socket: &mut std::net::TcpStream| {
        let _ = socket.read(&mut [0; 1]);
    }) as Answer]);
    let (code, ..) = run(&["tail", "--timeout", "1s", "--expect", "1", &peer.url("/")]);
    assert_eq!(code, 2);
}

#[test]
fn a_server_is_trusted_by_its_authority_or_named_in_one_line() {
    let authority = wire::peer::Authority::new();
    let peer = Peer::start([stream("data: a\n\n"), stream("data: a\n\n"), stream("data: a\n\n")]);
    let secured = authority.relay(&["localhost", "other.example"], peer.address);
    let url = format!("https://localhost:{}/x", secured.port());
    let cacert = file("authority.pem");
    authority.save(&cacert);
    let cacert = cacert.to_str().unwrap();
    for trust in [&["--cacert", cacert][..], &["--insecure"]] {
        let (code, stdout, stderr) = run(&[&["tail", "--once", &url], trust].concat());
        assert_eq!((code, stdout.lines().count()), (0, 1), "{stderr}");
    }
    let named = ["tail", "--once", "--cacert", cacert, "--server-name", "other.example", &url];
    let (code, _, stderr) = run(&named);
    assert_eq!(code, 0, "{stderr}");
    let hosts = std::iter::from_fn(|| peer.request_so_far());
    let hosts: Vec<_> = hosts.map(|it| it.field("host").unwrap().to_vec()).collect();
    assert_eq!(hosts, vec![format!("localhost:{}", secured.port()).into_bytes(); 3]);

    for more in [&[][..], &["--cacert", cacert, "--server-name", "third.example"]] {
        let (code, stdout, stderr) = run(&[&["tail", &url], more].concat());
        assert_eq!((code, stdout.as_str(), stderr.lines().count()), (2, "", 1), "{stderr}");
        assert!(stderr.contains("--cacert") && stderr.contains("--insecure"), "{stderr}");
    }
    // The peer itself speaks no TLS.
    let (code, _, stderr) = run(&["tail", &peer.url("/").replace("http:", "https:")]);
    assert_eq!(code, 2, "{stderr}");
    std::fs::remove_file(cacert).unwrap();
}

#[test]
fn a_server_that_speaks_http_2_without_tls_is_read_and_another_one_named() {
    let url = format!("http://{}/x", over_http2("data: 1\n\ndata: 2\n\n"));
    let (code, stdout, stderr) = run(&["tail", "--http2", "--once", "--json", &url]);
    assert_eq!((code, stdout.lines().count()), (0, 2), "{stderr}");
    assert!(stderr.contains("HTTP/2.0"), "{stderr}");

    // The answer of the first may be lost in a reset; of the second there is none.
    let peer = Peer::start([stream(ANSWER)]);
    for url in [peer.url("/x"), format!("http://{}/x", closes_at_the_preface())] {
        let (code, stdout, stderr) = run(&["tail", "--http2", "--once", &url]);
        assert_eq!((code, stdout.as_str(), stderr.lines().count()), (2, "", 1), "{stderr}");
        assert!(stderr.contains("leave --http2 out"), "{stderr}");
    }
    // Where no connection is made, that is the reason. Nothing listens at this port.
    let (_, _, stderr) = run(&["tail", "--http2", "--once", "http://127.0.0.1:1/x"]);
    assert!(stderr.contains("is the server running"), "{stderr}");
}

/// Reads the first bytes of HTTP/2, and leaves.
fn closes_at_the_preface() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        socket.read_exact(&mut [0; PREFACE.len()]).unwrap();
    });
    address
}

/// Answers one request over HTTP/2 without TLS.
fn over_http2(body: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        socket.read_exact(&mut [0; PREFACE.len()]).unwrap();
        socket.write_all(&Frame::new(Kind::Settings, 0, 0, []).to_bytes()).unwrap();
        let (mut input, mut bytes) = (Vec::new(), [0; 4096]);
        while let Ok(count @ 1..) = socket.read(&mut bytes) {
            input.extend_from_slice(&bytes[..count]);
            while let Some(frame) = Frame::take(&mut input).unwrap() {
                let head = encode([(":status", "200"), ("content-type", "text/event-stream")]);
                let answers = match frame.kind {
                    Kind::Settings if !frame.has(ACK) => {
                        vec![Frame::new(Kind::Settings, ACK, 0, [])]
                    }
                    Kind::Headers => vec![
                        Frame::new(Kind::Headers, END_HEADERS, frame.stream, head),
                        Frame::new(Kind::Data, END_STREAM, frame.stream, body),
                    ],
                    _ => Vec::new(),
                };
                let answers: Vec<u8> = answers.iter().flat_map(Frame::to_bytes).collect();
                socket.write_all(&answers).unwrap();
            }
        }
    });
    address
}
