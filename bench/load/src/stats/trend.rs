//! How fast a reading grows, where neighbouring readings resemble each other.
//!
//! A hundred readings of one state are not a hundred facts: an interval from them would be ten times too narrow. So the
//! readings become [`BLOCKS`] means, the line goes through these, and Student's t has the degrees of freedom that the
//! correlation of neighbouring means leaves.

use super::Slope;
use super::interval::t_quantile;

/// Means that the line goes through.
pub const BLOCKS: usize = 20;

/// The degrees of freedom that a line leaves at the least.
const LEAST_FREEDOM: f64 = 2.0;

/// The slope of readings, with its interval.
#[derive(Debug, Clone, PartialEq)]
pub struct Trend {
    /// By how much y rises when x rises by one.
    pub per_x: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// The mean of y.
    pub mean: f64,
    /// The means of x and y of each block.
    pub blocks: Vec<(f64, f64)>,
}

impl Trend {
    /// The trend of `points`, in the order of x; `None` if they are too few for [`BLOCKS`].
    pub fn of(points: &[(f64, f64)], confidence: f64) -> Option<Trend> {
        if points.len() < BLOCKS {
            return None;
        }
        let at = |block: usize| block * points.len() / BLOCKS;
        let blocks: Vec<_> =
            (0..BLOCKS).map(|block| centre(&points[at(block)..at(block + 1)])).collect();
        let slope = Slope::of(&blocks)?.per_x;
        let (mean_x, mean) = centre(&blocks);
        let rest: Vec<f64> = blocks.iter().map(|(x, y)| y - mean - slope * (x - mean_x)).collect();
        let squares: f64 = rest.iter().map(|it| it * it).sum();
        let xx: f64 = blocks.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
        let n = BLOCKS as f64;
        let likeness = likeness(&rest, squares);
        // Of an autoregressive process of the first order.
        let wider = (1.0 + likeness) / (1.0 - likeness);
        let deviation = (squares / (n - 2.0) / xx * wider).sqrt();
        let freedom = (n / wider - 2.0).max(LEAST_FREEDOM);
        let half = t_quantile(f64::midpoint(1.0, confidence), freedom) * deviation;
        Some(Trend { per_x: slope, low: slope - half, high: slope + half, mean, blocks })
    }
}

fn centre(points: &[(f64, f64)]) -> (f64, f64) {
    let n = points.len() as f64;
    (points.iter().map(|it| it.0).sum::<f64>() / n, points.iter().map(|it| it.1).sum::<f64>() / n)
}

/// The correlation of what the line leaves at neighbouring blocks, 0 to 0.9.
///
/// A line takes some of it away: of independent means about 2/n is found too little.
fn likeness(rest: &[f64], squares: f64) -> f64 {
    if squares == 0.0 {
        return 0.0;
    }
    let products: f64 = rest.windows(2).map(|it| it[0] * it[1]).sum();
    (products / squares + 2.0 / rest.len() as f64).clamp(0.0, 0.9)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Readings of an hour with this slope, and noise of which each value has a share of the one before.
    fn readings(random: &mut fastrand::Rng, slope: f64, share: f64) -> Vec<(f64, f64)> {
        let mut noise = 0.0;
        let mut next = || {
            // The sum of twelve uniform numbers is as good as normal here.
            noise = share * noise + (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
            noise
        };
        (0..1000).map(|it| f64::from(it) / 1000.0).map(|x| (x, 50.0 + slope * x + next())).collect()
    }

    /// The interval covers the truth about as often as it says, with a planted slope and with noise alone.
    #[test]
    fn intervals_cover_the_truth_as_often_as_they_say() {
        let mut random = fastrand::Rng::with_seed(3);
        for (slope, share) in [(0.0, 0.0), (0.0, 0.9), (5.0, 0.9), (-2.0, 0.97)] {
            let covers = |_: &usize| {
                let trend = Trend::of(&readings(&mut random, slope, share), 0.95).unwrap();
                trend.low <= slope && slope <= trend.high
            };
            let covered = (0..600).filter(covers).count();
            assert!((552..=594).contains(&covered), "{slope}, {share}: {covered} of 600");
        }
    }

    #[test]
    fn a_slope_above_its_noise_is_found_and_noise_alone_is_none() {
        let mut random = fastrand::Rng::with_seed(4);
        let grows = Trend::of(&readings(&mut random, 5.0, 0.5), 0.95).unwrap();
        assert!(grows.low > 4.0 && grows.high < 6.0, "{grows:?}");
        let flat = Trend::of(&readings(&mut random, 0.0, 0.5), 0.95).unwrap();
        assert!(flat.low < 0.0 && flat.high > 0.0 && flat.high < 1.0, "{flat:?}");
        assert!((flat.mean - 50.0).abs() < 0.5);
    }

    #[test]
    fn what_never_changes_has_no_width_and_few_readings_have_no_trend() {
        let same: Vec<_> = (0..40).map(|x| (f64::from(x), 7.0)).collect();
        let trend = Trend::of(&same, 0.95).unwrap();
        assert_eq!((trend.per_x, trend.low, trend.high, trend.mean), (0.0, 0.0, 0.0, 7.0));
        assert_eq!(Trend::of(&same[21..], 0.95), None);
    }
}
