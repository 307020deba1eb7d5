//! A reader: a stream through its relay, and after each end another one that goes on behind the last id.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use wire::ledger::GapWord;
use wire::{Connection, Error, Event, EventStream, Log, Request};

use super::books::Books;
use super::relay::Relay;
use super::{TOPIC, texts};

/// Between two looks for an order, while nothing comes.
const LOOK: Duration = Duration::from_millis(50);
/// The time for a node to answer; then it is held, or hangs, and another one is asked.
const ANSWER: Duration = Duration::from_secs(5);
/// Silence in which a node would have sent ten keep-alives.
const SILENCE: Duration = Duration::from_secs(10);
/// The wait before another node is asked, after one that did not answer with a stream.
const AGAIN: Duration = Duration::from_millis(50);

/// A disturbance for one reader.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order {
    /// Close the stream, stay away, and open another one at this node.
    Move { node: usize, away: Duration },
    /// Come back with the id before the last one: a planted fault.
    Forget,
}

/// One of the clients.
pub(crate) struct Reader<'r> {
    pub(crate) number: usize,
    pub(crate) relay: &'r Relay,
    pub(crate) nodes: usize,
    pub(crate) books: &'r Books,
    pub(crate) orders: Receiver<Order>,
    place: Place,
}

/// Where it is.
struct Place {
    node: usize,
    /// The ids of the last two events.
    last: Option<String>,
    before_last: Option<String>,
    /// When it lost its stream, or began.
    without_stream: Instant,
    has_had_one: bool,
}

impl<'r> Reader<'r> {
    pub(crate) fn new(
        number: usize,
        relay: &'r Relay,
        nodes: usize,
        books: &'r Books,
        orders: Receiver<Order>,
    ) -> Reader<'r> {
        let place = Place {
            node: number % nodes,
            last: None,
            before_last: None,
            without_stream: Instant::now(),
            has_had_one: false,
        };
        Reader { number, relay, nodes, books, orders, place }
    }

    /// Reads until the run is over.
    pub(crate) fn run(mut self) {
        while !self.books.is_over() {
            let Some(stream) = self.open() else {
                self.place.node = (self.place.node + 1) % self.nodes;
                thread::sleep(AGAIN);
                continue;
            };
            if std::mem::replace(&mut self.place.has_had_one, true) {
                self.books.was_absent(self.place.without_stream.elapsed());
            } else {
                self.books.counts.readers.fetch_add(1, Relaxed);
            }
            let order = self.read(stream);
            self.place.without_stream = Instant::now();
            if let Some(order) = order {
                self.carry_out(order);
            }
        }
    }

    fn open(&self) -> Option<EventStream> {
        self.relay.aim(self.place.node);
        let address = self.relay.address();
        let connection = Connection::open(&address, ANSWER, &Log::new()).ok()?;
        let request = Request::new("GET", &format!("/messages/{TOPIC}")).header("Host", &address);
        let request = match &self.place.last {
            Some(id) => request.header("Last-Event-ID", id),
            None => request,
        };
        match EventStream::open(connection, &request) {
            Ok(stream) => Some(stream),
            Err(error @ Error::NotAStream { status, .. }) if status != 503 => {
                let words = format!("reader {}: {error}", self.number);
                self.books.odd_error(&error, words);
                None
            }
            Err(_) => None,
        }
    }

    /// Reads until the stream ends, or an order comes.
    fn read(&mut self, mut stream: EventStream) -> Option<Order> {
        let counts = &self.books.counts;
        let (mut received, mut heard) = (stream.received(), Instant::now());
        while !self.books.is_over() {
            if let Ok(order) = self.orders.try_recv() {
                return Some(order);
            }
            stream.set_patience(LOOK);
            match stream.next_event() {
                Ok(Some(event)) => self.take(event),
                Err(Error::Timeout { .. }) => {}
                Ok(None) => {
                    counts.breaks.fetch_add(1, Relaxed);
                    return None;
                }
                Err(error) => {
                    counts.breaks.fetch_add(1, Relaxed);
                    if !error.is_end() {
                        self.books.odd(format!("reader {}: {error}", self.number));
                    }
                    return None;
                }
            }
            if stream.received() != received {
                (received, heard) = (stream.received(), Instant::now());
            } else if heard.elapsed() > SILENCE {
                counts.silences.fetch_add(1, Relaxed);
                self.place.node = (self.place.node + 1) % self.nodes;
                return None;
            }
        }
        None
    }

    fn take(&mut self, event: Event) {
        let Event { event: kind, data, id } = event;
        let mut ledger = self.books.ledger();
        match (kind.as_str(), texts::number(&data)) {
            ("message", Some(number)) => ledger.see(self.number, number, &id),
            ("gap", _) => match gap_word(&data) {
                Some(word) => ledger.gap(self.number, word),
                None => ledger.stray(self.number, &format!("gap {data}")),
            },
            _ => ledger.stray(self.number, &format!("event {kind:?}, id {id:?}, data {data:.80?}")),
        }
        drop(ledger);
        if !id.is_empty() && self.place.last.as_ref() != Some(&id) {
            self.place.before_last = self.place.last.replace(id);
        }
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Move { node, away } => {
                self.place.node = node;
                // The absence is the schedule's, not a wait for something.
                thread::sleep(away);
            }
            Order::Forget => self.place.last = self.place.before_last.take(),
        }
        self.books.counts.moves.fetch_add(1, Relaxed);
    }
}

/// The word of a gap; none for a reset, since the stream of a run is never made anew.
fn gap_word(data: &str) -> Option<GapWord> {
    let data: Value = serde_json::from_str(data).ok()?;
    match (data["missed"].as_u64(), data["possible"].as_bool()) {
        (Some(missed), _) => Some(GapWord::Counted(missed)),
        (None, Some(true)) => Some(GapWord::Possible),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_read() {
        assert_eq!(gap_word("{\"missed\":7}"), Some(GapWord::Counted(7)));
        assert_eq!(gap_word("{\"possible\":true}"), Some(GapWord::Possible));
        assert_eq!(gap_word("{\"reset\":true}"), None);
        assert_eq!(gap_word("?"), None);
    }
}
