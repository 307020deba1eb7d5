//! `/simulation`: a market that every server computes alike.
//!
//! Each price is a pure function of the symbol and of n, the number of intervals since the epoch.
//! So all servers, of any framework on any machine, show the same values under the same ids, and
//! any id can be resumed anywhere.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use super::{ClockedIds, Source, SourcePoll};
use crate::clock::{MS, Now};
use crate::event::Event;
use crate::wire::Encoded;

/// Milliseconds between two price events: ten a second are enough for a chart.
pub const SIMULATION_INTERVAL_MS: u64 = 100;

const INTERVAL: u64 = SIMULATION_INTERVAL_MS * MS;

/// Name and mean price, in cents.
const SYMBOLS: [(&str, f64); 4] =
    [("ACME", 12_500.0), ("GLOBEX", 8_200.0), ("INITECH", 4_100.0), ("UMBRELLA", 21_000.0)];

/// Waves of a price: length in intervals, height as a part of the mean. Slow ones make the trend,
/// fast ones the noise.
const WAVES: [(u64, f64); 4] = [(6_000, 0.10), (900, 0.04), (120, 0.015), (15, 0.004)];

/// The newest event, encoded once for all streams that are up to date. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct LatestPrices(Arc<Mutex<Option<Prices>>>);

#[derive(Debug)]
struct Prices {
    n: u64,
    encoded: Arc<Encoded>,
}

impl LatestPrices {
    fn encoded(&self, n: u64, is_newest: bool) -> Arc<Encoded> {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(prices) = latest.as_ref().filter(|prices| prices.n == n) {
            return Arc::clone(&prices.encoded);
        }
        let encoded = Arc::new(Encoded::from(prices(n)));
        if is_newest {
            *latest = Some(Prices { n, encoded: Arc::clone(&encoded) });
        }
        encoded
    }
}

/// Prices of all symbols, ten times a second; the id is n.
#[derive(Debug)]
pub struct Simulation {
    ids: ClockedIds,
    latest: LatestPrices,
}

impl Simulation {
    /// From the current n on; after `last_event_id` first what came since then, at most `retain`
    /// events.
    pub fn new(
        latest: LatestPrices,
        last_event_id: Option<&str>,
        retain: u64,
        now: Now,
    ) -> Simulation {
        Simulation { ids: ClockedIds::new(INTERVAL, last_event_id, retain, 0, now), latest }
    }
}

impl Source for Simulation {
    fn poll(&mut self, now: Now) -> SourcePoll {
        match self.ids.poll(now) {
            Ok(n) => SourcePoll::Shared {
                encoded: self.latest.encoded(n, n == now.unix / INTERVAL),
                more: true,
            },
            Err(other) => other,
        }
    }
}

fn prices(n: u64) -> Event {
    let mut data = format!(r#"{{"n":{n},"prices":{{"#);
    for (at, (symbol, mean)) in SYMBOLS.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let cents = price(at as u64, *mean, n);
        write!(data, r#"{comma}"{symbol}":{}.{:02}"#, cents / 100, cents % 100)
            .expect("writing to a String does not fail");
    }
    data.push_str("}}");
    Event::data(data).with_event("prices").with_id(n)
}

/// The price of a symbol at n, in cents: smooth noise of several wave lengths. Only additions and
/// multiplications, which give the same bits on every machine; a sine need not.
fn price(symbol: u64, mean: f64, n: u64) -> u64 {
    let mut factor = 1.0;
    for (wave, (length, height)) in WAVES.iter().enumerate() {
        let (knot, at) = (n / length, (n % length) as f64 / *length as f64);
        let seed = symbol * WAVES.len() as u64 + wave as u64;
        let (from, to) = (noise(seed, knot), noise(seed, knot + 1));
        // Smoothstep: no kink where two knots meet.
        let ease = at * at * (3.0 - 2.0 * at);
        factor += height * (from + (to - from) * ease);
    }
    (mean * factor) as u64
}

/// A number in -1.0 ..= 1.0 that depends on nothing but its arguments (the finalizer of
/// SplitMix64).
fn noise(seed: u64, knot: u64) -> f64 {
    let mut z = knot.wrapping_add(seed << 48).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    (z >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 17_951_780_960;

    #[test]
    fn prices_depend_on_n_alone() {
        assert_eq!(prices(NOW), prices(NOW));
        assert_ne!(prices(NOW), prices(NOW + 1));
        let data = prices(NOW).data.expect("prices have data");
        let json: serde_json::Value = serde_json::from_str(&data).expect("prices are JSON");
        assert_eq!(json["n"], NOW);
        // Pinned: a change here makes servers of two versions disagree under the same id.
        let prices = r#"{"ACME":126.55,"GLOBEX":79.61,"INITECH":36.53,"UMBRELLA":202.95}"#;
        assert_eq!(data, format!(r#"{{"n":{NOW},"prices":{prices}}}"#));
    }

    #[test]
    fn prices_move_a_little_at_a_time_and_stay_positive() {
        for n in NOW..NOW + 20_000 {
            let (a, b) = (price(0, 12_500.0, n) as f64, price(0, 12_500.0, n + 1) as f64);
            assert!(a > 8_000.0 && (a - b).abs() < 30.0, "{n}: {a} {b}");
        }
    }

    #[test]
    fn the_first_comes_at_once_and_a_resumed_stream_has_no_hole() {
        let latest = LatestPrices::default();
        let now = Now::at(NOW * INTERVAL + 7);
        let ids = |last: Option<&str>| {
            let mut source = Simulation::new(latest.clone(), last, 10, now);
            let mut ids = Vec::new();
            while let SourcePoll::Shared { encoded, .. } = source.poll(now) {
                ids.push(encoded.event().id.expect("prices have ids"));
            }
            ids
        };
        assert_eq!(ids(None), [NOW.to_string()]);
        let last = (NOW - 2).to_string();
        assert_eq!(ids(Some(&last)), [(NOW - 1).to_string(), NOW.to_string()]);
    }

    #[test]
    fn streams_share_one_encoding_of_the_newest() {
        let latest = LatestPrices::default();
        let encoded = |n: u64| {
            let now = Now::at(n * INTERVAL);
            match Simulation::new(latest.clone(), None, 10, now).poll(now) {
                SourcePoll::Shared { encoded, .. } => encoded,
                other => panic!("not shared: {other:?}"),
            }
        };
        assert!(Arc::ptr_eq(&encoded(NOW), &encoded(NOW)));
        let an_hour_back = NOW - 36_000;
        assert!(Arc::ptr_eq(&encoded(an_hour_back), &encoded(an_hour_back)));
    }
}
