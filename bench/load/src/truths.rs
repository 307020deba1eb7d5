//! Known truths: before it prints a figure, the generator measures a floor that lies, and must find by how much.
//!
//! The floor runs on a thread of this process, so that it is there wherever the program is.

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::floor::{Faults, Local};
use super::generator::{self, Outcome};
use super::plan::{Asking, Pace, Plan, Stop};
use super::shape::{Counted, Shape};
use crate::timer::{MILLISECOND_NS, SECOND_NS, unix_ns};

/// A known truth, and what the harness made of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// The behaviour that was forced on the server or the host.
    pub what: String,
    /// The value that had to be found.
    pub truth: String,
    /// The value that was found.
    pub found: String,
    /// Whether that is the truth.
    pub passed: bool,
}

/// Times are judged by the quickest of so many tries; counts are exact whatever the host does.
const TRIES: u32 = 20;

/// Streams and events of the counting check.
const STREAMS: u64 = 4;
const EVENTS: u64 = 1000;

/// Of 12 answers the floor refuses numbers 4, 8 and 12, and cuts 5 and 10 behind their first event.
const ANSWERS: u64 = 12;
const REFUSED: u64 = 3;
const CUT: u64 = 2;
const WHOLE: u64 = ANSWERS - REFUSED - CUT;

/// Events of a whole answer; before the third the floor is silent.
const EVENTS_EACH: u64 = 3;

/// The least times from the request to the head, to the first event and to the end, and the silence.
const HEAD_MS: u64 = 20;
const FIRST_MS: u64 = 40;
const WHOLE_MS: u64 = 85;
const SILENCE_MS: u64 = 40;

/// A silence that is longer counts as a stall: between the interval of 5 ms and the forced silence.
const STALL_MS: u64 = 25;

/// The quickest of several streams may find so much more: four timers that go by the millisecond, on a host that has
/// something else to do.
const WITHIN_MS: u64 = 10;

/// When a run that hangs is over.
const HANG_NS: u64 = 20 * SECOND_NS;

/// Every check, in order. They take a quarter of a second; `again` gets in words that one is repeated, and why.
///
/// # Errors
/// When the floor cannot listen, or epoll cannot be had.
pub fn find(again: impl Fn(&str)) -> Result<Vec<Check>> {
    let mut all = vec![counts(&again)?];
    all.extend(answers(&again)?);
    Ok(all)
}

/// Why no figure may be printed: the first truth that was not found.
pub fn untrue(checks: &[Check]) -> Option<String> {
    let it = checks.iter().find(|it| !it.passed)?;
    let Check { what, truth, found, .. } = it;
    Some(format!(
        "the self-check failed, so no number can be trusted: {what}: {truth} in truth, found {found}"
    ))
}

/// The words of a repetition: `try 2 of 20: the host was late`.
pub fn repeated(tried: u32, of: u32, why: &str) -> String {
    format!("try {} of {of}: {why}", tried + 1)
}

fn counts(again: &impl Fn(&str)) -> Result<Check> {
    let faults =
        Faults { drop_each: 400, duplicate_each: 300, swap_each: 350, ..Faults::of_environment() };
    let floor = Local::start(faults)?;
    let shape = Shape::Counted(Counted { subscribers: STREAMS, events: EVENTS });
    let words =
        |lost, doubled, moved| format!("{lost} lost, {doubled} doubled, {moved} out of order");
    let truth = words(2 * STREAMS, 3 * STREAMS, 2 * STREAMS);
    let mut found = String::new();
    for tried in 1..=TRIES {
        let outcome = generator::run(&shape.plan(floor.addr(), unix_ns()), unix_ns, |_| ())?;
        // On a busy host a stream may open too late, and such a run says nothing.
        if outcome.not_up > 0 {
            let why = format!("{} streams were not open in time", outcome.not_up);
            found = format!("not judged: {why}");
            if tried < TRIES {
                again(&repeated(tried, TRIES, &why));
            }
            continue;
        }
        found = words(outcome.gaps, outcome.duplicates, outcome.out_of_order);
        break;
    }
    let what = format!("{STREAMS} streams of {EVENTS} events are wrong in seven places each");
    Ok(Check { what, passed: found == truth, truth, found })
}

/// How answers ended, and how long their readers waited.
fn answers(again: &impl Fn(&str)) -> Result<[Check; 2]> {
    let faults = Faults {
        head_ms: HEAD_MS,
        first_ms: FIRST_MS - HEAD_MS,
        gap_each: EVENTS_EACH,
        gap_ms: SILENCE_MS,
        refuse_each: 4,
        cut_each: 5,
        ..Faults::of_environment()
    };
    let mut quickest =
        Waits { head_ns: u64::MAX, first_ns: u64::MAX, whole_ns: u64::MAX, stalls: u64::MAX };
    let mut tries = 0;
    loop {
        tries += 1;
        // The floor counts the requests of its life.
        let floor = Local::start(faults)?;
        let begin_ns = unix_ns();
        let connect = Pace { first_ns: begin_ns, every_ns: 1, count: ANSWERS };
        let window_ns = begin_ns..begin_ns + HANG_NS;
        let target = format!("/ticks?interval_ms=5&count={EVENTS_EACH}");
        let plan = Plan {
            stop: Stop::At(window_ns.end),
            goes_on: true,
            asking: Some(Asking::Again { requests: ANSWERS }),
            stall_ns: Some(STALL_MS * MILLISECOND_NS),
            ..Plan::bare(floor.addr(), &target, connect, begin_ns, window_ns)
        };
        let outcome = generator::run(&plan, unix_ns, |_| ())?;
        quickest.add(&outcome);
        let checks = [ends(&outcome), quickest.check()];
        if checks[1].passed || !checks[0].passed || tries == TRIES {
            return Ok(checks);
        }
        again(&repeated(tries, TRIES, "the host was late"));
    }
}

fn ends(outcome: &Outcome) -> Check {
    let words = |whole, cut, refused, events| {
        format!("{whole} whole, {cut} cut, {refused} refused, {events} events")
    };
    let it = &outcome.waits.ends;
    let truth = words(WHOLE, CUT, REFUSED, WHOLE * EVENTS_EACH + CUT);
    let found = words(it.whole, it.cut, it.refused, outcome.events);
    let passed = truth == found && it.asked() == ANSWERS;
    Check { what: format!("of {ANSWERS} answers some are cut or refused"), truth, found, passed }
}

/// The quickest of each in all tries: a slower one may be the host's doing.
struct Waits {
    head_ns: u64,
    first_ns: u64,
    whole_ns: u64,
    stalls: u64,
}

impl Waits {
    fn add(&mut self, outcome: &Outcome) {
        let waits = &outcome.waits;
        self.head_ns = self.head_ns.min(outcome.headers_ns.min());
        self.first_ns = self.first_ns.min(outcome.first_event_ns.min());
        self.whole_ns = self.whole_ns.min(waits.duration_ns.min());
        self.stalls = self.stalls.min(waits.stalls);
    }

    fn check(&self) -> Check {
        let times = [(HEAD_MS, self.head_ns), (FIRST_MS, self.first_ns), (WHOLE_MS, self.whole_ns)];
        let is_found = |(truth_ms, found_ns): (u64, u64)| {
            // The histogram rounds by a thousandth.
            let least_ns = truth_ms * MILLISECOND_NS / 1000 * 998;
            (least_ns..=(truth_ms + WITHIN_MS) * MILLISECOND_NS).contains(&found_ns)
        };
        let words = |[head, first, whole]: [f64; 3], silences| {
            format!(
                "head {head:.1} ms, first event {first:.1} ms, end {whole:.1} ms, {silences} silences"
            )
        };
        Check {
            what: "the floor is late, and silent once in each whole answer".into(),
            truth: words(times.map(|(truth_ms, _)| truth_ms as f64), WHOLE),
            found: words(times.map(|(_, found_ns)| found_ns as f64 / 1e6), self.stalls),
            passed: times.into_iter().all(is_found) && self.stalls == WHOLE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_truths_are_found() {
        assert_eq!(untrue(&find(|_| ()).unwrap()), None);
    }

    #[test]
    fn another_truth_is_not_found() {
        let passed = Check { what: "a".into(), truth: "1".into(), found: "1".into(), passed: true };
        let wrong = Check { what: "b".into(), found: "2".into(), passed: false, ..passed.clone() };
        let words = untrue(&[passed, wrong]).unwrap();
        assert!(words.ends_with("b: 1 in truth, found 2"), "{words}");
    }
}
