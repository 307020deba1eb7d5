//! The statistics that a report needs: medians over rounds, intervals of ratios, slopes, orders.

mod distribution;
pub mod hlog;
mod interval;
mod noise;
mod order;
mod trend;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use distribution::{Distribution, P99_FROM};
pub use interval::{CONFIDENCE, EQUIVALENT, Method, Ratio, Verdict};
pub use noise::Noise;
pub use order::balanced;
pub use trend::{BLOCKS, Trend};

/// A value over several rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Spread {
    /// The middle one; of an even count, the mean of the middle two.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// How many.
    #[schemars(range(min = 1))]
    pub n: usize,
}

impl Spread {
    /// Median and range of `values`; `None` if there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Spread { median, min, max, n: values.len() })
    }
}

/// A straight line through points, by least squares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slope {
    /// By how much y rises when x rises by one.
    pub per_x: f64,
    /// The share of y's variance that the line explains, 0 to 1.
    pub r_squared: f64,
}

impl Slope {
    /// The line through `points`; `None` if they have fewer than two different x.
    pub fn of(points: &[(f64, f64)]) -> Option<Slope> {
        let n = points.len() as f64;
        let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / n;
        let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / n;
        let sum = |of: fn(f64, f64) -> f64| -> f64 {
            points.iter().map(|(x, y)| of(x - mean_x, y - mean_y)).sum()
        };
        let (xx, xy, yy) = (sum(|x, _| x * x), sum(|x, y| x * y), sum(|_, y| y * y));
        if points.is_empty() || xx == 0.0 {
            return None;
        }
        let r_squared = if yy == 0.0 { 1.0 } else { xy * xy / (xx * yy) };
        Some(Slope { per_x: xy / xx, r_squared })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_whatever_the_order() {
        let spread = Spread::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!(spread, Spread { median: 2.0, min: 1.0, max: 3.0, n: 3 });
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn a_line_is_found_again() {
        let points: Vec<_> = [0.0, 250.0, 500.0, 1000.0].map(|x| (x, 12.5 * x + 7.0)).into();
        let slope = Slope::of(&points).unwrap();
        assert!((slope.per_x - 12.5).abs() < 1e-9 && (slope.r_squared - 1.0).abs() < 1e-9);
        let bent = Slope::of(&[(0.0, 0.0), (1.0, 1.0), (2.0, 0.0)]).unwrap();
        assert!(bent.per_x.abs() < 1e-9 && bent.r_squared < 1e-9);
        assert_eq!(Slope::of(&[(1.0, 2.0), (1.0, 3.0)]), None);
        assert_eq!(Slope::of(&[]), None);
    }
}
