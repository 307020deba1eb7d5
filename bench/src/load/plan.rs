//! What one run of the generator does, as times.

use std::net::SocketAddr;
use std::ops::Range;

/// Everything that one run of the generator does, in Unix nanoseconds.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where the server listens.
    pub addr: SocketAddr,
    /// What the `Host` field says.
    pub host: String,
    /// Path and query of the stream.
    pub target: String,
    /// When each subscriber connects, in rising order.
    pub connect_at_ns: Vec<u64>,
    /// When all of them must have their response head; if not, the run ends.
    pub up_by_ns: u64,
    /// Where the times come from that events are due at.
    pub schedule: Schedule,
    /// Events that are due in this span are measured; those before it warm the server up.
    pub window_ns: Range<u64>,
    /// When the observer is called, in rising order.
    pub marks_ns: Vec<u64>,
    /// When to stop.
    pub stop: Stop,
}

/// Which events are due, and when.
#[derive(Debug, Clone)]
pub enum Schedule {
    /// The generator publishes: all subscribers get the same events.
    Published {
        /// Path of the POST.
        path: String,
        /// When each message is published.
        pace: Pace,
    },
    /// Each stream ticks for itself, from its first event's time on.
    OfStream {
        /// Between two events.
        interval_ns: u64,
    },
    /// Unknown: what comes is counted, and has a latency if it says when it was due.
    Stamped,
    /// Events are not looked at.
    Quiet,
}

/// Evenly spaced times.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The first, Unix nanoseconds.
    pub first_ns: u64,
    /// Between one and the next.
    pub every_ns: u64,
    /// How many.
    pub count: u64,
}

impl Pace {
    /// The time of number `n`, from 1.
    pub fn time_ns(self, n: u64) -> u64 {
        self.first_ns + (n - 1) * self.every_ns
    }

    /// How many times lie before `end_ns`.
    pub fn count_before(self, end_ns: u64) -> u64 {
        end_ns.saturating_sub(self.first_ns).div_ceil(self.every_ns).min(self.count)
    }
}

/// When a run is over.
#[derive(Debug, Clone, Copy)]
pub enum Stop {
    /// When the window is over, every mark was met and every event that is due has come.
    WhenComplete {
        /// But then at the latest.
        at_latest_ns: u64,
    },
    /// At this time.
    At(u64),
}
