//! Slow and silent clients: each connection without a stream ends, and keeps out no other client.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use fleet::{Package, Server};
use libtest_mimic::Failed;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::{PATIENCE, open, servers, until};

/// The time that a server gives a request here.
const REQUEST_TIMEOUT_MS: &str = "1500";

/// Only a connection without a deadline is still open after this time: it is many times the longest
/// way to an end, which is a deadline, an answer, and a wait for the client to read that.
const LIMIT: Duration = Duration::from_secs(15);

/// The pause between two bytes of a slow client; many of them come before its deadline.
const PAUSE: Duration = Duration::from_millis(100);

/// A first request, answered at once, after which the connection stays open.
const FIRST: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The start of an HTTP/2 connection with prior knowledge ([RFC 9113
/// 3.4](https://www.rfc-editor.org/rfc/rfc9113.html#section-3.4)).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
/// SETTINGS_INITIAL_WINDOW_SIZE = 0: no stream may send a byte of its body.
const SETTINGS_NO_WINDOW: &[u8] = b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0";
/// HEADERS of stream 1 with its end: `GET http://localhost/ticks`.
const HEADERS: &[u8] = b"\0\0\x15\x01\x05\0\0\0\x01\x82\x86\x04\x06/ticks\x01\x09localhost";
const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// A client that is slow, or silent.
struct SlowClient {
    name: &'static str,
    /// It sends [`FIRST`] and reads the answer before.
    answered: bool,
    /// The bytes that it sends at once.
    at_once: &'static [&'static [u8]],
    then: Then,
}

/// The end of what it sends.
enum Then {
    /// Nothing more.
    Silence,
    /// These bytes, one after the other, again and again.
    Drip(&'static [u8]),
    /// The end of its side.
    HalfClose,
}

use Then::{Drip, HalfClose, Silence};

const fn at_once(name: &'static str, at_once: &'static [&'static [u8]], then: Then) -> SlowClient {
    SlowClient { name, answered: false, at_once, then }
}

const fn second(name: &'static str, at_once: &'static [&'static [u8]], then: Then) -> SlowClient {
    SlowClient { name, answered: true, at_once, then }
}

const POST: &[u8] = b"POST /messages/t HTTP/1.1\r\nHost: localhost\r\n";
const NO_ROUTE: &[u8] = b"POST /nope HTTP/1.1\r\nHost: localhost\r\n";
const LENGTH: &[u8] = b"Content-Length: 1000\r\n\r\n";
const CHUNKED: &[u8] = b"Transfer-Encoding: chunked\r\n\r\n";
const EXPECT: &[u8] = b"Expect: 100-continue\r\n";
/// More than the 14 bytes that a framework may read before it calls a handler.
const SOME_BODY: &[u8] = b"twenty bytes of body";
const CHUNK: &[u8] = b"14\r\ntwenty bytes of body\r\n";
const SHORT_STREAM: &[u8] = b"GET /ticks?count=1 HTTP/1.1\r\nHost: localhost\r\n\r\n";
const PART_OF_A_HEAD: &[u8] = b"GET /healthz HTTP/1.1\r\nHo";
const FIELDS: &[u8] = b"a: b\r\n";

const SLOW_CLIENTS: &[SlowClient] = &[
    at_once("silent", &[], Silence),
    at_once("head-stops", &[PART_OF_A_HEAD], Silence),
    at_once("head-drips", &[b"GET /healthz HTTP/1.1\r\n"], Drip(FIELDS)),
    at_once("request-line-drips", &[b"GET /"], Drip(b"x")),
    at_once("empty-lines-drip", &[], Drip(b"\r\n")),
    at_once("body-stops", &[POST, LENGTH, SOME_BODY], Silence),
    at_once("body-drips", &[POST, LENGTH, SOME_BODY], Drip(b"x")),
    at_once("body-never-begins", &[POST, LENGTH], Silence),
    at_once("chunks-stop", &[POST, CHUNKED, CHUNK], Silence),
    at_once("chunks-drip", &[POST, CHUNKED, CHUNK], Drip(b"1\r\nx\r\n")),
    at_once("expects-and-is-silent", &[POST, EXPECT, LENGTH], Silence),
    at_once("expects-and-drips", &[POST, EXPECT, LENGTH], Drip(b"x")),
    at_once("body-too-large-drips", &[POST, b"Content-Length: 10000000\r\n\r\n"], Drip(b"x")),
    at_once(
        "body-of-a-get-drips",
        &[b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n", LENGTH],
        Drip(b"x"),
    ),
    at_once("body-for-no-route-stops", &[NO_ROUTE, LENGTH, SOME_BODY], Silence),
    at_once("body-for-no-route-drips", &[NO_ROUTE, LENGTH], Drip(b"x")),
    second("answered-and-silent", &[], Silence),
    second("second-head-stops", &[PART_OF_A_HEAD], Silence),
    second("second-head-drips", &[b"GET /healthz HTTP/1.1\r\n"], Drip(FIELDS)),
    second("second-body-stops", &[POST, LENGTH, SOME_BODY], Silence),
    second("second-body-drips", &[POST, LENGTH, SOME_BODY], Drip(b"x")),
    at_once("pipelined-head-stops", &[FIRST, PART_OF_A_HEAD], Silence),
    at_once("pipelined-head-drips", &[FIRST, b"GET /healthz HTTP/1.1\r\n"], Drip(FIELDS)),
    at_once("pipelined-body-stops", &[FIRST, POST, LENGTH, SOME_BODY], Silence),
    at_once("after-a-stream-silent", &[SHORT_STREAM], Silence),
    at_once("after-a-stream-head-stops", &[SHORT_STREAM, PART_OF_A_HEAD], Silence),
    at_once("after-a-stream-body-stops", &[SHORT_STREAM, POST, LENGTH, SOME_BODY], Silence),
    at_once("half-closed", &[], HalfClose),
    at_once("half-closed-in-a-head", &[PART_OF_A_HEAD], HalfClose),
    at_once("half-closed-in-a-body", &[POST, LENGTH, SOME_BODY], HalfClose),
    at_once(
        "half-closed-stream",
        &[b"GET /ticks?interval_ms=20 HTTP/1.1\r\nHost: localhost\r\n\r\n"],
        HalfClose,
    ),
    at_once(
        "half-closed-silent-stream",
        &[b"GET /messages/silent HTTP/1.1\r\nHost: localhost\r\n\r\n"],
        HalfClose,
    ),
    at_once("http2-preface", &[PREFACE], Silence),
    at_once("http2-settings", &[PREFACE, SETTINGS], Silence),
    at_once("http2-pings-drip", &[PREFACE, SETTINGS], Drip(PING)),
    at_once("http2-stream-without-window", &[PREFACE, SETTINGS_NO_WINDOW, HEADERS], Drip(PING)),
];

/// Clients that keep a server without deadlines busy by the hundred.
const CROWD: [&str; 6] = [
    "silent",
    "body-stops",
    "expects-and-is-silent",
    "pipelined-head-stops",
    "pipelined-body-stops",
    "after-a-stream-head-stops",
];

/// All at once, each ends, and gives its descriptor back; a stream beside them goes on, although a
/// next request drips in behind it.
pub fn ends_slow_clients(package: &Package) -> Result<(), Failed> {
    let server = servers::start(package, &["--request-timeout-ms", REQUEST_TIMEOUT_MS])?;
    // The descriptors of a server that has answered a request, and so has opened all of its own.
    drop(patiently("answer", || ask_first(server.addr(), PATIENCE))?);
    let mut stream = patiently("stream", || open(&server, "/ticks?interval_ms=20"))?;
    stream.take(1)?;
    let before = descriptors(&server)?;
    let address = server.addr();
    let mut open = Vec::new();
    thread::scope(|scope| {
        let clients: Vec<_> = SLOW_CLIENTS
            .iter()
            .map(|client| (client.name, scope.spawn(|| client.is_open_at_last(address))))
            .collect();
        for byte in PART_OF_A_HEAD {
            stream.connection().send(&[*byte])?;
            stream.take(1)?;
        }
        for (name, client) in clients {
            if client.join().expect("a client has nothing that panics")? {
                open.push(name);
            }
        }
        Ok::<_, Failed>(())
    })?;
    if !open.is_empty() {
        return Err(format!("open after {LIMIT:?}: {}", open.join(", ")).into());
    }
    until(PATIENCE, "descriptor given back", || Ok(descriptors(&server)? <= before))?;
    stream.take(20)?;
    Ok(())
}

/// A server whose descriptors are all taken by slow clients serves an honest one.
pub fn cannot_be_locked_out(package: &Package) -> Result<(), Failed> {
    const DESCRIPTORS: u64 = 64;
    const CLIENTS: usize = 100;
    let server = servers::start(package, &["--request-timeout-ms", REQUEST_TIMEOUT_MS])?;
    let pid = Pid::from_raw(server.pid().try_into()?);
    let limit = Rlimit { current: Some(DESCRIPTORS), maximum: Some(DESCRIPTORS) };
    prlimit(pid, Resource::Nofile, limit)?;
    let mut crowd = Vec::new();
    for name in CROWD.iter().cycle().take(CLIENTS) {
        let client = SLOW_CLIENTS.iter().find(|it| it.name == *name).ok_or("no such client")?;
        let mut socket = TcpStream::connect(server.addr())?;
        // It fails if the server has refused the connection.
        let _ = socket.write_all(&client.at_once.concat());
        crowd.push(socket);
    }
    let begin = Instant::now();
    while begin.elapsed() < LIMIT {
        // A server may refuse a connection that it has no descriptors for; a client comes again.
        let left = LIMIT.saturating_sub(begin.elapsed()).max(PAUSE);
        if ask_first(server.addr(), left).is_ok() {
            return Ok(());
        }
        thread::sleep(PAUSE);
    }
    Err(format!("no answer within {LIMIT:?}").into())
}

/// Streams take no place among the pending connections; beyond the limit a client waits until one
/// of them ends.
pub fn limits_pending_connections(package: &Package) -> Result<(), Failed> {
    const SILENT: usize = 4;
    const CLIENTS: usize = 100;
    let server = servers::start(package, &["--request-timeout-ms", "2000", "--max-pending", "4"])?;
    let streams =
        (0..5 * SILENT).map(|_| patiently("stream", || open(&server, "/messages/silent")));
    let _streams = streams.collect::<Result<Vec<_>, _>>()?;
    let silent = (0..SILENT).map(|_| TcpStream::connect(server.addr()));
    let mut silent = silent.collect::<Result<Vec<_>, _>>()?;
    silent.iter().try_for_each(|it| it.set_nonblocking(true))?;
    let mut served = Vec::new();
    // One would do, but a server may take a few more before it stops.
    for _ in 0..CLIENTS {
        let mut client = TcpStream::connect(server.addr())?;
        client.set_read_timeout(Some(PATIENCE))?;
        client.write_all(FIRST)?;
        // If it is not answered, it waited for longer than the silent ones.
        let _ = read_answer(&mut client);
        served.push(client);
        if silent.iter_mut().any(has_ended) {
            return Ok(());
        }
    }
    Err(format!("{CLIENTS} clients were served beside {SILENT} silent ones").into())
}

/// In each encoding, a stream outlives by far the time that a request has.
pub fn cuts_no_stream(package: &Package) -> Result<(), Failed> {
    for encoding in &package.encodings {
        let launch = package.launch(&servers::binary(package)?, encoding);
        let launch = launch.with_args(["--request-timeout-ms", "500"]);
        let server = Server::start(&launch).map_err(|error| format!("{error:#}"))?;
        let mut silent = patiently("stream", || open(&server, "/messages/t"))?;
        let mut stream = patiently("stream", || open(&server, "/ticks?interval_ms=20"))?;
        stream.take(100).map_err(|error| format!("{encoding}: {error}"))?;
        patiently("answer to a message", || publish(server.addr()))?;
        silent.take(1).map_err(|error| format!("{encoding}: {error}"))?;
    }
    Ok(())
}

impl SlowClient {
    /// Plays its part. True if the connection has not ended after [`LIMIT`].
    fn is_open_at_last(&self, address: SocketAddr) -> Result<bool, Failed> {
        let mut socket = if self.answered {
            patiently("first answer", || ask_first(address, PATIENCE))?
        } else {
            TcpStream::connect(address)?
        };
        let begin = Instant::now();
        // From here on an error is the end of the connection: the server may close it at any byte.
        let mut ended = socket.write_all(&self.at_once.concat()).is_err();
        if matches!(self.then, HalfClose) {
            ended |= socket.shutdown(Shutdown::Write).is_err();
        }
        let drip: &[u8] = if let Drip(bytes) = self.then { bytes } else { &[] };
        let mut drip = drip.iter().cycle();
        socket.set_read_timeout(Some(PAUSE))?;
        let mut next = Instant::now() + PAUSE;
        while !ended && begin.elapsed() < LIMIT {
            ended = has_ended(&mut socket);
            if Instant::now() >= next {
                next += PAUSE;
                ended |= drip.next().is_some_and(|byte| socket.write_all(&[*byte]).is_err());
            }
        }
        Ok(!ended)
    }
}

/// Reads what is there, or what comes within the socket's timeout. True at the end.
fn has_ended(socket: &mut TcpStream) -> bool {
    match socket.read(&mut [0; 65536]) {
        Ok(bytes) => bytes == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

/// Reads the answer to [`FIRST`].
fn read_answer(socket: &mut TcpStream) -> std::io::Result<()> {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nok\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte)?;
        answer.push(byte[0]);
    }
    Ok(())
}

/// A connection whose [`FIRST`] request was answered within this time.
fn ask_first(address: SocketAddr, patience: Duration) -> std::io::Result<TcpStream> {
    let mut socket = TcpStream::connect_timeout(&address, patience)?;
    socket.set_read_timeout(Some(patience))?;
    socket.write_all(FIRST)?;
    read_answer(&mut socket)?;
    Ok(socket)
}

/// Publishes a message; it is accepted.
pub fn publish(address: SocketAddr) -> std::io::Result<()> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.write_all(&[POST, b"Content-Length: 5\r\n\r\nhello"].concat())?;
    let mut status = [0; 12];
    socket.read_exact(&mut status)?;
    if status == *b"HTTP/1.1 201" { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
}

/// Tries until it succeeds: on a busy host a server may find the time for a request over before it
/// has read it, and an honest client comes again.
fn patiently<T, E>(what: &str, attempt: impl Fn() -> Result<T, E>) -> Result<T, Failed> {
    let mut done = None;
    until(PATIENCE, what, || {
        done = attempt().ok();
        Ok(done.is_some())
    })?;
    done.ok_or_else(|| format!("no {what}").into())
}

/// The number of open files of a server.
fn descriptors(server: &Server) -> Result<usize, Failed> {
    Ok(std::fs::read_dir(format!("/proc/{}/fd", server.pid()))?.count())
}
