//! A cell over its rounds: which windows count, their medians, and their ratios to the floor.

use std::collections::BTreeMap;

use load::Shape;
use load::shape::Broadcast;
use load::stats::{CONFIDENCE, Noise, Ratio, Spread};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FIGURES, Figure, Report, Row, Window};

/// How much a window varies under one workload, by the name of the figure.
pub(super) type Noises = BTreeMap<&'static str, Noise>;

/// A cell over its rounds.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Deliveries due, all rounds together.
    pub expected: u64,
    /// Deliveries that came.
    pub delivered: u64,
    /// Rounds that count.
    #[schemars(range(min = 1))]
    pub rounds: u64,
    /// Of these, rounds in which the host was disturbed.
    pub poisoned: u64,
    /// Whether the generator may have been the bottleneck in one of them.
    pub generator_bound: bool,
    /// By the name of the figure.
    pub measures: BTreeMap<String, Measure>,
}

/// A value over the rounds, absolute and as a multiple of the floor's in the same round.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Measure {
    /// As measured.
    pub value: Spread,
    /// Round by round, in their order.
    pub rounds: Vec<f64>,
    /// Divided by the floor's; nothing without a floor.
    pub ratio: Option<Ratio>,
}

impl Report {
    /// Compares the windows with stalled readers with those of the same round without.
    pub(super) fn isolate(&mut self) {
        for workload in &self.workloads {
            let Shape::Broadcast(broadcast) = &workload.shape else { continue };
            if broadcast.stalled_each == 0 {
                continue;
            }
            let calm = Shape::Broadcast(Broadcast { stalled_each: 0, ..broadcast.clone() });
            let Some(calm) = self.workloads.iter().find(|it| it.shape == calm) else { continue };
            for row in &mut self.rows {
                let p99 = |it: &Window| Some(it.distributions.latency.as_ref()?.p99_ns as f64);
                let calm: BTreeMap<u32, f64> =
                    row.cell(&calm.name).map_or_else(BTreeMap::new, |cell| {
                        let used = used(&cell.windows);
                        used.iter().filter_map(|it| Some((it.round, p99(it)?))).collect()
                    });
                let cell = row.cells.iter_mut().find(|it| it.workload == workload.name);
                for window in cell.into_iter().flat_map(|it| &mut it.windows) {
                    if let (Some(with), Some(calm)) = (p99(window), calm.get(&window.round)) {
                        window.figures.isolation_ratio = Some(with / calm);
                    }
                }
            }
        }
    }
}

/// The windows that count, by round: the last attempt of each, without those that were disturbed
/// if at least half of the rounds, and two, are clean.
///
/// A disturbed window with a fault does not count as long as another is left: its fault may be the
/// host's. A server that loses events loses them in clean windows too.
pub(crate) fn used<W: AsRef<Window>>(windows: &[W]) -> Vec<&W> {
    let mut last: BTreeMap<u32, &W> = BTreeMap::new();
    for it in windows {
        let window = it.as_ref();
        let before = last.get(&window.round).map(|it| it.as_ref());
        if before.is_none_or(|it| it.poisoned.is_some() && it.attempt < window.attempt) {
            last.insert(window.round, it);
        }
    }
    let all: Vec<&W> = last.into_values().collect();
    let those = |wanted: fn(&Window) -> bool| -> Vec<&W> {
        all.iter().copied().filter(|it| wanted(it.as_ref())).collect()
    };
    let clean = those(|it| it.poisoned.is_none());
    if clean.len() >= all.len().div_ceil(2).max(all.len().min(2)) {
        return clean;
    }
    let rest = those(|it| it.poisoned.is_none() || it.fault.is_none());
    if rest.is_empty() { all } else { rest }
}

/// Round by round, one figure of `of` divided by that of `to`.
pub(super) fn ratios(of: &[&Window], to: &[&Window], figure: &Figure) -> Vec<f64> {
    of.iter()
        .filter_map(|window| {
            let same = to.iter().find(|it| it.round == window.round && it.fault.is_none())?;
            Some((figure.of)(window)? / (figure.of)(same).filter(|it| *it > 0.0)?)
        })
        .collect()
}

/// The noise of each figure under one workload, from all rows that have it.
pub(super) fn noises(rows: &[Row], workload: &str) -> Noises {
    let windows: Vec<(usize, &Window)> = rows
        .iter()
        .enumerate()
        .flat_map(|(server, row)| {
            let used = row.cell(workload).map_or_else(Vec::new, |it| used(&it.windows));
            used.into_iter().filter(|it| it.fault.is_none()).map(move |it| (server, it))
        })
        .collect();
    let noise = |figure: &Figure| {
        let values =
            windows.iter().filter_map(|(server, it)| Some((*server, it.round, (figure.of)(it)?)));
        Some((figure.name, Noise::of(values)?))
    };
    FIGURES.iter().filter_map(noise).collect()
}

pub(super) fn of(windows: &[Window], floor: &[Window], noises: &Noises) -> Option<Summary> {
    let (windows, floor) = (used(windows), used(floor));
    if windows.is_empty() || windows.iter().any(|it| it.fault.is_some()) {
        return None;
    }
    let measure = |figure: &Figure| {
        let rounds: Vec<f64> = windows.iter().filter_map(|it| (figure.of)(it)).collect();
        let value = Spread::of(rounds.iter().copied())?;
        let noise = noises.get(figure.name).copied();
        let ratio = Ratio::within(&ratios(&windows, &floor, figure), noise, CONFIDENCE);
        Some((figure.name.to_owned(), Measure { value, rounds, ratio }))
    };
    Some(Summary {
        expected: windows.iter().map(|it| it.expected).sum(),
        delivered: windows.iter().map(|it| it.delivered).sum(),
        rounds: windows.len() as u64,
        poisoned: windows.iter().filter(|it| it.poisoned.is_some()).count() as u64,
        generator_bound: windows.iter().any(|it| it.generator.is_bound()),
        measures: FIGURES.iter().filter_map(measure).collect(),
    })
}

impl Summary {
    /// The measure of a figure.
    pub fn get(&self, figure: &Figure) -> Option<&Measure> {
        self.measures.get(figure.name)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::figure::{CPU, LATENCY_P50};
    use super::super::{Cell, Distribution, Distributions, Figures};
    use super::*;

    pub(in crate::report) fn window(round: u32, p50_ns: u64, cpu: f64) -> Window {
        let latency = Distribution {
            n: 1000,
            p50_ns,
            p90_ns: p50_ns,
            p99_ns: p50_ns * 2,
            max_ns: p50_ns * 3,
            ..Distribution::default()
        };
        Window {
            round,
            attempt: 1,
            expected: 100,
            delivered: 100,
            distributions: Distributions { latency: Some(latency), ..Distributions::default() },
            figures: Figures { cpu_ns_per_event: Some(cpu), ..Figures::default() },
            ..Window::default()
        }
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // A noisy second round hits both alike: the ratio stays 2.
        let floor = [window(1, 100, 10.0), window(2, 500, 50.0)];
        let server = [window(2, 1000, 100.0), window(1, 200, 20.0)];
        let summary = of(&server, &floor, &Noises::new()).unwrap();
        let p50 = summary.get(&LATENCY_P50).unwrap();
        let ratio = p50.ratio.unwrap();
        assert!([ratio.low, ratio.estimate, ratio.high].iter().all(|it| (it - 2.0).abs() < 1e-9));
        assert_eq!(p50.value.median, 600.0);
    }

    #[test]
    fn one_fault_voids_the_cell() {
        let mut bad = window(2, 1, 1.0);
        bad.fault = Some("3 events lost".into());
        let windows = vec![window(1, 1, 1.0), bad];
        let cell = Cell { workload: "ticks".into(), windows, latency: None, summary: None };
        assert!(of(&cell.windows, &[], &Noises::new()).is_none());
        assert_eq!(cell.fault().unwrap(), "3 events lost (round 2)");
    }

    #[test]
    fn a_disturbed_window_does_not_count_once_it_was_repeated() {
        let mut bad = window(1, 9000, 900.0);
        bad.poisoned = Some("a spinning thread lost 30 %".into());
        bad.fault = Some("3 events lost".into());
        let mut again = window(1, 200, 20.0);
        again.attempt = 2;
        let summary = of(&[bad.clone(), again, window(2, 200, 20.0)], &[], &Noises::new()).unwrap();
        assert_eq!((summary.rounds, summary.poisoned), (2, 0));
        assert_eq!(summary.get(&CPU).unwrap().value.max, 20.0);
        // Disturbed and faulty, it does not count beside one that is only disturbed.
        let mut other = window(2, 300, 30.0);
        other.poisoned = Some("others used 50 % of a core".into());
        let summary = super::of(&[bad.clone(), other], &[], &Noises::new()).unwrap();
        assert_eq!((summary.rounds, summary.poisoned), (1, 1));
        // But alone it is all there is to say.
        assert!(super::of(&[bad.clone()], &[], &Noises::new()).is_none());
        // With no clean round, it counts, and that is said.
        bad.fault = None;
        let summary = super::of(&[bad], &[], &Noises::new()).unwrap();
        assert_eq!((summary.rounds, summary.poisoned), (1, 1));
    }
}
