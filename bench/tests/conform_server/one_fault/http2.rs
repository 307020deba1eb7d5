//! The same streams over HTTP/2, to a client that begins with its preface: right, or with one fault.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wire::http2::{
    ACK, Code, Decoder, END_HEADERS, END_STREAM, Field, Frame, Kind, PREFACE, encode,
};

use crate::encoder::encode as encode_event;
use crate::http::Request;
use crate::server::is_stopping;
use crate::stream::{OPEN, PRODUCERS, script};
use crate::topics::LOOK;
use crate::{fault, option};

/// The window of a stream before SETTINGS.
const WINDOW: i64 = 65_535;
/// Numbers of settings.
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
/// A layer that holds events back until it has so much.
const HELD_BYTES: usize = 4096;

/// Whether the client begins with the preface.
pub fn is_begun(socket: &TcpStream) -> bool {
    let mut start = [0; PREFACE.len()];
    loop {
        match socket.peek(&mut start) {
            Ok(0) | Err(_) => return false,
            Ok(count) if !PREFACE.starts_with(&start[..count]) => return false,
            Ok(count) if count == start.len() => return true,
            // The rest of it is on its way.
            Ok(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// The state that the threads of a connection share.
struct Shared {
    socket: Mutex<TcpStream>,
    rooms: Mutex<Rooms>,
    changed: Condvar,
    /// Held while one writes and waits for room: what a server does with one writer for all streams.
    writing: Mutex<()>,
}

/// How much may be sent.
struct Rooms {
    initial: i64,
    connection: i64,
    /// Of each stream that is open.
    streams: HashMap<u32, i64>,
    is_gone: bool,
}

/// Serves it to its end.
pub fn connection(mut socket: TcpStream) {
    let Ok(writer) = socket.try_clone() else { return };
    let rooms =
        Rooms { initial: WINDOW, connection: WINDOW, streams: HashMap::new(), is_gone: false };
    let shared = Arc::new(Shared {
        socket: Mutex::new(writer),
        rooms: Mutex::new(rooms),
        changed: Condvar::new(),
        writing: Mutex::new(()),
    });
    let _ = read(&mut socket, &shared);
    shared.rooms().is_gone = true;
    shared.changed.notify_all();
    let _ = socket.shutdown(Shutdown::Both);
}

fn read(socket: &mut TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    socket.read_exact(&mut [0; PREFACE.len()])?;
    let limit: u32 = if fault("S12.09") { 10 } else { 100 };
    let setting = [&MAX_CONCURRENT_STREAMS.to_be_bytes()[..], &limit.to_be_bytes()].concat();
    shared.send(&Frame::new(Kind::Settings, 0, 0, setting))?;
    let (mut decoder, mut input, mut bytes) = (Decoder::new(), Vec::new(), [0; 16 * 1024]);
    loop {
        while let Some(frame) = Frame::take(&mut input).map_err(io::Error::other)? {
            if fault("S12.10") && frame.kind == Kind::RstStream {
                return Ok(());
            }
            take(shared, &mut decoder, &frame)?;
        }
        match socket.read(&mut bytes)? {
            0 => return Ok(()),
            count => input.extend_from_slice(&bytes[..count]),
        }
    }
}

fn take(shared: &Arc<Shared>, decoder: &mut Decoder, frame: &Frame) -> io::Result<()> {
    match frame.kind {
        Kind::Settings if !frame.has(ACK) => {
            for (number, value) in frame.settings().map_err(io::Error::other)? {
                if number == INITIAL_WINDOW_SIZE {
                    shared.rooms().initial = i64::from(value);
                }
            }
            shared.send(&Frame::new(Kind::Settings, ACK, 0, []))?;
        }
        Kind::Ping if !frame.has(ACK) => {
            let data = if fault("S12.11") { vec![0; 8] } else { frame.payload.clone() };
            shared.send(&Frame::new(Kind::Ping, ACK, 0, data))?;
        }
        Kind::WindowUpdate => {
            let bytes = frame.payload.first_chunk().map_or(0, |it| u32::from_be_bytes(*it));
            let mut rooms = shared.rooms();
            match frame.stream {
                0 => rooms.connection += i64::from(bytes),
                stream => *rooms.streams.entry(stream).or_default() += i64::from(bytes),
            }
            shared.changed.notify_all();
        }
        Kind::RstStream if !fault("S12.08") => {
            shared.rooms().streams.remove(&frame.stream);
            shared.changed.notify_all();
        }
        Kind::Headers => {
            let block = frame.content().map_err(io::Error::other)?;
            let request = request(decoder.decode(block).map_err(io::Error::other)?);
            let stream = frame.stream;
            let mut rooms = shared.rooms();
            let initial = rooms.initial;
            rooms.streams.insert(stream, initial);
            drop(rooms);
            let shared = Arc::clone(shared);
            thread::spawn(move || {
                OPEN.fetch_add(1, SeqCst);
                PRODUCERS.fetch_add(1, SeqCst);
                let is_ticks = request.path == "/ticks";
                let mut answer =
                    Answer { shared: &shared, stream, is_ticks, held: Vec::new(), head: None };
                // The client is gone, or has left the stream.
                let _ = answer.give(&request);
                OPEN.fetch_sub(1, SeqCst);
                PRODUCERS.fetch_sub(1, SeqCst);
            });
        }
        _ => {}
    }
    Ok(())
}

fn request(fields: Vec<Field>) -> Request {
    let mut headers = Vec::new();
    let (mut method, mut target) = (String::new(), String::new());
    for (name, value) in fields {
        let text = String::from_utf8_lossy(&value).into_owned();
        match name.as_slice() {
            b":method" => method = text,
            b":path" => target = text,
            name => headers.push((String::from_utf8_lossy(name).into_owned(), value)),
        }
    }
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let (path, query) = (path.to_owned(), query.to_owned());
    Request { method, path, query, minor_version: 1, headers, body: Vec::new() }
}

impl Shared {
    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        self.rooms.lock().expect("no thread panics with the lock")
    }

    fn send(&self, frame: &Frame) -> io::Result<()> {
        let mut socket = self.socket.lock().expect("no thread panics with the lock");
        socket.write_all(&frame.to_bytes())
    }
}

/// One answer.
struct Answer<'c> {
    shared: &'c Shared,
    stream: u32,
    is_ticks: bool,
    /// Data that a layer holds back.
    held: Vec<u8>,
    /// And a head, until there is an event.
    head: Option<Frame>,
}

impl Answer<'_> {
    fn give(&mut self, request: &Request) -> io::Result<()> {
        let is_stream = ["/ticks", "/script"].contains(&request.path.as_str());
        let status = if is_stream && !fault("S12.01") { "200" } else { "404" };
        let cache = if fault("S12.04") { "public" } else { "no-cache" };
        let mut fields = vec![
            (":status", status),
            ("content-type", "text/event-stream"),
            ("cache-control", cache),
        ];
        if fault("S12.02") {
            fields.push(("connection", "keep-alive"));
        }
        if fault("S12.03") {
            fields[1].0 = "Content-Type";
        }
        if fault("S12.03-status") {
            fields.swap(0, 1);
        }
        let block = encode(fields);
        let head = Frame::new(Kind::Headers, END_HEADERS, self.stream, block);
        if fault("S12.15") {
            self.head = Some(head);
        } else {
            self.shared.send(&head)?;
        }
        let is_script = request.path == "/script";
        let ends = is_script || request.parameter("count").is_some();
        if is_script {
            self.script(&script(request))?;
        } else {
            self.ticks(request)?;
        }
        if is_stopping() {
            if !fault("S12.13") {
                let code = [[0; 4], Code::NO_ERROR.0.to_be_bytes()].concat();
                self.shared.send(&Frame::new(Kind::GoAway, 0, 0, code))?;
            }
            if fault("S12.13-cut") {
                return Ok(());
            }
        }
        if fault("S12.06") && ends {
            let code = Code::NO_ERROR.0.to_be_bytes();
            return self.shared.send(&Frame::new(Kind::RstStream, 0, self.stream, code));
        }
        self.shared.send(&Frame::new(Kind::Data, END_STREAM, self.stream, []))
    }

    fn ticks(&mut self, request: &Request) -> io::Result<()> {
        let number_of = |name: &str| request.parameter(name).and_then(|it| it.parse::<u64>().ok());
        let interval = Duration::from_millis(number_of("interval_ms").unwrap_or(1000));
        let named = |name: &str| request.headers.iter().find(|(other, _)| other == name);
        // A map with case, as a server has that was written for HTTP/1.1.
        let id = named(if fault("S12.14") { "Last-Event-ID" } else { "last-event-id" });
        let id = id.and_then(|(_, value)| String::from_utf8_lossy(value).parse::<u64>().ok());
        let count = number_of("count").unwrap_or(u64::MAX);
        let first = id.unwrap_or(0) + 1;
        for (number, sent) in (first..).zip(1..=count) {
            let event = json!({ "id": number.to_string(), "data": format!("tick {number}") });
            let mut event = encode_event(&event);
            if fault("S12.06-open") && sent == count {
                event.pop();
            }
            self.write(&event)?;
            if self.waits(interval)? {
                break;
            }
        }
        Ok(())
    }

    fn script(&mut self, items: &[Value]) -> io::Result<()> {
        let last = items.len().saturating_sub(1);
        for (at, item) in items.iter().enumerate() {
            if item.get("then").is_some() {
                self.waits(Duration::MAX)?;
                return Ok(());
            }
            let mut event = encode_event(item);
            if fault("S12.06-open") && at == last {
                event.pop();
            }
            self.write(&event)?;
        }
        Ok(())
    }

    /// Waits, and keeps alive meanwhile; whether the signal has come.
    fn waits(&mut self, time: Duration) -> io::Result<bool> {
        let keep_alive = Duration::from_millis(option("--keep-alive-ms", 15_000) as u64);
        let start = Instant::now();
        let mut quiet_since = Instant::now();
        while start.elapsed() < time {
            if is_stopping() {
                return Ok(true);
            }
            if quiet_since.elapsed() >= keep_alive && !fault("S12.12") {
                self.write(b":\n\n")?;
                quiet_since = Instant::now();
            }
            thread::sleep(LOOK.min(time.saturating_sub(start.elapsed())));
        }
        Ok(is_stopping())
    }

    /// Writes data as soon as there is room for it.
    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        if self.head.is_some() && data.starts_with(b":") {
            return Ok(());
        }
        if let Some(head) = self.head.take() {
            self.shared.send(&head)?;
        }
        self.held.extend_from_slice(data);
        if fault("S12.05") && self.is_ticks && self.held.len() < HELD_BYTES {
            return Ok(());
        }
        let data = std::mem::take(&mut self.held);
        let waits_for_all = fault("S12.07");
        let _turn = waits_for_all.then(|| self.shared.writing.lock());
        let length = i64::try_from(data.len()).unwrap_or(i64::MAX);
        let mut rooms = self.shared.rooms();
        loop {
            let is_reset = !rooms.streams.contains_key(&self.stream);
            if is_reset || rooms.is_gone {
                return Err(io::Error::other("the client has left"));
            }
            let room = rooms.streams.get_mut(&self.stream).filter(|it| **it >= length);
            if let Some(room) = room {
                *room -= length;
                break;
            }
            rooms = self.shared.changed.wait(rooms).expect("no thread panics with the lock");
        }
        rooms.connection -= length;
        drop(rooms);
        self.shared.send(&Frame::new(Kind::Data, 0, self.stream, data))
    }
}
