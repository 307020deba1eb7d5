//! The rounds: every contestant under every workload, in a balanced random order.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use load::Workload;
use load::stats;

use super::Contestant;
use super::progress::Progress;
use super::window::{self, Cores};
use crate::report::{self, Report};

/// How often a window is measured again because the host was disturbed.
const ATTEMPTS_MAX: u32 = 3;

/// Of all windows, how many may be repetitions.
const REPEATED_SHARE_MAX: f64 = 0.3;

/// Raw latencies: server, workload, round and attempt, seconds, histogram.
pub(super) type Logs = Vec<(String, String, u32, u32, Histogram<u64>)>;

/// Starting and stopping a server, for the estimate of the time left.
const OVERHEAD: Duration = Duration::from_millis(200);

/// Time that a window takes, for the estimate of the time left.
pub(super) fn takes(workload: &Workload) -> Duration {
    Duration::from_nanos(workload.duration_ns()) + OVERHEAD
}

/// The subjects of the measurement, the place, and the time for it.
#[derive(Debug)]
pub(super) struct Rounds<'r> {
    pub(super) workloads: &'r [Workload],
    pub(super) cores: &'r Cores,
    /// Gives the order of measurement.
    pub(super) seed: u64,
    /// The most time for the windows and their repetitions together.
    pub(super) at_most: Duration,
    /// Set from outside, it ends the rounds.
    pub(super) interrupted: &'r AtomicBool,
}

impl Rounds<'_> {
    /// Measures every contestant that can be launched, into its cells.
    pub(super) fn measure(&self, contestants: &mut [Contestant], progress: &mut Progress) -> Logs {
        let Rounds { workloads, cores, seed, at_most, interrupted } = *self;
        let mut logs = Logs::new();
        let mut random = fastrand::Rng::with_seed(seed);
        let running: Vec<Vec<usize>> = workloads
            .iter()
            .map(|workload| {
                let meets =
                    |it: &Contestant| it.launch.is_some() && it.row.cell(&workload.name).is_some();
                (0..contestants.len()).filter(|index| meets(&contestants[*index])).collect()
            })
            .collect();
        let windows = || {
            let each = workloads.iter().zip(&running);
            each.map(|(it, who)| (it, it.rounds * who.len() as u32))
        };
        let all: Duration = windows().map(|(it, count)| takes(it) * count).sum();
        progress.expect(all);
        // The rest of the profile's time is for windows that are measured again.
        let (began, mut ahead) = (Instant::now(), all);
        let count: u32 = windows().map(|it| it.1).sum();
        let mut repeats_left = (f64::from(count) * REPEATED_SHARE_MAX) as u32;
        let orders: Vec<Vec<Vec<usize>>> = workloads
            .iter()
            .zip(&running)
            .map(|(it, who)| stats::balanced(who.len(), it.rounds as usize, &mut random))
            .collect();
        let rounds = workloads.iter().map(|it| it.rounds).max().unwrap_or(0);
        let mut position = 0;
        for round in 1..=rounds {
            for (place, workload) in workloads.iter().enumerate() {
                let Some(order) = orders[place].get(round as usize - 1) else { continue };
                for index in order.iter().map(|it| running[place][*it]) {
                    let contestant = &mut contestants[index];
                    let Some(launch) = &contestant.launch else { continue };
                    let key = contestant.row.key();
                    progress.step(
                        &format!(
                            "measure round {round}/{}  {}  {key}",
                            workload.rounds, workload.name
                        ),
                        takes(workload),
                    );
                    ahead = ahead.saturating_sub(takes(workload));
                    for attempt in 1..=ATTEMPTS_MAX {
                        if interrupted.load(Ordering::Relaxed) {
                            return logs;
                        }
                        position += 1;
                        let (window, histogram) = window::measure(launch, workload, cores);
                        if interrupted.load(Ordering::Relaxed) {
                            // Ctrl-C in a terminal ends the server too: that is not its fault.
                            return logs;
                        }
                        let again = window.poisoned.is_some()
                            && attempt < ATTEMPTS_MAX
                            && repeats_left > 0
                            && began.elapsed() + ahead + takes(workload) <= at_most;
                        let window = report::Window { round, position, attempt, ..window };
                        let mut cells = contestant.row.cells.iter_mut();
                        let cell = cells.find(|it| it.workload == workload.name);
                        cell.expect("each contestant of a workload has a cell")
                            .windows
                            .push(window);
                        if let Some(histogram) = histogram.filter(|it| !it.is_empty()) {
                            let name = workload.name.clone();
                            logs.push((key.clone(), name, round, attempt, histogram));
                        }
                        if !again {
                            break;
                        }
                        repeats_left -= 1;
                    }
                }
            }
        }
        logs
    }
}

/// Merges the histograms of the rounds that count: percentiles are never averaged.
pub(super) fn merge(report: &mut Report, logs: &Logs) {
    for row in &mut report.rows {
        let key = row.key();
        for cell in &mut row.cells {
            let mut all = load::ledger::new_histogram();
            for window in report::used(&cell.windows) {
                for (server, workload, round, attempt, histogram) in logs {
                    let same = (server, workload) == (&key, &cell.workload)
                        && (*round, *attempt) == (window.round, window.attempt);
                    if same {
                        // Both have the same bounds.
                        let _ = all.add(histogram);
                    }
                }
            }
            cell.latency = load::stats::Distribution::with_curve(&all);
        }
    }
}

/// One log for each round, its intervals tagged with server, workload and attempt.
pub(super) fn save(folder: &Path, logs: &Logs) -> Result<()> {
    let rounds: BTreeSet<u32> = logs.iter().map(|it| it.2).collect();
    for wanted in rounds {
        let mine: Vec<(String, &Histogram<u64>)> = logs
            .iter()
            .filter(|it| it.2 == wanted)
            .map(|(server, workload, _, attempt, histogram)| {
                (format!("{workload}/{server}/{attempt}"), histogram)
            })
            .collect();
        let path = folder.join(format!("round-{wanted}.hlog"));
        let log = load::stats::hlog::of(&mine, 1.0)?;
        std::fs::write(&path, log).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
