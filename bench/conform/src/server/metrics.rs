//! `GET /metrics`: what a server holds open.

use std::fmt;
use std::time::Duration;

use super::expect::{eventually, miss};
use super::{Fault, Target};

/// Streams and their sources, by the server's own count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) open_streams: u64,
    pub(super) producers: u64,
}

impl Held {
    pub(super) fn by(target: &Target) -> Result<Held, Fault> {
        Ok(Held {
            open_streams: metric(target, "sse_open_streams")?,
            producers: metric(target, "sse_producers")?,
        })
    }

    /// Waits until at least this many streams are open, and says what will be left without them.
    ///
    /// Streams of earlier cases may still be on their way out, so nothing is counted before.
    pub(super) fn beside(streams: usize, target: &Target) -> Result<Held, Fault> {
        let streams = streams as u64;
        eventually(target.patience(), || {
            let held = Held::by(target)?;
            let are_counted = held.open_streams >= streams && held.producers >= streams;
            let rest = Held {
                open_streams: held.open_streams.saturating_sub(streams),
                producers: held.producers.saturating_sub(streams),
            };
            let expected = format!("{streams} streams and producers in /metrics");
            Ok(if are_counted { Ok(rest) } else { Err(miss(expected, held.to_string())) })
        })
    }

    /// Waits until no more is held than this.
    pub(super) fn comes_back(self, target: &Target, within: Duration) -> Result<(), Fault> {
        eventually(within, || {
            let held = Held::by(target)?;
            let is_back =
                held.open_streams <= self.open_streams && held.producers <= self.producers;
            let text =
                |it: Held| format!("{} streams, {} producers", it.open_streams, it.producers);
            let expected = format!("{} within {} ms", text(self), within.as_millis());
            Ok(if is_back { Ok(()) } else { Err(miss(expected, text(held))) })
        })
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} streams, {} producers", self.open_streams, self.producers)
    }
}

/// The value of one metric without labels.
pub(super) fn metric(target: &Target, name: &str) -> Result<u64, Fault> {
    let (head, body) = target.answer(&target.request("GET", "/metrics"))?;
    let text = String::from_utf8_lossy(&body);
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = value.and_then(|value| value.trim().parse().ok());
    value.ok_or_else(|| miss(format!("a line {name} in /metrics"), head.summary()))
}
