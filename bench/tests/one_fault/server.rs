//! The server: ticks, scripts and topics, one thread a connection, right or with one fault.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;

use crate::encoder::encode;
use crate::fault;
use crate::http::{Refusal, Request, head, percent_decoded, write_chunk};

/// How often a waiting stream looks whether the server stops.
const LOOK: Duration = Duration::from_millis(5);

static STOPPING: AtomicBool = AtomicBool::new(false);
static OPEN_STREAMS: AtomicUsize = AtomicUsize::new(0);
static STREAMS: AtomicUsize = AtomicUsize::new(0);
static TOPICS: LazyLock<Mutex<HashMap<String, Vec<Message>>>> = LazyLock::new(Default::default);
static PUBLISHED: Condvar = Condvar::new();

#[derive(Clone)]
struct Message {
    id: String,
    data: String,
}

/// Serves until SIGTERM.
pub fn serve() -> ! {
    let mut signals = Signals::new([SIGTERM]).expect("SIGTERM can be handled");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    println!("listening on http://{}", listener.local_addr().expect("it is bound"));
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            thread::spawn(move || connection(socket));
        }
    });
    signals.forever().next();
    STOPPING.store(true, SeqCst);
    let drained = Instant::now() + Duration::from_secs(1);
    while OPEN_STREAMS.load(SeqCst) > 0 && Instant::now() < drained {
        thread::sleep(LOOK);
    }
    if fault("S11.01") {
        thread::sleep(Duration::from_millis(2200));
    }
    let failed = fault("S11.02") || fault("S11.01-exit-code");
    std::process::exit(if failed { 3 } else { 0 })
}

fn connection(mut socket: TcpStream) {
    let mut buffer = Vec::new();
    loop {
        let answered = match Request::read(&mut socket, &mut buffer) {
            Ok(request) => answer(&mut socket, &request),
            Err(Refusal::Status(status)) => {
                let _ = socket.write_all(&head(
                    status,
                    &["Content-Length: 0".into(), "Connection: close".into()],
                ));
                let _ = socket.shutdown(std::net::Shutdown::Write);
                // What the client still sends is read, or closing would reset the connection.
                let _ = io::copy(&mut socket, &mut io::sink());
                return;
            }
            Err(Refusal::Gone) => return,
        };
        if !matches!(answered, Ok(true)) {
            return;
        }
    }
}

/// Answers; whether the connection takes another request.
fn answer(socket: &mut TcpStream, request: &Request) -> io::Result<bool> {
    let topic = request.path.strip_prefix("/messages/");
    let known = matches!(request.path.as_str(), "/ticks" | "/script") || topic.is_some();
    let is_get = request.method == "GET" || (fault("S9.06") && request.method == "FOO");
    let is_publish = request.method == "POST" && topic.is_some();
    if request.minor_version == 0 && request.value("expect").is_some() && fault("S2.10") {
        socket.write_all(b"HTTP/1.1 100 \r\n\r\n")?;
    }
    if !known && !fault("S9.09") {
        return status(socket, request, 404, &[]);
    }
    if request.method == "HEAD" {
        if fault("S9.02") {
            return status(socket, request, 404, &[]);
        }
        let body: &[u8] = if fault("S9.01") { b"5\r\ndata\n\r\n" } else { b"" };
        socket.write_all(&[&stream_head(request), body].concat())?;
        return Ok(true);
    }
    if !is_get && !is_publish {
        let method_status = if fault("S9.04") { 404 } else { 405 };
        let allow = if fault("S9.05-without-get") { "Allow: POST" } else { "Allow: GET, HEAD" };
        let lines = if fault("S9.05") { vec![] } else { vec![allow.to_owned()] };
        return status(socket, request, method_status, &lines);
    }
    if fault("S1.01") {
        return status(socket, request, 500, &["Content-Type: text/event-stream".to_owned()]);
    }
    if fault("S1.04") && request.value("accept").is_none() {
        return status(socket, request, 406, &[]);
    }
    let last_id = request.value("last-event-id").unwrap_or_default();
    if fault("S6.06") && last_id.len() > 4096 {
        return Ok(false);
    }
    if fault("S6.04") && last_id.starts_with(b"never") {
        return status(socket, request, 404, &[]);
    }
    match topic {
        Some(topic) if is_publish => publish(socket, request, topic),
        _ => {
            // What is published once the head has arrived belongs to the stream.
            let known = topic.map_or(0, known_messages);
            Stream::open(socket, request)?.run(request, topic, known)
        }
    }
}

fn status(
    socket: &mut TcpStream,
    request: &Request,
    status: u16,
    lines: &[String],
) -> io::Result<bool> {
    let closes = request.minor_version == 0 && !fault("S9.14");
    let mut lines = lines.to_vec();
    lines.push("Content-Length: 0".to_owned());
    lines.extend(closes.then(|| "Connection: close".to_owned()));
    socket.write_all(&head(status, &lines))?;
    Ok(!closes)
}

fn publish(socket: &mut TcpStream, request: &Request, topic: &str) -> io::Result<bool> {
    let data = String::from_utf8_lossy(&request.body).into_owned();
    let topic = if fault("S7.03") { "" } else { topic };
    let mut topics = topics();
    let ring = topics.entry(topic.to_owned()).or_default();
    let id = format!("0000cafe-{}", ring.len() + 1);
    let message = Message { id: id.clone(), data };
    let earlier = ring.iter().rposition(|it| it.data.starts_with(&message.data[..1]));
    match earlier {
        Some(index) if fault("S7.04") => ring.insert(index, message),
        _ => ring.push(message),
    }
    PUBLISHED.notify_all();
    drop(topics);
    let body = json!({ "id": id }).to_string();
    let lines =
        ["Content-Type: application/json".to_owned(), format!("Content-Length: {}", body.len())];
    socket.write_all(&[head(201, &lines), body.into_bytes()].concat())?;
    Ok(true)
}

fn topics() -> MutexGuard<'static, HashMap<String, Vec<Message>>> {
    TOPICS.lock().expect("no thread panics with the lock")
}

fn stream_head(request: &Request) -> Vec<u8> {
    let content_type = match () {
        () if fault("S1.02") => "text/plain",
        () if fault("S1.03") => "text/event-stream; charset=iso-8859-1",
        () => "text/event-stream",
    };
    let mut lines = vec![format!("Content-Type: {content_type}")];
    lines.extend(fault("S1.02-twice").then(|| lines[0].clone()));
    lines.extend((!fault("S1.06")).then(|| "Cache-Control: no-cache".to_owned()));
    if is_chunked(request) {
        lines.push("Transfer-Encoding: chunked".to_owned());
    } else if fault("S1.08") {
        lines.push("Content-Length: 1000000".to_owned());
    } else if fault("S2.04-length") {
        lines.push("Content-Length: 30".to_owned());
    } else if fault("S2.08") {
        lines.push("Connection: keep-alive".to_owned());
    } else if !fault("S2.01") {
        lines.push("Connection: close".to_owned());
    }
    if wants_close(request) && is_chunked(request) && !fault("S2.06") {
        lines.push("Connection: close".to_owned());
    }
    if fault("S10.08") {
        let value = percent_decoded(request.parameter("x").unwrap_or_default());
        lines.push(format!("X-Query: {value}"));
    }
    if fault("S10.07-head") {
        let value = String::from_utf8_lossy(request.value("last-event-id").unwrap_or_default());
        lines.push(format!("X-Last: {}", percent_decoded(&value)));
    }
    head(200, &lines)
}

fn is_chunked(request: &Request) -> bool {
    let chunked = request.minor_version == 1 || fault("S2.07");
    chunked && !["S1.08", "S2.01", "S2.04-length"].into_iter().any(fault)
}

fn wants_close(request: &Request) -> bool {
    request.value("connection").is_some_and(|value| value.eq_ignore_ascii_case(b"close"))
}

/// An open stream.
struct Stream<'s> {
    socket: &'s mut TcpStream,
    number: usize,
    chunked: bool,
    /// The end of the event before, held back.
    held: Vec<u8>,
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        OPEN_STREAMS.fetch_sub(1, SeqCst);
    }
}

impl<'s> Stream<'s> {
    fn open(socket: &'s mut TcpStream, request: &Request) -> io::Result<Stream<'s>> {
        OPEN_STREAMS.fetch_add(1, SeqCst);
        let number = STREAMS.fetch_add(1, SeqCst);
        let stream = Stream { socket, number, chunked: is_chunked(request), held: Vec::new() };
        stream.socket.write_all(&stream_head(request))?;
        Ok(stream)
    }

    /// Streams to the end; whether the connection takes another request.
    fn run(mut self, request: &Request, topic: Option<&str>, known: usize) -> io::Result<bool> {
        if fault("S3.04") {
            self.write(b"\xef\xbb\xbf")?;
        }
        if fault("S10.07") {
            let value = String::from_utf8_lossy(request.value("last-event-id").unwrap_or_default());
            self.write(format!(": {}\n\n", percent_decoded(&value)).as_bytes())?;
        }
        if fault("S10.08-stream") {
            let value = percent_decoded(request.parameter("x").unwrap_or_default());
            self.write(format!(": {value}\n\n").as_bytes())?;
        }
        match topic {
            Some(topic) => self.messages(request, topic, known)?,
            None if request.path == "/script" => self.script(request)?,
            None => self.ticks(request)?,
        }
        if STOPPING.load(SeqCst) {
            self.write(b"retry: 1500\n\n")?;
            if fault("S11.04") {
                self.write(b"id: 9\ndata: ha")?;
            }
        }
        let cut_short = fault("S2.04") || (fault("S11.03") && STOPPING.load(SeqCst));
        if self.chunked && !cut_short {
            self.socket.write_all(b"0\r\n\r\n")?;
        }
        let closes = wants_close(request) && !fault("S2.06");
        Ok(self.chunked && !cut_short && !closes && !fault("S2.05"))
    }

    fn ticks(&mut self, request: &Request) -> io::Result<()> {
        let interval = request.parameter("interval_ms").and_then(|it| it.parse().ok());
        let interval = Duration::from_millis(interval.unwrap_or(1000));
        let last_id = request.value("last-event-id").map(String::from_utf8_lossy);
        let last_id = last_id.filter(|id| !id.is_empty() || fault("S6.05"));
        let mut number: u64 = match last_id.map(|id| id.parse::<u64>()) {
            None => 0,
            Some(Ok(number)) => number,
            Some(Err(_)) => {
                self.write(&encode(&json!({ "event": "gap", "data": "{\"reset\":true}" })))?;
                0
            }
        };
        loop {
            number = number.saturating_add(1);
            let id = if fault("S3.10") { 1 } else { number };
            let mut event =
                encode(&json!({ "id": id.to_string(), "data": format!("tick {number}") }));
            if fault("S3.01") {
                event.splice(0..0, *b": \xff\n");
            }
            if fault("S3.05") {
                event.splice(0..0, *b"time: 1\n");
            }
            if fault("S3.03") {
                // The blank line comes with the next event.
                let line = event.pop();
                event.splice(0..0, std::mem::take(&mut self.held));
                self.held.extend(line);
            }
            self.write(&event)?;
            if self.waits(interval) {
                return Ok(());
            }
        }
    }

    fn script(&mut self, request: &Request) -> io::Result<()> {
        let json = URL_SAFE_NO_PAD.decode(request.parameter("events").unwrap_or_default());
        let items: Value = serde_json::from_slice(&json.unwrap_or_default()).unwrap_or_default();
        for item in items.as_array().into_iter().flatten() {
            if item.get("then").is_some_and(|then| then == "hold") {
                while !self.waits(LOOK) {}
                return Ok(());
            }
            let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default();
            if fault("S10.06") && text("id").contains(['\r', '\n', '\0']) {
                return Err(io::Error::other("the encoder panicked"));
            }
            self.write(&encode(item))?;
        }
        Ok(())
    }

    fn messages(&mut self, request: &Request, topic: &str, known: usize) -> io::Result<()> {
        let topic = if fault("S7.03") { "" } else { topic };
        let last_id = String::from_utf8_lossy(request.value("last-event-id").unwrap_or_default());
        let resumes = last_id.rsplit_once('-').and_then(|(_, number)| number.parse::<usize>().ok());
        let mut next = match resumes {
            Some(last) if fault("S6.01") => last + 1,
            Some(last) if fault("S6.02") => last - 1,
            Some(last) => last,
            None if fault("S7.02") => 0,
            None => known,
        };
        while !STOPPING.load(SeqCst) {
            if fault("S6.03") && resumes.is_some() && next == known {
                // What is published between the replay and the subscription is lost.
                next += 1;
            }
            let Some(message) = wait_for(topic, next) else { continue };
            let is_lost = fault("S7.01") && next % 10 == 9 && self.number.is_multiple_of(2);
            let is_live = next >= known;
            next += 1;
            let id = if fault("S6.10") && is_live { message.id + "x" } else { message.id };
            if !is_lost {
                self.write(&encode(
                    &json!({ "id": id, "event": "message", "data": message.data }),
                ))?;
            }
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.chunked {
            true if bytes.is_empty() => Ok(()),
            true => write_chunk(self.socket, bytes),
            false => self.socket.write_all(bytes),
        }
    }

    /// Waits; whether the server stops.
    fn waits(&self, time: Duration) -> bool {
        let due = Instant::now() + time;
        while !STOPPING.load(SeqCst) {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            thread::sleep(left.min(LOOK));
        }
        true
    }
}

fn known_messages(topic: &str) -> usize {
    let topic = if fault("S7.03") { "" } else { topic };
    topics().get(topic).map_or(0, Vec::len)
}

/// The message of this number, if it comes soon.
fn wait_for(topic: &str, number: usize) -> Option<Message> {
    let find = |topics: &HashMap<String, Vec<Message>>| topics.get(topic)?.get(number).cloned();
    let topics = topics();
    if let Some(message) = find(&topics) {
        return Some(message);
    }
    let (topics, _) = PUBLISHED.wait_timeout(topics, LOOK).expect("no thread panics with the lock");
    find(&topics)
}
