//! Category 6: `Last-Event-ID`.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use wire::{Event, Request};

use super::{CASE, RESUMED, published_flow, resumed};
use crate::expect::{ensure, equal, fact, is_stream, miss, pass};
use crate::judge::each_holds;
use crate::server::dedicated_server::DedicatedServer;
use crate::server::grammar::{blocks, has, name, show, value, without_own};
use crate::server::target::first_event;
use crate::server::topic::Topic;
use crate::server::{Case, Fault, Level, Need, Outcome, Target};

/// How often S6.03 reconnects.
const RECONNECTS: usize = 20;
/// The pace of S6.03: 500 messages a second.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(2);
/// S6.03 stops here at the latest, below the 1024 messages that a topic retains.
const PUBLISH_LIMIT: usize = 1000;

pub(super) static CASES: &[Case] = &[
    Case {
        id: "S6.01",
        slug: "resume-next",
        level: Level::MustContract,
        source: "HTML 9.2.4",
        claim: "After Last-Event-ID k the next event is k+1, and none is missing.",
        sends: "Publishes or waits, reads, connects again with the last id, and compares with a stream that stayed.",
        fix: "On Last-Event-ID replay what came after that id, then go on live.",
        run: |target| {
            if !has_topics(target) {
                return resumed::next(target);
            }
            let topic = Topic::new(target, "resume-next");
            let ids = topic.publish(["m0", "m1", "m2", "m3", "m4"])?;
            let events = topic.subscribe(Some(&ids[1]))?.take(3)?;
            let data: Vec<_> = events.iter().map(|event| event.data.as_str()).collect();
            equal("data after the id of m1:", data.as_slice(), &["m2", "m3", "m4"])?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "S6.02",
        slug: "resume-no-dup",
        level: Level::MustContract,
        source: "HTML 9.2.4",
        after: RESUMED,
        claim: "The event that Last-Event-ID names does not come again.",
        sends: "As S6.01.",
        fix: "Replay from the event after the id, not from the id.",
        run: |target| {
            if !has_topics(target) {
                return resumed::no_repetition(target);
            }
            let topic = Topic::new(target, "resume-no-dup");
            let ids = topic.publish(["m0", "m1", "m2"])?;
            let mut stream = topic.subscribe(Some(&ids[2]))?;
            topic.publish(["m3"])?;
            let event = &stream.take(1)?[0];
            let actual = format!("{:?} with the id {}", event.data, event.id);
            ensure(event.id != ids[2] && event.data != "m2", "no repetition of m2", actual)?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "S6.03",
        slug: "replay-live-seam",
        level: Level::MustContract,
        source: "HTML 9.2.4; practice",
        after: RESUMED,
        claim: "Reconnecting while messages are published loses none and repeats none.",
        sends: "Publishes steadily, or watches, while it connects again and again.",
        fix: "Take replay and live from one ordered source; subscribe before the replay and drop what was replayed.",
        run: replay_live_seam,
        ..CASE
    },
    Case {
        id: "S6.04",
        slug: "unknown-id",
        level: Level::Should,
        source: "practice: whatwg/html#8297",
        claim: "An id that was never issued opens the stream all the same.",
        sends: "GET with an id that was never issued.",
        fix: "Answer 200 and say in the stream that there is a gap; an error status ends an EventSource for good.",
        run: |target| {
            let id = "never-issued-by-this-server";
            let mut stream = target.open(&target.get(target.path()).header("Last-Event-ID", id))?;
            stream.set_patience(target.window());
            match first_event(&mut stream) {
                Ok(Some(it)) => {
                    fact(format!("first event: type {}, data {:.60}", it.event, it.data))
                }
                Ok(None) => fact("the stream ended at once"),
                Err(Fault::Skip(_)) => fact("opened; it said nothing in time"),
                Err(fault) => Err(fault),
            }
        },
        ..CASE
    },
    Case {
        id: "S6.05",
        slug: "empty-id",
        level: Level::Should,
        source: "HTML 9.2.4",
        claim: "An empty Last-Event-ID is the same as none.",
        sends: "GET with an empty Last-Event-ID.",
        fix: "Treat an empty id as none: some clients send it on every reconnect.",
        run: empty_id,
        ..CASE
    },
    Case {
        id: "S6.06",
        slug: "hostile-id",
        level: Level::Must,
        source: "RFC 9110 15.6; HTML 9.2.4",
        hostile: true,
        claim: "No Last-Event-ID, however odd, causes a server error, a hang or a crash.",
        sends: "GET with ids that are long, not UTF-8, negative, huge, doubled.",
        fix: "Parse the id as text from a stranger: a limit, no panic, 200 or 400.",
        run: hostile_id,
        ..CASE
    },
    Case {
        id: "S6.07",
        slug: "id-header-case",
        level: Level::Must,
        source: "RFC 9110 5.1",
        after: RESUMED,
        claim: "A last-event-id in lower case is the same header.",
        sends: "GET with the header's name in lower case.",
        fix: "Compare header names without regard to case.",
        run: |target| {
            if !has_topics(target) {
                return resumed::header_case(target);
            }
            let topic = Topic::new(target, "id-header-case");
            let ids = topic.publish(["m0", "m1", "m2"])?;
            let request = target.get(topic.path()).header("last-event-id", &ids[0]);
            let mut stream = target.open(&request)?;
            equal("the first message", stream.take(1)?[0].data.as_str(), "m1")?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "S6.08",
        slug: "expired-id",
        level: Level::Info,
        source: "practice: whatwg/html#8297",
        needs: &[Need::Topics, Need::Process],
        after: RESUMED,
        claim: "The answer to a client whose last event is no longer retained.",
        sends: "GET with an id older than what is retained.",
        fix: "Say in the stream that events are lost, for instance with a separate event type.",
        run: |target| {
            let dedicated = DedicatedServer::start(target, &[("--retain", "4")])?;
            let topic = Topic::new(&dedicated.target, "expired-id");
            let ids = topic.publish((0..8).map(|n| format!("m{n}")))?;
            let first = topic.subscribe(Some(&ids[0]))?.take(1)?.remove(0);
            fact(format!("first event: type {}, data {:.60}", first.event, first.data))
        },
        ..CASE
    },
    Case {
        id: "S6.09",
        slug: "control-no-id",
        level: Level::Should,
        source: "HTML 9.2.7",
        claim: "A block that is no point to resume from, such as a gap, has no id.",
        sends: "GET of the stream; its control events.",
        fix: "Give greetings and other control events no id: they would become the resume point.",
        run: control_no_id,
        ..CASE
    },
    Case {
        id: "S6.10",
        slug: "id-stable",
        level: Level::MustContract,
        source: "HTML 9.2.4",
        after: RESUMED,
        claim: "An event has the same id on every connection, live and replayed.",
        sends: "Reads the same event on two connections.",
        fix: "Give the event its id once, when it is published, not for each connection.",
        run: |target| {
            if !has_topics(target) {
                return resumed::stable(target);
            }
            let topic = Topic::new(target, "id-stable");
            let first = topic.publish(["m0"])?;
            let mut live = topic.subscribe(None)?;
            let published = topic.publish(["m1", "m2"])?;
            let live: Vec<_> = live.take(2)?.into_iter().map(|event| event.id).collect();
            let replayed = topic.subscribe(Some(&first[0]))?.take(2)?;
            let replayed: Vec<_> = replayed.into_iter().map(|event| event.id).collect();
            equal("ids as published", &live, &published)?;
            equal("ids as replayed", &replayed, &live)?;
            pass()
        },
        ..CASE
    },
    // From here beyond the first catalogue: what the contract adds, seen broken in drafts of it.
    Case {
        id: "S6.11",
        slug: "resume-ticks",
        level: Level::MustContract,
        source: "contract: Last-Event-ID: N continues at N+1",
        needs: &[Need::Endpoints],
        claim: "After Last-Event-ID 41 the ticks go on with 42, as many as were asked for.",
        sends: "GET /ticks with Last-Event-ID: 41.",
        fix: "Start the counter at the id and one, and count the events of this connection.",
        run: |target| {
            let request = target.get("/ticks?interval_ms=0&count=3").header("Last-Event-ID", "41");
            let events = target.open(&request)?.read_to_end()?;
            let ids: Vec<_> = events.iter().map(|event| event.id.as_str()).collect();
            equal("ids", ids.as_slice(), &["42", "43", "44"])?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "S6.12",
        slug: "id-in-query",
        level: Level::MustContract,
        source: "contract: a browser cannot set the header on its first connection",
        needs: &[Need::Topics],
        after: RESUMED,
        claim: "The parameter last_event_id resumes like the header, and the header wins over it.",
        sends: "GET with the parameter last_event_id, and with the header too.",
        fix: "Read the parameter where there is no header: a browser cannot set one on its first connection.",
        run: |target| {
            let topic = Topic::new(target, "id-in-query");
            let ids = topic.publish(["m0", "m1", "m2"])?;
            let request = target.get(&format!("{}?last_event_id={}", topic.path(), ids[0]));
            let first =
                |request: &Request| Ok::<_, Fault>(target.open(request)?.take(1)?.remove(0).data);
            equal("after the parameter", first(&request)?.as_str(), "m1")?;
            let request = request.header("Last-Event-ID", &ids[1]);
            equal("after the header", first(&request)?.as_str(), "m2")?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "S6.13",
        slug: "gap-is-told",
        level: Level::MustContract,
        source: "contract: an id of another epoch gets an event gap, never silence",
        needs: &[Need::Topics],
        after: RESUMED,
        claim: "An id of another epoch gets one gap with reset, then the oldest retained message.",
        sends: "Subscribes with an id of another epoch.",
        fix: "Send one gap event with reset, without an id, then replay from the oldest retained message.",
        run: |target| {
            let topic = Topic::new(target, "gap-is-told");
            topic.publish(["m0", "m1"])?;
            let events = topic.subscribe(Some("ffffffff-1"))?.take(3)?;
            let seen: Vec<_> =
                events.iter().map(|it| (it.event.as_str(), it.data.as_str())).collect();
            let expected = [("gap", "{\"reset\":true}"), ("message", "m0"), ("message", "m1")];
            equal("(type, data)", seen.as_slice(), &expected)?;
            pass()
        },
        ..CASE
    },
];

fn has_topics(target: &Target) -> bool {
    target.capabilities().contains(&Need::Topics)
}

fn replay_live_seam(target: &Target) -> Outcome {
    if let Some(room) = target.room().filter(|_| !has_topics(target)) {
        return published_flow::seam(target, room);
    }
    if !has_topics(target) {
        return resumed::seam(target);
    }
    let topic = Topic::new(target, "seam");
    let mut id = topic.publish(["0"])?.remove(0);
    let done = AtomicBool::new(false);
    let (read, published) = thread::scope(|scope| {
        let publisher = scope.spawn(|| publish_until(&topic, &done));
        let read = (0..RECONNECTS).try_fold(Vec::new(), |mut events, round| {
            // A client that comes back more and less quickly, and reads more and less.
            let taken = topic.subscribe(Some(&id))?.take(1 + round % 7)?;
            id = taken.last().expect("at least one was asked for").id.clone();
            events.extend(taken);
            Ok::<_, Fault>(events)
        });
        done.store(true, Ordering::Relaxed);
        (read, publisher.join().expect("the publisher has nothing that panics"))
    });
    let (read, published) = (read?, published?);
    let numbers: Vec<_> = read.iter().map(|event| event.data.as_str()).collect();
    let expected: Vec<_> = (1..=read.len()).map(|number| number.to_string()).collect();
    let expected: Vec<_> = expected.iter().map(String::as_str).collect();
    equal("messages", &numbers, &expected)?;
    let ids: HashSet<_> = read.iter().map(|event| &event.id).collect();
    equal("distinct ids", &ids.len(), &read.len())?;
    fact(format!("{} events read over {RECONNECTS} connections, {published} published", read.len()))
}

fn publish_until(topic: &Topic<'_>, done: &AtomicBool) -> Result<usize, Fault> {
    let mut publisher = topic.publisher()?;
    let start = Instant::now();
    let mut published = 0;
    while !done.load(Ordering::Relaxed) && published < PUBLISH_LIMIT {
        published += 1;
        publisher.publish(&published.to_string())?;
        // The pace is the case's input, not a wait for something to have happened.
        let due = start + PUBLISH_INTERVAL * u32::try_from(published).unwrap_or(u32::MAX);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(published)
}

fn empty_id(target: &Target) -> Outcome {
    // Streams of other cases open and close meanwhile, and a room may greet each reader with their number. A
    // difference that the empty id makes shows once more. A stream that says nothing cannot be compared.
    let unlike = || match unlike_without_id(target) {
        Err(Fault::Skip(_)) => Ok(None),
        found => found,
    };
    let Some([plain, empty]) = unlike()? else { return pass() };
    if unlike()?.is_some_and(|again| again == [plain.clone(), empty.clone()]) {
        equal("the first event", &empty, &plain)?;
    }
    pass()
}

/// The first events without the field and with an empty one, if they differ. Only a stream that begins the same way
/// before and after can be compared: a room's history moves on.
fn unlike_without_id(target: &Target) -> Result<Option<[Option<Event>; 2]>, Fault> {
    let plain = target.get(target.path());
    let with_empty = plain.clone().header("Last-Event-ID", "");
    let first = |request: &Request| {
        let mut stream = target.open(request)?;
        stream.set_patience(target.window());
        first_event(&mut stream)
    };
    let [before, empty, after] = [first(&plain)?, first(&with_empty)?, first(&plain)?];
    Ok((before == after && empty != before).then_some([before, empty]))
}

fn control_no_id(target: &Target) -> Outcome {
    let has_topics = target.capabilities().contains(&Need::Topics);
    let raw = if has_topics {
        // An id of nowhere makes the server say something that is no message.
        let topic = Topic::new(target, "control-no-id");
        topic.publish(["m0", "m1"])?;
        let mut stream = topic.subscribe(Some("never-issued"))?;
        stream.take(2)?;
        stream.raw().to_vec()
    } else {
        without_own(&target.watch()?.bytes())
    };
    let blocks = blocks(&raw);
    let is_gap =
        |block: &[&[u8]]| block.iter().any(|line| name(line) == b"event" && value(line) == b"gap");
    let controls: Vec<_> = blocks.iter().filter(|it| !has(it, b"data") || is_gap(it)).collect();
    for block in &controls {
        // Without data, an id is there to be resumed from, whatever stands beside it. The meaning of a gap
        // is known of the contract alone.
        let is_resume_point = !has(block, b"data") || !has_topics;
        ensure(!has(block, b"id") || is_resume_point, "no id", show(block))?;
    }
    if controls.is_empty() {
        return Err(Fault::Skip("the stream said nothing but events".to_owned()));
    }
    fact(format!("{} control blocks, the first {}", controls.len(), show(controls[0])))
}

fn hostile_id(target: &Target) -> Outcome {
    let plain = || target.get(target.path());
    let long = "a".repeat(8192);
    let values: [(&str, &[u8]); 5] = [
        ("8 KiB", long.as_bytes()),
        ("bytes that are no UTF-8", b"\xff\xfe\x80"),
        ("UTF-8 text", "naïve ✓ 😀".as_bytes()),
        ("-1", b"-1"),
        ("2^64", b"18446744073709551616"),
    ];
    let named = values.map(|(name, value)| (name, plain().header("Last-Event-ID", value)));
    let two = plain().header("Last-Event-ID", "1").header("Last-Event-ID", "2");
    let requests: Vec<_> = named.into_iter().chain([("two different lines", two)]).collect();
    each_holds(&requests, target.parallel(), |(name, request)| {
        let head = target.head(request).map_err(|error| match Fault::from(error) {
            Fault::Unreachable(_) => {
                miss("an answer", format!("{name}: no server listens any more"))
            }
            fault => fault.within("", &format!("{name}: ")),
        })?;
        // A refusal is an answer, whatever its number; an error of the server is none.
        let expected = format!("{name}: a stream, or a refusal (4xx)");
        ensure(head.status < 500, expected, head.summary())
    })?;
    is_stream(&target.head(&plain())?)?;
    pass()
}
