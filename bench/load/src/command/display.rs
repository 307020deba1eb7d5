//! The line that changes while a load runs.

use std::collections::VecDeque;
use std::io::{self, Write as _};

use crate::generator::Mark;
use crate::timer::{MILLISECOND_NS, SECOND_NS};

/// Between two changes.
pub(super) const EVERY_NS: u64 = 250 * MILLISECOND_NS;

/// The time that a rate is the mean of. Streams that send once a second send all at once: in a mean of one second, a mark that
/// is a little late has twice as many events as the next one.
const AVERAGED_NS: u64 = 5 * SECOND_NS;

/// The line, and the counts that its rate is made of.
pub(super) struct Display {
    pub(super) connections: u64,
    rate: Rate,
}

impl Display {
    pub(super) fn new(connections: u64, now_ns: u64) -> Display {
        Display { connections, rate: Rate(VecDeque::from([(now_ns, 0)])) }
    }

    pub(super) fn show(&mut self, mark: &Mark<'_>, now_ns: u64) {
        // The display is optional: continue without it.
        let _ = write!(io::stderr(), "\r\x1b[K{}", self.line(mark, now_ns));
    }

    fn line(&mut self, mark: &Mark<'_>, now_ns: u64) -> String {
        let outcome = mark.outcome;
        let rate = self.rate.of(now_ns, outcome.events);
        let errors = outcome.errors();
        let (name, times) = match outcome.asks {
            true => ("first event", &outcome.first_event_ns),
            false => ("latency", &outcome.latency_ns),
        };
        let ms = |at| times.value_at_quantile(at) as f64 / 1e6;
        let times = if times.is_empty() {
            format!("{name} unknown")
        } else {
            format!("{name} p50 {:.1} p99 {:.1} ms", ms(0.5), ms(0.99))
        };
        let streams = if outcome.asks {
            format!("{} answered, {} open", outcome.waits.ends.completed(), mark.open)
        } else {
            format!("{}/{} open", mark.open, self.connections)
        };
        format!("{streams}  {rate:.0} events/s  {times}  {errors} errors")
    }
}

/// Counts and when they were taken, over the time that the rate is the mean of.
struct Rate(VecDeque<(u64, u64)>);

impl Rate {
    /// Events a second, now that there are so many.
    fn of(&mut self, now_ns: u64, events: u64) -> f64 {
        self.0.push_back((now_ns, events));
        // The oldest but one is old enough too.
        while self.0.get(1).is_some_and(|it| it.0 + AVERAGED_NS <= now_ns) {
            self.0.pop_front();
        }
        let (since_ns, before) = self.0.front().copied().unwrap_or((now_ns, events));
        // At the start, too: the first events of all streams are no rate.
        let passed_s = now_ns.saturating_sub(since_ns).max(SECOND_NS) as f64 / 1e9;
        (events - before) as f64 / passed_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_has_a_steady_rate() {
        let mut rate = Rate(VecDeque::from([(0, 0)]));
        let mut now_ns = 0;
        for mark in 1..=160 {
            // Each mark is late, and never twice by the same time.
            now_ns += EVERY_NS + mark % 7 * 5 * MILLISECOND_NS;
            // 100 streams with an event a second, all at once: a mark has 0 or 100 of them.
            let found = rate.of(now_ns, now_ns / SECOND_NS * 100);
            assert!(mark < 20 || (80.0..=120.0).contains(&found), "{found} at mark {mark}");
            assert!(rate.0.len() <= 21);
        }
    }
}
