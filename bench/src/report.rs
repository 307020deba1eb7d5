//! A report: what was measured, as data. Text and Markdown are renderings of it.
//!
//! `report.json` holds a [`Report`]. Every window that was measured stands in it with its faults;
//! summaries are medians over rounds, and ratios are taken to the floor *within* a round before
//! they are averaged, so that noise which hits both cancels.

#[cfg(test)]
mod agreement;
mod charts;
pub mod compare;
mod environment;
mod figure;
mod headline;
mod html;
mod load_page;
mod plot;
mod ranking;
mod remarks;
mod render;
mod summary;
mod trust;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use load::Workload;
use load::ledger::Step;
use load::stats::{Distribution, Ratio};
use load::truths::Check;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

pub use environment::{Environment, cpu};
pub use figure::{Distributions, FIGURES, Figure, Figures, HEADLINES, Unit, significant};
pub(crate) use headline::cost_rows;
pub use headline::headline_markdown;
pub use html::html;
pub(crate) use html::{CHART_STYLE, Frame, front_charts, page_of};
pub use load_page::load_page;
pub use render::{markdown, text};
use summary::Noises;
pub(crate) use summary::used;
pub use summary::{Measure, Summary};
pub use trust::{Trust, TwinTest};

/// The version of the JSON. It grows when a field changes its meaning or goes.
pub const SCHEMA: u32 = 4;

/// The server that is in every run, and that has no package.
pub const FLOOR: &str = "floor";

/// The suffix of the name of a server's second copy.
pub const TWIN: &str = " (twin)";

/// The file in a report's folder that holds the data.
pub(crate) const JSON_NAME: &str = "report.json";

/// Beginnings of a row, a cell, a window, and of what follows the windows: each begins a line of the JSON, so that `git diff`
/// and `grep` show a window and not the whole report. A quote within a string is escaped, so these words are nothing else.
const LINE_BEGINNINGS: [&str; 4] =
    [r#"{"server":"#, r#"{"workload":"#, r#"{"round":"#, r#"],"latency":"#];

/// The file in a report's folder for a browser.
const HTML_NAME: &str = "report.html";

/// The file in a report's folder for people.
const MARKDOWN_NAME: &str = "report.md";

/// A report of `sse-bench run`.
///
/// Times are nanoseconds, sizes bytes, shares 0 to 1, unless a name's last word says otherwise.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// The version of this schema.
    #[schemars(extend("const" = SCHEMA))]
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
    /// Whether it was interrupted, and reports what it had until then.
    pub partial: bool,
    /// Where it ran.
    pub environment: Environment,
    /// The known truths that the harness had to find before it measured.
    pub self_check: Vec<Check>,
    /// The cost of the generator beside a bare receive loop.
    pub bare_loop: Option<BareLoop>,
    /// How far the numbers can be believed.
    pub trust: Trust,
    /// The workloads that were measured.
    pub workloads: Vec<Workload>,
    /// A row for each server and encoding; the floor is the first.
    pub rows: Vec<Row>,
    /// Remarks about this run in particular.
    pub notes: Vec<String>,
}

/// The generator's CPU time for an event, beside that of a loop that only receives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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

/// One server in one encoding.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// The package without `sse-`, the folder of a server of others, or `floor`.
    pub server: String,
    /// The framework it is written with.
    pub framework: String,
    /// The framework's version; of a server of others the versions that were installed.
    pub framework_version: String,
    /// `shared` or `native`; nothing for a server of others and for the floor, `coalescing 5 ms` for the second one.
    pub encoding: Option<String>,
    /// The row of which this is a second copy under another name.
    pub twin_of: Option<String>,
    /// Nothing if the suite was not asked (the floor, or a run without it).
    pub conformance: Option<Conformance>,
    /// Calls that write, for each delivered event of a broadcast, counted in a separate run;
    /// nothing if they cannot be counted here.
    pub write_calls_per_event: Option<f64>,
    /// Why the row has no numbers at all: it does not build or start.
    pub error: Option<String>,
    /// One for each workload that was measured.
    pub cells: Vec<Cell>,
}

/// The result of the conformance suite.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Conformance {
    /// The version of the suite.
    pub suite_version: u32,
    /// Cases that passed.
    pub passed: u64,
    /// Cases that failed, the known deviations included.
    pub failed: u64,
    /// Cases that failed, recommendations included.
    pub missed: Vec<String>,
    /// Cases with an unexpected result: failed and not listed as a deviation, or listed and passed.
    pub unexpected: Vec<String>,
    /// How long it took, seconds.
    pub took_s: f64,
}

impl Conformance {
    /// How many of those that failed are recommendations.
    pub(crate) fn recommendations(&self) -> usize {
        self.missed.len().saturating_sub(self.failed as usize)
    }
}

/// One server under one workload.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Window {
    /// From 1.
    #[schemars(range(min = 1))]
    pub round: u32,
    /// Its place in the order of the run, from 1.
    pub position: u32,
    /// From 1; more if the one before was disturbed.
    #[schemars(range(min = 1))]
    pub attempt: u32,
    /// Why its numbers do not count, or nothing.
    pub fault: Option<String>,
    /// Why the host was not quiet, or nothing.
    pub poisoned: Option<String>,
    /// Activity of the host meanwhile.
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
    /// Latencies and other times of many events.
    pub distributions: Distributions,
    /// Everything else; the unit is the last word.
    pub figures: Figures,
    /// Memory against open streams.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory: Vec<MemoryPoint>,
    /// Deliveries by the time they came at, in steps of 100 ms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<Step>,
    /// The harness's own share in it.
    pub generator: Generator,
}

/// Activity of the host during a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryPoint {
    /// Open streams.
    pub streams: u64,
    /// Resident bytes of the server.
    pub resident_bytes: u64,
    /// Kernel memory (slab) of the whole host, both ends of each connection.
    pub kernel_bytes: u64,
}

/// How the generator itself fared.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
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

impl AsRef<Window> for Window {
    fn as_ref(&self) -> &Window {
        self
    }
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
        let noises: BTreeMap<String, Noises> = self
            .workloads
            .iter()
            .map(|it| (it.name.clone(), summary::noises(&self.rows, &it.name)))
            .collect();
        for cell in self.rows.iter_mut().flat_map(|row| &mut row.cells) {
            let floor = floor.iter().find(|it| it.workload == cell.workload);
            let floor = floor.map_or(&[][..], |it| &it.windows);
            let none = Noises::new();
            let noises = noises.get(&cell.workload).unwrap_or(&none);
            cell.summary = summary::of(&cell.windows, floor, noises);
        }
        self.judge();
    }

    /// Each server that lost, doubled or misordered an event, failed a case or did not run, with that.
    pub fn failures(&self) -> Vec<String> {
        let of = |row: &Row| {
            let cases = row.conformance.as_ref().filter(|it| !it.unexpected.is_empty());
            let cases = cases.map(|it| format!("unexpected: {}", it.unexpected.join(", ")));
            let words: Vec<_> = row.fault().into_iter().chain(cases).collect();
            (!words.is_empty())
                .then(|| format!("{}: {}", render::name(row).join(" "), words.join("; ")))
        };
        self.rows.iter().filter_map(of).collect()
    }

    /// Writes the data as `report.json` into `folder`, and its renderings beside it.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let mut json = serde_json::to_string(self)?;
        for beginning in LINE_BEGINNINGS {
            json = json.replace(beginning, &format!("\n{beginning}"));
        }
        json.push('\n');
        conform::report::write(&folder.join(JSON_NAME), &json)?;
        self.render(folder)
    }

    /// Writes `report.md` and `report.html` into `folder`; the data beside them stays as it is.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn render(&self, folder: &Path) -> Result<()> {
        conform::report::write(&folder.join(HTML_NAME), &html(self, folder))?;
        conform::report::write(&folder.join(MARKDOWN_NAME), &markdown(self))
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
            Some(schema) => bail!(
                "{shown} has schema {schema} and this sse-bench reads schema {SCHEMA}; run it again, or use the sse-bench that \
                 wrote it"
            ),
            None => bail!("{shown} is not a report of sse-bench"),
        }
        serde_json::from_value(json).with_context(|| format!("{shown} is not as its schema says"))
    }
}

/// The JSON Schema of `report.json`: every field that is written, and no other.
pub fn schema() -> Schema {
    let closed = |schema: &mut Schema| {
        // Formats name Rust's own types.
        schema.remove("format");
        if schema.get("properties").is_some() {
            schema.insert("additionalProperties".into(), false.into());
        }
    };
    SchemaSettings::draft2020_12()
        .for_serialize()
        .with_transform(RecursiveTransform(closed))
        .into_generator()
        .into_root_schema_for::<Report>()
}

impl Row {
    /// Its name in the run: server and encoding.
    pub fn key(&self) -> String {
        match &self.encoding {
            Some(encoding) => format!("{} {encoding}", self.server),
            None => self.server.clone(),
        }
    }

    /// Whether this is the floor that all are compared with.
    pub fn is_floor(&self) -> bool {
        self.is_a_floor() && self.encoding.is_none()
    }

    /// Whether this is that floor or the second one.
    pub fn is_a_floor(&self) -> bool {
        self.server == FLOOR
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
