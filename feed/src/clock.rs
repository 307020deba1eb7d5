//! The one clock: Unix nanoseconds.
//!
//! A source gets the time as an argument instead of reading a clock, so that a test can play a
//! minute in a microsecond.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds in a millisecond.
pub const MS: u64 = 1_000_000;

/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000 * MS;

/// Now, in nanoseconds since the Unix epoch. Good until the year 2554.
pub fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// How long from `now` until `until`, zero if that is past.
pub fn wait(now: u64, until: u64) -> Duration {
    Duration::from_nanos(until.saturating_sub(now))
}
