//! The plan of one run of the generator, as times.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use wire::publish::Publication;
use wire::{Request, Tls};

use super::arrivals::Arrivals;
use super::slo::Slo;
use super::stamp::StampReader;
use crate::timer::SECOND_NS;

/// How long after the window the last events may come before they count as lost.
pub(super) const GRACE_NS: u64 = 2 * SECOND_NS;

/// Everything that one run of the generator does, in Unix nanoseconds.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where the server listens.
    pub addr: SocketAddr,
    /// With TLS, if it is asked for.
    pub tls: Option<Tls>,
    /// The request of each subscriber, as it is written.
    pub request: Vec<u8>,
    /// When each subscriber connects, in rising order.
    pub connect_at_ns: Vec<u64>,
    /// The most subscribers that wait for their response head at once: a due connection beyond it
    /// begins when a head has come. A listener's queue is finite, and a connection that finds it full
    /// waits a second for the kernel to try again.
    pub unanswered_max: usize,
    /// Every n-th subscriber asks for the stream and never reads; 0 disables.
    pub stalled_each: u64,
    /// When all of them must have their response head; if not, the run ends.
    pub up_by_ns: u64,
    /// Whether it goes on instead, without those that are late. The window then begins as soon as no
    /// response head is waited for, so it may be earlier than planned.
    pub goes_on: bool,
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
    /// For answers that end: how they are asked for.
    pub asking: Option<Asking>,
    /// The data of the event that ends an answer; the connection is closed then.
    pub until: Option<String>,
    /// A longer silence after an event is a stall, nanoseconds.
    pub stall_ns: Option<u64>,
    /// The limits that make a stream a good one.
    pub slo: Slo,
    /// Whether the generator asks again and again instead of sleeping until something happens.
    pub stays_awake: bool,
    /// Set from outside, it stops the run.
    pub cancel: Option<Arc<AtomicBool>>,
}

/// Answers that end: when they are asked for.
#[derive(Debug, Clone)]
pub enum Asking {
    /// Each connection asks again once its answer has ended: a closed loop.
    Again {
        /// How often in all.
        requests: u64,
    },
    /// At times that do not wait for answers: an open loop.
    At {
        /// When.
        arrivals: Arrivals,
        /// The most that are open at once; a further one waits, and its waits count from when it was due.
        connections: usize,
    },
}

/// Messages to publish, where and when.
#[derive(Debug, Clone)]
pub struct Publish {
    /// Where the server listens.
    pub addr: SocketAddr,
    /// With TLS, if it is asked for.
    pub tls: Option<Tls>,
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
    /// A request with our stamp as its text.
    Request(Publication),
    /// Not a request at all: a command with our stamp as its text.
    Command(Publication),
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
            tls: None,
            request: stream_request("GET", target, &addr.to_string()).to_bytes(),
            connect_at_ns: (1..=connect.count).map(|n| connect.time_ns(n)).collect(),
            unanswered_max: usize::MAX,
            stalled_each: 0,
            up_by_ns,
            goes_on: false,
            publish: None,
            schedule: Schedule::Stamped,
            stamp: StampReader::Ours,
            marks_ns: Vec::new(),
            mark_at_end: false,
            stop: Stop::WhenComplete { at_latest_ns: window_ns.end + GRACE_NS },
            window_ns,
            asking: None,
            until: None,
            stall_ns: None,
            slo: Slo::default(),
            stays_awake: false,
            cancel: None,
        }
    }
}

impl Plan {
    /// The most connections that are open at once.
    pub(super) fn connections(&self) -> usize {
        match &self.asking {
            Some(Asking::At { connections, .. }) => *connections,
            _ => self.connect_at_ns.len(),
        }
    }
}

/// A request for a stream, as a plain client would send it.
pub(super) fn stream_request(method: &str, target: &str, host: &str) -> Request {
    Request::new(method, target).header("Host", host).header("Accept", "text/event-stream")
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
