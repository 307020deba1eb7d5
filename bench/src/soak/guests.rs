//! Clients that come and go beside the readers of the topic: visitors of the other streams, readers that do not read,
//! requests that are never whole, and topics that are used once.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde::Serialize;
use wire::{Connection, Dial, Error, EventStream, Log, Request};

use super::PATIENCE;
use crate::attack::kernel_memory;
use crate::chaos::books::Books;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// The pace of those that come now and then.
const PACE: Duration = Duration::from_secs(1);
/// A visitor stays so long at most.
const VISIT_MOST_MS: u64 = 8_000;
/// A reader that does not read, or a request that is not whole, leaves after this time if it is not closed before. Some
/// frameworks close none, as their deviations say.
const LEAVES: Duration = Duration::from_secs(15);
/// The receive buffer of a reader that does not read: its system takes next to nothing.
const RECEIVE_BUFFER: usize = 4096;

/// The guest whose requests a server may answer by closing the connection.
const NONSENSE: &str = "a malformed request";

/// Counts of the guests.
#[derive(Debug, Default)]
pub(super) struct Counts {
    visits: AtomicU64,
    visited_events: AtomicU64,
    stalls: AtomicU64,
    stalls_closed: AtomicU64,
    nonsense: AtomicU64,
    topics: AtomicU64,
}

/// The guests of one server, counted.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Guests {
    /// Streams of `/ticks`, `/time` and `/simulation` that were opened and left.
    pub visits: u64,
    /// Events on these.
    pub visited_events: u64,
    /// Readers that did not read.
    pub stalls: u64,
    /// Those of them that the server has closed.
    pub stalls_closed: u64,
    /// Requests that are malformed, or never whole.
    pub nonsense: u64,
    /// Topics that had one message and were left to expire.
    pub topics: u64,
}

impl Counts {
    pub(super) fn read(&self) -> Guests {
        let get = |it: &AtomicU64| it.load(Relaxed);
        Guests {
            visits: get(&self.visits),
            visited_events: get(&self.visited_events),
            stalls: get(&self.stalls),
            stalls_closed: get(&self.stalls_closed),
            nonsense: get(&self.nonsense),
            topics: get(&self.topics),
        }
    }
}

/// The guests of one server.
pub(super) struct Host<'h> {
    pub(super) server: SocketAddr,
    pub(super) books: &'h Books,
    pub(super) counts: &'h Counts,
}

impl Host<'_> {
    /// One visitor after the other, until the run is over.
    pub(super) fn visits(&self, mut rng: Rng) {
        while !self.books.is_over() {
            if let Err(error) = self.visit(&mut rng) {
                self.complain("a visitor", &error);
                self.pace(PACE);
            }
            self.counts.visits.fetch_add(1, Relaxed);
        }
    }

    fn visit(&self, rng: &mut Rng) -> Result<(), Error> {
        let path = ["/ticks?interval_ms=50", "/time", "/simulation"][rng.usize(..3)];
        let last = self.stay(path, None, rng)?;
        // The counter goes on where it was left.
        if path.starts_with("/ticks") && last.is_some() && rng.bool() {
            self.stay(path, last, rng)?;
        }
        Ok(())
    }

    /// Reads for a while; the last id. Ticks are counted: one that is missing or comes again is odd.
    fn stay(
        &self,
        path: &str,
        from: Option<String>,
        rng: &mut Rng,
    ) -> Result<Option<String>, Error> {
        let connection = self.connect(None)?;
        let request = self.request("GET", path);
        let request = match &from {
            Some(id) => request.header("Last-Event-ID", id),
            None => request,
        };
        let mut stream = EventStream::open(connection, &request)?;
        let leaves = Instant::now() + Duration::from_millis(rng.u64(100..VISIT_MOST_MS));
        let mut last = from;
        while Instant::now() < leaves && !self.books.is_over() {
            stream.set_patience(LOOK);
            let event = match stream.next_event() {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(Error::Timeout { .. }) => continue,
                // The server has had the whole request: no deadline of it explains this.
                Err(error) => {
                    if !self.books.is_over() {
                        self.books.odd(format!("a visitor of {path}: {error}"));
                        self.pace(PACE);
                    }
                    break;
                }
            };
            self.counts.visited_events.fetch_add(1, Relaxed);
            let number = |it: &str| it.parse::<u64>().ok();
            let before = last.as_deref().and_then(number);
            if path.starts_with("/ticks")
                && before.is_some_and(|it| number(&event.id) != Some(it + 1))
            {
                let words = format!("{path}: the id {:?} behind {last:?}", event.id);
                self.books.odd(words);
            }
            last = Some(event.id);
        }
        Ok(last)
    }

    /// A reader that does not read, again and again.
    pub(super) fn stalls(&self) {
        while !self.books.is_over() {
            match self.stall() {
                Ok(true) => {
                    self.counts.stalls_closed.fetch_add(1, Relaxed);
                }
                Ok(false) => {}
                Err(error) => self.complain("a reader that does not read", &error),
            }
            self.counts.stalls.fetch_add(1, Relaxed);
            self.pace(PACE * 5);
        }
    }

    /// Whether the server has closed it.
    fn stall(&self) -> Result<bool, Error> {
        let connection = self.connect(Some(RECEIVE_BUFFER))?;
        let port = connection.socket().local_addr().map(|it| it.port());
        let request = self.request("GET", "/ticks?interval_ms=0&pad=65536");
        let _stalled = EventStream::open(connection, &request)?;
        let leaves = Instant::now() + LEAVES;
        while Instant::now() < leaves && !self.books.is_over() {
            // The pace of the looks, not a wait for something.
            thread::sleep(LOOK * 5);
            let (Ok(port), Ok(open)) = (&port, kernel_memory::of_connections(self.server)) else {
                continue;
            };
            if !open.contains_key(port) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Requests that are malformed or never whole. A body that ends early is not among them: `attack malformed` sends
    /// those, and has the known deviations.
    pub(super) fn nonsense(&self, mut rng: Rng) {
        while !self.books.is_over() {
            if let Err(error) = self.nonsense_once(&mut rng) {
                self.complain(NONSENSE, &error);
            }
            self.counts.nonsense.fetch_add(1, Relaxed);
            self.pace(PACE);
        }
    }

    fn nonsense_once(&self, rng: &mut Rng) -> Result<(), Error> {
        let mut connection = self.connect(None)?;
        let host = self.server;
        match rng.u8(..4) {
            0 => {
                let bytes: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(300).collect();
                connection.send(&bytes)?;
            }
            1 => {
                let head = format!("GET /ticks HTTP/1.1\r\nHost: {host}\r\nX-");
                connection.send(head.as_bytes())?;
            }
            2 => {
                connection.send(b"GET /ticks HTTP/9.9\r\nHost: ?\r\n\r\n")?;
                let _ = connection.read_head();
                return Ok(());
            }
            _ => {
                // Leaves a stream before it has read a byte of it.
                return connection.send(&self.request("GET", "/time").to_bytes());
            }
        }
        // It stays until it is closed, or for a while.
        let leaves = Instant::now() + LEAVES;
        while Instant::now() < leaves && !self.books.is_over() {
            connection.set_patience(LOOK);
            match connection.read_to_close() {
                Err(Error::Timeout { .. }) => {}
                _ => break,
            }
        }
        Ok(())
    }

    /// Topics that have one message each.
    pub(super) fn topics(&self) {
        while !self.books.is_over() {
            let number = self.counts.topics.fetch_add(1, Relaxed);
            match self.topic(number) {
                Ok(201) => {}
                Ok(status) => {
                    let words = format!("a message to a new topic: status {status}");
                    self.books.odd_status(status, words);
                }
                Err(error) => self.complain("a message to a new topic", &error),
            }
            self.pace(PACE);
        }
    }

    fn topic(&self, number: u64) -> Result<u16, Error> {
        let mut connection = self.connect(None)?;
        let request = self
            .request("POST", &format!("/messages/once-{number}"))
            .header("Connection", "close")
            .header("Content-Type", "text/plain; charset=utf-8")
            .body("A message that no reader gets.");
        let (head, mut body) = connection.ask(&request)?;
        connection.read_body_to_end(&mut body)?;
        Ok(head.status)
    }

    fn connect(&self, receive_buffer: Option<usize>) -> Result<Connection, Error> {
        let address = self.server.to_string();
        let dial = Dial { address: &address, tls: None, receive_buffer };
        Connection::dial(dial, PATIENCE, &Log::new())
    }

    fn request(&self, method: &str, target: &str) -> Request {
        Request::new(method, target).header("Host", self.server.to_string())
    }

    /// An error is odd, but an end that the guest has brought about itself.
    fn complain(&self, guest: &str, error: &Error) {
        let is_expected = guest == NONSENSE && error.is_end();
        if !is_expected && !self.books.is_over() {
            self.books.odd_error(error, format!("{guest}: {error}"));
        }
    }

    /// The input of the run, not a wait for something.
    fn pace(&self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until && !self.books.is_over() {
            thread::sleep(LOOK);
        }
    }
}
