//! Category 12, the other half: streams that share a connection, and the connection itself.

use std::time::{Duration, Instant};

use serde_json::json;
use wire::http2::STREAM_WINDOW;
use wire::{Error, Event, EventStream, Http2};

use super::s05_timing::{HEARTBEAT_LIMIT, HEARTBEAT_SLACK};
use super::s12_http2::{EARLY_HEAD_OVER_HTTP2, HTTP2, early_head, no_head, opened};
use crate::expect::{ensure, fact, miss, miss_should, pass};
use crate::host;
use crate::server::dedicated_server::DedicatedServer;
use crate::server::metrics::Held;
use crate::server::script::{self, hold};
use crate::server::target::first_event;
use crate::server::{Case, Cost, Fault, Level, Need, Outcome, OwnProcess, Scope, Target};

/// The streams of S12.09: tabs and widgets of one user.
const STREAMS: usize = 20;
/// The time that a server gets to notice in its own count that a stream was left.
const NOTICE: Duration = Duration::from_secs(5);
/// How long S12.12 watches where the keep-alive is not known.
const WATCH: Duration = Duration::from_secs(22);
/// The longest wait because of a busy host: seven attempts are as long as a user waits.
const LONGEST: Duration = Duration::from_secs(5);
/// The witness is read when its events have long come.
const AT_ONCE: Duration = Duration::from_millis(10);
/// S12.12: a stream with this many pieces does not rest.
const PIECES: usize = 5;

pub(super) static CASES: &[Case] = &[
    Case {
        id: "S12.07",
        slug: "stalled-stream",
        level: Level::Should,
        source: "RFC 9113 5.2",
        claim: "A stream whose client does not read holds up no other on its connection.",
        sends: "Two streams on a connection; only the second is given room to send (WINDOW_UPDATE).",
        fix: "Give each stream its own task or queue: a writer that waits for one window waits for all.",
        run: stalled,
        ..HTTP2
    },
    Case {
        id: "S12.08",
        slug: "reset-frees",
        level: Level::Should,
        source: "RFC 9113 5.1, 6.4",
        cost: &[Cost::Alone],
        claim: "A stream that its client resets is over: nothing more comes on it, and it is not counted.",
        sends: "RST_STREAM (CANCEL) during traffic, as EventSource.close() does; /metrics, if there is one.",
        fix: "End the producer when the body is dropped: over HTTP/2 no connection closes when a client leaves.",
        run: reset,
        ..HTTP2
    },
    Case {
        id: "S12.09",
        slug: "twenty-streams",
        level: Level::Should,
        source: "RFC 9113 6.5.2",
        claim: "Twenty streams are open at a time on one connection, and each speaks.",
        sends: "Twenty requests for the stream on one connection.",
        fix: "Raise the limit of concurrent streams: tabs of a browser share a connection.",
        run: twenty,
        ..HTTP2
    },
    Case {
        id: "S12.10",
        slug: "reset-alone",
        level: Level::Must,
        source: "RFC 9113 5.4.2",
        scope: Scope::Http,
        claim: "A client that resets one stream loses no other on the connection.",
        sends: "Two streams on a connection; RST_STREAM (CANCEL) of the first.",
        fix: "Treat RST_STREAM as the end of one answer, not of the connection.",
        run: |target| {
            several(target)?;
            let (mut connection, first) = opened(target)?;
            said(target, &mut connection, first)?;
            let second = target.http2_stream_on(&mut connection, target.path())?;
            let witness = target.stream()?;
            leave(&mut connection, first)
                .map_err(|fault| fault.within("the connection stays: ", ""))?;
            events(&mut connection, second, witness)
                .map_err(|fault| fault.within("the other stream goes on: ", ""))?;
            ensure(!connection.is_going_away(), "no GOAWAY", "GOAWAY after the reset")?;
            pass()
        },
        ..HTTP2
    },
    Case {
        id: "S12.11",
        slug: "ping",
        level: Level::Must,
        source: "RFC 9113 6.7",
        scope: Scope::Http,
        claim: "PING is answered with ACK and the same data while a stream is open.",
        sends: "PING with random data, beside the stream.",
        fix: "Leave PING to the HTTP library: clients find dead connections with it.",
        run: |target| {
            let (mut connection, _) = opened(target)?;
            let asked = Instant::now();
            connection.ping(fastrand::u64(..).to_be_bytes())?;
            fact(format!("answered after {} ms", asked.elapsed().as_millis()))
        },
        ..HTTP2
    },
    Case {
        id: "S12.12",
        slug: "http2-heartbeat",
        level: Level::Should,
        source: "HTML 9.2.7",
        cost: &[Cost::Watch],
        after: &["S1.01", "S1.02", "S5.05", "S12.01"],
        claim: "At rest a stream says something over HTTP/2 as often as over HTTP/1.1.",
        sends: "The request for a stream that stays quiet, over HTTP/2; PING keeps a connection, not a stream.",
        fix: "Look for a layer that collects small pieces: a comment must leave as a DATA frame at once.",
        run: heartbeat,
        ..HTTP2
    },
    Case {
        id: "S12.13",
        slug: "goaway",
        level: Level::Should,
        source: "RFC 9113 6.8",
        needs: &[Need::Http2, Need::Process],
        claim: "After SIGTERM the server says GOAWAY, and ends an open stream with END_STREAM.",
        sends: "SIGTERM with a stream open.",
        fix: "Shut down through the HTTP library, and end the streams: clients then come back elsewhere.",
        run: goaway,
        ..HTTP2
    },
    Case {
        id: "S12.14",
        slug: "http2-resume",
        level: Level::Should,
        source: "HTML 9.2.4; RFC 9113 8.2.1",
        claim: "A stream that resumes over HTTP/1.1 resumes over HTTP/2, where last-event-id is in lower case.",
        sends: "The id of an event, over HTTP/1.1 and over HTTP/2.",
        fix: "Read the field by a name without case: over HTTP/2 it is last-event-id.",
        run: resume,
        ..HTTP2
    },
    Case {
        id: EARLY_HEAD_OVER_HTTP2,
        slug: "http2-early-head",
        level: Level::Should,
        source: "HTML 9.2.3; practice: a client is open when it has the head",
        after: super::HANDSHAKE,
        since: "2026-11-30",
        claim: "The head of a stream at rest arrives over HTTP/2 as early as over HTTP/1.1.",
        sends: "The request for a stream that says nothing, scripted or as it is, over HTTP/2 and over HTTP/1.1.",
        fix: "Write a comment as soon as the stream is open: a proxy may send the head with the first bytes only.",
        run: early_head,
        ..HTTP2
    },
];

/// A second stream shows nothing where a server serves one at a time, or holds the head back until an event.
pub(super) fn several(target: &Target) -> Result<(), Fault> {
    if target.one_at_a_time().is_some() {
        return Err(Fault::Skip("the server serves one stream at a time".to_owned()));
    }
    if target.has_late_head() {
        let words = "the head of the stream comes late over HTTP/1.1, too (S5.01)";
        return Err(Fault::Skip(words.to_owned()));
    }
    Ok(())
}

/// The first event; a silent stream cannot be judged on what follows.
fn said(target: &Target, connection: &mut Http2, stream: u32) -> Result<Event, Fault> {
    connection.set_patience(target.window());
    let first = event(connection, stream).map_err(|fault| match fault {
        Fault::Miss { took: Some(took), .. } => {
            Fault::Skip(format!("the stream said no event for {} ms", took.as_millis()))
        }
        fault => fault,
    });
    connection.set_patience(target.patience());
    first
}

/// The next event; a stream that ends by itself shows no more.
fn event(connection: &mut Http2, stream: u32) -> Result<Event, Fault> {
    let event = connection.next_event(stream)?;
    event.ok_or_else(|| Fault::Skip("the stream ended".to_owned()))
}

/// Two events; their absence counts only if a witness over HTTP/1.1, opened later, has them.
fn events(connection: &mut Http2, stream: u32, mut witness: EventStream) -> Result<(), Fault> {
    for count in [1, 2] {
        match event(connection, stream) {
            Ok(_) => {}
            Err(fault @ Fault::Miss { took: Some(_), .. }) => {
                return Err(if_seen(fault, &mut witness, count));
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(())
}

/// The failure, if the witness has this many events; else the stream was silent for all.
fn if_seen(fault: Fault, witness: &mut EventStream, count: usize) -> Fault {
    witness.set_patience(AT_ONCE);
    match witness.take(count) {
        Ok(_) => fault,
        Err(_) => Fault::Skip("the stream fell silent, over HTTP/1.1 too".to_owned()),
    }
}

/// This time, or longer on a busy host, so that the host's delays stay small beside it.
fn on_a_busy_host(time: Duration) -> Duration {
    host::widened(time, LONGEST.max(time))
}

/// Leaves a stream, and waits until the server has read that: frames are read in their order.
fn leave(connection: &mut Http2, stream: u32) -> Result<(), Fault> {
    connection.leave(stream)?;
    match connection.ping(*b"has left") {
        // A PING without an answer is the claim of S12.11.
        Err(error @ Error::Timeout { .. }) => Err(Fault::from(error).follows("S12.11")),
        answered => Ok(answered?),
    }
}

fn stalled(target: &Target) -> Outcome {
    several(target)?;
    // Whether it speaks by itself over HTTP/2 is seen where nothing stalls.
    let (mut alone, stream) = opened(target)?;
    said(target, &mut alone, stream)?;
    drop(alone);
    let mut connection = target.http2(0)?;
    // Its head need not come: nginx sends it together with the first data.
    let unread = connection.ask(&target.get(target.path()))?;
    let read = connection.ask(&target.get(target.path()))?;
    connection.grant(read)?;
    connection.head(read)?;
    let witness = target.stream()?;
    events(&mut connection, read, witness)
        .map_err(|fault| fault.within("on the stream that is read: ", ""))?;
    connection.grant(unread)?;
    let witness = target.stream()?;
    events(&mut connection, unread, witness)
        .map_err(|fault| fault.within("on the other one, now read as well: ", ""))?;
    pass()
}

fn reset(target: &Target) -> Outcome {
    let dedicated = DedicatedServer::or_shared(target)?;
    let target = &dedicated.target;
    let (mut connection, stream) = opened(target)?;
    said(target, &mut connection, stream)?;
    let is_counted = target.capabilities().contains(&Need::Metrics);
    let base = is_counted.then(|| Held::beside(1, target)).transpose()?;
    // A connection that ends with the stream is the claim of S12.10.
    let of_reset_alone = |error: Error| match error.is_end() {
        true => Fault::from(error).follows("S12.10"),
        false => error.into(),
    };
    leave(&mut connection, stream).map_err(|fault| fault.follows("S12.10"))?;
    // Frames that were on their way may still come.
    let half = on_a_busy_host(target.window() / 2);
    connection.watch(half).map_err(of_reset_alone)?;
    let on_its_way = connection.late_frames(stream);
    connection.watch(half).map_err(of_reset_alone)?;
    let after = connection.late_frames(stream) - on_its_way;
    ensure(after == 0, "no more frames on the stream", format!("{after} more frames"))
        // A host that is late by this much has not let the server read.
        .map_err(|fault| fault.too_slow(half))?;
    match base {
        None => fact("nothing more came"),
        Some(base) => {
            base.comes_back(target, target.scaled(NOTICE))?;
            fact("nothing more came, and the stream is not counted")
        }
    }
}

fn twenty(target: &Target) -> Outcome {
    several(target)?;
    let mut connection = target.http2(STREAM_WINDOW)?;
    let allowed = connection.max_concurrent();
    if let Some(allowed) = allowed.filter(|it| (*it as usize) < STREAMS) {
        let actual = format!("SETTINGS_MAX_CONCURRENT_STREAMS {allowed}");
        return Err(miss_should(format!("room for {STREAMS} streams"), actual));
    }
    let asked = (0..STREAMS).map(|_| connection.ask(&target.get(target.path())));
    let streams = asked.collect::<wire::Result<Vec<u32>>>()?;
    let within = |stream, fault: Fault| fault.within(&format!("on stream {stream}: "), "");
    connection.head(streams[0]).map_err(no_head)?;
    for stream in &streams {
        let head = connection.head(*stream).map_err(|error| within(stream, error.into()))?;
        ensure(head.is_event_stream(), format!("{STREAMS} streams"), head.summary())?;
    }
    let mut witness = target.stream()?;
    match said(target, &mut connection, streams[0]) {
        Err(Fault::Skip(_)) => return fact("all are open; they are silent"),
        first => first?,
    };
    for stream in &streams[1..] {
        let event = event(&mut connection, *stream);
        let seen = event.map_err(|fault| match fault {
            Fault::Miss { took: Some(_), .. } => if_seen(fault, &mut witness, 1),
            fault => fault,
        });
        seen.map_err(|fault| within(stream, fault))?;
    }
    fact("all are open, and each has spoken")
}

fn heartbeat(target: &Target) -> Outcome {
    let is_scripted = target.capabilities().contains(&Need::Script);
    let path = match is_scripted {
        true => script::target(&[json!({ "comment": "open" }), hold()]),
        false => target.path().to_owned(),
    };
    let (limit, watched) = match target.keep_alive() {
        // Two heartbeats, so that the first is not mistaken for a greeting.
        Some(keep_alive) => {
            let slack = target.scaled(on_a_busy_host(HEARTBEAT_SLACK));
            (keep_alive + slack, (keep_alive * 5).div_f64(2.0))
        }
        None => (target.scaled(HEARTBEAT_LIMIT), target.scaled(WATCH)),
    };
    let (mut connection, stream) = target.http2_stream(&path).map_err(no_head)?;
    connection.set_patience(limit);
    let (start, mut longest, mut pieces) = (Instant::now(), Duration::ZERO, 0);
    while start.elapsed() < watched {
        let before = Instant::now();
        if connection.next_piece(stream)?.is_none() {
            return Err(Fault::Skip("the stream ended".to_owned()));
        }
        longest = longest.max(before.elapsed());
        pieces += 1;
        if pieces == PIECES && target.keep_alive().is_none() {
            return Err(Fault::Skip(format!("the stream does not rest: {PIECES} pieces came")));
        }
    }
    fact(format!("silent for {} ms at most", longest.as_millis()))
}

fn goaway(target: &Target) -> Outcome {
    let mut process = OwnProcess::start(target)?;
    let target = process.target().clone();
    let (mut connection, stream) = opened(&target)?;
    process.signal()?;
    connection.goaway()?;
    let deadline = connection.deadline();
    loop {
        match connection.next_event(stream) {
            // A server that waits for its streams for ever is the claim of S11.01.
            Ok(Some(_)) if Instant::now() > deadline => {
                return Err(miss("END_STREAM", "the stream goes on").follows("S11.01"));
            }
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(error @ Error::Timeout { .. }) => {
                return Err(Fault::from(error).follows("S11.01"));
            }
            Err(error) => return Err(miss("END_STREAM", error.to_string())),
        }
    }
    drop(connection);
    // How the process ends is the claim of S11.01.
    let _ = process.wait();
    pass()
}

/// Judged only where HTTP/1.1 shows that the id makes a difference.
fn resume(target: &Target) -> Outcome {
    let (mut connection, stream) = opened(target)?;
    said(target, &mut connection, stream)?;
    let id = said(target, &mut connection, stream)?.id;
    if id.is_empty() {
        return Err(Fault::Skip("the events have no ids".to_owned()));
    }
    let plain = target.get(target.path());
    let request = plain.clone().header("Last-Event-ID", &id);
    let ended = || Fault::Skip("the stream ended".to_owned());
    let first = |request| -> Result<Event, Fault> {
        first_event(&mut target.open(request)?)?.ok_or_else(ended)
    };
    let (fresh, resumed) = (first(&plain)?, first(&request)?);
    let mut connection = target.http2(STREAM_WINDOW)?;
    let stream = connection.ask(&request)?;
    let over_2 = said(target, &mut connection, stream)?;
    let words = |event: &Event| format!("the event with id {:?}", event.id);
    if fresh.id == resumed.id {
        return Err(Fault::Skip("over HTTP/1.1 the id makes no difference".to_owned()));
    }
    if over_2.id == resumed.id {
        return fact(words(&over_2));
    }
    if over_2.id == fresh.id {
        return Err(miss(words(&resumed), format!("{}, as without an id", words(&over_2))));
    }
    Err(Fault::Skip("the stream has moved on meanwhile".to_owned()))
}
