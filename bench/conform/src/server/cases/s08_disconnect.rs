//! Category 8: clients that leave, stall or go on to talk.
//!
//! The catalogue asks for 50 clients in S8.01 and S8.02. Here they are 20, which shows a leak as
//! well and may be sent to any server.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use socket2::SockRef;
use wire::{Error, EventStream};

use super::{CASE, author_room, published_requests};
use crate::expect::{ensure, eventually, fact, miss, pass};
use crate::server::dedicated_server::DedicatedServer;
use crate::server::metrics::{Held, metric};
use crate::server::script::{self, hold};
use crate::server::topic::Topic;
use crate::server::{Case, Cost, Fault, Level, Need, Outcome, Scope, Target};

/// The clients that leave in S8.01 and S8.02.
const CLIENTS: usize = 20;
/// The time that a server gets to notice.
const NOTICE: Duration = Duration::from_secs(5);
/// A keep-alive as it is usual: what writes to a client that left without a word.
const USUAL_KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The largest message of the contract.
const MESSAGE_BYTES: usize = 64 * 1024;
/// S8.04 publishes 100 MB past a stalled reader …
const STALLED_MESSAGES: usize = 1600;
/// … after these, more than a topic retains, …
const RETAINED_MESSAGES: usize = 400;
/// … and grants this growth: a third of what would be there if it were all kept.
const STALLED_GROWTH_BYTES: u64 = 32 << 20;
/// S8.05 publishes more than sockets buffer and a short ring retains.
const OVERFLOW_MESSAGES: usize = 160;
/// S8.05 reads on for so long. A kernel that estimates bandwidth (BBR) takes a reader that slept for
/// a thin line, and feeds it megabytes over minutes.
const CATCH_UP: Duration = Duration::from_secs(8);
/// S8.06: connections, and those before them that warm the server up.
const CHURN: usize = 2000;
const WARM_UP: usize = 100;
/// The growth that S8.06 allows: allocators keep a part of freed memory.
const CHURN_GROWTH_BYTES: u64 = 16 << 20;
const CHURN_GROWTH_FDS: u64 = 8;
/// S8.09: between two bytes, and in all: a limit of 60 s that is looked at every 30 s, as in Node.
const BYTE_INTERVAL: Duration = Duration::from_secs(2);
const SLOW_REQUEST_LIMIT: Duration = Duration::from_secs(100);

pub(super) static CASES: &[Case] = &[
    Case {
        id: "S8.01",
        slug: "rst-busy",
        level: Level::Should,
        source: "practice: a producer that outlives its client leaks",
        needs: &[Need::Metrics],
        cost: &[Cost::Alone],
        hostile: true,
        claim: "When 20 clients of busy streams reset, their streams and producers end within 5 s.",
        sends: "20 clients that reset their connections during traffic.",
        fix: "End the producer when writing fails, and count the stream down on every way out.",
        run: |target| {
            let dedicated = DedicatedServer::or_shared(target)?;
            leave(
                &dedicated.target,
                || dedicated.target.speaking(),
                NOTICE,
                |stream| {
                    // Closing with no time to linger sends RST.
                    let socket = SockRef::from(stream.connection().socket());
                    let _ = socket.set_linger(Some(Duration::ZERO));
                },
            )
        },
        ..CASE
    },
    Case {
        id: "S8.02",
        slug: "fin-idle",
        level: Level::Should,
        source: "practice: actix-web#1313",
        needs: &[Need::Metrics, Need::Script],
        cost: &[Cost::Alone, Cost::KeepAlive],
        hostile: true,
        claim: "When 20 clients of idle streams close, the server notices by its next keep-alive.",
        sends: "20 clients that close while the stream is quiet.",
        fix: "Notice the close by reading, or at the latest when the keep-alive cannot be written.",
        run: |target| {
            let dedicated = DedicatedServer::or_shared(target)?;
            let idle = dedicated.target.get(&script::target(&[hold()]));
            let within = NOTICE + target.keep_alive().unwrap_or(USUAL_KEEP_ALIVE);
            leave(
                &dedicated.target,
                || Ok(dedicated.target.open(&idle)?),
                within,
                |stream| {
                    let _ = stream.connection().socket().shutdown(Shutdown::Both);
                },
            )
        },
        ..CASE
    },
    Case {
        id: "S8.03",
        slug: "half-close",
        level: Level::Info,
        source: "RFC 9112 9.6",
        claim: "The fate of a stream after its client closes only its sending side.",
        sends: "GET, then a half-close (FIN of the sending side).",
        fix: "Nothing has to change: both going on and ending are seen.",
        run: |target| {
            let mut stream = target.speaking()?;
            let _ = stream.connection().socket().shutdown(Shutdown::Write);
            fact(match stream.watch_on(target.scaled(HALF_CLOSED_WATCH)) {
                Ok(true) => "the stream goes on",
                Ok(false) => "the stream ends whole",
                Err(error) if error.is_end() => "the stream is cut off",
                Err(error) => return Err(error.into()),
            })
        },
        ..CASE
    },
    Case {
        id: "S8.04",
        slug: "stalled-reader",
        level: Level::Should,
        source: "practice: memory must not grow with what a client does not read",
        needs: &[Need::Topics, Need::Metrics],
        cost: &[Cost::Flood, Cost::Alone],
        hostile: true,
        claim: "100 MB published past a stream whose client does not read cost less than 32 MB of memory.",
        sends: "A socket that is never read while much is published.",
        fix: "Bound what waits for one client, by bytes, and drop or disconnect beyond.",
        run: stalled_reader,
        ..CASE
    },
    Case {
        id: "S8.05",
        slug: "overflow-policy",
        level: Level::MustContract,
        source: "HTML 9.2.5; contract: a gap is reported, an event is whole",
        needs: &[Need::Publish],
        cost: &[Cost::Flood],
        hostile: true,
        claim: "A reader that fell behind is cut off or skips whole events; none is torn.",
        sends: "As S8.04, then it reads on.",
        fix: "Drop whole events, or close; never a part of an event.",
        run: overflow_policy,
        ..CASE
    },
    Case {
        id: "S8.06",
        slug: "churn",
        level: Level::Should,
        source: "practice: what each connection leaves behind adds up",
        needs: &[Need::Metrics],
        cost: &[Cost::Flood, Cost::Alone],
        hostile: true,
        claim: "2000 clients that come and go leave no stream, descriptor or memory behind.",
        sends: "Connects, reads and closes, a couple of thousand times.",
        fix: "Look for what is not released on disconnect: descriptors, tasks, subscriptions.",
        run: churn,
        ..CASE
    },
    Case {
        id: "S8.07",
        slug: "pipelined-behind",
        level: Level::Must,
        source: "RFC 9112 9.3.2",
        scope: Scope::Http,
        hostile: true,
        claim: "A request behind an endless stream is not answered within that stream.",
        sends: "A second GET on the connection while the stream is open.",
        fix: "Answer pipelined requests in order: the second waits, or the connection closes.",
        run: |target| {
            // A stream that says nothing shows as well whether anything is answered within it.
            let mut stream = target.stream()?;
            let request = target.get(NO_SUCH_PATH).to_bytes();
            // A server that has closed, or that closes now, answers nothing.
            let _ = stream.connection().send(&request);
            // A byte out of place breaks the chunks, or shows where there are none.
            let window = stream.watch(target.window())?;
            let bytes = window.bytes();
            let is_mixed = memchr::memmem::find(&bytes, b"HTTP/1.").is_some();
            ensure(!is_mixed, "the stream alone", "a status line within the stream")?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "S8.08",
        slug: "bytes-mid-stream",
        level: Level::Info,
        source: "RFC 9112 9.3.2",
        scope: Scope::Http,
        hostile: true,
        claim: "The fate of a stream after its client sends bytes that are no request.",
        sends: "Bytes that are no request while the stream is open.",
        fix: "Nothing has to change, if the stream goes on or closes cleanly.",
        run: |target| {
            let mut stream = target.speaking()?;
            stream.connection().send(b"\x00\xff no request\r\n\r\n")?;
            fact(match stream.watch_on(target.scaled(HALF_CLOSED_WATCH)) {
                Ok(true) => "the stream goes on",
                Ok(false) => "the stream ends whole",
                Err(error) if error.is_end() => "the stream is cut off",
                Err(error) => return Err(error.into()),
            })
        },
        ..CASE
    },
    Case {
        id: "S8.09",
        slug: "slow-request",
        level: Level::Should,
        source: "RFC 9110 15.5.9",
        cost: &[Cost::Long],
        scope: Scope::Http,
        hostile: true,
        claim: "A request that arrives a byte every 2 s is given up within 100 s.",
        sends: "A request, a byte every other second, never finished.",
        fix: "Set a timeout for the request's head.",
        run: slow_request,
        ..CASE
    },
];

/// A path that no server has.
const NO_SUCH_PATH: &str = "/conformance-no-such-path";
/// How long S8.03 and S8.08 look on.
const HALF_CLOSED_WATCH: Duration = Duration::from_millis(400);

/// Opens streams, waits until they are counted, lets them go, waits until they no longer are.
fn leave(
    target: &Target,
    open: impl Fn() -> Result<EventStream, Fault>,
    within: Duration,
    goodbye: impl Fn(&mut EventStream),
) -> Outcome {
    let mut streams = (0..CLIENTS).map(|_| open()).collect::<Result<Vec<_>, Fault>>()?;
    let base = Held::beside(CLIENTS, target)?;
    streams.iter_mut().for_each(goodbye);
    let left = Instant::now();
    drop(streams);
    base.comes_back(target, target.scaled(within))?;
    fact(format!("noticed within {} ms", left.elapsed().as_millis()))
}

fn stalled_reader(target: &Target) -> Outcome {
    let dedicated = DedicatedServer::or_shared(target)?;
    let memory = || metric(&dedicated.target, "process_resident_memory_bytes");
    let topic = Topic::new(&dedicated.target, "stalled-reader");
    let message = "x".repeat(MESSAGE_BYTES);
    let mut publisher = topic.publisher()?;
    // Memory that a topic retains anyway, or that the allocator keeps for later, is no growth.
    for _ in 0..RETAINED_MESSAGES {
        publisher.publish(&message)?;
    }
    let stream = topic.subscribe(None)?;
    let before = memory()?;
    let mut most = 0;
    for n in 0..STALLED_MESSAGES {
        publisher.publish(&message)?;
        if n % 100 == 99 {
            most = most.max(memory()?.saturating_sub(before));
        }
    }
    drop(stream);
    let numbers = format!("{} MiB more", most >> 20);
    let expected = format!("less than {} MiB more", STALLED_GROWTH_BYTES >> 20);
    ensure(most < STALLED_GROWTH_BYTES, expected, &numbers)?;
    fact(numbers)
}

fn overflow_policy(target: &Target) -> Outcome {
    if let Some(room) = author_room(target) {
        return published_requests::overflow(target, room);
    }
    // A short ring, where we start the process: then skipping happens for certain.
    let dedicated = match target.launch() {
        Some(_) if target.keep_alive().is_some() => {
            DedicatedServer::start(target, &[("--retain", "16")])?
        }
        _ => DedicatedServer::or_shared(target)?,
    };
    let topic = Topic::new(&dedicated.target, "overflow-policy");
    let mut stream = topic.subscribe(None)?;
    let filler = "x".repeat(MESSAGE_BYTES - 8);
    let mut publisher = topic.publisher()?;
    for n in 0..OVERFLOW_MESSAGES {
        publisher.publish(&format!("{n:07} {filler}"))?;
    }
    // Published while it reads again: a stream that went on shows it.
    publisher.publish("last")?;
    let (mut read, mut gaps, mut previous) = (0, 0, None);
    let deadline = Instant::now() + target.scaled(CATCH_UP);
    loop {
        if Instant::now() > deadline {
            return fact(format!(
                "{read} events and {gaps} gaps, all whole, and still catching up"
            ));
        }
        let event = match stream.next_event() {
            Ok(Some(event)) => event,
            Ok(None) => return fact(format!("{read} events, then the stream ended")),
            Err(error) if error.is_end() => {
                return fact(format!("{read} events, then the stream was cut off"));
            }
            Err(error) => return Err(error.into()),
        };
        if event.event == "gap" {
            gaps += 1;
            continue;
        }
        if event.data == "last" {
            let lost = OVERFLOW_MESSAGES - read;
            ensure(lost == 0 || gaps > 0, "a gap where events are missing", "none")?;
            return fact(format!("{read} events, {lost} skipped with {gaps} gaps"));
        }
        let number: Option<usize> = event.data.get(..7).and_then(|digits| digits.parse().ok());
        let is_whole = number.is_some() && event.data.get(8..) == Some(filler.as_str());
        ensure(is_whole, "whole events", format!("one of {} bytes", event.data.len()))?;
        ensure(number > previous, "events in order", format!("{number:?} after {previous:?}"))?;
        (read, previous) = (read + 1, number);
    }
}

fn churn(target: &Target) -> Outcome {
    let dedicated = DedicatedServer::or_shared(target)?;
    let come_and_go =
        |times: usize| (0..times).try_for_each(|_| dedicated.target.speaking().map(drop));
    come_and_go(WARM_UP)?;
    let memory = || metric(&dedicated.target, "process_resident_memory_bytes");
    let fds = || dedicated.usage().map(|usage| usage.fds);
    // The warm-up itself must be over before it is a base.
    Held { open_streams: 0, producers: 0 }.comes_back(&dedicated.target, NOTICE).or_else(
        |fault| {
            // A server that we did not start may have streams of others.
            if target.launch().is_some() { Err(fault) } else { Ok(()) }
        },
    )?;
    let (base, base_memory, base_fds) = (Held::by(&dedicated.target)?, memory()?, fds());
    come_and_go(CHURN)?;
    base.comes_back(&dedicated.target, NOTICE + target.keep_alive().unwrap_or(USUAL_KEEP_ALIVE))?;
    if let Some(base_fds) = base_fds {
        eventually(NOTICE, || {
            let more = fds().unwrap_or(u64::MAX).saturating_sub(base_fds);
            let expected = format!("at most {CHURN_GROWTH_FDS} descriptors more");
            let holds = more <= CHURN_GROWTH_FDS;
            Ok(if holds { Ok(()) } else { Err(miss(expected, format!("{more} more"))) })
        })?;
    }
    let more = memory()?.saturating_sub(base_memory);
    let expected = format!("less than {} MiB more", CHURN_GROWTH_BYTES >> 20);
    ensure(more < CHURN_GROWTH_BYTES, expected, format!("{} MiB more", more >> 20))?;
    fact(format!("{} KiB more after {CHURN} connections", more >> 10))
}

fn slow_request(target: &Target) -> Outcome {
    let mut connection = target.connect()?;
    connection.send(format!("GET {} HTTP/1.1\r\nX-Slow: ", target.path()).as_bytes())?;
    connection.set_patience(target.scaled(BYTE_INTERVAL));
    let start = Instant::now();
    let limit = target.scaled(SLOW_REQUEST_LIMIT);
    while start.elapsed() < limit {
        match connection.read_head() {
            Ok(head) => {
                // By whatever number: it is no longer waited for.
                let actual = head.summary();
                ensure((400..500).contains(&head.status), "408, or another refusal", actual)?;
                return fact(format!(
                    "status {} after {} s",
                    head.status,
                    start.elapsed().as_secs()
                ));
            }
            Err(Error::Timeout { .. }) => {}
            Err(error) if error.is_end() => {
                return fact(format!("closed after {} s", start.elapsed().as_secs()));
            }
            Err(error) => return Err(error.into()),
        }
        // A failure to send shows at the next look.
        let _ = connection.send(b"x");
    }
    let expected = format!("408 or the end within {} s", limit.as_secs());
    Err(miss(expected, "still waiting for the rest").too_slow(limit))
}
