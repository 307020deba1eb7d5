//! Category 5: when bytes leave the server.
//!
//! The catalogue asks for arrival within 100 ms of the slot and for the head within 1 s. A busy
//! machine delays every program, so here times are judged against the server's own schedule, with a
//! whole interval of leeway, and an attempt does not count if the host itself was late (`judge.rs`).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{CASE, observed, published_flow};
use crate::expect::{ensure, equal, fact, in_time, miss, within_plain};
use crate::host;
use crate::server::dedicated_server::DedicatedServer;
use crate::server::grammar::{blocks, has, lines, name, show, value, without_own};
use crate::server::script::{self, data, hold};
use crate::server::target::first_event;
use crate::server::{Case, Cost, Fault, Level, Need, Outcome, Target};

/// The silence before the first event of S5.01.
const SILENCE: Duration = Duration::from_millis(1500);
/// By how much the head must be ahead of it: two thirds of the silence are left to a busy machine.
const HEAD_AHEAD: Duration = Duration::from_millis(500);
/// The events of S5.02 and S5.04, and the time between two.
const SLOTS: u32 = 5;
const SLOT: Duration = Duration::from_millis(200);
/// The widest schedule: seven attempts of five seconds are as long as a user waits.
const WIDEST_SLOT: Duration = Duration::from_secs(1);
/// S5.03: groups of equal events, so that a short script makes many and their order shows.
const GROUPS: usize = 20;
const GROUP_EVENTS: usize = 50;
const BURST: Duration = Duration::from_secs(2);
/// HTML 9.2.7 advises a comment every 15 s or so; proxies cut after 30 s or 60 s.
pub(super) const HEARTBEAT_LIMIT: Duration = Duration::from_secs(20);
/// How long S5.05 watches where the keep-alive is not known.
const HEARTBEAT_WATCH: Duration = Duration::from_secs(35);
/// Time that a busy machine may add to a known keep-alive.
pub(super) const HEARTBEAT_SLACK: Duration = Duration::from_secs(2);
/// The silence of S5.08 where the keep-alive is not known: past the two minutes of many timeouts.
const LONG_IDLE: Duration = Duration::from_secs(130);
/// S5.07: events that take several writes, with pauses in which a heartbeat of 5 ms falls due.
const LARGE_BYTES: usize = 200 * 1024;
const LARGE_EVENTS: usize = 6;
const LARGE_PAUSE_MS: u64 = 12;
/// The connections of S5.09.
const FRESH: usize = 100;
/// S5.09 stops here: a slow stream has shown enough.
const FRESH_LIMIT: Duration = Duration::from_secs(3);

pub(super) static CASES: &[Case] = &[
    Case {
        id: "S5.01",
        slug: "early-head",
        level: Level::Should,
        source: "HTML 9.2.3; practice: a client is open when it has the head",
        claim: "The head of a stream arrives at once, not with the first event.",
        after: &[],
        sends: "GET of a stream that says nothing for a while, scripted or as it is.",
        fix: "Flush the response head before the first event, or open() comes late.",
        run: early_head,
        ..CASE
    },
    Case {
        id: "S5.02",
        slug: "per-event-flush",
        level: Level::Should,
        source: "HTML 9.2.7",
        claim: "Each event arrives before the next one is due.",
        sends: "A script of events at intervals, or texts published at intervals; else the stream is watched.",
        fix: "Flush after each event; look for buffering middleware and for Nagle's algorithm (TCP_NODELAY).",
        run: |target| match target.room() {
            Some(room) => published_flow::apart(target, room),
            None if has_script(target) => in_their_slots(target, None),
            None => observed::rhythm(target),
        },
        ..CASE
    },
    Case {
        id: "S5.03",
        slug: "burst",
        level: Level::Should,
        source: "HTML 9.2.7",
        needs: &[Need::Text],
        claim: "A thousand events without a pause arrive in order within two seconds.",
        sends: "A script of 1000 events at once, or a hundred texts published one after the other.",
        fix: "Look for a delay or a small queue between the producer and the socket.",
        run: |target| match target.room() {
            Some(room) => published_flow::burst(target, room),
            None => burst(target),
        },
        ..CASE
    },
    Case {
        id: "S5.04",
        slug: "gzip-flush",
        level: Level::Should,
        source: "HTML 9.2.7; RFC 9110 8.4",
        claim: "Each event arrives before the next one is due for clients that accept gzip, too.",
        sends: "As S5.02, with Accept-Encoding: gzip; events are decoded.",
        fix: "Exclude text/event-stream from compression, or flush the encoder with each event.",
        run: |target| match target.room() {
            Some(room) => published_flow::gzip(target, room),
            // A coded body is not decoded here: a coder that is flushed writes something for each event.
            None if has_script(target) => in_their_slots(target, Some("gzip, br, zstd")),
            None => observed::gzip(target),
        },
        ..CASE
    },
    Case {
        id: "S5.05",
        slug: "heartbeat",
        level: Level::Should,
        source: "HTML 9.2.7",
        cost: &[Cost::Watch],
        claim: "A stream at rest says something at least every 20 seconds, as proxies want it.",
        sends: "GET of a stream that stays quiet, for longer than a proxy would wait.",
        fix: "Write a comment (a line with a colon, and a blank line) every 15 seconds or so.",
        run: heartbeat,
        ..CASE
    },
    Case {
        id: "S5.06",
        slug: "heartbeat-silent",
        level: Level::Should,
        source: "HTML 9.2.6, 9.2.7",
        claim: "A heartbeat is a comment alone: it has no id and no event type.",
        sends: "GET of the stream; its keep-alive.",
        fix: "Keep alive with comments, not with events, and without an id.",
        run: heartbeat_silent,
        ..CASE
    },
    Case {
        id: "S5.07",
        slug: "heartbeat-atomic",
        level: Level::Must,
        source: "HTML 9.2.5",
        needs: &[Need::Script, Need::KeepAlive, Need::Process],
        claim: "A heartbeat every 5 ms never lands within an event of 200 KiB.",
        sends: "Large events beside frequent keep-alive.",
        fix: "Write keep-alive between whole events only: one writer for both.",
        run: heartbeat_atomic,
        ..CASE
    },
    Case {
        id: "S5.08",
        slug: "long-idle",
        level: Level::Should,
        source: "practice: timeouts of servers that cut quiet streams",
        cost: &[Cost::KeepAlive],
        claim: "A stream that was quiet for long is still open and delivers.",
        sends: "GET of a stream that stays quiet for minutes, then speaks; or that is quiet by itself.",
        fix: "Exempt streams from write and idle timeouts of the server.",
        run: |target| {
            let idle = target.keep_alive().map_or(LONG_IDLE, |it| target.scaled(it * 5));
            if let Some(room) = target.room().filter(|_| !has_script(target)) {
                return published_flow::long_idle(target, room, idle);
            }
            if !has_script(target) {
                return observed::long_idle(target, idle);
            }
            let idle_ms = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
            let items = [data("before"), json!({ "data": "after", "delay_ms": idle_ms })];
            let mut stream = target.script(&items)?;
            stream.set_patience(idle + target.patience());
            let events = stream.read_to_end()?;
            let data: Vec<_> = events.iter().map(|event| event.data.as_str()).collect();
            equal("data", data.as_slice(), &["before", "after"])?;
            fact(format!("{idle_ms} ms between two events"))
        },
        ..CASE
    },
    Case {
        id: "S5.09",
        slug: "first-event-latency",
        level: Level::Info,
        source: "practice: what a client waits for",
        claim: "How long new connections wait for the head and for the first event.",
        sends: "Many new connections, one after the other.",
        fix: "Nothing has to change; the numbers are for comparison.",
        run: first_event_latency,
        ..CASE
    },
];

/// Milliseconds, for scripts and for words.
fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn has_script(target: &Target) -> bool {
    target.capabilities().contains(&Need::Script)
}

fn early_head(target: &Target) -> Outcome {
    if !has_script(target) {
        return observed::early_head(target);
    }
    let silence = target.scaled(SILENCE);
    let items = [json!({ "data": "late", "delay_ms": ms(silence) })];
    let asked = Instant::now();
    let mut stream = target.script(&items).map_err(observed::no_head)?;
    let head_at = asked.elapsed();
    stream.take(1)?;
    let ahead = asked.elapsed() - head_at;
    let numbers = format!("head after {} ms, event {} ms later", ms(head_at), ms(ahead));
    let expected = format!("the head at least {} ms before it", ms(target.scaled(HEAD_AHEAD)));
    let is_ahead = ensure(ahead >= target.scaled(HEAD_AHEAD), expected, &numbers);
    // The silence between is the evidence.
    target.log().watched(target.scaled(HEAD_AHEAD));
    // A host that delays the head by the rest of the silence makes it late.
    is_ahead.map_err(|fault| fault.too_slow(silence - target.scaled(HEAD_AHEAD)))?;
    fact(numbers)
}

/// The first event is due one slot after the head, and each may be a slot late but no more.
fn in_their_slots(target: &Target, accept_encoding: Option<&str>) -> Outcome {
    // On a busy host the schedule is wider, so that the host's delays stay small beside it.
    let slot = target.scaled(host::widened(SLOT, WIDEST_SLOT));
    let event = |n| json!({ "data": format!("{n}"), "delay_ms": ms(slot) });
    let mut items: Vec<Value> = (0..SLOTS).map(event).collect();
    // The end of a stream would flush what was held back.
    items.push(hold());
    let mut request = target.get(&script::target(&items));
    if let Some(codings) = accept_encoding {
        request = request.header("Accept-Encoding", codings);
    }
    let mut stream = target.open(&request)?;
    // Beyond that an event is late in any case.
    stream.set_patience(slot * 3);
    let coding = stream.head().value("content-encoding").unwrap_or_else(|| "identity".to_owned());
    let head_at = Instant::now();
    let mut late = Duration::ZERO;
    for n in 1..=SLOTS {
        let due = slot * n;
        let arrived = if coding == "identity" {
            stream.take(1).map(|_| ())
        } else {
            stream.next_piece().map(|_| ())
        };
        arrived.map_err(|error| Fault::from(error).too_slow(slot))?;
        let behind = head_at.elapsed().saturating_sub(due);
        late = late.max(behind);
        let expected = format!("event {n} of {SLOTS} before the next one is due, {} ms", ms(slot));
        in_time(behind, slot, expected, format!("it came {} ms late ({coding})", ms(behind)))?;
    }
    within_plain(late, target.scaled(SLOT))?;
    fact(format!("at most {} ms late ({coding})", ms(late)))
}

fn burst(target: &Target) -> Outcome {
    let group = |n| json!({ "data": format!("{n}"), "repeat": GROUP_EVENTS });
    let items: Vec<Value> = (0..GROUPS).map(group).collect();
    let mut stream = target.script(&items)?;
    let start = Instant::now();
    let events = stream.take(GROUPS * GROUP_EVENTS)?;
    let took = start.elapsed();
    let data: Vec<_> = events.into_iter().map(|event| event.data).collect();
    let expected: Vec<_> =
        (0..GROUPS * GROUP_EVENTS).map(|n| (n / GROUP_EVENTS).to_string()).collect();
    equal("data", &data, &expected)?;
    let limit = target.scaled(BURST);
    let numbers = format!("{} events in {} ms", data.len(), ms(took));
    in_time(took, limit, format!("all within {} ms", ms(limit)), &numbers)?;
    fact(numbers)
}

fn heartbeat(target: &Target) -> Outcome {
    let scripted = has_script(target);
    if !scripted && target.keep_alive().is_none() {
        return observed::heartbeat(target);
    }
    let idle = if scripted { script::target(&[hold()]) } else { target.path().to_owned() };
    let mut stream = target.open(&target.get(&idle))?;
    let (limit, watched) = match target.keep_alive() {
        // Two heartbeats, so that the first is not mistaken for a greeting.
        Some(keep_alive) => {
            (keep_alive + target.scaled(HEARTBEAT_SLACK), (keep_alive * 5).div_f64(2.0))
        }
        None => (HEARTBEAT_LIMIT, HEARTBEAT_WATCH),
    };
    stream.set_patience(limit);
    let (start, mut longest) = (Instant::now(), Duration::ZERO);
    while start.elapsed() < watched {
        let before = Instant::now();
        if stream.next_piece()?.is_none() {
            return Err(miss("a stream that stays open", "it ended"));
        }
        longest = longest.max(before.elapsed());
    }
    fact(format!("silent for {} ms at most", ms(longest)))
}

fn heartbeat_silent(target: &Target) -> Outcome {
    let Some(keep_alive) =
        target.keep_alive().filter(|_| target.capabilities().contains(&Need::Script))
    else {
        return heartbeat_seen(&without_own(&target.watch()?.bytes()));
    };
    let mut stream = target.script(&[json!({ "id": "7", "data": "a" }), hold()])?;
    equal("data", stream.take(1)?[0].data.as_str(), "a")?;
    stream.set_patience(keep_alive + target.scaled(HEARTBEAT_SLACK));
    let before = stream.raw().len();
    stream.next_piece()?;
    let raw = stream.raw()[before..].to_vec();
    let actual = format!("\"{}\"", wire::shown(&raw));
    ensure(!stream.has_event(), "no event from a heartbeat", &actual)?;
    // With or without its blank line: rocket's comes without.
    let is_silent = lines(&raw).0.iter().all(|line| line.is_empty() || line[0] == b':');
    ensure(is_silent, "a comment alone", &actual)?;
    fact(format!("heartbeat {actual}"))
}

/// Judges the heartbeats of a stream that goes on: a comment may stand with an event, or with an id that
/// is a point to resume from. Only an id that comes back behind another one is that of a heartbeat.
fn heartbeat_seen(bytes: &[u8]) -> Outcome {
    let blocks = blocks(bytes);
    let (mut current, mut heartbeat) = (None, None);
    for block in &blocks {
        let id = block.iter().rev().find(|line| name(line) == b"id").map(|line| value(line));
        let is_comment = has(block, b"")
            && ![&b"data"[..], b"event", b"retry"].iter().any(|field| has(block, field));
        if is_comment && id.is_none_or(|id| current.is_some_and(|it| it != id)) {
            let is_said_again = blocks.iter().filter(|it| *it == block).count() > 1;
            ensure(id.is_none() || !is_said_again, "a comment alone", show(block))?;
            heartbeat = heartbeat.or(id.is_none().then_some(block));
        }
        current = id.or(current);
    }
    let none = || Fault::Skip("no heartbeat came while the case listened".to_owned());
    fact(format!("heartbeat {}", show(heartbeat.ok_or_else(none)?)))
}

fn heartbeat_atomic(target: &Target) -> Outcome {
    let dedicated = DedicatedServer::start(target, &[("--keep-alive-ms", "5")])?;
    let item = json!({ "data": "x", "times": LARGE_BYTES, "delay_ms": LARGE_PAUSE_MS });
    let items = vec![item; LARGE_EVENTS];
    let mut stream = dedicated.target.script(&items)?;
    let events = stream.read_to_end()?;
    let whole = "x".repeat(LARGE_BYTES);
    for event in &events {
        equal("data", &event.data, &whole)?;
    }
    equal("events", &events.len(), &LARGE_EVENTS)?;
    fact(format!("{} heartbeats between {LARGE_EVENTS} events", stream.comments()))
}

fn first_event_latency(target: &Target) -> Outcome {
    let start = Instant::now();
    let (mut heads, mut events) = (Vec::new(), Vec::new());
    while heads.len() < FRESH && start.elapsed() < target.scaled(FRESH_LIMIT) {
        let asked = Instant::now();
        let mut stream = target.stream()?;
        heads.push(asked.elapsed());
        stream.set_patience(target.window());
        match first_event(&mut stream) {
            Ok(Some(_)) => events.push(asked.elapsed()),
            // Silence is no fault, and the time to the head is known.
            Ok(None) | Err(Fault::Skip(_)) => {}
            Err(fault) => return Err(fault),
        }
    }
    let describe = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        let at = |share: usize| times.get((times.len() * share / 100).min(times.len() - 1));
        let text = |time: Option<&Duration>| time.map_or(0.0, |it| it.as_secs_f64() * 1e3);
        format!("p50 {:.1} ms, p99 {:.1} ms", text(at(50)), text(at(99)))
    };
    if events.is_empty() {
        return fact(format!("head {}, no event", describe(&mut heads)));
    }
    let count = heads.len();
    let (heads, events) = (describe(&mut heads), describe(&mut events));
    fact(format!("{count} connections: head {heads}; first event {events}"))
}
