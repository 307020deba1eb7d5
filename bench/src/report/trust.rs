//! How far a run can be believed: its twin, and what the host did.

use serde::{Deserialize, Serialize};

use super::Report;
use super::figure::HEADLINES;
use super::summary::{ratios, used};
use crate::stats::{CONFIDENCE, Ratio};

/// How far the numbers can be believed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
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
    /// What the two differ in, which must be nothing.
    pub twin: Vec<TwinTest>,
    /// The confidence of the intervals in `twin`: 1 − 0.05 / (their number), so that a sound run
    /// fails one in twenty times, however many there are.
    pub twin_confidence: f64,
    /// Why the run cannot tell the servers apart, if it cannot.
    pub cannot_tell: Vec<String>,
}

/// One figure of the two copies of one server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TwinTest {
    /// The workload.
    pub workload: String,
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
        let twin = self.rows.iter().find(|it| it.twin_of.is_some());
        if let Some(twin) = twin
            && let Some(original) =
                self.rows.iter().find(|it| it.twin_of.is_none() && Some(it.key()) == twin.twin_of)
        {
            trust.twin_of = twin.twin_of.clone();
            let mut pairs = Vec::new();
            for cell in &twin.cells {
                let Some(other) = original.cell(&cell.workload) else { continue };
                for name in HEADLINES {
                    let ratios = ratios(&used(&cell.windows), &used(&other.windows), name);
                    if ratios.len() > 1 {
                        pairs.push((cell.workload.clone(), name, ratios));
                    }
                }
            }
            trust.twin_confidence = 1.0 - (1.0 - CONFIDENCE) / pairs.len().max(1) as f64;
            for (workload, figure, ratios) in pairs {
                let Some(ratio) = Ratio::of(ratios, trust.twin_confidence) else { continue };
                trust.twin.push(TwinTest { workload, figure: figure.into(), ratio });
            }
        }
        for it in trust.twin.iter().filter(|it| !it.ratio.contains_one()) {
            trust.cannot_tell.push(format!(
                "two copies of one server differ in {} of {} by {:.2} ({:.2} to {:.2}): differences \
                 of that size mean nothing",
                it.figure, it.workload, it.ratio.estimate, it.ratio.low, it.ratio.high
            ));
        }
        if trust.poisoned_with_fault > 0 {
            trust.cannot_tell.push(format!(
                "in {} disturbed windows a stream opened late or an event was lost, and nobody \
                 knows whether by the server or by the host",
                trust.poisoned_with_fault
            ));
        }
        if trust.poisoned_but_used > 0 {
            trust.cannot_tell.push(format!(
                "the host was disturbed in {} of {} windows, and {} of the rounds that count are \
                 among them",
                trust.poisoned, trust.windows, trust.poisoned_but_used
            ));
        }
        self.trust = trust;
    }
}
