//! How much a window varies, from all servers at once.
//!
//! Three rounds of one server say little about its own noise: Student's t with two degrees of
//! freedom makes intervals from 0.03 to 18 of it. But every server of a workload is measured in the
//! same rounds, which makes them the blocks of a randomised block design, and the usual analysis of
//! that applies: the logarithm of a value is the server's share, plus the round's, plus noise of one
//! size for all. The part that neither share explains is the noise, and thirteen servers in three
//! rounds leave 24 degrees of freedom for it.
//!
//! Montgomery, Design and Analysis of Experiments, chapter 4.1.

use std::collections::BTreeMap;

/// Improvements of the two shares. With every value there, one is exact; the rest is for the few
/// that are missing.
const SWEEPS: usize = 60;

/// The noise of one figure under one workload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Noise {
    /// The standard deviation of a logarithm.
    pub deviation: f64,
    /// Degrees of freedom that it was estimated with.
    pub freedom: f64,
}

impl Noise {
    /// From server, round and value of every window; nothing if they leave no freedom.
    pub fn of(values: impl IntoIterator<Item = (usize, u32, f64)>) -> Option<Noise> {
        let logs: Vec<(usize, u32, f64)> = values
            .into_iter()
            .filter(|it| it.2.is_finite() && it.2 > 0.0)
            .map(|(server, round, value)| (server, round, value.ln()))
            .collect();
        let mut servers: BTreeMap<usize, f64> = logs.iter().map(|it| (it.0, 0.0)).collect();
        let mut rounds: BTreeMap<u32, f64> = logs.iter().map(|it| (it.1, 0.0)).collect();
        let freedom = (logs.len() + 1).checked_sub(servers.len() + rounds.len())?;
        if freedom == 0 || logs.is_empty() {
            return None;
        }
        for _ in 0..SWEEPS {
            for (server, share) in &mut servers {
                let mine = logs.iter().filter(|it| it.0 == *server);
                *share = mean(mine.map(|it| it.2 - rounds[&it.1]));
            }
            for (round, share) in &mut rounds {
                let mine = logs.iter().filter(|it| it.1 == *round);
                *share = mean(mine.map(|it| it.2 - servers[&it.0]));
            }
        }
        let left = |it: &(usize, u32, f64)| it.2 - servers[&it.0] - rounds[&it.1];
        let squares: f64 = logs.iter().map(|it| left(it).powi(2)).sum();
        let freedom = freedom as f64;
        Some(Noise { deviation: (squares / freedom).sqrt(), freedom })
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), it| (sum + it, count + 1.0));
    sum / count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, truth: f64) {
        assert!((found - truth).abs() < 1e-9, "{found}, not {truth}");
    }

    /// Montgomery, Example 4.1 (vascular grafts): four pressures in six batches of resin; the error
    /// has a mean square of 7.33 with 15 degrees of freedom.
    #[test]
    fn the_error_is_that_of_the_textbook() {
        let yields: [[f64; 6]; 4] = [
            [90.3, 89.2, 98.2, 93.9, 87.4, 97.9],
            [92.5, 89.5, 90.6, 94.7, 87.0, 95.8],
            [85.5, 90.8, 89.6, 86.2, 88.0, 93.4],
            [82.5, 89.5, 85.6, 87.4, 78.9, 90.7],
        ];
        let values = yields.iter().enumerate().flat_map(|(server, row)| {
            // The analysis takes logarithms.
            row.iter().zip(1..).map(move |(it, round)| (server, round, it.exp()))
        });
        let noise = Noise::of(values).unwrap();
        close(noise.freedom, 15.0);
        assert!((noise.deviation.powi(2) - 7.33).abs() < 0.01, "{noise:?}");
    }

    #[test]
    fn what_hits_a_whole_round_is_no_noise() {
        let values = [(0, 1, 10.0), (1, 1, 20.0), (2, 1, 30.0), (0, 2, 50.0), (1, 2, 100.0)];
        let noise = Noise::of(values).unwrap();
        // The third server's second round is missing: 5 values, 3 servers, 2 rounds.
        close(noise.freedom, 1.0);
        close(noise.deviation, 0.0);
        assert_eq!(Noise::of([(0, 1, 10.0), (1, 1, 20.0)]), None);
        assert_eq!(Noise::of([]), None);
    }
}
