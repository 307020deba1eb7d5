//! Category 8: time that grows faster than the bytes, and an error that comes back with each connection.

use std::time::{Duration, Instant};

use super::CASE;
use crate::client::Case;
use crate::client::context::{CaseContext, ClientSession, RETRY_MS};
use crate::client::driver::{Capability, Options};
use crate::client::reports::ClientReport;
use crate::expect::{ensure, fact, in_time, miss};
use crate::{Cost, Fault, Level, Outcome};

use Capability::{Lm, R};

const MIB: usize = 1024 * 1024;
/// The shorter line; the other one is twice as long.
const SHORT_MIB: usize = 4;
/// As much as a TCP segment of an Ethernet carries.
const SEGMENT_BYTES: usize = 1460;
/// Twice the bytes in twice the time is linear, in four times the time quadratic.
const MOST_TIMES: u32 = 3;
/// In half the longer time: one attempt is enough for what is so clearly less than that.
const SURELY_LINEAR: u32 = 5;
/// A line that takes less is fast enough, however the time grows.
const FAST: Duration = Duration::from_secs(1);
/// A client that takes longer for a line is not waited for.
const TOO_LONG: Duration = Duration::from_secs(60);
/// Attempts, of which the fastest counts.
const ATTEMPTS: usize = 3;
/// A process that used less CPU time for a line is not the one that read it.
const WORKED: Duration = Duration::from_millis(10);
/// The limit that a client is given.
const LIMIT_BYTES: usize = 1024;
/// How long a client meets the same event: ten times the reconnection time.
const AGAIN: Duration = Duration::from_millis(10 * RETRY_MS);
/// Requests in that time that come without a growing wait between them.
const LOOP: usize = 8;

pub(super) static CASES: &[Case] = &[
    Case {
        id: "C8.12",
        slug: "linear-megabytes",
        level: Level::Should,
        source: "practice: parsers that look again",
        cost: &[Cost::Alone],
        since: "2026-11-29",
        after: &["C1.01", "C2.01", "C8.01"],
        claim: "A line of 8 MiB takes no more than three times as long as one of 4 MiB.",
        sends: "A line of 4 MiB and one of 8 MiB, in segments of 1460 bytes.",
        fix: "Neither copy nor search again what came before; join the pieces of a line at its end.",
        run: linear,
        ..CASE
    },
    Case {
        id: "C8.13",
        slug: "too-long-again",
        level: Level::Should,
        source: "practice: limits",
        needs: &[Lm, R],
        cost: &[Cost::Timed],
        since: "2026-11-29",
        after: &["C1.01", "C2.01", "C6.01", "C8.04"],
        claim: "An event past the limit on each connection ends the client, or is asked for ever more slowly.",
        sends: "An event of 1025 bytes on each connection, the limit being 1024.",
        fix: "Take an event past the limit for a failure that stays, or wait longer each time.",
        run: too_long_again,
        ..CASE
    },
];

fn linear(context: &CaseContext) -> Outcome {
    let (mut short, mut long) = (Duration::MAX, Duration::MAX);
    for _ in 0..ATTEMPTS {
        short = short.min(line_of(context, SHORT_MIB)?);
        long = long.min(line_of(context, 2 * SHORT_MIB)?);
        if long * 2 <= short * SURELY_LINEAR || long <= FAST {
            break;
        }
    }
    let words = format!("{short:.1?} for {SHORT_MIB} MiB, {long:.1?} for {} MiB", 2 * SHORT_MIB);
    if long > FAST {
        let expected = format!("at most {MOST_TIMES} times as long for twice the bytes");
        in_time(long, short * MOST_TIMES, expected, &words)?;
    }
    fact(words)
}

/// The time that a client works on one line of this many MiB.
fn line_of(context: &CaseContext, mib: usize) -> Result<Duration, Fault> {
    let (mut session, mut stream) = context.asked()?;
    stream.open();
    session.until_reading(&mut stream)?;
    let text = format!("data: {}\n\n", "x".repeat(mib * MIB));
    let (began, cpu) = (Instant::now(), session.client.cpu());
    for piece in text.as_bytes().chunks(SEGMENT_BYTES) {
        stream.chunk(piece);
        if stream.is_broken() || began.elapsed() > TOO_LONG {
            break;
        }
    }
    let left = context.scaled(TOO_LONG).saturating_sub(began.elapsed());
    let what = format!("an event of {mib} MiB within {TOO_LONG:?}");
    let seen = session.until_within(left, &what, |report| {
        matches!(report, ClientReport::Event(_)) || ClientSession::is_over(report)
    })?;
    match seen.report {
        ClientReport::Event(it) if it.data.len() == mib * MIB => {}
        // The limit of a client is no matter of time.
        report => {
            let words = format!("no line of {mib} MiB arrives, see C8.01: {}", report.shown());
            return Err(Fault::Skip(words));
        }
    }
    let took = began.elapsed();
    Ok(worked(&session, cpu).unwrap_or(took))
}

/// The CPU time that a client has used since it had used this much, where it is the client's own: other
/// processes do not lengthen it.
pub(super) fn worked(session: &ClientSession<'_>, before: Option<Duration>) -> Option<Duration> {
    let used = session.client.cpu()?.saturating_sub(before?);
    (used > WORKED).then_some(used)
}

fn too_long_again(context: &CaseContext) -> Outcome {
    let options = Options {
        max_event_bytes: Some(LIMIT_BYTES as u64),
        initial_delay_ms: Some(RETRY_MS),
        ..Options::default()
    };
    let (mut session, mut stream) = context.asked_with(&options)?;
    let text = format!("retry: {RETRY_MS}\ndata: {}\n\n", "e".repeat(LIMIT_BYTES + 1));
    let length = context.scaled(AGAIN);
    context.log().watched(length);
    stream.open();
    stream.chunk(text.as_bytes());
    let began = Instant::now();
    // The connections stay open, so a client asks again because of the event.
    let mut streams = vec![stream];
    while let Some(left) = length.checked_sub(began.elapsed()) {
        match session.request_within(left) {
            Ok(mut again) => {
                again.open();
                again.chunk(text.as_bytes());
                streams.push(again);
            }
            Err(Fault::Miss { .. }) => break,
            Err(fault) => return Err(fault),
        }
    }
    if let Some(how) = &session.client.ended {
        return Err(miss("an error, or another request", format!("it ended: {how}")));
    }
    let words = format!("{} requests in {length:?}", streams.len());
    ensure(streams.len() < LOOP, "an end, or waits that grow", &words)?;
    fact(words)
}
