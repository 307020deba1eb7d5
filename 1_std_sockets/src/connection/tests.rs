//! Deadlines, with a clock that the tests advance.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use clap::Parser;
use feed::clock::{self, Now};
use feed::settings::Settings;
use rustix::event::epoll::EventFlags;

use super::*;
use crate::http::Body;

/// Only a broken server takes longer, even on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// More than the kernel buffers between two sockets.
const LARGE: usize = 32 * 1024 * 1024;

fn handler(feed: Arc<Feed>, request: Request, body: RequestBody) -> PendingResponse {
    Box::pin(async move {
        match request.path() {
            "/read" => match body.read().await {
                Ok(body) => Response::text(200, "text/plain", format!("{} bytes", body.len())),
                Err(problem) => Response::from(&problem),
            },
            "/never" => pending().await,
            "/panic" => panic!("a bug in a handler"),
            "/large" => Response::text(200, "text/plain", "x".repeat(LARGE)),
            "/stream" => {
                let stream = feed.subscribe("t", "", None).expect("open").expect("a stream");
                Response::new(200, Body::Events(stream))
            }
            "/ticks" | "/last" => {
                let query = if request.path() == "/last" { "count=1" } else { "" };
                let stream = feed.ticks(query, None).expect("open").expect("a stream");
                Response::new(200, Body::Events(stream))
            }
            _ => Response::text(200, "text/plain", "ok"),
        }
    })
}

/// A connection and its client.
struct Pair {
    client: TcpStream,
    pending: Arc<Pending>,
    connection: Connection,
}

impl Pair {
    fn new() -> Pair {
        let listener = TcpListener::bind("127.0.0.1:0").expect("any port");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        client.set_read_timeout(Some(PATIENCE)).expect("an option");
        let (stream, _) = listener.accept().expect("one waits");
        let feed = Feed::new(Settings::parse_from(["test", "--max-pending", "1"])).expect("opens");
        let feed = Arc::new(feed);
        let pending = Pending::new(&feed.settings);
        let service = Rc::new(Service { feed, handler, pending: Arc::clone(&pending) });
        let local = Local::new(service.feed.settings.request_timeout());
        let io = Io::new(stream, Rc::new(local)).expect("an option");
        let connection = Connection::new(io, pending.place(), service);
        Pair { client, pending, connection }
    }

    /// A connection polled until it waits; its client has sent this.
    fn sent(request: &str) -> Pair {
        let mut pair = Pair::new();
        pair.send(request);
        pair
    }

    fn send(&mut self, request: &str) {
        self.client.write_all(request.as_bytes()).expect("it is open");
        let start = Instant::now();
        // The kernel may take a moment to hand it over.
        while self.connection.io.stream.peek(&mut [0; 1]).is_err() {
            assert!(start.elapsed() < PATIENCE, "nothing arrives");
        }
        assert!(self.settle().is_pending());
    }

    /// Polls it until there is nothing more to do.
    fn settle(&mut self) -> Poll<()> {
        let mut context = Context::from_waker(Waker::noop());
        loop {
            self.connection.io.report(EventFlags::IN | EventFlags::OUT);
            if matches!(self.connection.phase, Phase::Answering(_)) {
                // A worker reads the clock before each turn, and a stream begins within the last.
                self.pass_until(self.now().max(clock::now().monotonic));
            }
            let polled = self.connection.poll(&mut context);
            if !self.connection.io.wants_a_turn.take() {
                return polled;
            }
        }
    }

    /// True if it has no place among the pending connections.
    fn leaves_room(&self) -> bool {
        self.pending.try_place().is_some()
    }

    fn pass(&self, seconds: u64) {
        self.pass_until(self.now() + seconds * SECOND);
    }

    /// The monotonic time.
    fn now(&self) -> u64 {
        self.connection.io.local.now.get().monotonic
    }

    fn pass_until(&self, monotonic: u64) {
        let now = &self.connection.io.local.now;
        now.set(Now { monotonic, ..now.get() });
    }

    /// Nothing happens until the deadline, which is in `seconds`.
    fn wait_out(&mut self, seconds: u64) -> Poll<()> {
        let deadline = self.connection.io.deadline.get();
        assert_eq!(deadline - self.now(), seconds * SECOND);
        self.pass_until(deadline - 1);
        assert!(self.settle().is_pending());
        self.pass_until(deadline);
        self.settle()
    }

    /// The answer is out, and its client does not close the connection.
    fn wait_out_the_close(&mut self, status: &str) {
        let mut answer = String::new();
        self.client.read_to_string(&mut answer).expect("an answer, then the end");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(self.wait_out(2).is_ready());
    }
}

#[test]
fn a_silent_connection_is_closed() {
    let mut pair = Pair::new();
    assert!(pair.settle().is_pending());
    assert!(pair.wait_out(30).is_ready());
}

#[test]
fn a_head_must_be_whole_in_time_however_often_a_byte_comes() {
    let mut pair = Pair::new();
    pair.pass(10);
    pair.send("GET /");
    for _ in 0..9 {
        pair.pass(2);
        pair.send("x");
    }
    assert!(pair.wait_out(2).is_pending());
    pair.wait_out_the_close("408");
}

#[test]
fn a_body_must_be_whole_in_time_however_often_a_byte_comes() {
    let mut pair = Pair::sent("POST /read HTTP/1.1\r\nHost: h\r\nContent-Length: 20\r\n\r\n");
    assert!(!pair.connection.io.answering.get());
    for _ in 0..9 {
        pair.pass(3);
        pair.send("x");
    }
    assert!(pair.wait_out(3).is_pending());
    pair.wait_out_the_close("408");
}

#[test]
fn a_head_that_is_refused_gets_no_body() {
    for (rest, status) in [(" / HTTP/2.0\r\n\r\n", 505), (" / HTTP/1.1\r\nno colon\r\n\r\n", 400)] {
        for (method, has_body) in [("HEAD", false), ("GET", true)] {
            let mut pair = Pair::sent(&format!("{method}{rest}"));
            let mut answer = String::new();
            pair.client.read_to_string(&mut answer).expect("an answer, then the end");
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
            assert_eq!(!answer.ends_with("\r\n\r\n"), has_body, "{answer}");
        }
    }
}

#[test]
fn an_answer_may_not_be_pending_forever() {
    let mut pair = Pair::sent("GET /never HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(pair.connection.io.answering.get());
    assert!(pair.wait_out(30).is_pending());
    pair.wait_out_the_close("500");
}

#[test]
fn an_answer_buys_time_for_the_next_request_and_nothing_else_does() {
    let mut pair = Pair::sent("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(pair.wait_out(30).is_ready());
    let mut pair = Pair::sent("GET / HTTP/1.1\r\nHost: h\r\n\r\nGET /");
    assert!(pair.wait_out(30).is_pending());
    let mut pair = Pair::sent("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    pair.pass(29);
    pair.send("GET /");
    assert!(pair.wait_out(1).is_pending());
}

#[test]
fn a_stream_takes_no_place_among_the_pending_connections() {
    let mut pair = Pair::new();
    assert!(!pair.leaves_room());
    pair.send("GET /stream HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(pair.leaves_room());
    // A stream of one event.
    let mut pair = Pair::sent("GET /last HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(!pair.leaves_room());
    assert!(pair.wait_out(30).is_ready());
    drop(pair.connection);
    assert!(pair.pending.try_place().is_some());
}

#[test]
fn an_answer_must_be_taken_in_time() {
    let mut pair = Pair::sent("GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(pair.wait_out(30).is_ready());
}

#[test]
fn a_stream_has_no_deadline_but_its_next_event() {
    let mut pair = Pair::sent("GET /stream HTTP/1.1\r\nHost: h\r\n\r\n");
    let keep_alive = pair.connection.io.deadline.get() - pair.now();
    assert!(keep_alive.abs_diff(15 * SECOND) < SECOND, "{keep_alive}");
    pair.client.shutdown(Shutdown::Write).expect("it is open");
    pair.connection.io.report(EventFlags::RDHUP);
    assert!(pair.settle().is_ready());
}

#[test]
fn a_panic_is_answered() {
    let mut pair = Pair::sent("GET /panic HTTP/1.0\r\n\r\n");
    pair.wait_out_the_close("500");
}

#[test]
fn a_body_reaches_the_handler_whole_and_the_next_request_follows() {
    let mut pair = Pair::sent("POST /read HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab");
    pair.send("cdGET / HTTP/1.0\r\n\r\n");
    let mut answers = String::new();
    pair.client.read_to_string(&mut answers).expect("two answers, then the end");
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2);
    assert!(answers.contains("\r\n\r\n4 bytesHTTP/1.1"), "{answers}");
}

#[test]
fn a_client_that_has_sent_its_last_byte_gets_what_is_there() {
    let mut pair = Pair::new();
    let request = b"GET /stream HTTP/1.1\r\nHost: h\r\n\r\n";
    pair.client.write_all(request).expect("it is open");
    pair.client.shutdown(Shutdown::Write).expect("it is open");
    pair.connection.io.report(EventFlags::RDHUP);
    let start = Instant::now();
    while pair.settle().is_pending() {
        assert!(start.elapsed() < PATIENCE, "it waits for events");
    }
    drop(pair.connection);
    let mut answer = String::new();
    pair.client.read_to_string(&mut answer).expect("a head, then the end");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[test]
fn a_first_event_leaves_together_with_the_head() {
    let mut pair = Pair::sent("GET /ticks HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut buffer = [0; 4096];
    let bytes = pair.client.read(&mut buffer).expect("an answer in time");
    let first = String::from_utf8_lossy(&buffer[..bytes]);
    assert!(first.starts_with("HTTP/1.1 200 OK\r\n") && first.contains("data: "), "{first}");
}
