//! Counts of received events: the outcome of a run, and the books that it is made of.

use std::ops::Range;

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::plan::{Pace, Plan, Schedule};
pub use super::subscriber::Received;
use super::subscriber::{Arrival, Book, Times};
use super::waits::{End, Ended, Waits};
use crate::timer::{MILLISECOND_NS, SECOND_NS};

/// Largest time that is recorded, as long as the longest run; anything slower is recorded as this.
const LATENCY_MAX_NS: u64 = 3600 * SECOND_NS;

/// Decimal digits kept of a latency: 0.1 %, far finer than the host's noise.
const LATENCY_DIGITS: u8 = 3;

/// The outcome of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The window that was measured: the plan's, or earlier where all streams were open earlier.
    pub window_ns: Range<u64>,
    /// How long the generator wanted a core of this host and had none, in the whole run, nanoseconds.
    pub waited_for_a_core_ns: u64,
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
    /// Messages that were published, or tried to be.
    pub published: u64,
    /// Those of them that were refused, or got no answer.
    pub publish_failures: u64,
    /// The first failure of a connection, in words.
    pub first_failure: Option<String>,
    /// From scheduled to received, nanoseconds, of the window's deliveries.
    pub latency_ns: Histogram<u64>,
    /// From scheduled to sent, nanoseconds, of the window's publications: the harness's own share.
    pub publish_lateness_ns: Histogram<u64>,
    /// From scheduled to sent, nanoseconds, as the events of a stream say themselves.
    pub emit_lateness_ns: Histogram<u64>,
    /// From sent to received, nanoseconds.
    pub transit_ns: Histogram<u64>,
    /// From connect() to the connection, nanoseconds.
    pub connect_ns: Histogram<u64>,
    /// From the request to the whole response head, nanoseconds.
    pub headers_ns: Histogram<u64>,
    /// From the request to the first byte of the body, nanoseconds.
    pub first_byte_ns: Histogram<u64>,
    /// From the request to the first event, nanoseconds.
    pub first_event_ns: Histogram<u64>,
    /// From the first subscriber that had a message to the last, nanoseconds.
    pub skew_ns: Histogram<u64>,
    /// The published messages, by number from 1.
    pub messages: Vec<Message>,
    /// Deliveries by the time they came at, in steps of [`STEP_NS`] from the window's start.
    pub timeline: Vec<Step>,
    /// From the first connect() to the last subscriber's first event, nanoseconds.
    pub all_started_ns: u64,
    /// Stalled subscribers that the server gave up.
    pub stalled_closed: u64,
    /// Whether answers that end were asked for: an end is no failure then.
    pub asks: bool,
    /// Requests that were due and found every connection taken, in an open loop.
    pub held_back: u64,
    /// The waits of the readers, and how their streams ended.
    pub waits: Waits,
    /// Events of all kinds.
    pub events: u64,
    /// Reads and their bytes. More than about 1.2 events a read at a paced load means that the
    /// generator lags.
    pub received: Received,
}

/// The part of the window that a wait may grow by within it: 1/16 is a server with 108 % of its time.
const GROWTH_PART: u64 = 16;

/// One step of a timeline.
pub const STEP_NS: u64 = 100 * MILLISECOND_NS;

/// Steps kept: ten minutes. A longer run ends its timeline there.
const STEPS_MAX: u64 = 6000;

/// The events of one step of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// Deliveries.
    pub events: u64,
    /// The slowest of them, nanoseconds.
    pub max_ns: u64,
}

/// When a published message came.
#[derive(Debug, Clone, Copy, Default)]
pub struct Message {
    /// When it was due.
    pub scheduled_ns: u64,
    /// When the first subscriber had it.
    pub first_ns: u64,
    /// When the last one had it.
    pub last_ns: u64,
    /// How many have it.
    pub count: u64,
}

impl Outcome {
    /// Streams that did not open in time or ended early, answers that failed, and messages that were
    /// not published.
    pub fn errors(&self) -> u64 {
        let failed = if self.asks { self.waits.ends.failed() } else { 0 };
        self.not_up + self.early_closes + failed + self.publish_failures
    }

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
        note(self.publish_failures, "messages not published");
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

impl Outcome {
    /// Why the server does not hold the rate of the messages, or nothing.
    ///
    /// A server with more work than time is later with each message. The least wait of the last quarter of the window
    /// is compared with that of the first, so that a pause shorter than a quarter accuses no server. In a window that
    /// grows, part of the server's CPU time falls behind its end: the time for an event would be too short.
    pub fn falls_behind(&self) -> Option<String> {
        let is_measured = |it: &&Message| self.window_ns.contains(&it.scheduled_ns) && it.count > 0;
        let waits: Vec<u64> =
            self.messages.iter().filter(is_measured).map(Message::wait_ns).collect();
        let quarter = waits.len() / 4;
        let first = waits[..quarter].iter().min()?;
        let last = waits[waits.len() - quarter..].iter().min()?;
        let window_ns = self.window_ns.end - self.window_ns.start;
        let growth_ns = last.checked_sub(*first).filter(|it| *it > window_ns / GROWTH_PART)?;
        Some(format!(
            "does not hold the rate: {} ms later after {} ms of it",
            growth_ns / MILLISECOND_NS,
            window_ns * 3 / 4 / MILLISECOND_NS
        ))
    }
}

impl Message {
    /// From when it was due until the last subscriber had it.
    fn wait_ns(&self) -> u64 {
        self.last_ns.saturating_sub(self.scheduled_ns)
    }
}

/// Where arrivals are counted: apart from the sockets, so that both can be borrowed at once.
pub(super) struct Ledger<'p> {
    plan: &'p Plan,
    pub(super) outcome: Outcome,
    /// Subscribers that have everything that is due to them.
    pub(super) complete: usize,
    /// Deliveries of answers that have ended.
    delivered: u64,
    /// Answers that have ended and had a head.
    opened: u64,
}

impl<'p> Ledger<'p> {
    pub(super) fn new(plan: &'p Plan) -> Ledger<'p> {
        let mut outcome = empty_outcome();
        outcome.asks = plan.asking.is_some();
        outcome.window_ns = plan.window_ns.clone();
        if let Schedule::Published(pace) = &plan.schedule {
            outcome.messages = vec![Message::default(); pace.count as usize];
        }
        Ledger { plan, outcome, complete: 0, delivered: 0, opened: 0 }
    }

    pub(super) fn note(&mut self, book: &mut Book, arrival: &Arrival) {
        self.outcome.events += 1;
        let interval_ns = match &self.plan.schedule {
            Schedule::Published(pace) => pace.every_ns,
            Schedule::OfStream { interval_ns } => *interval_ns,
            Schedule::Counted { .. } | Schedule::Endless => {
                return self.note_counted(book, arrival);
            }
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
            let latency_ns = latency_ns.unwrap_or(0);
            self.outcome.latency_ns.saturating_record(latency_ns);
            self.step(arrival.received_ns, latency_ns);
            if stamp.emitted_ns > 0 {
                let lateness_ns = stamp.emitted_ns.saturating_sub(scheduled_ns);
                self.outcome.emit_lateness_ns.saturating_record(lateness_ns);
                let transit_ns = arrival.received_ns.saturating_sub(stamp.emitted_ns);
                self.outcome.transit_ns.saturating_record(transit_ns);
            }
        }
        if first_time && let Some(message) = self.outcome.messages.get_mut(stamp.n as usize - 1) {
            if message.count == 0 {
                message.scheduled_ns = scheduled_ns;
                message.first_ns = arrival.received_ns;
            }
            message.last_ns = arrival.received_ns;
            message.count += 1;
        }
        if !book.complete && book.sequence.highest() >= book.last && book.sequence.gaps == 0 {
            book.complete = true;
            self.complete += 1;
        }
    }

    fn note_any(&mut self, book: &mut Book, arrival: &Arrival) {
        let is_measured = self.outcome.window_ns.contains(&arrival.received_ns);
        let waits = &mut self.outcome.waits;
        waits.arrived(&mut book.watch, arrival.received_ns, self.plan.stall_ns, is_measured);
        if is_measured {
            book.delivered += 1;
            self.outcome.delivered += 1;
            let mut latency_ns = 0;
            if let Some(stamp) = arrival.stamp {
                latency_ns = arrival.received_ns.saturating_sub(stamp.scheduled_ns);
                self.outcome.latency_ns.saturating_record(latency_ns);
            }
            self.step(arrival.received_ns, latency_ns);
        }
    }

    fn note_counted(&mut self, book: &mut Book, arrival: &Arrival) {
        if arrival.is_gap {
            self.outcome.gap_events += 1;
            return;
        }
        let Some(n) = arrival.stamp.map(|it| it.n).or(arrival.id).filter(|n| *n > 0) else {
            self.outcome.corrupt += 1;
            return;
        };
        book.start_ns = Some(0);
        if book.sequence.receive(n) {
            book.delivered += 1;
            self.step(arrival.received_ns, 0);
        }
        if !book.complete && book.sequence.highest() >= book.last && book.sequence.gaps == 0 {
            book.complete = true;
            self.complete += 1;
        }
    }

    fn step(&mut self, received_ns: u64, latency_ns: u64) {
        let Some(since_ns) = received_ns.checked_sub(self.outcome.window_ns.start) else { return };
        let index = since_ns / STEP_NS;
        if index >= STEPS_MAX {
            return;
        }
        let timeline = &mut self.outcome.timeline;
        if timeline.len() <= index as usize {
            timeline.resize(index as usize + 1, Step::default());
        }
        let step = &mut timeline[index as usize];
        step.events += 1;
        step.max_ns = step.max_ns.max(latency_ns);
    }

    /// Notes the end of a stream, or of the run before it.
    pub(super) fn ended(&mut self, book: &mut Book, end: End, ended_ns: u64) {
        if std::mem::replace(&mut book.ended, true) {
            return;
        }
        let (origin_ns, headers_ns) = (book.times.origin_ns(), book.times.headers_ns);
        let at = Ended { end, origin_ns, headers_ns, ended_ns };
        let plan = self.plan;
        self.outcome.waits.ended(&book.watch, at, plan.stall_ns, &plan.slo);
    }

    /// Counts an answer that has ended, and begins a new book for the next one.
    pub(super) fn answered(&mut self, book: &mut Book) {
        let book = std::mem::take(book);
        self.delivered += book.delivered;
        self.opened += u64::from(book.up);
        if book.up {
            note_times(&mut self.outcome, &book);
        }
    }

    /// The sum of the books of the connections and the messages.
    pub(super) fn close(mut self, books: &mut [Book], received: Received, now_ns: u64) -> Outcome {
        if matches!(self.plan.schedule, Schedule::Stamped) {
            for book in books.iter_mut().filter(|it| it.watch.number > 0) {
                self.ended(book, End::Open, now_ns);
            }
        }
        let each = self.expected_each();
        let outcome = &mut self.outcome;
        let live = books.iter().filter(|it| !it.stalled).count() as u64;
        outcome.opened = self.opened + books.iter().filter(|book| book.up).count() as u64;
        outcome.received = received;
        outcome.expected = each * live;
        let first_connect_ns = books.first().map_or(0, |it| it.times.connect_ns);
        for book in books.iter().filter(|it| it.up && !it.stalled) {
            note_times(outcome, book);
            let started_ns = book.times.first_event_ns.saturating_sub(first_connect_ns);
            outcome.all_started_ns = outcome.all_started_ns.max(started_ns);
        }
        for message in &outcome.messages {
            if message.count == live && self.plan.window_ns.contains(&message.scheduled_ns) {
                outcome.skew_ns.saturating_record(message.last_ns - message.first_ns);
            }
        }
        // When not all were open in time, nothing was due yet.
        if outcome.not_up > 0 && !self.plan.goes_on {
            return self.outcome;
        }
        outcome.delivered = self.delivered;
        for book in books.iter_mut().filter(|it| !it.stalled) {
            if matches!(self.plan.schedule, Schedule::Endless) {
                // The run ends in the middle of it: it owed what came, and what was left out.
                outcome.expected += book.delivered + book.sequence.gaps;
            } else {
                // A stream that never said when it started owes at least the window.
                book.sequence.end_at(if book.start_ns.is_some() { book.last } else { each });
            }
            outcome.delivered += book.delivered;
            outcome.gaps += book.sequence.gaps;
            outcome.duplicates += book.sequence.duplicates;
            outcome.out_of_order += book.sequence.out_of_order;
        }
        self.outcome
    }

    /// Deliveries due to one subscriber in the window.
    fn expected_each(&self) -> u64 {
        let window = &self.plan.window_ns;
        match &self.plan.schedule {
            Schedule::Published(pace) => {
                pace.count_before(window.end) - pace.count_before(window.start)
            }
            // The window is a multiple of the interval, so the phase of a stream does not matter.
            Schedule::OfStream { interval_ns } => (window.end - window.start) / interval_ns,
            Schedule::Counted { events } => *events,
            Schedule::Endless | Schedule::Stamped | Schedule::Quiet => 0,
        }
    }

    pub(super) fn failure(&mut self, text: String) {
        self.outcome.first_failure.get_or_insert(text);
    }
}

/// The times of a connection that had its head.
fn note_times(outcome: &mut Outcome, book: &Book) {
    let Times { connect_ns, requested_ns, headers_ns, first_byte_ns, first_event_ns, .. } =
        book.times;
    let origin_ns = book.times.origin_ns();
    outcome.connect_ns.saturating_record(requested_ns.saturating_sub(connect_ns));
    for (histogram, at_ns) in [
        (&mut outcome.headers_ns, headers_ns),
        (&mut outcome.first_byte_ns, first_byte_ns),
        (&mut outcome.first_event_ns, first_event_ns),
    ] {
        if at_ns > 0 {
            histogram.saturating_record(at_ns.saturating_sub(origin_ns));
        }
    }
}

/// An empty histogram of nanoseconds, up to an hour, to three digits.
pub fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_NS, LATENCY_DIGITS)
        .expect("the bounds are constants that the crate accepts")
}

fn empty_outcome() -> Outcome {
    Outcome {
        waited_for_a_core_ns: 0,
        window_ns: 0..0,
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
        latency_ns: new_histogram(),
        published: 0,
        publish_failures: 0,
        publish_lateness_ns: new_histogram(),
        emit_lateness_ns: new_histogram(),
        transit_ns: new_histogram(),
        connect_ns: new_histogram(),
        headers_ns: new_histogram(),
        first_byte_ns: new_histogram(),
        first_event_ns: new_histogram(),
        skew_ns: new_histogram(),
        messages: Vec::new(),
        timeline: Vec::new(),
        all_started_ns: 0,
        stalled_closed: 0,
        asks: false,
        held_back: 0,
        waits: Waits::empty(),
        events: 0,
        received: Received::default(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn outcome() -> Outcome {
        empty_outcome()
    }

    /// A window of 40 messages, one each 20 ms, of which each is complete after so many milliseconds.
    fn broadcast(wait_ms: impl Fn(u64) -> u64) -> Outcome {
        let message = |n| {
            let scheduled_ns = SECOND_NS + n * 20 * MILLISECOND_NS;
            let last_ns = scheduled_ns + wait_ms(n) * MILLISECOND_NS;
            Message { scheduled_ns, first_ns: last_ns, last_ns, count: 1 }
        };
        let window_ns = SECOND_NS..SECOND_NS + 800 * MILLISECOND_NS;
        Outcome { window_ns, messages: (0..40).map(message).collect(), ..outcome() }
    }

    #[test]
    fn a_wait_that_grows_is_a_rate_that_is_not_held() {
        let falls = |wait_ms: fn(u64) -> u64| broadcast(wait_ms).falls_behind();
        assert_eq!(falls(|_| 15), None);
        // A long pause, and what has queued up in it, accuse no server; nor does a slow begin.
        assert_eq!(falls(|n| if (28..37).contains(&n) { 400 } else { 5 }), None);
        assert_eq!(falls(|n| 300 - 7 * n), None);
        // 10 % more work than time, and half as much again.
        let words = "does not hold the rate: 60 ms later after 600 ms of it";
        assert_eq!(falls(|n| 2 * n).as_deref(), Some(words));
        assert!(falls(|n| 10 * n).unwrap().contains("300 ms later"));
        assert_eq!(outcome().falls_behind(), None);
    }
}
