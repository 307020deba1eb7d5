//! The plan of one run of the generator, as times.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::publisher::Publish;
use super::stamp::StampReader;

/// Everything that one run of the generator does, in Unix nanoseconds.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where the server listens.
    pub addr: SocketAddr,
    /// The value of the `Host` field.
    pub host: String,
    /// Path and query of the stream.
    pub target: String,
    /// When each subscriber connects, in rising order.
    pub connect_at_ns: Vec<u64>,
    /// Every n-th subscriber asks for the stream and never reads; 0 disables.
    pub stalled_each: u64,
    /// When all of them must have their response head; if not, the run ends.
    pub up_by_ns: u64,
    /// The messages that the generator publishes itself.
    pub publish: Option<Publish>,
    /// Where the times come from that events are due at.
    pub schedule: Schedule,
    /// How an event says when it was due.
    pub stamp: StampReader,
    /// Events that are due in this span are measured; those before it warm the server up.
    pub window_ns: Range<u64>,
    /// When the observer is called, in rising order.
    pub marks_ns: Vec<u64>,
    /// Whether the observer is called once more when everything is complete.
    pub mark_at_end: bool,
    /// When to stop.
    pub stop: Stop,
    /// Whether the generator asks again and again instead of sleeping until something happens.
    pub stays_awake: bool,
    /// Set from outside, it stops the run.
    pub cancel: Option<Arc<AtomicBool>>,
}

/// Which events are due, and when.
#[derive(Debug, Clone)]
pub enum Schedule {
    /// All subscribers get the same events, published at these times.
    Published(Pace),
    /// Each stream ticks for itself, from its first event's time on.
    OfStream {
        /// Between two events.
        interval_ns: u64,
    },
    /// Each stream gets this many events, numbered from 1 by their ids, as fast as it reads.
    Counted {
        /// How many.
        events: u64,
    },
    /// Each stream gets events, numbered from 1 by their ids, as fast as it reads, without end.
    Endless,
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
    /// When this many events of the window have come.
    AfterEvents {
        /// How many, all streams together.
        events: u64,
        /// But then at the latest.
        at_latest_ns: u64,
    },
    /// At this time.
    At(u64),
}

impl Stop {
    /// When the run is over in any case.
    pub fn at_latest_ns(self) -> u64 {
        match self {
            Stop::WhenComplete { at_latest_ns } | Stop::AfterEvents { at_latest_ns, .. } => {
                at_latest_ns
            }
            Stop::At(end_ns) => end_ns,
        }
    }
}
