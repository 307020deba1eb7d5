//! Category 7: one message, many streams.

use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use fleet::raise_fd_limit;
use wire::{Event, EventStream};

use super::{BROADCAST, CASE, author_room, published_broadcast, published_requests};
use crate::expect::{ensure, equal, fact, in_time, pass, status_in};
use crate::server::dedicated_server::DedicatedServer;
use crate::server::topic::{Publisher, Topic};
use crate::server::{Case, Cost, Fault, Level, Need, Outcome, Scope, Target};

/// The parallel publishers of S7.04.
const PUBLISHERS: usize = 4;
/// The messages of each.
const MESSAGES_EACH: usize = 25;
/// The streams of S7.05.
const SUBSCRIBERS: usize = 1000;
/// The largest message of the contract.
const MESSAGE_BYTES: usize = 64 * 1024;
/// Unread bytes that a server's socket holds, by default on Linux.
const SEND_BUFFER_BYTES: usize = 4 << 20;
/// The most that S7.06 takes that to be: it sends half as much again.
const FLOOD_BYTES: usize = 64 << 20;
/// The delay that S7.06 always allows: waiting for a neighbour takes seconds.
const NEIGHBOUR_LIMIT: Duration = Duration::from_millis(500);

pub(super) static CASES: &[Case] = &[
    Case {
        id: "S7.01",
        slug: "two-equal",
        level: Level::MustContract,
        source: "contract: every open stream of a topic gets every message",
        needs: &[Need::Publish],
        claim: "Two streams of a topic get the same 100 events under the same ids.",
        sends: "Two subscribers, 100 messages.",
        fix: "Give every subscriber each message once, in the order of publication.",
        run: |target| {
            if let Some(room) = author_room(target) {
                return published_broadcast::two_equal(target, room);
            }
            let topic = Topic::new(target, "two-equal");
            let mut streams = [topic.subscribe(None)?, topic.subscribe(None)?];
            topic.publish((0..100).map(|n| format!("m{n}")))?;
            let [first, second] = &mut streams;
            let (first, second) = (first.take(100)?, second.take(100)?);
            equal("the other stream's events", &second, &first)?;
            let expected: Vec<_> = (0..100).map(|n| format!("m{n}")).collect();
            equal("data", &data_of(&first), &expected)?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "S7.02",
        slug: "late-joiner",
        level: Level::MustContract,
        source: "contract: without Last-Event-ID a stream is live only",
        needs: &[Need::Topics],
        after: BROADCAST,
        claim: "A stream that joins late without Last-Event-ID gets later events only.",
        sends: "Subscribes after some messages, without Last-Event-ID.",
        fix: "Start a new stream with the present, unless the client asks for the past.",
        run: |target| {
            let topic = Topic::new(target, "late-joiner");
            topic.publish((0..50).map(|n| format!("m{n}")))?;
            let mut late = topic.subscribe(None)?;
            topic.publish(["m50", "m51"])?;
            equal("data", data_of(&late.take(2)?).as_slice(), &["m50".into(), "m51".into()])?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "S7.03",
        slug: "isolation",
        level: Level::MustContract,
        source: "contract: a topic is its name",
        needs: &[Need::Topics],
        after: BROADCAST,
        claim: "A message reaches the streams of its own topic only.",
        sends: "Two topics.",
        fix: "Keep topics apart: compare whole names.",
        run: |target| {
            let (one, other) = (Topic::new(target, "one"), Topic::new(target, "other"));
            let mut stream = one.subscribe(None)?;
            let mut other_stream = other.subscribe(None)?;
            other.publish(["for the other"])?;
            one.publish(["for one"])?;
            equal("the first message", stream.take(1)?[0].data.as_str(), "for one")?;
            let of_other = &other_stream.take(1)?[0].data;
            equal("the other's first message", of_other.as_str(), "for the other")?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "S7.04",
        slug: "publisher-order",
        level: Level::MustContract,
        source: "contract: one order for a topic",
        needs: &[Need::Publish],
        after: BROADCAST,
        claim: "The messages of each of four parallel publishers arrive in the order it sent them.",
        sends: "Four publishers at the same time.",
        fix: "Put a message into the order before its publisher is answered.",
        run: publisher_order,
        ..CASE
    },
    Case {
        id: "S7.05",
        slug: "thousand",
        level: Level::Should,
        source: "practice: one message, many streams",
        needs: &[Need::Publish],
        cost: &[Cost::Flood, Cost::Alone],
        hostile: true,
        after: BROADCAST,
        claim: "A thousand streams of a topic get all of 20 messages, in order.",
        sends: "A thousand subscribers, 20 messages.",
        fix: "Look for a limit of connections, a small accept backlog, or a queue that drops.",
        run: thousand,
        ..CASE
    },
    Case {
        id: "S7.06",
        slug: "slow-neighbour",
        level: Level::Should,
        source: "practice: back-pressure of one stream is not felt by others",
        needs: &[Need::Publish],
        cost: &[Cost::Flood],
        hostile: true,
        after: BROADCAST,
        claim: "A stream whose client does not read delays no message of the others.",
        sends: "One subscriber that never reads, beside others.",
        fix: "Never wait for one subscriber while others are due: a cursor for each, or a bounded queue.",
        run: slow_neighbour,
        ..CASE
    },
    // Beyond the first catalogue: frameworks hand over what has arrived when a client breaks off.
    Case {
        id: "S7.07",
        slug: "torn-body",
        level: Level::MustContract,
        source: "RFC 9112 8: an incomplete message; contract: a message is whole",
        needs: &[Need::Publish],
        scope: Scope::Http,
        hostile: true,
        after: BROADCAST,
        claim: "A message whose body was cut short, by length or by chunk, is never published.",
        sends: "POST with a body that is cut short, by Content-Length and in chunks; or what publishes, cut short.",
        fix: "Publish only what was read to its end; an error while reading is not the end.",
        run: torn_body,
        ..CASE
    },
    Case {
        id: "S7.08",
        slug: "chunked-body",
        level: Level::Must,
        source: "RFC 9112 7.1",
        needs: &[Need::Publish],
        scope: Scope::Http,
        after: BROADCAST,
        claim: "A message that is sent in chunks arrives as one.",
        sends: "POST with a body in several chunks; or what publishes, in chunks.",
        fix: "Read the whole body before it is published.",
        run: |target| {
            if let Some(room) = author_room(target) {
                return published_requests::chunked_body(target, room);
            }
            let topic = Topic::new(target, "chunked-body");
            let mut stream = topic.subscribe(None)?;
            let request = target.request("POST", topic.path());
            let mut bytes = request.header("Transfer-Encoding", "chunked").to_bytes();
            bytes.extend_from_slice(b"3\r\nin \r\nA;x=y\r\ntwo chunks\r\n0\r\n\r\n");
            status_in(&target.head_of_raw(&bytes)?, &[201])?;
            equal("data", stream.take(1)?[0].data.as_str(), "in two chunks")?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "S7.09",
        slug: "body-limit",
        level: Level::MustContract,
        source: "contract: a message has at most 64 KiB; RFC 9110 15.5.14",
        needs: &[Need::Topics],
        after: BROADCAST,
        claim: "A message of 64 KiB is published, one of a byte more gets 413 and is not.",
        sends: "POST of 65536 and of 65537 bytes.",
        fix: "Limit the body to 64 KiB, and answer 413 beyond: in chunks too, where no length warns.",
        run: |target| {
            let topic = Topic::new(target, "body-limit");
            let mut stream = topic.subscribe(None)?;
            let refused = target.request("POST", topic.path()).body("x".repeat(MESSAGE_BYTES + 1));
            status_in(&target.head(&refused)?, &[413])?;
            topic.publish(["x".repeat(MESSAGE_BYTES)])?;
            equal("bytes of the first message", &stream.take(1)?[0].data.len(), &MESSAGE_BYTES)?;
            pass()
        },
        ..CASE
    },
];

fn publisher_order(target: &Target) -> Outcome {
    if let Some(room) = author_room(target) {
        return published_broadcast::publisher_order(target, room);
    }
    let topic = Topic::new(target, "publisher-order");
    let mut stream = topic.subscribe(None)?;
    thread::scope(|scope| {
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|p| {
                let topic = &topic;
                scope.spawn(move || topic.publish((0..MESSAGES_EACH).map(|n| format!("{p} {n}"))))
            })
            .collect();
        let joined = publishers.into_iter().map(|it| it.join().expect("nothing here panics"));
        joined.collect::<Result<Vec<_>, Fault>>()
    })?;
    let data = data_of(&stream.take(PUBLISHERS * MESSAGES_EACH)?);
    for p in 0..PUBLISHERS {
        let prefix = format!("{p} ");
        let received: Vec<_> = data.iter().filter_map(|it| it.strip_prefix(&prefix)).collect();
        let sent: Vec<_> = (0..MESSAGES_EACH).map(|n| n.to_string()).collect();
        ensure(
            received == sent,
            format!("the messages of publisher {p} in order: 0 to {}", MESSAGES_EACH - 1),
            format!("{received:?}"),
        )?;
    }
    pass()
}

fn thousand(target: &Target) -> Outcome {
    if let Some(room) = author_room(target) {
        return published_broadcast::thousand(target, room);
    }
    // This side needs as many descriptors as the server; a limit that is too low shows as an error.
    let _ = raise_fd_limit();
    let dedicated = DedicatedServer::or_shared(target)?;
    let topic = Topic::new(&dedicated.target, "thousand");
    let streams: wire::Result<Vec<_>> = (0..SUBSCRIBERS).map(|_| topic.subscribe(None)).collect();
    let mut streams = streams?;
    let expected: Vec<_> = (0..20).map(|n| format!("m{n}")).collect();
    let start = Instant::now();
    topic.publish(&expected)?;
    let published = start.elapsed();
    for (n, stream) in streams.iter_mut().enumerate() {
        // 20 000 writes of a debug build on a busy machine: long, and no failure.
        stream.set_patience(target.patience() * 4);
        let data = data_of(&stream.take(expected.len())?);
        equal(&format!("data of stream {n}"), &data, &expected)?;
    }
    let ms = |time: Duration| time.as_millis();
    fact(format!(
        "20 messages published in {} ms, read from {SUBSCRIBERS} streams after {} ms",
        ms(published),
        ms(start.elapsed())
    ))
}

/// Two topics take turns, one with a stream that is not read and one without: what the host does to
/// one delivery it does to the next. The bound is generous, because a neighbour that is waited for
/// takes as long as its stall.
fn slow_neighbour(target: &Target) -> Outcome {
    if let Some(room) = author_room(target) {
        return published_broadcast::slow_neighbour(target, room, deliveries() * MESSAGE_BYTES);
    }
    let topics = ["slow-neighbour", "no-neighbour"].map(|name| Topic::new(target, name));
    let [mut beside, mut without] = [Delivery::on(&topics[0])?, Delivery::on(&topics[1])?];
    let unread = topics[0].subscribe_unread()?;
    let limit = |without: Duration| (without * 3).max(target.scaled(NEIGHBOUR_LIMIT));
    for _ in 0..deliveries() {
        beside.once()?;
        without.once()?;
    }
    drop(unread);
    let numbers = format!(
        "at most {} beside it, {} without, in turns",
        ms(beside.slowest),
        ms(without.slowest)
    );
    let limit = limit(without.slowest);
    in_time(beside.slowest, limit, format!("each within {}", ms(limit)), &numbers)?;
    fact(numbers)
}

/// As many messages as a server's socket cannot hold for a client whose own holds next to nothing:
/// half as many bytes again as Linux lets the socket have here, or [`SEND_BUFFER_BYTES`] elsewhere.
fn deliveries() -> usize {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_wmem").unwrap_or_default();
    let most = text.split_ascii_whitespace().nth(2).and_then(|it| it.parse().ok());
    let bytes: usize = most.unwrap_or(SEND_BUFFER_BYTES).clamp(SEND_BUFFER_BYTES, FLOOD_BYTES);
    bytes / MESSAGE_BYTES * 3 / 2
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// Publishes on a topic and reads the event, again and again.
struct Delivery<'t> {
    publisher: Publisher<'t>,
    stream: EventStream,
    slowest: Duration,
}

impl<'t> Delivery<'t> {
    fn on(topic: &'t Topic<'t>) -> Result<Delivery<'t>, Fault> {
        let (publisher, stream) = (topic.publisher()?, topic.subscribe(None)?);
        Ok(Delivery { publisher, stream, slowest: Duration::ZERO })
    }

    /// Publishes a message, and waits for its event.
    fn once(&mut self) -> Result<(), Fault> {
        let message = "x".repeat(MESSAGE_BYTES);
        let start = Instant::now();
        self.publisher.publish(&message)?;
        equal("bytes of a message", &self.stream.take(1)?[0].data.len(), &MESSAGE_BYTES)?;
        self.slowest = self.slowest.max(start.elapsed());
        Ok(())
    }
}

fn torn_body(target: &Target) -> Outcome {
    if let Some(room) = author_room(target) {
        return published_requests::torn_body(target, room);
    }
    let topic = Topic::new(target, "torn-body");
    let mut stream = topic.subscribe(None)?;
    let request = || target.request("POST", topic.path());
    let by_length = request().header("Content-Length", "10").to_bytes();
    let by_chunk = request().header("Transfer-Encoding", "chunked").to_bytes();
    for (head, torn) in [(by_length, &b"torn"[..]), (by_chunk, b"4\r\ntorn\r\n6\r\nto")] {
        let mut connection = target.connect()?;
        connection.send(&head)?;
        connection.send(torn)?;
        let closed = connection.socket().shutdown(Shutdown::Write);
        closed.map_err(|error| Fault::Harness(format!("cannot close: {error}")))?;
        // The server has seen the end when it answers or closes; either is fine.
        let _ = connection.read_head();
    }
    topic.publish(["whole"])?;
    equal("the first message", stream.take(1)?[0].data.as_str(), "whole")?;
    pass()
}

fn data_of(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| event.data.clone()).collect()
}
