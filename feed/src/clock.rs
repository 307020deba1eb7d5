//! The clocks: a monotonic one, and Unix time beside it.
//!
//! Unix time may be set: by an operator, by NTP, or because a virtual machine was asleep. So
//! keep-alive, deadlines and pacing use the monotonic clock, and only text and ids that show the time
//! of day use the other one.
//!
//! A source gets the time as an argument instead of reading a clock, so that a test can play a
//! minute in a microsecond, and set the clock as it likes.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds in a millisecond.
pub const MS: u64 = 1_000_000;

/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000 * MS;

/// The time between two comparisons of the clocks, so that reading the time costs one clock.
const COMPARE_NS: u64 = MS;

/// Two clocks that are read one after the other, further apart than this, say nothing about each
/// other: the thread was interrupted in between.
const TOGETHER_NS: u64 = MS / 10;

/// A smaller difference is no step of the clock: readings are not that exact.
const STEP_NS: u64 = MS;

/// A moment on both clocks, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Now {
    /// On a clock that is never set. It began with the Unix time at which the process started, so a
    /// whole millisecond of one clock is one of the other too, until Unix time is set.
    pub monotonic: u64,
    /// Since the Unix epoch. Good until the year 2554.
    pub unix: u64,
}

impl Now {
    /// By how much Unix time was set since the process started; wraps for a step back.
    pub fn set_by(self) -> u64 {
        self.unix.wrapping_sub(self.monotonic)
    }

    /// The monotonic time at which it is that Unix time, if the clock is not set until then.
    pub fn monotonic_at(self, unix: u64) -> u64 {
        unix.wrapping_sub(self.set_by())
    }
}

static CLOCK: LazyLock<Clock> = LazyLock::new(Clock::start);

/// The present.
pub fn now() -> Now {
    CLOCK.now()
}

/// A moment at most a millisecond before the last call of [`now`], whichever thread made it, without
/// a look at a clock.
pub fn recent() -> Now {
    CLOCK.recent()
}

/// That monotonic time, for a timer of the system or of a runtime.
pub fn instant(monotonic: u64) -> Instant {
    CLOCK.start + wait(CLOCK.start_unix, monotonic)
}

/// Now, in nanoseconds since the Unix epoch.
pub fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// How long from `now` until `until`, zero if that is past.
pub fn wait(now: u64, until: u64) -> Duration {
    Duration::from_nanos(until.saturating_sub(now))
}

/// Both clocks of the system. Unix time is the monotonic clock and the steps that it has made.
struct Clock {
    start: Instant,
    start_unix: u64,
    set_by: AtomicU64,
    /// When the clocks were last compared, in monotonic time.
    compared: AtomicU64,
}

impl Clock {
    fn start() -> Clock {
        let read = || {
            let start = Instant::now();
            (unix_ns(), start, start.elapsed())
        };
        // The closest of a few readings: one may have been interrupted.
        let (start_unix, start, _) =
            (0..5).map(|_| read()).min_by_key(|reading| reading.2).expect("five readings");
        let (set_by, compared) = (AtomicU64::new(0), AtomicU64::new(start_unix));
        Clock { start, start_unix, set_by, compared }
    }

    fn now(&self) -> Now {
        let monotonic = self.monotonic();
        if monotonic.saturating_sub(self.compared.load(Relaxed)) >= COMPARE_NS {
            self.compared.store(monotonic, Relaxed);
            let known = self.set_by.load(Relaxed);
            self.learn(known, monotonic, unix_ns(), self.monotonic());
        }
        self.at(monotonic)
    }

    fn recent(&self) -> Now {
        self.at(self.compared.load(Relaxed))
    }

    fn at(&self, monotonic: u64) -> Now {
        Now { monotonic, unix: monotonic.wrapping_add(self.set_by.load(Relaxed)) }
    }

    /// Takes over what [`compare`] says, unless another thread has found a step since `known`: this
    /// one may have been interrupted behind its readings, and they may be of the time before the step.
    fn learn(&self, known: u64, before: u64, unix: u64, after: u64) {
        let set_by = compare(known, before, unix, after);
        let _ = self.set_by.compare_exchange(known, set_by, Relaxed, Relaxed);
    }

    fn monotonic(&self) -> u64 {
        let elapsed = self.start.elapsed();
        self.start_unix + elapsed.as_secs() * SECOND + u64::from(elapsed.subsec_nanos())
    }
}

/// By how much Unix time was set, known so far, and three readings: the monotonic clock, Unix time,
/// the monotonic clock again.
fn compare(set_by: u64, before: u64, unix: u64, after: u64) -> u64 {
    let now_set_by = Now { monotonic: before, unix }.set_by();
    let step = now_set_by.wrapping_sub(set_by).cast_signed().unsigned_abs();
    if after - before <= TOGETHER_NS && step >= STEP_NS { now_set_by } else { set_by }
}

#[cfg(test)]
impl Now {
    /// This time on both clocks.
    pub(crate) fn at(ns: u64) -> Now {
        Now { monotonic: ns, unix: ns }
    }

    /// The same moment after Unix time was set by this many seconds.
    pub(crate) fn set(self, seconds: i64) -> Now {
        Now { unix: self.unix.wrapping_add_signed(seconds * SECOND as i64), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_shows_and_an_inexact_reading_does_not() {
        let (noon, hour) = (1_000_000 * SECOND, 3600 * SECOND);
        let back = 0_u64.wrapping_sub(hour);
        assert_eq!(compare(0, noon, noon + 50, noon + 100), 0);
        assert_eq!(compare(0, noon, noon + hour, noon + 100), hour);
        assert_eq!(compare(0, noon, noon - hour, noon + 100), back);
        assert_eq!(compare(back, noon, noon - hour + 50, noon + 100), back);
        assert_eq!(compare(hour, noon, noon, noon + 100), 0);
        let interrupted = 30 * MS;
        assert_eq!(compare(0, noon, noon + interrupted, noon + interrupted), 0);
    }

    #[test]
    fn a_late_thread_takes_no_step_back() {
        let (clock, noon, hour) = (Clock::start(), 1_000_000 * SECOND, 3600 * SECOND);
        let known = clock.set_by.load(Relaxed);
        // Another thread finds the step behind the readings of this one.
        clock.learn(known, noon, noon + hour, noon + 100);
        clock.learn(known, noon, noon + 50, noon + 100);
        assert_eq!(clock.set_by.load(Relaxed), hour);
        clock.learn(hour, noon, noon, noon + 100);
        assert_eq!(clock.set_by.load(Relaxed), 0);
    }

    #[test]
    fn a_due_time_moves_with_the_clock_that_is_set() {
        let now = Now::at(1_000_000 * SECOND);
        for set in [0, 3600, -3600] {
            let now = now.set(set);
            assert_eq!(now.monotonic_at(now.unix + 5), now.monotonic + 5);
            assert_eq!(now.monotonic_at(now.unix - 5), now.monotonic - 5);
        }
    }

    #[test]
    fn the_present_is_unix_time_and_goes_on() {
        let (before, now, after) = (unix_ns(), now(), self::now());
        assert!(now.unix.abs_diff(before) < SECOND && now.monotonic.abs_diff(before) < 60 * SECOND);
        assert!(after.monotonic >= now.monotonic);
    }
}
