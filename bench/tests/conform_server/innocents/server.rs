//! A small server that keeps the rules of HTTP and of event streams, in whatever odd way a row asks for.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::target::Hostile;

/// The stream's path.
const STREAM: &str = "/events";
/// How often a stream looks whether its client is there.
const LOOK: Duration = Duration::from_millis(20);

/// The ways of a server; each may differ between servers that are right.
#[derive(Clone, Debug)]
pub struct Ways {
    /// The words of the stream.
    pub says: Says,
    /// It answers HTTP/1.0 and closes.
    pub is_http10: bool,
    /// Each path is the stream.
    pub any_path: bool,
    /// Each method opens it, too.
    pub any_method: bool,
    /// POST opens it, and nothing else.
    pub post_only: bool,
    pub second_stream: Second,
    /// Interim answers before a body is read.
    pub continues: usize,
    pub head_delay: Duration,
    /// The head waits for the first event, and so does the answer to HEAD, or it never comes.
    pub unflushed: Option<Unflushed>,
    /// The longest target that it takes.
    pub target_limit: usize,
    /// The most bytes of a head that it takes.
    pub head_limit: usize,
    /// The answer to a method that it does not take.
    pub method_status: u16,
    /// The answer to POST.
    pub post_status: u16,
    /// It closes after CONNECT, and after a header that it cannot read, without an answer.
    pub just_closes: bool,
    /// Further lines of the stream's head.
    pub lines: &'static str,
    /// The transfer coding that its head names, and its other framing lines.
    pub framing: Option<&'static str>,
    /// One thing that is wrong.
    pub wrong: Wrong,
}

/// A server that is right in the usual way.
pub const PLAIN: Ways = Ways {
    says: Says::Ticks,
    is_http10: false,
    any_path: false,
    any_method: false,
    post_only: false,
    second_stream: Second::Served,
    continues: 1,
    head_delay: Duration::ZERO,
    unflushed: None,
    target_limit: 8192,
    head_limit: 64 * 1024,
    method_status: 405,
    post_status: 405,
    just_closes: false,
    lines: "",
    framing: None,
    wrong: Wrong::Nothing,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// An event with an id every 50 ms.
    Ticks,
    Nothing,
    /// An event as often as this.
    Every(Duration),
    /// Events of a mebibyte.
    Huge,
    /// Six events at a time.
    Batches,
    /// Comments alone.
    Comments,
    /// Three events, and the end.
    ThreeAndEnd,
    /// Points to resume from, without data, with a comment or a retry beside.
    ResumePoints,
    /// An empty id with each event.
    EmptyIds,
}

/// The fate of a second stream while one is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Second {
    Served,
    /// With this status.
    Refused(u16),
    /// It ends the first one.
    Replaces,
    /// One worker has one connection until it ends.
    Waits,
}

/// The answer to HEAD of a handler that does not flush its head; it runs on, and its connection takes nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unflushed {
    /// With the first event.
    AtEvent,
    /// Not at all.
    Never,
    /// Not at all, and the connection ends.
    Closes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    Nothing,
    /// The connection ends behind the third event, without the last chunk.
    CutsOff,
    /// A heartbeat has an id, between events with others.
    HeartbeatId,
    /// Two events bear one id.
    SameIds,
    /// Methods have no case.
    FoldsMethods,
    /// The body of a request is awaited without a word.
    NeverContinues,
    /// A head that is too large is cut off.
    CutsLargeHeads,
    /// 431 where 414 is due.
    TargetStatus,
    /// The answer to a pipelined request comes within the stream.
    AnswersWithin,
}

struct Request {
    method: String,
    path: String,
    is_old: bool,
    asks_to_close: bool,
    /// The number of the event to resume after, or 0.
    last: usize,
    body: Body,
}

enum Body {
    None,
    Length { bytes: usize, expects: bool },
}

/// The state that its connections share.
#[derive(Default)]
struct Shared {
    is_busy: AtomicBool,
    newest: AtomicUsize,
    opened: AtomicUsize,
    worker: Mutex<()>,
}

/// Starts it; the URL of its stream is that of the [`Hostile`].
pub fn start(ways: Ways) -> Hostile {
    let shared = Arc::new(Shared::default());
    Hostile::start(move |socket, _| {
        let _worker = (ways.second_stream == Second::Waits)
            .then(|| shared.worker.lock().unwrap_or_else(PoisonError::into_inner));
        let end = socket.try_clone();
        let _ = connection(socket, &ways, &shared);
        // The listener has a handle, too, which would keep the connection open.
        let _ = end.and_then(|it| it.shutdown(Shutdown::Both));
    })
}

fn connection(mut socket: TcpStream, ways: &Ways, shared: &Shared) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let request = match read(&mut socket, &mut buffer, ways)? {
            Ok(request) => request,
            Err(Refusal::Close) => return Ok(()),
            Err(Refusal::Status(status)) => {
                socket.write_all(&answer(status, "", true, ways))?;
                let _ = socket.shutdown(Shutdown::Write);
                socket.set_read_timeout(Some(Duration::from_secs(2)))?;
                // Bytes that are not read would reset the connection, and take the answer with them.
                io::copy(&mut socket, &mut io::sink())?;
                return Ok(());
            }
        };
        if !respond(&mut socket, &mut buffer, &request, ways, shared)? {
            return Ok(());
        }
    }
}

/// Answers; whether the connection takes another request.
fn respond(
    socket: &mut TcpStream,
    buffer: &mut Vec<u8>,
    request: &Request,
    ways: &Ways,
    shared: &Shared,
) -> io::Result<bool> {
    let closes = request.is_old
        || request.asks_to_close
        || ways.is_http10
        || ways.second_stream == Second::Waits;
    let is_get = match request.method.as_str() {
        method if ways.post_only => method == "POST",
        "GET" => true,
        "get" => ways.any_method || ways.wrong == Wrong::FoldsMethods,
        _ => ways.any_method,
    };
    let mut say = |status, lines: &str| {
        socket.write_all(&answer(status, lines, closes, ways))?;
        Ok(!closes)
    };
    if request.path != STREAM && !ways.any_path {
        return say(404, "");
    }
    let allow = if ways.post_only { "Allow: POST\r\n" } else { "Allow: GET, HEAD\r\n" };
    if request.method == "HEAD" && !ways.post_only {
        let connection = if closes { "Connection: close\r\n" } else { "" };
        let head = format!("{}{connection}\r\n", stream_head(ways));
        match ways.unflushed {
            None => {
                socket.write_all(head.as_bytes())?;
                return Ok(!closes);
            }
            Some(Unflushed::Closes) => return Ok(false),
            Some(Unflushed::AtEvent) => {
                thread::sleep(first_event(shared));
                socket.write_all(head.as_bytes())?;
            }
            Some(Unflushed::Never) => {}
        }
        socket.set_read_timeout(None)?;
        io::copy(socket, &mut io::sink())?;
        return Ok(false);
    }
    if !takes_body(socket, buffer, request, ways, allow)? {
        return Ok(false);
    }
    let mut say = |status, lines: &str| {
        socket.write_all(&answer(status, lines, closes, ways))?;
        Ok(!closes)
    };
    if !is_get {
        let is_post = request.method == "POST";
        let status = if is_post { ways.post_status } else { ways.method_status };
        return say(status, if status == 405 { allow } else { "" });
    }
    thread::sleep(ways.head_delay);
    if ways.unflushed.is_some() {
        thread::sleep(first_event(shared));
    }
    let number = shared.newest.fetch_add(1, SeqCst) + 1;
    if let Second::Refused(status) = ways.second_stream {
        if shared.is_busy.swap(true, SeqCst) {
            return say(status, "Retry-After: 1\r\n");
        }
        let streamed = stream(socket, request, ways, &|| true);
        shared.is_busy.store(false, SeqCst);
        return streamed.map(|goes_on| goes_on && !closes);
    }
    let is_newest =
        || ways.second_stream != Second::Replaces || shared.newest.load(SeqCst) == number;
    Ok(stream(socket, request, ways, &is_newest)? && !closes)
}

/// The time to the first event, another one for each stream: 1 to 4 s to a patience of 5 s.
fn first_event(shared: &Shared) -> Duration {
    let parts = [0.2, 0.5, 0.8];
    super::PATIENCE.mul_f64(parts[shared.opened.fetch_add(1, SeqCst) % parts.len()])
}

/// Reads the body, if there is one; whether the connection goes on.
fn takes_body(
    socket: &mut TcpStream,
    buffer: &mut Vec<u8>,
    request: &Request,
    ways: &Ways,
    allow: &str,
) -> io::Result<bool> {
    let Body::Length { bytes, expects } = request.body else { return Ok(true) };
    let is_wanted = ways.post_status == 422 || ways.post_only || ways.continues > 1;
    match ways.wrong {
        _ if !expects => {}
        Wrong::NeverContinues => {}
        _ if is_wanted => {
            socket.write_all(&b"HTTP/1.1 100 Continue\r\n\r\n".repeat(ways.continues))?;
        }
        // A final answer without the body: then the connection cannot go on.
        _ => {
            socket.write_all(&answer(ways.post_status, allow, true, ways))?;
            return Ok(false);
        }
    }
    while buffer.len() < bytes {
        fill(socket, buffer)?;
    }
    buffer.drain(..bytes);
    Ok(true)
}

fn answer(status: u16, lines: &str, closes: bool, ways: &Ways) -> Vec<u8> {
    let close = if closes { "Connection: close\r\n" } else { "" };
    let version = u8::from(!ways.is_http10);
    format!(
        "HTTP/1.{version} {status} X\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n{lines}{close}\
         Content-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

/// The head of the stream, without its framing and its blank line.
fn stream_head(ways: &Ways) -> String {
    format!(
        "HTTP/1.{} 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\
         Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n{}",
        u8::from(!ways.is_http10),
        ways.lines
    )
}

/// Streams until the client goes, the stream ends, or `goes_on` says no; whether its connection goes on.
fn stream(
    socket: &mut TcpStream,
    request: &Request,
    ways: &Ways,
    goes_on: &dyn Fn() -> bool,
) -> io::Result<bool> {
    let is_bare = request.is_old || ways.is_http10;
    let framing = match ways.framing {
        Some(lines) => lines,
        None if ways.is_http10 => "",
        None if is_bare => "Connection: close\r\n",
        None => "Transfer-Encoding: chunked\r\n",
    };
    let is_chunked = framing.contains("chunked");
    socket.write_all(format!("{}{framing}\r\n", stream_head(ways)).as_bytes())?;
    let write = |socket: &mut TcpStream, bytes: &[u8]| match is_chunked {
        true => {
            let size = format!("{:x}\r\n", bytes.len());
            socket.write_all(&[size.as_bytes(), bytes, b"\r\n"].concat())
        }
        false => socket.write_all(bytes),
    };
    let first =
        if ways.says == Says::Batches { (request.last / 6).max(1) } else { request.last + 1 };
    for number in first.. {
        if ways.says == Says::ThreeAndEnd && number > 3 {
            break;
        }
        if ways.wrong == Wrong::CutsOff && number > 3 {
            return Ok(false);
        }
        let (text, pause) = said(ways, number, request.last);
        if !text.is_empty() {
            write(socket, text.as_bytes())?;
        }
        if !rests(socket, pause, ways, goes_on)? {
            break;
        }
    }
    if is_chunked {
        socket.write_all(b"0\r\n\r\n")?;
    }
    Ok(is_chunked)
}

/// The next words of the stream, and the pause behind them.
fn said(ways: &Ways, number: usize, last: usize) -> (String, Duration) {
    let tick = Duration::from_millis(50);
    let event = |number: usize| format!("id: {number}\ndata: event {number}\n\n");
    match ways.says {
        _ if ways.wrong == Wrong::HeartbeatId => (event(number) + ":\nid: beat\n\n", tick),
        _ if ways.wrong == Wrong::SameIds => (format!("id: 1\ndata: {number}\n\n"), tick),
        Says::Ticks | Says::ThreeAndEnd => (event(number), tick),
        Says::Nothing => (String::new(), Duration::from_secs(60)),
        Says::Every(pause) => (event(number), pause),
        Says::Huge => (format!("data: {}\n\n", "x".repeat(1 << 20)), tick * 6),
        Says::Batches => {
            ((6 * number..6 * number + 6).filter(|it| *it > last).map(event).collect(), tick * 6)
        }
        Says::Comments => (": still here\n\n".to_owned(), tick),
        Says::ResumePoints => {
            let blocks = [
                format!("id: {number}\nretry: 500\n\n"),
                format!(": connected\nid: {number}\n\n"),
                format!("id: {number}\nevent: prime\ndata:\n\n"),
            ];
            (blocks[number % 3].clone(), tick)
        }
        Says::EmptyIds => (format!("id:\ndata: {number}\n\n"), tick),
    }
}

/// Waits; whether the stream goes on. An error if the client is gone.
fn rests(
    socket: &mut TcpStream,
    pause: Duration,
    ways: &Ways,
    goes_on: &dyn Fn() -> bool,
) -> io::Result<bool> {
    let due = Instant::now() + pause;
    while goes_on() {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(true);
        }
        socket.set_read_timeout(Some(left.min(LOOK)))?;
        match socket.peek(&mut [0]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) if ways.wrong == Wrong::AnswersWithin => {
                socket.write_all(&answer(404, "", false, ways))?;
            }
            // A request behind the stream waits.
            Ok(_) => thread::sleep(left.min(LOOK)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

enum Refusal {
    Status(u16),
    Close,
}

/// The next request: its head, checked as RFC 9112 asks.
fn read(
    socket: &mut TcpStream,
    buffer: &mut Vec<u8>,
    ways: &Ways,
) -> io::Result<Result<Request, Refusal>> {
    socket.set_read_timeout(None)?;
    let mut searched: usize = 0;
    loop {
        if buffer.starts_with(b"\r\n") {
            buffer.drain(..2);
            continue;
        }
        if let Some(end) = memchr::memmem::find(&buffer[searched..], b"\r\n\r\n") {
            let rest = buffer.split_off(searched + end + 4);
            let mut head = std::mem::replace(buffer, rest);
            head.truncate(searched + end);
            return Ok(parse(&head, ways));
        }
        searched = buffer.len().saturating_sub(3);
        if buffer.len() > ways.head_limit {
            let in_target = !buffer.contains(&b'\r');
            return Ok(Err(match ways.wrong {
                Wrong::CutsLargeHeads if !in_target => Refusal::Close,
                _ if in_target && ways.wrong != Wrong::TargetStatus => Refusal::Status(414),
                _ => Refusal::Status(431),
            }));
        }
        fill(socket, buffer)?;
    }
}

fn fill(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    match socket.read(&mut bytes)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => {
            buffer.extend_from_slice(&bytes[..count]);
            Ok(())
        }
    }
}

fn parse(head: &[u8], ways: &Ways) -> Result<Request, Refusal> {
    let bad = || Refusal::Status(400);
    let text: String = head.iter().map(|byte| char::from(*byte)).collect();
    let mut lines = text.split("\r\n");
    let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, version] = words[..] else { return Err(bad()) };
    if method == "CONNECT" {
        return Err(if ways.just_closes { Refusal::Close } else { bad() });
    }
    let is_old = version == "HTTP/1.0";
    if target.len() > ways.target_limit {
        let status = if ways.wrong == Wrong::TargetStatus { 431 } else { 414 };
        return Err(Refusal::Status(status));
    }
    let (mut hosts, mut lengths, mut codings) = (0, Vec::new(), Vec::new());
    let (mut asks_to_close, mut expects, mut last) = (false, false, 0_usize);
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(bad)?;
        if name.contains([' ', '\t']) {
            return Err(bad());
        }
        if value.contains(['\r', '\n', '\0']) {
            return Err(if ways.just_closes { Refusal::Close } else { bad() });
        }
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "host" => hosts += 1,
            "content-length" => lengths.push(value),
            "transfer-encoding" => codings.push(value),
            "connection" => asks_to_close |= value.eq_ignore_ascii_case("close"),
            "expect" => expects = !is_old,
            // A number beyond all is not known here: the stream begins anew.
            "last-event-id" => last = value.parse().ok().filter(|it| *it < 1 << 32).unwrap_or(0),
            _ => {}
        }
    }
    if hosts > 1 || (hosts == 0 && !is_old) {
        return Err(bad());
    }
    // A body in chunks is refused, with or without a second end; nothing here takes one.
    if !codings.is_empty() || lengths.len() > 1 {
        return Err(bad());
    }
    let body = match lengths.first() {
        None => Body::None,
        Some(length) if length.bytes().all(|it| it.is_ascii_digit()) => match length.parse() {
            Ok(bytes) if bytes <= 65_536 => Body::Length { bytes, expects },
            _ => return Err(Refusal::Status(413)),
        },
        Some(_) => return Err(bad()),
    };
    let path = match target.strip_prefix("http://") {
        Some(rest) => &rest[rest.find('/').ok_or_else(bad)?..],
        None => target,
    };
    let path = path.split('?').next().unwrap_or_default().to_owned();
    Ok(Request { method: method.to_owned(), path, is_old, asks_to_close, last, body })
}
