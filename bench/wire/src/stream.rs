//! An event stream on a connection: the body goes through our own parser, the raw bytes are kept.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use client::parser::{Item, Parser};

use super::{BODY_LIMIT, Body, Connection, Error, Head, Request, Result};

/// How many raw bytes of a stream are kept for a look at the grammar.
const RAW_LIMIT: usize = 256 * 1024;
/// How many events one step collects at most.
const EVENTS_LIMIT: usize = 100_000;

/// An event as a client would be handed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The type, `message` by default.
    pub event: String,
    /// The data lines joined by LF.
    pub data: String,
    /// The last event id in force when it was dispatched.
    pub id: String,
}

/// An open stream.
#[derive(Debug)]
pub struct EventStream {
    connection: Connection,
    head: Head,
    body: Body,
    read: Reading,
}

/// The part of a stream that was read: its bytes, and what they mean.
#[derive(Debug, Default)]
pub(super) struct Reading {
    parser: Parser,
    pub(super) ready: VecDeque<Event>,
    comments: usize,
    retries: Vec<Duration>,
    pub(super) raw: Vec<u8>,
    received: u64,
}

/// The bytes and events of a stream during some time.
#[derive(Debug)]
pub struct Window {
    /// The head of the response.
    pub head: Head,
    /// The decoded body bytes, as they arrived, each with its time since the window opened.
    pub pieces: Vec<(Duration, Vec<u8>)>,
    /// How many chunks they came in, if the body is chunked.
    pub chunks: usize,
    /// The events in them.
    pub events: Vec<Event>,
    /// How long the window was open.
    pub length: Duration,
    /// How the stream stood when the window closed.
    pub end: End,
}

/// The state of a stream at the end of a window.
#[derive(Debug)]
pub enum End {
    /// It goes on.
    Open,
    /// It has ended whole.
    Whole,
    /// Its connection ended before it did.
    Cut(Error),
}

impl EventStream {
    /// Sends the request and checks that the answer is an event stream.
    ///
    /// # Errors
    /// [`Error::NotAStream`], or what [`Connection::ask`] says.
    pub fn open(mut connection: Connection, request: &Request) -> Result<EventStream> {
        let (head, body) = connection.ask(request)?;
        if !head.is_event_stream() {
            let content_type = head.value("content-type").unwrap_or_default();
            return Err(Error::NotAStream { status: head.status, content_type });
        }
        Ok(EventStream::new(connection, head, body))
    }

    /// Reads a body as an event stream whatever its head says.
    pub fn new(connection: Connection, head: Head, body: Body) -> EventStream {
        EventStream { connection, head, body, read: Reading::default() }
    }

    /// The head of the response.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The state of the body: its framing, its chunks, whether it is complete.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The first bytes of the stream, decoded from the framing only.
    pub fn raw(&self) -> &[u8] {
        &self.read.raw
    }

    /// How many bytes of the body have arrived, kept or not.
    pub fn received(&self) -> u64 {
        self.read.received
    }

    /// Drops the raw bytes so far: those that come next are kept, however many there were before.
    pub fn forget_raw(&mut self) {
        self.read.raw.clear();
    }

    /// How many comments came so far.
    pub fn comments(&self) -> usize {
        self.read.comments
    }

    /// The valid `retry` values so far.
    pub fn retries(&self) -> &[Duration] {
        &self.read.retries
    }

    /// Sets how long each later step may take.
    pub fn set_patience(&mut self, patience: Duration) {
        self.connection.set_patience(patience);
    }

    /// The next event; `None` when the stream has ended whole.
    ///
    /// # Errors
    /// Those of [`Connection::read_body`], and [`Error::Parse`].
    pub fn next_event(&mut self) -> Result<Option<Event>> {
        let deadline = self.connection.deadline();
        loop {
            if let Some(event) = self.read.ready.pop_front() {
                return Ok(Some(event));
            }
            match self.advance(deadline) {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(None),
                Err(Error::Timeout { patience, .. }) => {
                    return Err(Error::Timeout { awaited: "next event", patience });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The next bytes of the stream as they arrive; `None` when it has ended whole.
    ///
    /// Their events are kept for [`EventStream::next_event`].
    ///
    /// # Errors
    /// As for [`EventStream::next_event`].
    pub fn next_piece(&mut self) -> Result<Option<Vec<u8>>> {
        self.advance(self.connection.deadline())
    }

    /// Whether an event has arrived that was not taken yet.
    pub fn has_event(&self) -> bool {
        !self.read.ready.is_empty()
    }

    /// The connection, to send on it or to close a side of it while the stream goes on.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Reads on for this long; whether the stream is still open then.
    ///
    /// # Errors
    /// As for [`EventStream::next_event`], but the end of the time is none.
    pub fn watch_on(&mut self, length: Duration) -> Result<bool> {
        self.connection.log().watched(length);
        let deadline = Instant::now() + length;
        loop {
            match self.advance(deadline) {
                Ok(Some(_)) => self.read.ready.clear(),
                Ok(None) => return Ok(false),
                Err(Error::Timeout { .. }) => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }

    /// As many events as asked for.
    ///
    /// # Errors
    /// As for [`EventStream::next_event`], and [`Error::Closed`] if the stream ends before.
    pub fn take(&mut self, count: usize) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        while events.len() < count.min(EVENTS_LIMIT) {
            match self.next_event()? {
                Some(event) => events.push(event),
                None => return Err(Error::Closed { awaited: "the next event" }),
            }
        }
        Ok(events)
    }

    /// All events up to the end of the stream, which must come within one patience.
    ///
    /// # Errors
    /// As for [`EventStream::next_event`]; the stream must end whole.
    pub fn read_to_end(&mut self) -> Result<Vec<Event>> {
        let deadline = self.connection.deadline();
        let mut read = 0;
        while let Some(piece) = self.advance(deadline)? {
            read += piece.len();
            if read > BODY_LIMIT || self.read.ready.len() > EVENTS_LIMIT {
                return Err(Error::TooLong { what: "the stream", limit: BODY_LIMIT });
            }
        }
        Ok(self.read.ready.drain(..).collect())
    }

    /// All that arrives while the window is open, or until the stream ends.
    ///
    /// # Errors
    /// As for [`EventStream::next_event`], but the end of the time is none, and neither is the end of
    /// the connection: see [`Window::end`].
    pub fn watch(mut self, length: Duration) -> Result<Window> {
        self.connection.log().watched(length);
        let start = Instant::now();
        let mut pieces = Vec::new();
        let mut read = 0;
        let end = loop {
            match self.advance(start + length) {
                Ok(Some(piece)) => {
                    read += piece.len();
                    pieces.push((start.elapsed(), piece));
                    if read > RAW_LIMIT {
                        break End::Open;
                    }
                }
                Ok(None) => break End::Whole,
                Err(Error::Timeout { .. }) => break End::Open,
                Err(error) if error.is_end() => break End::Cut(error),
                Err(error) => return Err(error),
            }
        };
        let events = self.read.ready.drain(..).collect();
        let chunks = self.body.chunk_sizes().len();
        Ok(Window { head: self.head, pieces, chunks, events, length: start.elapsed(), end })
    }

    /// Gives the connection back, for a further request on it.
    pub fn into_connection(self) -> Connection {
        self.connection
    }

    /// Reads once and parses; `None` at the end.
    fn advance(&mut self, deadline: Instant) -> Result<Option<Vec<u8>>> {
        let Some(piece) = self.connection.read_body_until(&mut self.body, deadline)? else {
            return Ok(None);
        };
        self.read.push(&piece)?;
        Ok(Some(piece))
    }
}

impl Reading {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`Error::Parse`].
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<()> {
        self.received += piece.len() as u64;
        let room = RAW_LIMIT - self.raw.len();
        self.raw.extend_from_slice(&piece[..piece.len().min(room)]);
        self.parser.push(piece);
        while let Some(item) = self.parser.next_item()? {
            match item {
                Item::Event(event) => self.ready.push_back(Event {
                    event: event.event.to_owned(),
                    data: event.data.to_owned(),
                    id: event.last_event_id.to_owned(),
                }),
                Item::Comment(_) => self.comments += 1,
                // A hostile server could send retry for ever; no case looks beyond the first few.
                Item::Retry(delay) if self.retries.len() < 64 => self.retries.push(delay),
                Item::Retry(_) => {}
            }
        }
        Ok(())
    }
}

impl Window {
    /// All bytes of the window in one piece.
    pub fn bytes(&self) -> Vec<u8> {
        self.pieces.iter().flat_map(|(_, piece)| piece).copied().collect()
    }
}
