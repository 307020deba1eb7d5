//! Category 2: line ends, chunks, segments.

use std::time::{Duration, Instant};

use super::{case, parsed};
use crate::conformance::client::stage::{Exchange, chunk};
use crate::conformance::client::trial::{Trial, message, same_events};
use crate::conformance::client::vectors;
use crate::conformance::client::{Capability, Case};
use crate::conformance::expect::{ensure, fact, in_time, pass};
use crate::conformance::{Level, Outcome};

/// How soon an event has to be reported whose last byte has been sent.
const PROMPT: Duration = Duration::from_millis(200);

pub(super) static CASES: &[Case] = &[
    parsed("C2.01", "lf", "Lines end with LF."),
    parsed("C2.02", "crlf", "Lines end with CR LF, wherever the stream is cut."),
    parsed("C2.03", "cr", "Lines end with CR alone, wherever the stream is cut."),
    parsed("C2.04", "mixed", "Line ends may be mixed within an event."),
    case(
        "C2.05",
        "crlf-split",
        Level::Must,
        &[],
        "HTML 9.2.6",
        "CR and LF in two chunks are one line end, within an event and at its end.",
        |trial| {
            let pieces: [&[u8]; 6] = [
                b"data: a\r",
                b"\ndata: b\r",
                b"\n\r",
                b"\ndata: c\r\n\r",
                b"\n",
                b"data: d\r\n\r\n",
            ];
            let expected = [message("a\nb", ""), message("c", ""), message("d", "")];
            plays(trial, &expected, |stream| pieces.iter().for_each(|it| stream.chunk(it)))
        },
    ),
    parsed("C2.06", "cr-then-field", "A line that ends with CR has ended, whatever comes next."),
    case(
        "C2.07",
        "cr-cr-prompt",
        Level::Should,
        &[],
        "HTML 9.2.6, 9.2.5",
        "An event that ends with CR CR is reported without a further byte.",
        |trial| prompt(trial, "y", b"data: y\r\r"),
    ),
    case(
        "C2.08",
        "lf-prompt",
        Level::Should,
        &[],
        "HTML 9.2.6, 9.2.5",
        "An event is reported within 200 ms of its last byte.",
        |trial| prompt(trial, "x", b"data: x\n\n"),
    ),
    parsed("C2.09", "extra-blanks", "Further blank lines are no events."),
    parsed("C2.10", "not-line-ends", "U+2028, U+2029, U+0085, VT and FF end no line."),
    case(
        "C2.11",
        "segments",
        Level::Must,
        &[],
        "RFC 9112 7.1",
        "TCP segments may be cut anywhere, within the chunks' own lines too.",
        |trial| {
            let body = b"id: 1\ndata: a\n\nevent: message\r\ndata: b\r\n\r\n";
            let mut bytes = chunk(&body[..9]);
            bytes.extend(chunk(&body[9..]));
            let expected = [&[message("a", "1"), message("b", "1")][..]; 3].concat();
            plays(trial, &expected, |stream| {
                for size in [1, 2, 3] {
                    bytes.chunks(size).for_each(|it| stream.segment(it));
                }
            })
        },
    ),
    case(
        "C2.12",
        "chunk-ext-trailers",
        Level::Must,
        &[],
        "RFC 9112 7.1.1, 7.1.2",
        "Chunk extensions and trailer fields are ignored.",
        |trial| {
            let (mut dialogue, mut stream) = trial.asked()?;
            stream.open();
            stream.segment(b"9;a=b;c=\"d;e\"\r\ndata: a\n\n\r\n");
            stream.segment(b"00009;x\r\ndata: b\n\n\r\n");
            let events = dialogue.events_to_mark(&mut stream)?;
            same_events(&events, &[message("a", ""), message("b", "")])?;
            stream.send(b"0\r\nX-Trailer: data: c\r\ndata: d\r\n\r\n");
            let later = vectors::events_at_end(&mut dialogue)?;
            ensure(later.len() == 3, "no event of the trailers", format!("{later:?}"))?;
            pass()
        },
    ),
    case(
        "C2.13",
        "close-delimited",
        Level::Must,
        &[],
        "RFC 9112 6.3",
        "A body without framing is read until the connection is closed.",
        |trial| {
            trial.each(&["HTTP/1.1", "HTTP/1.0"], |version| {
                let (mut dialogue, mut stream) = trial.asked()?;
                stream.plain_head(
                    version,
                    "200 OK\r\nContent-Type: text/event-stream\r\nConnection: close",
                );
                for it in [&b"data: a\n\nda"[..], b"ta: b\n", b"\n"] {
                    stream.segment(it);
                }
                dialogue.until_data("b")?;
                same_events(&dialogue.events(), &[message("a", ""), message("b", "")])
            })?;
            pass()
        },
    ),
    case(
        "C2.14",
        "content-length",
        Level::Must,
        &[],
        "RFC 9112 6.3",
        "A body with a Content-Length is read to its end, and no further.",
        |trial| {
            let (mut dialogue, mut stream) = trial.asked()?;
            let body = b"data: a\n\ndata: b\n\n";
            stream.head(&format!(
                "200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}",
                body.len()
            ));
            stream.segment(&body[..12]);
            stream.segment(&body[12..]);
            stream.answered();
            let events = vectors::events_at_end(&mut dialogue)?;
            same_events(&events, &[message("a", ""), message("b", "")])?;
            pass()
        },
    ),
    case(
        "C2.15",
        "hundred-in-one",
        Level::Must,
        &[],
        "HTML 9.2.6",
        "A hundred events in one write are reported in order.",
        |trial| {
            let text: String = (0..100).map(|n| format!("id: {n}\ndata: {n}\n\n")).collect();
            let expected: Vec<_> =
                (0..100).map(|n| message(&n.to_string(), &n.to_string())).collect();
            plays(trial, &expected, |stream| stream.chunk(text.as_bytes()))?;
            vectors::run(trial)
        },
    ),
    case(
        "C2.16",
        "empty-writes",
        Level::Must,
        &[],
        "RFC 9112 7.1",
        "Segments that bring no byte of the body are no events and break nothing.",
        |trial| {
            plays(trial, &[message("a", ""), message("b", "")], |stream| {
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
    ),
];

/// Holds if these are the events of what is sent.
fn plays(
    trial: &Trial,
    expected: &[crate::conformance::client::seen::Event],
    send: impl Fn(&mut Exchange),
) -> Outcome {
    let (mut dialogue, mut stream) = trial.asked()?;
    stream.open();
    send(&mut stream);
    same_events(&dialogue.events_to_mark(&mut stream)?, expected)?;
    pass()
}

/// How soon the event is reported, with nothing behind it.
fn prompt(trial: &Trial, data: &str, bytes: &[u8]) -> Outcome {
    let (mut dialogue, mut stream) = trial.asked()?;
    stream.open();
    // Nothing is late because the client was still busy with its start.
    if trial.has(Capability::Op) {
        dialogue.until_open()?;
    } else {
        stream.chunk(b"data: first\n\n");
        dialogue.until_data("first")?;
    }
    let sent = Instant::now();
    stream.chunk(bytes);
    let within = PROMPT.mul_f64(trial.ms(1000).as_secs_f64());
    let reported = dialogue.until_data(data);
    reported.map_err(|fault| fault.within("with no byte behind it, ", ""))?;
    let took = dialogue.seen.last().map_or(sent, |it| it.at).saturating_duration_since(sent);
    let words = format!("{:.1} ms", took.as_secs_f64() * 1e3);
    in_time(took, within, format!("at most {within:?}"), &words)?;
    fact(words)
}
