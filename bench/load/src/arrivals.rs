//! Arrivals of an open loop: requests that are due whether or not earlier ones have been answered.

use crate::timer::SECOND_NS;

/// The seed of random arrivals: two runs with the same rate have the same times.
const SEED: u64 = 1;

/// When requests are due.
#[derive(Debug, Clone, Copy)]
pub struct Arrivals {
    /// The start, Unix nanoseconds.
    pub first_ns: u64,
    /// Requests a second, in the mean.
    pub rate_per_s: f64,
    /// At random times: independent users (a Poisson process). Otherwise evenly spaced.
    pub is_poisson: bool,
    /// None is due from then on, Unix nanoseconds.
    pub end_ns: u64,
    /// The most requests.
    pub count: u64,
}

impl Arrivals {
    /// The times, one after the other.
    pub(super) fn times(&self) -> Times {
        let mut times =
            Times { arrivals: *self, begun: 0, since_ns: 0.0, rng: fastrand::Rng::with_seed(SEED) };
        if self.is_poisson {
            times.since_ns = times.wait_ns();
        }
        times
    }
}

/// The times of [`Arrivals`], of which the next can be looked at.
#[derive(Debug, Clone)]
pub(super) struct Times {
    arrivals: Arrivals,
    /// How many are over.
    begun: u64,
    /// From the start to the next, where they are random.
    since_ns: f64,
    rng: fastrand::Rng,
}

impl Times {
    /// When the next request is due; `None` if there is none.
    pub(super) fn next_ns(&self) -> Option<u64> {
        let since_ns = if self.arrivals.is_poisson {
            self.since_ns
        } else {
            // From the start each time: no rounding adds up.
            self.begun as f64 * SECOND_NS as f64 / self.arrivals.rate_per_s
        };
        let next_ns = self.arrivals.first_ns + since_ns as u64;
        (self.begun < self.arrivals.count && next_ns < self.arrivals.end_ns).then_some(next_ns)
    }

    /// Goes on to the one behind it.
    pub(super) fn advance(&mut self) {
        self.begun += 1;
        if self.arrivals.is_poisson {
            self.since_ns += self.wait_ns();
        }
    }

    /// A random time between two arrivals: exponentially distributed.
    fn wait_ns(&mut self) -> f64 {
        // 1 - [0, 1) is never 0.
        -(1.0 - self.rng.f64()).ln() * SECOND_NS as f64 / self.arrivals.rate_per_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(is_poisson: bool, count: u64) -> Vec<u64> {
        let end_ns = u64::MAX;
        let arrivals = Arrivals { first_ns: 7, rate_per_s: 300.0, is_poisson, end_ns, count };
        let mut times = arrivals.times();
        let next = || {
            let next_ns = times.next_ns()?;
            times.advance();
            Some(next_ns)
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn constant_arrivals_are_evenly_spaced_without_drift() {
        let found = times(false, 601);
        assert_eq!((found.len(), found[0], found[1]), (601, 7, 3_333_340));
        assert_eq!(found[600], 7 + 2 * SECOND_NS);
    }

    #[test]
    fn random_arrivals_have_the_rate_and_the_spread_of_independent_users() {
        let found = times(true, 100_000);
        let gaps: Vec<f64> = found.windows(2).map(|it| (it[1] - it[0]) as f64 / 1e9).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        assert!((mean * 300.0 - 1.0).abs() < 0.02, "{mean}");
        // Of an exponential distribution the deviation is the mean, and 1/e of all are longer.
        let variance = gaps.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.02, "{variance}");
        let longer = gaps.iter().filter(|it| **it > mean).count() as f64 / gaps.len() as f64;
        assert!((longer - (-1.0_f64).exp()).abs() < 0.01, "{longer}");
        assert_eq!(found, times(true, 100_000), "the same in each run");
    }

    #[test]
    fn none_is_due_from_the_end_on() {
        let end_ns = SECOND_NS;
        let arrivals =
            Arrivals { first_ns: 0, rate_per_s: 10.0, is_poisson: false, end_ns, count: 100 };
        let mut times = arrivals.times();
        while times.next_ns().is_some() {
            times.advance();
        }
        assert_eq!(times.begun, 10);
    }
}
