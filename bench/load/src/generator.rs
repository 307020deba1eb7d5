//! The load generator: one loop on one thread.
//!
//! When to connect, when to publish, what to observe and when to stop are values in a [`Plan`],
//! fixed before the run as Unix times. Nothing in the loop waits for "a little": if something is
//! not there by its time, that is a finding.
//!
//! On the hot path there is no allocation and no lock for an event, and one clock read for each
//! read of a socket. Latency counts from the *scheduled* time of an event, so a server that stalls
//! and sends late cannot hide it (coordinated omission).

mod asking;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::{Events, Poll, Token};

use super::arrivals::Times;
use super::ledger::Ledger;
pub use super::ledger::Outcome;
use super::plan::{Asking, Plan, Schedule, Stop};
use super::publisher::Publisher;
use super::stamp::Stamp;
use super::subscriber::{Book, Failure, Reading, Received, Subscriber, limits};
use super::waits::End;
use crate::timer::{SECOND_NS, Timer};

/// Bytes taken from a socket at once; the largest that loopback delivers in one segment.
const READ_BYTES: usize = 64 * 1024;

/// Readiness reports taken from the kernel at once.
const EVENTS_AT_ONCE: usize = 1024;

/// How long the body of a refusal may take: its beginning is wanted, and a server may never end it.
const REFUSAL_NS: u64 = SECOND_NS;

const TIMER: Token = Token(usize::MAX);
const PUBLISHER: Token = Token(usize::MAX - 1);

/// A moment of the plan, for the observer.
#[derive(Debug, Clone, Copy)]
pub struct Mark<'g> {
    /// Which of [`Plan::marks_ns`]; their number at the end.
    pub index: usize,
    /// Streams that are open.
    pub open: u64,
    /// Reads and bytes until now.
    pub received: Received,
    /// The outcome until now.
    pub outcome: &'g Outcome,
}

/// Carries out the plan. `clock` gives Unix nanoseconds; `observe` is called at each mark.
///
/// # Errors
/// When epoll or a timer cannot be had. Errors of the server are in the [`Outcome`].
pub fn run(
    plan: &Plan,
    clock: impl Fn() -> u64,
    mut observe: impl FnMut(Mark<'_>),
) -> io::Result<Outcome> {
    let mut poll = Poll::new()?;
    let mut timer = Timer::new(poll.registry(), TIMER)?;
    let mut events = Events::with_capacity(EVENTS_AT_ONCE);
    let mut buffer = vec![0; READ_BYTES];
    let mut generator = Generator::new(plan);
    let mut unread = Vec::new();
    let mut marks_met = 0;
    let waited_before_ns = fleet::waited_for_a_core();
    loop {
        let now_ns = clock();
        generator.connect_due(now_ns, poll.registry());
        while plan.marks_ns.get(marks_met).is_some_and(|due_ns| *due_ns <= now_ns) {
            observe(generator.mark(marks_met));
            marks_met += 1;
        }
        if plan.cancel.as_ref().is_some_and(|it| it.load(Ordering::Relaxed)) {
            break;
        }
        if generator.is_late(now_ns) {
            break;
        }
        generator.refusals_due(now_ns);
        generator.publish_due(&clock, poll.registry());
        if generator.is_over(now_ns, marks_met) {
            break;
        }
        let next_mark_ns = plan.marks_ns.get(marks_met).copied();
        timer.set(generator.next_due_ns(now_ns).into_iter().chain(next_mark_ns).min())?;
        let waits = generator.unread.is_empty() && generator.again.is_empty();
        let sleeps = !plan.stays_awake && waits;
        match poll.poll(&mut events, (!sleeps).then_some(Duration::ZERO)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            match event.token() {
                TIMER => {}
                PUBLISHER => generator.advance_publisher(),
                Token(index) => {
                    let until_closed = event.is_read_closed() || event.is_error();
                    generator.advance(index, until_closed, &mut buffer, &clock);
                }
            }
        }
        // The bytes that these leave unread are for the next turn.
        std::mem::swap(&mut unread, &mut generator.unread);
        for (index, until_closed) in unread.drain(..) {
            generator.advance(index, until_closed, &mut buffer, &clock);
        }
    }
    if plan.mark_at_end {
        observe(generator.mark(plan.marks_ns.len()));
    }
    let mut outcome = generator.close(clock());
    outcome.waited_for_a_core_ns = fleet::waited_for_a_core().saturating_sub(waited_before_ns);
    Ok(outcome)
}

struct Generator<'p> {
    plan: &'p Plan,
    subscribers: Vec<Option<Subscriber>>,
    books: Vec<Book>,
    publisher: Option<Publisher>,
    published: u64,
    ledger: Ledger<'p>,
    received: Received,
    /// Subscribers that did not read all that was there, and whether the peer has closed.
    unread: Vec<(usize, bool)>,
    late: bool,
    /// How much sooner than planned all streams were open, and everything behind that begins.
    earlier_ns: u64,
    /// Requests that were begun.
    asked: u64,
    /// Connections whose answer has ended, and which ask again.
    again: Vec<usize>,
    /// Connections of an open loop that the next request may take.
    free: Vec<usize>,
    /// Connections whose refusal is being read: until when, which, and the number of its request.
    refusing: VecDeque<(u64, usize, u64)>,
    /// When the requests of an open loop are due.
    arrivals: Option<Times>,
    /// A request of an open loop is due, and every connection is taken.
    holds_back: bool,
    /// Connections that are open or being made.
    busy: usize,
    failed: usize,
    /// Those of them that never opened.
    unopened: u64,
    /// Subscribers that have connected, and have neither a response head nor failed.
    unanswered: usize,
    /// Subscribers that read.
    live: usize,
}

impl<'p> Generator<'p> {
    fn new(plan: &'p Plan) -> Generator<'p> {
        let publisher = plan.publish.as_ref().map(|it| Publisher::new(it, PUBLISHER));
        let arrivals = match &plan.asking {
            Some(Asking::At { arrivals, .. }) => Some(arrivals.times()),
            _ => None,
        };
        let stalled = match plan.stalled_each {
            0 => 0,
            each => plan.connect_at_ns.len() / each as usize,
        };
        Generator {
            plan,
            subscribers: Vec::with_capacity(plan.connect_at_ns.len()),
            books: Vec::with_capacity(plan.connect_at_ns.len()),
            publisher,
            published: 0,
            ledger: Ledger::new(plan),
            live: plan.connect_at_ns.len() - stalled,
            received: Received::default(),
            unread: Vec::new(),
            asked: 0,
            again: Vec::new(),
            free: Vec::new(),
            refusing: VecDeque::new(),
            unopened: 0,
            arrivals,
            holds_back: false,
            busy: 0,
            late: false,
            earlier_ns: 0,
            failed: 0,
            unanswered: 0,
        }
    }

    fn connect_due(&mut self, now_ns: u64, registry: &mio::Registry) {
        if self.arrivals.is_some() {
            return self.ask_due(now_ns, registry);
        }
        for index in std::mem::take(&mut self.again) {
            self.connect(index, false, now_ns, registry);
        }
        while let Some(due_ns) = self.plan.connect_at_ns.get(self.subscribers.len()) {
            if *due_ns > now_ns || self.unanswered >= self.plan.unanswered_max {
                return;
            }
            let index = self.subscribers.len();
            if index == 0
                && let Some(Err(error)) = self.publisher.as_mut().map(|it| it.connect(registry))
            {
                self.publisher_failed(&error);
            }
            let each = self.plan.stalled_each;
            let stalled = each > 0 && (index as u64 + 1).is_multiple_of(each);
            let mut book = Book { stalled, ..Book::default() };
            match &self.plan.schedule {
                Schedule::Published(pace) => {
                    (book.start_ns, book.last) = (Some(pace.first_ns), pace.count);
                }
                Schedule::Counted { events } => book.last = *events,
                _ => {}
            }
            self.books.push(book);
            self.subscribers.push(None);
            self.connect(index, stalled, now_ns, registry);
        }
    }

    fn connect(&mut self, index: usize, stalled: bool, now_ns: u64, registry: &mio::Registry) {
        self.asked += 1;
        self.unanswered += 1;
        let book = &mut self.books[index];
        (book.times.connect_ns, book.watch.number) = (now_ns, self.asked);
        let limits = limits(self.plan.connections());
        let (addr, tls) = (self.plan.addr, self.plan.tls.as_ref());
        match Subscriber::connect(addr, tls, Token(index), stalled, limits, registry) {
            Ok(subscriber) => {
                self.subscribers[index] = Some(subscriber);
                self.busy += 1;
            }
            Err(error) => self.subscriber_failed(index, &error.into(), now_ns),
        }
    }

    fn publish_due(&mut self, clock: &impl Fn() -> u64, registry: &mio::Registry) {
        let Some(pace) = self.plan.publish.as_ref().map(|it| it.pace) else { return };
        let Some(publisher) = &mut self.publisher else { return };
        while self.published < pace.count && publisher.is_ready() {
            let n = self.published + 1;
            let (scheduled_ns, now_ns) = (pace.time_ns(n) - self.earlier_ns, clock());
            if scheduled_ns > now_ns {
                return;
            }
            self.published = n;
            self.ledger.outcome.published = n;
            if self.ledger.outcome.window_ns.contains(&scheduled_ns) {
                let lateness = &mut self.ledger.outcome.publish_lateness_ns;
                lateness.saturating_record(now_ns - scheduled_ns);
            }
            if let Err(error) =
                publisher.publish(Stamp { n, scheduled_ns, emitted_ns: now_ns }, registry)
            {
                self.publisher_failed(&error);
                return;
            }
        }
    }

    fn advance_publisher(&mut self) {
        if let Some(Err(error)) = self.publisher.as_mut().map(Publisher::advance) {
            self.publisher_failed(&error);
        }
    }

    /// Counts it. The next message is published all the same: one refusal says little of the rest.
    fn publisher_failed(&mut self, error: &io::Error) {
        if let Some(publisher) = &mut self.publisher {
            publisher.reset();
        }
        self.ledger.outcome.publish_failures += 1;
        self.ledger.failure(format!("publishing: {error}"));
    }

    fn advance(
        &mut self,
        index: usize,
        until_closed: bool,
        buffer: &mut [u8],
        clock: &impl Fn() -> u64,
    ) {
        let Some(subscriber) = &mut self.subscribers[index] else { return };
        let ledger = &mut self.ledger;
        let book = &mut self.books[index];
        let (was_up, was_refused) = (book.up, subscriber.is_refused());
        let result = subscriber.request(&self.plan.request, book, clock).and_then(|()| {
            subscriber.receive(
                buffer,
                &Reading {
                    until_closed,
                    clock,
                    stamp: &self.plan.stamp,
                    until: self.plan.until.as_deref(),
                },
                &mut self.received,
                book,
                |book, arrival| ledger.note(book, arrival),
            )
        });
        if book.up && !was_up {
            self.unanswered -= 1;
        }
        if subscriber.is_refused() && !was_refused {
            let number = self.books[index].watch.number;
            self.refusing.push_back((clock() + REFUSAL_NS, index, number));
        }
        match result {
            Ok(false) => {}
            Ok(true) => self.unread.push((index, until_closed)),
            Err(failure) => self.subscriber_failed(index, &failure, clock()),
        }
    }

    fn subscriber_failed(&mut self, index: usize, failure: &Failure, now_ns: u64) {
        self.busy -= usize::from(self.subscribers[index].take().is_some());
        let book = &mut self.books[index];
        if !book.up {
            self.unanswered -= 1;
        }
        let end = failure.end(book.times.requested_ns > 0, self.plan.until.is_some());
        self.ledger.ended(book, end, now_ns);
        if let Failure::Answer(refusal) = failure {
            self.ledger.outcome.waits.refused(refusal);
        }
        if let Some(asking) = &self.plan.asking {
            if !matches!(end, End::Whole | End::UntilMark) {
                let number = book.watch.number;
                self.ledger.failure(format!("request {number}: {failure}"));
            }
            self.ledger.answered(book);
            match asking {
                Asking::At { .. } => self.free.push(index),
                Asking::Again { requests } => {
                    if self.asked + (self.again.len() as u64) < *requests {
                        self.again.push(index);
                    }
                }
            }
            return;
        }
        if book.stalled && book.up {
            self.ledger.outcome.stalled_closed += 1;
            return;
        }
        // A counted stream ends after its events.
        if book.complete && matches!(self.plan.schedule, Schedule::Counted { .. }) {
            return;
        }
        self.failed += 1;
        if book.up {
            self.ledger.outcome.early_closes += 1;
        } else {
            self.unopened += 1;
        }
        self.ledger.failure(format!("stream {index}: {failure}"));
    }

    /// Gives up what is open, and adds up the books.
    fn close(mut self, now_ns: u64) -> Outcome {
        for index in 0..self.subscribers.len() {
            self.end_refusal(index, now_ns);
        }
        if self.plan.goes_on && !self.late {
            self.ledger.outcome.not_up = self.unopened;
        }
        self.ledger.close(&mut self.books, self.received, now_ns)
    }

    fn mark(&self, index: usize) -> Mark<'_> {
        let (received, outcome) = (self.received, &self.ledger.outcome);
        Mark { index, open: self.open(), received, outcome }
    }

    fn open(&self) -> u64 {
        let open = |(slot, book): &(&Option<Subscriber>, &Book)| slot.is_some() && book.up;
        self.subscribers.iter().zip(&self.books).filter(open).count() as u64
    }

    /// Whether some stream is not open although all had to be; checked once. Where the run goes on without
    /// it, that is as soon as none is waited for.
    fn is_late(&mut self, now_ns: u64) -> bool {
        if self.late || self.plan.asking.is_some() {
            return false;
        }
        let all = self.plan.connect_at_ns.len();
        let are_answered = self.subscribers.len() == all && self.unanswered == 0;
        if now_ns < self.plan.up_by_ns && !(self.plan.goes_on && are_answered) {
            return false;
        }
        self.late = true;
        self.earlier_ns = self.plan.up_by_ns.saturating_sub(now_ns);
        let window_ns = &mut self.ledger.outcome.window_ns;
        *window_ns = window_ns.start - self.earlier_ns..window_ns.end - self.earlier_ns;
        let all = all as u64;
        let were_up = self.books.iter().filter(|it| it.up).count() as u64;
        self.ledger.outcome.not_up = all - were_up;
        self.ledger.outcome.not_up > 0 && !self.plan.goes_on
    }

    fn is_over(&self, now_ns: u64, marks_met: usize) -> bool {
        if self.is_asked_out() {
            return true;
        }
        let is_complete = match self.plan.stop {
            Stop::At(_) => false,
            Stop::AfterEvents { events, .. } => self.ledger.outcome.delivered >= events,
            Stop::WhenComplete { .. } => {
                now_ns >= self.plan.window_ns.end
                    && marks_met == self.plan.marks_ns.len()
                    && (self.ledger.complete == self.live
                        || matches!(self.plan.schedule, Schedule::Quiet)
                        || self.is_read_out())
            }
        };
        is_complete || now_ns >= self.stop_ns()
    }

    /// Whether every counted stream has ended: what has not come by then is lost, and needs no waiting for.
    fn is_read_out(&self) -> bool {
        matches!(self.plan.schedule, Schedule::Counted { .. })
            && self.subscribers.len() == self.plan.connect_at_ns.len()
            && self.busy == 0
    }

    /// When the run is over in any case.
    fn stop_ns(&self) -> u64 {
        self.plan.stop.at_latest_ns() - self.earlier_ns
    }

    fn next_due_ns(&self, now_ns: u64) -> Option<u64> {
        // If too many wait, a response head wakes the loop.
        let may_connect = self.unanswered < self.plan.unanswered_max;
        let connect = self.plan.connect_at_ns.get(self.subscribers.len()).copied();
        let connect = connect.filter(|_| may_connect);
        let publish = match (&self.plan.publish, &self.publisher) {
            // If it is not ready, its answer wakes the loop.
            (Some(publish), Some(publisher))
                if publisher.is_ready() && self.published < publish.pace.count =>
            {
                Some(publish.pace.time_ns(self.published + 1) - self.earlier_ns)
            }
            _ => None,
        };
        let arrival = self.arrivals.as_ref().filter(|_| !self.holds_back).and_then(Times::next_ns);
        let refusal = self.refusing.front().map(|it| it.0);
        let up_by = (!self.late && self.plan.asking.is_none()).then_some(self.plan.up_by_ns);
        let window_end = Some(self.plan.window_ns.end).filter(|end_ns| *end_ns > now_ns);
        let stop = self.stop_ns();
        [connect, arrival, refusal, publish, up_by, window_end, Some(stop)]
            .into_iter()
            .flatten()
            .min()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::plan::Pace;
    use crate::timer::{SECOND_NS, unix_ns};

    #[test]
    fn no_more_connections_than_allowed_wait_for_a_response_head() {
        const AT_ONCE: usize = 3;
        const ALL: usize = 7;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let now_ns = unix_ns();
        let connect = Pace { first_ns: now_ns, every_ns: 1, count: ALL as u64 };
        let until_ns = now_ns + 20 * SECOND_NS;
        let addr = listener.local_addr().unwrap();
        let plan = Plan {
            unanswered_max: AT_ONCE,
            schedule: Schedule::Quiet,
            ..Plan::bare(addr, "/", connect, until_ns, until_ns..until_ns + 1)
        };
        let generator = thread::spawn(move || run(&plan, unix_ns, |_| {}).unwrap());
        let mut answered = Vec::new();
        while answered.len() < ALL {
            let mut waiting = Vec::new();
            for _ in 0..AT_ONCE.min(ALL - answered.len()) {
                listener.set_nonblocking(false).unwrap();
                let (mut stream, _) = listener.accept().unwrap();
                // All are due since the beginning, so the request comes after every connection that
                // may begin.
                assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
                waiting.push(stream);
            }
            listener.set_nonblocking(true).unwrap();
            let one_more = listener.accept();
            assert_eq!(one_more.unwrap_err().kind(), io::ErrorKind::WouldBlock);
            for mut stream in waiting {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
                    .unwrap();
                answered.push(stream);
            }
        }
        drop(answered);
        assert_eq!(generator.join().unwrap().early_closes, ALL as u64);
    }

    #[test]
    fn counted_streams_that_have_ended_are_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (addr, now_ns) = (listener.local_addr().unwrap(), unix_ns());
        // Only a run that waits for the event that is missing is there at its last time.
        let hang_ns = now_ns + 300 * SECOND_NS;
        let connect = Pace { first_ns: now_ns, every_ns: 1, count: 1 };
        let plan = Plan {
            schedule: Schedule::Counted { events: 3 },
            stop: Stop::WhenComplete { at_latest_ns: hang_ns },
            ..Plan::bare(addr, "/", connect, hang_ns, now_ns..now_ns + 1)
        };
        let generator = thread::spawn(move || run(&plan, unix_ns, |_| {}).unwrap());
        let (mut stream, _) = listener.accept().unwrap();
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
        let events = "id: 1\ndata: a\n\nid: 3\ndata: c\n\n";
        let head =
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked";
        let answer = format!("{head}\r\n\r\n{:x}\r\n{events}\r\n0\r\n\r\n", events.len());
        stream.write_all(answer.as_bytes()).unwrap();
        let outcome = generator.join().unwrap();
        assert_eq!((outcome.gaps, outcome.delivered), (1, 2));
        assert!(unix_ns() < hang_ns);
    }
}
