//! A report: what was measured, as data. Text and Markdown are renderings of it.
//!
//! `report.json` holds a [`Report`]. Every window that was measured stands in it with its faults;
//! summaries are medians over rounds, and ratios are taken to the floor *within* a round before
//! they are averaged, so that noise which hits both cancels.

pub mod compare;
mod environment;
mod figure;
pub mod hlog;
mod html;
mod plot;
mod render;
mod splice;
mod table;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

pub use environment::Environment;
pub use figure::{Distribution, FIGURES, Figure, HEADLINES, Unit, figure, significant};
pub use html::html;
pub use render::{markdown, summary_markdown, text};
pub use splice::splice;

use crate::load::ledger::Step;
use crate::load::{Shape, Workload};
use crate::stats::{CONFIDENCE, Ratio, Spread};

/// The version of the JSON. It grows when a field changes its meaning or goes.
pub const SCHEMA: u32 = 2;

/// The file in a report's folder that holds the data.
const JSON_NAME: &str = "report.json";

/// The file in a report's folder for a browser.
const HTML_NAME: &str = "report.html";

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
    /// What the harness found of known truths before it measured.
    pub self_check: Vec<Check>,
    /// What the generator takes beside a bare receive loop.
    pub bare_loop: Option<BareLoop>,
    /// How far the numbers can be believed.
    pub trust: Trust,
    /// What was measured.
    pub workloads: Vec<Workload>,
    /// A row for each server and encoding; the floor is the first.
    pub rows: Vec<Row>,
    /// What a reader must know about this run in particular.
    pub notes: Vec<String>,
}

/// A known truth, and what the harness made of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What the server or the host was made to do.
    pub what: String,
    /// What had to be found.
    pub truth: String,
    /// What was found.
    pub found: String,
    /// Whether that is the truth.
    pub passed: bool,
}

/// The generator's CPU time for an event, beside that of a loop that only receives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BareLoop {
    /// The generator's, nanoseconds, the median of the pairs.
    pub generator_ns: f64,
    /// The bare loop's.
    pub bare_ns: f64,
    /// The one divided by the other, pair by pair.
    pub ratio: Ratio,
    /// The ratio must not be above this.
    pub limit: f64,
}

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
    /// The row of which this is a second copy under another name.
    #[serde(default)]
    pub twin_of: Option<String>,
    /// Nothing if the suite was not asked (the floor, or a run without it).
    pub conformance: Option<Conformance>,
    /// Calls that write, for each delivered event of a broadcast, counted in a run of its own;
    /// nothing if they cannot be counted here.
    #[serde(default)]
    pub write_calls_per_event: Option<f64>,
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
    /// One for each round, and those that were repeated.
    pub windows: Vec<Window>,
    /// The latencies of all rounds that count, merged.
    pub latency: Option<Distribution>,
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
    /// From 1; more if the one before was disturbed.
    pub attempt: u32,
    /// Why its numbers do not count, or nothing.
    pub fault: Option<String>,
    /// Why the host was not quiet, or nothing.
    pub poisoned: Option<String>,
    /// What the host did meanwhile.
    pub host: Hiccup,
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
    /// `latency` (received − scheduled), `emit_lateness` (sent − scheduled), `transit` (received −
    /// sent), `connect_time`, `time_to_headers`, `time_to_first_byte`, `time_to_first_event`,
    /// `fanout_skew` (last − first subscriber).
    pub distributions: BTreeMap<String, Distribution>,
    /// Everything else, by name; the unit is the last word.
    pub figures: BTreeMap<String, f64>,
    /// Memory against open streams.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory: Vec<MemoryPoint>,
    /// The steps of a search for the highest rate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<Probe>,
    /// Deliveries by the time they came at, in steps of 100 ms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<Step>,
    /// The harness's own share in it.
    pub generator: Generator,
}

/// What the host did during a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Hiccup {
    /// Share of time that a spinning thread lost, on the worse core, before or after, 0 to 1.
    pub spin_loss: f64,
    /// The longest it was away, nanoseconds.
    pub spin_gap_ns: u64,
    /// Share of time that the hypervisor took, 0 to 1.
    pub steal: f64,
    /// Share of time in which some task waited for a core (PSI), 0 to 1; the server's own threads
    /// count too.
    pub pressure: f64,
    /// CPU time of neither server nor harness, as a share of one core.
    pub foreign: f64,
}

/// Memory at one count of open streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPoint {
    /// Open streams.
    pub streams: u64,
    /// Resident bytes of the server.
    pub resident_bytes: u64,
    /// Kernel memory (slab) of the whole host, both ends of each connection.
    pub kernel_bytes: u64,
}

/// One step of a search for the highest rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Deliveries due in a second.
    pub offered_per_s: f64,
    /// Deliveries that came.
    pub achieved_per_s: f64,
    /// Latency.
    pub p50_ns: u64,
    /// Latency, which the objective is about.
    pub p99_ns: u64,
    /// Everything came, and in time.
    pub met: bool,
    /// The generator, not the server, may have set the pace.
    pub generator_bound: bool,
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

/// The share of its core at which the generator, not the server, sets the pace.
pub const BOUND_SHARE: f64 = 0.9;

impl Generator {
    /// Whether the generator may have been the bottleneck.
    pub fn is_bound(&self) -> bool {
        self.cpu_share >= BOUND_SHARE
    }
}

/// A cell over its rounds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Deliveries due, all rounds together.
    pub expected: u64,
    /// Deliveries that came.
    pub delivered: u64,
    /// Rounds that count.
    pub rounds: u64,
    /// Of these, rounds in which the host was disturbed.
    pub poisoned: u64,
    /// Whether the generator may have been the bottleneck in one of them.
    pub generator_bound: bool,
    /// By the name of the figure.
    pub measures: BTreeMap<String, Measure>,
}

/// A value over the rounds, absolute and as a multiple of the floor's in the same round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measure {
    /// As measured.
    pub value: Spread,
    /// Round by round, in their order.
    pub rounds: Vec<f64>,
    /// Divided by the floor's; nothing without a floor.
    pub ratio: Option<Ratio>,
}

impl Report {
    /// Fills in the summaries from the windows.
    pub fn summarise(&mut self) {
        self.isolate();
        let floor: Vec<Cell> = self
            .rows
            .iter()
            .find(|row| row.is_floor())
            .map_or_else(Vec::new, |it| it.cells.clone());
        for cell in self.rows.iter_mut().flat_map(|row| &mut row.cells) {
            let floor = floor.iter().find(|it| it.workload == cell.workload);
            cell.summary = summary(&cell.windows, floor.map_or(&[], |it| &it.windows));
        }
        self.judge();
    }

    /// Compares the windows with stalled readers with those of the same round without.
    fn isolate(&mut self) {
        let stalls = |it: &&Workload| match it.shape {
            Shape::Broadcast { stalled_each, .. } => stalled_each > 0,
            _ => false,
        };
        let stalled: Vec<&Workload> = self.workloads.iter().filter(stalls).collect();
        for workload in stalled {
            let Shape::Broadcast { subscribers, interval_us, pad_bytes, .. } = workload.shape
            else {
                continue;
            };
            let without = self.workloads.iter().find(|it| match it.shape {
                Shape::Broadcast {
                    subscribers: s,
                    interval_us: i,
                    pad_bytes: p,
                    stalled_each: 0,
                    ..
                } => (s, i, p) == (subscribers, interval_us, pad_bytes),
                _ => false,
            });
            let Some(without) = without else { continue };
            for row in &mut self.rows {
                let p99 = |it: &Window| Some(it.distributions.get("latency")?.p99_ns as f64);
                let calm: BTreeMap<u32, f64> =
                    row.cell(&without.name).map_or_else(BTreeMap::new, |cell| {
                        let used = used(&cell.windows);
                        used.iter().filter_map(|it| Some((it.round, p99(it)?))).collect()
                    });
                let cell = row.cells.iter_mut().find(|it| it.workload == workload.name);
                for window in cell.into_iter().flat_map(|it| &mut it.windows) {
                    if let (Some(with), Some(calm)) = (p99(window), calm.get(&window.round)) {
                        window.figures.insert("isolation_ratio".into(), with / calm);
                    }
                }
            }
        }
    }

    /// How far the numbers can be believed.
    fn judge(&mut self) {
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

    /// Whether a server lost, doubled or misordered an event, failed a case or did not run.
    pub fn is_as_expected(&self) -> bool {
        self.rows.iter().all(|row| {
            row.fault().is_none()
                && row.conformance.as_ref().is_none_or(|it| it.unexpected.is_empty())
        })
    }

    /// Writes `report.json`, `report.md` and `report.html` into `folder`.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let cannot = || format!("cannot write the report into {}", folder.display());
        std::fs::create_dir_all(folder).with_context(cannot)?;
        let mut json = serde_json::to_string_pretty(self)?;
        json.push('\n');
        std::fs::write(folder.join(JSON_NAME), json).with_context(cannot)?;
        std::fs::write(folder.join(HTML_NAME), html(self)).with_context(cannot)?;
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
    /// What names it in the run: server and encoding.
    pub fn key(&self) -> String {
        match &self.encoding {
            Some(encoding) => format!("{} {encoding}", self.server),
            None => self.server.clone(),
        }
    }

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
        used(&self.windows).into_iter().find_map(|window| {
            let fault = window.fault.as_ref()?;
            Some(format!("{fault} (round {})", window.round))
        })
    }
}

/// The windows that count, by round: the last attempt of each, without those that were disturbed
/// if at least half of the rounds, and two, are clean.
///
/// A disturbed window with a fault does not count as long as another is left: its fault may be the
/// host's. A server that loses events loses them in clean windows too.
pub(crate) fn used(windows: &[Window]) -> Vec<&Window> {
    let mut last: BTreeMap<u32, &Window> = BTreeMap::new();
    for window in windows {
        let before = last.get(&window.round);
        if before.is_none_or(|it| it.poisoned.is_some() && it.attempt < window.attempt) {
            last.insert(window.round, window);
        }
    }
    let all: Vec<&Window> = last.into_values().collect();
    let clean: Vec<&Window> = all.iter().copied().filter(|it| it.poisoned.is_none()).collect();
    let enough = clean.len() >= all.len().div_ceil(2).max(all.len().min(2));
    if enough {
        return clean;
    }
    let excused = |it: &&Window| it.poisoned.is_some() && it.fault.is_some();
    let rest: Vec<&Window> = all.iter().copied().filter(|it| !excused(it)).collect();
    if rest.is_empty() { all } else { rest }
}

/// Round by round, one figure of `of` divided by that of `to`.
fn ratios(of: &[&Window], to: &[&Window], name: &str) -> Vec<f64> {
    let value = |window: &Window| figure::of_window(window).get(name).copied();
    of.iter()
        .filter_map(|window| {
            let same = to.iter().find(|it| it.round == window.round && it.fault.is_none())?;
            Some(value(window)? / value(same).filter(|it| *it > 0.0)?)
        })
        .collect()
}

fn summary(windows: &[Window], floor: &[Window]) -> Option<Summary> {
    let (windows, floor) = (used(windows), used(floor));
    if windows.is_empty() || windows.iter().any(|it| it.fault.is_some()) {
        return None;
    }
    let mut rounds: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for window in &windows {
        for (name, value) in figure::of_window(window) {
            rounds.entry(name).or_default().push(value);
        }
    }
    let measures = rounds.into_iter().filter_map(|(name, rounds)| {
        let value = Spread::of(rounds.iter().copied())?;
        let ratio = Ratio::of(ratios(&windows, &floor, &name), CONFIDENCE);
        Some((name, Measure { value, rounds, ratio }))
    });
    Some(Summary {
        expected: windows.iter().map(|it| it.expected).sum(),
        delivered: windows.iter().map(|it| it.delivered).sum(),
        rounds: windows.len() as u64,
        poisoned: windows.iter().filter(|it| it.poisoned.is_some()).count() as u64,
        generator_bound: windows.iter().any(|it| it.generator.is_bound()),
        measures: measures.collect(),
    })
}

impl Summary {
    /// The measure of this name.
    pub fn get(&self, name: &str) -> Option<&Measure> {
        self.measures.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn window(round: u32, p50_ns: u64, cpu: f64) -> Window {
        let latency = Distribution {
            n: 100,
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
            distributions: [("latency".to_owned(), latency)].into(),
            figures: [("cpu_ns_per_event".to_owned(), cpu)].into(),
            ..Window::default()
        }
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // A noisy second round hits both alike: the ratio stays 2.
        let floor = [window(1, 100, 10.0), window(2, 500, 50.0)];
        let server = [window(2, 1000, 100.0), window(1, 200, 20.0)];
        let summary = summary(&server, &floor).unwrap();
        let p50 = summary.get("latency_p50_ns").unwrap();
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
        assert!(summary(&cell.windows, &[]).is_none());
        assert_eq!(cell.fault().unwrap(), "3 events lost (round 2)");
    }

    #[test]
    fn a_disturbed_window_does_not_count_once_it_was_repeated() {
        let mut bad = window(1, 9000, 900.0);
        bad.poisoned = Some("a spinning thread lost 30 %".into());
        bad.fault = Some("3 events lost".into());
        let mut again = window(1, 200, 20.0);
        again.attempt = 2;
        let summary = summary(&[bad.clone(), again, window(2, 200, 20.0)], &[]).unwrap();
        assert_eq!((summary.rounds, summary.poisoned), (2, 0));
        assert_eq!(summary.get("cpu_ns_per_event").unwrap().value.max, 20.0);
        // Disturbed and faulty, it does not count beside one that is only disturbed.
        let mut other = window(2, 300, 30.0);
        other.poisoned = Some("others used 50 % of a core".into());
        let summary = super::summary(&[bad.clone(), other], &[]).unwrap();
        assert_eq!((summary.rounds, summary.poisoned), (1, 1));
        // But alone it is all there is to say.
        assert!(super::summary(&[bad.clone()], &[]).is_none());
        // With no clean round, it counts, and that is said.
        bad.fault = None;
        let summary = super::summary(&[bad], &[]).unwrap();
        assert_eq!((summary.rounds, summary.poisoned), (1, 1));
    }
}
