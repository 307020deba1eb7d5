//! Category 3, continued: whether the blocks of the stream become events.

use std::time::{Duration, Instant};

use serde_json::json;
use wire::Error;

use super::CASE;
use crate::expect::{ensure, fact, miss, miss_should, pass};
use crate::server::grammar::{blocks, lines, name, show, value, without_own};
use crate::server::script::data;
use crate::server::{Case, Fault, Level, Need, Outcome, Target};

/// S3.13: lines that come at so many moments, so far apart, are no event on its way.
const MOMENTS: usize = 3;
const APART: Duration = Duration::from_millis(200);
/// S3.15: a client that waits no longer than this hammers the server when it is down.
const HAMMERING: Duration = Duration::from_millis(100);
/// As much of a stream as S3.12 reads: more says nothing new of its end.
const READ_BYTES: usize = 1 << 20;

pub(super) static CASES: &[Case] = &[
    Case {
        id: "S3.12",
        slug: "last-event-whole",
        level: Level::Should,
        source: "HTML 9.2.6",
        since: "2026-11-29",
        claim: "A stream that ends leaves no event open: without its blank line clients drop it.",
        sends: "GET of the stream, until it ends.",
        fix: "Write the blank line of the last event, too, before the end.",
        run: last_event_whole,
        ..CASE
    },
    Case {
        id: "S3.13",
        slug: "events-at-all",
        level: Level::Must,
        source: "HTML 9.2.5, 9.2.6",
        since: "2026-11-29",
        claim: "The lines of a stream become events: while lines arrive, events do.",
        sends: "GET of the stream; its lines and its events.",
        fix: "Write each event as data: and its text, and a blank line behind it.",
        run: events_at_all,
        ..CASE
    },
    Case {
        id: "S3.14",
        slug: "one-event-a-block",
        level: Level::Should,
        source: "HTML 9.2.6",
        since: "2026-11-29",
        claim: "A block is one event: it sets its type and its id once, not between two parts of its data.",
        sends: "GET of the stream; its blocks.",
        fix: "End an event with its blank line before the next begins, a report of an error too.",
        run: one_event_a_block,
        ..CASE
    },
    Case {
        id: "S3.15",
        slug: "retry-short",
        level: Level::Info,
        source: "practice: clients come back after retry, and all at once",
        since: "2026-11-29",
        claim: "Whether retry is so short that clients hammer a server that is down.",
        sends: "GET of the stream; its retry lines.",
        fix: "Nothing has to change; a retry of some seconds, with some chance in it, spares the server.",
        run: retry_short,
        ..CASE
    },
];

fn last_event_whole(target: &Target) -> Outcome {
    // Ours have streams with an end beside the one under test.
    let has_finite = target.capabilities().contains(&Need::Endpoints);
    let path = if has_finite { "/ticks?interval_ms=0&count=3" } else { target.path() };
    let mut stream = target.open(&target.get(path))?;
    let start = Instant::now();
    loop {
        stream.set_patience(target.window().saturating_sub(start.elapsed()));
        match stream.next_piece() {
            Ok(Some(_)) if stream.raw().len() >= READ_BYTES => {
                return Err(Fault::Skip("the stream is long".to_owned()));
            }
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(Error::Timeout { .. }) => {
                return Err(Fault::Skip("the stream did not end".to_owned()));
            }
            Err(error) if error.is_end() => {
                let words = format!("the stream was cut off, which S2.04 is about: {error}");
                return Err(Fault::Skip(words));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let raw = stream.raw();
    let (lines, rest) = lines(raw);
    let open = lines.rsplit(|line| line.is_empty()).next().unwrap_or_default();
    let open: Vec<_> = open.iter().copied().chain([rest]).filter(|line| !line.is_empty()).collect();
    let has_data = open.iter().any(|line| name(line) == b"data");
    ensure(
        !has_data,
        "a blank line behind the last event",
        format!("the end after {}", show(&open)),
    )?;
    if raw.is_empty() {
        return Err(Fault::Skip("the stream said nothing".to_owned()));
    }
    fact(format!("the stream ended after {} bytes", raw.len()))
}

/// Fails only for a stream that speaks, stops, and speaks again, and of which no event comes: one event
/// that is on its way for long is none of these.
fn events_at_all(target: &Target) -> Outcome {
    let mut stream = target.stream()?;
    let start = Instant::now();
    let mut moments: Vec<Duration> = Vec::new();
    let mut is_over = false;
    while !is_over {
        stream.set_patience(target.patience().saturating_sub(start.elapsed()));
        match stream.next_piece() {
            Ok(Some(_)) if stream.has_event() => return pass(),
            Ok(Some(_)) => {}
            Ok(None) | Err(Error::Timeout { .. }) => is_over = true,
            Err(error) if error.is_end() => is_over = true,
            Err(error) => return Err(error.into()),
        }
        let now = start.elapsed();
        if !is_over && moments.last().is_none_or(|last| now - *last >= target.scaled(APART)) {
            moments.push(now);
        }
    }
    let raw = stream.raw();
    // Comments keep a stream alive, and a block with id or retry alone has its use.
    let is_meant = |line: &&&[u8]| {
        !line.is_empty() && ![&b""[..], b"id", b"retry", b"event"].contains(&name(line))
    };
    let lines = lines(raw).0;
    let meant = lines.iter().filter(is_meant).count();
    if meant < MOMENTS || moments.len() < MOMENTS {
        return Err(Fault::Skip(format!(
            "{meant} lines at {} moments, and no event yet",
            moments.len()
        )));
    }
    let excerpt = wire::shown(&raw[..raw.len().min(200)]);
    let expected = "an event, or only comments";
    let actual = format!("{meant} lines at {} moments, and no event: \"{excerpt}\"", moments.len());
    // Lines of data may become one after all, if its blank line comes some day.
    let may_come = lines.iter().any(|line| name(line) == b"data");
    Err(if may_come { miss_should(expected, actual) } else { miss(expected, actual) })
}

fn one_event_a_block(target: &Target) -> Outcome {
    let bytes = without_own(&target.watch()?.bytes());
    let blocks = blocks(&bytes);
    for block in &blocks {
        let names: Vec<_> = block.iter().map(|line| name(line)).collect();
        let count = |wanted: &[u8]| names.iter().filter(|name| **name == wanted).count();
        let is_data = |name: &&[u8]| *name == b"data";
        let (first, last) = (names.iter().position(is_data), names.iter().rposition(is_data));
        let within = names.iter().enumerate().any(|(at, name)| {
            [&b"event"[..], b"id"].contains(name)
                && first < Some(at)
                && first.is_some()
                && Some(at) < last
        });
        let is_one = count(b"event") <= 1 && count(b"id") <= 1 && !within;
        ensure(is_one, "one type, one id, and the data together", show(block))?;
    }
    if blocks.is_empty() {
        return Err(Fault::Skip("nothing came while the case listened".to_owned()));
    }
    fact(format!("{} blocks", blocks.len()))
}

fn retry_short(target: &Target) -> Outcome {
    let bytes = match target.capabilities().contains(&Need::Script) {
        true => {
            let mut stream = target.script(&[json!({ "retry": 1500 }), data("x")])?;
            stream.read_to_end()?;
            stream.raw().to_vec()
        }
        false => without_own(&target.watch()?.bytes()),
    };
    let (lines, _) = lines(&bytes);
    let retries = lines.iter().filter(|line| name(line) == b"retry");
    let values =
        retries.filter_map(|line| std::str::from_utf8(value(line)).ok()?.parse::<u64>().ok());
    let Some(least) = values.min() else {
        return fact("no retry: clients wait the time of their own");
    };
    let hammers = Duration::from_millis(least) < HAMMERING;
    fact(match hammers {
        true => format!("retry: {least}; clients hammer a server that is down"),
        false => format!("retry: {least}"),
    })
}
