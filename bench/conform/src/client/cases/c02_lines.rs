//! Category 2: line ends, chunks, segments.

use std::time::{Duration, Instant};

use super::CASE;
use crate::client::Case;
use crate::client::context::{CaseContext, event, message, same_events};
use crate::client::driver::Options;
use crate::client::scripted_server::{PendingRequest, chunk};
use crate::client::vectors;
use crate::expect::{fact, in_time, pass};
use crate::{Cost, Level, Outcome, Scope};

/// How soon an event has to be reported whose last byte has been sent.
const PROMPT: Duration = Duration::from_millis(200);

pub(super) static CASES: &[Case] = &[
    Case {
        id: "C2.01",
        slug: "lf",
        level: Level::Must,
        source: "HTML 9.2.6",
        after: &["C1.01"],
        claim: "Lines end with LF.",
        sends: "Streams with LF, whole and in chunks of 1, 2, 3 and 7 bytes.",
        fix: "Collect bytes until a line is whole; a chunk is no line.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C2.02",
        slug: "crlf",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "Lines end with CR LF, wherever the stream is cut.",
        sends: "Streams with CR LF, cut at every place.",
        fix: "Take CR LF for one line end, also when the LF comes in a later chunk.",
        run: vectors::run_at_every_cut,
        ..CASE
    },
    Case {
        id: "C2.03",
        slug: "cr",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "Lines end with CR alone, wherever the stream is cut.",
        sends: "Streams with CR alone, cut at every place.",
        fix: "End a line at CR as well; splitting at LF is not enough.",
        run: vectors::run_at_every_cut,
        ..CASE
    },
    Case {
        id: "C2.04",
        slug: "mixed",
        level: Level::Must,
        source: "HTML 9.2.6",
        after: &["C1.01", "C2.01", "C2.02", "C2.03", "C2.05", "C2.06"],
        claim: "Line ends may be mixed within an event.",
        sends: "CR LF, LF and CR in one event, cut at every place.",
        fix: "Look for the next of CR and LF, one line at a time.",
        run: vectors::run_at_every_cut,
        ..CASE
    },
    Case {
        id: "C2.05",
        slug: "crlf-split",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "CR and LF in two chunks are one line end, within an event and at its end.",
        sends: "CR at the end of a chunk, LF at the beginning of the next.",
        fix: "Remember that the last byte was a CR, and skip one LF.",
        run: |context| {
            let pieces: [&[u8]; 6] = [
                b"event: a\r",
                b"\ndata: 1\r",
                b"\n\r",
                b"\nevent: b\r\ndata: 2\r\n\r",
                b"\n",
                b"event: c\r\ndata: 3\r\n\r\n",
            ];
            let types = ["a", "b", "c"].map(str::to_owned).to_vec();
            let (mut session, mut stream) =
                context.asked_with(&Options { event_types: types, ..Options::default() })?;
            stream.open();
            pieces.iter().for_each(|it| stream.chunk(it));
            let expected = [event("a", "1", ""), event("b", "2", ""), event("c", "3", "")];
            same_events(&session.events_to_mark(&mut stream)?, &expected)?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C2.06",
        slug: "cr-then-field",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "A line that ends with CR has ended, whatever comes next.",
        sends: "A chunk that ends with CR, and one that begins with a field.",
        fix: "Skip only an LF behind a CR, nothing else.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C2.07",
        slug: "cr-cr-prompt",
        level: Level::Should,
        source: "HTML 9.2.6, 9.2.5",
        cost: &[Cost::Timed],
        after: &["C1.01", "C2.01", "C2.03", "C2.08"],
        claim: "An event that ends with CR CR is reported without a further byte.",
        sends: "data: x CR CR, and nothing more.",
        fix: "Dispatch at the CR; do not wait to see whether an LF follows.",
        run: |context| prompt(context, "y", b"data: y\r\r"),
        ..CASE
    },
    Case {
        id: "C2.08",
        slug: "lf-prompt",
        level: Level::Should,
        source: "HTML 9.2.6, 9.2.5",
        cost: &[Cost::Timed],
        claim: "An event is reported within 200 ms of its last byte.",
        sends: "data: x LF LF, and nothing more.",
        fix: "Dispatch at once; look for a reader that waits until its buffer is full.",
        run: |context| prompt(context, "x", b"data: x\n\n"),
        ..CASE
    },
    Case {
        id: "C2.09",
        slug: "extra-blanks",
        level: Level::Must,
        source: "HTML 9.2.6",
        after: &["C1.01", "C2.01", "C3.04"],
        claim: "Further blank lines are no events.",
        sends: "Several blank lines in a row.",
        fix: "Dispatch nothing where no data line was seen.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C2.10",
        slug: "not-line-ends",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "U+2028, U+2029, U+0085, U+001C to U+001E, VT and FF end no line.",
        sends: "U+2028, U+2029, U+0085, U+001C to U+001E, VT and FF in data.",
        fix: "Do not use the language's own splitting of lines; it knows too many line ends.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C2.11",
        slug: "segments",
        level: Level::Must,
        source: "RFC 9112 7.1",
        scope: Scope::Http,
        claim: "TCP segments may be cut anywhere, within the chunks' own lines too.",
        sends: "A chunked body in segments of 1, 2 and 3 bytes.",
        fix: "Leave the chunks to an HTTP library.",
        run: |context| {
            let body = b"id: 1\ndata: a\n\nid: 2\nevent: message\ndata: b\n\n";
            let mut bytes = chunk(&body[..9]);
            bytes.extend(chunk(&body[9..]));
            let expected = [&[message("a", "1"), message("b", "2")][..]; 3].concat();
            plays(context, &expected, |stream| {
                for size in [1, 2, 3] {
                    bytes.chunks(size).for_each(|it| stream.segment(it));
                }
            })
        },
        ..CASE
    },
    Case {
        id: "C2.12",
        slug: "chunk-ext-trailers",
        level: Level::Must,
        source: "RFC 9112 7.1.1, 7.1.2",
        scope: Scope::Http,
        claim: "Chunk extensions and trailer fields are ignored.",
        sends: "Chunk extensions, and trailer fields behind the last chunk.",
        fix: "Leave the chunks to an HTTP library that knows both.",
        run: |context| {
            let sizes = [
                ("an extension", "9;a=b"),
                ("a name alone, behind zeros", "00009;x"),
                ("a quoted value with a semicolon", "9;a=\"b;c\""),
                ("a quoted value in a second extension", "9;a=b;c=\"d\""),
                ("trailer fields", "9"),
            ];
            context.each(&sizes, |(what, size)| {
                let (mut session, mut stream) = context.asked()?;
                stream.note(what);
                stream.open();
                stream.segment(format!("{size}\r\ndata: a\n\n\r\n").as_bytes());
                stream.send(b"0\r\nX-Trailer: data: c\r\ndata: d\r\n\r\n");
                stream.answered();
                let events = vectors::events_at_end(&mut session);
                let same = events.and_then(|it| same_events(&it, &[message("a", "")]));
                same.map_err(|fault| fault.within("", &format!("{what}: ")))
            })?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C2.13",
        slug: "close-delimited",
        level: Level::Must,
        source: "RFC 9112 6.3",
        scope: Scope::Http,
        claim: "A body without framing is read until the connection is closed.",
        sends: "A body without Content-Length and chunks, then FIN.",
        fix: "Read such a body until the connection is closed.",
        run: |context| {
            context.each(&["HTTP/1.1", "HTTP/1.0"], |version| {
                let (mut session, mut stream) = context.asked()?;
                stream.plain_head(
                    version,
                    "200 OK\r\nContent-Type: text/event-stream\r\nConnection: close",
                );
                for it in [&b"data: a\n\nda"[..], b"ta: b\n", b"\n"] {
                    stream.segment(it);
                }
                // When they are reported before that is C2.08's claim.
                drop(stream);
                let events = vectors::events_at_end(&mut session)?;
                same_events(&events, &[message("a", ""), message("b", "")])
            })?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C2.14",
        slug: "content-length",
        level: Level::Must,
        source: "RFC 9112 6.3",
        scope: Scope::Http,
        claim: "A body with a Content-Length is read to its end, and no further.",
        sends: "A body with a Content-Length, in two segments.",
        fix: "Stop at the length; the end is an end like any other.",
        run: |context| {
            let (mut session, mut stream) = context.asked()?;
            let body = b"data: a\n\ndata: b\n\n";
            stream.head(&format!(
                "200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}",
                body.len()
            ));
            stream.segment(&body[..12]);
            stream.segment(&body[12..]);
            stream.answered();
            let events = vectors::events_at_end(&mut session)?;
            same_events(&events, &[message("a", ""), message("b", "")])?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C2.15",
        slug: "hundred-in-one",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "A hundred events in one write are reported in order.",
        sends: "A hundred events in one write.",
        fix: "Take all events out of what has come before reading more.",
        run: |context| {
            let text: String = (0..100).map(|n| format!("id: {n}\ndata: {n}\n\n")).collect();
            let expected: Vec<_> =
                (0..100).map(|n| message(&n.to_string(), &n.to_string())).collect();
            plays(context, &expected, |stream| stream.chunk(text.as_bytes()))?;
            vectors::run(context)
        },
        ..CASE
    },
    Case {
        id: "C2.16",
        slug: "empty-writes",
        level: Level::Must,
        source: "RFC 9112 7.1",
        scope: Scope::Http,
        claim: "Segments that bring no byte of the body are no events and break nothing.",
        sends: "Segments that hold a part of the chunks' lines only.",
        fix: "Take an empty read for nothing: neither an end nor a line.",
        run: |context| {
            plays(context, &[message("a", ""), message("b", "")], |stream| {
                let pieces: [&[u8]; 8] = [
                    b"7\r\n",
                    b"data: a",
                    b"\r\n",
                    b"2\r\n",
                    b"\n\n",
                    b"\r\n",
                    b"9\r",
                    b"\ndata: b\n\n\r\n",
                ];
                pieces.iter().for_each(|it| stream.segment(it));
            })
        },
        ..CASE
    },
    Case {
        id: "C2.17",
        slug: "cr-cr-then-end",
        level: Level::Must,
        source: "HTML 9.2.6, 9.2.5",
        since: "2026-11-29",
        after: &["C1.01", "C2.01", "C2.03"],
        claim: "An event whose blank line ends with CR is not lost when the stream ends behind it.",
        sends: "data: a CR CR, and CR LF CR, each followed by the end of the stream.",
        fix: "Take a CR that was held back for a line end when the stream ends.",
        run: |context| {
            context.each(&[&b"data: a\r\r"[..], b"data: a\r\n\r"], |text| {
                let (mut session, mut stream) = context.asked()?;
                stream.stream(text);
                let events = vectors::events_at_end(&mut session)?;
                let same = same_events(&events, &[message("a", "")]);
                same.map_err(|fault| fault.within("", &format!("{}: ", wire::shown(text))))
            })?;
            pass()
        },
        ..CASE
    },
];

/// Holds if these are the events of what is sent.
fn plays(
    context: &CaseContext,
    expected: &[crate::client::reports::Event],
    send: impl Fn(&mut PendingRequest),
) -> Outcome {
    let (mut session, mut stream) = context.asked()?;
    stream.open();
    send(&mut stream);
    same_events(&session.events_to_mark(&mut stream)?, expected)?;
    pass()
}

/// How soon the event is reported, with nothing behind it.
fn prompt(context: &CaseContext, data: &str, bytes: &[u8]) -> Outcome {
    let (mut session, mut stream) = context.asked()?;
    stream.open();
    // Nothing is late because the client was still busy with its start.
    stream.chunk(b"data: first\n\n");
    let first = session.until_prompt_data("first");
    first.map_err(|fault| fault.within("with no byte behind it, ", ""))?;
    let sent = Instant::now();
    stream.chunk(bytes);
    let within = context.scaled(PROMPT);
    let reported = session.until_prompt_data(data);
    reported.map_err(|fault| fault.within("with no byte behind it, ", ""))?;
    let took = session.reports.last().map_or(sent, |it| it.at).saturating_duration_since(sent);
    let words = format!("{:.1} ms", took.as_secs_f64() * 1e3);
    in_time(took, within, format!("at most {within:?}"), &words)?;
    fact(words)
}
