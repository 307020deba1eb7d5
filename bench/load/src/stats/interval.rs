//! Intervals over rounds: how far a ratio can be believed.
//!
//! A ratio is taken within a round, its logarithm averaged over the rounds. From [`BCA_ROUNDS`]
//! rounds on the interval is a bias-corrected and accelerated bootstrap (Efron 1987); with fewer
//! rounds a bootstrap cannot leave the range of what it saw (three rounds cover their median three
//! times in four at the most), so Student's t on the logarithms stands in, with the [`Noise`] of all
//! servers where that is known.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

use super::Noise;

/// Rounds from which on the bootstrap is used.
pub const BCA_ROUNDS: usize = 8;

/// Resamples of a bootstrap: the 2.5 % ends move by less than 2 % of the interval's width.
const RESAMPLES: usize = 4000;

/// The seed of every bootstrap, so that a report rendered again says the same.
const SEED: u64 = 0x5353_4542;

/// The confidence of every interval that does not say otherwise.
pub const CONFIDENCE: f64 = 0.95;

/// A ratio with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ratio {
    /// The geometric mean over the rounds.
    pub estimate: f64,
    /// The lower end of the interval; equal to the estimate with one round.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// Rounds.
    #[schemars(range(min = 1))]
    pub n: usize,
    /// How the interval was made.
    pub method: Method,
}

/// How an interval was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// One round: there is no interval.
    None,
    /// Student's t on logarithms.
    StudentT,
    /// Student's t on logarithms, with the noise of all servers in the same rounds.
    BlockT,
    /// Bias-corrected and accelerated bootstrap.
    Bca,
}

/// The judgement of a ratio when lower is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The whole interval is below 1, and not equivalent.
    Better,
    /// The whole interval is above 1, and not equivalent.
    Worse,
    /// The whole interval is within ±5 % of 1.
    Equivalent,
    /// The interval allows for more than one of these.
    Inconclusive,
}

/// Half the width of the band in which a difference does not matter.
pub const EQUIVALENT: f64 = 0.05;

impl Ratio {
    /// Of ratios, one for each round; `None` without a positive one.
    pub fn of(ratios: impl IntoIterator<Item = f64>, confidence: f64) -> Option<Ratio> {
        let usable = |it: &f64| it.is_finite() && *it > 0.0;
        let logs: Vec<f64> = ratios.into_iter().filter(usable).map(f64::ln).collect();
        let n = logs.len();
        if n == 0 {
            return None;
        }
        let centre = mean(&logs);
        let (low, high, method) = match n {
            1 => (centre, centre, Method::None),
            2..BCA_ROUNDS => {
                let (low, high) = student(&logs, confidence);
                (low, high, Method::StudentT)
            }
            _ => {
                let (low, high) = bca(&logs, mean, widened(confidence, n));
                (low, high, Method::Bca)
            }
        };
        Some(Ratio { estimate: centre.exp(), low: low.exp(), high: high.exp(), n, method })
    }

    /// As [`of`](Self::of), but with few rounds the noise of one window is not taken from these
    /// alone.
    pub fn within(ratios: &[f64], noise: Option<Noise>, confidence: f64) -> Option<Ratio> {
        let ratio = Ratio::of(ratios.iter().copied(), confidence)?;
        let (Method::StudentT, Some(noise)) = (ratio.method, noise) else { return Some(ratio) };
        // The floor beside itself.
        if ratio.low == ratio.high {
            return Some(ratio);
        }
        // The difference of two means, each of this many windows.
        let deviation = noise.deviation * (2.0 / ratio.n as f64).sqrt();
        let half = t_quantile(f64::midpoint(1.0, confidence), noise.freedom) * deviation;
        let (low, high) = (ratio.estimate / half.exp(), ratio.estimate * half.exp());
        Some(Ratio { low, high, method: Method::BlockT, ..ratio })
    }

    /// Whether 1, no difference, is within the interval.
    pub fn contains_one(&self) -> bool {
        self.low <= 1.0 && 1.0 <= self.high
    }

    /// The judgement when lower is better. One round is inconclusive.
    pub fn verdict(&self) -> Verdict {
        if self.method == Method::None {
            return Verdict::Inconclusive;
        }
        if self.low >= 1.0 - EQUIVALENT && self.high <= 1.0 + EQUIVALENT {
            return Verdict::Equivalent;
        }
        match (self.high < 1.0, self.low > 1.0) {
            (true, _) => Verdict::Better,
            (_, true) => Verdict::Worse,
            _ => Verdict::Inconclusive,
        }
    }

    /// The same comparison the other way round, for what is better when it is higher.
    pub fn inverted(self) -> Ratio {
        Ratio { estimate: 1.0 / self.estimate, low: 1.0 / self.high, high: 1.0 / self.low, ..self }
    }

    /// The ratio of two independent ratios, from their own values: `of` over `to`.
    ///
    /// The rounds of two runs are no pairs, so the spreads add up.
    pub fn between(of: &[f64], to: &[f64], confidence: f64) -> Option<Ratio> {
        let logs = |values: &[f64]| -> Vec<f64> {
            values.iter().filter(|it| it.is_finite() && **it > 0.0).map(|it| it.ln()).collect()
        };
        let (of, to) = (logs(of), logs(to));
        let n = of.len().min(to.len());
        if n == 0 {
            return None;
        }
        let centre = mean(&of) - mean(&to);
        if n == 1 {
            let estimate = centre.exp();
            return Some(Ratio {
                estimate,
                low: estimate,
                high: estimate,
                n,
                method: Method::None,
            });
        }
        // Welch's interval, its degrees of freedom rounded down.
        let share = |it: &[f64]| variance(it) / it.len() as f64;
        let (a, b) = (share(&of), share(&to));
        let freedom = if a + b == 0.0 {
            1.0
        } else {
            (a + b).powi(2) / (a * a / (of.len() - 1) as f64 + b * b / (to.len() - 1) as f64)
        };
        let half =
            t_quantile(f64::midpoint(1.0, confidence), freedom.floor().max(1.0)) * (a + b).sqrt();
        let (low, high) = ((centre - half).exp(), (centre + half).exp());
        Some(Ratio { estimate: centre.exp(), low, high, n, method: Method::StudentT })
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The unbiased one.
fn variance(values: &[f64]) -> f64 {
    let centre = mean(values);
    values.iter().map(|it| (it - centre).powi(2)).sum::<f64>() / (values.len() - 1) as f64
}

fn student(values: &[f64], confidence: f64) -> (f64, f64) {
    let (centre, n) = (mean(values), values.len() as f64);
    let half = t_quantile(f64::midpoint(1.0, confidence), n - 1.0) * (variance(values) / n).sqrt();
    (centre - half, centre + half)
}

/// The confidence to ask a bootstrap of `n` values for, so that it covers what it says.
///
/// It knows neither that the spread itself is estimated nor that resampling shrinks it by
/// √((n−1)/n); Hesterberg (2015, "What teachers should know about the bootstrap", 5.1) widens it by
/// both. Without this, ten rounds cover 89 % where they say 95 %.
fn widened(confidence: f64, n: usize) -> f64 {
    let n = n as f64;
    let z = t_quantile(f64::midpoint(1.0, confidence), n - 1.0) * (n / (n - 1.0)).sqrt();
    2.0 * normal(z) - 1.0
}

/// The BCa bootstrap interval of `statistic`; `values` has at least two.
pub fn bca(values: &[f64], statistic: impl Fn(&[f64]) -> f64, confidence: f64) -> (f64, f64) {
    let n = values.len();
    let observed = statistic(values);
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut sample = vec![0.0; n];
    let mut resampled: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            sample.fill_with(|| values[random.usize(0..n)]);
            statistic(&sample)
        })
        .collect();
    resampled.sort_by(f64::total_cmp);
    if resampled[0] == resampled[RESAMPLES - 1] {
        return (observed, observed);
    }
    // Half of the ties count as below: identical rounds must not look biased.
    let below = resampled.iter().filter(|it| **it < observed).count() as f64;
    let ties = resampled.iter().filter(|it| **it == observed).count() as f64;
    let share = ((below + ties / 2.0) / RESAMPLES as f64)
        .clamp(1.0 / RESAMPLES as f64, 1.0 - 1.0 / RESAMPLES as f64);
    let bias = normal_quantile(share);
    let left_out: Vec<f64> = (0..n)
        .map(|out| {
            let rest: Vec<f64> =
                values.iter().enumerate().filter(|(at, _)| *at != out).map(|it| *it.1).collect();
            statistic(&rest)
        })
        .collect();
    let centre = mean(&left_out);
    let power = |exponent: i32| -> f64 {
        left_out.iter().map(|it| (centre - it).powi(exponent)).sum::<f64>()
    };
    let spread = power(2);
    let acceleration = if spread == 0.0 { 0.0 } else { power(3) / (6.0 * spread.powf(1.5)) };
    let end = |probability: f64| {
        let z = bias + normal_quantile(probability);
        let at = normal(bias + z / (1.0 - acceleration * z));
        resampled[((at * RESAMPLES as f64) as usize).min(RESAMPLES - 1)]
    };
    let tail = (1.0 - confidence) / 2.0;
    (end(tail), end(1.0 - tail))
}

/// The quantile of Student's t.
pub(super) fn t_quantile(probability: f64, freedom: f64) -> f64 {
    StudentsT::new(0.0, 1.0, freedom)
        .expect("there are two values, so a degree of freedom")
        .inverse_cdf(probability)
}

fn normal(z: f64) -> f64 {
    Normal::standard().cdf(z)
}

fn normal_quantile(probability: f64) -> f64 {
    Normal::standard().inverse_cdf(probability)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, truth: f64, within: f64) {
        assert!((found - truth).abs() <= within, "{found}, not {truth}");
    }

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (freedom, truth) in [(1.0, 12.706), (2.0, 4.303), (4.0, 2.776), (9.0, 2.262)] {
            close(t_quantile(0.975, freedom), truth, 0.001);
        }
        close(t_quantile(0.995, 2.0), 9.925, 0.001);
        close(normal_quantile(0.975), 1.959_964, 1e-5);
        close(normal(-1.0), 0.158_655, 1e-6);
    }

    /// The spatial data of Efron and Tibshirani, An Introduction to the Bootstrap, 14.2 and 14.3:
    /// the plug-in variance is 171.5, its 90 % BCa interval (115.8, 259.6).
    #[test]
    fn the_bootstrap_gives_the_published_interval() {
        let data: [f64; 26] = [
            48., 36., 20., 29., 42., 42., 20., 42., 22., 41., 45., 14., 6., 0., 33., 28., 34., 4.,
            32., 24., 47., 41., 24., 26., 30., 41.,
        ];
        let plug_in = |it: &[f64]| {
            let centre = mean(it);
            it.iter().map(|x| (x - centre).powi(2)).sum::<f64>() / it.len() as f64
        };
        close(plug_in(&data), 171.5, 0.1);
        let (low, high) = bca(&data, plug_in, 0.90);
        close(low, 115.8, 4.0);
        close(high, 259.6, 6.0);
    }

    #[test]
    fn three_rounds_get_students_interval() {
        // Logarithms -0.1, 0, 0.1: mean 0, deviation 0.1, half a width of 4.303 × 0.1 / √3.
        let ratio = Ratio::of([-0.1_f64, 0.0, 0.1].map(f64::exp), 0.95).unwrap();
        assert_eq!((ratio.n, ratio.method), (3, Method::StudentT));
        close(ratio.estimate, 1.0, 1e-9);
        close(ratio.high.ln(), 0.2484, 1e-3);
        assert!(ratio.contains_one());
    }

    /// The interval must cover the truth about as often as it says.
    #[test]
    fn intervals_cover_the_truth_as_often_as_they_say() {
        let mut random = fastrand::Rng::with_seed(7);
        for (rounds, least) in [(3, 930), (10, 925)] {
            let covered = (0..1000)
                .filter(|_| {
                    // The sum of twelve uniform numbers is as good as normal here.
                    let noise = |random: &mut fastrand::Rng| {
                        (0..12).map(|_| random.f64()).sum::<f64>() - 6.0
                    };
                    let ratios: Vec<f64> =
                        (0..rounds).map(|_| (0.1 * noise(&mut random)).exp()).collect();
                    Ratio::of(ratios, 0.95).unwrap().contains_one()
                })
                .count();
            assert!((least..=980).contains(&covered), "{rounds} rounds: {covered} of 1000");
        }
    }

    /// With the noise of all servers, three rounds do: and the intervals are narrower for it.
    #[test]
    fn intervals_in_blocks_cover_the_truth_as_often_as_they_say() {
        let mut random = fastrand::Rng::with_seed(11);
        let mut noise = || 0.1 * ((0..12).map(|_| random.f64()).sum::<f64>() - 6.0);
        let (mut covered, mut narrower) = (0, 0);
        for _ in 0..1000 {
            let rounds: Vec<f64> = (0..3).map(|_| 5.0 * noise()).collect();
            let values: Vec<(usize, u32, f64)> = (0..13)
                .flat_map(|server| (1..=3).map(move |round| (server, round)))
                .map(|(server, round)| {
                    (server, round, (rounds[round as usize - 1] + noise()).exp())
                })
                .collect();
            let of = |server: usize| values.iter().filter(move |it| it.0 == server).map(|it| it.2);
            let ratios: Vec<f64> = of(1).zip(of(0)).map(|(it, floor)| it / floor).collect();
            let all = Noise::of(values.iter().copied());
            let ratio = Ratio::within(&ratios, all, 0.95).unwrap();
            let alone = Ratio::of(ratios, 0.95).unwrap();
            assert_eq!((ratio.method, ratio.estimate), (Method::BlockT, alone.estimate));
            assert_eq!(Ratio::within(&[1.0; 3], all, 0.95), Ratio::of([1.0; 3], 0.95));
            covered += u32::from(ratio.contains_one());
            narrower += u32::from(ratio.high / ratio.low < alone.high / alone.low);
        }
        assert!((930..=970).contains(&covered), "{covered} of 1000");
        assert!(narrower > 800, "{narrower} of 1000");
    }

    #[test]
    fn verdicts_need_the_whole_interval() {
        let ratio = |low: f64, high: f64| Ratio {
            estimate: (low * high).sqrt(),
            low,
            high,
            n: 5,
            method: Method::StudentT,
        };
        assert_eq!(ratio(0.80, 0.90).verdict(), Verdict::Better);
        assert_eq!(ratio(1.10, 1.30).verdict(), Verdict::Worse);
        assert_eq!(ratio(0.96, 1.04).verdict(), Verdict::Equivalent);
        assert_eq!(ratio(0.90, 1.02).verdict(), Verdict::Inconclusive);
        assert_eq!(Ratio::of([2.0], 0.95).unwrap().verdict(), Verdict::Inconclusive);
        assert_eq!(Ratio::of([f64::NAN, 0.0], 0.95), None);
    }

    #[test]
    fn two_runs_are_compared_by_welch() {
        let worse = Ratio::between(&[2.0, 2.1, 1.9, 2.0], &[1.0, 1.02, 0.98, 1.0], 0.95).unwrap();
        assert_eq!(worse.verdict(), Verdict::Worse);
        close(worse.estimate, 2.0, 0.01);
        let same = Ratio::between(&[1.0, 1.4, 0.7], &[1.0, 0.8, 1.3], 0.95).unwrap();
        assert_eq!(same.verdict(), Verdict::Inconclusive);
    }
}
