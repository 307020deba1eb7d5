//! SIGTERM with many streams: each ends whole, and the process exits 0 in time.

use std::time::{Duration, Instant};

use conform::host::{self, Watch};
use serde_json::json;

use super::target::broken;
use super::{Failure, Figures, Outcome, Size, Target};

/// From the signal to the exit, as the contract says.
const LIMIT: Duration = Duration::from_secs(2);

/// The delays of the host in a row that explain a late exit.
const DELAYS: u32 = 20;

/// Servers cut what is left shortly before the limit; one that ends sooner than this was not pressed for time.
const UNPRESSED: Duration = Duration::from_secs(1);

/// The attempts while the host is busy.
const ATTEMPTS: usize = 3;

/// Streams with some events, with few, with none, and with one source for all.
const TARGETS: [&str; 4] =
    ["/ticks?interval_ms=60000", "/ticks?interval_ms=1000", "/messages/room", "/simulation"];

pub(super) fn promise(size: &Size) -> String {
    format!("{} streams end whole, each with a retry line; exit 0 within 2 s", size.ending)
}

pub(super) fn run(target: &Target) -> Outcome {
    let mut outcome = attempt(target);
    for _ in 1..ATTEMPTS {
        if !matches!(outcome, Err(Failure::NotJudged(_))) {
            break;
        }
        outcome = attempt(target);
    }
    outcome
}

fn attempt(target: &Target) -> Outcome {
    let count = target.size.ending;
    let running = target.start(&[])?;
    let mut streams = Vec::with_capacity(count);
    for (number, path) in (1..=count).zip(TARGETS.iter().cycle()) {
        let place = format!("stream {number}");
        streams.push(running.open(path).map_err(|error| Failure::from(error).at(&place))?);
    }
    let watch = Watch::start();
    let asked = Instant::now();
    let stopped = running.server.stop();
    let took = asked.elapsed();
    let host_late = host::worst_since(asked);
    drop(watch);
    if took > LIMIT {
        let words = match &stopped {
            Ok(_) => format!("exit after {} ms", took.as_millis()),
            Err(error) => format!("{error:#}"),
        };
        let is_explained = host_late > host::IN_TIME && took <= LIMIT + host_late * DELAYS;
        return Err(finding(words, is_explained, host_late));
    }
    let stopped = stopped.map_err(|error| broken(format!("{error:#}")))?;
    for (number, stream) in (1..).zip(&mut streams) {
        let end = stream.read_to_end();
        end.map_err(|error| {
            let words = format!("stream {number} does not end whole: {error}");
            // A host that gives the server no core has it run out of time for its last chunks.
            finding(words, host_late > host::IN_TIME && took > UNPRESSED, host_late)
        })?;
        if stream.retries().len() != 1 {
            let retries = stream.retries();
            return Err(broken(format!("stream {number} got {retries:?} for its retry line")));
        }
    }
    if !stopped.status.success() {
        return Err(broken(format!("the process ended: {}", stopped.status)));
    }
    Ok(Figures {
        headline: format!("exit after {} ms", took.as_millis()),
        all: json!({ "streams": count, "exit_ms": took.as_millis() as u64 }),
    })
}

/// A broken promise, unless the host explains it.
fn finding(words: String, is_explained: bool, host_late: Duration) -> Failure {
    if !is_explained {
        return broken(words);
    }
    let late = host_late.as_millis();
    Failure::NotJudged(format!("{words}, on a host that was late by {late} ms itself"))
}
