//! The event stream parser: bytes in, events out, no I/O.
//!
//! It implements [“Interpreting an event stream”][html] of the HTML standard: any cut of the input
//! gives the same items, malformed UTF-8 is replaced and never an error, and a line end counts as
//! soon as its first byte is there.
//!
//! How it stays fast, and its memory bounded:
//!
//! - Every byte is looked at twice at most: by the search for line ends, behind the name of the
//!   field, and by the UTF-8 decoder, which sees values only, and only those that the search has not
//!   found to be ASCII already. A line that comes in pieces is searched piece by piece, and its name
//!   read when it is whole. (Two exceptions look a third time, and stay linear: a value with
//!   malformed UTF-8, and bytes that would be a name.)
//! - An event is handed out as slices of the bytes given. Only what outlives them is copied: data of
//!   several lines, and a block that comes in pieces, into buffers that are used again.
//! - It keeps one line and one block, and [`Limits`] bounds both. An endless block of comments
//!   takes no memory.
//!
//! [html]: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation

mod interpret;
mod text;

use std::time::Duration;

use self::interpret::Interpreter;

/// An incremental parser of one event stream.
///
/// ```
/// use client::{Item, Parser};
///
/// let mut parser = Parser::new();
/// let mut first: &[u8] = b"id: 7\ndata: hel";
/// assert!(parser.parse(&mut first)?.is_none());
/// let mut second: &[u8] = b"lo\n\n";
/// let Some(Item::Event(event)) = parser.parse(&mut second)? else { panic!("an event") };
/// assert_eq!((event.event, event.data, event.last_event_id), ("message", "hello", "7"));
/// # Ok::<(), client::ParseError>(())
/// ```
#[derive(Debug, Default)]
pub struct Parser {
    interpreter: Interpreter,
    /// Bytes that were pushed, of which `read` are read.
    buffer: Vec<u8>,
    read: usize,
}

/// A piece of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// An event was dispatched.
    Event(Event<'a>),
    /// A comment, without its colon and one space behind it. Servers send them as keep-alives.
    Comment(&'a str),
    /// The server set the reconnection time.
    Retry(Duration),
}

/// An event, borrowed from the bytes it came in or from the parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The type; `message` if the stream names none.
    pub event: &'a str,
    /// The data lines, joined by LF.
    pub data: &'a str,
    /// The last event id, whether this event or an earlier one set it; may be empty.
    pub last_event_id: &'a str,
}

/// How much the parser holds before it gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The data of one event, and the value of any one line, in bytes as they arrive.
    ///
    /// Text from malformed bytes can be three times as long: U+FFFD takes three.
    ///
    /// The default is 16 MiB: above the largest events seen in practice (images and models as
    /// base64, a few MiB), and little enough that a hostile server cannot exhaust a small machine.
    pub max_event_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_event_bytes: 16 << 20 }
    }
}

/// The stream went past a limit. The parser stays in this state until [`Parser::reset`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// [`Limits::max_event_bytes`] was exceeded.
    #[error("an event is larger than max_event_bytes ({max_event_bytes})")]
    EventTooLarge {
        /// The limit in force.
        max_event_bytes: usize,
    },
}

impl Parser {
    /// A parser with the default [`Limits`].
    pub fn new() -> Self {
        Self::default()
    }

    /// A parser with limits of your choice.
    pub fn with_limits(limits: Limits) -> Self {
        let mut parser = Self::default();
        parser.interpreter.limits = limits;
        parser
    }

    /// The same parser, but comments make no [`Item`].
    #[must_use]
    pub fn skip_comments(mut self) -> Self {
        self.interpreter.skip_comments = true;
        self
    }

    /// The next item, or `None` when all bytes are read and more are needed.
    ///
    /// It takes the bytes that it has read off the front of `bytes`; any cut will do. Bytes given
    /// to [`push`](Self::push) come first; drain them with [`next_item`](Self::next_item) before.
    ///
    /// # Errors
    ///
    /// [`ParseError`] when the stream exceeds a limit; from then on always, until a reset.
    #[inline]
    pub fn parse<'p, 'i: 'p>(
        &'p mut self,
        bytes: &mut &'i [u8],
    ) -> Result<Option<Item<'p>>, ParseError> {
        self.interpreter.next(bytes)
    }

    /// Appends received bytes, for [`next_item`](Self::next_item).
    ///
    /// It copies, for callers that cannot keep the bytes while they take items out. Take all out
    /// before the next push: the limits are checked there.
    pub fn push(&mut self, bytes: &[u8]) {
        // Only when the part that moves is the smaller one: so each byte moves less than once.
        if self.read >= self.buffer.len() - self.read {
            self.buffer.drain(..self.read);
            self.read = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next item of the pushed bytes, or `None` when more bytes are needed.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    pub fn next_item(&mut self) -> Result<Option<Item<'_>>, ParseError> {
        let mut rest = &self.buffer[self.read..];
        let item = self.interpreter.next(&mut rest);
        self.read = self.buffer.len() - rest.len();
        item
    }

    /// The id to resume from, in `Last-Event-ID`; empty if there is none.
    ///
    /// An id counts from the blank line that ends its block, even if that block has no data.
    pub fn last_event_id(&self) -> &str {
        &self.interpreter.last_event_id
    }

    /// The last valid `retry` seen, on any connection.
    pub fn retry(&self) -> Option<Duration> {
        self.interpreter.retry
    }

    /// Starts a new connection.
    ///
    /// An incomplete block is discarded, its id with it, and so are pushed bytes that were not
    /// read. The last event id stays, as it does in browsers, and so does `retry`. A byte order
    /// mark may come again.
    pub fn reset(&mut self) {
        self.interpreter.reset();
        self.buffer.clear();
        self.read = 0;
    }

    /// Sets the id to resume from, as if an earlier connection had received it.
    pub fn set_last_event_id(&mut self, id: &str) {
        self.interpreter.last_event_id.clear();
        self.interpreter.last_event_id.push_str(id);
    }
}

#[cfg(test)]
mod tests;
