//! The waits of a stream's reader: until the first events, between events, until the end.
//!
//! No stamp is needed: both times of a wait are read from one clock, at the reader.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::ledger::new_histogram;
use super::slo::Slo;

/// Different refusals that are kept apart; further ones are only counted.
const REFUSALS_MAX: usize = 8;

/// The waits of all streams of a run.
#[derive(Debug)]
pub struct Waits {
    /// From the request to the second event, nanoseconds.
    pub second_event_ns: Histogram<u64>,
    /// Between two successive events of one stream, nanoseconds; 0 if one read brought both.
    pub gap_ns: Histogram<u64>,
    /// The mean gap of each stream that had two events or more, nanoseconds.
    pub mean_gap_ns: Histogram<u64>,
    /// From the request to the end of each stream that ended as it should, nanoseconds.
    pub duration_ns: Histogram<u64>,
    /// Events of each stream that opened.
    pub events: Histogram<u64>,
    /// Events that came in one read with the event before.
    pub together: u64,
    /// Silences after an event that were longer than the limit of the plan, unfinished ones included.
    pub stalls: u64,
    /// Streams that had one.
    pub stalled_streams: u64,
    /// Streams that opened and had no event.
    pub without_events: u64,
    /// How the streams ended.
    pub ends: Ends,
    /// Answers in place of a stream, and how often each came.
    pub refusals: Vec<Refusal>,
    /// Streams that kept to every limit of the plan's [`Slo`].
    pub good: u64,
    /// The stream with the longest wait for an event.
    pub slowest: Option<Slowest>,
}

/// A wait that has a limit, or a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// From the request to the response head.
    Headers,
    /// From the request to the first event.
    FirstEvent,
    /// From the request to the second event.
    SecondEvent,
    /// Between two events.
    Gap,
    /// The mean gap of a stream.
    MeanGap,
    /// From the request to the end.
    Duration,
}

impl Wait {
    /// The wait of this name in `--slo` and `--fail-if`.
    pub fn named(name: &str) -> Option<Wait> {
        Some(match name {
            "headers" => Wait::Headers,
            "first-event" => Wait::FirstEvent,
            "second-event" => Wait::SecondEvent,
            "gap" => Wait::Gap,
            "mean-gap" => Wait::MeanGap,
            "duration" => Wait::Duration,
            _ => return None,
        })
    }
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Whole, as its framing says.
    Whole,
    /// With the event that says so.
    UntilMark,
    /// Whole, but without the event that was to say so.
    WithoutMark,
    /// The connection ended before the stream did.
    Cut,
    /// The server answered something else than a stream.
    Refused,
    /// There was no connection, or no TLS.
    Unreachable,
    /// The bytes are no HTTP response, or cannot be read as events.
    Malformed,
    /// It was still open when the run was over.
    Open,
}

/// How many streams ended in each way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Ends {
    /// See [`End::Whole`].
    pub whole: u64,
    /// See [`End::UntilMark`].
    pub until_mark: u64,
    /// See [`End::WithoutMark`].
    pub without_mark: u64,
    /// See [`End::Cut`].
    pub cut: u64,
    /// See [`End::Refused`].
    pub refused: u64,
    /// See [`End::Unreachable`].
    pub unreachable: u64,
    /// See [`End::Malformed`].
    pub malformed: u64,
    /// See [`End::Open`].
    pub open: u64,
}

impl Ends {
    fn note(&mut self, end: End) {
        *match end {
            End::Whole => &mut self.whole,
            End::UntilMark => &mut self.until_mark,
            End::WithoutMark => &mut self.without_mark,
            End::Cut => &mut self.cut,
            End::Refused => &mut self.refused,
            End::Unreachable => &mut self.unreachable,
            End::Malformed => &mut self.malformed,
            End::Open => &mut self.open,
        } += 1;
    }

    /// Streams that ended as they should.
    pub fn completed(&self) -> u64 {
        self.whole + self.until_mark
    }

    /// Streams that ended as they should not.
    pub fn failed(&self) -> u64 {
        self.without_mark + self.cut + self.refused + self.unreachable + self.malformed
    }

    /// All streams.
    pub fn asked(&self) -> u64 {
        self.completed() + self.failed() + self.open
    }
}

/// An answer in place of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The status code.
    pub status: u16,
    /// `Content-Type`, or nothing.
    pub content_type: String,
    /// The beginning of the body, on one line and without control characters.
    pub body: String,
    /// How often it came.
    pub count: u64,
}

/// Characters of a body that are shown: what a server says first.
const REFUSAL_SHOWN: usize = 200;

impl Refusal {
    /// Status, title and detail, if the server says them in its own words.
    pub fn problem(&self) -> Option<String> {
        client::problem::in_words(self.status, &self.content_type, &self.body)
    }

    /// The first words of any other body.
    pub fn beginning(&self) -> String {
        self.body.chars().take(REFUSAL_SHOWN).collect()
    }
}

/// The stream with the longest wait for an event.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Slowest {
    /// Which request it was, from 1.
    pub number: u64,
    /// The longest wait, nanoseconds.
    pub wait_ns: u64,
    /// The number of the event that ended the wait, from 1, or would have.
    pub before_event: u64,
    /// Whether that event came.
    pub came: bool,
    /// Its events.
    pub events: u64,
    /// From its request to its end, or to the end of the run, nanoseconds.
    pub duration_ns: u64,
    /// How it ended.
    pub end: End,
}

/// The waits of one stream, until now.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Watch {
    /// Which request it is, from 1.
    pub(super) number: u64,
    /// Events until now.
    events: u64,
    first_ns: u64,
    second_ns: u64,
    last_ns: u64,
    gap_max_ns: u64,
    /// The number of the event behind the longest gap.
    gap_max_before: u64,
    stalls: u64,
}

/// The end of one stream, as the clock has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub(super) end: End,
    /// When the stream was asked for: its waits count from then.
    pub(super) origin_ns: u64,
    /// When its head came; 0 if it did not.
    pub(super) headers_ns: u64,
    /// When it ended, or the run.
    pub(super) ended_ns: u64,
}

impl Waits {
    /// Good streams of all that were asked for, from 0 to 1; `None` if none was.
    pub fn good_share(&self) -> Option<f64> {
        let asked = self.ends.asked();
        (asked > 0).then(|| self.good as f64 / asked as f64)
    }

    pub(super) fn empty() -> Waits {
        Waits {
            second_event_ns: new_histogram(),
            gap_ns: new_histogram(),
            mean_gap_ns: new_histogram(),
            duration_ns: new_histogram(),
            events: new_histogram(),
            together: 0,
            stalls: 0,
            stalled_streams: 0,
            without_events: 0,
            ends: Ends::default(),
            refusals: Vec::new(),
            good: 0,
            slowest: None,
        }
    }

    /// Notes an event of a stream; its gap counts if it `is_measured`.
    pub(super) fn arrived(
        &mut self,
        watch: &mut Watch,
        received_ns: u64,
        stall_ns: Option<u64>,
        is_measured: bool,
    ) {
        watch.events += 1;
        match watch.events {
            1 => watch.first_ns = received_ns,
            2 => watch.second_ns = received_ns,
            _ => {}
        }
        if watch.events > 1 && is_measured {
            let gap_ns = received_ns.saturating_sub(watch.last_ns);
            self.gap_ns.saturating_record(gap_ns);
            self.together += u64::from(gap_ns == 0);
            watch.stalls += u64::from(stall_ns.is_some_and(|limit_ns| gap_ns > limit_ns));
            if gap_ns > watch.gap_max_ns {
                (watch.gap_max_ns, watch.gap_max_before) = (gap_ns, watch.events);
            }
        }
        watch.last_ns = received_ns;
    }

    /// Notes the end of a stream. A silence that no event has ended counts as a stall and as a wait.
    pub(super) fn ended(&mut self, watch: &Watch, at: Ended, stall_ns: Option<u64>, slo: &Slo) {
        self.ends.note(at.end);
        let since = |from_ns: u64, to_ns: u64| to_ns.saturating_sub(from_ns);
        if at.headers_ns == 0 {
            if at.origin_ns > 0 && at.end == End::Open {
                let waited_ns = since(at.origin_ns, at.ended_ns);
                self.compare(watch, at, waited_ns, waited_ns);
            }
            return;
        }
        self.events.saturating_record(watch.events);
        self.without_events += u64::from(watch.events == 0);
        if watch.second_ns > 0 {
            self.second_event_ns.saturating_record(since(at.origin_ns, watch.second_ns));
        }
        let mean_gap_ns = watch.mean_gap_ns();
        if let Some(mean_ns) = mean_gap_ns {
            self.mean_gap_ns.saturating_record(mean_ns);
        }
        let duration_ns = since(at.origin_ns, at.ended_ns);
        let is_complete = matches!(at.end, End::Whole | End::UntilMark);
        if is_complete {
            self.duration_ns.saturating_record(duration_ns);
        }
        let silent_since_ns = if watch.events == 0 { at.origin_ns } else { watch.last_ns };
        let silence_ns = if is_complete { 0 } else { since(silent_since_ns, at.ended_ns) };
        let is_stall = stall_ns.is_some_and(|limit_ns| silence_ns > limit_ns);
        let stalls = watch.stalls + u64::from(is_stall && watch.events > 0);
        self.stalls += stalls;
        self.stalled_streams += u64::from(stalls > 0);
        let reached = |at_ns: u64| (at_ns > 0).then(|| since(at.origin_ns, at_ns));
        let keeps = slo.is_kept(|wait| match wait {
            Wait::Headers => reached(at.headers_ns),
            Wait::FirstEvent => reached(watch.first_ns),
            Wait::SecondEvent => reached(watch.second_ns),
            Wait::Gap => Some(watch.gap_max_ns.max(silence_ns)),
            Wait::MeanGap => Some(mean_gap_ns.unwrap_or(silence_ns)),
            Wait::Duration => Some(duration_ns),
        });
        self.good += u64::from(keeps && (is_complete || at.end == End::Open));
        self.compare(watch, at, silence_ns, duration_ns);
    }

    /// Keeps this stream if its longest wait is the longest of all.
    fn compare(&mut self, watch: &Watch, at: Ended, silence_ns: u64, duration_ns: u64) {
        let first_ns = watch.first_ns.saturating_sub(at.origin_ns);
        let waits = [
            (first_ns, 1, true),
            (watch.gap_max_ns, watch.gap_max_before, true),
            (silence_ns, watch.events + 1, false),
        ];
        let Some((wait_ns, before_event, came)) = waits.into_iter().max() else { return };
        if self.slowest.is_some_and(|it| it.wait_ns >= wait_ns) {
            return;
        }
        self.slowest = Some(Slowest {
            number: watch.number,
            wait_ns,
            before_event,
            came,
            events: watch.events,
            duration_ns,
            end: at.end,
        });
    }

    /// Counts an answer in place of a stream.
    pub(super) fn refused(&mut self, refusal: &Refusal) {
        let alike = |it: &&mut Refusal| {
            (it.status, &it.content_type, &it.body)
                == (refusal.status, &refusal.content_type, &refusal.body)
        };
        if let Some(known) = self.refusals.iter_mut().find(alike) {
            known.count += 1;
        } else if self.refusals.len() < REFUSALS_MAX {
            self.refusals.push(Refusal { count: 1, ..refusal.clone() });
        }
    }
}

impl Watch {
    /// From the first event to the last, for each event after the first.
    fn mean_gap_ns(&self) -> Option<u64> {
        (self.events > 1).then(|| self.last_ns.saturating_sub(self.first_ns) / (self.events - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const ORIGIN_NS: u64 = 1_000 * MS;

    /// A stream with events at these milliseconds after its request, with an end at another.
    fn stream(waits: &mut Waits, events_ms: &[u64], end: End, ended_ms: u64, slo: &str) {
        let mut watch = Watch { number: waits.ends.asked() + 1, ..Watch::default() };
        let stall_ns = Some(100 * MS);
        for at_ms in events_ms {
            waits.arrived(&mut watch, ORIGIN_NS + at_ms * MS, stall_ns, true);
        }
        let at = Ended {
            end,
            origin_ns: ORIGIN_NS,
            headers_ns: ORIGIN_NS + 5 * MS,
            ended_ns: ORIGIN_NS + ended_ms * MS,
        };
        waits.ended(&watch, at, stall_ns, &slo.parse().unwrap());
    }

    #[test]
    fn each_wait_is_counted_once_and_where_it_belongs() {
        let mut waits = Waits::empty();
        let slo = "first-event<60ms,gap<150ms,duration<1s";
        stream(&mut waits, &[50, 60, 160, 261], End::Whole, 270, slo);
        // Two events of one read, and a silence that no event ends.
        stream(&mut waits, &[50, 50], End::Cut, 351, slo);
        stream(&mut waits, &[], End::Open, 400, slo);
        stream(&mut waits, &[70, 80], End::UntilMark, 80, slo);
        let unasked = Ended { end: End::Unreachable, origin_ns: 0, headers_ns: 0, ended_ns: 1 };
        waits.ended(&Watch::default(), unasked, None, &slo.parse().unwrap());
        assert_eq!(waits.gap_ns.len(), 3 + 1 + 1);
        assert_eq!((waits.together, waits.without_events), (1, 1));
        // The gap of exactly 100 ms is none.
        assert_eq!((waits.stalls, waits.stalled_streams), (2, 2));
        assert_eq!(waits.duration_ns.len(), 2);
        assert_eq!((waits.second_event_ns.len(), waits.mean_gap_ns.len()), (3, 3));
        assert_eq!((waits.ends.completed(), waits.ends.failed(), waits.ends.open), (2, 2, 1));
        // The first alone: the second was cut, the third had no event, the fourth began too late.
        assert_eq!(waits.good, 1);
        let slowest = waits.slowest.unwrap();
        assert_eq!((slowest.number, slowest.wait_ns), (3, 400 * MS));
        assert_eq!((slowest.before_event, slowest.came), (1, false));
        // No head at all is the longest wait of the five.
        let silent = Watch { number: 6, ..Watch::default() };
        let open = Ended { end: End::Open, origin_ns: 1, headers_ns: 0, ended_ns: 1 + 500 * MS };
        waits.ended(&silent, open, None, &slo.parse().unwrap());
        let slowest = waits.slowest.unwrap();
        assert_eq!((slowest.number, slowest.wait_ns, slowest.events), (6, 500 * MS, 0));
    }

    #[test]
    fn a_silence_within_a_stream_is_found_by_the_event_that_ends_it() {
        let mut waits = Waits::empty();
        stream(&mut waits, &[10, 20, 520, 530], End::Whole, 530, "gap<500ms");
        stream(&mut waits, &[10, 20, 519, 530], End::Whole, 530, "gap<500ms");
        let slowest = waits.slowest.unwrap();
        assert_eq!((slowest.number, slowest.wait_ns, slowest.before_event), (1, 500 * MS, 3));
        assert_eq!(waits.good, 1);
    }

    #[test]
    fn refusals_are_kept_apart_up_to_a_limit() {
        let mut waits = Waits::empty();
        for status in (400..420).chain([400]) {
            let body = String::new();
            waits.refused(&Refusal { status, content_type: String::new(), body, count: 0 });
        }
        assert_eq!((waits.refusals.len(), waits.refusals[0].count), (REFUSALS_MAX, 2));
    }
}
