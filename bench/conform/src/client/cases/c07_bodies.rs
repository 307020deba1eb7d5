//! Category 7: heads and bodies that come late, break off, or are no HTTP.

use std::time::{Duration, Instant};

use super::CASE;
use super::c07_answers::named;
use crate::client::Case;
use crate::client::context::{CaseContext, ClientSession, RETRY_MS, message, same_events};
use crate::client::driver::{Capability, Options};
use crate::client::reports::ClientReport;
use crate::expect::{ensure, fact, pass};
use crate::{Cost, Fault, Level, Outcome, Scope};

use Capability::{Op, R, To};

/// How long a head may be awaited.
const SLOW_HEAD: Duration = Duration::from_secs(3);
/// How long a stream may be silent.
const SILENCE: Duration = Duration::from_secs(40);
/// The timeout that a client is given, and how long after it an error may come.
const READ_TIMEOUT_MS: u64 = 1000;
/// More than a block that a client reads at once, for a body without framing.
const BLOCK_BYTES: usize = 8192;

pub(super) static CASES: &[Case] = &[
    Case {
        id: "C7.13",
        slug: "informational",
        level: Level::Must,
        source: "RFC 9110 15.2",
        scope: Scope::Http,
        claim: "Interim answers (1xx) before the final one are ignored.",
        sends: "100 and 103 before 200.",
        fix: "Skip interim answers.",
        run: |context| {
            context.each(
                &["100 Continue", "103 Early Hints\r\nLink: </a>; rel=preload"],
                |status| {
                    let (mut session, mut stream) = context.asked()?;
                    stream.send(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes());
                    stream.open();
                    stream.chunk(b"data: a\n\n");
                    named(status, session.until_data("a").map(|_| ()))
                },
            )?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C7.14",
        slug: "slow-head",
        level: Level::Should,
        source: "practice: servers that start slowly",
        claim: "An answer that takes three seconds is waited for.",
        sends: "A head after three seconds.",
        fix: "Set no short timeout for the answer; streams may start slowly.",
        run: |context| {
            let (mut session, mut stream) = context.asked()?;
            session.no_request(SLOW_HEAD)?;
            stream.open();
            stream.chunk(b"data: a\n\n");
            session.until_data("a")?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C7.15",
        slug: "silent-stream",
        level: Level::Should,
        source: "practice: events are rare",
        cost: &[Cost::Long],
        claim: "A stream that is silent for 40 s is still there for the next event.",
        sends: "A head, 40 s of silence, an event.",
        fix: "Set no read timeout unless the caller asks for one.",
        run: |context| {
            let (mut session, mut stream) = context.asked()?;
            stream.open();
            session.until_reading(&mut stream)?;
            session.no_request(context.scaled(SILENCE))?;
            stream.chunk(b"data: a\n\n");
            session.until_data("a")?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C7.16",
        slug: "read-timeout",
        level: Level::Should,
        source: "practice: connections that died silently",
        needs: &[To],
        cost: &[Cost::Timed],
        after: &["C1.01", "C2.01", "C6.28"],
        claim: "Silence longer than the read timeout is an error and a reconnection; comments are no silence.",
        sends: "Comments, an event, then silence.",
        fix: "Restart the timeout with each byte, comments too; then reconnect.",
        run: read_timeout,
        ..CASE
    },
    Case {
        id: "C7.17",
        slug: "bad-framing",
        level: Level::Should,
        source: "RFC 9112 5.2, 6.3, 7.1",
        scope: Scope::Http,
        claim: "Of a body whose framing is broken no event is invented.",
        sends: "Chunk sizes that are none, a length beside chunks, a folded line.",
        fix: "Leave framing to an HTTP library that refuses such bodies.",
        run: |context| {
            let streams: [(&str, &str, &[u8]); 4] = [
                (
                    "a chunk size that is none",
                    "Transfer-Encoding: chunked",
                    b"9\r\ndata: a\n\n\r\nzz\r\ndata: b\n\n\r\n",
                ),
                (
                    "a chunk longer than its size",
                    "Transfer-Encoding: chunked",
                    b"9\r\ndata: a\n\n\r\n2\r\ndata: b\n\n\r\n",
                ),
                (
                    "Content-Length beside chunks",
                    "Content-Length: 7\r\nTransfer-Encoding: chunked",
                    b"9\r\ndata: a\n\n\r\n0\r\n\r\n",
                ),
                (
                    "a folded header line",
                    "Transfer-Encoding: chunked\r\nX-Folded: a\r\n b",
                    b"9\r\ndata: a\n\n\r\n0\r\n\r\n",
                ),
            ];
            context.each(&streams, |(what, head, body)| {
                let (mut session, mut stream) = context.asked()?;
                stream.head(&format!("200 OK\r\nContent-Type: text/event-stream\r\n{head}"));
                stream.send(body);
                session.no_request(context.ms(500)).ok();
                drop(stream);
                session.stays_away(context.ms(100)).ok();
                let events = session.events();
                let invented = events.iter().find(|it| it.data != "a");
                let words = invented.map(|it| format!("{it:?}")).unwrap_or_default();
                named(
                    what,
                    ensure(invented.is_none(), "no event but the one that was sent whole", words),
                )
            })?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C7.18",
        slug: "cut-is-told",
        level: Level::Must,
        source: "RFC 9112 8",
        scope: Scope::Http,
        needs: &[Op],
        since: "2026-11-29",
        claim: "A body that breaks off is reported as an error, and not as an end.",
        sends: "Chunked bodies without their last chunk, and a body shorter than its Content-Length.",
        fix: "Pass the error of the HTTP library on; a loop over lines takes it for the end.",
        run: |context| {
            reconnects_instead(context)?;
            let bodies: [(&str, &str, &[u8]); 3] = [
                ("no last chunk", "Transfer-Encoding: chunked", b"9\r\ndata: a\n\n\r\n"),
                (
                    "cut within a chunk",
                    "Transfer-Encoding: chunked",
                    b"9\r\ndata: a\n\n\r\n20\r\ndata: cut",
                ),
                ("shorter than its Content-Length", "Content-Length: 100", b"data: a\n\n"),
            ];
            context.each(&bodies, |(what, head, body)| {
                let (mut session, mut stream) = context.asked()?;
                stream.note(what);
                stream.head(&format!("200 OK\r\nContent-Type: text/event-stream\r\n{head}"));
                stream.segment(body);
                drop(stream);
                named(what, is_told(&mut session))
            })?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C7.19",
        slug: "reset-is-told",
        level: Level::Should,
        source: "RFC 9112 8",
        scope: Scope::Http,
        needs: &[Op],
        since: "2026-11-29",
        claim: "A body that ends with the connection, and is reset, is reported as an error.",
        sends: "A body without length and chunks, an event, a long comment, and RST.",
        fix: "Tell the end of a connection (FIN) from its failure.",
        run: |context| {
            reconnects_instead(context)?;
            let (mut session, mut stream) = context.asked()?;
            stream.plain_head(
                "HTTP/1.1",
                "200 OK\r\nContent-Type: text/event-stream\r\nConnection: close",
            );
            // Some clients read a body without framing in blocks, and report when one is full.
            let filler = "x".repeat(BLOCK_BYTES);
            stream.segment(format!("data: a\n\n: {filler}\n\n").as_bytes());
            session.until_data("a")?;
            stream.reset();
            is_told(&mut session)?;
            pass()
        },
        ..CASE
    },
];

/// A client that reconnects does the same after either end.
fn reconnects_instead(context: &CaseContext) -> Result<(), Fault> {
    if context.has(R) {
        let words = "the client reconnects, whole or not: C6.01 to C6.03";
        return Err(Fault::Skip(words.to_owned()));
    }
    Ok(())
}

/// Holds if the client reports an error, or fails, when its stream is over.
fn is_told(session: &mut ClientSession<'_>) -> Result<(), Fault> {
    let is_last = |report: &ClientReport| {
        matches!(report, ClientReport::Error { .. } | ClientReport::Closed | ClientReport::Exit(_))
    };
    let last = session.until("the end of the stream reported", is_last)?.report;
    let is_told = match &last {
        ClientReport::Error { .. } => true,
        ClientReport::Exit(how) => !how.starts_with("exit code 0"),
        _ => false,
    };
    ensure(
        is_told,
        "an error: the body was not whole",
        format!("{}, as after a whole one", last.shown()),
    )
}

fn read_timeout(context: &CaseContext) -> Outcome {
    let options = Options {
        read_timeout_ms: Some(READ_TIMEOUT_MS),
        initial_delay_ms: Some(RETRY_MS),
        ..Options::default()
    };
    let (mut session, mut stream) = context.asked_with(&options)?;
    stream.open();
    stream.chunk(format!("retry: {RETRY_MS}\ndata: first\n\n").as_bytes());
    // Comments for three times as long as the timeout: the connection stays.
    for _ in 0..10 {
        let pause = session.stays_away(Duration::from_millis(READ_TIMEOUT_MS * 3 / 10));
        // A comment that the host delays for so long looks like a silence.
        pause.map_err(|fault| fault.too_slow(Duration::from_millis(READ_TIMEOUT_MS / 2)))?;
        stream.chunk(b":\n");
    }
    // Before the last bytes: read behind them, the clock could be late, and the timeout seem short.
    let silent = Instant::now();
    stream.chunk(b"data: a\n\n");
    session.until_data("a")?;
    same_events(&session.events(), &[message("first", ""), message("a", "")])?;
    if context.has(Op) {
        session.until("an error after the timeout", ClientSession::is_over)?;
    }
    if context.has(R) {
        session.request()?;
    }
    let took = silent.elapsed().as_secs_f64() * 1e3;
    ensure(
        took >= READ_TIMEOUT_MS as f64 - 50.0,
        "not before the timeout",
        format!("{took:.0} ms"),
    )?;
    fact(format!("{took:.0} ms"))
}
