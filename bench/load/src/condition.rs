//! `--fail-if 'p99>50ms'`: a limit on one figure of a load run.

use std::fmt;
use std::str::FromStr;

use super::ledger::Outcome;

/// A limit on one figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    figure: Figure,
    above: bool,
    /// Nanoseconds for a time, a plain number otherwise.
    limit: f64,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Figure {
    Quantile(f64),
    Max,
    Mean,
    FirstEvent(f64),
    Rate,
    Errors,
    Events,
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Condition, String> {
        let advice = || {
            format!(
                "{text:?} is no condition; write a figure (p50 p90 p99 p99.9 max mean \
                 first-event rate errors events), < or >, and a limit: 'p99>50ms', 'rate<1000'"
            )
        };
        let (name, above, limit) = match (text.split_once('>'), text.split_once('<')) {
            (Some((name, limit)), None) => (name.trim(), true, limit.trim()),
            (None, Some((name, limit))) => (name.trim(), false, limit.trim()),
            _ => return Err(advice()),
        };
        let figure = match name {
            "max" => Figure::Max,
            "mean" => Figure::Mean,
            "first-event" => Figure::FirstEvent(0.99),
            "rate" => Figure::Rate,
            "errors" => Figure::Errors,
            "events" => Figure::Events,
            name => {
                let percent: f64 =
                    name.strip_prefix('p').and_then(|it| it.parse().ok()).ok_or_else(advice)?;
                if !(0.0..=100.0).contains(&percent) {
                    return Err(advice());
                }
                Figure::Quantile(percent / 100.0)
            }
        };
        let is_time = !matches!(figure, Figure::Rate | Figure::Errors | Figure::Events);
        let unit_at = limit.find(|it: char| it.is_ascii_alphabetic() || it == 'µ');
        let (number, unit) = limit.split_at(unit_at.unwrap_or(limit.len()));
        let factor = match (is_time, unit) {
            (true, "ns") | (false, "") => 1.0,
            (true, "us" | "µs") => 1e3,
            (true, "ms") => 1e6,
            (true, "s") => 1e9,
            _ => return Err(advice()),
        };
        let number: f64 = number.trim().parse().map_err(|_| advice())?;
        Ok(Condition { figure, above, limit: number * factor, text: text.into() })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Condition {
    /// Whether the run must fail by it. A latency that is not known fails: silence is no success.
    pub fn is_met(&self, outcome: &Outcome, seconds: f64) -> bool {
        let latency = &outcome.latency_ns;
        let time = |value: f64, known: bool| if known { Some(value) } else { None };
        let value = match self.figure {
            Figure::Quantile(at) => time(latency.value_at_quantile(at) as f64, !latency.is_empty()),
            Figure::Max => time(latency.max() as f64, !latency.is_empty()),
            Figure::Mean => time(latency.mean(), !latency.is_empty()),
            Figure::FirstEvent(at) => {
                let first = &outcome.first_event_ns;
                time(first.value_at_quantile(at) as f64, !first.is_empty())
            }
            Figure::Rate => Some(outcome.delivered as f64 / seconds),
            Figure::Errors => Some((outcome.not_up + outcome.early_closes) as f64),
            Figure::Events => Some(outcome.delivered as f64),
        };
        value.is_none_or(|it| if self.above { it > self.limit } else { it < self.limit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::tests::outcome;

    #[test]
    fn limits_are_compared_in_their_units() {
        let mut outcome = outcome();
        outcome.delivered = 500;
        for ns in [1_000_000, 2_000_000, 60_000_000] {
            outcome.latency_ns.record(ns).unwrap();
        }
        for (text, met) in [
            ("p99>50ms", true),
            ("p99 > 0.1s", false),
            ("p50>1500us", true),
            ("max<70ms", true),
            ("rate<100", true),
            ("rate<10", false),
            ("errors>0", false),
            ("events<501", true),
            // Never measured.
            ("first-event>1s", true),
        ] {
            let condition: Condition = text.parse().unwrap();
            assert_eq!(condition.is_met(&outcome, 10.0), met, "{text}");
        }
    }

    #[test]
    fn what_is_no_condition_is_answered_with_an_example() {
        for text in ["", "p99", "p99=5ms", "p99>5", "rate>5ms", "p101>5ms", "nope>1ms", "p99>xms"] {
            let error = text.parse::<Condition>().unwrap_err();
            assert!(error.contains("'p99>50ms'"), "{text}: {error}");
        }
    }
}
