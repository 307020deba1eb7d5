//! Publishers: each message has a number and a key, and is sent again with that key, to any node, until one
//! acknowledges it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::Value;
use wire::{Connection, Error, Log, Request};

use super::books::Books;
use super::{TOPIC, texts};

/// Messages on their way at once: nodes that are held keep some of them for a while.
pub(crate) const PUBLISHERS: usize = 32;

/// The time for a node to answer; then it is held, or hangs, and another one is asked.
const ANSWER: Duration = Duration::from_secs(3);
/// The wait before a message is sent again.
const AGAIN: Duration = Duration::from_millis(50);
/// A message is given up after this time, without an acknowledgement. Brokers are never away for so long.
pub(crate) const GIVE_UP: Duration = Duration::from_secs(90);

/// The publishers of a run.
pub(crate) struct Publishers<'p> {
    nodes: Vec<SocketAddr>,
    books: &'p Books,
    seed: u64,
    rate: u64,
    /// The next message.
    next: AtomicU64,
    /// No further message is begun.
    is_closing: AtomicBool,
}

/// The answer to one attempt.
enum Answer {
    /// The message is in, under this id.
    In(String),
    Refused,
    /// None, or only a part.
    Nothing,
    /// Another one: its status, and the begin of its body.
    Odd(u16, String),
}

impl<'p> Publishers<'p> {
    pub(crate) fn new(
        nodes: Vec<SocketAddr>,
        books: &'p Books,
        seed: u64,
        rate: u64,
    ) -> Publishers<'p> {
        let (next, is_closing) = Default::default();
        Publishers { nodes, books, seed, rate, next, is_closing }
    }

    /// One of the threads: publishes each message when it is due, or as soon as there is time.
    pub(crate) fn run(&self, start: Instant) {
        let first = self.next.load(Relaxed);
        loop {
            let number = self.next.fetch_add(1, Relaxed);
            let due = start + Duration::from_micros((number - first) * 1_000_000 / self.rate);
            loop {
                if self.is_closing.load(Relaxed) || self.books.is_over() {
                    return;
                }
                let left = due.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                // The pace is the input of the run, not a wait for something.
                thread::sleep(left.min(AGAIN));
            }
            self.publish(number);
        }
    }

    /// Lets the threads end after their messages.
    pub(crate) fn close(&self) {
        self.is_closing.store(true, Relaxed);
    }

    /// Publishes the next message now; whether it was acknowledged.
    pub(crate) fn publish_next(&self) -> bool {
        self.publish(self.next.fetch_add(1, Relaxed))
    }

    fn publish(&self, number: u64) -> bool {
        // Which nodes get it is the seed's decision too.
        let mut rng = Rng::with_seed(self.seed ^ number.rotate_left(32));
        let counts = &self.books.counts;
        let deadline = Instant::now() + GIVE_UP;
        let text = texts::text(number);
        while Instant::now() < deadline && !self.books.is_over() {
            let node = self.nodes[rng.usize(..self.nodes.len())];
            match attempt(node, number, &text) {
                Answer::In(id) => {
                    self.books.ledger().acknowledge(number, &id);
                    return true;
                }
                Answer::Refused => {
                    counts.refusals.fetch_add(1, Relaxed);
                }
                Answer::Nothing => {}
                Answer::Odd(status, body) => {
                    let words = format!("message {number}: status {status}, {body}");
                    self.books.odd_status(status, words);
                }
            }
            counts.repeats.fetch_add(1, Relaxed);
            thread::sleep(AGAIN);
        }
        counts.given_up.fetch_add(1, Relaxed);
        false
    }
}

fn attempt(node: SocketAddr, number: u64, text: &str) -> Answer {
    let address = node.to_string();
    let request = Request::new("POST", &format!("/messages/{TOPIC}"))
        .header("Host", &address)
        .header("Connection", "close")
        .header("Content-Type", "text/plain; charset=utf-8")
        .header("Idempotency-Key", number.to_string())
        .body(text);
    let ask = || -> Result<(u16, Vec<u8>), Error> {
        let mut connection = Connection::open(&address, ANSWER, &Log::new())?;
        let (head, mut body) = connection.ask(&request)?;
        Ok((head.status, connection.read_body_to_end(&mut body)?))
    };
    let Ok((status, body)) = ask() else { return Answer::Nothing };
    if status == 503 {
        return Answer::Refused;
    }
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    match (status, answer["id"].as_str()) {
        (201, Some(id)) => Answer::In(id.to_owned()),
        _ => Answer::Odd(status, format!("{:.80}", String::from_utf8_lossy(&body))),
    }
}
