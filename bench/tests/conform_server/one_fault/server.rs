//! The server: one thread a connection, all endpoints that a case asks for, right or with one fault.

use std::io::{self, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;

use crate::http::{Refusal, Request, head, percent_decoded};
use crate::topics::LOOK;
use crate::{fault, http2, stream, topics};

/// The endpoints of the contract, beside topics.
const STREAMS: [&str; 5] = ["/ticks", "/time", "/tasks", "/simulation", "/script"];
const DOCUMENTS: [&str; 3] = ["/", "/healthz", "/metrics"];
/// The last id of the tasks.
const FINISHED: &str = "25";
/// The streams of the cases that stop a busy server.
const BUSY_STREAMS: usize = 20;

static STOPPING: AtomicBool = AtomicBool::new(false);
/// Producers that HEAD started and that are never stopped.
static STRAY: AtomicU64 = AtomicU64::new(0);

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
    while stream::OPEN.load(SeqCst) > 0 && Instant::now() < drained {
        thread::sleep(LOOK);
    }
    let busy = stream::opened() >= BUSY_STREAMS;
    if fault("S11.01") && !busy {
        thread::sleep(Duration::from_millis(2200));
    }
    let failed = if busy { fault("S11.02") } else { fault("S11.01-exit-code") };
    std::process::exit(if failed { 3 } else { 0 })
}

/// Whether this server is one that knows nothing of scripts.
fn is_stranger() -> bool {
    std::env::args().any(|it| it == "--stranger")
}

/// Whether the signal has come.
pub fn is_stopping() -> bool {
    STOPPING.load(SeqCst)
}

fn connection(mut socket: TcpStream) {
    if http2::is_begun(&socket) {
        return http2::connection(socket);
    }
    let mut buffer = Vec::new();
    loop {
        let answered = match Request::read(&mut socket, &mut buffer) {
            Ok(request) => answer(&mut socket, &request),
            Err(Refusal::Status(status)) => {
                let lines = ["Content-Length: 0".into(), "Connection: close".into()];
                let _ = socket.write_all(&head(status, &lines));
                let _ = socket.shutdown(Shutdown::Write);
                // Read the rest of the client's bytes, or closing would reset the connection.
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
    let path = request.path.as_str();
    let topic = path.strip_prefix("/messages/");
    let is_stream = STREAMS.contains(&path) || topic.is_some();
    let known = is_stream || DOCUMENTS.contains(&path);
    let is_get = match request.method.as_str() {
        "GET" => true,
        "FOO" => fault("S9.06"),
        "get" => fault("S9.07"),
        _ => false,
    };
    if request.minor_version == 0 && request.value("expect").is_some() && fault("S2.10") {
        socket.write_all(b"HTTP/1.1 100 \r\n\r\n")?;
    }
    if request.method == "CONNECT" && fault("S9.26") {
        return status(socket, request, 500, &[]);
    }
    if is_stopping() && fault("S11.05") {
        return status(socket, request, 500, &[]);
    }
    if path == "/script" && is_stranger() {
        return status(socket, request, 404, &[]);
    }
    if !known {
        let of_a_stream = fault("S9.09").then(|| "Content-Type: text/event-stream".to_owned());
        return status(socket, request, 404, &Vec::from_iter(of_a_stream));
    }
    if request.method == "HEAD" {
        return answer_head(socket, request, is_stream);
    }
    if request.method == "OPTIONS" && is_stranger() {
        let length = fault("S2.11").then(|| "Content-Length: 0".to_owned());
        socket.write_all(&head(204, &Vec::from_iter(length)))?;
        return Ok(true);
    }
    let is_publish = request.method == "POST" && topic.is_some();
    if !is_get && !is_publish {
        let is_post = request.method == "POST";
        let method_status = if fault("S9.04") && is_post { 404 } else { 405 };
        let allow = if fault("S9.05-without-get") { "Allow: POST" } else { "Allow: GET, HEAD" };
        let lines = if fault("S9.05") { vec![] } else { vec![allow.to_owned()] };
        return status(socket, request, method_status, &lines);
    }
    if fault("S1.01") && is_stream {
        return status(socket, request, 500, &["Content-Type: text/event-stream".to_owned()]);
    }
    if fault("S1.04") && request.value("accept").is_none() && is_stream && is_get {
        return status(socket, request, 406, &[]);
    }
    let last_id = request.value("last-event-id").unwrap_or_default();
    if fault("S6.06") && last_id.len() > 4096 {
        return Ok(false);
    }
    if fault("S6.04") && last_id.starts_with(b"never") && topic.is_none() {
        return status(socket, request, 404, &[]);
    }
    if fault("S9.25") && request.value("range").is_some() {
        return status(socket, request, 206, &["Content-Range: bytes 0-9/*".to_owned()]);
    }
    match (path, topic) {
        (_, Some(topic)) if is_publish => publish(socket, request, topic),
        ("/tasks", _) if last_id == FINISHED.as_bytes() => {
            let length = fault("S2.11").then(|| "Content-Length: 0".to_owned());
            socket.write_all(&head(204, &Vec::from_iter(length)))?;
            Ok(true)
        }
        ("/ticks", _) if request.parameter("interval_ms").is_some_and(|it| it == "60001") => {
            problem(socket)
        }
        ("/", _) => document(socket, "text/html", "a page"),
        ("/healthz", _) => document(socket, "text/plain", "ok\n"),
        ("/metrics", _) => document(socket, "text/plain; version=0.0.4", &metrics()),
        _ => stream::serve(socket, request),
    }
}

fn answer_head(socket: &mut TcpStream, request: &Request, is_stream: bool) -> io::Result<bool> {
    if fault("S9.02") && request.path == "/ticks" && !request.query.is_empty() {
        return status(socket, request, 404, &[]);
    }
    if fault("S9.29") && request.path == "/time" {
        return status(socket, request, 405, &["Allow: GET".to_owned()]);
    }
    if fault("S9.03") {
        STRAY.fetch_add(1, SeqCst);
    }
    let body: &[u8] = match () {
        () if fault("S9.01") && !request.query.is_empty() => b"5\r\ndata\n\r\n",
        () if fault("S9.29-body") && request.path == "/healthz" => b"ok\n",
        () => b"",
    };
    let head = match request.path.as_str() {
        "/" => head(200, &["Content-Type: text/html".to_owned()]),
        "/healthz" => head(200, &["Content-Type: text/plain".to_owned()]),
        "/metrics" => head(200, &["Content-Type: text/plain; version=0.0.4".to_owned()]),
        _ if is_stream => stream_head(request),
        _ => head(404, &[]),
    };
    socket.write_all(&[&head, body].concat())?;
    Ok(!(fault("S9.01-deaf") && request.path == "/ticks" && !request.query.is_empty()))
}

fn document(socket: &mut TcpStream, content_type: &str, text: &str) -> io::Result<bool> {
    let lines =
        [format!("Content-Type: {content_type}"), format!("Content-Length: {}", text.len())];
    socket.write_all(&[head(200, &lines), text.as_bytes().to_vec()].concat())?;
    Ok(true)
}

fn metrics() -> String {
    let resident = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = resident.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap_or(0);
    format!(
        "sse_open_streams {}\nsse_producers {}\nprocess_resident_memory_bytes {}\n",
        stream::OPEN.load(SeqCst),
        stream::PRODUCERS.load(SeqCst) as u64 + STRAY.load(SeqCst),
        pages * 4096,
    )
}

fn problem(socket: &mut TcpStream) -> io::Result<bool> {
    let parameter = if fault("S9.30") { "interval" } else { "interval_ms" };
    let problem = json!({ "parameter": parameter, "value": "60001", "bounds": "0 to 60000" });
    let body = problem.to_string();
    let content_type = "Content-Type: application/problem+json".to_owned();
    let lines = [content_type, format!("Content-Length: {}", body.len())];
    socket.write_all(&[head(400, &lines), body.into_bytes()].concat())?;
    Ok(true)
}

fn status(
    socket: &mut TcpStream,
    request: &Request,
    status: u16,
    lines: &[String],
) -> io::Result<bool> {
    let is_asked = wants_close(request) && !fault("S2.06");
    let closes = is_asked || (request.minor_version == 0 && !fault("S9.14"));
    let mut lines = lines.to_vec();
    lines.push("Content-Length: 0".to_owned());
    lines.extend(closes.then(|| "Connection: close".to_owned()));
    socket.write_all(&head(status, &lines))?;
    Ok(!closes)
}

fn publish(socket: &mut TcpStream, request: &Request, topic: &str) -> io::Result<bool> {
    let own = request.value("host").unwrap_or_default();
    let own = format!("http://{}", String::from_utf8_lossy(own));
    let is_foreign = request.value("origin").is_some_and(|origin| origin != own.as_bytes());
    if is_foreign && !fault("S10.10") {
        return status(socket, request, 403, &[]);
    }
    let mut text = String::from_utf8_lossy(&request.body).into_owned();
    if topic.starts_with("room-json") {
        let json: Value = serde_json::from_str(&text).unwrap_or_default();
        text = json["text"].as_str().unwrap_or_default().to_owned();
    }
    if topic.starts_with("room") && fault("S10.06-500") && text.contains('\0') {
        return status(socket, request, 500, &[]);
    }
    let id = topics::publish(topic, text);
    let body = json!({ "id": id }).to_string();
    let lines =
        ["Content-Type: application/json".to_owned(), format!("Content-Length: {}", body.len())];
    socket.write_all(&[head(201, &lines), body.into_bytes()].concat())?;
    Ok(true)
}

/// The head of a stream.
pub fn stream_head(request: &Request) -> Vec<u8> {
    let content_type = match () {
        () if fault("S1.02") => "text/plain",
        () if fault("S1.03") => "text/event-stream; charset=iso-8859-1",
        () => "text/event-stream",
    };
    let mut lines = vec![format!("Content-Type: {content_type}")];
    lines.extend(fault("S1.02-twice").then(|| lines[0].clone()));
    lines.extend((!fault("S1.06")).then(|| "Cache-Control: no-cache".to_owned()));
    if fault("S1.09") && request.has_token("accept-encoding", "identity") {
        lines.push("Content-Encoding: gzip".to_owned());
    }
    if let Some(origin) = request.value("origin") {
        let origin = String::from_utf8_lossy(origin);
        let allowed = if fault("S1.11") { "*" } else { &origin };
        lines.push(format!("Access-Control-Allow-Origin: {allowed}"));
        lines.extend(fault("S1.11").then(|| "Access-Control-Allow-Credentials: true".to_owned()));
        lines.extend((!fault("S1.11-vary")).then(|| "Vary: Origin".to_owned()));
    }
    let is_upgrade = request.value("upgrade").is_some();
    if stream::is_coded(request) {
        lines.push("Content-Encoding: gzip".to_owned());
    }
    if is_chunked(request) || (fault("S9.24") && is_upgrade) {
        lines.push("Transfer-Encoding: chunked".to_owned());
        if is_plain_ticks(request) && request.minor_version == 1 {
            lines.extend(fault("S2.01-twice").then(|| "Transfer-Encoding: chunked".to_owned()));
            lines.extend(fault("S2.01-length").then(|| "Content-Length: 7".to_owned()));
        }
    } else if fault("S1.08") && is_plain_ticks(request) {
        lines.push("Content-Length: 1000000".to_owned());
    } else if fault("S2.04-length") && is_three(request) {
        lines.push("Content-Length: 27".to_owned());
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

/// Whether the stream is written in chunks.
pub fn is_chunked(request: &Request) -> bool {
    let chunked = request.minor_version == 1 || fault("S2.07");
    let is_upgrade = request.value("upgrade").is_some();
    // Announced all the same: what actix-web#1611 was.
    let forgets = fault("S9.24") && is_upgrade;
    let plain = is_plain_ticks(request) && (fault("S1.08") || fault("S2.01"));
    let three = is_three(request) && fault("S2.04-length");
    chunked && !(forgets || plain || three)
}

/// Whether the stream has no end.
pub fn is_plain_ticks(request: &Request) -> bool {
    request.path == "/ticks" && request.parameter("count").is_none()
}

/// Whether the script is the one of three events with which the suite looks at the end of a stream.
pub fn is_three(request: &Request) -> bool {
    let data = |item: &serde_json::Value| item.get("data").cloned().unwrap_or_default();
    let data: Vec<_> = stream::script(request).iter().map(data).collect();
    data == ["a", "b", "c"]
}

/// Whether the client wants the connection closed.
pub fn wants_close(request: &Request) -> bool {
    request.has_token("connection", "close")
}
