//! The load harness: workloads as data, and the one loop that carries them out.
//!
//! Expected counts are part of a workload, so that loss is a wrong result and not a better number.

mod command;
pub mod generator;
pub mod plan;
mod publisher;
pub mod response;
pub mod sequence;
pub mod stamp;
mod subscriber;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub use self::command::{Args, run};
use self::plan::{Pace, Plan, Schedule, Stop};
use crate::timer::{MILLISECOND_NS, SECOND_NS};

/// The topic that the harness publishes to.
const TOPIC: &str = "/messages/bench";

/// From the decision to run to the first connection: time to set up the loop.
const LEAD_NS: u64 = 20 * MILLISECOND_NS;

/// From the last connection to the time when all have to be open. The slowest of the servers opens
/// 1000 streams in a tenth of this on a quiet host.
const OPEN_NS: u64 = 300 * MILLISECOND_NS;

/// How long after the window the last events may come before they count as lost.
const GRACE_NS: u64 = 2 * SECOND_NS;

/// Before the first publication of the window and before its end: the server is quiet then, so
/// reading its CPU time disturbs nothing.
const QUIET_NS: u64 = 2 * MILLISECOND_NS;

/// From the last connection of a wave to the reading of the server's memory.
const SETTLE_NS: u64 = 100 * MILLISECOND_NS;

/// A load, the question that it answers, and how much of it makes one measured window.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Workload {
    /// What people call it.
    pub name: String,
    /// What is known after it ran.
    pub question: String,
    /// What happens.
    pub shape: Shape,
}

/// What happens in a workload.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// One publisher, many subscribers of one topic.
    Broadcast {
        /// Streams that are open.
        subscribers: u64,
        /// Between two messages, milliseconds.
        interval_ms: u64,
        /// Messages before the window.
        warm_up: u64,
        /// Messages in the window.
        messages: u64,
    },
    /// Many streams that tick for themselves, their phases spread over one interval.
    Ticks {
        /// Streams that are open.
        subscribers: u64,
        /// Between two events of a stream, milliseconds.
        interval_ms: u64,
        /// Intervals before the window.
        warm_up: u64,
        /// Events of each stream in the window.
        events: u64,
    },
    /// Many streams on which nothing happens, opened in waves.
    Idle {
        /// Streams that are open after each wave.
        counts: Vec<u64>,
    },
}

impl Workload {
    /// One message, 1000 subscribers.
    pub fn broadcast(messages: u64) -> Workload {
        Workload {
            name: "broadcast".into(),
            question: "One message for 1000 subscribers: when does each have it, and what does a \
                       delivery cost the server?"
                .into(),
            shape: Shape::Broadcast { subscribers: 1000, interval_ms: 50, warm_up: 4, messages },
        }
    }

    /// 1000 streams, each with a schedule of its own.
    pub fn ticks(events: u64) -> Workload {
        Workload {
            name: "ticks".into(),
            question: "1000 streams, each with its own timer: how late is an event, and what does \
                       one cost when no other is due?"
                .into(),
            shape: Shape::Ticks { subscribers: 1000, interval_ms: 250, warm_up: 1, events },
        }
    }

    /// Up to 1000 streams that wait.
    pub fn idle() -> Workload {
        Workload {
            name: "idle".into(),
            question: "How much resident memory does one more open stream take?".into(),
            shape: Shape::Idle { counts: vec![50, 250, 500, 750, 1000] },
        }
    }

    /// Most streams that are open at once.
    pub fn connections(&self) -> u64 {
        match &self.shape {
            Shape::Broadcast { subscribers, .. } | Shape::Ticks { subscribers, .. } => *subscribers,
            Shape::Idle { counts } => counts.last().copied().unwrap_or(0),
        }
    }

    /// How long it takes at the least, nanoseconds.
    pub fn duration_ns(&self) -> u64 {
        let plan = self.plan(SocketAddr::from(([127, 0, 0, 1], 0)), 0);
        plan.window_ns.end.max(plan.marks_ns.last().copied().unwrap_or(0))
    }

    /// The workload as times, from `now_ns` on.
    pub fn plan(&self, addr: SocketAddr, now_ns: u64) -> Plan {
        let start_ns = now_ns + LEAD_NS;
        match self.shape {
            Shape::Broadcast { subscribers, interval_ms, warm_up, messages } => {
                // 5000 connections a second: well below what the slowest server accepts.
                let connect = Pace { first_ns: start_ns, every_ns: 200_000, count: subscribers };
                let up_by_ns = connect.time_ns(subscribers) + OPEN_NS;
                let every_ns = interval_ms * MILLISECOND_NS;
                let pace = Pace { first_ns: up_by_ns, every_ns, count: warm_up + messages };
                let window_ns = pace.time_ns(warm_up + 1)..pace.time_ns(warm_up + messages + 1);
                Plan {
                    addr,
                    host: addr.to_string(),
                    target: TOPIC.into(),
                    connect_at_ns: times(connect),
                    up_by_ns,
                    schedule: Schedule::Published { path: TOPIC.into(), pace },
                    marks_ns: vec![window_ns.start - QUIET_NS, window_ns.end - QUIET_NS],
                    stop: Stop::WhenComplete { at_latest_ns: window_ns.end + GRACE_NS },
                    window_ns,
                }
            }
            Shape::Ticks { subscribers, interval_ms, warm_up, events } => {
                let interval_ns = interval_ms * MILLISECOND_NS;
                // The phases of the streams come from when they connect: one interval for all.
                let every_ns = (interval_ns / subscribers).max(1);
                let connect = Pace { first_ns: start_ns, every_ns, count: subscribers };
                let up_by_ns = connect.time_ns(subscribers) + OPEN_NS;
                let begin_ns = up_by_ns + warm_up * interval_ns;
                let window_ns = begin_ns..begin_ns + events * interval_ns;
                Plan {
                    addr,
                    host: addr.to_string(),
                    target: format!("/ticks?interval_ms={interval_ms}&stamp=1"),
                    connect_at_ns: times(connect),
                    up_by_ns,
                    schedule: Schedule::OfStream { interval_ns },
                    marks_ns: vec![window_ns.start, window_ns.end],
                    stop: Stop::WhenComplete { at_latest_ns: window_ns.end + GRACE_NS },
                    window_ns,
                }
            }
            Shape::Idle { ref counts } => {
                let mut connect_at_ns = Vec::new();
                let mut marks_ns = Vec::new();
                let mut wave_ns = start_ns;
                for count in counts {
                    while (connect_at_ns.len() as u64) < *count {
                        connect_at_ns.push(wave_ns);
                        wave_ns += 200_000;
                    }
                    wave_ns += SETTLE_NS;
                    marks_ns.push(wave_ns);
                }
                Plan {
                    addr,
                    host: addr.to_string(),
                    target: TOPIC.into(),
                    connect_at_ns,
                    up_by_ns: wave_ns,
                    schedule: Schedule::Quiet,
                    window_ns: wave_ns..wave_ns,
                    marks_ns,
                    stop: Stop::At(wave_ns),
                }
            }
        }
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
        for workload in [Workload::broadcast(30), Workload::ticks(4)] {
            let plan = plan(&workload);
            assert_eq!(plan.connect_at_ns.len() as u64, workload.connections());
            assert!(*plan.connect_at_ns.last().unwrap() < plan.up_by_ns);
            assert!(plan.up_by_ns < plan.window_ns.start);
            assert!(plan.marks_ns[0] > plan.up_by_ns && plan.marks_ns.is_sorted());
            let interval_ns = match plan.schedule {
                Schedule::Published { pace, .. } => pace.every_ns,
                Schedule::OfStream { interval_ns } => interval_ns,
                _ => unreachable!(),
            };
            assert_eq!((plan.window_ns.end - plan.window_ns.start) % interval_ns, 0);
        }
    }

    #[test]
    fn idle_reads_memory_once_a_wave() {
        let plan = plan(&Workload::idle());
        assert_eq!((plan.connect_at_ns.len(), plan.marks_ns.len()), (1000, 5));
        let open = plan.connect_at_ns.iter().filter(|at| **at < plan.marks_ns[1]).count();
        assert_eq!(open, 250);
        assert!(plan.connect_at_ns.is_sorted());
    }
}
