//! Category 6: one end of a stream, one new request; and streams that end again and again.

use std::time::{Duration, Instant};

use super::{CASE, RECONNECTED};
use crate::client::Case;
use crate::client::context::{CaseContext, RETRY_MS, message, same_events};
use crate::client::driver::Capability;
use crate::client::reports::{ClientReport, TimedReport};
use crate::expect::{ensure, fact, miss, pass};
use crate::{Cost, Level, Outcome};

use Capability::{Op, R};

/// How long a second request for the same end is waited for: five times the reconnection time.
const SECOND: Duration = Duration::from_millis(5 * RETRY_MS);
/// How long streams that end at once are served.
const EMPTY: Duration = Duration::from_secs(3);
/// The part of it that counts: a client that waits longer each time does so by then.
const AT_LAST: Duration = Duration::from_secs(1);
/// The most requests in that part; twice a second is what browsers with a least wait come to.
const NO_LOOP: usize = 10;
/// More requests than that are a loop, whenever they came.
const LOOP: usize = 300;

pub(super) static CASES: &[Case] = &[
    Case {
        id: "C6.26",
        slug: "one-request",
        level: Level::Must,
        source: "HTML 9.2.3",
        needs: &[R],
        since: "2026-11-29",
        after: RECONNECTED,
        claim: "For one end of a stream there is one new request, and each event comes once.",
        sends: "Half a chunk and RST; the last chunk and FIN at once; then a stream that stays.",
        fix: "Begin one wait for each connection: a cut gives an error and an end, which are one.",
        run: |context| {
            let ends = [("half a chunk and RST", true), ("the last chunk and FIN", false)];
            context.each(&ends, |(what, is_cut)| {
                let (mut session, mut stream) = context.asked()?;
                stream.note(what);
                stream.open();
                stream.chunk(format!("retry: {RETRY_MS}\ndata: a\n\n").as_bytes());
                if *is_cut {
                    session.until_data("a")?;
                    stream.segment(b"1f\r\ndata: h");
                    stream.reset();
                } else {
                    stream.end();
                    stream.close();
                }
                let mut again = session.request()?;
                again.open();
                again.chunk(b"data: b\n\n");
                session.no_request(context.scaled(SECOND))?;
                let events = session.events_to_mark(&mut again)?;
                let same = same_events(&events, &[message("a", ""), message("b", "")]);
                same.map_err(|fault| fault.within("", &format!("{what}: ")))
            })?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C6.27",
        slug: "empty-streams",
        level: Level::Should,
        source: "practice: servers that end at once; HTML 9.2.3 allows longer waits",
        needs: &[R],
        cost: &[Cost::Timed],
        since: "2026-11-29",
        after: &["C1.01", "C2.01", "C6.01", "C3.04"],
        claim: "Streams that end at once and empty are no tight loop, though retry is 0.",
        sends: "retry: 0 and the end, again and again for three seconds.",
        fix: "Wait longer after each stream that ended without an event, or never less than half a \
              second.",
        run: empty_streams,
        ..CASE
    },
    Case {
        id: "C6.28",
        slug: "end-is-error",
        level: Level::Must,
        source: "HTML 9.2.3",
        needs: &[R, Op],
        since: "2026-11-29",
        after: RECONNECTED,
        claim: "The end of the body is reported as an error before the stream is open again.",
        sends: "A body that ends with the last chunk, and the next stream.",
        fix: "Fire error when the connection is to be reestablished, with readyState 0.",
        run: |context| {
            let (mut session, mut stream) = context.asked()?;
            stream.stream(format!("retry: {RETRY_MS}\ndata: a\n\n").as_bytes());
            let mut again = session.request()?;
            again.open();
            again.chunk(b"data: b\n\n");
            session.until_data("b")?;
            let is_open = |it: &TimedReport| it.report == ClientReport::Open;
            let is_error = |it: &TimedReport| matches!(it.report, ClientReport::Error { .. });
            let opened = session.reports.iter().filter(|it| is_open(it)).count();
            // Without a second `open`, which is another case's claim, it is the second event that counts.
            let again = session.reports.iter().rposition(is_open).filter(|_| opened > 1);
            let before = &session.reports[..again.unwrap_or(session.reports.len())];
            let is_told = before.iter().any(is_error);
            ensure(is_told, "an error before the stream is open again", session.reported())?;
            pass()
        },
        ..CASE
    },
];

fn empty_streams(context: &CaseContext) -> Outcome {
    let (mut session, mut stream) = context.asked()?;
    let (length, at_last) = (context.scaled(EMPTY), context.scaled(AT_LAST));
    context.log().watched(at_last);
    stream.stream(b"retry: 0\n\n");
    drop(stream);
    let began = Instant::now();
    let mut times = Vec::new();
    while let Some(left) = length.checked_sub(began.elapsed()) {
        let Ok(mut again) = session.request_within(left) else { break };
        times.push(began.elapsed());
        again.stream(b"retry: 0\n\n");
        ensure(
            times.len() < LOOP,
            "waits between requests",
            format!("{LOOP} requests in {:?}", began.elapsed()),
        )?;
    }
    if let Some(how) = &session.client.ended {
        return Err(miss("a client that goes on", format!("it ended: {how}")));
    }
    let late = times.iter().filter(|it| **it > length - at_last).count();
    let words =
        format!("{} requests in {length:?}, {late} of them in the last {at_last:?}", times.len());
    ensure(late <= NO_LOOP, format!("at most {NO_LOOP} requests in the last {at_last:?}"), &words)?;
    fact(words)
}
