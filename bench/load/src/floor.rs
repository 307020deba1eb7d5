//! The physical floor: the least that a server on this host can cost.
//!
//! One thread, one epoll, frames rendered once, one write for each subscriber. It serves just what
//! the workloads ask for and is measured like any other server, so that every latency and cost can
//! be read as a multiple of what the kernel alone takes. It is no seventh server: it has no limits,
//! no resume and no keep-alive.
//!
//! Its ticks wake it on whole milliseconds, as the timers of the servers do: waking up for each
//! event alone would make it faster by half a millisecond and cost twice the CPU, and a floor must
//! lie below in both.
//!
//! With `--coalesce-ms` it is another floor: a message waits for those that come soon after it, and all
//! that is ready for a stream is one write. That is the least CPU for a latency that someone allows; at
//! rates at which nothing comes soon it is only later. A tick is alone on its stream, so it waits for
//! nothing.
//!
//! It also lies on request: with a `--fault-…` it drops, doubles, swaps or delays a known number of
//! events, is silent, cuts and refuses, and a harness that does not find exactly these cannot be trusted.

mod connection;
mod fault;
mod http;
mod local;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;

use anyhow::{Context, Result};
use mio::net::{TcpListener, UnixStream};
use mio::{Events, Interest, Poll, Token};
use signal_hook::consts::{SIGINT, SIGTERM};
use socket2::{Domain, Protocol, Socket, Type};

use self::connection::{Connection, Digits, Ticks};
pub use self::fault::Faults;
use self::http::{Gone, REQUEST_MAX_BYTES, Request, chunk};
pub use self::local::Local;
use crate::timer::{MILLISECOND_NS, Timer, unix_ns};

/// Connections that may wait to be accepted, as in the servers that it is compared with.
const BACKLOG: i32 = 4096;

/// Bytes that an unpaced stream sends before it is another one's turn.
const BURST_BYTES: usize = 64 * 1024;

const LISTENER: Token = Token(usize::MAX);
const TIMER: Token = Token(usize::MAX - 1);
const STOP: Token = Token(usize::MAX - 2);

const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
    Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Arguments of `sse-bench floor`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port to listen on; 0 = any free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    #[command(flatten)]
    kind: Kind,
}

/// The kind of a floor.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
struct Kind {
    /// Wake up for each tick to the microsecond, not on whole milliseconds
    #[arg(long)]
    exact_timers: bool,
    /// Let a message wait so long, milliseconds, and write it together with those that came meanwhile
    #[arg(long, default_value_t = 0, value_name = "MS", value_parser = clap::value_parser!(u64).range(..=60_000))]
    coalesce_ms: u64,
    #[command(flatten)]
    faults: Faults,
}

/// Serves until SIGTERM or Ctrl-C.
///
/// # Errors
/// When it cannot listen, or epoll fails.
pub fn serve(args: &Args) -> Result<()> {
    fleet::raise_fd_limit()?;
    let addr = SocketAddr::from((args.host, args.port));
    let (stop, stopped) = StdUnixStream::pair()?;
    for number in [SIGTERM, SIGINT] {
        signal_hook::low_level::pipe::register(number, stop.try_clone()?)?;
    }
    let mut floor = Floor::listen(addr, args.kind, stopped)
        .with_context(|| format!("cannot listen on {addr}"))?;
    println!("listening on http://{}", floor.listener.local_addr()?);
    floor.run()?;
    Ok(())
}

struct Floor {
    poll: Poll,
    listener: TcpListener,
    timer: Timer,
    /// A byte on it ends the floor.
    stopped: UnixStream,
    exact_timers: bool,
    /// How long a message waits for others.
    coalesce_ns: u64,
    faults: Faults,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    due: BinaryHeap<Reverse<(u64, Due)>>,
    topics: HashMap<String, Topic>,
    /// Whether it has stalled: it does so once.
    stalled: bool,
    accepted: u64,
    /// Requests for ticks.
    streams: u64,
    /// One tick, the ticks of one write, and that write: memory that is used again.
    event: Vec<u8>,
    events: Vec<u8>,
    out: Vec<u8>,
}

#[derive(Default)]
struct Topic {
    subscribers: Vec<usize>,
    published: u64,
    held: Vec<u8>,
    /// Frames for the next write to each subscriber.
    ready: Vec<u8>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Head { slot: usize, generation: u64 },
    Tick { slot: usize, generation: u64 },
    Publish { topic: String, frame: Vec<u8>, n: u64 },
    Write { topic: String },
}

impl Floor {
    fn listen(addr: SocketAddr, kind: Kind, stopped: StdUnixStream) -> io::Result<Floor> {
        let poll = Poll::new()?;
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(socket.into());
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        stopped.set_nonblocking(true)?;
        let mut stopped = UnixStream::from_std(stopped);
        poll.registry().register(&mut stopped, STOP, Interest::READABLE)?;
        Ok(Floor {
            timer: Timer::new(poll.registry(), TIMER)?,
            poll,
            listener,
            stopped,
            exact_timers: kind.exact_timers,
            coalesce_ns: kind.coalesce_ms * MILLISECOND_NS,
            faults: kind.faults,
            connections: Vec::new(),
            free: Vec::new(),
            due: BinaryHeap::new(),
            topics: HashMap::new(),
            stalled: false,
            accepted: 0,
            streams: 0,
            event: Vec::new(),
            events: Vec::new(),
            out: Vec::new(),
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut tokens = Vec::with_capacity(1024);
        let longest_sleep = self.faults.stays_awake().then_some(Duration::ZERO);
        loop {
            self.timer.set(self.due.peek().map(|Reverse((due_ns, _))| *due_ns))?;
            match self.poll.poll(&mut events, longest_sleep) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            tokens.clear();
            tokens.extend(events.iter().map(|event| event.token()));
            for token in &tokens {
                match *token {
                    LISTENER => self.accept()?,
                    TIMER => {}
                    STOP if self.stopped.read(&mut [0; 16]).is_ok() => return self.end(),
                    STOP => {}
                    Token(slot) => {
                        if self.advance(slot).is_err() {
                            self.close(slot);
                        }
                    }
                }
            }
            self.emit_due();
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // The peer is gone again, or descriptors ran out: it cannot be served.
                Err(_) => return Ok(()),
            };
            let _ = stream.set_nodelay(true);
            let slot = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(slot), interest)?;
            self.accepted += 1;
            self.connections[slot] = Some(Connection {
                generation: self.accepted,
                stream,
                input: Vec::new(),
                pending: Vec::new(),
                ticks: None,
                topic: None,
            });
        }
    }

    /// Reads and writes what is possible, and answers whole requests.
    fn advance(&mut self, slot: usize) -> Result<(), Gone> {
        let Some(connection) = &mut self.connections[slot] else { return Ok(()) };
        if connection.flush()? && connection.is_poured() {
            self.pour(slot)?;
        }
        let Some(connection) = &mut self.connections[slot] else { return Ok(()) };
        let mut buffer = [0; 16 * 1024];
        loop {
            match connection.stream.read(&mut buffer) {
                Ok(0) => return Err(Gone),
                Ok(read) => connection.input.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Gone),
            }
            if connection.input.len() > REQUEST_MAX_BYTES {
                return Err(Gone);
            }
        }
        while let Some(connection) = &mut self.connections[slot] {
            let Some(request) = Request::take(&mut connection.input)? else { break };
            self.answer(slot, &request)?;
        }
        Ok(())
    }

    fn answer(&mut self, slot: usize, request: &Request) -> Result<(), Gone> {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        match (request.method.as_str(), path) {
            ("GET", "/healthz") => self.write_plain(slot, "200 OK", "ok\n"),
            ("GET", "/ticks") => self.start_ticks(slot, query),
            (method, path) => match (method, path.strip_prefix("/messages/")) {
                ("GET", Some(topic)) => self.subscribe(slot, topic),
                ("POST", Some(topic)) => self.publish(slot, topic, &request.body),
                _ => self.write_plain(slot, "404 Not Found", "not here; this is the floor\n"),
            },
        }
    }

    fn start_ticks(&mut self, slot: usize, query: &str) -> Result<(), Gone> {
        let number = |name: &str, default: u64| {
            let value =
                query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            value.map_or(Some(default), |value| value.parse().ok())
        };
        let (Some(interval_ms), Some(count), Some(stamp), Some(align)) = (
            number("interval_ms", 1000),
            number("count", u64::MAX),
            number("stamp", 0),
            number("align", 0),
        ) else {
            return self.write_plain(slot, "400 Bad Request", "not a number\n");
        };
        self.streams += 1;
        if self.faults.refuses(self.streams) {
            return self.write_plain(slot, "503 Service Unavailable", "the floor\nrefuses\n");
        }
        let head_ns = unix_ns() + self.faults.head_ns();
        let mut start_ns = head_ns + self.faults.first_ns();
        if align == 1 && interval_ms > 0 {
            start_ns = start_ns.next_multiple_of(interval_ms * MILLISECOND_NS);
        }
        let Some(connection) = &mut self.connections[slot] else { return Ok(()) };
        connection.ticks = Some(Ticks {
            n: 1,
            start_ns,
            interval_ns: interval_ms * MILLISECOND_NS,
            count,
            stamp: stamp == 1,
            is_cut: self.faults.cuts(self.streams),
            digits: Digits::one(),
            held: Vec::new(),
        });
        let generation = connection.generation;
        let tick = Due::Tick { slot, generation };
        self.due.push(Reverse((start_ns + self.faults.delay_ns(), tick)));
        if self.faults.head_ns() > 0 {
            self.due.push(Reverse((head_ns, Due::Head { slot, generation })));
            return Ok(());
        }
        connection.write(STREAM_HEAD)
    }

    fn subscribe(&mut self, slot: usize, topic: &str) -> Result<(), Gone> {
        // Messages of before are not for this one.
        self.write_ready(topic);
        self.topics.entry(topic.to_owned()).or_default().subscribers.push(slot);
        let Some(connection) = &mut self.connections[slot] else { return Ok(()) };
        connection.topic = Some(topic.to_owned());
        connection.write(STREAM_HEAD)
    }

    fn publish(&mut self, slot: usize, topic: &str, body: &[u8]) -> Result<(), Gone> {
        let state = self.topics.entry(topic.to_owned()).or_default();
        state.published += 1;
        let n = state.published;
        let mut event = format!("id: 00000000-{n}\nevent: message\n").into_bytes();
        for line in body.split(|byte| *byte == b'\n') {
            event.extend_from_slice(b"data: ");
            event.extend_from_slice(line);
            event.push(b'\n');
        }
        event.push(b'\n');
        let mut frame = Vec::new();
        chunk(&event, &mut frame);
        match self.faults.delay_ns() {
            0 => self.fan_out(topic, n, &frame),
            delay_ns => self.due.push(Reverse((
                unix_ns() + delay_ns,
                Due::Publish { topic: topic.to_owned(), frame, n },
            ))),
        }
        let body = format!("{{\"id\":\"00000000-{n}\"}}");
        let head = "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length";
        let answer = format!("{head}: {}\r\n\r\n{body}", body.len());
        self.connections[slot].as_mut().map_or(Ok(()), |it| it.write(answer.as_bytes()))
    }

    fn fan_out(&mut self, topic: &str, n: u64, frame: &[u8]) {
        let Some(state) = self.topics.get_mut(topic) else { return };
        let is_first = state.ready.is_empty();
        self.faults.spin(n);
        self.faults.apply(n, frame, &mut state.held, &mut state.ready);
        if self.coalesce_ns == 0 || state.ready.len() >= BURST_BYTES {
            self.write_ready(topic);
        } else if is_first {
            let write = Due::Write { topic: topic.to_owned() };
            self.due.push(Reverse((unix_ns() + self.coalesce_ns, write)));
        }
    }

    /// Writes to each subscriber what is ready for it.
    fn write_ready(&mut self, topic: &str) {
        let Some(state) = self.topics.get_mut(topic) else { return };
        if state.ready.is_empty() {
            return;
        }
        let mut gone = Vec::new();
        for slot in &state.subscribers {
            let Some(connection) = &mut self.connections[*slot] else { continue };
            if connection.write(&state.ready).is_err() {
                gone.push(*slot);
            }
        }
        state.ready.clear();
        for slot in gone {
            self.close(slot);
        }
    }

    fn emit_due(&mut self) {
        // Fixed: unpaced streams are due again at once, and others want their turn.
        let now_ns = unix_ns();
        while let Some(Reverse((due_ns, _))) = self.due.peek() {
            if *due_ns > now_ns {
                return;
            }
            let Some(Reverse((_, due))) = self.due.pop() else { return };
            match due {
                Due::Publish { topic, frame, n } => self.fan_out(&topic, n, &frame),
                Due::Write { topic } => self.write_ready(&topic),
                Due::Head { slot, generation } => {
                    if self.head(slot, generation).is_err() {
                        self.close(slot);
                    }
                }
                Due::Tick { slot, generation } => {
                    if self.tick(slot, generation).is_err() {
                        self.close(slot);
                    }
                }
            }
        }
    }

    /// A head that comes late.
    fn head(&mut self, slot: usize, generation: u64) -> Result<(), Gone> {
        let connection = self.connections[slot].as_mut();
        let connection = connection.filter(|it| it.generation == generation);
        connection.map_or(Ok(()), |it| it.write(STREAM_HEAD))
    }

    fn tick(&mut self, slot: usize, generation: u64) -> Result<(), Gone> {
        let Some(connection) = &mut self.connections[slot] else { return Ok(()) };
        let Some(ticks) = &mut connection.ticks else { return Ok(()) };
        if connection.generation != generation {
            return Ok(());
        }
        if ticks.interval_ns == 0 {
            return self.pour(slot);
        }
        let (n, due_ns) = (ticks.n, ticks.due_ns());
        if !self.stalled && self.faults.stalls_at(n) {
            self.stalled = true;
            self.faults.stall();
        }
        self.events.clear();
        ticks.render(self.faults, &mut self.event, &mut self.events);
        self.out.clear();
        chunk(&self.events, &mut self.out);
        if ticks.is_cut && n == 2 {
            self.out.truncate(self.out.len() / 2);
            connection.write(&self.out)?;
            return Err(Gone);
        }
        if ticks.n > ticks.count {
            connection.ticks = None;
            self.out.extend_from_slice(b"0\r\n\r\n");
        } else if let Some(gap_ns) = self.faults.gap_ns(ticks.n) {
            // Behind this one, however late it is.
            self.due.push(Reverse((unix_ns() + gap_ns, Due::Tick { slot, generation })));
        } else {
            let mut due_ns = due_ns + ticks.interval_ns + self.faults.delay_ns();
            if !self.exact_timers {
                due_ns = due_ns.next_multiple_of(MILLISECOND_NS);
            }
            self.due.push(Reverse((due_ns, Due::Tick { slot, generation })));
        }
        if self.out.is_empty() { Ok(()) } else { connection.write(&self.out) }
    }

    /// Sends unpaced ticks until the reader is behind or it is another one's turn.
    fn pour(&mut self, slot: usize) -> Result<(), Gone> {
        let Some(connection) = &mut self.connections[slot] else { return Ok(()) };
        if !connection.pending.is_empty() {
            return Ok(());
        }
        let Some(ticks) = &mut connection.ticks else { return Ok(()) };
        self.events.clear();
        while self.events.len() < BURST_BYTES && ticks.n <= ticks.count {
            ticks.render(self.faults, &mut self.event, &mut self.events);
        }
        self.out.clear();
        chunk(&self.events, &mut self.out);
        if ticks.n > ticks.count {
            connection.ticks = None;
            self.out.extend_from_slice(b"0\r\n\r\n");
        } else {
            let tick = Due::Tick { slot, generation: connection.generation };
            self.due.push(Reverse((unix_ns(), tick)));
        }
        connection.write(&self.out)
    }

    fn write_plain(&mut self, slot: usize, status: &str, body: &str) -> Result<(), Gone> {
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.connections[slot].as_mut().map_or(Ok(()), |it| it.write(answer.as_bytes()))
    }

    fn close(&mut self, slot: usize) {
        let Some(connection) = self.connections[slot].take() else { return };
        if let Some(state) = connection.topic.and_then(|topic| self.topics.get_mut(&topic)) {
            state.subscribers.retain(|it| *it != slot);
        }
        self.free.push(slot);
    }

    /// Ends every stream whole.
    fn end(&mut self) -> io::Result<()> {
        for topic in Vec::from_iter(self.topics.keys().cloned()) {
            self.write_ready(&topic);
        }
        for connection in self.connections.iter_mut().flatten() {
            if connection.is_stream() {
                // A peer that is gone needs no end.
                let _ = connection.write(b"0\r\n\r\n");
            }
        }
        Ok(())
    }
}
