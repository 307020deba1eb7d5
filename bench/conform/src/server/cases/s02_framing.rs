//! Category 2: how HTTP frames the stream.

use serde_json::json;
use wire::{End, EventStream, Framing, Head};

use super::CASE;
use super::s09_http::NO_SUCH_PATH;
use crate::expect::{ensure, equal, fact, miss, pass, status_in};
use crate::server::room::word;
use crate::server::script::{data, hold};
use crate::server::target::first_event;
use crate::server::{Case, Fault, Level, Need, Outcome, Scope, Target};

/// The events of S2.09.
const EVENTS: usize = 50;
/// The last id of `/tasks`: a client that resumes after it gets 204.
const FINISHED_ID: &str = "25";

pub(super) static CASES: &[Case] = &[
    Case {
        id: "S2.01",
        slug: "framing-kind",
        level: Level::Must,
        source: "RFC 9112 6.1, 6.2, 6.3, 9.3",
        scope: Scope::Http,
        claim: "A stream of unknown length is chunked, once, or its connection will close after it.",
        sends: "GET of the stream, HTTP/1.1.",
        fix: "Leave Transfer-Encoding to the HTTP library; without chunks, say Connection: close and end the body by closing.",
        run: framing_kind,
        ..CASE
    },
    Case {
        id: "S2.02",
        slug: "chunk-syntax",
        level: Level::Must,
        source: "RFC 9112 7.1",
        scope: Scope::Http,
        claim: "Every chunk has a valid size line and ends in CRLF.",
        sends: "GET of the stream; every chunk header and end is checked.",
        fix: "Leave chunking to the HTTP library; a proxy or a hand-written chunk writer breaks it.",
        run: |target| {
            let stream = target.stream()?;
            if stream.body().framing() != Framing::Chunked {
                return Err(Fault::Skip("the stream is not chunked".to_owned()));
            }
            drop(stream);
            // Twice as long as others look on: all that is said goes through the same decoder.
            let window = target.stream()?.watch(target.window() * 2)?;
            // A stream that is cut off within a chunk is the claim of S2.04.
            let empty = "the stream was silent, so no chunk was seen";
            if window.pieces.is_empty() { Err(Fault::Skip(empty.to_owned())) } else { pass() }
        },
        ..CASE
    },
    Case {
        id: "S2.03",
        slug: "no-early-zero-chunk",
        level: Level::Must,
        source: "RFC 9112 7.1",
        needs: &[Need::Script],
        scope: Scope::Http,
        claim: "An event without any field writes no empty chunk, which would end the body.",
        sends: "A script with an event that encodes to nothing between two others.",
        fix: "Never write a chunk of size 0 for an empty write: it ends the body.",
        run: |target| {
            let items = [data("a"), json!({}), json!({ "comment": "" }), data("b")];
            let events = target.script(&items)?.read_to_end()?;
            let data: Vec<_> = events.iter().map(|event| event.data.as_str()).collect();
            equal("data", data.as_slice(), &["a", "b"])?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "S2.04",
        slug: "last-chunk",
        level: Level::Must,
        source: "RFC 9112 7.1, 8",
        scope: Scope::Http,
        in_handler: true,
        claim: "A stream that ends is closed with the last chunk and its final CRLF.",
        sends: "A script that ends after three events, or the stream, if it ends while it is watched.",
        fix: "End the body through the HTTP library, so that the last chunk is written, instead of dropping the connection.",
        run: last_chunk,
        ..CASE
    },
    Case {
        id: "S2.05",
        slug: "reuse",
        level: Level::Should,
        source: "RFC 9112 9.3",
        scope: Scope::Http,
        claim: "After a stream has ended, its connection takes another request.",
        sends: "A second request on the connection of a stream that has ended, by a script or by itself.",
        fix: "Keep the connection open after a chunked body that ended whole.",
        run: |target| {
            if !target.capabilities().contains(&Need::Script) {
                return reuse_as_it_is(target);
            }
            let mut first = target.script(&[data("a")])?;
            first.read_to_end()?;
            let request = target.get(&crate::server::script::target(&[data("b")]));
            let mut second = EventStream::open(first.into_connection(), &request)?;
            equal("data", second.take(1)?[0].data.as_str(), "b")?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "S2.06",
        slug: "connection-close",
        level: Level::Must,
        source: "RFC 9112 9.6",
        scope: Scope::Http,
        claim: "Asked with Connection: close, a server says close and closes after the body.",
        sends: "Connection: close with a finite script, or with a path that does not exist.",
        fix: "Answer Connection: close and close after the body.",
        run: connection_close,
        ..CASE
    },
    Case {
        id: "S2.07",
        slug: "http10-no-chunked",
        level: Level::Must,
        source: "RFC 9112 6.1",
        scope: Scope::Http,
        claim: "An HTTP/1.0 client gets no Transfer-Encoding: the body is the bare stream.",
        sends: "GET with HTTP/1.0.",
        fix: "Without chunked coding for 1.0: write the body as it is and close at its end. nginx asks with 1.0 by default.",
        run: http10_no_chunked,
        ..CASE
    },
    Case {
        id: "S2.08",
        slug: "http10-keepalive",
        level: Level::Should,
        source: "RFC 9112 9.3",
        scope: Scope::Http,
        claim: "No keep-alive is promised to HTTP/1.0 for a body that ends with the connection.",
        sends: "GET with HTTP/1.0 and Connection: keep-alive, of a finite script or of the stream.",
        fix: "Set no Connection: keep-alive in the handler: the library knows when it is true. A library promises it only where it marks the end of the body.",
        in_handler: true,
        run: |target| {
            let path = match target.capabilities().contains(&Need::Script) {
                true => crate::server::script::target(&[data("a")]),
                false => target.path().to_owned(),
            };
            let request = target.get(&path).http10().header("Connection", "keep-alive");
            let stream = target.open(&request).map_err(no_stream_to_10)?;
            // Beside close it promises nothing: RFC 9112 9.3 looks for close first.
            let promised = stream.head().has_token("connection", "keep-alive")
                && !stream.head().has_token("connection", "close");
            let by_close = stream.body().framing() == Framing::Close;
            let expected = "no Connection: keep-alive where only the close ends the body";
            let held = ensure(
                !(promised && by_close),
                expected,
                "Connection: keep-alive without a length",
            );
            // The same promise to an HTTP/1.1 client is a fault already.
            held.map_err(|fault| match framing_kind(target) {
                Err(Fault::Miss { .. }) => fault.follows("S2.01"),
                _ => fault,
            })?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "S2.09",
        slug: "chunks-per-event",
        level: Level::Info,
        source: "practice: what an event costs on the wire",
        needs: &[Need::Script],
        scope: Scope::Http,
        claim: "How many chunks and arrivals 50 small events take.",
        sends: "A script of 50 small events.",
        fix: "Nothing has to change; one write for each event (or for all that are ready) costs least.",
        run: |target| {
            let item = json!({ "data": "x", "repeat": EVENTS, "delay_ms": 2 });
            let window = target.script(&[item])?.watch(target.patience())?;
            equal("events", &window.events.len(), &EVENTS)?;
            let (chunks, pieces) = (window.chunks, window.pieces.len());
            fact(format!("{EVENTS} events in {chunks} chunks, read in {pieces} pieces"))
        },
        ..CASE
    },
    Case {
        id: "S2.10",
        slug: "no-1xx-to-10",
        level: Level::Must,
        source: "RFC 9110 15.2",
        scope: Scope::Http,
        claim: "An HTTP/1.0 client that sends Expect: 100-continue gets no interim response.",
        sends: "GET with HTTP/1.0 and Expect: 100-continue.",
        fix: "Never send an interim answer to a 1.0 client.",
        run: |target| {
            let request = target.get(target.path()).http10().header("Expect", "100-continue");
            let head = target.asking(&request, || {
                let mut connection = target.connect()?;
                connection.send(&request.to_bytes())?;
                connection.read_head()
            })?;
            ensure(head.status >= 200, "a final status", head.summary())?;
            fact(format!("answered as HTTP/1.{}", head.minor_version))
        },
        ..CASE
    },
    // Beyond the first catalogue: an empty body tempts a framework to say `Content-Length: 0`.
    Case {
        id: "S2.11",
        slug: "no-length-on-204",
        level: Level::Must,
        source: "RFC 9110 8.6, RFC 9112 6.1",
        scope: Scope::Http,
        claim: "An answer 204 has neither Content-Length nor Transfer-Encoding.",
        sends: "Requests that may be answered with 204: OPTIONS, and the one that publishes.",
        fix: "Let the HTTP library write the head of a 204: it has no body, so neither header belongs there.",
        run: no_length_on_204,
        ..CASE
    },
];

/// The connection of a stream that ends by itself, and whose head does not say that it closes.
fn reuse_as_it_is(target: &Target) -> Outcome {
    let mut stream = target.stream()?;
    if will_close(stream.head()) || stream.body().framing() == Framing::Close {
        let words = "the head says that the connection closes, or nothing else ends the stream";
        return Err(Fault::Skip(words.to_owned()));
    }
    stream.set_patience(target.window());
    if let Err(error) = stream.read_to_end() {
        return Err(Fault::Skip(format!("the stream does not end whole: {error}")));
    }
    let mut connection = stream.into_connection();
    connection.set_patience(target.patience());
    match connection.ask(&target.get(NO_SUCH_PATH)) {
        Ok((head, _)) => fact(format!("the next request gets {}", head.summary())),
        Err(error) if error.is_end() => {
            let expected = "an answer on the same connection, or a close that the head announces";
            Err(miss(expected, error.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

/// The close is demanded, to say so is recommended (RFC 9112, 9.6).
fn connection_close(target: &Target) -> Outcome {
    let (head, mut connection) = if target.capabilities().contains(&Need::Script) {
        let path = crate::server::script::target(&[data("a")]);
        let mut stream = target.open(&target.get(&path).header("Connection", "close"))?;
        stream.read_to_end()?;
        (stream.head().clone(), stream.into_connection())
    } else {
        let mut connection = target.connect()?;
        let request = target.get(NO_SUCH_PATH).header("Connection", "close");
        let (head, mut body) = connection.ask(&request)?;
        if head.is_event_stream() {
            return Err(Fault::Skip("every path is a stream".to_owned()));
        }
        if let Err(error) = connection.read_body_to_end(&mut body) {
            return Err(Fault::Skip(format!("the answer has no end: {error}")));
        }
        (head, connection)
    };
    let after = connection.read_to_close()?;
    equal("bytes after the body", &after.len(), &0)?;
    let actual = head
        .value("connection")
        .map_or("no such header".to_owned(), |it| format!("Connection: {it}"));
    ensure(will_close(&head), "Connection: close in the answer", actual)
        .map_err(Fault::recommended)?;
    pass()
}

/// Some servers refuse HTTP/1.0, which is their choice.
fn no_stream_to_10(error: wire::Error) -> Fault {
    match error {
        wire::Error::NotAStream { .. } => Fault::Skip(format!("HTTP/1.0 gets no stream: {error}")),
        error => error.into(),
    }
}

fn no_length_on_204(target: &Target) -> Outcome {
    let mut heads = Vec::new();
    if target.capabilities().contains(&Need::Endpoints) {
        let head = target.head(&target.get("/tasks").header("Last-Event-ID", FINISHED_ID))?;
        status_in(&head, &[204])?;
        heads.push(head);
    } else {
        // As a browser asks before it asks from another origin.
        let preflight = target
            .request("OPTIONS", target.path())
            .header("Origin", "https://a.example")
            .header("Access-Control-Request-Method", "GET");
        match target.head(&preflight) {
            Ok(head) => heads.push(head),
            Err(error) if error.is_unreachable() => return Err(error.into()),
            // No answer is not one with 204.
            Err(_) => {}
        }
        if let Some(room) = target.room() {
            let _turn = room.turn();
            let mut publisher = room.publisher(target);
            publisher.say(&word())?;
            heads.extend(publisher.answer().cloned());
        }
    }
    let seen: Vec<_> = heads.iter().map(Head::summary).collect();
    heads.retain(|head| head.status == 204);
    if heads.is_empty() {
        return Err(Fault::Skip(format!("no answer was 204: {}", seen.join(", "))));
    }
    for (head, name) in
        heads.iter().flat_map(|head| ["content-length", "transfer-encoding"].map(|it| (head, it)))
    {
        let actual = format!("{name}: {}", head.value(name).unwrap_or_default());
        ensure(head.value(name).is_none(), format!("no {name} with 204"), actual)?;
    }
    pass()
}

fn framing_kind(target: &Target) -> Outcome {
    let stream = target.stream()?;
    let head = stream.head();
    let [coding, length] = ["transfer-encoding", "content-length"].map(|name| head.value(name));
    let shown = |name: &str, value: &Option<String>| match value {
        Some(value) => format!("{name}: {value}"),
        None => format!("no {name}"),
    };
    if let Some(value) = &coding {
        // Two lines mean the same as one with a comma.
        let is_once = value.trim().eq_ignore_ascii_case("chunked");
        let expected = "Transfer-Encoding: chunked, once, and no other coding";
        ensure(is_once, expected, shown("Transfer-Encoding", &coding))?;
        let actual = shown("Content-Length", &length) + " beside Transfer-Encoding: chunked";
        ensure(length.is_none(), "no Content-Length beside Transfer-Encoding", actual)?;
        return fact("chunked");
    }
    if let Some(length) = length {
        // Valid framing; that a stream should not have it is the claim of S1.08.
        return Err(Fault::Skip(format!("it says that it has {length} bytes")));
    }
    let connection = shown("Connection", &head.value("connection"));
    let actual =
        format!("HTTP/1.{}, neither chunked nor a length, {connection}", head.minor_version);
    ensure(will_close(head), "chunked, or a connection that closes", &actual)?;
    fact(actual)
}

/// Whether the connection ends after this answer: RFC 9112 9.3.
pub(super) fn will_close(head: &Head) -> bool {
    let is_kept = head.minor_version == 1 || head.has_token("connection", "keep-alive");
    head.has_token("connection", "close") || !is_kept
}

fn last_chunk(target: &Target) -> Outcome {
    let scripted = target.capabilities().contains(&Need::Script);
    if scripted {
        let mut stream = target.script(&[data("a"), data("b"), data("c")])?;
        let events = stream.read_to_end()?;
        equal("events", &events.len(), &3)?;
        let framing = stream.body().framing();
        let holds = framing == Framing::Chunked;
        ensure(holds, "a chunked body with its last chunk", format!("framing {framing:?}"))?;
    }
    let stream = target.stream()?;
    let framing = stream.body().framing();
    let window = stream.watch(target.window())?;
    match window.end {
        End::Cut(error) => Err(error.into()),
        _ if scripted => pass(),
        // The close of its connection is how such a body ends.
        End::Whole if framing != Framing::Close => {
            fact(format!("it ended whole after {} ms", window.length.as_millis()))
        }
        End::Whole => Err(Fault::Skip("only its connection's close ends the stream".to_owned())),
        End::Open => {
            let length = window.length.as_millis();
            Err(Fault::Skip(format!("the stream did not end within {length} ms")))
        }
    }
}

fn http10_no_chunked(target: &Target) -> Outcome {
    // A script that stays open, where there is one: then the case does not wait for a quiet stream.
    let scripted = target.capabilities().contains(&Need::Script);
    let path = if scripted {
        crate::server::script::target(&[data("a"), data("b"), hold()])
    } else {
        target.path().to_owned()
    };
    let mut stream = target.open(&target.get(&path).http10()).map_err(no_stream_to_10)?;
    if let Some(coding) = stream.head().value("transfer-encoding") {
        return Err(miss("no Transfer-Encoding", format!("Transfer-Encoding: {coding}")));
    }
    stream.set_patience(target.window());
    match first_event(&mut stream) {
        Err(Fault::Skip(_)) => return fact("judged by the head: the stream said nothing"),
        event => event?,
    };
    // Chunk framing without its header would show as a first line that is a bare hex number.
    let first_line = stream.raw().split(|&byte| matches!(byte, b'\r' | b'\n')).next();
    let first_line = first_line.unwrap_or_default();
    let is_size = !first_line.is_empty() && first_line.iter().all(u8::is_ascii_hexdigit);
    let actual = format!("a first line \"{}\"", wire::shown(first_line));
    ensure(!is_size, "the bare stream", actual)?;
    pass()
}
