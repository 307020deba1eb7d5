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

/// A value in quotes, control characters escaped, cut.
fn shown(value: &str) -> String {
    match value.char_indices().nth(SHOWN_CHARS) {
        None => format!("{value:?}"),
        Some((cut, _)) => format!("{:?}… ({} bytes)", &value[..cut], value.len()),
    }
}

fn line(text: Arguments<'_>) {
    let ms = i64::try_from(unix_ns() / MS).ok();
    let now = ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    eprintln!("{} {text}", now.strftime("%H:%M:%S%.3f"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_escaped_and_cut() {
        assert_eq!(shown("a\nb\u{1b}"), r#""a\nb\u{1b}""#);
        assert_eq!(shown(&"é".repeat(73)), format!("\"{}\"… (146 bytes)", "é".repeat(72)));
    }
}
