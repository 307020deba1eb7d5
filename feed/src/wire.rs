//! The one encoder: an [`Event`] to bytes that a client reads back as that event.
//!
//! Safe: no value can end a line, so a client that controls a value cannot add a field or an event.
//! Faithful: empty data, leading spaces and trailing newlines survive. Characters that the format
//! cannot carry are repaired, always in the same way:
//!
//! | field | cannot carry | becomes |
//! | --- | --- | --- |
//! | `data` | CR, CRLF | LF, one `data` line each |
//! | `id` | CR, LF, NUL | removed (a client would ignore the whole field for a NUL) |
//! | `event` | CR, LF | removed |
//! | comment | CR, LF, CRLF | one comment line each |
//!
//! Source: HTML Standard, [9.2.5 Parsing an event
//! stream](https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream).

use std::borrow::Cow;
use std::mem::size_of;
use std::sync::atomic::AtomicUsize;

use bytes::{BufMut, Bytes, BytesMut};
use memchr::{memchr2, memchr3};

use crate::event::Event;

/// Bytes that an allocation takes beside its own: its header, and what rounds it up (glibc: 8 and 8
/// on average).
const ALLOCATION_BYTES: usize = 16;

/// An event that many streams share: made once, encoded once.
///
/// It lies in memory for as long as its topic retains it, so it has no spare room. Data of one line,
/// as most is, lies in the frame alone; data of several lines has another form there, and is kept as
/// it was too.
#[derive(Debug)]
pub struct Encoded {
    /// The event on the wire, as a chunk of HTTP/1.1.
    chunk: Bytes,
    /// The part of the chunk that is the event. Each stream takes it, so it is cut out once.
    frame: Bytes,
    /// The event, without data that the frame ends in.
    rest: Event,
    /// The length of that data.
    line: Option<usize>,
}

impl Encoded {
    /// The event on the wire.
    pub fn frame(&self) -> Bytes {
        self.frame.clone()
    }

    /// The same without another owner of it.
    pub(crate) fn frame_bytes(&self) -> &[u8] {
        &self.frame
    }

    /// The event on the wire as a chunk of HTTP/1.1, for a server that writes the framing itself.
    pub fn chunk(&self) -> Bytes {
        self.chunk.clone()
    }

    /// The event, for a server that encodes it in its framework's own way.
    pub fn event(&self) -> Event {
        let mut event = self.rest.clone();
        if let Some(bytes) = self.line {
            let end = self.frame.len() - "\n\n".len();
            let data = str::from_utf8(&self.frame[end - bytes..end]);
            event.data = Some(data.expect("it was a String").to_owned());
        }
        event
    }

    /// The event's id.
    pub(crate) fn id(&self) -> Option<&str> {
        self.rest.id.as_deref()
    }

    /// Bytes of memory that it takes behind an `Arc`.
    pub(crate) fn memory(&self) -> usize {
        let counters = 2 * size_of::<AtomicUsize>();
        // `Bytes` with two owners, as chunk and frame are, have a second allocation.
        let chunk = allocated(self.chunk.len()) + allocated(3 * size_of::<usize>());
        allocated(size_of::<Encoded>() + counters) + chunk + self.rest.heap()
    }
}

impl From<Event> for Encoded {
    fn from(mut event: Event) -> Encoded {
        let frame = buffer(&event);
        let mut line = [0; CHUNK_HEAD_BYTES];
        let line = chunk_head(frame.len(), &mut line);
        let head = line.len();
        let chunk = Bytes::from([line, &frame, CRLF].concat());
        let frame = chunk.slice(head..head + frame.len());
        let has_one_line = |data: &mut String| memchr2(b'\r', b'\n', data.as_bytes()).is_none();
        let line = event.data.take_if(has_one_line).map(|data| data.len());
        // A message may still lie in the buffer that it was read into.
        event.data.as_mut().map(String::shrink_to_fit);
        Encoded { chunk, frame, rest: event, line }
    }
}

impl Event {
    /// Bytes of memory that its texts take.
    fn heap(&self) -> usize {
        let Event { id, event, data, retry: _, comment } = self;
        let event = match event {
            Some(Cow::Owned(event)) => event.capacity(),
            Some(Cow::Borrowed(_)) | None => 0,
        };
        let texts = [id, data, comment].map(|text| text.as_ref().map_or(0, String::capacity));
        texts.into_iter().chain([event]).map(allocated).sum()
    }
}

/// Bytes of memory that an allocation of this size takes.
fn allocated(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { bytes + ALLOCATION_BYTES }
}

/// The longest line before a chunk: 16 digits, CR LF.
pub const CHUNK_HEAD_BYTES: usize = 18;

pub(crate) const CRLF: &[u8] = b"\r\n";

/// Writes `1a CR LF`, the line before a chunk of this many bytes, into `line` and returns the part
/// that it used ([RFC 9112 7.1](https://www.rfc-editor.org/rfc/rfc9112.html#section-7.1)).
pub fn chunk_head(bytes: usize, line: &mut [u8; CHUNK_HEAD_BYTES]) -> &[u8] {
    let digits = (usize::BITS - bytes.leading_zeros()).div_ceil(4).max(1) as usize;
    for (at, digit) in line[..digits].iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[bytes >> (4 * (digits - 1 - at)) & 0xf];
    }
    line[digits..digits + 2].copy_from_slice(CRLF);
    &line[..digits + 2]
}

/// Encodes one event, with the blank line that ends it. An event without any field gives no bytes.
pub fn encode(event: &Event) -> Bytes {
    buffer(event).freeze()
}

/// An encoded event. An ordinary one, of one line, fills its buffer to the last byte.
fn buffer(event: &Event) -> BytesMut {
    let room = |text: Option<&str>, around: &str| text.map_or(0, |it| around.len() + it.len());
    let room = room(event.id.as_deref(), "id: \n")
        + room(event.event.as_deref(), "event: \n")
        + room(event.data.as_deref(), "data: \n")
        + room(event.comment.as_deref(), ": \n")
        + event.retry.map_or(0, |_| "retry: 1000000\n".len())
        + "\n".len();
    let mut out = BytesMut::with_capacity(room);
    encode_into(event, &mut out);
    out
}

/// Appends one encoded event.
pub fn encode_into(event: &Event, out: &mut BytesMut) {
    let start = out.len();
    if let Some(comment) = &event.comment {
        lines(comment, |line| {
            // A lone colon, not `: `, so that a keep-alive is as small as it can be.
            out.put_slice(if line.is_empty() { b":" } else { b": " });
            out.put_slice(line);
            out.put_u8(b'\n');
        });
    }
    if let Some(id) = &event.id {
        field(out, b"id: ", id.as_bytes(), |at| memchr3(b'\r', b'\n', 0, at));
    }
    if let Some(event) = &event.event {
        field(out, b"event: ", event.as_bytes(), |at| memchr2(b'\r', b'\n', at));
    }
    if let Some(retry) = event.retry {
        out.put_slice(format!("retry: {}\n", retry.as_millis()).as_bytes());
    }
    if let Some(data) = &event.data {
        // The space is always written: without it a client would take the first space of the data
        // for ours.
        lines(data, |line| {
            out.put_slice(b"data: ");
            out.put_slice(line);
            out.put_u8(b'\n');
        });
    }
    if out.len() > start {
        out.put_u8(b'\n');
    }
}

/// One field on one line; bytes that `find` returns are left out.
fn field(out: &mut BytesMut, name: &[u8], value: &[u8], find: impl Fn(&[u8]) -> Option<usize>) {
    out.put_slice(name);
    let mut rest = value;
    while let Some(at) = find(rest) {
        out.put_slice(&rest[..at]);
        rest = &rest[at + 1..];
    }
    out.put_slice(rest);
    out.put_u8(b'\n');
}

/// Calls `each` for each line of `text`: CRLF, LF and CR all end one, and the text after the last
/// is one too.
fn lines(text: &str, mut each: impl FnMut(&[u8])) {
    let mut rest = text.as_bytes();
    while let Some(at) = memchr2(b'\r', b'\n', rest) {
        each(&rest[..at]);
        let crlf = rest[at] == b'\r' && rest.get(at + 1) == Some(&b'\n');
        rest = &rest[at + 1 + usize::from(crlf)..];
    }
    each(rest);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn wire(event: &Event) -> String {
        String::from_utf8(encode(event).to_vec()).expect("strings in, UTF-8 out")
    }

    #[test]
    fn fields_stand_in_one_order_and_end_in_a_blank_line() {
        let event = Event {
            id: Some("7".into()),
            event: Some("progress".into()),
            data: Some("half".into()),
            retry: Some(Duration::from_millis(1500)),
            comment: Some("note".into()),
        };
        assert_eq!(wire(&event), ": note\nid: 7\nevent: progress\nretry: 1500\ndata: half\n\n");
    }

    #[test]
    fn nothing_to_say_is_no_bytes() {
        assert_eq!(wire(&Event::default()), "");
    }

    #[test]
    fn a_keep_alive_is_a_lone_colon() {
        assert_eq!(wire(&Event::comment("")), ":\n\n");
    }

    #[test]
    fn data_keeps_empty_text_leading_spaces_and_trailing_newlines() {
        assert_eq!(wire(&Event::data("")), "data: \n\n");
        assert_eq!(wire(&Event::data("  x")), "data:   x\n\n");
        assert_eq!(wire(&Event::data("x\n")), "data: x\ndata: \n\n");
    }

    #[test]
    fn every_line_ending_in_data_starts_a_data_line() {
        assert_eq!(wire(&Event::data("a\rb\r\nc\nd")), "data: a\ndata: b\ndata: c\ndata: d\n\n");
    }

    #[test]
    fn an_event_that_is_shared_comes_back_as_it_was() {
        for data in ["x", "", " a\tb ", "a\nb", "a\r\nb\r", "\n"] {
            let mut event = Event::data(data).with_id(7).with_event("message");
            assert_eq!(Encoded::from(event.clone()).event(), event, "{data:?}");
            event.data = None;
            assert_eq!(Encoded::from(event.clone()).event(), event, "without data");
        }
    }

    #[test]
    fn a_shared_event_has_its_data_once_and_keeps_no_buffer_alive() {
        let read_into = |data: &str| {
            let mut buffer = String::with_capacity(8192);
            buffer.push_str(data);
            Encoded::from(Event::data(buffer)).memory()
        };
        assert!(read_into("x") < 350, "{}", read_into("x"));
        assert!(read_into("x\ny") < 350, "{}", read_into("x\ny"));
        let large = read_into(&"x".repeat(65_536));
        assert!((65_536..66_000).contains(&large), "{large}");
        let lines = read_into(&"\n".repeat(65_536));
        assert!((8 * 65_536..8 * 65_536 + 400).contains(&lines), "each is a data line: {lines}");
        let Encoded { chunk, frame, .. } = Encoded::from(Event::data("\n".repeat(1000)));
        drop(frame);
        let chunk = chunk.try_into_mut().expect("it has one owner");
        assert_eq!(chunk.capacity(), chunk.len());
    }

    #[test]
    fn a_chunk_begins_with_its_size_in_hex() {
        for (bytes, line) in [(1, "1\r\n"), (15, "f\r\n"), (16, "10\r\n"), (0xabcde, "abcde\r\n")] {
            assert_eq!(chunk_head(bytes, &mut [0; CHUNK_HEAD_BYTES]), line.as_bytes());
        }
        assert_eq!(chunk_head(usize::MAX, &mut [0; CHUNK_HEAD_BYTES]).len(), CHUNK_HEAD_BYTES);
        let encoded = Encoded::from(Event::data("x"));
        assert_eq!(encoded.frame(), "data: x\n\n");
        assert_eq!(encoded.chunk(), "9\r\ndata: x\n\n\r\n");
    }

    #[test]
    fn an_ordinary_event_fills_its_buffer() {
        let event = Event::data("x").with_id(7).with_event("message");
        let buffer = buffer(&Event { comment: Some("note".into()), ..event });
        assert_eq!(buffer.capacity(), buffer.len());
    }

    #[test]
    fn no_value_can_add_a_field() {
        let event = Event::data("x").with_id("1\r\nretry: 1\0").with_event("e\ndata: inj\r");
        assert_eq!(wire(&event), "id: 1retry: 1\nevent: edata: inj\ndata: x\n\n");
        assert_eq!(wire(&Event::comment("c\ndata: inj")), ": c\n: data: inj\n\n");
    }
}
