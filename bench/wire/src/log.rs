//! The bytes of a dialogue with their times, bounded.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The first entries are kept whole: requests and heads are what explain a failure.
const FIRST_ENTRIES: usize = 24;
/// The last entries are kept too: that is where it went wrong.
const LAST_ENTRIES: usize = 24;
/// The bytes kept of one entry, and how many of them are its last.
const ENTRY_BYTES: usize = 640;
const TAIL_BYTES: usize = 64;
/// A longer line is shown by its first and its last bytes.
const LINE_BYTES: usize = 240;
const LINE_FIRST_BYTES: usize = 100;
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
pub struct Log {
    entries: Arc<Mutex<Entries>>,
    budget: Budget,
}

/// How many requests may be sent, by all dialogues that share it; clones do.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Spending>);

#[derive(Debug)]
struct Spending {
    max: u64,
    sent: AtomicU64,
}

impl Budget {
    /// At most this many.
    pub fn new(max: u64) -> Budget {
        Budget(Arc::new(Spending { max, sent: AtomicU64::new(0) }))
    }

    /// As many as one likes; they are counted.
    pub fn unlimited() -> Budget {
        Budget::new(u64::MAX)
    }

    /// The most that may be sent.
    pub fn max(&self) -> u64 {
        self.0.max
    }

    /// How many were sent.
    pub fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }

    fn take(&self, count: u64) -> bool {
        let add = |sent: u64| sent.checked_add(count).filter(|it| *it <= self.0.max);
        self.0.sent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }
}

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
    has_timed_out: bool,
    is_spent: bool,
    too_many: Option<Option<String>>,
}

#[derive(Debug)]
struct Entry {
    connection: usize,
    at: Duration,
    side: Side,
    bytes: Vec<u8>,
    /// Bytes that are left out here.
    left_out: usize,
    tail: Vec<u8>,
    /// They are words of ours for it, on one line.
    is_described: bool,
}

impl Log {
    /// An empty log; its clock starts now.
    pub fn new() -> Log {
        Log::within(Budget::unlimited())
    }

    /// An empty log of a dialogue that has to keep within a budget.
    pub fn within(budget: Budget) -> Log {
        let entries = Entries {
            start: Instant::now(),
            sent: Vec::new(),
            sent_bytes: 0,
            connections: 0,
            first: Vec::new(),
            last: VecDeque::new(),
            dropped: 0,
            watched: None,
            waited_in_vain: None,
            has_timed_out: false,
            is_spent: false,
            too_many: None,
        };
        Log { entries: Arc::new(Mutex::new(entries)), budget }
    }

    /// Asks for leave to send these bytes; whether the budget has it, for each request line in them.
    pub(super) fn may_send(&self, bytes: &[u8]) -> bool {
        self.may_ask(memchr::memmem::find_iter(bytes, b" HTTP/1.").count() as u64)
    }

    /// Asks for leave to send so many requests.
    pub(super) fn may_ask(&self, requests: u64) -> bool {
        let may = requests == 0 || self.budget.take(requests);
        self.lock().is_spent |= !may;
        may
    }

    /// The budget that this dialogue has to keep within.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Whether a request of this dialogue was not sent for want of a budget.
    pub fn is_spent(&self) -> bool {
        self.lock().is_spent
    }

    /// Says that the server asked for fewer requests (429), with its `Retry-After`.
    pub(super) fn note_too_many(&self, retry_after: Option<String>) {
        self.lock().too_many = Some(retry_after);
    }

    /// Whether the server asked for fewer requests (429), and its last `Retry-After`.
    pub fn too_many(&self) -> Option<Option<String>> {
        self.lock().too_many.clone()
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

    /// Says that a deadline passed.
    pub(super) fn timed_out(&self) {
        self.lock().has_timed_out = true;
    }

    /// Whether a deadline passed, whatever came of that.
    pub fn has_timed_out(&self) -> bool {
        self.lock().has_timed_out
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
        self.push(connection, side, bytes, false);
    }

    /// Adds what was sent or received in words, one line without control characters, where the bytes themselves
    /// say little.
    pub fn describe(&self, connection: usize, side: Side, words: &str) {
        self.push(connection, side, words.as_bytes(), true);
    }

    fn push(&self, connection: usize, side: Side, bytes: &[u8], is_described: bool) {
        let mut entries = self.lock();
        let (at, total) = (entries.start.elapsed(), bytes.len());
        if side == Side::Sent && !is_described {
            entries.sent_bytes = entries.sent_bytes.saturating_add(bytes.len());
            if entries.sent_bytes <= SENT_BYTES {
                entries.sent.push(Sent { connection, at, bytes: bytes.to_vec() });
            }
        }
        let (bytes, tail) = match bytes.len() {
            0..=ENTRY_BYTES => (bytes, &[][..]),
            _ => (&bytes[..ENTRY_BYTES - TAIL_BYTES], tail_of(bytes, side)),
        };
        let entry = Entry {
            connection,
            at,
            side,
            left_out: total - bytes.len() - tail.len(),
            bytes: bytes.to_vec(),
            tail: tail.to_vec(),
            is_described,
        };
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
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
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
        if self.is_described {
            let _ = writeln!(text, "{prefix}{mark} {}", String::from_utf8_lossy(&self.bytes));
            return;
        }
        let mut line = |words: String| {
            let _ = writeln!(text, "{prefix}{mark} {words}");
        };
        let (mut head, mut tail) = (lines(&self.bytes), lines(&self.tail));
        // The line in which bytes are left out; none of it is here if the last one is whole.
        let is_whole = self.bytes.ends_with(b"\n");
        let open = (self.left_out > 0)
            .then(|| if is_whole { &b""[..] } else { head.next_back().unwrap_or_default() });
        head.for_each(|it| line(self.shown(it)));
        if let Some(open) = open {
            let first = &open[..open.len().min(LINE_FIRST_BYTES)];
            let left_out = self.left_out + open.len() - first.len();
            line(match self.secret_name(open) {
                Some(_) => self.shown(open),
                None => elided(first, left_out, tail.next().unwrap_or_default()),
            });
        }
        tail.for_each(|it| line(self.shown(it)));
    }

    /// A line, without its middle if it is long.
    fn shown(&self, line: &[u8]) -> String {
        match self.secret_name(line) {
            Some(name) => format!("{}: (not shown)", crate::shown(name)),
            None if line.len() <= LINE_BYTES => crate::shown(line),
            None => {
                let (first, rest) = line.split_at(LINE_FIRST_BYTES);
                let (left_out, last) = rest.split_at(rest.len() - TAIL_BYTES);
                elided(first, left_out.len(), last)
            }
        }
    }

    fn secret_name<'l>(&self, line: &'l [u8]) -> Option<&'l [u8]> {
        if self.side == Side::Sent { secret_name(line) } else { None }
    }
}

fn lines(bytes: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    bytes.split_inclusive(|&byte| byte == b'\n')
}

fn elided(first: &[u8], left_out: usize, last: &[u8]) -> String {
    let (first, last) = (crate::shown(first), crate::shown(last));
    format!("{first} … {left_out} bytes left out … {last}").trim().to_owned()
}

/// The last bytes, without the end of a line that must not be shown.
fn tail_of(bytes: &[u8], side: Side) -> &[u8] {
    let (before, tail) = bytes.split_at(bytes.len() - TAIL_BYTES);
    let line = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
    if side != Side::Sent || secret_name(&bytes[line..]).is_none() {
        return tail;
    }
    memchr::memchr(b'\n', tail).map_or(&[], |at| &tail[at + 1..])
}

/// The name of a header whose value a report must not give away.
fn secret_name(line: &[u8]) -> Option<&[u8]> {
    let name = &line[..memchr::memchr(b':', line)?];
    is_secret(name).then_some(name)
}

/// Whether a report must not give away the value of this field.
pub(super) fn is_secret(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 5] =
        [b"authorization", b"proxy-authorization", b"cookie", b"x-api-key", b"api-key"];
    NAMES.iter().any(|it| it.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_sent_and_not_shown() {
        let log = Log::new();
        log.add(1, Side::Sent, b"GET / HTTP/1.1\r\nAuthorization: Bearer s3cret\r\nA: b\r\n\r\n");
        let text = log.render();
        assert!(text.contains("Authorization: (not shown)") && text.contains("A: b"), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
        let sent = log.sent().unwrap();
        assert!(memchr::memmem::find(&sent[0].bytes, b"s3cret").is_some());
    }

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
    fn a_budget_is_one_for_all_dialogues_and_counts_request_lines() {
        let budget = Budget::new(3);
        let (one, two) = (Log::within(budget.clone()), Log::within(budget.clone()));
        assert!(one.may_send(b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n"));
        assert!(!two.may_send(b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n"));
        assert!(two.is_spent() && !one.is_spent());
        assert!(one.may_send(b"no request") && one.may_send(b"GET / HTTP/1.0\r\n\r\n"));
        assert!(!one.may_send(b"GET / HTTP/1.1\r\n\r\n"));
        assert_eq!(budget.sent(), 3);
    }

    #[test]
    fn cuts_long_entries_and_escapes() {
        let log = Log::new();
        log.add(1, Side::Sent, &[0xff; 5000]);
        let text = log.render();
        assert!(
            text.contains("> \\xff\\xff") && text.contains("… 4836 bytes left out … \\xff"),
            "{text}"
        );
    }

    #[test]
    fn text_is_shown_as_it_was_sent_and_only_the_rest_is_escaped() {
        let shown = |bytes: &[u8]| {
            let log = Log::new();
            log.add(1, Side::Received, bytes);
            log.render().lines().map(|it| it[15..].to_owned()).collect::<Vec<_>>().join("|")
        };
        assert_eq!(shown(b"data: {\"a\":'1'}\n"), r#"data: {"a":'1'}\n"#);
        assert_eq!(shown("naïve ✓ 😀".as_bytes()), "naïve ✓ 😀");
        assert_eq!(shown(b"a\\n\r\n\t\0\x1b[31m\x7f"), r"a\\n\r\n|\t\x00\x1b[31m\x7f");
        assert_eq!(shown(b"\xff\xc3("), r"\xff\xc3(");
        let steering =
            "\u{85}\u{9b}\u{61c}\u{200b}\u{200d}\u{200e}\u{2028}\u{202e}\u{2066}\u{feff}";
        let escaped: String = steering.chars().flat_map(char::escape_unicode).collect();
        assert_eq!(shown(steering.as_bytes()), escaped);
    }

    #[test]
    fn a_character_that_is_split_is_there_in_parts() {
        let log = Log::new();
        log.add(1, Side::Received, b"a\xe2\x82");
        log.add(1, Side::Received, b"\xacb");
        let text = log.render();
        assert!(text.contains(r"< a\xe2\x82") && text.contains(r"< \xacb"), "{text}");
        // Wherever the middle of a long line is left out, no byte is lost or shown as another.
        for before in 0..6 {
            let log = Log::new();
            log.add(
                1,
                Side::Received,
                format!("{}{}", "x".repeat(before), "€".repeat(400)).as_bytes(),
            );
            let text = log.render();
            let left_out = text.split("… ").nth(1).unwrap().split(' ').next().unwrap();
            let whole = text.matches(['€', 'x']).map(str::len).sum::<usize>();
            let parts = text.matches(r"\x").count();
            // The x of an escape is no letter of the line.
            assert_eq!(
                whole + left_out.parse::<usize>().unwrap(),
                before + 1200,
                "{parts}: {text}"
            );
        }
    }

    #[test]
    fn a_long_target_is_its_two_ends_and_what_is_left_out_is_counted() {
        for length in [300, 131_072] {
            let log = Log::new();
            let target = "x".repeat(length);
            log.add(
                1,
                Side::Sent,
                format!("GET /?{target} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes(),
            );
            let text = log.render();
            let shown: Vec<_> = text.lines().map(|it| &it[13..]).collect();
            assert!(shown[0].len() < 240 && shown[0].starts_with("> GET /?xxx"), "{text}");
            assert!(shown[0].ends_with("xxx HTTP/1.1\\r\\n"), "{text}");
            assert_eq!(shown[1..], ["> Host: h\\r\\n", "> \\r\\n"], "{text}");
            let left_out = shown[0].split("… ").nth(1).unwrap().split(' ').next().unwrap();
            let left_out: usize = left_out.parse().unwrap();
            assert_eq!(shown[0].matches('x').count() + left_out, length, "{text}");
        }
    }

    /// Wherever the bytes are cut, also between two lines: no line is joined to another one.
    #[test]
    fn what_is_left_out_between_two_lines_is_of_neither() {
        for length in 4..64 {
            let log = Log::new();
            let line = format!("{}\r\n", "x".repeat(length - 2));
            log.add(1, Side::Sent, line.repeat(600).as_bytes());
            let text = log.render();
            let shown: Vec<_> = text.lines().map(|it| &it[15..]).collect();
            let whole = line.escape_default().to_string();
            let cut: Vec<_> = shown.iter().filter(|it| it.contains("left out")).collect();
            assert_eq!(cut.len(), 1, "{text}");
            let (before, after) = cut[0].split_once('…').unwrap();
            assert!(!before.contains("\\n") && whole.ends_with(after.rsplit("… ").next().unwrap()));
            assert!(shown[..8].iter().all(|it| *it == whole), "{text}");
        }
    }

    #[test]
    fn the_end_of_a_secret_is_not_shown_either() {
        for (before, after) in [(10, 0), (10, 30), (900, 0), (900, 30)] {
            let (before, after) = ("a".repeat(before), "b".repeat(after));
            let secret = "s3cret".repeat(200);
            let log = Log::new();
            log.add(
                1,
                Side::Sent,
                format!("A: {before}\r\nCookie: {secret}\r\nB: {after}\r\n\r\n").as_bytes(),
            );
            let text = log.render();
            assert!(!text.contains("cret") && text.contains(&after), "{text}");
        }
    }
}
