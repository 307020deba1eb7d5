//! `--fail-if 'p99>50ms'`: a limit on one figure of a load run.

use std::fmt;
use std::str::FromStr;

use hdrhistogram::Histogram;

use super::ledger::Outcome;
use super::waits::Wait;

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
    /// Of the latencies by stamps, or of a wait.
    Time(Option<Wait>, Statistic),
    Rate,
    Errors,
    Events,
    Stalls,
    /// Good streams of all, in percent.
    GoodPercent,
    /// Good streams a second.
    GoodRate,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Statistic {
    Quantile(f64),
    Max,
    Mean,
}

impl Statistic {
    fn named(name: &str) -> Option<Statistic> {
        match name {
            "max" => return Some(Statistic::Max),
            "mean" => return Some(Statistic::Mean),
            _ => {}
        }
        let percent: f64 = name.strip_prefix('p')?.parse().ok()?;
        (0.0..=100.0).contains(&percent).then_some(Statistic::Quantile(percent / 100.0))
    }

    fn of(self, times: &Histogram<u64>) -> Option<f64> {
        (!times.is_empty()).then(|| match self {
            Statistic::Quantile(at) => times.value_at_quantile(at) as f64,
            Statistic::Max => times.max() as f64,
            Statistic::Mean => times.mean(),
        })
    }
}

/// A time as a number with a unit: `50ms`, `1.5s`; in nanoseconds.
pub(super) fn nanoseconds(text: &str) -> Option<f64> {
    let unit_at = text.find(|it: char| it.is_ascii_alphabetic() || it == 'µ')?;
    let (number, unit) = text.split_at(unit_at);
    let factor = match unit {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return None,
    };
    let number: f64 = number.trim().parse().ok()?;
    (number >= 0.0).then_some(number * factor)
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Condition, String> {
        let advice = || {
            format!(
                "{text:?} is no condition; write a figure (p50 p90 p99 p99.9 max mean rate events \
                 errors stalls goodput headers first-event second-event gap mean-gap duration), < \
                 or >, and a limit: 'p99>50ms', 'rate<1000', 'gap-max>1s', 'goodput<95%'"
            )
        };
        let (name, above, limit) = match (text.split_once('>'), text.split_once('<')) {
            (Some((name, limit)), None) => (name.trim(), true, limit.trim()),
            (None, Some((name, limit))) => (name.trim(), false, limit.trim()),
            _ => return Err(advice()),
        };
        let percent = limit.strip_suffix('%');
        let figure = match name {
            "rate" => Figure::Rate,
            "errors" => Figure::Errors,
            "events" => Figure::Events,
            "stalls" => Figure::Stalls,
            "goodput" if percent.is_some() => Figure::GoodPercent,
            "goodput" => Figure::GoodRate,
            name => time(name).ok_or_else(advice)?,
        };
        let limit = match (figure, percent) {
            (Figure::Time(..), _) => nanoseconds(limit),
            (Figure::GoodPercent, Some(percent)) => percent.trim().parse().ok(),
            _ => limit.parse().ok(),
        };
        let limit = limit.ok_or_else(advice)?;
        Ok(Condition { figure, above, limit, text: text.into() })
    }
}

/// `p99` is one of the latencies by stamps; `gap` of all gaps is their p99, `gap-max` the longest.
fn time(name: &str) -> Option<Figure> {
    if let Some(statistic) = Statistic::named(name) {
        return Some(Figure::Time(None, statistic));
    }
    if let Some(wait) = Wait::named(name) {
        return Some(Figure::Time(Some(wait), Statistic::Quantile(0.99)));
    }
    let (wait, statistic) = name.rsplit_once('-')?;
    Some(Figure::Time(Some(Wait::named(wait)?), Statistic::named(statistic)?))
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Condition {
    /// Whether it is about the limits of `--slo`.
    pub fn is_of_goodput(&self) -> bool {
        matches!(self.figure, Figure::GoodPercent | Figure::GoodRate)
    }

    /// Whether it is about `--stall`.
    pub fn is_of_stalls(&self) -> bool {
        self.figure == Figure::Stalls
    }

    /// Whether the run must fail by it. A time that is not known fails: silence is no success.
    pub fn is_met(&self, outcome: &Outcome, seconds: f64) -> bool {
        let waits = &outcome.waits;
        let value = match self.figure {
            Figure::Time(wait, statistic) => statistic.of(match wait {
                None => &outcome.latency_ns,
                Some(Wait::Headers) => &outcome.headers_ns,
                Some(Wait::FirstEvent) => &outcome.first_event_ns,
                Some(Wait::SecondEvent) => &waits.second_event_ns,
                Some(Wait::Gap) => &waits.gap_ns,
                Some(Wait::MeanGap) => &waits.mean_gap_ns,
                Some(Wait::Duration) => &waits.duration_ns,
            }),
            Figure::Rate => Some(outcome.delivered as f64 / seconds),
            Figure::Errors => Some(outcome.errors() as f64),
            Figure::Events => Some(outcome.delivered as f64),
            Figure::Stalls => Some(waits.stalls as f64),
            Figure::GoodPercent => waits.good_share().map(|it| it * 100.0),
            Figure::GoodRate => Some(waits.good as f64 / seconds),
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
            outcome.waits.gap_ns.record(ns / 2 + 10_000_000).unwrap();
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
            ("gap>30ms", true),
            ("gap-p50>30ms", false),
            ("gap-max<50ms", true),
            ("stalls>0", false),
            // Never measured.
            ("first-event>1s", true),
            ("first-event-max>1s", true),
            ("goodput<1%", true),
        ] {
            let condition: Condition = text.parse().unwrap();
            assert_eq!(condition.is_met(&outcome, 10.0), met, "{text}");
        }
    }

    #[test]
    fn what_is_no_condition_is_answered_with_an_example() {
        for text in [
            "", "p99", "p99=5ms", "p99>5", "rate>5ms", "p101>5ms", "nope>1ms", "p99>xms",
            "gap-x>1s", "gap>5%", "gap>-1s", "rate<5%",
        ] {
            let error = text.parse::<Condition>().unwrap_err();
            assert!(error.contains("'p99>50ms'"), "{text}: {error}");
        }
    }
}
