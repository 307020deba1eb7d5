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
//! It also lies on request: with a `--fault-…` it drops, doubles, swaps or delays a known number of
//! events, and a harness that does not find exactly these is not to be believed.

mod http;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream as StdUnixStream;

use anyhow::{Context, Result};
use mio::net::{TcpListener, TcpStream, UnixStream};
use mio::{Events, Interest, Poll, Token};
use signal_hook::consts::{SIGINT, SIGTERM};
use socket2::{Domain, Protocol, Socket, Type};

use self::http::{Gone, REQUEST_MAX_BYTES, Request, chunk};
use crate::timer::{MILLISECOND_NS, Timer, unix_ns};

/// Connections that may wait to be accepted, as in the servers that it is compared with.
const BACKLOG: i32 = 4096;

/// Bytes kept for a reader that is behind; one further behind is closed. No measured reader is.
const PENDING_MAX_BYTES: usize = 1 << 20;

const LISTENER: Token = Token(usize::MAX);
const TIMER: Token = Token(usize::MAX - 1);
const SIGNAL: Token = Token(usize::MAX - 2);

const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
    Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n\r\n";

/// What `sse-bench floor` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port to listen on; 0 = any free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Wake up for each tick to the microsecond, not on whole milliseconds
    #[arg(long)]
    exact_timers: bool,
    #[command(flatten)]
    faults: Faults,
}

/// Known faults, for the harness's check of itself. 0 = none.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct Faults {
    /// Never send the events whose number is a multiple of this
    #[arg(long = "fault-drop-each", default_value_t = 0)]
    pub drop_each: u64,
    /// Send twice the events whose number is a multiple of this
    #[arg(long = "fault-duplicate-each", default_value_t = 0)]
    pub duplicate_each: u64,
    /// Send after their successor the events whose number is a multiple of this
    #[arg(long = "fault-swap-each", default_value_t = 0)]
    pub swap_each: u64,
    /// Send every event this much later, microseconds
    #[arg(long = "fault-delay-us", default_value_t = 0)]
    pub delay_us: u64,
}

impl Faults {
    /// Appends to `out` what is to be sent now that event `n` is due.
    fn apply(self, n: u64, frame: &[u8], held: &mut Vec<u8>, out: &mut Vec<u8>) {
        let hits = |each: u64| each != 0 && n.is_multiple_of(each);
        if hits(self.drop_each) {
            return;
        }
        if hits(self.swap_each) {
            held.extend_from_slice(frame);
            return;
        }
        out.extend_from_slice(frame);
        if hits(self.duplicate_each) {
            out.extend_from_slice(frame);
        }
        out.append(held);
    }

    fn delay_ns(self) -> u64 {
        self.delay_us * 1000
    }
}

/// Serves until SIGTERM or Ctrl-C.
///
/// # Errors
/// When it cannot listen, or epoll fails.
pub fn serve(args: &Args) -> Result<()> {
    crate::fleet::raise_fd_limit()?;
    let addr = SocketAddr::from((args.host, args.port));
    let mut floor = Floor::listen(addr, args.exact_timers, args.faults)
        .with_context(|| format!("cannot listen on {addr}"))?;
    println!("listening on http://{}", floor.listener.local_addr()?);
    floor.run()?;
    Ok(())
}

struct Floor {
    poll: Poll,
    listener: TcpListener,
    timer: Timer,
    signal: UnixStream,
    exact_timers: bool,
    faults: Faults,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    due: BinaryHeap<Reverse<(u64, Due)>>,
    topics: HashMap<String, Topic>,
    accepted: u64,
    sent: u64,
    out: Vec<u8>,
}

struct Connection {
    // Slots are used again; this tells an old due time from a new connection.
    generation: u64,
    stream: TcpStream,
    input: Vec<u8>,
    pending: Vec<u8>,
    ticks: Option<Ticks>,
    topic: Option<String>,
}

struct Ticks {
    n: u64,
    start_ns: u64,
    interval_ns: u64,
    count: u64,
    stamp: bool,
    held: Vec<u8>,
}

#[derive(Default)]
struct Topic {
    subscribers: Vec<usize>,
    published: u64,
    held: Vec<u8>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Tick { slot: usize, generation: u64 },
    Publish { topic: String, frame: Vec<u8>, n: u64 },
}

impl Floor {
    fn listen(addr: SocketAddr, exact_timers: bool, faults: Faults) -> io::Result<Floor> {
        let poll = Poll::new()?;
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(socket.into());
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let (signalled, writer) = StdUnixStream::pair()?;
        for number in [SIGTERM, SIGINT] {
            signal_hook::low_level::pipe::register(number, writer.try_clone()?)?;
        }
        signalled.set_nonblocking(true)?;
        let mut signal = UnixStream::from_std(signalled);
        poll.registry().register(&mut signal, SIGNAL, Interest::READABLE)?;
        Ok(Floor {
            timer: Timer::new(poll.registry(), TIMER)?,
            poll,
            listener,
            signal,
            exact_timers,
            faults,
            connections: Vec::new(),
            free: Vec::new(),
            due: BinaryHeap::new(),
            topics: HashMap::new(),
            accepted: 0,
            sent: 0,
            out: Vec::new(),
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut tokens = Vec::with_capacity(1024);
        loop {
            self.timer.set(self.due.peek().map(|Reverse((due_ns, _))| *due_ns))?;
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            tokens.clear();
            tokens.extend(events.iter().map(|event| event.token()));
            for token in &tokens {
                match *token {
                    LISTENER => self.accept()?,
                    TIMER => {}
                    SIGNAL if self.signal.read(&mut [0; 16]).is_ok() => return self.end(),
                    SIGNAL => {}
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
        connection.flush()?;
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
            ("GET", "/metrics") => {
                let open = self
                    .connections
                    .iter()
                    .flatten()
                    .filter(|it| it.ticks.is_some() || it.topic.is_some())
                    .count();
                let text =
                    format!("sse_open_streams {open}\nsse_events_sent_total {}\n", self.sent);
                self.write_plain(slot, "200 OK", &text)
            }
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
        let (Some(interval_ms @ 1..), Some(count), Some(stamp)) =
            (number("interval_ms", 1000), number("count", u64::MAX), number("stamp", 0))
        else {
            return self.write_plain(
                slot,
                "400 Bad Request",
                "the floor ticks each 1 ms or more\n",
            );
        };
        let start_ns = unix_ns();
        let Some(connection) = &mut self.connections[slot] else { return Ok(()) };
        connection.ticks = Some(Ticks {
            n: 1,
            start_ns,
            interval_ns: interval_ms * MILLISECOND_NS,
            count,
            stamp: stamp == 1,
            held: Vec::new(),
        });
        let tick = Due::Tick { slot, generation: connection.generation };
        self.due.push(Reverse((start_ns + self.faults.delay_ns(), tick)));
        connection.write(STREAM_HEAD)
    }

    fn subscribe(&mut self, slot: usize, topic: &str) -> Result<(), Gone> {
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
        let frame = chunk(&event);
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
        self.out.clear();
        self.faults.apply(n, frame, &mut state.held, &mut self.out);
        if self.out.is_empty() {
            return;
        }
        let mut gone = Vec::new();
        for slot in &state.subscribers {
            let Some(connection) = &mut self.connections[*slot] else { continue };
            self.sent += 1;
            if connection.write(&self.out).is_err() {
                gone.push(*slot);
            }
        }
        for slot in gone {
            self.close(slot);
        }
    }

    fn emit_due(&mut self) {
        while let Some(Reverse((due_ns, _))) = self.due.peek() {
            if *due_ns > unix_ns() {
                return;
            }
            let Some(Reverse((_, due))) = self.due.pop() else { return };
            match due {
                Due::Publish { topic, frame, n } => self.fan_out(&topic, n, &frame),
                Due::Tick { slot, generation } => {
                    if self.tick(slot, generation).is_err() {
                        self.close(slot);
                    }
                }
            }
        }
    }

    fn tick(&mut self, slot: usize, generation: u64) -> Result<(), Gone> {
        let Some(connection) = &mut self.connections[slot] else { return Ok(()) };
        let Some(ticks) = &mut connection.ticks else { return Ok(()) };
        if connection.generation != generation {
            return Ok(());
        }
        let n = ticks.n;
        let scheduled_ns = ticks.start_ns + (n - 1) * ticks.interval_ns;
        let event = if ticks.stamp {
            format!(
                "id: {n}\ndata: {{\"n\":{n},\"scheduled_ns\":{scheduled_ns},\"emitted_ns\":{},\
                 \"pad\":\"\"}}\n\n",
                unix_ns()
            )
        } else {
            format!("id: {n}\ndata: Hello! This is event {n}\n\n")
        };
        self.out.clear();
        self.faults.apply(n, &chunk(event.as_bytes()), &mut ticks.held, &mut self.out);
        ticks.n += 1;
        if ticks.n > ticks.count {
            connection.ticks = None;
            self.out.extend_from_slice(b"0\r\n\r\n");
        } else {
            let mut due_ns = scheduled_ns + ticks.interval_ns + self.faults.delay_ns();
            if !self.exact_timers {
                due_ns = due_ns.next_multiple_of(MILLISECOND_NS);
            }
            self.due.push(Reverse((due_ns, Due::Tick { slot, generation })));
        }
        self.sent += 1;
        if self.out.is_empty() { Ok(()) } else { connection.write(&self.out) }
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
        for connection in self.connections.iter_mut().flatten() {
            if connection.ticks.is_some() || connection.topic.is_some() {
                // A peer that is gone needs no end.
                let _ = connection.write(b"0\r\n\r\n");
            }
        }
        Ok(())
    }
}

impl Connection {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        let mut written = 0;
        if self.pending.is_empty() {
            written = self.write_some(bytes)?;
        }
        self.pending.extend_from_slice(&bytes[written..]);
        if self.pending.len() > PENDING_MAX_BYTES { Err(Gone) } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Gone> {
        while !self.pending.is_empty() {
            let pending = std::mem::take(&mut self.pending);
            let written = self.write_some(&pending);
            self.pending = pending;
            match written? {
                0 => break,
                written => self.pending.drain(..written),
            };
        }
        Ok(())
    }

    fn write_some(&mut self, bytes: &[u8]) -> Result<usize, Gone> {
        loop {
            match self.stream.write(bytes) {
                Ok(written) => return Ok(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Gone),
            }
        }
    }
}
