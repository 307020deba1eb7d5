//! Category 12: the stream over HTTP/2. This half is about one stream: its head, its data, its end.

use std::thread;
use std::time::{Duration, Instant};

use wire::http2::{Field, STREAM_WINDOW};
use wire::{Error, Event, EventStream, Head, Http2, RESPONSE_HEAD};

use super::CASE;
use super::s05_timing::HEARTBEAT_LIMIT;
use super::s12_streams::several;
use crate::expect::{ensure, equal, fact, is_stream, miss, pass, within_plain};
use crate::host;
use crate::server::grammar::{lines, show};
use crate::server::script::{self, data, hold};
use crate::server::{Case, Fault, Level, Need, Outcome, Scope, Target};

/// The case about the time at which the head comes over HTTP/2.
pub(super) const EARLY_HEAD_OVER_HTTP2: &str = "S12.15";

/// Common fields of the cases of this category.
pub(super) const HTTP2: Case = Case {
    needs: &[Need::Http2],
    after: &["S1.01", "S1.02", "S12.01"],
    since: "2026-11-29",
    ..CASE
};

/// RFC 9113, 8.2.2.
const OF_THE_CONNECTION: [&str; 5] =
    ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];
/// The fields that S12.04 compares: what a client, a cache or a proxy acts on.
const COMPARED: [&str; 4] =
    ["content-type", "cache-control", "content-encoding", "x-accel-buffering"];
/// The events that S12.05 compares.
const EVENTS: usize = 5;
/// S12.05: an event may be later over HTTP/2 by this much.
const LATER: Duration = Duration::from_secs(1);
/// S12.05 asks this many times: a layer that holds events back does so each time.
const TRIES: usize = 2;
/// S12.05: events this far apart over HTTP/1.1 …
const APART: Duration = Duration::from_millis(500);
/// … do not come within this time over HTTP/2.
const TOGETHER: Duration = Duration::from_millis(20);

pub(super) static CASES: &[Case] = &[
    Case {
        id: "S12.01",
        slug: "http2-stream",
        level: Level::Must,
        source: "HTML 9.2.3; RFC 9113 8.3.2",
        after: super::HANDSHAKE,
        claim: "Over HTTP/2, too, a stream is answered with status 200 and text/event-stream.",
        sends: "The request for the stream, over HTTP/2.",
        fix: "Look at what stands before the server: a proxy may route or refuse by the version.",
        run: |target| {
            let limit = target.patience().max(target.scaled(HEARTBEAT_LIMIT));
            let (mut connection, stream) = asked(target, target.path(), limit).map_err(no_head)?;
            is_stream(&connection.head(stream)?)?;
            fact(match connection.max_concurrent() {
                Some(streams) => format!("{streams} streams at a time"),
                None => "any number of streams at a time".to_owned(),
            })
        },
        ..HTTP2
    },
    Case {
        id: "S12.02",
        slug: "no-connection-fields",
        level: Level::Must,
        source: "RFC 9113 8.2.2",
        scope: Scope::Http,
        in_handler: true,
        claim: "The head of a stream has no Connection, Keep-Alive, Transfer-Encoding or the like.",
        sends: "The request for the stream, over HTTP/2; the fields of the decoded header block.",
        fix: "Do not set Connection: keep-alive in the handler: over HTTP/2 clients refuse the whole answer.",
        run: |target| {
            let (connection, stream) = opened(target)?;
            let of_it = |(name, _): &&Field| {
                OF_THE_CONNECTION.iter().any(|it| it.as_bytes().eq_ignore_ascii_case(name))
            };
            let found: Vec<_> = connection.fields(stream).iter().filter(of_it).map(line).collect();
            ensure(found.is_empty(), "no field that is about the connection", found.join(", "))?;
            pass()
        },
        ..HTTP2
    },
    Case {
        id: "S12.03",
        slug: "well-formed-head",
        level: Level::Must,
        source: "RFC 9113 8.2.1, 8.3.2",
        scope: Scope::Http,
        claim: "The head of a stream is :status, once, and then fields whose names are in lower case.",
        sends: "The request for the stream, over HTTP/2; the fields of the decoded header block.",
        fix: "Leave the head to the HTTP library, and names to its types: it writes them in lower case.",
        run: |target| {
            let (connection, stream) = opened(target)?;
            let fields = connection.fields(stream);
            let (status, others) = fields.split_first().unzip();
            let is_status = status.is_some_and(|(name, _)| name == b":status");
            let first = status.map_or_else(|| "nothing".to_owned(), line);
            ensure(is_status, ":status first", first)?;
            let bad = others.unwrap_or_default().iter().find(|field| !is_well_formed(field));
            let expected = "names in lower case, values without spaces around or line ends";
            ensure(bad.is_none(), expected, bad.map(line).unwrap_or_default())?;
            pass()
        },
        ..HTTP2
    },
    Case {
        id: "S12.04",
        slug: "same-head",
        level: Level::Should,
        source: "RFC 9113 8; RFC 9110 6",
        claim: "The fields of the head that clients and caches act on are those of HTTP/1.1.",
        sends: "The request for the stream, over HTTP/1.1 and over HTTP/2.",
        fix: "Set the fields in the handler, not in a layer that sees one version only.",
        run: |target| {
            let over_1 = target.head(&target.get(target.path()))?;
            let (mut connection, stream) = opened(target)?;
            let over_2 = connection.head(stream)?;
            let of = |head: &Head| COMPARED.map(|name| (name, head.value(name)));
            equal("fields", &of(&over_2), &of(&over_1))?;
            pass()
        },
        ..HTTP2
    },
    Case {
        id: "S12.05",
        slug: "http2-flush",
        level: Level::Should,
        source: "HTML 9.2.7",
        claim: "An event comes over HTTP/2 as soon as it comes over HTTP/1.1.",
        sends: "The request for the stream, over HTTP/1.1 and over HTTP/2 at the same time.",
        fix: "Write a DATA frame for each event, and flush; proxies have a switch for it.",
        run: as_soon,
        ..HTTP2
    },
    Case {
        id: "S12.06",
        slug: "end-stream",
        level: Level::Must,
        source: "RFC 9113 8.1; HTML 9.2.6",
        after: &["S1.01", "S1.02", "S2.04", "S3.12", "S12.01"],
        claim: "A stream that ends does so with END_STREAM, after a whole event.",
        sends: "A script that ends after three events, or the stream, if it ends while it is watched.",
        fix: "End the body through the HTTP library; RST_STREAM or a closed connection reads as an error.",
        run: end_stream,
        ..HTTP2
    },
];

/// Asks for the stream on a new connection.
/// Asks for this path, and waits so long for the head.
fn asked(target: &Target, path: &str, patience: Duration) -> Result<(Http2, u32), Error> {
    target.asking_over_http2(|| {
        let mut connection = target.http2(STREAM_WINDOW)?;
        let stream = connection.ask(&target.get(path))?;
        connection.set_patience(patience);
        connection.head(stream)?;
        connection.set_patience(target.patience());
        Ok((connection, stream))
    })
}

/// Opens the stream on a new connection.
pub(super) fn opened(target: &Target) -> Result<(Http2, u32), Fault> {
    target.http2_stream(target.path()).map_err(no_head)
}

/// A head that does not come over HTTP/2, and comes over HTTP/1.1, is the claim of one case.
pub(super) fn no_head(error: Error) -> Fault {
    let is_late = matches!(error, Error::Timeout { awaited: RESPONSE_HEAD, .. });
    let fault = Fault::from(error);
    if is_late { fault.follows(EARLY_HEAD_OVER_HTTP2) } else { fault }
}

pub(super) fn early_head(target: &Target) -> Outcome {
    several(target)?;
    let is_scripted = target.capabilities().contains(&Need::Script);
    let path = if is_scripted { script::target(&[hold()]) } else { target.path().to_owned() };
    let later = target.scaled(host::widened(LATER, target.patience()));
    let begin = Instant::now();
    asked(target, &path, target.patience()).map_err(|error| {
        Fault::from(error).within("over HTTP/2, as over HTTP/1.1: ", "").too_slow(target.patience())
    })?;
    let over_2 = begin.elapsed();
    let begin = Instant::now();
    let mut stream = target.open(&target.get(&path))?;
    let over_1 = begin.elapsed();
    let numbers =
        format!("after {} ms, over HTTP/1.1 after {} ms", over_2.as_millis(), over_1.as_millis());
    if over_2 > over_1 + later {
        let expected = format!("the head at most {} ms later", later.as_millis());
        return Err(miss(expected, numbers).too_slow(later));
    }
    within_plain(over_2, over_1 + target.scaled(LATER))?;
    stream.set_patience(later);
    if !is_scripted && stream.next_piece().is_ok() {
        let words =
            format!("the stream is not at rest, so its head came with a piece of it ({numbers})");
        return Err(Fault::Skip(words));
    }
    target.log().watched(later);
    fact(numbers)
}

fn line((name, value): &Field) -> String {
    format!("{}: {}", wire::shown(name), wire::shown(value))
}

fn is_well_formed((name, value): &Field) -> bool {
    let is_name = |byte: &u8| (0x21..0x7f).contains(byte) && !byte.is_ascii_uppercase();
    let is_value = |byte: &u8| !matches!(byte, 0 | b'\r' | b'\n');
    !name.is_empty()
        && !name.contains(&b':')
        && name.iter().all(is_name)
        && value.iter().all(is_value)
        && value.trim_ascii().len() == value.len()
}

/// The times of the first events of a stream, from its head on.
type Times = Vec<Duration>;

/// Judged only by what HTTP/1.1 shows beside it: the rhythm of a stream is its own.
fn as_soon(target: &Target) -> Outcome {
    // On a busy host it is more, so that the host's delays stay small beside it.
    let later = target.scaled(host::widened(LATER, target.patience()));
    let mut late = Vec::new();
    for _ in 0..TRIES {
        let (over_1, over_2) = both(target, later)?;
        let Some(last) = over_1.last() else {
            let ms = target.window().as_millis();
            return Err(Fault::Skip(format!("the stream said no event for {ms} ms")));
        };
        let (over_1, over_2) = (&over_1[..], &over_2[..over_2.len().min(over_1.len())]);
        let numbers = format!("{} and {} ms after the head", shown(over_1), shown(over_2));
        let spread = |times: &[Duration]| {
            times.last().zip(times.first()).map_or(Duration::ZERO, |(last, first)| *last - *first)
        };
        let is_clump = over_2.len() > 2
            && spread(over_1) >= target.scaled(APART)
            && spread(over_2) < target.scaled(TOGETHER);
        if over_2.len() == over_1.len() && !is_clump {
            let ends = over_1.iter().zip(over_2).map(|(one, two)| two.saturating_sub(*one));
            within_plain(ends.max().unwrap_or_default(), target.scaled(LATER))?;
            return fact(format!("over HTTP/1.1 and HTTP/2: {numbers}"));
        }
        // A host that is late by this much explains it.
        late.push((numbers, if is_clump { *last } else { later }));
    }
    let took = late.iter().map(|(_, took)| *took).min().unwrap_or_default();
    let numbers: Vec<_> = late.into_iter().map(|(numbers, _)| numbers).collect();
    let expected = "events over HTTP/2 while they come over HTTP/1.1";
    Err(miss(expected, numbers.join("; then ")).too_slow(took))
}

fn shown(times: &[Duration]) -> String {
    let times: Vec<_> = times.iter().map(|it| it.as_millis().to_string()).collect();
    if times.is_empty() { "none".to_owned() } else { times.join(", ") }
}

/// The first events over HTTP/1.1, and those over HTTP/2, which have a while longer.
fn both(target: &Target, later: Duration) -> Result<(Times, Times), Fault> {
    if target.one_at_a_time().is_some() {
        return Err(Fault::Skip("the server serves one stream at a time".to_owned()));
    }
    // In this order, so that no event is said to the other one alone.
    let (mut connection, stream) = opened(target)?;
    let mut over_1 = target.stream()?;
    let head = Instant::now();
    let later = if target.asks_with_get() { later } else { target.patience() };
    thread::scope(|scope| {
        let plain = scope.spawn(|| over_http11(target, &mut over_1, head));
        let mut times = Vec::new();
        let limit = target.window() + later;
        while times.len() < EVENTS {
            connection.set_patience(limit.saturating_sub(head.elapsed()));
            match connection.next_event(stream) {
                Ok(Some(_)) => times.push(head.elapsed()),
                Ok(None) | Err(Error::Timeout { .. }) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok((plain.join().expect("it does not panic")?, times))
    })
}

fn over_http11(target: &Target, stream: &mut EventStream, head: Instant) -> Result<Times, Fault> {
    let mut times = Vec::new();
    while times.len() < EVENTS {
        stream.set_patience(target.window().saturating_sub(head.elapsed()));
        match stream.next_event() {
            Ok(Some(_)) => times.push(head.elapsed()),
            Ok(None) | Err(Error::Timeout { .. }) => break,
            // How it ends is the claim of S2.04.
            Err(error) => return Err(Fault::from(error).follows("S2.04")),
        }
    }
    Ok(times)
}

fn end_stream(target: &Target) -> Outcome {
    if !target.capabilities().contains(&Need::Script) {
        return ends_as_it_is(target);
    }
    let path = script::target(&["a", "b", "c"].map(data));
    let (mut connection, stream) = target.http2_stream(&path)?;
    let events = to_the_end(&mut connection, stream)?;
    let data: Vec<_> = events.iter().map(|event| event.data.as_str()).collect();
    equal("data", data.as_slice(), &["a", "b", "c"])?;
    pass()
}

fn ends_as_it_is(target: &Target) -> Outcome {
    let (mut connection, stream) = opened(target)?;
    connection.set_patience(target.window());
    let events = match to_the_end(&mut connection, stream) {
        Err(Fault::Skip(_)) => {
            let words = "the stream did not end while it was watched";
            return Err(Fault::Skip(words.to_owned()));
        }
        events => events?,
    };
    let (lines, rest) = lines(connection.raw(stream));
    let pending = lines.rsplit(|line| line.is_empty()).next().unwrap_or_default();
    let is_event = |line: &&&[u8]| !line.is_empty() && !line.starts_with(b":");
    let unfinished: Vec<_> = pending.iter().chain([&rest]).filter(is_event).copied().collect();
    let actual = format!("the end {}", show(&unfinished));
    ensure(unfinished.is_empty(), "no event without its blank line", actual)?;
    fact(format!("END_STREAM after {} events", events.len()))
}

/// The events up to END_STREAM, which comes within one patience, or the stream goes on.
fn to_the_end(connection: &mut Http2, stream: u32) -> Result<Vec<Event>, Fault> {
    let mut events = Vec::new();
    let deadline = connection.deadline();
    loop {
        match connection.next_event(stream) {
            Ok(Some(_)) if Instant::now() > deadline => break,
            Ok(Some(event)) => events.push(event),
            Ok(None) => return Ok(events),
            Err(Error::Timeout { .. }) => break,
            Err(error) if error.is_end() => {
                return Err(miss("END_STREAM after the last event", error.to_string()));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Fault::Skip("the stream goes on".to_owned()))
}
