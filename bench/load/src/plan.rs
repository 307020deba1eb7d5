//! The plan of one run of the generator, as times.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::stamp::StampReader;
use crate::timer::SECOND_NS;

/// How long after the window the last events may come before they count as lost.
pub(super) const GRACE_NS: u64 = 2 * SECOND_NS;

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

/// Messages to publish, where and when.
#[derive(Debug, Clone)]
pub struct Publish {
    /// Where the server listens.
    pub addr: SocketAddr,
    /// The value of the `Host` field.
    pub host: String,
    /// Path and query of the POST.
    pub path: String,
    /// The body of each message.
    pub body: Body,
    /// When.
    pub pace: Pace,
}

/// The body of a message.
#[derive(Debug, Clone)]
pub enum Body {
    /// Our own stamp, with this many filler bytes.
    Stamp {
        /// Filler bytes.
        pad_bytes: usize,
    },
    /// This text, in which `{n}`, `{scheduled_ns}`, `{scheduled_ms}` and `{stamp}` are replaced.
    Template(String),
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

impl Plan {
    /// Streams of `target` that are counted in the window, and nothing else.
    pub(super) fn bare(
        addr: SocketAddr,
        target: &str,
        connect: Pace,
        up_by_ns: u64,
        window_ns: Range<u64>,
    ) -> Plan {
        Plan {
            addr,
            host: addr.to_string(),
            target: target.into(),
            connect_at_ns: (1..=connect.count).map(|n| connect.time_ns(n)).collect(),
            stalled_each: 0,
            up_by_ns,
            publish: None,
            schedule: Schedule::Stamped,
            stamp: StampReader::Ours,
            marks_ns: Vec::new(),
            mark_at_end: false,
            stop: Stop::WhenComplete { at_latest_ns: window_ns.end + GRACE_NS },
            window_ns,
            stays_awake: false,
            cancel: None,
        }
    }
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
