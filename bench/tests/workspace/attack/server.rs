//! A small server of the endpoints that attacks use: right, or with one fault.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;
use socket2::SockRef;
use wire::server::{ReceivedRequest, RequestReader};

/// The bytes of a body that it takes.
const BODY_LIMIT: usize = 64 * 1024;
/// Bytes that wait in the kernel, at most, for a client that does not read.
const NOTSENT_BYTES: u32 = 128 * 1024;
/// Between two looks for a new event, and whether the client is there.
const LOOK: Duration = Duration::from_millis(2);
/// The event that a fault is about.
const TENTH: usize = 10;
/// Memory that is kept for each connection under that fault.
const KEPT_BYTES: usize = 64 * 1024;

static FAULT: OnceLock<String> = OnceLock::new();
static STOPPING: AtomicBool = AtomicBool::new(false);
static OPEN: AtomicUsize = AtomicUsize::new(0);
/// The streams so far: the faults of one stream are those of the third.
static STREAMS: AtomicUsize = AtomicUsize::new(0);
static TOPICS: Mutex<Option<HashMap<String, Vec<String>>>> = Mutex::new(None);

fn fault(name: &str) -> bool {
    FAULT.get().is_some_and(|it| it == name)
}

/// Serves until SIGTERM.
pub fn serve(fault_name: Option<String>) -> ! {
    FAULT.get_or_init(|| fault_name.unwrap_or_default());
    let mut signals = Signals::new([SIGTERM]).expect("SIGTERM can be handled");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    if !fault("lets-the-kernel-queue") {
        let socket = SockRef::from(&listener);
        socket.set_tcp_notsent_lowat(NOTSENT_BYTES).expect("Linux");
    }
    println!("listening on http://{}", listener.local_addr().expect("it is bound"));
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            thread::spawn(move || connection(&Arc::new(socket)));
        }
    });
    signals.forever().next();
    STOPPING.store(true, SeqCst);
    while OPEN.load(SeqCst) > 0 {
        thread::sleep(LOOK);
    }
    if fault("exits-late") {
        thread::sleep(Duration::from_secs(4));
    }
    while fault("never-exits") {
        thread::sleep(LOOK);
    }
    std::process::exit(i32::from(fault("exits-with-1")))
}

fn connection(socket: &Arc<TcpStream>) {
    let _ = socket.set_nodelay(true);
    if fault("keeps-descriptors") {
        // Not the connection's own: that would stay open, and its client would wait.
        std::mem::forget(std::fs::File::open("/dev/null"));
    }
    if fault("keeps-memory") {
        std::mem::forget(vec![1_u8; KEPT_BYTES]);
    }
    let mut reader = RequestReader::new(Arc::clone(socket), BODY_LIMIT);
    loop {
        let Some((request, _)) = reader.next_request() else {
            // It sees an end and a request that is none alike, and says nothing to either.
            if fault("answers-nonsense") {
                let _ = (&**socket).write_all(b"what?\r\n");
            }
            return;
        };
        if answer(socket, &request).is_err() {
            return;
        }
    }
}

/// Answers; an error ends the connection.
fn answer(socket: &TcpStream, request: &ReceivedRequest) -> io::Result<()> {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let number = |name: &str| {
        let mut pairs = query.split('&').filter_map(|it| it.split_once('='));
        pairs.find(|it| it.0 == name).and_then(|it| it.1.parse::<u64>().ok()).unwrap_or(0)
    };
    match (request.method.as_str(), path.strip_prefix("/messages/")) {
        ("GET", None) if path == "/healthz" => status(socket, "200 OK", "ok\n"),
        ("GET", None) if path == "/ticks" => {
            let interval = Duration::from_millis(number("interval_ms"));
            let pad = "x".repeat(usize::try_from(number("pad")).unwrap_or(0).min(BODY_LIMIT));
            stream(socket, &mut |stream| stream.ticks(interval, &pad))
        }
        ("GET", None) if path == "/simulation" => stream(socket, &mut |stream| stream.topic("", 0)),
        ("GET", Some(topic)) => {
            let last = request.header("Last-Event-ID").unwrap_or_default();
            let last = std::str::from_utf8(last).ok().and_then(|it| it.parse::<usize>().ok());
            let skipped = usize::from(fault("forgets-at-resume"));
            let from = last.map_or_else(|| messages(topic).len(), |it| it + skipped);
            stream(socket, &mut |stream| stream.topic(topic, from))
        }
        ("POST", Some(topic)) => publish(socket, topic, &request.body),
        _ if fault("answers-500") => status(socket, "500 Internal Server Error", "oh\n"),
        _ if fault("dies") => std::process::exit(7),
        _ if fault("panics") => panic!("{:?}", request.method),
        _ => status(socket, "404 Not Found", "no\n"),
    }
}

fn status(mut socket: &TcpStream, status: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
    socket.write_all(text.as_bytes())
}

fn publish(socket: &TcpStream, topic: &str, body: &[u8]) -> io::Result<()> {
    let Ok(text) = std::str::from_utf8(body) else {
        return status(socket, "400 Bad Request", "not UTF-8\n");
    };
    let id = {
        let mut topics = topics();
        let messages = topics.get_or_insert_default().entry(topic.to_owned()).or_default();
        messages.push(text.lines().collect::<Vec<_>>().join(" "));
        messages.len()
    };
    if fault("refuses-a-message") && id == TENTH {
        return status(socket, "500 Internal Server Error", "oh\n");
    }
    let id = if fault("gives-another-id") && id == TENTH { 0 } else { id };
    status(socket, "201 Created", &format!("{{\"id\":\"{id}\"}}"))
}

fn topics() -> MutexGuard<'static, Option<HashMap<String, Vec<String>>>> {
    TOPICS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn messages(topic: &str) -> Vec<String> {
    topics().as_ref().and_then(|it| it.get(topic).cloned()).unwrap_or_default()
}

/// An open stream.
struct Stream<'s> {
    socket: &'s TcpStream,
    /// The fault of one stream is its own.
    is_third: bool,
    /// An event that comes after the next one.
    held: Option<String>,
}

/// Opens a stream, lets `body` write its events, and ends it.
fn stream(
    mut socket: &TcpStream,
    body: &mut dyn FnMut(&mut Stream<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let is_third = STREAMS.fetch_add(1, SeqCst) == 2;
    if fault("refuses-streams") && OPEN.load(SeqCst) >= TENTH {
        return status(socket, "503 Service Unavailable", "");
    }
    OPEN.fetch_add(1, SeqCst);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    let mut stream = Stream { socket, is_third, held: None };
    let ended = socket.write_all(head.as_bytes()).and_then(|()| body(&mut stream));
    let ended = ended.and_then(|()| stream.end());
    OPEN.fetch_sub(1, SeqCst);
    // The connection closes behind a stream: the client has no further request.
    ended.and(Err(ErrorKind::ConnectionAborted.into()))
}

impl Stream<'_> {
    /// A tick at each interval, with the numbers from 1 for ids.
    fn ticks(&mut self, interval: Duration, pad: &str) -> io::Result<()> {
        let mut due = Instant::now();
        for number in 1_usize.. {
            self.event(number, &format!("{{\"n\":{number},\"pad\":\"{pad}\"}}"))?;
            due += interval;
            if fault("sends-one-event") {
                due += Duration::from_secs(3600);
            }
            while !STOPPING.load(SeqCst) && due > Instant::now() {
                thread::sleep(due.saturating_duration_since(Instant::now()).min(LOOK));
                self.client_is_there()?;
            }
            if self.is_third && number == TENTH - 1 && fault("ends-a-stream") {
                return Ok(());
            }
            if self.is_third && number == TENTH - 1 && fault("cuts-a-stream") {
                return Err(ErrorKind::ConnectionAborted.into());
            }
            if fault("cuts-the-stalled") && number == TENTH {
                return Err(ErrorKind::ConnectionAborted.into());
            }
            if STOPPING.load(SeqCst) {
                break;
            }
        }
        Ok(())
    }

    /// The messages of a topic behind the first `from`, as they come.
    fn topic(&mut self, topic: &str, mut from: usize) -> io::Result<()> {
        while !STOPPING.load(SeqCst) {
            let new: Vec<_> = messages(topic).into_iter().skip(from).collect();
            for message in new {
                from += 1;
                self.event(from, &message)?;
            }
            thread::sleep(LOOK);
            self.client_is_there()?;
        }
        Ok(())
    }

    /// An event, or what a fault makes of it.
    fn event(&mut self, number: usize, data: &str) -> io::Result<()> {
        let text = format!("id: {number}\ndata: {data}\n\n");
        if number == TENTH {
            let of_one = |name: &str| self.is_third && fault(name);
            if of_one("loses-an-event") || fault("loses-an-event-for-all") {
                return Ok(());
            }
            if of_one("swaps-events") {
                self.held = Some(text);
                return Ok(());
            }
            if of_one("doubles-an-event") || fault("doubles-an-event-for-all") {
                self.chunk(&text)?;
            }
        }
        self.chunk(&text)?;
        match self.held.take() {
            Some(held) => self.chunk(&held),
            None => Ok(()),
        }
    }

    /// A retry line and the last chunk.
    fn end(&mut self) -> io::Result<()> {
        if self.is_third && fault("cuts-a-chunk") {
            return (&*self.socket).write_all(b"f\r\nretry: 20");
        }
        if self.is_third && fault("doubles-the-last-event") {
            self.chunk("id: 1\ndata: again\n\n")?;
        }
        if !fault("says-no-retry") {
            self.chunk("retry: 2000\n\n")?;
        }
        (&*self.socket).write_all(b"0\r\n\r\n")
    }

    fn chunk(&self, text: &str) -> io::Result<()> {
        (&*self.socket).write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes())
    }

    /// An error if it has closed its side, or the connection is broken.
    fn client_is_there(&self) -> io::Result<()> {
        self.socket.set_nonblocking(true)?;
        let peeked = self.socket.peek(&mut [0]);
        self.socket.set_nonblocking(false)?;
        match peeked {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }
}
