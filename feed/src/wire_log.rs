//! `--wire-log`: requests and events, in words, on standard error.

use std::fmt::{Arguments, Display};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use jiff::Timestamp;

use crate::clock::{MS, unix_ns};
use crate::event::Event;

/// Characters of a value that are shown: the log is for reading along.
const SHOWN_CHARS: usize = 72;

/// Writes lines such as `12:34:56.789 stream 3: sent id 7, data "Hello! This is event 7"`.
#[derive(Debug, Clone, Default)]
pub(crate) struct WireLog {
    streams: Option<Arc<AtomicU64>>,
}

impl WireLog {
    /// A log that writes, or one that stays silent.
    pub(crate) fn new(on: bool) -> WireLog {
        WireLog { streams: on.then(Arc::default) }
    }

    /// One exchange that is over at once.
    pub(crate) fn exchange(&self, received: impl Display, sent: impl Display) {
        if self.streams.is_some() {
            line(format_args!("received {received}"));
            line(format_args!("sent {sent}"));
        }
    }

    /// A stream that begins: its request and the head of its response.
    pub(crate) fn stream(
        &self,
        request: Arguments<'_>,
        last_event_id: Option<&str>,
    ) -> Option<StreamLog> {
        let number = self.streams.as_ref()?.fetch_add(1, Relaxed) + 1;
        let from = last_event_id.map(|id| format!(", Last-Event-ID {}", shown(id)));
        line(format_args!("stream {number}: received {request}{}", from.unwrap_or_default()));
        line(format_args!("stream {number}: sent 200 text/event-stream"));
        Some(StreamLog { number })
    }
}

/// The log of one stream; says so when the stream is over.
#[derive(Debug)]
pub(crate) struct StreamLog {
    number: u64,
}

impl StreamLog {
    /// One block that leaves.
    pub(crate) fn sent(&self, event: &Event) {
        let mut fields = Vec::with_capacity(4);
        let mut field = |name: &str, value: Option<&str>| {
            fields.extend(value.map(|value| format!("{name} {}", shown(value))));
        };
        field("comment", event.comment.as_deref());
        field("id", event.id.as_deref());
        field("event", event.event.as_deref());
        field("data", event.data.as_deref());
        fields.extend(event.retry.map(|retry| format!("retry {} ms", retry.as_millis())));
        line(format_args!("stream {}: sent {}", self.number, fields.join(", ")));
    }
}

impl Drop for StreamLog {
    fn drop(&mut self) {
        line(format_args!("stream {}: closed", self.number));
    }
}

/// A value in quotes, cut.
fn shown(value: &str) -> String {
    match value.char_indices().nth(SHOWN_CHARS) {
        None => format!("{value:?}"),
        Some((cut, _)) => format!("{:?}… ({} bytes)", &value[..cut], value.len()),
    }
}

/// The one way into the log.
fn line(text: Arguments<'_>) {
    eprintln!("{}", entry(unix_ns(), text));
}

fn entry(unix_ns: u64, text: Arguments<'_>) -> String {
    let ms = i64::try_from(unix_ns / MS).ok();
    let time = ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    format!("{} {}", time.strftime("%H:%M:%S%.3f"), escape(&text.to_string()))
}

/// Text without a character that ends a line, commands a terminal, or changes the order in which the
/// others are shown: clients choose paths, queries and header fields, and an operator reads them.
///
/// Sources: [ECMA-48](https://ecma-international.org/publications-and-standards/standards/ecma-48/)
/// for the control characters, [UAX #9](https://www.unicode.org/reports/tr9/) for the others.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            _ if c.is_control() => escaped.extend(c.escape_default()),
            '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => {
                escaped.extend(c.escape_default());
            }
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_escaped_and_cut() {
        assert_eq!(shown("a\nb\u{1b}"), r#""a\nb\u{1b}""#);
        assert_eq!(shown(&"é".repeat(73)), format!("\"{}\"… (146 bytes)", "é".repeat(72)));
    }

    #[test]
    fn no_request_can_forge_a_line_or_command_a_terminal() {
        let topic = "\u{1b}]0;PWNED\u{7}\n12:00:00.000 FORGED";
        assert_eq!(
            entry(1_795_178_096 * 1000 * MS, format_args!("received POST /messages/{topic}")),
            r"12:34:56.000 received POST /messages/\u{1b}]0;PWNED\u{7}\n12:00:00.000 FORGED"
        );
        let ranges = ['\0'..='\u{1f}', '\u{7f}'..='\u{9f}', '\u{61c}'..='\u{61c}'];
        let bidi = ['\u{200e}'..='\u{200f}', '\u{202a}'..='\u{202e}', '\u{2066}'..='\u{2069}'];
        for c in ranges.into_iter().chain(bidi).flatten() {
            let escaped = escape(&format!("a{c}b"));
            assert!(escaped.starts_with(r"a\") && escaped.is_ascii(), "{escaped}");
            assert!(!escaped.contains(char::is_control));
        }
        assert_eq!(escape(r#"GET /é✓ مرحبا "\""#), r#"GET /é✓ مرحبا "\""#);
    }
}
