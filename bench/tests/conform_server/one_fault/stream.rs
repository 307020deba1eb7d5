//! Open streams: ticks, scripts, topics and the rest, right or with one fault.

use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use socket2::SockRef;

use crate::encoder::encode;
use crate::http::{Request, percent_decoded, write_chunk};
use crate::server::{is_chunked, is_plain_ticks, is_stopping, is_three, stream_head, wants_close};
use crate::topics::{self, LOOK, Next, Start};
use crate::{fault, option};

pub static OPEN: AtomicUsize = AtomicUsize::new(0);
pub static PRODUCERS: AtomicUsize = AtomicUsize::new(0);
static NUMBER: AtomicUsize = AtomicUsize::new(0);
/// The streams so far whose events come in slots.
static IN_SLOTS: AtomicUsize = AtomicUsize::new(0);

/// The suite scripts its timed events in slots: five events this far apart or more, and a hold.
const SLOT_MS: u64 = 200;
const SLOT_ITEMS: usize = 6;
/// Events this long are cut in two by a heartbeat that is not atomic.
const LARGE_BYTES: usize = 100 * 1024;

/// `MSG_PEEK | MSG_DONTWAIT` on Linux, where the suite is tested.
const PEEK_NOW: i32 = 0x42;
/// A silence after which an impatient server cuts a stream.
const IDLE: Duration = Duration::from_millis(350);
/// Later than other cases watch, and sooner than the one on chunks does.
const LATE: Duration = Duration::from_millis(800);

/// An open stream.
pub struct Stream<'s> {
    socket: &'s mut TcpStream,
    number: usize,
    chunked: bool,
    is_script: bool,
    /// A head that waits for the first event.
    head: Option<Vec<u8>>,
    /// The end of the event before, held back.
    held: Vec<u8>,
    /// Since the last byte.
    quiet_since: Instant,
    opened: Instant,
    /// How many periods of a layer that is flushed by a timer are over.
    flushed: u128,
    last_event: Instant,
    events: usize,
    is_plain_ticks: bool,
    /// It stays in the counts when its client has left.
    leaks: bool,
    /// A published text comes back, as in the room of an author who knows nothing of the contract.
    is_room: bool,
    /// Compresses what is written.
    coder: Option<GzEncoder<Vec<u8>>>,
    /// Its events come in slots, on a busy host with longer pauses than an impatient server allows.
    in_slots: bool,
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        if self.leaks {
            return;
        }
        OPEN.fetch_sub(1, SeqCst);
        PRODUCERS.fetch_sub(1, SeqCst);
    }
}

/// Answers with a stream to its end; whether the connection takes another request.
pub fn serve(socket: &mut TcpStream, request: &Request) -> io::Result<bool> {
    OPEN.fetch_add(1, SeqCst);
    PRODUCERS.fetch_add(1, SeqCst);
    let items = script(request);
    let waits = request.parameter("wait_ms").is_some()
        || items.first().is_some_and(|item| item.get("delay_ms").is_some());
    let head = stream_head(request);
    let mut stream = Stream {
        socket,
        number: NUMBER.fetch_add(1, SeqCst),
        chunked: is_chunked(request),
        is_script: request.path == "/script",
        head: (fault("S5.01") && waits).then(|| head.clone()),
        held: Vec::new(),
        quiet_since: Instant::now(),
        opened: Instant::now(),
        flushed: 0,
        last_event: Instant::now(),
        events: 0,
        is_plain_ticks: is_plain_ticks(request),
        leaks: false,
        is_room: is_room(&request.path),
        coder: is_coded(request).then(|| GzEncoder::new(Vec::new(), Compression::default())),
        in_slots: items.len() == SLOT_ITEMS
            && items.iter().filter(|it| it["delay_ms"].as_u64() >= Some(SLOT_MS)).count() == 5,
    };
    // Messages published after the head has arrived belong to the stream, so both are read before.
    let topic = request.path.strip_prefix("/messages/");
    let last_id = request.last_event_id();
    let known = topic.map_or(0, topics::published);
    let start = topic.map(|topic| (topic, topics::start(topic, last_id.as_deref())));
    if stream.head.is_none() {
        stream.socket.write_all(&head)?;
    }
    let outcome = stream.run(request, start, known, &items);
    if outcome.is_err() {
        stream.leaks = match request.path.as_str() {
            "/script" => fault("S8.02"),
            "/ticks" => fault("S8.01") || (fault("S8.06") && stream.number > 1000),
            _ => false,
        };
    }
    outcome
}

/// Whether this is the room, or its stream.
pub fn is_room(path: &str) -> bool {
    path.starts_with("/messages/room")
}

/// Whether the stream is compressed: only where the URL says that this server does so.
pub fn is_coded(request: &Request) -> bool {
    request.parameter("gz").is_some() && request.has_token("accept-encoding", "gzip")
}

/// How many streams there were until now.
pub fn opened() -> usize {
    NUMBER.load(SeqCst)
}

/// The items of a script.
pub fn script(request: &Request) -> Vec<Value> {
    let json = URL_SAFE_NO_PAD.decode(request.parameter("events").unwrap_or_default());
    serde_json::from_slice(&json.unwrap_or_default()).unwrap_or_default()
}

impl Stream<'_> {
    fn run(
        &mut self,
        request: &Request,
        start: Option<(&str, Start)>,
        known: usize,
        items: &[Value],
    ) -> io::Result<bool> {
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
        match start {
            Some((topic, start)) => self.messages(topic, start, known, request)?,
            None if self.is_script => self.script(items, request)?,
            None => self.ticks(request)?,
        }
        if is_stopping() {
            self.write(b"retry: 1500\n\n")?;
            if fault("S11.04") {
                self.write(b"id: 9\ndata: ha")?;
            }
        }
        let cut_short = (fault("S2.04") && is_three(request)) || (fault("S11.03") && is_stopping());
        if self.chunked && !cut_short {
            self.socket.write_all(b"0\r\n\r\n")?;
        }
        let closes = wants_close(request) && !fault("S2.06");
        Ok(self.chunked && !cut_short && !closes && !fault("S2.05"))
    }

    fn ticks(&mut self, request: &Request) -> io::Result<()> {
        let number_of = |name: &str| request.parameter(name).and_then(|it| it.parse::<u64>().ok());
        let interval = Duration::from_millis(number_of("interval_ms").unwrap_or(1000));
        self.waits(Duration::from_millis(number_of("wait_ms").unwrap_or(0)))?;
        // A stream with an end is asked for what it says, not for how.
        let (count, plain) = match number_of("count") {
            Some(count) => (count, false),
            None => (u64::MAX, true),
        };
        let mut number: u64 = match request.last_event_id().map(|id| id.parse::<u64>()) {
            None => 0,
            Some(Ok(_)) if fault("S6.01-forgetful") => 0,
            Some(Ok(number)) if fault("S6.02-again") => number - 1,
            Some(Ok(number)) if fault("S6.03-ticks") && number % 4 == 3 => number + 1,
            Some(Ok(number)) => number + u64::from(fault("S6.11") && !plain),
            Some(Err(_)) => {
                self.write(&encode(&json!({ "event": "gap", "data": "{\"reset\":true}" })))?;
                0
            }
        };
        for sent in 1..=count {
            number = number.saturating_add(1);
            let id = match () {
                () if fault("S3.10") && plain => "1".to_owned(),
                () if fault("S3.09") && plain => format!("{number}\u{1}"),
                () => number.to_string(),
            };
            let mut event = encode(&json!({ "id": id, "data": format!("tick {number}") }));
            if fault("S3.08") && plain {
                let end = event.iter().position(|byte| *byte == b'\n').unwrap_or_default();
                event.insert(end, 0);
            }
            for (id, line) in [
                ("S3.01", &b": \xff\n"[..]),
                ("S3.05", b"time: 1\n"),
                ("S3.06", b"event: update\n\n"),
                ("S3.14", b"data: half\nevent: error\n"),
            ] {
                if fault(id) {
                    event.splice(0..0, line.iter().copied());
                }
            }
            if fault("S3.12") && sent == count && request.last_event_id().is_none() {
                event.pop();
            }
            if fault("S3.13") && plain {
                event = format!("{{\"tick\":{number}}}\n").into_bytes();
            }
            if fault("S3.13-open") && plain {
                event.pop();
            }
            if fault("S3.03") && plain {
                // The blank line comes with the next event.
                let line = event.pop();
                event.splice(0..0, std::mem::take(&mut self.held));
                self.held.extend(line);
            }
            self.write(&event)?;
            if sent == count || self.waits(interval)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn script(&mut self, items: &[Value], request: &Request) -> io::Result<()> {
        let coded = request.value("accept-encoding").is_some();
        let in_slots = self.in_slots;
        let is_odd = in_slots && !coded && IN_SLOTS.fetch_add(1, SeqCst).is_multiple_of(2);
        let mut held_back: Vec<u8> = Vec::new();
        for item in items {
            if item.get("then").is_some_and(|then| then == "hold") {
                let gathers = coded && fault("S5.04");
                while !self.waits(LOOK)? && !gathers {}
                return Ok(());
            }
            let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default();
            if fault("S10.06") && text("id").contains(['\r', '\n', '\0']) {
                return Err(io::Error::other("the encoder panicked"));
            }
            let number = |name: &str| item.get(name).and_then(Value::as_u64);
            let delay_ms = number("delay_ms").unwrap_or(0);
            let repeat = number("repeat").unwrap_or(1);
            let loses_one = fault("S5.03") && repeat == 50 && text("data") == "7";
            for n in 0..repeat {
                if delay_ms > 0 && self.waits(Duration::from_millis(delay_ms))? {
                    return Ok(());
                }
                if loses_one && n == 0 {
                    continue;
                }
                let mut event = encode(item);
                if fault("S2.03") && item.as_object().is_some_and(|it| it.is_empty()) {
                    self.socket.write_all(b"0\r\n\r\n")?;
                }
                let alternates = fault("S5.02-alternate") && is_odd;
                let holds = fault("S5.02") || alternates;
                if in_slots && ((holds && !coded) || (fault("S5.04") && coded)) {
                    // A buffer that is flushed by the next event.
                    std::mem::swap(&mut event, &mut held_back);
                }
                let cuts = event.len() > LARGE_BYTES && option("--keep-alive-ms", 15_000) <= 5;
                if cuts && fault("S5.07") {
                    event.splice(LARGE_BYTES..LARGE_BYTES, *b":\n\n");
                }
                self.write(&event)?;
                self.events += 1;
                self.last_event = Instant::now();
            }
        }
        Ok(())
    }

    /// `known` is how many messages there were before the head was sent.
    fn messages(
        &mut self,
        topic: &str,
        start: Start,
        known: usize,
        request: &Request,
    ) -> io::Result<()> {
        let resumes = request.last_event_id().is_some();
        let mut tears = false;
        let mut last = match start {
            Start::After(number) => number,
            Start::Reset => {
                let gap = if fault("S6.09") {
                    json!({ "id": "0000cafe-0", "event": "gap", "data": "{\"reset\":true}" })
                } else {
                    json!({ "event": "gap", "data": "{\"reset\":true}" })
                };
                if !fault("S6.13") {
                    self.write(&encode(&gap))?;
                }
                0
            }
        };
        let mut gathered = Vec::new();
        while !is_stopping() {
            if fault("S6.03") && resumes && last == known {
                // Messages published between the replay and the subscription are lost.
                last += 1;
            }
            let mut message = match topics::next(topic, last) {
                Next::Message(message) => message,
                Next::Missed(missed) => {
                    last += missed;
                    tears = fault("S8.05");
                    self.write(&encode(
                        &json!({ "event": "gap", "data": format!("{{\"missed\":{missed}}}") }),
                    ))?;
                    continue;
                }
                Next::Nothing => {
                    self.look()?;
                    continue;
                }
            };
            last = message.number;
            let is_lost = match () {
                () if fault("S7.01") => {
                    let is_hit = last % 10 == 9 && message.data.starts_with('m');
                    is_hit && self.number.is_multiple_of(2)
                }
                () if fault("S7.01-room") => self.is_room && (last + self.number).is_multiple_of(7),
                () if fault("S7.05") => self.number > 900 && last == 7,
                () if fault("S7.05-room") => self.number > 900 && last.is_multiple_of(3),
                () => false,
            };
            if fault("S6.10") && message.number > known {
                message.id += "x";
            }
            if std::mem::take(&mut tears) {
                message.data.truncate(message.data.len() / 2);
            }
            if is_lost {
                continue;
            }
            let lines = message.data.matches('\n').count();
            if (fault("S4.10-cut") && message.data.len() > LARGE_BYTES)
                || (fault("S4.11-cut") && lines > 1000)
                || (fault("S10.06") && self.is_room && message.data.contains(['\r', '\0']))
            {
                return Err(io::Error::other("the encoder panicked"));
            }
            let wrapped = |data: String| match topic.starts_with("room-json") {
                true => json!({ "from": "ada", "text": data }).to_string(),
                false => data,
            };
            message.data = wrapped(message.data);
            let mut event =
                encode(&json!({ "id": message.id, "event": "message", "data": message.data }));
            if fault("S6.01-no-ids") {
                event = encode(&json!({ "data": message.data }));
            }
            if fault("S7.04-room") {
                // The third text of a publisher comes behind the fifth of any.
                match message.data.ends_with("-5.") {
                    true => event.append(&mut gathered),
                    false if message.data.ends_with("-3.") => gathered.append(&mut event),
                    false => {}
                }
            }
            if fault("S5.02-room") {
                std::mem::swap(&mut event, &mut gathered);
            }
            if fault("S5.03-room") {
                self.waits(Duration::from_millis(30))?;
            }
            if fault("S5.02-clumps") {
                // Until the next full 1.2 s, as a layer does that is flushed by a timer.
                gathered.extend(event);
                let period = Duration::from_millis(1200);
                while self.opened.elapsed().as_millis() / 1200 == self.flushed {
                    let left = topics::next(topic, last);
                    if let Next::Message(message) = left {
                        last = message.number;
                        let json = json!({ "id": message.id, "data": wrapped(message.data) });
                        gathered.extend(encode(&json));
                    }
                    self.waits(period / 60)?;
                }
                self.flushed = self.opened.elapsed().as_millis() / 1200;
                event = std::mem::take(&mut gathered);
            }
            let writing = fault("S7.06").then(|| topics::writing(topic));
            let _guard = writing.as_ref().map(|it| it.lock());
            self.write(&event)?;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(head) = self.head.take() {
            self.socket.write_all(&head)?;
        }
        self.quiet_since = Instant::now();
        let coded;
        let bytes = match &mut self.coder {
            None => bytes,
            Some(coder) => {
                coder.write_all(bytes)?;
                if !fault("S5.04-held") {
                    coder.flush()?;
                }
                coded = std::mem::take(coder.get_mut());
                &coded
            }
        };
        let late = self.is_plain_ticks && self.opened.elapsed() > LATE && !is_stopping();
        match self.chunked {
            true if bytes.is_empty() => Ok(()),
            true if fault("S2.02") && late => {
                self.socket.write_all(format!("{:x}\n", bytes.len()).as_bytes())
            }
            true => write_chunk(self.socket, bytes),
            false => self.socket.write_all(bytes),
        }
    }

    /// Waits; whether the server stops.
    fn waits(&mut self, time: Duration) -> io::Result<bool> {
        let due = Instant::now() + time;
        while !is_stopping() {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            thread::sleep(left.min(topics::look_interval()));
            self.look()?;
        }
        Ok(true)
    }

    /// Looks whether the client is gone or talks, and whether a heartbeat is due.
    fn look(&mut self) -> io::Result<()> {
        let mut byte = [MaybeUninit::uninit()];
        match SockRef::from(&*self.socket).recv_with_flags(&mut byte, PEEK_NOW) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) if fault("S8.07") => {
                self.socket.write_all(b"HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n")?;
            }
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
        let keep_alive = Duration::from_millis(option("--keep-alive-ms", 15_000) as u64);
        if self.quiet_since.elapsed() < keep_alive || self.head.is_some() {
            return Ok(());
        }
        if (self.is_room || (self.is_script && self.events == 0)) && fault("S5.05") {
            return Ok(());
        }
        let idle = self.events > 0 && self.last_event.elapsed() > IDLE;
        let is_old = self.is_room && self.opened.elapsed() > IDLE * 2;
        if fault("S5.08") && ((self.is_script && idle && !self.in_slots) || is_old) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match () {
            () if self.is_script && fault("S5.06") => self.write(b":\nid: 9\n\n"),
            () if self.is_script && fault("S5.06-event") => self.write(b"event: ping\ndata:\n\n"),
            () => self.write(b":\n\n"),
        }
    }
}
