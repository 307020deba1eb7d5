//! Category 2: how HTTP frames the stream.

use serde_json::json;
use wire::{EventStream, Framing};

use super::CASE;
use crate::expect::{ensure, equal, fact, is_stream, miss, pass, status_in};
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
        source: "RFC 9112 6.1, 6.3",
        scope: Scope::Http,
        claim: "A stream of unknown length is chunked, or its connection is announced to close.",
        sends: "GET of the stream, HTTP/1.1.",
        fix: "Use chunked transfer coding; without it, say Connection: close and end the body by closing.",
        run: |target| {
            let stream = target.stream()?;
            let framing = stream.body().framing();
            if let Framing::Length(length) = framing {
                // Valid framing; that a stream should not have it is the claim of S1.08.
                return Err(Fault::Skip(format!("it says that it has {length} bytes")));
            }
            let close = stream.head().has_token("connection", "close");
            let holds = framing == Framing::Chunked || (framing == Framing::Close && close);
            let actual = format!("framing {framing:?}, Connection: close {close}");
            ensure(holds, "chunked, or Connection: close", actual)?;
            fact(format!("{framing:?}"))
        },
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
        needs: &[Need::Script],
        scope: Scope::Http,
        claim: "A stream that ends is closed with the last chunk and its final CRLF.",
        sends: "A script that ends after three events.",
        fix: "End the body through the HTTP library, so that the last chunk is written, instead of dropping the connection.",
        run: |target| {
            let mut stream = target.script(&[data("a"), data("b"), data("c")])?;
            let events = stream.read_to_end()?;
            equal("events", &events.len(), &3)?;
            let framing = stream.body().framing();
            let holds = framing == Framing::Chunked;
            ensure(holds, "a chunked body with its last chunk", format!("framing {framing:?}"))?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "S2.05",
        slug: "reuse",
        level: Level::Should,
        source: "RFC 9112 9.3",
        needs: &[Need::Script],
        scope: Scope::Http,
        claim: "After a stream has ended, its connection takes another request.",
        sends: "A second GET on the connection of a stream that has ended.",
        fix: "Keep the connection open after a chunked body that ended whole.",
        run: |target| {
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
        needs: &[Need::Script],
        scope: Scope::Http,
        claim: "Asked with Connection: close, a server says close and closes after the body.",
        sends: "A finite script with Connection: close.",
        fix: "Answer Connection: close and close after the body.",
        run: |target| {
            let path = crate::server::script::target(&[data("a")]);
            let request = target.get(&path).header("Connection", "close");
            let mut stream = target.open(&request)?;
            let value = stream.head().value("connection");
            let says_close = stream.head().has_token("connection", "close");
            stream.read_to_end()?;
            let after = stream.into_connection().read_to_close()?;
            equal("bytes after the body", &after.len(), &0)?;
            let actual =
                value.map_or("no such header".to_owned(), |it| format!("Connection: {it}"));
            ensure(says_close, "Connection: close in the answer", actual)?;
            pass()
        },
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
        needs: &[Need::Script],
        scope: Scope::Http,
        claim: "No keep-alive is promised to HTTP/1.0 for a body that ends with the connection.",
        sends: "GET with HTTP/1.0 and Connection: keep-alive, finite script.",
        fix: "Do not promise keep-alive for a body whose end is the connection's end.",
        run: |target| {
            let path = crate::server::script::target(&[data("a")]);
            let request = target.get(&path).http10().header("Connection", "keep-alive");
            let stream = target.open(&request)?;
            // Beside close it promises nothing: RFC 9112 9.3 looks for close first.
            let promised = stream.head().has_token("connection", "keep-alive")
                && !stream.head().has_token("connection", "close");
            let by_close = stream.body().framing() == Framing::Close;
            let expected = "no Connection: keep-alive where only the close ends the body";
            ensure(!(promised && by_close), expected, "Connection: keep-alive without a length")?;
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
            let mut connection = target.connect()?;
            connection.send(&request.to_bytes())?;
            let head = connection.read_head()?;
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
        needs: &[Need::Endpoints],
        scope: Scope::Http,
        claim: "An answer 204 has neither Content-Length nor Transfer-Encoding.",
        sends: "A request that is answered with 204.",
        fix: "Let the HTTP library write the head of a 204: it has no body, so neither header belongs there.",
        run: |target| {
            let head = target.head(&target.get("/tasks").header("Last-Event-ID", FINISHED_ID))?;
            status_in(&head, &[204])?;
            for name in ["content-length", "transfer-encoding"] {
                let actual = format!("{name}: {}", head.value(name).unwrap_or_default());
                ensure(head.value(name).is_none(), format!("no {name} with 204"), actual)?;
            }
            pass()
        },
        ..CASE
    },
];

fn http10_no_chunked(target: &Target) -> Outcome {
    // A script that stays open, where there is one: then the case does not wait for a quiet stream.
    let scripted = target.capabilities().contains(&Need::Script);
    let path = if scripted {
        crate::server::script::target(&[data("a"), data("b"), hold()])
    } else {
        target.path().to_owned()
    };
    let mut stream = target.open(&target.get(&path).http10())?;
    is_stream(stream.head())?;
    if let Some(coding) = stream.head().value("transfer-encoding") {
        return Err(miss("no Transfer-Encoding", format!("Transfer-Encoding: {coding}")));
    }
    first_event(&mut stream)?;
    // Chunk framing without its header would show as a first line that is a bare hex number.
    let first_line = stream.raw().split(|&byte| matches!(byte, b'\r' | b'\n')).next();
    let first_line = first_line.unwrap_or_default();
    let is_size = !first_line.is_empty() && first_line.iter().all(u8::is_ascii_hexdigit);
    let actual = format!("a first line \"{}\"", first_line.escape_ascii());
    ensure(!is_size, "the bare stream", actual)?;
    pass()
}
