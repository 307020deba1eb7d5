//! The event stream parser: bytes in, events out, no I/O.
//!
//! It implements [“Interpreting an event stream”][html] of the HTML standard: any cut of the input
//! gives the same items, malformed UTF-8 is replaced and never an error, and a line end counts as
//! soon as its first byte is there.
//!
//! How it stays fast, and its memory bounded:
//!
//! - Every byte is looked at twice: once by the UTF-8 decoder, once by the search for line ends.
//!   A field name is recognised where the line starts, and the search goes on behind it. (Two
//!   exceptions look a third time, and stay linear: a chunk with malformed UTF-8, and the digits
//!   of `retry`.)
//! - An event is handed out as slices of the buffer. Only data of several lines is copied, into a
//!   string that is reused.
//! - Whatever a block needs is moved out of the buffer before the buffer drops what it has read, so
//!   an endless block of comments takes no memory, and [`Limits`] bounds what is left.
//!
//! [html]: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation

mod decode;
mod text;

use std::time::Duration;

use memchr::{memchr2, memchr3};

use self::decode::Decoder;
use self::text::Text;

/// An incremental parser of one event stream.
///
/// ```
/// use client::{Item, Parser};
///
/// let mut parser = Parser::new();
/// parser.push(b"id: 7\ndata: hel");
/// assert!(parser.next_item()?.is_none());
/// parser.push(b"lo\n\n");
/// let Some(Item::Event(event)) = parser.next_item()? else { panic!("an event") };
/// assert_eq!((event.event, event.data, event.last_event_id), ("message", "hello", "7"));
/// # Ok::<(), client::ParseError>(())
/// ```
#[derive(Debug, Default)]
pub struct Parser {
    limits: Limits,
    decoder: Decoder,
    /// Decoded text. Before `line_start` all is read; the block may still point there.
    buffer: String,
    line_start: usize,
    /// No byte of the current line before this place needs to be looked at again.
    scanned: usize,
    line: Line,
    after_cr: bool,
    after_bom: bool,
    data: Text,
    event: Text,
    id: Text,
    last_event_id: String,
    retry: Option<Duration>,
    failed: Option<ParseError>,
    #[cfg(test)]
    examined: usize,
}

/// What the stream said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// An event was dispatched.
    Event(Event<'a>),
    /// A comment, without its colon and one space behind it. Servers send them as keep-alives.
    Comment(&'a str),
    /// The server set the reconnection time.
    Retry(Duration),
}

/// An event, borrowed from the parser's buffer.
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
    /// The data of one event, and the value of any one line, in bytes after decoding.
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

/// What is known of the line under the cursor.
#[derive(Clone, Copy, Debug, Default)]
enum Line {
    /// Nothing yet.
    #[default]
    Start,
    /// The bytes so far are the beginning of a known name, or all of it.
    Name(Field),
    /// The colon was the last byte seen; one space may follow.
    Colon(Field),
    /// The value starts at this offset.
    Value(Field, usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Data,
    Event,
    Id,
    Retry,
    /// A line that starts with a colon: a field without a name.
    Comment,
    /// Anything that has no effect: unknown names, and an id with NUL in it.
    Ignored,
}

impl Field {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Data => b"data",
            Self::Event => b"event",
            Self::Id => b"id",
            Self::Retry => b"retry",
            Self::Comment | Self::Ignored => b"",
        }
    }
}

/// An item before it is borrowed: offsets instead of slices.
enum Found {
    Event,
    Comment { start: usize, end: usize },
    Retry(Duration),
}

impl Parser {
    /// A parser with the default [`Limits`].
    pub fn new() -> Self {
        Self::default()
    }

    /// A parser with limits of your choice.
    pub fn with_limits(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Appends what has arrived: any cut will do, the empty one too.
    ///
    /// Take all items out with [`next_item`](Self::next_item) before the next push: the limits are
    /// checked there.
    pub fn push(&mut self, bytes: &[u8]) {
        self.drop_read();
        let _examined = self.decoder.decode(bytes, &mut self.buffer);
        #[cfg(test)]
        {
            self.examined += _examined;
        }
    }

    /// The next item, or `None` when more bytes are needed.
    ///
    /// # Errors
    ///
    /// [`ParseError`] when the stream exceeds a limit; from then on always, until a reset.
    pub fn next_item(&mut self) -> Result<Option<Item<'_>>, ParseError> {
        Ok(match self.advance()? {
            None => None,
            Some(Found::Event) => {
                let event = self.event.take(&self.buffer);
                Some(Item::Event(Event {
                    event: if event.is_empty() { "message" } else { event },
                    data: self.data.take(&self.buffer),
                    last_event_id: &self.last_event_id,
                }))
            }
            Some(Found::Comment { start, end }) => Some(Item::Comment(&self.buffer[start..end])),
            Some(Found::Retry(delay)) => Some(Item::Retry(delay)),
        })
    }

    /// The id to resume from, in `Last-Event-ID`; empty if there is none.
    ///
    /// An id counts from the blank line that ends its block, even if that block has no data.
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// The last valid `retry` seen, on any connection.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Starts a new connection.
    ///
    /// An incomplete block is discarded, its id with it. The last event id stays, as it does in
    /// browsers, and so does `retry`. A byte order mark may come again.
    pub fn reset(&mut self) {
        let id = std::mem::take(&mut self.last_event_id);
        let retry = self.retry;
        *self = Self { limits: self.limits, last_event_id: id, retry, ..Self::default() };
    }

    /// Sets the id to resume from, as if an earlier connection had received it.
    pub fn set_last_event_id(&mut self, id: &str) {
        self.last_event_id.clear();
        self.last_event_id.push_str(id);
    }

    /// Reads lines until one of them makes an item.
    #[inline]
    fn advance(&mut self) -> Result<Option<Found>, ParseError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        loop {
            let (field, start) = match self.line {
                Line::Value(field, start) => (field, start),
                Line::Start => {
                    if !self.begin_line() {
                        return Ok(None);
                    }
                    if matches!(self.line, Line::Start) {
                        // A blank line: the standard's “dispatch the event”.
                        if self.dispatch() {
                            return Ok(Some(Found::Event));
                        }
                    }
                    continue;
                }
                Line::Name(field) => {
                    if !self.continue_name(field) {
                        return Ok(None);
                    }
                    continue;
                }
                Line::Colon(field) => {
                    let Some(&byte) = self.buffer.as_bytes().get(self.scanned) else {
                        return Ok(None);
                    };
                    if byte == b' ' {
                        self.scanned += 1;
                        self.count(1);
                    }
                    (field, self.scanned)
                }
            };
            let Some((field, end)) = self.find_line_end(field, start)? else { return Ok(None) };
            if let Some(found) = self.end_line(field, start, end)? {
                return Ok(Some(found));
            }
        }
    }

    /// Looks at the first bytes of a line; false if there are none yet.
    ///
    /// Leaves `Line::Start` behind, and the cursor at the next line, if the line was blank.
    #[inline]
    fn begin_line(&mut self) -> bool {
        if !self.after_bom && !self.skip_bom() {
            return false;
        }
        let mut rest = &self.buffer.as_bytes()[self.line_start..];
        if self.after_cr {
            // The LF of a CRLF pair, which the CR has already ended, perhaps in an earlier chunk.
            match rest {
                [] => return false,
                [b'\n', tail @ ..] => {
                    rest = tail;
                    self.line_start += 1;
                    #[cfg(test)]
                    {
                        self.examined += 1;
                    }
                }
                _ => {}
            }
            self.after_cr = false;
        }
        let (line, examined) = match rest {
            [] => return false,
            [end @ (b'\n' | b'\r'), ..] => {
                self.after_cr = *end == b'\r';
                self.line_start += 1;
                self.count(1);
                return true;
            }
            [b'd', b'a', b't', b'a', b':', ..] => (Line::Colon(Field::Data), 5),
            [b'i', b'd', b':', ..] => (Line::Colon(Field::Id), 3),
            [b'e', b'v', b'e', b'n', b't', b':', ..] => (Line::Colon(Field::Event), 6),
            [b'r', b'e', b't', b'r', b'y', b':', ..] => (Line::Colon(Field::Retry), 6),
            [b':', ..] => (Line::Colon(Field::Comment), 1),
            [b'd', ..] => (Line::Name(Field::Data), 1),
            [b'i', ..] => (Line::Name(Field::Id), 1),
            [b'e', ..] => (Line::Name(Field::Event), 1),
            [b'r', ..] => (Line::Name(Field::Retry), 1),
            [..] => (Line::Value(Field::Ignored, self.line_start), 0),
        };
        self.line = line;
        self.scanned = self.line_start + examined;
        self.count(examined);
        true
    }

    /// Goes on with a name that is not there as a whole, or not followed by a colon.
    #[cold]
    fn continue_name(&mut self, field: Field) -> bool {
        let name = field.name();
        while let Some(&byte) = self.buffer.as_bytes().get(self.scanned) {
            let matched = self.scanned - self.line_start;
            if matched < name.len() && byte == name[matched] {
                self.scanned += 1;
                self.count(1);
                continue;
            }
            self.line = if matched < name.len() {
                Line::Value(Field::Ignored, self.line_start)
            } else if byte == b':' {
                self.scanned += 1;
                self.count(1);
                Line::Colon(field)
            } else if matches!(byte, b'\r' | b'\n') {
                // A name alone: the value is empty.
                Line::Value(field, self.scanned)
            } else {
                Line::Value(Field::Ignored, self.line_start)
            };
            return true;
        }
        false
    }

    /// Finds the end of the line under the cursor, and whether NUL makes an id void.
    #[inline]
    fn find_line_end(
        &mut self,
        mut field: Field,
        start: usize,
    ) -> Result<Option<(Field, usize)>, ParseError> {
        let from = self.scanned;
        let bytes = &self.buffer.as_bytes()[from..];
        let mut end = if field == Field::Id {
            memchr3(b'\n', b'\r', 0, bytes)
        } else {
            memchr2(b'\n', b'\r', bytes)
        };
        if let Some(at) = end
            && bytes[at] == 0
        {
            field = Field::Ignored;
            end = memchr2(b'\n', b'\r', &bytes[at + 1..]).map(|after| at + 1 + after);
        }
        let value_end = from + end.unwrap_or(bytes.len());
        self.count(end.map_or(value_end, |at| from + at + 1) - from);
        if value_end - start > self.limits.max_event_bytes {
            return Err(self.too_large());
        }
        if end.is_none() {
            self.line = Line::Value(field, start);
            self.scanned = value_end;
            return Ok(None);
        }
        Ok(Some((field, value_end)))
    }

    /// Lets a whole line take effect.
    #[inline]
    fn end_line(
        &mut self,
        field: Field,
        start: usize,
        end: usize,
    ) -> Result<Option<Found>, ParseError> {
        self.after_cr = self.buffer.as_bytes()[end] == b'\r';
        self.line_start = end + 1;
        self.line = Line::Start;
        match field {
            Field::Data => {
                self.data.append_line(start, end, &self.buffer);
                if self.data.len() > self.limits.max_event_bytes {
                    return Err(self.too_large());
                }
            }
            Field::Event => self.event.set(start, end),
            Field::Id => self.id.set(start, end),
            Field::Retry => {
                if let Some(delay) = parse_retry(&self.buffer.as_bytes()[start..end]) {
                    self.retry = Some(delay);
                    self.count(end - start);
                    return Ok(Some(Found::Retry(delay)));
                }
            }
            Field::Comment => return Ok(Some(Found::Comment { start, end })),
            Field::Ignored => {}
        }
        Ok(None)
    }

    /// Ends a block; true if it makes an event.
    #[inline]
    fn dispatch(&mut self) -> bool {
        // The id counts even if the block has no data (step 1 of the standard's dispatch).
        if self.id.is_set() {
            self.last_event_id.clear();
            self.last_event_id.push_str(self.id.take(&self.buffer));
        }
        if self.data.is_set() {
            return true;
        }
        self.event.clear();
        false
    }

    /// Skips one byte order mark at the start; false if nothing has arrived.
    #[cold]
    fn skip_bom(&mut self) -> bool {
        // The decoder holds back an incomplete character, so the first one is here as a whole.
        let Some(first) = self.buffer[self.line_start..].chars().next() else { return false };
        if first == '\u{feff}' {
            self.line_start += first.len_utf8();
        }
        self.after_bom = true;
        true
    }

    /// Drops what is read from the front of the buffer.
    #[inline]
    fn drop_read(&mut self) {
        let kept = self.buffer.len() - self.line_start;
        // Only when the part that moves is the smaller one: so each byte moves less than once.
        if self.line_start == 0 || kept > self.line_start {
            return;
        }
        for text in [&mut self.data, &mut self.event, &mut self.id] {
            text.detach(&self.buffer);
        }
        if kept == 0 {
            self.buffer.clear();
        } else {
            self.buffer.drain(..self.line_start);
        }
        if let Line::Value(_, start) = &mut self.line {
            *start -= self.line_start;
        }
        self.scanned = self.scanned.saturating_sub(self.line_start);
        self.line_start = 0;
    }

    #[cold]
    fn too_large(&mut self) -> ParseError {
        let error = ParseError::EventTooLarge { max_event_bytes: self.limits.max_event_bytes };
        self.failed = Some(error);
        error
    }

    /// Counts the bytes looked at, so that a test can prove the bound.
    #[inline(always)]
    fn count(&mut self, _bytes: usize) {
        #[cfg(test)]
        {
            self.examined += _bytes;
        }
    }
}

/// ASCII digits only: no sign, no space, not empty. A number past `u64` is the largest one.
#[cold]
fn parse_retry(value: &[u8]) -> Option<Duration> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let ms = value
        .iter()
        .fold(0u64, |ms, digit| ms.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    Some(Duration::from_millis(ms))
}

#[cfg(test)]
mod tests;
