//! Percentiles of many values, as a report shows them.

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Percentiles of many values, nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Distribution {
    /// Values that it is of.
    #[schemars(range(min = 1))]
    pub n: u64,
    /// Half are faster.
    pub p50_ns: u64,
    /// 9 of 10 are faster.
    pub p90_ns: u64,
    /// 99 of 100 are faster.
    pub p99_ns: u64,
    /// 999 of 1000 are faster; only of 10⁵ values or more.
    pub p999_ns: Option<u64>,
    /// 9999 of 10 000 are faster; only of 10⁶ values or more.
    pub p9999_ns: Option<u64>,
    /// The slowest.
    pub max_ns: u64,
    /// The mean, never to be shown alone.
    pub mean_ns: f64,
    /// Quantiles and values for a chart, from the median up to where ten values are beyond; empty where none is
    /// drawn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<(f64, u64)>,
}

/// Values from which on the 99th percentile is a figure of a window: ten lie beyond it.
pub const P99_FROM: u64 = 1000;

/// Values from which on the 99.9th percentile is shown: a hundred lie beyond it.
const P999_FROM: u64 = 100_000;

/// Values from which on the 99.99th percentile is shown: a hundred lie beyond it.
const P9999_FROM: u64 = 1_000_000;

impl Distribution {
    /// Of a histogram; `None` if it is empty.
    pub fn of(histogram: &Histogram<u64>) -> Option<Distribution> {
        let n = histogram.len();
        let at = |quantile| histogram.value_at_quantile(quantile);
        (n > 0).then(|| Distribution {
            n,
            p50_ns: at(0.50),
            p90_ns: at(0.90),
            p99_ns: at(0.99),
            p999_ns: (n >= P999_FROM).then(|| at(0.999)),
            p9999_ns: (n >= P9999_FROM).then(|| at(0.9999)),
            max_ns: histogram.max(),
            mean_ns: histogram.mean(),
            curve: Vec::new(),
        })
    }

    /// The same, with the points of a chart, from the median on.
    pub fn with_curve(histogram: &Histogram<u64>) -> Option<Distribution> {
        let mut found = Distribution::of(histogram)?;
        let mut beyond: f64 = 0.5;
        while beyond * found.n as f64 >= 10.0 {
            found.curve.push((1.0 - beyond, histogram.value_at_quantile(1.0 - beyond)));
            beyond /= 1.5;
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_percentiles_need_many_values() {
        let mut histogram = crate::ledger::new_histogram();
        for (count, p999, p9999) in
            [(50_000, false, false), (100_000, true, false), (1_000_000, true, true)]
        {
            histogram.reset();
            histogram.record_n(1000, count).unwrap();
            let found = Distribution::of(&histogram).unwrap();
            assert_eq!((found.p999_ns.is_some(), found.p9999_ns.is_some()), (p999, p9999));
            assert_eq!((found.n, found.max_ns), (count, histogram.max()));
        }
        histogram.reset();
        histogram.record_n(1000, 1_000_000).unwrap();
        let curve = Distribution::with_curve(&histogram).unwrap().curve;
        assert!(curve.last().unwrap().0 <= 0.99999 && curve.len() > 20);
    }
}
