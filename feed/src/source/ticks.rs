//! `/ticks`: a counter for each connection.

use super::{After, Source, SourcePoll};
use crate::clock::{MS, Now};
use crate::event::{Event, Gap};

/// The parameters of a client's ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TickRules {
    /// Milliseconds between two ticks; 0 is as fast as the client reads.
    pub interval_ms: u64,
    /// Ticks on this connection, then the stream ends; `None` never ends.
    pub count: Option<u64>,
    /// Filler bytes in each tick.
    pub pad: usize,
    /// The data says when the tick was due and when it was made.
    pub stamp: bool,
    /// Ticks begin at a multiple of the interval in Unix time, the same for all connections.
    pub align: bool,
}

/// Event N is `id: N`, `data: Hello! This is event N`; the first at once, then one each interval.
#[derive(Debug)]
pub struct Ticks {
    rules: TickRules,
    pad: String,
    gap: Option<Gap>,
    /// Number of the next tick.
    next: u64,
    sent: u64,
    /// When the next tick is due, in monotonic nanoseconds.
    due: u64,
    /// From monotonic time to the Unix time of stamps: the schedule of a stream has no step.
    set_by: u64,
}

impl Ticks {
    /// Ticks from `now` on, counting on after `last_event_id`.
    pub fn new(rules: TickRules, last_event_id: Option<&str>, now: Now) -> Ticks {
        let (next, gap) = match After::parse(last_event_id) {
            After::Nothing => (1, None),
            After::Number(n) => (n + 1, None),
            After::Foreign => (1, Some(Gap::Reset)),
        };
        let interval = rules.interval_ms * MS;
        let aligned = rules.align && interval > 0;
        let first = if aligned { now.unix.next_multiple_of(interval) } else { now.unix };
        let (due, set_by) = (now.monotonic_at(first), now.set_by());
        Ticks { rules, pad: "x".repeat(rules.pad), gap, next, sent: 0, due, set_by }
    }
}

impl Source for Ticks {
    fn poll(&mut self, now: Now) -> SourcePoll {
        if let Some(gap) = self.gap.take() {
            return SourcePoll::Gap(gap);
        }
        if self.rules.count == Some(self.sent) {
            return SourcePoll::End;
        }
        let interval = self.rules.interval_ms * MS;
        if now.monotonic < self.due {
            return SourcePoll::Wait(Some(self.due));
        }
        let n = self.next;
        let scheduled = self.due.wrapping_add(self.set_by);
        let (emitted, pad) = (now.unix, &self.pad);
        let data = if self.rules.stamp {
            format!(
                r#"{{"n":{n},"scheduled_ns":{scheduled},"emitted_ns":{emitted},"pad":"{pad}"}}"#
            )
        } else if pad.is_empty() {
            format!("Hello! This is event {n}")
        } else {
            format!("Hello! This is event {n} {pad}")
        };
        self.next += 1;
        self.sent += 1;
        // Without an interval a tick is due when it is asked for. With one, late ticks are made up
        // for and none is left out: their schedule does not depend on the reader.
        self.due = if interval == 0 { now.monotonic } else { self.due + interval };
        SourcePoll::Event(Event::data(data).with_id(n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: TickRules =
        TickRules { interval_ms: 100, count: None, pad: 0, stamp: false, align: false };
    const NOON: u64 = 1_000_000 * MS;

    fn data(step: SourcePoll) -> String {
        match step {
            SourcePoll::Event(event) => event.data.expect("a tick has data"),
            step => panic!("expected a tick, got {step:?}"),
        }
    }

    #[test]
    fn the_first_comes_at_once_and_then_one_each_interval() {
        let mut ticks = Ticks::new(RULES, None, Now::at(NOON));
        assert_eq!(data(ticks.poll(Now::at(NOON))), "Hello! This is event 1");
        assert!(
            matches!(ticks.poll(Now::at(NOON)), SourcePoll::Wait(Some(at)) if at == NOON + 100 * MS)
        );
        assert_eq!(data(ticks.poll(Now::at(NOON + 100 * MS))), "Hello! This is event 2");
    }

    #[test]
    fn late_ticks_are_made_up_for_on_their_schedule() {
        let mut ticks = Ticks::new(TickRules { stamp: true, ..RULES }, None, Now::at(NOON));
        ticks.poll(Now::at(NOON));
        let late = NOON + 250 * MS;
        for n in 2..=3 {
            let stamp: serde_json::Value =
                serde_json::from_str(&data(ticks.poll(Now::at(late)))).expect("a stamp is JSON");
            assert_eq!(stamp["n"], n);
            assert_eq!(stamp["scheduled_ns"], NOON + (n - 1) * 100 * MS);
            assert_eq!(stamp["emitted_ns"], late);
        }
        assert!(matches!(ticks.poll(Now::at(late)), SourcePoll::Wait(Some(_))));
    }

    #[test]
    fn a_last_event_id_continues_the_count() {
        let mut ticks =
            Ticks::new(TickRules { count: Some(2), ..RULES }, Some("41"), Now::at(NOON));
        assert_eq!(data(ticks.poll(Now::at(NOON))), "Hello! This is event 42");
        assert_eq!(data(ticks.poll(Now::at(NOON + 100 * MS))), "Hello! This is event 43");
        assert!(matches!(ticks.poll(Now::at(NOON + 200 * MS)), SourcePoll::End));
    }

    #[test]
    fn a_foreign_id_resets() {
        let mut ticks = Ticks::new(RULES, Some("abc"), Now::at(NOON));
        assert!(matches!(ticks.poll(Now::at(NOON)), SourcePoll::Gap(Gap::Reset)));
        assert_eq!(data(ticks.poll(Now::at(NOON))), "Hello! This is event 1");
    }

    #[test]
    fn aligned_ticks_fall_on_multiples_of_the_interval() {
        let mut ticks =
            Ticks::new(TickRules { align: true, ..RULES }, None, Now::at(NOON + 30 * MS));
        assert!(
            matches!(ticks.poll(Now::at(NOON + 30 * MS)), SourcePoll::Wait(Some(at)) if at == NOON + 100 * MS)
        );
    }

    #[test]
    fn no_interval_is_as_fast_as_one_reads_and_padding_fills() {
        let mut ticks =
            Ticks::new(TickRules { interval_ms: 0, pad: 3, ..RULES }, None, Now::at(NOON));
        assert_eq!(data(ticks.poll(Now::at(NOON))), "Hello! This is event 1 xxx");
        assert_eq!(data(ticks.poll(Now::at(NOON))), "Hello! This is event 2 xxx");
    }

    #[test]
    fn a_clock_that_is_set_changes_no_pace() {
        for set in [3600, -3600] {
            let mut ticks = Ticks::new(TickRules { stamp: true, ..RULES }, None, Now::at(NOON));
            ticks.poll(Now::at(NOON));
            let set = |ns| Now::at(NOON + ns).set(set);
            assert!(
                matches!(ticks.poll(set(0)), SourcePoll::Wait(Some(at)) if at == NOON + 100 * MS)
            );
            let stamp = data(ticks.poll(set(100 * MS)));
            assert!(stamp.contains(&format!(r#""scheduled_ns":{},"#, NOON + 100 * MS)), "{stamp}");
            assert!(matches!(ticks.poll(set(100 * MS)), SourcePoll::Wait(Some(_))));
        }
    }
}
