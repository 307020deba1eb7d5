//! The load generator: one loop on one thread.
//!
//! When to connect, when to publish, what to observe and when to stop are values in a [`Plan`],
//! fixed before the run as Unix times. Nothing in the loop waits for "a little": if something is
//! not there by its time, that is a finding.
//!
//! On the hot path there is no allocation and no lock for an event, and one clock read for each
//! read of a socket. Latency counts from the *scheduled* time of an event, so a server that stalls
//! and sends late cannot hide it (coordinated omission).

use std::io;

use hdrhistogram::Histogram;
use mio::{Events, Poll, Token};

use super::plan::{Pace, Plan, Schedule, Stop};
use super::publisher::Publisher;
use super::stamp::Stamp;
use super::subscriber::{Arrival, Book, Failure, Received, Subscriber};
use crate::timer::{SECOND_NS, Timer};

/// Largest latency that is told apart; anything slower is recorded as this.
const LATENCY_MAX_NS: u64 = 60 * SECOND_NS;

/// Decimal digits kept of a latency: 0.1 %, far finer than the host's noise.
const LATENCY_DIGITS: u8 = 3;

/// Bytes taken from a socket at once; the largest that loopback delivers in one segment.
const READ_BYTES: usize = 64 * 1024;

/// Readiness reports taken from the kernel at once.
const EVENTS_AT_ONCE: usize = 1024;

const TIMER: Token = Token(usize::MAX);
const PUBLISHER: Token = Token(usize::MAX - 1);

/// A moment of the plan, for the observer.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    /// Which of [`Plan::marks_ns`].
    pub index: usize,
    /// Streams that are open.
    pub open: u64,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Deliveries due in the window: events times subscribers.
    pub expected: u64,
    /// Deliveries of the window that came, each counted once.
    pub delivered: u64,
    /// Events that never came, warm-up included.
    pub gaps: u64,
    /// Events that came again, warm-up included.
    pub duplicates: u64,
    /// Events that came after a later one, warm-up included.
    pub out_of_order: u64,
    /// Events whose data or id is not what it must be.
    pub corrupt: u64,
    /// Events whose stamp is not on the stream's own schedule.
    pub off_schedule: u64,
    /// Events that came before they were due.
    pub early: u64,
    /// `event: gap`: the server said that it lost something.
    pub gap_events: u64,
    /// Subscribers that were open at some time.
    pub opened: u64,
    /// Subscribers that were not open when they had to be.
    pub not_up: u64,
    /// Streams that ended before the run.
    pub early_closes: u64,
    /// The first failure of a connection, in words.
    pub first_failure: Option<String>,
    /// From scheduled to received, nanoseconds, of the window's deliveries.
    pub latency_ns: Histogram<u64>,
    /// From scheduled to sent, nanoseconds, of the window's publications: the harness's own share.
    pub publish_lateness_ns: Histogram<u64>,
    /// Events of all kinds.
    pub events: u64,
    /// Reads that gave something. More than about 1.2 events a read at a paced load means that the
    /// generator lags.
    pub reads: u64,
    /// Bytes received, heads and framing included.
    pub bytes: u64,
}

impl Outcome {
    /// Why the numbers of this run must not be shown, or nothing.
    pub fn fault(&self) -> Option<String> {
        let mut found = Vec::new();
        let mut note = |count: u64, what: &str| {
            if count > 0 {
                found.push(format!("{count} {what}"));
            }
        };
        note(self.not_up, "streams not open in time");
        note(self.early_closes, "streams ended early");
        note(self.gaps, "events lost");
        note(self.duplicates, "events doubled");
        note(self.out_of_order, "events out of order");
        note(self.corrupt, "events corrupt");
        note(self.off_schedule, "stamps off schedule");
        note(self.early, "events before they were due");
        note(self.gap_events, "gap events");
        if found.is_empty() && self.delivered != self.expected {
            found.push(format!("{} of {} delivered", self.delivered, self.expected));
        }
        found.extend(self.first_failure.clone());
        (!found.is_empty()).then(|| found.join(", "))
    }
}

/// Carries out the plan. `clock` gives Unix nanoseconds; `observe` is called at each mark.
///
/// # Errors
/// When epoll or a timer cannot be had. What the server does wrong is in the [`Outcome`].
pub fn run(
    plan: &Plan,
    clock: impl Fn() -> u64,
    mut observe: impl FnMut(Mark),
) -> io::Result<Outcome> {
    let mut poll = Poll::new()?;
    let mut timer = Timer::new(poll.registry(), TIMER)?;
    let mut events = Events::with_capacity(EVENTS_AT_ONCE);
    let mut buffer = vec![0; READ_BYTES];
    let mut generator = Generator::new(plan);
    let mut marks_met = 0;
    loop {
        let now_ns = clock();
        generator.connect_due(now_ns, poll.registry());
        while plan.marks_ns.get(marks_met).is_some_and(|due_ns| *due_ns <= now_ns) {
            observe(Mark { index: marks_met, open: generator.open() });
            marks_met += 1;
        }
        if generator.is_late(now_ns) {
            break;
        }
        generator.publish_due(&clock, poll.registry());
        if generator.is_over(now_ns, marks_met) {
            break;
        }
        let next_mark_ns = plan.marks_ns.get(marks_met).copied();
        timer.set(generator.next_due_ns(now_ns).into_iter().chain(next_mark_ns).min())?;
        match poll.poll(&mut events, None) {
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
    }
    Ok(generator.finish())
}

struct Generator<'p> {
    plan: &'p Plan,
    request: Vec<u8>,
    subscribers: Vec<Option<Subscriber>>,
    books: Vec<Book>,
    publisher: Option<Publisher>,
    published: u64,
    ledger: Ledger<'p>,
    received: Received,
    late: bool,
    failed: usize,
}

/// Where arrivals are counted: apart from the sockets, so that both can be borrowed at once.
struct Ledger<'p> {
    plan: &'p Plan,
    outcome: Outcome,
    complete: usize,
}

impl<'p> Generator<'p> {
    fn new(plan: &'p Plan) -> Generator<'p> {
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n\r\n",
            plan.target, plan.host
        );
        let publisher = match &plan.schedule {
            Schedule::Published { path, .. } => Some(Publisher::new(plan.addr, path, PUBLISHER)),
            _ => None,
        };
        Generator {
            plan,
            request: request.into_bytes(),
            subscribers: Vec::with_capacity(plan.connect_at_ns.len()),
            books: Vec::with_capacity(plan.connect_at_ns.len()),
            publisher,
            published: 0,
            ledger: Ledger { plan, outcome: empty_outcome(), complete: 0 },
            received: Received::default(),
            late: false,
            failed: 0,
        }
    }

    fn connect_due(&mut self, now_ns: u64, registry: &mio::Registry) {
        while let Some(due_ns) = self.plan.connect_at_ns.get(self.subscribers.len()) {
            if *due_ns > now_ns {
                return;
            }
            let index = self.subscribers.len();
            if index == 0
                && let Some(Err(error)) = self.publisher.as_mut().map(|it| it.connect(registry))
            {
                self.publisher_failed(&error);
            }
            self.books.push(match &self.plan.schedule {
                Schedule::Published { pace, .. } => {
                    Book { start_ns: Some(pace.first_ns), last: pace.count, ..Book::default() }
                }
                _ => Book::default(),
            });
            match Subscriber::connect(self.plan.addr, Token(index), registry) {
                Ok(subscriber) => self.subscribers.push(Some(subscriber)),
                Err(error) => {
                    self.subscribers.push(None);
                    self.subscriber_failed(index, &error.into());
                }
            }
        }
    }

    fn publish_due(&mut self, clock: &impl Fn() -> u64, registry: &mio::Registry) {
        let Schedule::Published { pace, .. } = &self.plan.schedule else { return };
        let Some(publisher) = &mut self.publisher else { return };
        while self.published < pace.count && publisher.is_ready() {
            let n = self.published + 1;
            let (scheduled_ns, now_ns) = (pace.time_ns(n), clock());
            if scheduled_ns > now_ns {
                return;
            }
            self.published = n;
            if self.plan.window_ns.contains(&scheduled_ns) {
                let lateness = &mut self.ledger.outcome.publish_lateness_ns;
                lateness.saturating_record(now_ns - scheduled_ns);
            }
            if let Err(error) = publisher.publish(Stamp { n, scheduled_ns }, now_ns, registry) {
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

    fn publisher_failed(&mut self, error: &io::Error) {
        self.publisher = None;
        self.ledger.failure(format!("POST: {error}"));
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
        let result = subscriber.request(&self.request).and_then(|()| {
            subscriber.receive(
                buffer,
                until_closed,
                clock,
                &mut self.received,
                &mut self.books[index],
                |book, arrival| ledger.note(book, arrival),
            )
        });
        if let Err(failure) = result {
            self.subscriber_failed(index, &failure);
        }
    }

    fn subscriber_failed(&mut self, index: usize, failure: &Failure) {
        self.subscribers[index] = None;
        self.failed += 1;
        if self.books[index].up {
            self.ledger.outcome.early_closes += 1;
        }
        self.ledger.failure(format!("stream {index}: {failure}"));
    }

    fn open(&self) -> u64 {
        let open = |(slot, book): &(&Option<Subscriber>, &Book)| slot.is_some() && book.up;
        self.subscribers.iter().zip(&self.books).filter(open).count() as u64
    }

    /// Whether some stream is not open although all had to be; checked once.
    fn is_late(&mut self, now_ns: u64) -> bool {
        if self.late || now_ns < self.plan.up_by_ns {
            return false;
        }
        self.late = true;
        self.ledger.outcome.not_up = self.plan.connect_at_ns.len() as u64 - self.open();
        self.ledger.outcome.not_up > 0
    }

    fn is_over(&self, now_ns: u64, marks_met: usize) -> bool {
        let all = self.plan.connect_at_ns.len();
        if self.failed == all {
            return true;
        }
        match self.plan.stop {
            Stop::At(end_ns) => now_ns >= end_ns,
            Stop::WhenComplete { at_latest_ns } => {
                let complete = now_ns >= self.plan.window_ns.end
                    && marks_met == self.plan.marks_ns.len()
                    && (self.ledger.complete == all
                        || matches!(self.plan.schedule, Schedule::Quiet));
                complete || now_ns >= at_latest_ns
            }
        }
    }

    fn next_due_ns(&self, now_ns: u64) -> Option<u64> {
        let connect = self.plan.connect_at_ns.get(self.subscribers.len()).copied();
        let publish = match (&self.plan.schedule, &self.publisher) {
            // If it is not ready, its answer wakes the loop.
            (Schedule::Published { pace, .. }, Some(publisher))
                if publisher.is_ready() && self.published < pace.count =>
            {
                Some(pace.time_ns(self.published + 1))
            }
            _ => None,
        };
        let up_by = (!self.late).then_some(self.plan.up_by_ns);
        let window_end = Some(self.plan.window_ns.end).filter(|end_ns| *end_ns > now_ns);
        let stop = match self.plan.stop {
            Stop::At(end_ns) => end_ns,
            Stop::WhenComplete { at_latest_ns } => at_latest_ns,
        };
        [connect, publish, up_by, window_end, Some(stop)].into_iter().flatten().min()
    }

    fn finish(mut self) -> Outcome {
        let each = self.ledger.expected_each();
        let outcome = &mut self.ledger.outcome;
        outcome.opened = self.books.iter().filter(|book| book.up).count() as u64;
        outcome.reads = self.received.reads;
        outcome.bytes = self.received.bytes;
        outcome.expected = each * self.plan.connect_at_ns.len() as u64;
        // When not all were open in time, nothing was due yet.
        if outcome.not_up > 0 {
            return self.ledger.outcome;
        }
        for book in &mut self.books {
            // A stream that never said when it started owes at least the window.
            book.sequence.end_at(if book.start_ns.is_some() { book.last } else { each });
            outcome.delivered += book.delivered;
            outcome.gaps += book.sequence.gaps;
            outcome.duplicates += book.sequence.duplicates;
            outcome.out_of_order += book.sequence.out_of_order;
        }
        self.ledger.outcome
    }
}

impl Ledger<'_> {
    fn note(&mut self, book: &mut Book, arrival: &Arrival) {
        self.outcome.events += 1;
        let interval_ns = match &self.plan.schedule {
            Schedule::Published { pace, .. } => pace.every_ns,
            Schedule::OfStream { interval_ns } => *interval_ns,
            Schedule::Stamped => return self.note_any(book, arrival),
            Schedule::Quiet => return,
        };
        if arrival.is_gap {
            self.outcome.gap_events += 1;
            return;
        }
        let Some(stamp) = arrival.stamp.filter(|it| arrival.id_matches && it.n > 0) else {
            self.outcome.corrupt += 1;
            return;
        };
        let since_start_ns = (stamp.n - 1).saturating_mul(interval_ns);
        let start_ns = *book.start_ns.get_or_insert_with(|| {
            let first_ns = stamp.scheduled_ns.saturating_sub(since_start_ns);
            let pace = Pace { first_ns, every_ns: interval_ns, count: u64::MAX };
            book.last = pace.count_before(self.plan.window_ns.end);
            first_ns
        });
        let scheduled_ns = start_ns.saturating_add(since_start_ns);
        if stamp.scheduled_ns != scheduled_ns {
            self.outcome.off_schedule += 1;
        }
        let first_time = book.sequence.receive(stamp.n);
        if first_time && self.plan.window_ns.contains(&scheduled_ns) {
            book.delivered += 1;
            let latency_ns = arrival.received_ns.checked_sub(scheduled_ns);
            self.outcome.early += u64::from(latency_ns.is_none());
            self.outcome.latency_ns.saturating_record(latency_ns.unwrap_or(0));
        }
        if !book.complete && book.sequence.highest() >= book.last && book.sequence.gaps == 0 {
            book.complete = true;
            self.complete += 1;
        }
    }

    fn note_any(&mut self, book: &mut Book, arrival: &Arrival) {
        if self.plan.window_ns.contains(&arrival.received_ns) {
            book.delivered += 1;
            if let Some(stamp) = arrival.stamp {
                let latency_ns = arrival.received_ns.saturating_sub(stamp.scheduled_ns);
                self.outcome.latency_ns.saturating_record(latency_ns);
            }
        }
    }

    /// Deliveries due to one subscriber in the window.
    fn expected_each(&self) -> u64 {
        let window = &self.plan.window_ns;
        match &self.plan.schedule {
            Schedule::Published { pace, .. } => {
                pace.count_before(window.end) - pace.count_before(window.start)
            }
            // The window is a multiple of the interval, so the phase of a stream does not matter.
            Schedule::OfStream { interval_ns } => (window.end - window.start) / interval_ns,
            Schedule::Stamped | Schedule::Quiet => 0,
        }
    }

    fn failure(&mut self, text: String) {
        self.outcome.first_failure.get_or_insert(text);
    }
}

fn empty_outcome() -> Outcome {
    let histogram = || {
        Histogram::new_with_bounds(1, LATENCY_MAX_NS, LATENCY_DIGITS)
            .expect("the bounds are constants that the crate accepts")
    };
    Outcome {
        expected: 0,
        delivered: 0,
        gaps: 0,
        duplicates: 0,
        out_of_order: 0,
        corrupt: 0,
        off_schedule: 0,
        early: 0,
        gap_events: 0,
        opened: 0,
        not_up: 0,
        early_closes: 0,
        first_failure: None,
        latency_ns: histogram(),
        publish_lateness_ns: histogram(),
        events: 0,
        reads: 0,
        bytes: 0,
    }
}
