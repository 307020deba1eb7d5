//! Category 6: reconnecting after failures, and the last event id.

use std::time::{Duration, Instant};

use wire::server::ReceivedRequest;

use super::{CASE, ID, ID_SENT, RECONNECTED};
use crate::client::context::{CaseContext, ClientSession, RETRY_MS};
use crate::client::driver::{Capability, Options};
use crate::client::reports::{ClientReport, TimedReport};
use crate::client::scripted_server::PendingRequest;
use crate::client::{Case, Fault};
use crate::expect::{ensure, fact, miss, pass};
use crate::{Level, Outcome};

use Capability::{Op, R};

/// How long no server listens, and how much longer a client may take to notice that one does.
const AWAY: Duration = Duration::from_secs(2);
const PATIENCE_AWAY: Duration = Duration::from_secs(20);
/// The reconnection time of C6.25: within it the client is closed.
const WAIT_MS: u64 = 1000;

pub(super) static FAILURES: &[Case] = &[
    Case {
        id: "C6.01",
        slug: "clean-end",
        level: Level::Must,
        source: "HTML 9.2.3",
        needs: &[R],
        claim: "When the body ends the client reconnects.",
        sends: "A body that ends with the last chunk.",
        fix: "Reconnect after every end; only 204 and other answers end it for good.",
        run: |context| {
            let (mut session, mut stream) = context.asked()?;
            stream.stream(&hello());
            session.request()?.open();
            pass()
        },
        ..CASE
    },
    Case {
        id: "C6.02",
        slug: "rst",
        level: Level::Must,
        source: "HTML 9.2.3",
        needs: &[R],
        after: RECONNECTED,
        claim: "When the connection is reset the client reconnects.",
        sends: "RST in the middle of a stream.",
        fix: "Take errors of the body for an end of the connection, and reconnect.",
        run: |context| {
            let (mut session, mut stream) = context.asked()?;
            stream.open();
            stream.chunk(&hello());
            session.until_data("hello")?;
            stream.reset();
            reconnected(&mut session)?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C6.03",
        slug: "truncated-chunk",
        level: Level::Must,
        source: "HTML 9.2.3",
        needs: &[R],
        after: RECONNECTED,
        claim: "When the connection ends without the last chunk the client reconnects.",
        sends: "FIN without the last chunk.",
        fix: "Take an incomplete body for an end of the connection, and reconnect.",
        run: |context| {
            context.each(&[&b""[..], b"20\r\ndata: cut"], |cut| {
                let (mut session, mut stream) = context.asked()?;
                stream.open();
                stream.chunk(&hello());
                stream.send(cut);
                drop(stream);
                reconnected(&mut session)
            })?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C6.04",
        slug: "refused-then-up",
        level: Level::Should,
        source: "HTML 9.2.3",
        needs: &[R],
        after: RECONNECTED,
        claim: "While no server listens the client keeps trying.",
        sends: "A port without a listener, for two seconds.",
        fix: "Reconnect after a refused connection as well, the first one too.",
        run: |context| {
            let closed = context.refusing_port()?;
            let options = Options { initial_delay_ms: Some(RETRY_MS), ..Options::default() };
            let mut client = context.client(&closed.url("/events"), &options)?;
            let until = Instant::now() + context.scaled(AWAY);
            while Instant::now() < until {
                client.next(until)?;
                if let Some(how) = &client.ended {
                    return Err(miss("a client that keeps trying", format!("it ended: {how}")));
                }
            }
            let server = closed.open(context.log());
            let server =
                server.map_err(|error| Fault::Harness(format!("cannot listen: {error}")))?;
            let mut session = ClientSession { context, server, client, reports: Vec::new() };
            let began = Instant::now();
            let mut stream = session.later_request_within(context.scaled(PATIENCE_AWAY))?;
            stream.open();
            stream.chunk(&hello());
            session.until_data("hello")?;
            fact(format!("asked {:.1} s after the port was open", began.elapsed().as_secs_f64()))
        },
        ..CASE
    },
];

pub(super) static IDS: &[Case] = &[
    Case {
        id: "C6.14",
        slug: "last-id",
        level: Level::Must,
        source: "HTML 9.2.3, 9.2.4",
        needs: &[R],
        after: RECONNECTED,
        claim: "The last event id is sent when reconnecting, exactly.",
        sends: "An event with an id, and the end.",
        fix: "Send Last-Event-ID with the id as it came.",
        run: |context| sent_back(context, &[b"id: abc-1:2/3\ndata: a\n\n"], "abc-1:2/3"),
        ..CASE
    },
    Case {
        id: "C6.15",
        slug: "last-id-kept",
        level: Level::Must,
        source: "HTML 9.2.6",
        needs: &[R],
        after: &["C1.01", "C2.01", "C6.01", "C6.14", "C3.16"],
        claim: "An id is sent though later events had none.",
        sends: "An id, then events without one, and the end.",
        fix: "Keep the id until another one comes.",
        run: |context| {
            sent_back(context, &[b"id: abc\ndata: a\n\ndata: b\n\n: c\n\nevent: d\n\n"], "abc")
        },
        ..CASE
    },
    Case {
        id: "C6.16",
        slug: "last-id-updated",
        level: Level::Must,
        source: "HTML 9.2.3",
        needs: &[R],
        after: ID_SENT,
        claim: "An id of a later connection takes the place of the earlier one.",
        sends: "An id on each of two connections.",
        fix: "Send the id as it is at that time, not the first one.",
        run: |context| {
            sent_back(context, &[b"id: abc\ndata: a\n\n", b"id: def\ndata: b\n\n"], "def")
        },
        ..CASE
    },
    Case {
        id: "C6.17",
        slug: "last-id-reset",
        level: Level::Must,
        source: "HTML 9.2.3, 9.2.6",
        needs: &[R],
        after: &["C1.01", "C2.01", "C6.01", "C6.14", "C3.17"],
        claim: "After an empty id no Last-Event-ID is sent, though one was sent before.",
        sends: "An id, and later an empty one.",
        fix: "Build the header anew for each request, and leave it out where the id is empty.",
        run: |context| {
            context.each(
                &[
                    (
                        "id: on the same connection",
                        vec![&b"id: abc\ndata: a\n\nid:\ndata: b\n\n"[..]],
                    ),
                    (
                        "id: on the next one",
                        vec![&b"id: abc\ndata: a\n\n"[..], b"id:\ndata: b\n\n"],
                    ),
                    ("id without a colon", vec![&b"id: abc\ndata: a\n\nid\ndata: b\n\n"[..]]),
                ],
                |(what, streams)| {
                    let outcome = is_sent(context, streams, b"");
                    outcome.map_err(|fault| fault.within("", &format!("{what}: ")))
                },
            )?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C6.18",
        slug: "last-id-undispatched",
        level: Level::Must,
        source: "HTML 9.2.6",
        needs: &[R],
        after: ID_SENT,
        claim: "The id of a block without its blank line does not count.",
        sends: "An id in a block without its blank line.",
        fix: "Take an id over at the blank line, not when its line is read.",
        run: |context| {
            context.each(
                &[&b"id: abc\ndata: a\n\nid: def\ndata: b\n"[..], b"id: abc\ndata: a\n\nid: def"],
                |stream| is_sent(context, &[stream], b"abc"),
            )?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C6.19",
        slug: "last-id-only-block",
        level: Level::Must,
        source: "HTML 9.2.6",
        needs: &[R],
        after: &["C1.01", "C2.01", "C6.01", "C6.14", "C3.20"],
        claim: "The id of a block without data counts.",
        sends: "An id in a block without data.",
        fix: "Take the id over at the blank line, before asking whether there is data.",
        run: |context| sent_back(context, &[b"data: a\n\nid: abc\n\n"], "abc"),
        ..CASE
    },
    Case {
        id: "C6.20",
        slug: "last-id-utf8",
        level: Level::Must,
        source: "HTML 9.2.3, 9.2.4",
        needs: &[R],
        after: ID_SENT,
        claim: "An id is sent as UTF-8, byte for byte.",
        sends: "Ids beyond ASCII.",
        fix: "Write the bytes of its UTF-8; header types for ASCII refuse them.",
        run: |context| {
            context.each(&["…", "日本語", "é", "😀 a"], |id| {
                let stream = format!("id: {id}\ndata: a\n\n");
                is_sent(context, &[stream.as_bytes()], id.as_bytes())
            })?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C6.21",
        slug: "last-id-spaces",
        level: Level::Should,
        source: "HTML 9.2.3, RFC 9110 5.5",
        needs: &[R],
        after: ID_SENT,
        claim: "White space in an id arrives, but for what HTTP trims at its ends.",
        sends: "Ids with spaces and tabs.",
        fix: "Write the id as it is; HTTP trims the ends by itself.",
        run: |context| {
            context.each(&["a b", "a  b ", "a\tb", " a"], |id| {
                let stream = format!("id: {id}\ndata: a\n\n");
                is_sent(context, &[stream.as_bytes()], id.trim_matches([' ', '\t']).as_bytes())
            })?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C6.22",
        slug: "last-id-control",
        level: Level::Should,
        source: "RFC 9110 5.5, GHSA-q9qx-47rg-rhc7",
        needs: &[R],
        after: RECONNECTED,
        claim: "An id that HTTP cannot carry injects nothing, and does not keep the client from reconnecting.",
        sends: "Ids with control characters.",
        fix: "Leave the header out where HTTP cannot carry the id, and connect all the same.",
        run: |context| {
            context.each(&["a\u{1}b", "a\u{7f}b", "a\u{1b}[0m"], |id| {
                let (mut session, mut stream) = context.asked()?;
                let text = format!("retry: {RETRY_MS}\nid: {id}\ndata: a\n\n");
                stream.stream(text.as_bytes());
                let again = session.request()?;
                let values = again.request.all(ID);
                let fine = match values.as_slice() {
                    [] => true,
                    // As it was, or without the bytes that cannot be carried: no server is misled.
                    [value] => *value == id.as_bytes() || !value.iter().any(u8::is_ascii_control),
                    _ => false,
                };
                ensure(fine, format!("one {ID}, or none"), again.request.shown(ID))
            })?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C6.23",
        slug: "last-id-survives-failure",
        level: Level::Must,
        source: "HTML 9.2.3",
        needs: &[R],
        after: ID_SENT,
        claim: "An attempt that fails does not lose the id.",
        sends: "An id, then two connections that are reset.",
        fix: "Keep the id until another one comes.",
        run: |context| {
            let mut session = context.session(&Options::default())?;
            let text = format!("retry: {RETRY_MS}\nid: abc\ndata: a\n\n");
            session.request()?.stream(text.as_bytes());
            for _ in 0..2 {
                let again = session.request_within(context.patience() * 2)?;
                carries(&again.request, b"abc")?;
                again.reset();
            }
            carries(&session.request_within(context.patience() * 2)?.request, b"abc")?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C6.24",
        slug: "original-url",
        level: Level::Should,
        source: // The request is made again, and by then Fetch has added the redirection to its URLs.
        "HTML 9.2.3, practice; Fetch can be read otherwise",
        needs: &[R],
        after: &["C1.01", "C2.01", "C6.01", "C7.09"],
        claim: "Reconnections begin at the URL that was given, not where it redirected to.",
        sends: "A redirection, a stream, and the end.",
        fix: "Start each reconnection at the URL that was given: where it redirects to may have changed.",
        run: |context| {
            let (mut session, mut first) = context.asked()?;
            let there = session.server.url("/there");
            first.answer(&format!("307 Temporary Redirect\r\nLocation: {there}"));
            drop(first);
            session.request()?.stream(&hello());
            let again = session.request()?;
            let target = again.request.target.as_str();
            ensure(target == "/events", "a request of /events", target)?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C6.25",
        slug: "no-reconnect-after-close",
        level: Level::Must,
        source: "HTML 9.2.2, 9.2.3",
        needs: &[R],
        after: RECONNECTED,
        claim: "A client that is closed while it waits does not reconnect.",
        sends: "The end of a stream, and close while the client waits.",
        fix: "Cancel the wait with close.",
        run: |context| {
            let (mut session, mut stream) = context.asked()?;
            stream.stream(format!("retry: {WAIT_MS}\ndata: hello\n\n").as_bytes());
            session.until_data("hello")?;
            if context.has(Op) {
                // Whether it reports the end is C6.28's claim; here it says when the wait begins.
                let is_error = |report: &ClientReport| matches!(report, ClientReport::Error { .. });
                let _ = session.until_within(context.ms(300), "an error", is_error);
            }
            session.client.close();
            let within = context.ms(3000);
            context.log().watched(within);
            let Some(again) = session.further_request(within)? else { return pass() };
            let asked = again.request.at;
            let was_closed = |it: &TimedReport| it.report == ClientReport::Closed && it.at <= asked;
            let fault = session.unwanted(&again, within);
            Err(if session.reports.iter().any(was_closed) {
                fault
            } else {
                // Its wait may have been over before it was told.
                fault.too_slow(Duration::from_millis(WAIT_MS))
            })
        },
        ..CASE
    },
];

/// A stream that asks for a short reconnection time, and one event.
fn hello() -> Vec<u8> {
    format!("retry: {RETRY_MS}\ndata: hello\n\n").into_bytes()
}

/// Waits for the next request, opens it, and sees an event of it reported.
fn reconnected(session: &mut ClientSession<'_>) -> Result<(), Fault> {
    let mut stream: PendingRequest = session.request()?;
    stream.open();
    stream.chunk(b"data: again\n\n");
    session.until_data("again").map(|_| ())
}

fn sent_back(context: &CaseContext, streams: &[&[u8]], id: &str) -> Outcome {
    is_sent(context, streams, id.as_bytes())?;
    pass()
}

/// Plays streams on one connection after the other; the request behind them carries this id.
fn is_sent(context: &CaseContext, streams: &[&[u8]], id: &[u8]) -> Result<(), Fault> {
    let mut session = context.session(&Options::default())?;
    for stream in streams {
        // Within the first block: one without data is another case's claim.
        let text = [format!("retry: {RETRY_MS}\n").as_bytes(), stream].concat();
        session.request()?.stream(&text);
    }
    carries(&session.request()?.request, id)
}

fn carries(request: &ReceivedRequest, id: &[u8]) -> Result<(), Fault> {
    let values = request.all(ID);
    let (fine, expected) = match id {
        b"" => (values.is_empty(), format!("no {ID}")),
        id => (values == [id], format!("{ID}: {}", wire::shown(id))),
    };
    ensure(fine, expected, request.shown(ID))
}
