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
use std::task::Waker;

pub use self::script::{MAX_SCRIPT_BYTES, Script};
pub use self::simulation::{LatestPrices, SIMULATION_INTERVAL_MS, Simulation};
pub use self::tasks::{LAST_STEP, Tasks};
pub use self::ticks::{TickRules, Ticks};
pub use self::time::Time;
use crate::event::{Event, Gap};
use crate::wire::Encoded;

/// The result of [`Source::poll`].
#[derive(Debug)]
pub enum SourcePoll {
    /// An event for this stream alone.
    Event(Event),
    /// An event that other streams get too, encoded already.
    Shared(Arc<Encoded>),
    /// Events that were asked for are gone.
    Gap(Gap),
    /// The time of the next event, in Unix nanoseconds; `None`: the waker will be called.
    Wait(Option<u64>),
    /// The stream has ended.
    End,
}

/// A sequence of events over time.
pub trait Source: Send + Sync {
    /// The next event, or when to ask again. `now` is in Unix nanoseconds.
    fn poll(&mut self, now: u64) -> SourcePoll;

    /// Registers a waker, which is called once when there may be more. Only a source that returns
    /// `Wait(None)` needs it. The caller polls once more afterwards: an event may have come in
    /// between.
    fn wake(&mut self, _waker: &Waker) {}
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

/// The first id of a stream whose ids follow the clock, and the gap to report before it: shared by
/// time and simulation.
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
}
