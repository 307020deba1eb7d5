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

use bytes::{BufMut, Bytes, BytesMut};
use memchr::{memchr2, memchr3};

use crate::event::Event;

/// An event that many streams share: made once, encoded once.
#[derive(Debug)]
pub struct Encoded {
    /// The event, for a server that encodes it in its framework's own way.
    pub event: Event,
    /// The same event on the wire.
    pub frame: Bytes,
}

impl From<Event> for Encoded {
    fn from(event: Event) -> Encoded {
        let frame = encode(&event);
        Encoded { event, frame }
    }
}

/// Encodes one event, with the blank line that ends it. An event without any field gives no bytes.
pub fn encode(event: &Event) -> Bytes {
    let text = |field: &Option<String>| field.as_ref().map_or(0, String::len);
    // Room for names, spaces and line ends, so that an ordinary event needs one allocation.
    let guess = 48 + text(&event.id) + text(&event.data) + text(&event.comment);
    let mut out = BytesMut::with_capacity(guess + event.event.as_ref().map_or(0, |e| e.len()));
    encode_into(event, &mut out);
    out.freeze()
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
    fn no_value_can_add_a_field() {
        let event = Event::data("x").with_id("1\r\nretry: 1\0").with_event("e\ndata: inj\r");
        assert_eq!(wire(&event), "id: 1retry: 1\nevent: edata: inj\ndata: x\n\n");
        assert_eq!(wire(&Event::comment("c\ndata: inj")), ": c\n: data: inj\n\n");
    }
}
