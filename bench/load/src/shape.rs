//! The streams and messages of a workload, and the plan that they become.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use wire::publish::Publication;

use super::plan::{Body, Pace, Plan, Publish, Schedule, Stop, stream_request};
use super::stamp::StampReader;
use crate::timer::{MILLISECOND_NS, SECOND_NS};

/// The topic that the harness publishes to.
const TOPIC: &str = "/messages/bench";

/// From the decision to run to the first connection: time to set up the loop.
const LEAD_NS: u64 = 20 * MILLISECOND_NS;

/// Between two connections, where the workload is not about connecting: 5000 a second, well below
/// the rate of the slowest server.
pub(super) const CONNECT_EVERY_NS: u64 = 200_000;

/// Connections that wait for a response head at once, where the workload is not about connecting:
/// below 128, the shortest queue of a listener that is in wide use.
const UNANSWERED_MAX: usize = 100;

/// From the last connection to the time when all have to be open. The slowest of the servers opens
/// 1000 streams in a tenth of this on a quiet host.
const OPEN_NS: u64 = 250 * MILLISECOND_NS;

/// Extra time for each stream beyond a thousand, so that a server that accepts at half our rate is
/// still in time.
const OPEN_EACH_NS: u64 = CONNECT_EVERY_NS;

/// The same for servers of others: some take two milliseconds to open a stream.
const ROOM_OPEN_NS: u64 = 2 * SECOND_NS;

/// When everything connects at once: time until all have to be open.
const STORM_OPEN_NS: u64 = 10 * SECOND_NS;

/// How long an unpaced window may take at the most.
const UNPACED_MAX_NS: u64 = 20 * SECOND_NS;

/// Before the first publication of the window and before its end: the server is quiet then, so
/// reading its CPU time disturbs nothing.
const QUIET_NS: u64 = 2 * MILLISECOND_NS;

/// From the last connection of a wave to the reading of the server's memory.
const SETTLE_NS: u64 = 100 * MILLISECOND_NS;

/// The part of the time for opening streams that a wave has where that is longer.
const SETTLE_SHARE: u64 = 5;

/// The streams and messages of a workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// One publisher, many subscribers of one topic.
    Broadcast(Broadcast),
    /// Many streams that tick for themselves.
    Ticks(Ticks),
    /// Streams as fast as they are read.
    Firehose(Firehose),
    /// Streams of this many events, as fast as they are read.
    Counted(Counted),
    /// Many streams opened at once.
    ConnectStorm(ConnectStorm),
    /// Many streams on which nothing happens, opened in waves.
    Idle(Idle),
}

/// One publisher, many subscribers of one topic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Broadcast {
    /// Streams that are open.
    pub subscribers: u64,
    /// Between two messages, microseconds.
    pub interval_us: u64,
    /// Messages before the window.
    pub warm_up: u64,
    /// Messages in the window.
    pub messages: u64,
    /// Filler bytes in a message.
    pub pad_bytes: usize,
    /// Every n-th subscriber never reads; 0 disables.
    pub stalled_each: u64,
}

/// Many streams that tick for themselves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ticks {
    /// Streams that are open.
    pub subscribers: u64,
    /// Between two events of a stream, milliseconds.
    pub interval_ms: u64,
    /// Intervals before the window.
    pub warm_up: u64,
    /// Events of each stream in the window.
    pub events: u64,
    /// All tick at once, instead of spread over one interval.
    pub aligned: bool,
}

/// Streams as fast as they are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Firehose {
    /// Streams that are open.
    pub subscribers: u64,
    /// From when all are open, milliseconds.
    pub warm_up_ms: u64,
    /// Measured, milliseconds.
    pub window_ms: u64,
}

/// Streams of this many events, as fast as they are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Counted {
    /// Streams that are open.
    pub subscribers: u64,
    /// Events of each.
    pub events: u64,
}

/// Many streams opened at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConnectStorm {
    /// How many.
    pub streams: u64,
}

/// Many streams on which nothing happens, opened in waves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Idle {
    /// Streams that are open after each wave.
    pub counts: Vec<u64>,
}

/// The room of a server of others: a stream, and how its clients speak there.
#[derive(Debug, Clone)]
pub struct Room {
    /// Path and query of the stream.
    pub target: String,
    /// The way to publish; each process has an address of its own, which replaces that of a request.
    pub publication: Publication,
    /// From the last connection to the time when all have to be open, nanoseconds.
    pub open_ns: u64,
}

impl Room {
    /// A room with the usual time for opening its streams.
    pub fn new(target: &str, publication: Publication) -> Room {
        Room { target: target.to_owned(), publication, open_ns: ROOM_OPEN_NS }
    }
}

/// Where and when a plan begins.
#[derive(Debug, Clone, Copy)]
struct Start {
    addr: SocketAddr,
    /// When the first stream connects, Unix nanoseconds.
    at_ns: u64,
    /// From the last connection to the time when all have to be open.
    open_ns: u64,
}

impl Start {
    /// Connections at the usual rate.
    fn connect(&self, count: u64) -> Pace {
        Pace { first_ns: self.at_ns, every_ns: CONNECT_EVERY_NS, count }
    }
}

impl Shape {
    /// Most streams that are open at once.
    pub fn connections(&self) -> u64 {
        match self {
            Shape::Broadcast(it) => it.subscribers,
            Shape::Ticks(it) => it.subscribers,
            Shape::Firehose(it) => it.subscribers,
            Shape::Counted(it) => it.subscribers,
            Shape::ConnectStorm(it) => it.streams,
            Shape::Idle(it) => it.counts.last().copied().unwrap_or(0),
        }
    }

    /// Whether it gives the figures that two copies of one server must agree in: latency and CPU
    /// time for an event.
    pub fn has_headlines(&self) -> bool {
        matches!(self, Shape::Broadcast(_) | Shape::Ticks(_) | Shape::Firehose(_))
    }

    /// How long it takes at the least, nanoseconds.
    pub fn duration_ns(&self) -> u64 {
        match self {
            Shape::Counted(_) => SECOND_NS,
            Shape::ConnectStorm(_) => SECOND_NS / 2,
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

    /// Whether a room carries it: one publisher, or silence. The other shapes need the endpoints of our servers.
    pub fn fits_a_room(&self) -> bool {
        matches!(self, Shape::Broadcast(_) | Shape::Idle(_))
    }

    /// The same workload in the room of another server.
    ///
    /// # Panics
    /// For a shape that does not fit a room.
    pub fn plan_in_room(&self, room: &Room, addr: SocketAddr, now_ns: u64) -> Plan {
        assert!(self.fits_a_room(), "{self:?} needs the endpoints of our servers");
        let mut plan = self.plan_with_slack(addr, now_ns, room.open_ns);
        plan.request = stream_request("GET", &room.target, &addr.to_string()).to_bytes();
        plan.stamp = StampReader::Wrapped;
        if let Some(publish) = &mut plan.publish {
            publish.body = Body::Request(room.publication.at(addr));
        }
        plan
    }

    /// The same with another time, in nanoseconds, from the last connection to the time when all have
    /// to be open: for hosts that are not quiet.
    pub fn plan_with_slack(&self, addr: SocketAddr, now_ns: u64, open_ns: u64) -> Plan {
        let start = Start { addr, at_ns: now_ns + LEAD_NS, open_ns };
        let plan = match self {
            Shape::Broadcast(it) => it.plan(start),
            Shape::Ticks(it) => it.plan(start),
            Shape::Firehose(it) => it.plan(start),
            Shape::Counted(it) => it.plan(start),
            Shape::ConnectStorm(it) => return it.plan(start),
            Shape::Idle(it) => it.plan(start),
        };
        Plan { unanswered_max: UNANSWERED_MAX, ..plan }
    }
}

impl Broadcast {
    fn plan(&self, start: Start) -> Plan {
        let connect = start.connect(self.subscribers);
        let slack_ns = start.open_ns + self.subscribers.saturating_sub(1000) * OPEN_EACH_NS;
        let up_by_ns = connect.time_ns(self.subscribers) + slack_ns;
        let every_ns = self.interval_us * 1000;
        let pace = Pace { first_ns: up_by_ns, every_ns, count: self.warm_up + self.messages };
        let first = self.warm_up + 1;
        let window_ns = pace.time_ns(first)..pace.time_ns(first + self.messages);
        let publish = Publish {
            addr: start.addr,
            tls: None,
            host: start.addr.to_string(),
            path: TOPIC.into(),
            body: Body::Stamp { pad_bytes: self.pad_bytes },
            pace,
        };
        Plan {
            stalled_each: self.stalled_each,
            publish: Some(publish),
            schedule: Schedule::Published(pace),
            marks_ns: vec![window_ns.start - QUIET_NS, window_ns.end - QUIET_NS],
            ..Plan::bare(start.addr, TOPIC, connect, up_by_ns, window_ns)
        }
    }
}

impl Ticks {
    fn plan(&self, start: Start) -> Plan {
        let interval_ns = self.interval_ms * MILLISECOND_NS;
        let mut connect = start.connect(self.subscribers);
        if !self.aligned {
            // The phases of the streams come from when they connect: one interval for all.
            connect.every_ns = (interval_ns / self.subscribers).max(1);
        }
        let up_by_ns = connect.time_ns(self.subscribers) + start.open_ns;
        let begin_ns = up_by_ns + self.warm_up * interval_ns;
        let window_ns = begin_ns..begin_ns + self.events * interval_ns;
        let align = if self.aligned { "&align=1" } else { "" };
        let target = format!("/ticks?interval_ms={}&stamp=1{align}", self.interval_ms);
        Plan {
            schedule: Schedule::OfStream { interval_ns },
            marks_ns: vec![window_ns.start, window_ns.end],
            ..Plan::bare(start.addr, &target, connect, up_by_ns, window_ns)
        }
    }
}

impl Firehose {
    fn plan(&self, start: Start) -> Plan {
        let connect = start.connect(self.subscribers);
        let up_by_ns = connect.time_ns(self.subscribers) + start.open_ns;
        let begin_ns = up_by_ns + self.warm_up_ms * MILLISECOND_NS;
        let window_ns = begin_ns..begin_ns + self.window_ms * MILLISECOND_NS;
        Plan {
            schedule: Schedule::Endless,
            marks_ns: vec![window_ns.start, window_ns.end],
            stop: Stop::At(window_ns.end),
            ..Plan::bare(start.addr, "/ticks?interval_ms=0", connect, up_by_ns, window_ns)
        }
    }
}

impl Counted {
    fn plan(&self, start: Start) -> Plan {
        let connect = start.connect(self.subscribers);
        let target = format!("/ticks?interval_ms=0&count={}", self.events);
        let up_by_ns = connect.time_ns(self.subscribers) + SECOND_NS;
        unpaced(start, &target, self.events, connect, up_by_ns, start.at_ns + UNPACED_MAX_NS)
    }
}

impl ConnectStorm {
    fn plan(&self, start: Start) -> Plan {
        let connect = Pace { every_ns: 1, ..start.connect(self.streams) };
        let up_by_ns = start.at_ns + STORM_OPEN_NS;
        unpaced(start, "/ticks?interval_ms=60000", 1, connect, up_by_ns, up_by_ns)
    }
}

/// From the first connection until each stream has had its events.
fn unpaced(
    start: Start,
    target: &str,
    events: u64,
    connect: Pace,
    up_by_ns: u64,
    at_latest_ns: u64,
) -> Plan {
    Plan {
        schedule: Schedule::Counted { events },
        marks_ns: vec![start.at_ns - QUIET_NS],
        mark_at_end: true,
        stop: Stop::WhenComplete { at_latest_ns },
        ..Plan::bare(start.addr, target, connect, up_by_ns, start.at_ns..start.at_ns + 1)
    }
}

impl Idle {
    fn plan(&self, start: Start) -> Plan {
        let mut connect_at_ns = Vec::new();
        let mut marks_ns = Vec::new();
        let mut wave_ns = start.at_ns;
        for count in &self.counts {
            while (connect_at_ns.len() as u64) < *count {
                connect_at_ns.push(wave_ns);
                wave_ns += CONNECT_EVERY_NS;
            }
            wave_ns += SETTLE_NS.max(start.open_ns / SETTLE_SHARE);
            marks_ns.push(wave_ns);
        }
        Plan {
            connect_at_ns,
            schedule: Schedule::Quiet,
            marks_ns,
            stop: Stop::At(wave_ns),
            ..Plan::bare(start.addr, TOPIC, start.connect(0), wave_ns, wave_ns..wave_ns)
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::Trust;
    use wire::publish::PublishArgs;

    use super::super::Workload;
    use super::*;

    fn plan(workload: &Workload) -> Plan {
        workload.shape.plan(SocketAddr::from(([127, 0, 0, 1], 80)), 1_000 * SECOND_NS)
    }

    #[test]
    fn the_window_begins_after_all_are_up_and_holds_whole_intervals() {
        for workload in
            [Workload::broadcast(1000, 50, 30, 1), Workload::ticks(4, 1), Workload::aligned(4, 1)]
        {
            let plan = plan(&workload);
            assert_eq!(plan.connect_at_ns.len() as u64, workload.shape.connections());
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
    fn a_room_has_its_own_stream_and_its_own_way_to_publish() {
        let addr = SocketAddr::from(([127, 0, 0, 1], 80));
        let way = PublishArgs::post("http://127.0.0.1:9/say".into(), r#"{"text":{json}}"#);
        let way = way.publication(&Trust::default()).unwrap().unwrap();
        let room = Room::new("/hear", way);
        for workload in [Workload::broadcast(10, 50, 30, 1), Workload::idle(100, 1)] {
            let ours = workload.shape.plan(addr, SECOND_NS);
            let room = workload.shape.plan_in_room(&room, addr, SECOND_NS);
            assert!(room.request.starts_with(b"GET /hear HTTP/1.1\r\nHost: 127.0.0.1:80\r\n"));
            assert_eq!(room.connect_at_ns.len(), ours.connect_at_ns.len());
            // The same window, later: other servers may take longer to open their streams.
            let length = |it: &Plan| it.window_ns.end - it.window_ns.start;
            assert_eq!(length(&room), length(&ours));
            assert!(room.window_ns.start > ours.window_ns.start);
            let Some(publish) = room.publish else { continue };
            let Body::Request(Publication::Request { address, target, .. }) = publish.body else {
                panic!("{:?}", publish.body)
            };
            assert_eq!((address.as_str(), target.as_str()), ("127.0.0.1:80", "/say"));
        }
        assert!(!Workload::ticks(1, 1).shape.fits_a_room());
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
