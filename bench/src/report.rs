//! A report: what was measured, as data. Text and Markdown are renderings of it.
//!
//! `report.json` holds a [`Report`]. Every window that was measured stands in it with its faults;
//! summaries are medians over rounds, and ratios are taken to the floor *within* a round before the
//! median, so that noise which hits both cancels.

mod environment;
mod render;
mod splice;
mod table;

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

pub use environment::Environment;
pub use render::{markdown, summary_markdown, text};
pub use splice::splice;

use crate::load::Workload;
use crate::stats::{Slope, Spread};

/// The version of the JSON. It grows when a field changes its meaning or goes.
pub const SCHEMA: u32 = 1;

/// The file in a report's folder that holds the data.
const JSON_NAME: &str = "report.json";

/// The file in a report's folder for people.
const MARKDOWN_NAME: &str = "report.md";

/// One run of the harness.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`] at the time of the run.
    pub schema: u32,
    /// When the run began, RFC 3339, UTC.
    pub began: String,
    /// How long it took, seconds, builds excluded.
    pub took_s: f64,
    /// The command line.
    pub command: String,
    /// The profile's name.
    pub profile: String,
    /// The seed of the order in which windows were measured.
    pub seed: u64,
    /// Whether it ran to its end; a run that was interrupted reports what it has.
    pub complete: bool,
    /// Where it ran.
    pub environment: Environment,
    /// What was measured.
    pub workloads: Vec<Workload>,
    /// A row for each server and encoding; the floor is the first.
    pub rows: Vec<Row>,
    /// What a reader must know about this run in particular.
    pub notes: Vec<String>,
}

/// One server in one encoding.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// The package without `sse-`, or `floor`.
    pub server: String,
    /// What it is written with.
    pub framework: String,
    /// The framework's version.
    pub framework_version: String,
    /// `shared` or `native`; nothing for the floor.
    pub encoding: Option<String>,
    /// Nothing if the suite was not asked (the floor, or a run without it).
    pub conformance: Option<Conformance>,
    /// Why the row has no numbers at all: it does not build or start.
    pub error: Option<String>,
    /// One for each workload that was measured.
    pub cells: Vec<Cell>,
}

/// What the conformance suite said.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Conformance {
    /// The version of the suite.
    pub suite_version: u32,
    /// Cases that passed.
    pub passed: u64,
    /// Cases that failed, the known deviations included.
    pub failed: u64,
    /// Cases whose claim was missed, recommendations included.
    pub missed: Vec<String>,
    /// Cases whose result must not be: missed and not listed as a deviation, or listed and met.
    pub unexpected: Vec<String>,
    /// How long it took, seconds.
    pub took_s: f64,
}

/// One server under one workload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cell {
    /// The workload's name.
    pub workload: String,
    /// One for each round.
    pub windows: Vec<Window>,
    /// Over the rounds; nothing if one of them has a fault.
    pub summary: Option<Summary>,
}

/// One fresh process, measured once.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Window {
    /// From 1.
    pub round: u32,
    /// Its place in the order of the run, from 1.
    pub position: u32,
    /// Why its numbers do not count, or nothing.
    pub fault: Option<String>,
    /// Deliveries due.
    pub expected: u64,
    /// Deliveries that came.
    pub delivered: u64,
    /// Events lost.
    pub gaps: u64,
    /// Events doubled.
    pub duplicates: u64,
    /// Events out of order.
    pub out_of_order: u64,
    /// From scheduled to received.
    pub latency: Option<Latency>,
    /// CPU time of the server for each delivered event, nanoseconds; on loopback it includes the
    /// receiving half of TCP.
    pub cpu_ns_per_event: Option<f64>,
    /// Resident memory against open streams.
    pub memory: Option<Memory>,
    /// The harness's own share in it.
    pub generator: Generator,
}

/// Percentiles of one window, nanoseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Latency {
    /// Half are faster.
    pub p50_ns: u64,
    /// 9 of 10 are faster.
    pub p90_ns: u64,
    /// 99 of 100 are faster.
    pub p99_ns: u64,
    /// The slowest.
    pub max_ns: u64,
    /// Deliveries that the percentiles are of.
    pub samples: u64,
}

/// Resident memory at several counts of open streams.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Memory {
    /// Open streams and resident bytes.
    pub points: Vec<(u64, u64)>,
    /// Bytes for one more stream.
    pub slope: Slope,
}

/// How the generator itself fared.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Generator {
    /// Share of its core that it used in the window, 0 to 1.
    pub cpu_share: f64,
    /// Share of the window in which it wanted its core and something else had it, 0 to 1.
    pub waited_share: f64,
    /// Events for each read of a socket; more than about 1.2 at a paced load means that it lags.
    pub events_per_read: f64,
    /// How late the publisher sent, nanoseconds, at the 99th percentile.
    pub publish_lateness_p99_ns: u64,
}

/// A cell over its rounds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Deliveries due, all rounds together.
    pub expected: u64,
    /// Deliveries that came.
    pub delivered: u64,
    /// Latency samples, all rounds together.
    pub samples: u64,
    /// Median latency, nanoseconds.
    pub p50_ns: Option<Measure>,
    /// 99th percentile, nanoseconds.
    pub p99_ns: Option<Measure>,
    /// Slowest, nanoseconds; its `max` is the slowest of all rounds.
    pub max_ns: Option<Measure>,
    /// CPU for each delivered event, nanoseconds.
    pub cpu_ns_per_event: Option<Measure>,
    /// Resident bytes for one more stream.
    pub bytes_per_stream: Option<Measure>,
}

/// A value over the rounds, absolute and as a multiple of the floor's in the same round.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Measure {
    /// As measured.
    pub value: Spread,
    /// Divided by the floor's; nothing without a floor.
    pub ratio: Option<Spread>,
}

impl Report {
    /// Fills in the summaries from the windows.
    pub fn summarise(&mut self) {
        let floor: Vec<Cell> = match self.rows.iter().find(|row| row.is_floor()) {
            Some(row) => row.cells.clone(),
            None => Vec::new(),
        };
        for cell in self.rows.iter_mut().flat_map(|row| &mut row.cells) {
            let floor = floor.iter().find(|it| it.workload == cell.workload);
            cell.summary = summary(&cell.windows, floor.map_or(&[], |it| &it.windows));
        }
    }

    /// Whether a server lost, doubled or misordered an event, failed a case or did not run.
    pub fn is_as_expected(&self) -> bool {
        self.rows.iter().all(|row| {
            row.fault().is_none()
                && row.conformance.as_ref().is_none_or(|it| it.unexpected.is_empty())
        })
    }

    /// Writes `report.json` and `report.md` into `folder`.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let cannot = || format!("cannot write the report into {}", folder.display());
        std::fs::create_dir_all(folder).with_context(cannot)?;
        let mut json = serde_json::to_string_pretty(self)?;
        json.push('\n');
        std::fs::write(folder.join(JSON_NAME), json).with_context(cannot)?;
        std::fs::write(folder.join(MARKDOWN_NAME), markdown(self)).with_context(cannot)
    }

    /// Reads the `report.json` of `folder`.
    ///
    /// # Errors
    /// When there is none, or it is of another schema.
    pub fn load(folder: &Path) -> Result<Report> {
        let path = folder.join(JSON_NAME);
        let shown = path.display();
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {shown}; give the folder that a run wrote"))?;
        let json: serde_json::Value =
            serde_json::from_str(&text).with_context(|| format!("{shown} is not JSON"))?;
        match json.get("schema").and_then(serde_json::Value::as_u64) {
            Some(schema) if schema == u64::from(SCHEMA) => {}
            Some(schema) => bail!("{shown} has schema {schema}, this program reads {SCHEMA}"),
            None => bail!("{shown} is not a report of sse-bench"),
        }
        serde_json::from_value(json).with_context(|| format!("{shown} is not as its schema says"))
    }
}

impl Row {
    /// Whether this is the floor.
    pub fn is_floor(&self) -> bool {
        self.encoding.is_none()
    }

    /// The cell of a workload.
    pub fn cell(&self, workload: &str) -> Option<&Cell> {
        self.cells.iter().find(|it| it.workload == workload)
    }

    /// The first thing that went wrong, in words.
    pub fn fault(&self) -> Option<String> {
        self.error.clone().or_else(|| {
            self.cells.iter().find_map(|it| Some(format!("{}: {}", it.workload, it.fault()?)))
        })
    }
}

impl Cell {
    /// The first fault of its windows, with the round.
    pub fn fault(&self) -> Option<String> {
        self.windows.iter().find_map(|window| {
            let fault = window.fault.as_ref()?;
            Some(format!("{fault} (round {})", window.round))
        })
    }
}

fn summary(windows: &[Window], floor: &[Window]) -> Option<Summary> {
    if windows.is_empty() || windows.iter().any(|it| it.fault.is_some()) {
        return None;
    }
    let measure = |of: fn(&Window) -> Option<f64>| -> Option<Measure> {
        let value = Spread::of(windows.iter().filter_map(of))?;
        let ratios = windows.iter().filter_map(|window| {
            let same = floor.iter().find(|it| it.round == window.round && it.fault.is_none())?;
            Some(of(window)? / of(same).filter(|it| *it > 0.0)?)
        });
        Some(Measure { value, ratio: Spread::of(ratios) })
    };
    Some(Summary {
        expected: windows.iter().map(|it| it.expected).sum(),
        delivered: windows.iter().map(|it| it.delivered).sum(),
        samples: windows.iter().filter_map(|it| it.latency).map(|it| it.samples).sum(),
        p50_ns: measure(|it| Some(it.latency?.p50_ns as f64)),
        p99_ns: measure(|it| Some(it.latency?.p99_ns as f64)),
        max_ns: measure(|it| Some(it.latency?.max_ns as f64)),
        cpu_ns_per_event: measure(|it| it.cpu_ns_per_event),
        bytes_per_stream: measure(|it| Some(it.memory.as_ref()?.slope.per_x)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn window(round: u32, p50_ns: u64, cpu: f64) -> Window {
        Window {
            round,
            expected: 100,
            delivered: 100,
            latency: Some(Latency {
                p50_ns,
                p90_ns: p50_ns,
                p99_ns: p50_ns * 2,
                max_ns: p50_ns * 3,
                samples: 100,
            }),
            cpu_ns_per_event: Some(cpu),
            ..Window::default()
        }
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // A noisy second round hits both alike: the ratio stays 2.
        let floor = [window(1, 100, 10.0), window(2, 500, 50.0)];
        let server = [window(2, 1000, 100.0), window(1, 200, 20.0)];
        let summary = summary(&server, &floor).unwrap();
        let ratio = summary.p50_ns.unwrap().ratio.unwrap();
        assert_eq!((ratio.min, ratio.median, ratio.max), (2.0, 2.0, 2.0));
        assert_eq!(summary.p50_ns.unwrap().value.median, 600.0);
        assert_eq!(summary.samples, 200);
    }

    #[test]
    fn one_fault_voids_the_cell() {
        let mut bad = window(2, 1, 1.0);
        bad.fault = Some("3 events lost".into());
        let cell =
            Cell { workload: "ticks".into(), windows: vec![window(1, 1, 1.0), bad], summary: None };
        assert!(summary(&cell.windows, &[]).is_none());
        assert_eq!(cell.fault().unwrap(), "3 events lost (round 2)");
    }
}
