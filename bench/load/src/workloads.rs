//! The workloads that a run is made of, each with its question.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shape::{Broadcast, ConnectStorm, Firehose, Idle, Shape, Ticks};

/// A load, the question that it answers, and how much of it makes one measured window.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Workload {
    /// Its name in commands and reports.
    pub name: String,
    /// The question that it answers.
    pub question: String,
    /// How often each server meets it.
    #[schemars(range(min = 1))]
    pub rounds: u32,
    /// The streams and messages of it.
    pub shape: Shape,
}

impl Workload {
    fn new(name: &str, rounds: u32, question: &str, shape: Shape) -> Workload {
        Workload { name: name.into(), question: question.into(), rounds, shape }
    }

    /// One message for this many subscribers.
    pub fn broadcast(subscribers: u64, interval_ms: u64, messages: u64, rounds: u32) -> Workload {
        let plural = if subscribers == 1 { "" } else { "s" };
        Workload::new(
            &format!("broadcast-{subscribers}"),
            rounds,
            &format!(
                "One message for {subscribers} subscriber{plural}: when does each have it, and \
                 what does a delivery cost the server?"
            ),
            Shape::Broadcast(Broadcast {
                subscribers,
                interval_us: interval_ms * 1000,
                // Enough deliveries to warm up with.
                warm_up: if subscribers > 1000 { 1 } else { 4 },
                messages,
                pad_bytes: 0,
                stalled_each: 0,
            }),
        )
    }

    /// One message for 1000 subscribers, a hundred times a second: closer to what a core can do.
    pub fn busy_broadcast(messages: u64, rounds: u32) -> Workload {
        Workload::busy_broadcast_of(1000, messages, rounds)
    }

    /// The same for this many subscribers.
    pub fn busy_broadcast_of(subscribers: u64, messages: u64, rounds: u32) -> Workload {
        let paced = Workload::broadcast(subscribers, 10, messages, rounds);
        let question = format!(
            "{subscribers} subscribers, a hundred messages a second: what does a delivery cost a busy server?"
        );
        Workload::new(&format!("broadcast-{subscribers}-busy"), rounds, &question, paced.shape)
    }

    /// Messages of this size for a hundred subscribers.
    pub fn sized(bytes: usize, messages: u64, rounds: u32) -> Workload {
        let question = format!(
            "Messages of {bytes} bytes for 100 subscribers: what does a delivery cost the server?"
        );
        let shape = Shape::Broadcast(Broadcast {
            subscribers: 100,
            // At the largest size that is 60 MB a second.
            interval_us: 100_000,
            warm_up: 4,
            messages,
            pad_bytes: bytes,
            stalled_each: 0,
        });
        Workload::new(&format!("{}{bytes}", Workload::SIZED), rounds, &question, shape)
    }

    /// The name of [`sized`](Self::sized) begins with this, and ends with the bytes.
    pub const SIZED: &str = "broadcast-100-bytes-";

    /// 1000 streams, each with its own schedule.
    pub fn ticks(events: u64, rounds: u32) -> Workload {
        Workload::new(
            "ticks",
            rounds,
            "1000 streams, each with its own timer: how late is an event, and what does one cost \
             when no other is due?",
            Shape::Ticks(Ticks {
                subscribers: 1000,
                interval_ms: 250,
                warm_up: 1,
                events,
                aligned: false,
            }),
        )
    }

    /// 1000 streams, all due at once.
    pub fn aligned(events: u64, rounds: u32) -> Workload {
        Workload::new(
            "ticks-aligned",
            rounds,
            "1000 streams whose timers are due at the same instant: how late is the last?",
            Shape::Ticks(Ticks {
                subscribers: 1000,
                interval_ms: 250,
                warm_up: 1,
                events,
                aligned: true,
            }),
        )
    }

    /// As fast as the client reads.
    pub fn firehose(window_ms: u64, rounds: u32) -> Workload {
        Workload::new(
            "firehose",
            rounds,
            "20 streams that never wait: how many events a second, and what does one cost?",
            Shape::Firehose(Firehose { subscribers: 20, warm_up_ms: 100, window_ms }),
        )
    }

    /// Everyone at once.
    pub fn connect_storm(streams: u64, rounds: u32) -> Workload {
        Workload::new(
            "connect-storm",
            rounds,
            "All streams opened at once: how soon does each have its first event?",
            Shape::ConnectStorm(ConnectStorm { streams }),
        )
    }

    /// Streams that wait.
    pub fn idle(most: u64, rounds: u32) -> Workload {
        Workload::new(
            "idle",
            rounds,
            "How much memory does one more open stream take, in the server and in the kernel?",
            Shape::Idle(Idle { counts: vec![most / 20, most / 4, most / 2, most * 3 / 4, most] }),
        )
    }

    /// Some readers do not read.
    pub fn stalled(each: u64, rounds: u32) -> Workload {
        let (name, question) = match each {
            0 => ("readers-all", "No reader stalls: the baseline of the next two."),
            100 => ("stalled-1", "1 % of the readers never read: what do the others notice?"),
            _ => ("stalled-10", "10 % of the readers never read: what do the others notice?"),
        };
        Workload::new(
            name,
            rounds,
            question,
            Shape::Broadcast(Broadcast {
                subscribers: 500,
                interval_us: 20_000,
                warm_up: 4,
                messages: 25,
                pad_bytes: 4000,
                stalled_each: each,
            }),
        )
    }
}
