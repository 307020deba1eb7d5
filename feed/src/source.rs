//! Where events come from: state machines that know neither sockets nor runtimes.
//!
//! A source is polled with the current time. It returns an event, the time of the next one, or the
//! end. So the std server's workers and the async servers run the same code, and a test needs no
//! clock.

mod script;
mod simulation;
mod tasks;
mod ticks;
mod time;

use std::sync::Arc;

pub use self::script::{MAX_SCRIPT_BYTES, Script};
pub use self::simulation::{LatestPrices, SIMULATION_INTERVAL_MS, Simulation};
pub use self::tasks::{LAST_STEP, Tasks};
pub use self::ticks::{TickRules, Ticks};
pub use self::time::Time;
use crate::clock::Now;
use crate::event::{Event, Gap};
pub use crate::wakers::Sleeper;
use crate::wire::Encoded;

/// The result of [`Source::poll`].
#[derive(Debug)]
pub enum SourcePoll {
    /// An event for this stream alone.
    Event(Event),
    /// An event that other streams get too, encoded already.
    Shared {
        /// The event.
        encoded: Arc<Encoded>,
        /// False if there is none behind it yet: the sleeper is woken for the next.
        more: bool,
    },
    /// Events that were asked for are gone.
    Gap(Gap),
    /// The monotonic time of the next event, in nanoseconds; `None`: the sleeper is woken.
    Wait(Option<u64>),
    /// The stream has ended.
    End,
}

/// A sequence of events over time.
pub trait Source: Send + Sync {
    /// The next event, or when to ask again. The caller sleeps from before this poll, so that no event
    /// between the two is missed.
    fn poll(&mut self, now: Now) -> SourcePoll;

    /// False if no event depends on the time: the sleeper is woken for each.
    fn follows_clock(&self) -> bool {
        true
    }

    /// Sets what to wake for the next event. Only a source that returns `Wait(None)` needs it.
    fn set_sleeper(&mut self, _sleeper: &Sleeper) {}
}

impl std::fmt::Debug for dyn Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Source")
    }
}

/// Ids above this are not ours: JSON readers would round them.
const MAX_COUNT: u64 = 1 << 53;

/// The meaning of a last event id for a stream whose ids are numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// No id: from the start, or from now.
    Nothing,
    /// Go on after this one.
    Number(u64),
    /// Not an id of ours.
    Foreign,
}

impl After {
    fn parse(last_event_id: Option<&str>) -> After {
        match last_event_id {
            None => After::Nothing,
            // `parse` would take a sign too.
            Some(id) if !id.bytes().all(|b| b.is_ascii_digit()) => After::Foreign,
            Some(id) => match id.parse() {
                Ok(number) if number <= MAX_COUNT => After::Number(number),
                _ => After::Foreign,
            },
        }
    }
}

/// Ids that follow Unix time, shared by time and simulation: n is due n intervals after the epoch.
///
/// When that clock is set forward, the ids in between are missed. When it is set back, the ids since
/// then are not resumed until it is their time again; each names the same event then.
#[derive(Debug)]
struct ClockedIds {
    interval: u64,
    retain: u64,
    gap: Option<Gap>,
    next: u64,
    /// [`Now::set_by`] at the last poll.
    set_by: u64,
}

impl ClockedIds {
    /// The ids after `last_event_id`, at most `retain` older ones. Without one they begin `ahead` of
    /// the newest.
    fn new(interval: u64, last_event_id: Option<&str>, retain: u64, ahead: u64, now: Now) -> Self {
        let newest = now.unix / interval;
        let after = After::parse(last_event_id);
        let (next, gap) = start_by_clock(after, newest, retain, newest + ahead);
        ClockedIds { interval, retain, gap, next, set_by: now.set_by() }
    }

    /// The id that is due; else the result to return.
    fn poll(&mut self, now: Now) -> Result<u64, SourcePoll> {
        if let Some(gap) = self.gap.take().or_else(|| self.skip(now)) {
            return Err(SourcePoll::Gap(gap));
        }
        let due = self.next.saturating_mul(self.interval);
        if now.unix < due {
            return Err(SourcePoll::Wait(Some(now.monotonic_at(due))));
        }
        self.next += 1;
        Ok(self.next - 1)
    }

    /// Skips the ids that a step of the clock leaves out, and those that are no longer retained for
    /// a slow reader. One or two more at once, or as many intervals of silence, do no harm.
    fn skip(&mut self, now: Now) -> Option<Gap> {
        let unset = now.monotonic.wrapping_add(std::mem::replace(&mut self.set_by, now.set_by()));
        let due = self.next.saturating_mul(self.interval);
        if due.saturating_sub(2 * self.interval) <= now.unix && now.unix < due + self.interval {
            return None;
        }
        let newest = now.unix / self.interval;
        if self.next > newest {
            self.next = newest;
            return Some(Gap::Reset);
        }
        let is_set_forward = newest > unset / self.interval + 1;
        let oldest = if is_set_forward { newest } else { (newest + 1).saturating_sub(self.retain) };
        let missed = oldest.saturating_sub(self.next);
        self.next = self.next.max(oldest);
        (missed > 0).then_some(Gap::Missed(missed))
    }
}

/// The first id of a stream whose ids follow the clock, and the gap to report before it.
///
/// `newest` is the newest id that exists; at most `retain` of the older ones are sent again.
fn start_by_clock(after: After, newest: u64, retain: u64, live: u64) -> (u64, Option<Gap>) {
    match after {
        After::Nothing => (live, None),
        After::Number(n) if n > newest => (live, Some(Gap::Reset)),
        After::Foreign => (live, Some(Gap::Reset)),
        After::Number(n) => {
            let oldest = (newest + 1).saturating_sub(retain);
            let missed = oldest.saturating_sub(n + 1);
            ((n + 1).max(oldest), (missed > 0).then_some(Gap::Missed(missed)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SECOND;

    #[test]
    fn only_plain_numbers_are_ids_of_ours() {
        assert_eq!(After::parse(None), After::Nothing);
        assert_eq!(After::parse(Some("41")), After::Number(41));
        for foreign in ["-1", "+1", "1.0", " 1", "x", "18446744073709551616", "9007199254740993"] {
            assert_eq!(After::parse(Some(foreign)), After::Foreign, "{foreign}");
        }
    }

    #[test]
    fn a_clocked_stream_replays_what_is_retained_and_admits_the_rest() {
        assert_eq!(start_by_clock(After::Nothing, 100, 10, 100), (100, None));
        assert_eq!(start_by_clock(After::Number(97), 100, 10, 100), (98, None));
        assert_eq!(start_by_clock(After::Number(90), 100, 10, 100), (91, None));
        assert_eq!(start_by_clock(After::Number(89), 100, 10, 100), (91, Some(Gap::Missed(1))));
        assert_eq!(start_by_clock(After::Number(101), 100, 10, 100), (100, Some(Gap::Reset)));
        assert_eq!(start_by_clock(After::Foreign, 100, 10, 100), (100, Some(Gap::Reset)));
    }

    const NOON: u64 = 1_795_176_000;

    /// All that `ids` gives at once, then how long it waits in nanoseconds.
    fn read(ids: &mut ClockedIds, now: Now) -> (Vec<String>, u64) {
        let mut seen = Vec::new();
        loop {
            seen.push(match ids.poll(now) {
                Ok(id) => format!("{}", id as i64 - NOON as i64),
                Err(SourcePoll::Gap(gap)) => format!("{gap:?}"),
                Err(SourcePoll::Wait(Some(at))) => return (seen, at - now.monotonic),
                Err(other) => panic!("ids never say {other:?}"),
            });
        }
    }

    fn live(retain: u64) -> ClockedIds {
        let mut ids = ClockedIds::new(SECOND, None, retain, 0, Now::at(NOON * SECOND));
        assert_eq!(read(&mut ids, Now::at(NOON * SECOND)), (vec!["0".into()], SECOND));
        ids
    }

    #[test]
    fn a_clock_that_is_set_forward_gives_one_gap_with_the_count() {
        let mut ids = live(10);
        let now = Now::at(NOON * SECOND + SECOND / 2).set(3600);
        assert_eq!(read(&mut ids, now), (vec!["Missed(3599)".into(), "3600".into()], SECOND / 2));
        let now = Now::at((NOON + 1) * SECOND).set(3600);
        assert_eq!(read(&mut ids, now), (vec!["3601".into()], SECOND));
    }

    #[test]
    fn a_clock_that_is_set_back_gives_a_reset_and_the_new_time() {
        let mut ids = live(10);
        let now = Now::at(NOON * SECOND + SECOND / 2).set(-3600);
        assert_eq!(read(&mut ids, now), (vec!["Reset".into(), "-3600".into()], SECOND / 2));
        let now = Now::at((NOON + 1) * SECOND).set(-3600);
        assert_eq!(read(&mut ids, now), (vec!["-3599".into()], SECOND));
        let before = NOON.to_string();
        let mut resumed = ClockedIds::new(SECOND, Some(&before), 10, 0, now);
        assert_eq!(read(&mut resumed, now).0, ["Reset", "-3599"]);
    }

    #[test]
    fn a_clock_that_is_set_by_a_second_loses_and_repeats_nothing() {
        let mut ids = live(10);
        let now = Now::at((NOON + 1) * SECOND).set(1);
        assert_eq!(read(&mut ids, now), (vec!["1".into(), "2".into()], SECOND));
        let now = Now::at((NOON + 2) * SECOND);
        assert_eq!(read(&mut ids, now), (vec![], SECOND));
    }

    #[test]
    fn a_slow_reader_gets_what_is_retained() {
        let mut ids = live(10);
        let seen = read(&mut ids, Now::at((NOON + 9) * SECOND)).0;
        assert_eq!(seen, ["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
        let seen = read(&mut ids, Now::at((NOON + 99) * SECOND)).0;
        assert_eq!((seen.len(), &*seen[0], &*seen[1]), (11, "Missed(80)", "90"));
    }
}
