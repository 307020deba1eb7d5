//! The rounds: every contestant under every workload, in a balanced random order.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use load::Workload;
use load::stats;

use super::contestant::Contestant;
use super::gate::{ATTEMPTS_MAX, REPEATED_SHARE_MAX};
use super::progress::Progress;
use super::window::{self, Cores, Measured};
use crate::report;

/// Starting and stopping a server, for the estimate of the time left.
const OVERHEAD: Duration = Duration::from_millis(200);

/// Time that a window takes, for the estimate of the time left.
pub(super) fn takes(workload: &Workload) -> Duration {
    Duration::from_nanos(workload.shape.duration_ns()) + OVERHEAD
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

/// One window of one contestant.
struct Turn {
    round: u32,
    workload: usize,
    contestant: usize,
}

/// The time and the tries that are left.
struct Left {
    /// For the turns to come.
    ahead: Duration,
    /// When the profile's time is over.
    until: Instant,
    /// Windows that may be measured again.
    repeats: u32,
    /// Windows that were measured.
    position: u32,
}

impl Rounds<'_> {
    /// Measures every contestant that can be launched, until all is done or interrupted.
    pub(super) fn measure(&self, contestants: &mut [Contestant], progress: &mut Progress) {
        let turns = self.turns(contestants);
        let workload = |turn: &Turn| &self.workloads[turn.workload];
        let all: Duration = turns.iter().map(|turn| takes(workload(turn))).sum();
        progress.expect(all);
        // The rest of the profile's time is for windows that are measured again.
        let mut left = Left {
            ahead: all,
            until: Instant::now() + self.at_most,
            repeats: (turns.len() as f64 * REPEATED_SHARE_MAX) as u32,
            position: 0,
        };
        for turn in &turns {
            let Workload { name, rounds, .. } = workload(turn);
            let contestant = &mut contestants[turn.contestant];
            let key = contestant.row.key();
            let what = format!("measure round {}/{rounds}  {name}  {key}", turn.round);
            progress.step(&what, takes(workload(turn)));
            left.ahead = left.ahead.saturating_sub(takes(workload(turn)));
            if !self.take(turn, contestant, &mut left, progress) {
                return;
            }
        }
    }

    /// Each round visits every contestant under every workload, in a balanced random order.
    fn turns(&self, contestants: &[Contestant]) -> Vec<Turn> {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let orders: Vec<Vec<Vec<usize>>> = self
            .workloads
            .iter()
            .map(|workload| {
                let runs = |it: &Contestant| it.launch.is_some() && it.meets(workload);
                let running: Vec<usize> =
                    (0..contestants.len()).filter(|index| runs(&contestants[*index])).collect();
                let places = stats::balanced(running.len(), workload.rounds as usize, &mut random);
                let order = |places: Vec<usize>| places.iter().map(|it| running[*it]).collect();
                places.into_iter().map(order).collect()
            })
            .collect();
        let rounds = self.workloads.iter().map(|it| it.rounds).max().unwrap_or(0);
        let mut turns = Vec::new();
        for round in 1..=rounds {
            for (workload, order) in orders.iter().enumerate() {
                let order = order.get(round as usize - 1).into_iter().flatten();
                turns.extend(order.map(|it| Turn { round, workload, contestant: *it }));
            }
        }
        turns
    }

    /// Measures once, and again if the host was disturbed and there is time; `false` if interrupted.
    fn take(
        &self,
        turn: &Turn,
        contestant: &mut Contestant,
        left: &mut Left,
        progress: &mut Progress,
    ) -> bool {
        let workload = &self.workloads[turn.workload];
        let Some(launch) = &contestant.launch else { return true };
        let interrupted = || self.interrupted.load(Ordering::Relaxed);
        for attempt in 1..=ATTEMPTS_MAX {
            if interrupted() {
                return false;
            }
            left.position += 1;
            let Measured { window, latencies } =
                window::measure(launch, contestant.room.as_ref(), &workload.shape, self.cores);
            if interrupted() {
                // Ctrl-C in a terminal ends the server too: that is not its fault.
                return false;
            }
            let (round, position) = (turn.round, left.position);
            let window = report::Window { round, position, attempt, ..window };
            let again = window.poisoned.is_some()
                && attempt < ATTEMPTS_MAX
                && left.repeats > 0
                && Instant::now() + left.ahead + takes(workload) <= left.until;
            let why = window.poisoned.clone().unwrap_or_default();
            contestant.measured[turn.workload].push(Measured { window, latencies });
            if !again {
                break;
            }
            let (name, key) = (&workload.name, contestant.row.key());
            progress.again(&format!("again round {round}  {name}  {key}: {why}"));
            left.repeats -= 1;
        }
        true
    }
}

/// One log for each round, its intervals tagged with workload, server and attempt.
pub(super) fn save(
    folder: &Path,
    workloads: &[Workload],
    contestants: &[Contestant],
) -> Result<()> {
    for round in 1..=workloads.iter().map(|it| it.rounds).max().unwrap_or(0) {
        let mut tagged = Vec::new();
        for contestant in contestants {
            for (workload, measured) in workloads.iter().zip(&contestant.measured) {
                for it in measured.iter().filter(|it| it.window.round == round) {
                    let Some(latencies) = &it.latencies else { continue };
                    let (key, attempt) = (contestant.row.key(), it.window.attempt);
                    tagged.push((format!("{}/{key}/{attempt}", workload.name), latencies));
                }
            }
        }
        if tagged.is_empty() {
            continue;
        }
        let path = folder.join(format!("round-{round}.hlog"));
        let log = stats::hlog::of(&tagged, 1.0)?;
        std::fs::write(&path, log).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
