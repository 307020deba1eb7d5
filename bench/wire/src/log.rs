//! The bytes of a dialogue with their times, bounded.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The first entries are kept whole: requests and heads are what explain a failure.
const FIRST_ENTRIES: usize = 24;
/// The last entries are kept too: that is where it went wrong.
const LAST_ENTRIES: usize = 24;
/// The bytes kept of one entry.
const ENTRY_BYTES: usize = 640;
/// Bytes sent are kept whole up to this limit: it must be possible to send them again.
const SENT_BYTES: usize = 4 * 1024 * 1024;
/// The most characters of a rendering: two screens.
const RENDER_CHARS: usize = 6000;

/// The writer of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// This side.
    Sent,
    /// The peer.
    Received,
    /// No bytes: a remark on an event of the connection (connected, closed).
    Note,
}

/// A log that all connections of one dialogue share; clones write to the same log.
#[derive(Clone, Debug)]
pub struct Log(Arc<Mutex<Entries>>);

/// Bytes that this side sent in one go.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The number of the connection, from 1.
    pub connection: usize,
    /// When, from the start of the dialogue.
    pub at: Duration,
    /// The bytes, all of them.
    pub bytes: Vec<u8>,
}

#[derive(Debug)]
struct Entries {
    start: Instant,
    sent: Vec<Sent>,
    sent_bytes: usize,
    connections: usize,
    first: Vec<Entry>,
    last: VecDeque<Entry>,
    dropped: usize,
    watched: Option<Duration>,
    waited_in_vain: Option<Duration>,
}

#[derive(Debug)]
struct Entry {
    connection: usize,
    at: Duration,
    side: Side,
    bytes: Vec<u8>,
    total: usize,
}

impl Log {
    /// An empty log; its clock starts now.
    pub fn new() -> Log {
        Log(Arc::new(Mutex::new(Entries {
            start: Instant::now(),
            sent: Vec::new(),
            sent_bytes: 0,
            connections: 0,
            first: Vec::new(),
            last: VecDeque::new(),
            dropped: 0,
            watched: None,
            waited_in_vain: None,
        })))
    }

    /// Says that something rests on what did not happen within this time.
    pub fn watched(&self, length: Duration) {
        let mut entries = self.lock();
        entries.watched = Some(entries.watched.map_or(length, |it| it.min(length)));
    }

    /// The shortest time for which the dialogue watched a silence.
    pub fn shortest_watch(&self) -> Option<Duration> {
        self.lock().watched
    }

    /// Says that something was awaited for so long, did not come, and the dialogue went on.
    pub fn waited_in_vain(&self, length: Duration) {
        self.lock().waited_in_vain = Some(length);
    }

    /// How long the dialogue waited for something that did not come.
    pub fn vain_wait(&self) -> Option<Duration> {
        self.lock().waited_in_vain
    }

    /// A number for a new connection, from 1.
    pub fn open(&self) -> usize {
        let mut entries = self.lock();
        entries.connections += 1;
        entries.connections
    }

    /// Adds an entry; keeps the beginning and the end of a long dialogue.
    pub fn add(&self, connection: usize, side: Side, bytes: &[u8]) {
        let mut entries = self.lock();
        let at = entries.start.elapsed();
        if side == Side::Sent {
            entries.sent_bytes = entries.sent_bytes.saturating_add(bytes.len());
            if entries.sent_bytes <= SENT_BYTES {
                entries.sent.push(Sent { connection, at, bytes: bytes.to_vec() });
            }
        }
        let kept = bytes[..bytes.len().min(ENTRY_BYTES)].to_vec();
        let entry = Entry { connection, at, side, bytes: kept, total: bytes.len() };
        if entries.first.len() < FIRST_ENTRIES {
            entries.first.push(entry);
            return;
        }
        if entries.last.len() == LAST_ENTRIES {
            entries.last.pop_front();
            entries.dropped += 1;
        }
        entries.last.push_back(entry);
    }

    /// All that this side sent; `None` if it was too much to keep.
    pub fn sent(&self) -> Option<Vec<Sent>> {
        let entries = self.lock();
        (entries.sent_bytes <= SENT_BYTES).then(|| entries.sent.clone())
    }

    /// The dialogue as text, one line of the peer a line: time, connection, direction, bytes.
    pub fn render(&self) -> String {
        let entries = self.lock();
        let several = entries.connections > 1;
        let mut text = String::new();
        for entry in &entries.first {
            entry.render(several, &mut text);
        }
        if entries.dropped > 0 {
            let _ = writeln!(text, "             … {} entries left out …", entries.dropped);
        }
        for entry in &entries.last {
            entry.render(several, &mut text);
        }
        if let Some((cut, _)) = text.char_indices().nth(RENDER_CHARS) {
            text.truncate(cut);
            text.push_str(" …\n");
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // A case that panicked while it logged leaves entries that are still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Log {
    fn default() -> Log {
        Log::new()
    }
}

impl Entry {
    fn render(&self, several: bool, text: &mut String) {
        let mark = match self.side {
            Side::Sent => '>',
            Side::Received => '<',
            Side::Note => '*',
        };
        let mut prefix = format!("{:9.1} ms ", self.at.as_secs_f64() * 1e3);
        if several {
            let _ = write!(prefix, "#{} ", self.connection);
        }
        for line in self.bytes.split_inclusive(|&byte| byte == b'\n') {
            let _ = writeln!(text, "{prefix}{mark} {}", line.escape_ascii());
        }
        if self.total > self.bytes.len() {
            let _ = writeln!(text, "{prefix}{mark} … {} more bytes", self.total - self.bytes.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_beginning_and_the_end() {
        let log = Log::new();
        let connection = log.open();
        for n in 0..200 {
            log.add(connection, Side::Received, format!("chunk {n}\r\n").as_bytes());
        }
        let text = log.render();
        assert!(text.contains("< chunk 0\\r\\n"), "{text}");
        assert!(text.contains("… 152 entries left out …"), "{text}");
        assert!(text.contains("chunk 199\\r\\n") && !text.contains("chunk 100\\r\\n"), "{text}");
    }

    #[test]
    fn cuts_long_entries_and_escapes() {
        let log = Log::new();
        log.add(1, Side::Sent, &[0xff; 5000]);
        let text = log.render();
        assert!(text.contains("> \\xff\\xff") && text.contains("… 4360 more bytes"), "{text}");
    }
}
