//! The load harness: workloads as data, and the one loop that carries them out.
//!
//! Expected counts are part of a workload, so that loss is a wrong result and not a better number.

pub mod bare;
mod command;
mod condition;
pub mod floor;
pub mod generator;
pub mod ledger;
pub mod plan;
pub mod publisher;
pub mod response;
pub mod sequence;
pub mod stamp;
pub mod stats;
mod subscriber;
pub mod timer;
mod workloads;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub use self::command::{Args, run};
use self::plan::{Pace, Plan, Schedule, Stop};
use self::publisher::{Body, Publish};
use self::stamp::StampReader;
use crate::timer::{MILLISECOND_NS, SECOND_NS};

/// The topic that the harness publishes to.
const TOPIC: &str = "/messages/bench";

/// From the decision to run to the first connection: time to set up the loop.
const LEAD_NS: u64 = 20 * MILLISECOND_NS;

/// Between two connections, where the workload is not about connecting: 5000 a second, well below
/// what the slowest server accepts.
const CONNECT_EVERY_NS: u64 = 200_000;

/// From the last connection to the time when all have to be open. The slowest of the servers opens
/// 1000 streams in a tenth of this on a quiet host.
const OPEN_NS: u64 = 250 * MILLISECOND_NS;

/// Extra time for each stream beyond a thousand, so that a server that accepts at half our rate is
/// still in time.
const OPEN_EACH_NS: u64 = CONNECT_EVERY_NS;

/// When everything connects at once: time until all have to be open.
const STORM_OPEN_NS: u64 = 10 * SECOND_NS;

/// How long after the window the last events may come before they count as lost.
const GRACE_NS: u64 = 2 * SECOND_NS;

/// How long an unpaced window may take at the most.
const UNPACED_MAX_NS: u64 = 20 * SECOND_NS;

/// Before the first publication of the window and before its end: the server is quiet then, so
/// reading its CPU time disturbs nothing.
const QUIET_NS: u64 = 2 * MILLISECOND_NS;

/// From the last connection of a wave to the reading of the server's memory.
const SETTLE_NS: u64 = 100 * MILLISECOND_NS;

/// A load, the question that it answers, and how much of it makes one measured window.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Workload {
    /// Its name in commands and reports.
    pub name: String,
    /// The question that it answers.
    pub question: String,
    /// How often each server meets it.
    pub rounds: u32,
    /// The streams and messages of it.
    pub shape: Shape,
}

/// The streams and messages of a workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// One publisher, many subscribers of one topic.
    Broadcast {
        /// Streams that are open.
        subscribers: u64,
        /// Between two messages, microseconds.
        interval_us: u64,
        /// Messages before the window.
        warm_up: u64,
        /// Messages in the window.
        messages: u64,
        /// Filler bytes in a message.
        pad_bytes: usize,
        /// Every n-th subscriber never reads; 0 disables.
        stalled_each: u64,
    },
    /// Many streams that tick for themselves.
    Ticks {
        /// Streams that are open.
        subscribers: u64,
        /// Between two events of a stream, milliseconds.
        interval_ms: u64,
        /// Intervals before the window.
        warm_up: u64,
        /// Events of each stream in the window.
        events: u64,
        /// All tick at once, instead of spread over one interval.
        aligned: bool,
    },
    /// Streams as fast as they are read.
    Firehose {
        /// Streams that are open.
        subscribers: u64,
        /// From when all are open, milliseconds.
        warm_up_ms: u64,
        /// Measured, milliseconds.
        window_ms: u64,
    },
    /// Streams of this many events, as fast as they are read.
    Counted {
        /// Streams that are open.
        subscribers: u64,
        /// Events of each.
        events: u64,
    },
    /// Many streams opened at once.
    ConnectStorm {
        /// How many.
        streams: u64,
    },
    /// Many streams on which nothing happens, opened in waves.
    Idle {
        /// Streams that are open after each wave.
        counts: Vec<u64>,
    },
}

impl Workload {
    /// Most streams that are open at once.
    pub fn connections(&self) -> u64 {
        match &self.shape {
            Shape::Broadcast { subscribers, .. }
            | Shape::Ticks { subscribers, .. }
            | Shape::Firehose { subscribers, .. }
            | Shape::Counted { subscribers, .. } => *subscribers,
            Shape::ConnectStorm { streams } => *streams,
            Shape::Idle { counts } => counts.last().copied().unwrap_or(0),
        }
    }

    /// Whether it gives the figures that two copies of one server must agree in: latency and CPU
    /// time for an event.
    pub fn has_headlines(&self) -> bool {
        matches!(self.shape, Shape::Broadcast { .. } | Shape::Ticks { .. } | Shape::Firehose { .. })
    }

    /// How long it takes at the least, nanoseconds.
    pub fn duration_ns(&self) -> u64 {
        match self.shape {
            Shape::Counted { .. } => SECOND_NS,
            Shape::ConnectStorm { .. } => SECOND_NS / 2,
            _ => {
                let plan = self.plan(SocketAddr::from(([127, 0, 0, 1], 0)), 0);
                plan.window_ns.end.max(plan.marks_ns.last().copied().unwrap_or(0))
            }
        }
    }

    /// The workload as times, from `now_ns` on.
    pub fn plan(&self, addr: SocketAddr, now_ns: u64) -> Plan {
        self.plan_with_slack(addr, now_ns, OPEN_NS)
    }

    /// The same with another time, in nanoseconds, from the last connection to the time when all have
    /// to be open: for hosts that are not quiet.
    pub fn plan_with_slack(&self, addr: SocketAddr, now_ns: u64, open_ns: u64) -> Plan {
        let start_ns = now_ns + LEAD_NS;
        let every_ns = CONNECT_EVERY_NS;
        match self.shape {
            Shape::Broadcast {
                subscribers,
                interval_us,
                warm_up,
                messages,
                pad_bytes,
                stalled_each,
            } => {
                let connect = Pace { first_ns: start_ns, every_ns, count: subscribers };
                let slack_ns = open_ns + subscribers.saturating_sub(1000) * OPEN_EACH_NS;
                let up_by_ns = connect.time_ns(subscribers) + slack_ns;
                let every_ns = interval_us * 1000;
                let pace = Pace { first_ns: up_by_ns, every_ns, count: warm_up + messages };
                let window_ns = pace.time_ns(warm_up + 1)..pace.time_ns(warm_up + messages + 1);
                let publish = Publish {
                    addr,
                    host: addr.to_string(),
                    path: TOPIC.into(),
                    body: Body::Stamp { pad_bytes },
                    pace,
                };
                Plan {
                    stalled_each,
                    publish: Some(publish),
                    schedule: Schedule::Published(pace),
                    marks_ns: vec![window_ns.start - QUIET_NS, window_ns.end - QUIET_NS],
                    ..bare_plan(addr, TOPIC, connect, up_by_ns, window_ns)
                }
            }
            Shape::Ticks { subscribers, interval_ms, warm_up, events, aligned } => {
                let interval_ns = interval_ms * MILLISECOND_NS;
                // The phases of the streams come from when they connect: one interval for all.
                let every_ns = if aligned { every_ns } else { (interval_ns / subscribers).max(1) };
                let connect = Pace { first_ns: start_ns, every_ns, count: subscribers };
                let up_by_ns = connect.time_ns(subscribers) + open_ns;
                let begin_ns = up_by_ns + warm_up * interval_ns;
                let window_ns = begin_ns..begin_ns + events * interval_ns;
                let align = if aligned { "&align=1" } else { "" };
                let target = format!("/ticks?interval_ms={interval_ms}&stamp=1{align}");
                Plan {
                    schedule: Schedule::OfStream { interval_ns },
                    marks_ns: vec![window_ns.start, window_ns.end],
                    ..bare_plan(addr, &target, connect, up_by_ns, window_ns)
                }
            }
            Shape::Firehose { subscribers, warm_up_ms, window_ms } => {
                let connect = Pace { first_ns: start_ns, every_ns, count: subscribers };
                let up_by_ns = connect.time_ns(subscribers) + open_ns;
                let begin_ns = up_by_ns + warm_up_ms * MILLISECOND_NS;
                let window_ns = begin_ns..begin_ns + window_ms * MILLISECOND_NS;
                Plan {
                    schedule: Schedule::Endless,
                    marks_ns: vec![window_ns.start, window_ns.end],
                    stop: Stop::At(window_ns.end),
                    ..bare_plan(addr, "/ticks?interval_ms=0", connect, up_by_ns, window_ns)
                }
            }
            Shape::Counted { subscribers, events } => {
                let connect = Pace { first_ns: start_ns, every_ns, count: subscribers };
                let target = format!("/ticks?interval_ms=0&count={events}");
                let up_by_ns = connect.time_ns(subscribers) + SECOND_NS;
                Plan {
                    schedule: Schedule::Counted { events },
                    marks_ns: vec![start_ns - QUIET_NS],
                    mark_at_end: true,
                    stop: Stop::WhenComplete { at_latest_ns: start_ns + UNPACED_MAX_NS },
                    ..bare_plan(addr, &target, connect, up_by_ns, start_ns..start_ns + 1)
                }
            }
            Shape::ConnectStorm { streams } => {
                let connect = Pace { first_ns: start_ns, every_ns: 1, count: streams };
                Plan {
                    schedule: Schedule::Counted { events: 1 },
                    marks_ns: vec![start_ns - QUIET_NS],
                    mark_at_end: true,
                    stop: Stop::WhenComplete { at_latest_ns: start_ns + STORM_OPEN_NS },
                    ..bare_plan(
                        addr,
                        "/ticks?interval_ms=60000",
                        connect,
                        start_ns + STORM_OPEN_NS,
                        start_ns..start_ns + 1,
                    )
                }
            }
            Shape::Idle { ref counts } => {
                let mut connect_at_ns = Vec::new();
                let mut marks_ns = Vec::new();
                let mut wave_ns = start_ns;
                for count in counts {
                    while (connect_at_ns.len() as u64) < *count {
                        connect_at_ns.push(wave_ns);
                        wave_ns += every_ns;
                    }
                    wave_ns += SETTLE_NS;
                    marks_ns.push(wave_ns);
                }
                let connect = Pace { first_ns: start_ns, every_ns, count: 0 };
                Plan {
                    connect_at_ns,
                    schedule: Schedule::Quiet,
                    marks_ns,
                    stop: Stop::At(wave_ns),
                    ..bare_plan(addr, TOPIC, connect, wave_ns, wave_ns..wave_ns)
                }
            }
        }
    }
}

fn bare_plan(
    addr: SocketAddr,
    target: &str,
    connect: Pace,
    up_by_ns: u64,
    window_ns: std::ops::Range<u64>,
) -> Plan {
    Plan {
        addr,
        host: addr.to_string(),
        target: target.into(),
        connect_at_ns: times(connect),
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

fn times(pace: Pace) -> Vec<u64> {
    (1..=pace.count).map(|n| pace.time_ns(n)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(workload: &Workload) -> Plan {
        workload.plan(SocketAddr::from(([127, 0, 0, 1], 80)), 1_000 * SECOND_NS)
    }

    #[test]
    fn the_window_begins_after_all_are_up_and_holds_whole_intervals() {
        for workload in
            [Workload::broadcast(1000, 50, 30, 1), Workload::ticks(4, 1), Workload::aligned(4, 1)]
        {
            let plan = plan(&workload);
            assert_eq!(plan.connect_at_ns.len() as u64, workload.connections());
            assert!(*plan.connect_at_ns.last().unwrap() < plan.up_by_ns);
            assert!(plan.up_by_ns < plan.window_ns.start);
            assert!(plan.marks_ns[0] > plan.up_by_ns && plan.marks_ns.is_sorted());
            let interval_ns = match plan.schedule {
                Schedule::Published(pace) => pace.every_ns,
                Schedule::OfStream { interval_ns } => interval_ns,
                _ => unreachable!(),
            };
            assert_eq!((plan.window_ns.end - plan.window_ns.start) % interval_ns, 0);
        }
    }

    #[test]
    fn idle_reads_memory_once_a_wave() {
        let plan = plan(&Workload::idle(1000, 1));
        assert_eq!((plan.connect_at_ns.len(), plan.marks_ns.len()), (1000, 5));
        let open = plan.connect_at_ns.iter().filter(|at| **at < plan.marks_ns[1]).count();
        assert_eq!(open, 250);
        assert!(plan.connect_at_ns.is_sorted());
    }
}
