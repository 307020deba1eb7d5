//! The windows of a run, and what they say together, as data and as a table.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use load::stats::{CONFIDENCE, Method, Ratio, Spread};
use serde::{Deserialize, Serialize};

use super::{Measured, Setup};
use crate::report::Environment;

/// The version of the JSON. It grows when a field changes its meaning or goes.
const SCHEMA: u32 = 1;

/// The load's part of its core from which on the load may be what limits a rate.
const LOAD_SHARE_MAX: f64 = 0.8;

/// One window.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Window {
    /// Its round, from 1.
    pub round: u32,
    /// Nodes and bus.
    pub setup: Setup,
    /// Name and value of each figure.
    pub figures: Vec<(String, f64)>,
    /// The part of the time in which the load used its core.
    pub load_share: f64,
    /// Why it does not count: an event was lost, doubled or out of order.
    pub void: Option<String>,
    /// Why the host was not quiet.
    pub disturbed: Option<String>,
}

/// One figure of two setups.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Line {
    /// Its name, with the unit.
    pub figure: String,
    /// The setup that the other is compared with.
    pub base: Setup,
    /// The other one.
    pub setup: Setup,
    /// Over the rounds.
    pub base_value: Option<Spread>,
    /// Over the rounds.
    pub value: Option<Spread>,
    /// Of the second to the first, within rounds.
    pub ratio: Option<Ratio>,
}

/// All windows, and where they were made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// The version of the JSON.
    pub schema: u32,
    /// That of `sse-bench`.
    pub version: String,
    /// When, in UTC.
    pub began: String,
    /// The command that does it again.
    pub command: String,
    /// The server, without `sse-`.
    pub server: String,
    /// Framework and version.
    pub framework: String,
    /// The broker and its version.
    pub broker: String,
    /// `release`, `debug`, or `given`: a program that was not built by the command.
    pub build: String,
    /// Whether Ctrl-C ended the run.
    pub interrupted: bool,
    /// Where.
    pub environment: Environment,
    /// Figure by figure.
    pub lines: Vec<Line>,
    /// In the order of measurement.
    pub windows: Vec<Window>,
}

/// The comparisons, and their titles.
const COMPARISONS: [(Setup, Setup, &str, [&str; 2]); 2] = [
    (
        Setup::Memory,
        Setup::OneNode,
        "One node: topics on JetStream, against memory",
        ["memory", "JetStream"],
    ),
    (
        Setup::OneNode,
        Setup::TwoNodes,
        "JetStream: two nodes with half of the readers each, against one",
        ["one node", "two nodes"],
    ),
];

impl Window {
    pub(super) fn new(setup: Setup, measured: Measured, disturbed: Option<String>) -> Window {
        let Measured { figures, load_share, void } = measured;
        Window { round: 0, setup, figures, load_share, void, disturbed }
    }

    fn value(&self, figure: &str) -> Option<f64> {
        self.figures.iter().find(|it| it.0 == figure).map(|it| it.1)
    }
}

impl Line {
    /// Of all windows that count; none if one of the two setups does not know the figure.
    fn of(windows: &[Window], figure: &str, base: Setup, setup: Setup) -> Option<Line> {
        let values = |wanted: Setup| -> Vec<(u32, f64)> {
            let counts = windows.iter().filter(|it| it.setup == wanted && it.void.is_none());
            counts.filter_map(|it| Some((it.round, it.value(figure)?))).collect()
        };
        let (base_values, own_values) = (values(base), values(setup));
        if own_values.is_empty() {
            return None;
        }
        let of_round = |round: u32| base_values.iter().find(|it| it.0 == round).map(|it| it.1);
        let ratios = own_values.iter().filter_map(|(round, it)| Some(it / of_round(*round)?));
        let spread = |values: &[(u32, f64)]| Spread::of(values.iter().map(|it| it.1));
        Some(Line {
            figure: figure.to_owned(),
            base,
            setup,
            base_value: spread(&base_values),
            value: spread(&own_values),
            ratio: Ratio::of(ratios, CONFIDENCE),
        })
    }

    /// Both medians, and the ratio with its interval.
    fn cells(&self) -> [String; 3] {
        let median = |it: Option<Spread>| it.map_or("–".to_owned(), |it| number(it.median));
        let ratio = self.ratio.map_or("–".to_owned(), |it| match it.method {
            Method::None => format!("{:.2}", it.estimate),
            _ => format!("{:.2} [{:.2}, {:.2}]", it.estimate, it.low, it.high),
        });
        [median(self.base_value), median(self.value), ratio]
    }
}

impl Report {
    /// Of these windows; where and how they were made is added by the caller.
    pub fn of(windows: Vec<Window>) -> Report {
        let mut figures: Vec<&str> = Vec::new();
        for (figure, _) in windows.iter().flat_map(|it| &it.figures) {
            if !figures.contains(&figure.as_str()) {
                figures.push(figure);
            }
        }
        // The order of the windows is random.
        figures.sort_by_key(|it| rank(it));
        let lines = COMPARISONS
            .iter()
            .flat_map(|(base, setup, ..)| {
                figures.iter().filter_map(|it| Line::of(&windows, it, *base, *setup))
            })
            .collect();
        Report {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            began: String::new(),
            command: String::new(),
            server: String::new(),
            framework: String::new(),
            broker: String::new(),
            build: String::new(),
            interrupted: false,
            environment: Environment::default(),
            lines,
            windows,
        }
    }

    /// Reads the JSON of an earlier run.
    pub(super) fn read(file: &Path) -> Result<Report> {
        let shown = file.display();
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {shown}"))?;
        let report: Report = serde_json::from_str(&text)
            .with_context(|| format!("{shown} is no JSON of sse-bench bus"))?;
        ensure!(report.schema == SCHEMA, "{shown} is of another version of sse-bench");
        Ok(report)
    }

    /// Whether an event was lost, doubled or out of order in a window.
    pub fn is_void(&self) -> bool {
        self.windows.iter().any(|it| it.void.is_some())
    }

    /// For a terminal of 80 columns.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (base, setup, title, [first, second]) in COMPARISONS {
            let _ = writeln!(text, "{title}");
            let _ = writeln!(text, "{:<38}{first:>9} {second:>10}  ratio [95 %]", "");
            for line in self.lines_of(base, setup) {
                let [base, value, ratio] = line.cells();
                let _ = writeln!(text, "{:<38}{base:>9} {value:>10}  {ratio}", line.figure);
            }
            text.push('\n');
        }
        for remark in self.remarks() {
            let _ = writeln!(text, "{remark}");
        }
        let _ = writeln!(
            text,
            "{} on {}, {}, {} build{}\nagain: {}",
            self.framework,
            self.broker,
            self.rounds(),
            self.build,
            self.early(),
            self.command
        );
        text
    }

    /// The page of a folder of results.
    pub fn markdown(&self) -> String {
        let Report { framework, broker, build, environment, .. } = self;
        let head = environment.head("Cost of the bus", &self.command, &self.began);
        let (early, tables) = (self.early(), self.tables());
        format!(
            "{head}, load {} at the beginning; {framework}, {build} build, {broker}{early}.\n\n{tables}",
            environment.load()
        )
    }

    /// The part of a document about the bus.
    pub(super) fn section(&self) -> String {
        let Report { framework, broker, command, began, build, environment, .. } = self;
        let Environment { cpu, cores, commit, .. } = environment;
        format!(
            "Measured by `{command}`, {began}, commit {commit}: {framework}, {build} build, with {broker}, on {cores} \
             cores of {cpu}.\n\n{}",
            self.tables()
        )
    }

    fn tables(&self) -> String {
        let mut text = String::new();
        for (base, setup, title, [first, second]) in COMPARISONS {
            let _ = writeln!(
                text,
                "| {title} | {first} | {second} | ratio |\n| --- | --- | --- | --- |"
            );
            for line in self.lines_of(base, setup) {
                let [base, value, ratio] = line.cells();
                let _ = writeln!(text, "| {} | {base} | {value} | {ratio} |", line.figure);
            }
            text.push('\n');
        }
        let _ = writeln!(
            text,
            "Medians of {}. A ratio is taken within a round; in brackets its 95 % interval. Broker and nodes share one \
             core, and the load has another one: two nodes share the work here, and not the time for it. Each event \
             was checked: none is lost, doubled or out of order in a window that counts.",
            self.rounds()
        );
        for remark in self.remarks() {
            let _ = writeln!(text, "\n{remark}");
        }
        text
    }

    fn lines_of(&self, base: Setup, setup: Setup) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(move |it| it.base == base && it.setup == setup)
    }

    /// Limits of the figures.
    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        for it in self.windows.iter().filter(|it| it.void.is_some()) {
            let (round, setup, why) = (it.round, it.setup, it.void.as_deref().unwrap_or_default());
            remarks.push(format!("VOID: round {round}, {setup}: {why}"));
        }
        let disturbed = self.windows.iter().filter(|it| it.disturbed.is_some()).count();
        if disturbed > 0 {
            let all = self.windows.len();
            remarks.push(format!("The host was not quiet during {disturbed} of {all} windows."));
        }
        for figure in self.lines.iter().map(|it| &it.figure).filter(|it| it.contains("messages/s"))
        {
            for setup in [Setup::Memory, Setup::OneNode] {
                let of = self.windows.iter().filter(|it| it.setup == setup);
                let shares = of.filter(|it| it.value(figure).is_some()).map(|it| it.load_share);
                let Some(share) = Spread::of(shares).filter(|it| it.median > LOAD_SHARE_MAX) else {
                    continue;
                };
                remarks.push(format!(
                    "{figure} {setup} is a lower bound: the publishers took {:.0} % of their core.",
                    100.0 * share.median
                ));
            }
        }
        remarks
    }

    fn rounds(&self) -> String {
        let rounds = self.windows.iter().map(|it| it.round).max().unwrap_or(0);
        if rounds == 1 { "1 round".to_owned() } else { format!("{rounds} rounds") }
    }

    fn early(&self) -> &'static str {
        if self.interrupted { ", ended early" } else { "" }
    }
}

/// The place of a figure among the others: by its task, the smaller one first, and what is measured.
fn rank(figure: &str) -> (usize, usize, usize) {
    let place = |word: &str, words: &[&str]| {
        words.iter().position(|it| word.contains(it)).unwrap_or(words.len())
    };
    let (task, what) = figure.split_once(": ").unwrap_or((figure, ""));
    let task_place = place(task, &["publish by", "fan-out", "without topics"]);
    (task_place, task.len(), place(what, &["p50", "p99", "messages/s", "node", "broker"]))
}

/// Three digits, or all before the point.
fn number(it: f64) -> String {
    match it.abs() {
        0.0..10.0 => format!("{it:.2}"),
        10.0..100.0 => format!("{it:.1}"),
        _ => format!("{it:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(round: u32, setup: Setup, value: f64) -> Window {
        let figures = vec![("publish by 16: messages/s".to_owned(), value)];
        Window { round, setup, figures, load_share: 0.1, void: None, disturbed: None }
    }

    #[test]
    fn a_ratio_is_of_one_round_and_a_void_window_has_no_part_in_it() {
        let mut windows = Vec::new();
        for (round, pace) in [(1, 1.0), (2, 10.0), (3, 100.0)] {
            windows.push(window(round, Setup::Memory, 100.0 * pace));
            windows.push(window(round, Setup::OneNode, 25.0 * pace));
        }
        let ratio = Report::of(windows.clone()).lines[0].ratio.unwrap();
        assert!((ratio.estimate - 0.25).abs() < 1e-9 && ratio.n == 3, "{ratio:?}");
        windows[3].void = Some("1 lost".into());
        windows[3].figures[0].1 = 1e9;
        let report = Report::of(windows);
        let line = &report.lines[0];
        assert_eq!((line.ratio.unwrap().n, line.value.unwrap().max), (2, 2500.0));
        assert!(report.is_void() && report.text().contains("VOID: round 2, on JetStream: 1 lost"));
    }

    #[test]
    fn a_table_fits_eighty_columns_and_the_load_that_limits_a_rate_is_named() {
        let figure = "fan-out to 10000: broker CPU, µs/message".to_owned();
        let mut windows =
            vec![window(1, Setup::Memory, 123_456.7), window(1, Setup::OneNode, 12.3)];
        windows[0].load_share = 0.97;
        for setup in [Setup::OneNode, Setup::TwoNodes] {
            let figures = vec![(figure.clone(), 1234.5)];
            windows.push(Window { figures, ..window(1, setup, 0.0) });
        }
        let report = Report::of(windows);
        let text = report.text();
        let tables = text.lines().take_while(|it| !it.starts_with("publish by 16: messages/s in "));
        assert!(tables.clone().all(|it| it.chars().count() <= 80), "{text}");
        assert!(
            text.contains(
                "messages/s in memory is a lower bound: the publishers took 97 % of their core"
            ),
            "{text}"
        );
        // It is read as it was written.
        let json = serde_json::to_string(&report).unwrap();
        let again: Report = serde_json::from_str(&json).unwrap();
        assert_eq!(again.markdown(), report.markdown());
    }
}
