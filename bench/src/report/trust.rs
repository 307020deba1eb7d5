//! How far a run can be believed: its twin, and what the host did.

use load::stats::{CONFIDENCE, Ratio};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::summary::{ratios, used};
use super::{Figure, HEADLINES, Report, Row};

/// Of the rounds that count, how many may have been disturbed before the whole run proves nothing.
/// Below that each is marked where it stands.
const DISTURBED_MAX: f64 = 0.1;

/// How far the numbers can be believed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Trust {
    /// Windows that were measured, repetitions included.
    pub windows: u64,
    /// Windows in which the host was disturbed.
    pub poisoned: u64,
    /// Windows that were measured again for that reason.
    pub repeated: u64,
    /// Rounds of a cell that count although they were disturbed: there was no clean one.
    pub poisoned_but_used: u64,
    /// Windows that were disturbed and had a fault: their fault may be the host's.
    pub poisoned_with_fault: u64,
    /// The server of which there were two copies.
    pub twin_of: Option<String>,
    /// The differences of the two, which must be none: one for each headline.
    pub twin: Vec<TwinTest>,
    /// The confidence of the intervals in `twin`: 1 − 0.05 / (their number), so that a sound run
    /// fails one in twenty times.
    pub twin_confidence: f64,
    /// Why the run cannot distinguish the servers, if it cannot.
    pub cannot_tell: Vec<String>,
    /// Doubts about single cells, which are marked there.
    pub doubts: Vec<String>,
}

/// One figure of the two copies of one server, over every round of every workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TwinTest {
    /// The figure's name.
    pub figure: String,
    /// The copy's divided by the original's.
    pub ratio: Ratio,
}

impl Report {
    /// How far the numbers can be believed.
    pub(super) fn judge(&mut self) {
        let cells = || self.rows.iter().flat_map(|row| &row.cells);
        let windows = || cells().flat_map(|it| &it.windows);
        let mut trust = Trust {
            windows: windows().count() as u64,
            poisoned: windows().filter(|it| it.poisoned.is_some()).count() as u64,
            repeated: windows().filter(|it| it.attempt > 1).count() as u64,
            poisoned_with_fault: windows()
                .filter(|it| it.poisoned.is_some() && it.fault.is_some())
                .count() as u64,
            poisoned_but_used: cells().filter_map(|it| Some(it.summary.as_ref()?.poisoned)).sum(),
            ..Trust::default()
        };
        self.compare_twin(&mut trust);
        let rounds = cells().filter_map(|it| Some(it.summary.as_ref()?.rounds)).sum();
        trust.conclude(rounds);
        self.trust = trust;
    }

    /// The headlines of the twin beside those of its original.
    fn compare_twin(&self, trust: &mut Trust) {
        let Some(twin) = self.rows.iter().find(|it| it.twin_of.is_some()) else { return };
        let is_original = |it: &&Row| it.twin_of.is_none() && Some(it.key()) == twin.twin_of;
        let Some(original) = self.rows.iter().find(is_original) else { return };
        trust.twin_of = twin.twin_of.clone();
        // One workload has a few rounds, and an interval of these alone would hold anything.
        let pairs = |figure: &Figure| -> Vec<f64> {
            let cells = twin.cells.iter();
            cells
                .filter_map(|it| Some((it, original.cell(&it.workload)?)))
                .flat_map(|(it, other)| ratios(&used(&it.windows), &used(&other.windows), figure))
                .collect()
        };
        let figures: Vec<(&str, Vec<f64>)> = HEADLINES
            .iter()
            .map(|figure| (figure.name, pairs(figure)))
            .filter(|it| it.1.len() > 1)
            .collect();
        trust.twin_confidence = 1.0 - (1.0 - CONFIDENCE) / figures.len().max(1) as f64;
        for (figure, ratios) in figures {
            let Some(ratio) = Ratio::of(ratios, trust.twin_confidence) else { continue };
            trust.twin.push(TwinTest { figure: figure.into(), ratio });
        }
    }
}

impl Trust {
    /// Judges the run by its counts; `rounds` is the number of windows that count.
    fn conclude(&mut self, rounds: u64) {
        for it in self.twin.iter().filter(|it| !it.ratio.contains_one()) {
            self.cannot_tell.push(format!(
                "two copies of one server differ in {} by {:.2} ({:.2} to {:.2}): differences of \
                 that size mean nothing",
                it.figure, it.ratio.estimate, it.ratio.low, it.ratio.high
            ));
        }
        if self.poisoned_with_fault > 0 {
            let (windows, they_do) = match self.poisoned_with_fault {
                1 => ("1 disturbed window".to_owned(), "it does"),
                many => (format!("{many} disturbed windows"), "they do"),
            };
            self.doubts.push(format!(
                "in {windows} a stream opened late or an event was lost, by the server or by the host; {they_do} not \
                 count where another is left"
            ));
        }
        let disturbed = self.poisoned_but_used;
        if disturbed > 0 {
            let are = if disturbed == 1 { "is" } else { "are" };
            let words = format!(
                "the host was disturbed in {} of {} windows, and {disturbed} of the {rounds} rounds \
                 that count {are} among them",
                self.poisoned, self.windows
            );
            let proves_nothing = disturbed as f64 > DISTURBED_MAX * rounds as f64;
            let list = if proves_nothing { &mut self.cannot_tell } else { &mut self.doubts };
            list.push(words);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::render::tests::report;
    use super::super::summary::tests::window;
    use super::*;

    /// Ten rounds of a server, its copy `copy` times as expensive, and `disturbed` of them
    /// disturbed.
    fn with(copy: f64, disturbed: u32) -> Trust {
        let mut report = report();
        let rounds = |factor: f64| -> Vec<_> {
            (1..=10)
                .map(|it| window(it, 200_000, factor * (20.0 + f64::from(it * 7 % 10) / 10.0)))
                .collect()
        };
        report.rows.truncate(2);
        report.rows[0].cells[0].windows = rounds(0.5);
        report.rows[1].cells[0].windows = rounds(1.0);
        for window in &mut report.rows[1].cells[0].windows[..disturbed as usize] {
            window.poisoned = Some("a spinning thread lost 30 %".into());
        }
        let mut twin = report.rows[1].clone();
        twin.twin_of = Some(twin.key());
        twin.server += " (twin)";
        // Its noise is its own.
        twin.cells[0].windows = rounds(copy);
        twin.cells[0].windows.rotate_left(3);
        for (window, round) in twin.cells[0].windows.iter_mut().zip(1..) {
            window.round = round;
        }
        report.rows.push(twin);
        report.summarise();
        report.trust
    }

    #[test]
    fn a_copy_that_differs_says_that_the_run_cannot_tell() {
        let sound = with(1.0, 0);
        assert_eq!((sound.cannot_tell.len(), sound.doubts.len()), (0, 0), "{sound:?}");
        assert_eq!(sound.twin.len(), HEADLINES.len());
        assert!(sound.twin.iter().all(|it| it.ratio.n == 10 && it.ratio.contains_one()));
        let wrong = with(1.1, 0);
        assert!(wrong.cannot_tell[0].contains("differ in cpu_ns_per_event by 1.1"), "{wrong:?}");
    }

    #[test]
    fn one_window_is_one_and_two_are_windows() {
        let doubt = |poisoned_with_fault| {
            let mut trust = Trust { poisoned_with_fault, ..Trust::default() };
            trust.conclude(10);
            trust.doubts.concat()
        };
        assert!(doubt(1).starts_with("in 1 disturbed window a stream"), "{}", doubt(1));
        assert!(doubt(1).contains("; it does not count"), "{}", doubt(1));
        assert!(doubt(2).starts_with("in 2 disturbed windows a stream"), "{}", doubt(2));
    }

    /// While half of a cell's rounds are clean, the others do not count at all.
    #[test]
    fn few_disturbed_rounds_are_marked_and_many_prove_nothing() {
        assert_eq!(with(1.0, 4).poisoned_but_used, 0);
        let many = with(1.0, 7);
        assert_eq!(many.poisoned_but_used, 7);
        assert!(many.cannot_tell[0].contains("7 of the 30 rounds"), "{many:?}");
    }
}
