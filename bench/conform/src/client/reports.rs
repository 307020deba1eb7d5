//! Reports of a client under test, and the bounded way from it to the case.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer};

/// The most that may wait for a case, bytes. A client that sends more is not read until the case
/// has caught up: so its flood neither fills the memory nor is mistaken for silence.
const WAITING_BYTES: usize = 32 * 1024 * 1024;
/// The cost of a waiting report beside its text: some of them are small.
const OVERHEAD_BYTES: usize = 128;

/// An event as the client reported it. Where its language has nothing, `null` is as good as silence.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Event {
    /// The type.
    #[serde(rename = "type", default = "message", deserialize_with = "kind")]
    pub(super) event: String,
    #[serde(default, deserialize_with = "text")]
    pub(super) data: String,
    /// The last event id at that time.
    #[serde(default, deserialize_with = "text")]
    pub(super) id: String,
    /// Where it came from; browsers report it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) origin: Option<String>,
}

/// One thing that a client reported or that became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ClientReport {
    Open,
    Event(Event),
    Comment(String),
    Error {
        fatal: bool,
    },
    State(u8),
    Closed,
    /// The kind of a browser's event object: `open`, whether trusted, bubbling, cancelable.
    Shape(&'static str, [bool; 3]),
    /// Something that is not in the protocol.
    Garbage(String),
    /// The client has ended: how, and its last words.
    Exit(String),
}

/// A report and its time.
#[derive(Clone, Debug)]
pub(super) struct TimedReport {
    pub(super) at: Instant,
    pub(super) report: ClientReport,
}

/// From the thread that reads what a client says to the case.
#[derive(Default)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    sightings: VecDeque<TimedReport>,
    bytes: usize,
    /// The case reads no more: further reports are thrown away.
    is_closed: bool,
}

impl Inbox {
    /// Adds a report; waits while too much is unread. `false` if the case reads no more.
    pub(super) fn put(&self, report: ClientReport) -> bool {
        let at = Instant::now();
        let size = report.size();
        let mut waiting = self.lock();
        while waiting.bytes > WAITING_BYTES && !waiting.is_closed {
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        if waiting.is_closed {
            return false;
        }
        waiting.bytes += size;
        waiting.sightings.push_back(TimedReport { at, report });
        self.changed.notify_all();
        true
    }

    /// The next report, if there is one before the deadline.
    pub(super) fn next(&self, deadline: Instant) -> Option<TimedReport> {
        let mut waiting = self.lock();
        loop {
            if let Some(timed) = waiting.sightings.pop_front() {
                waiting.bytes -= timed.report.size();
                self.changed.notify_all();
                return Some(timed);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let left = left.min(Duration::from_secs(3600));
            let woken = self.changed.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The case reads no more.
    pub(super) fn close(&self) {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        waiting.sightings.clear();
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in a critical section panics half way.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientReport {
    /// Reads a line of the protocol.
    pub(super) fn from_line(line: &[u8]) -> ClientReport {
        #[derive(Deserialize)]
        #[serde(tag = "k", rename_all = "lowercase")]
        enum Line {
            Open,
            Event(Event),
            Comment { text: String },
            Error { fatal: Option<bool> },
            State { v: u8 },
            Closed,
        }
        match serde_json::from_slice(line) {
            Ok(Line::Open) => ClientReport::Open,
            Ok(Line::Event(event)) => ClientReport::Event(event),
            Ok(Line::Comment { text }) => ClientReport::Comment(text),
            Ok(Line::Error { fatal }) => ClientReport::Error { fatal: fatal.unwrap_or_default() },
            Ok(Line::State { v }) => ClientReport::State(v),
            Ok(Line::Closed) => ClientReport::Closed,
            Err(error) => {
                let excerpt = &line[..line.len().min(80)];
                ClientReport::Garbage(format!("\"{}\" ({error})", wire::shown(excerpt)))
            }
        }
    }

    /// Further facts of a line about an event object, if its client is a browser.
    pub(super) fn shape_in(line: &[u8]) -> Option<ClientReport> {
        #[derive(Deserialize)]
        struct Line<'a> {
            k: &'a str,
            trusted: bool,
            bubbles: bool,
            cancelable: bool,
        }
        memchr::memmem::find(line, b"\"trusted\"")?;
        let line: Line<'_> = serde_json::from_slice(line).ok()?;
        let kind = ["open", "event", "error"].into_iter().find(|it| *it == line.k)?;
        Some(ClientReport::Shape(kind, [line.trusted, line.bubbles, line.cancelable]))
    }

    /// Its text in a report.
    pub(super) fn shown(&self) -> String {
        const CHARS: usize = 200;
        let cut = |text: &str| match text.char_indices().nth(CHARS) {
            Some((at, _)) => format!("{:?}… ({} bytes)", &text[..at], text.len()),
            None => format!("{text:?}"),
        };
        match self {
            ClientReport::Open => "open".to_owned(),
            ClientReport::Event(it) => {
                format!("event {} {} id {}", cut(&it.event), cut(&it.data), cut(&it.id))
            }
            ClientReport::Comment(text) => format!("comment {}", cut(text)),
            ClientReport::Error { fatal: true } => "error (fatal)".to_owned(),
            ClientReport::Error { fatal: false } => "error".to_owned(),
            ClientReport::State(state) => format!("readyState {state}"),
            ClientReport::Closed => "closed".to_owned(),
            ClientReport::Shape(kind, [trusted, bubbles, cancelable]) => format!(
                "{kind} with isTrusted {trusted}, bubbles {bubbles}, cancelable {cancelable}"
            ),
            ClientReport::Garbage(text) => format!("a line out of the protocol: {text}"),
            ClientReport::Exit(how) => format!("ended: {how}"),
        }
    }

    fn size(&self) -> usize {
        OVERHEAD_BYTES
            + match self {
                ClientReport::Event(it) => it.event.len() + it.data.len() + it.id.len(),
                ClientReport::Comment(text)
                | ClientReport::Garbage(text)
                | ClientReport::Exit(text) => text.len(),
                _ => 0,
            }
    }
}

fn message() -> String {
    "message".to_owned()
}

fn kind<'de, D: Deserializer<'de>>(value: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or_else(message))
}

fn text<'de, D: Deserializer<'de>>(value: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn lines_of_the_protocol_are_read_and_others_are_garbage() {
        let read = |line: &str| ClientReport::from_line(line.as_bytes());
        assert_eq!(read(r#"{"k":"open"}"#), ClientReport::Open);
        assert_eq!(read(r#"{"k":"error","fatal":true}"#), ClientReport::Error { fatal: true });
        assert_eq!(read(r#"{"k":"error"}"#), ClientReport::Error { fatal: false });
        assert_eq!(read(r#"{"k":"state","v":2}"#), ClientReport::State(2));
        let event =
            Event { event: "a".into(), data: "b\n".into(), id: String::new(), origin: None };
        let line = r#"{"k":"event","type":"a","data":"b\n","id":"","more":1}"#;
        assert_eq!(read(line), ClientReport::Event(event));
        let shape = ClientReport::shape_in(
            br#"{"k":"open","trusted":true,"bubbles":false,"cancelable":false}"#,
        );
        assert_eq!(shape, Some(ClientReport::Shape("open", [true, false, false])));
        assert_eq!(ClientReport::shape_in(br#"{"k":"open"}"#), None);
        for line in ["", "open", "{}", r#"{"k":"opened"}"#, r#"{"k":"state","v":-1}"#, "[1]"] {
            assert!(matches!(read(line), ClientReport::Garbage(_)), "{line}");
        }
    }

    #[test]
    fn a_flood_waits_for_its_reader() {
        let inbox = Arc::new(Inbox::default());
        let theirs = Arc::clone(&inbox);
        let flood = thread::spawn(move || {
            let text = "x".repeat(1024 * 1024);
            let mut count = 0;
            while theirs.put(ClientReport::Comment(text.clone())) {
                count += 1;
            }
            count
        });
        for _ in 0..100 {
            assert!(inbox.next(Instant::now() + Duration::from_secs(10)).is_some());
        }
        assert!(inbox.lock().bytes < WAITING_BYTES + 2 * 1024 * 1024);
        inbox.close();
        assert!(flood.join().unwrap() >= 100);
        assert!(inbox.next(Instant::now()).is_none());
    }
}
