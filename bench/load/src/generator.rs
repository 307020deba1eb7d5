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
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::{Events, Poll, Token};

use super::ledger::Ledger;
pub use super::ledger::Outcome;
use super::plan::{Plan, Schedule, Stop};
use super::publisher::Publisher;
use super::stamp::Stamp;
use super::subscriber::{Book, Failure, Reading, Received, Subscriber};
use crate::timer::Timer;

/// Bytes taken from a socket at once; the largest that loopback delivers in one segment.
const READ_BYTES: usize = 64 * 1024;

/// Readiness reports taken from the kernel at once.
const EVENTS_AT_ONCE: usize = 1024;

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
        generator.publish_due(&clock, poll.registry());
        if generator.is_over(now_ns, marks_met) {
            break;
        }
        let next_mark_ns = plan.marks_ns.get(marks_met).copied();
        timer.set(generator.next_due_ns(now_ns).into_iter().chain(next_mark_ns).min())?;
        let sleeps = !plan.stays_awake && generator.unread.is_empty();
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
    Ok(generator.ledger.close(&mut generator.books, generator.received))
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
    /// Subscribers that did not read all that was there, and whether the peer has closed.
    unread: Vec<(usize, bool)>,
    late: bool,
    failed: usize,
    /// Subscribers that read.
    live: usize,
}

impl<'p> Generator<'p> {
    fn new(plan: &'p Plan) -> Generator<'p> {
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n\r\n",
            plan.target, plan.host
        );
        let publisher = plan.publish.as_ref().map(|it| Publisher::new(it, PUBLISHER));
        let stalled = match plan.stalled_each {
            0 => 0,
            each => plan.connect_at_ns.len() / each as usize,
        };
        Generator {
            plan,
            request: request.into_bytes(),
            subscribers: Vec::with_capacity(plan.connect_at_ns.len()),
            books: Vec::with_capacity(plan.connect_at_ns.len()),
            publisher,
            published: 0,
            ledger: Ledger::new(plan),
            live: plan.connect_at_ns.len() - stalled,
            received: Received::default(),
            unread: Vec::new(),
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
            let each = self.plan.stalled_each;
            let stalled = each > 0 && (index as u64 + 1).is_multiple_of(each);
            let mut book = Book { stalled, ..Book::default() };
            book.times.connect_ns = now_ns;
            match &self.plan.schedule {
                Schedule::Published(pace) => {
                    (book.start_ns, book.last) = (Some(pace.first_ns), pace.count);
                }
                Schedule::Counted { events } => book.last = *events,
                _ => {}
            }
            self.books.push(book);
            match Subscriber::connect(self.plan.addr, Token(index), stalled, registry) {
                Ok(subscriber) => self.subscribers.push(Some(subscriber)),
                Err(error) => {
                    self.subscribers.push(None);
                    self.subscriber_failed(index, &error.into());
                }
            }
        }
    }

    fn publish_due(&mut self, clock: &impl Fn() -> u64, registry: &mio::Registry) {
        let Some(pace) = self.plan.publish.as_ref().map(|it| it.pace) else { return };
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
        let book = &mut self.books[index];
        let result = subscriber.request(&self.request, book, clock).and_then(|()| {
            subscriber.receive(
                buffer,
                &Reading { until_closed, clock, stamp: &self.plan.stamp },
                &mut self.received,
                book,
                |book, arrival| ledger.note(book, arrival),
            )
        });
        match result {
            Ok(false) => {}
            Ok(true) => self.unread.push((index, until_closed)),
            Err(failure) => self.subscriber_failed(index, &failure),
        }
    }

    fn subscriber_failed(&mut self, index: usize, failure: &Failure) {
        self.subscribers[index] = None;
        let book = &self.books[index];
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
        }
        self.ledger.failure(format!("stream {index}: {failure}"));
    }

    fn mark(&self, index: usize) -> Mark<'_> {
        let (received, outcome) = (self.received, &self.ledger.outcome);
        Mark { index, open: self.open(), received, outcome }
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
        let all = self.plan.connect_at_ns.len() as u64;
        let were_up = self.books.iter().filter(|it| it.up).count() as u64;
        self.ledger.outcome.not_up = all - were_up;
        self.ledger.outcome.not_up > 0
    }

    fn is_over(&self, now_ns: u64, marks_met: usize) -> bool {
        let all = self.plan.connect_at_ns.len();
        if self.failed == all {
            return true;
        }
        let is_complete = match self.plan.stop {
            Stop::At(_) => false,
            Stop::AfterEvents { events, .. } => self.ledger.outcome.delivered >= events,
            Stop::WhenComplete { .. } => {
                now_ns >= self.plan.window_ns.end
                    && marks_met == self.plan.marks_ns.len()
                    && (self.ledger.complete == self.live
                        || matches!(self.plan.schedule, Schedule::Quiet))
            }
        };
        is_complete || now_ns >= self.plan.stop.at_latest_ns()
    }

    fn next_due_ns(&self, now_ns: u64) -> Option<u64> {
        let connect = self.plan.connect_at_ns.get(self.subscribers.len()).copied();
        let publish = match (&self.plan.publish, &self.publisher) {
            // If it is not ready, its answer wakes the loop.
            (Some(publish), Some(publisher))
                if publisher.is_ready() && self.published < publish.pace.count =>
            {
                Some(publish.pace.time_ns(self.published + 1))
            }
            _ => None,
        };
        let up_by = (!self.late).then_some(self.plan.up_by_ns);
        let window_end = Some(self.plan.window_ns.end).filter(|end_ns| *end_ns > now_ns);
        let stop = self.plan.stop.at_latest_ns();
        [connect, publish, up_by, window_end, Some(stop)].into_iter().flatten().min()
    }
}
