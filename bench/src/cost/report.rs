//! The counts as data and as tables.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use super::layer::{Layer, Source};
use super::{ByLayer, Load};
use crate::report::Environment;

/// The version of the JSON. It grows when a field changes its meaning or goes.
const SCHEMA: u32 = 2;

/// How far from one write for each event it may be: the answers to the messages are written too.
const ONE_WRITE: std::ops::RangeInclusive<f64> = 0.995..=1.02;

/// By how much a count may differ from an earlier one.
pub const TOLERANCE: f64 = 0.03;

/// So many functions of each server stand in a document.
const FUNCTIONS: usize = 12;

/// A server with an encoding.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Row {
    /// Its name without `sse-`.
    pub server: String,
    /// Framework and version.
    pub framework: String,
    /// How events get onto the wire.
    pub encoding: String,
    /// For one delivered event.
    #[serde(flatten)]
    pub event: Sums,
    /// For one more stream, from the connection to its first event.
    pub opening: Sums,
}

/// The cost of one event, or of one stream.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Sums {
    /// Instructions in user space.
    pub instructions: f64,
    /// The same by the layer of the source file.
    pub by_file: ByLayer,
    /// The same, those of Rust's library and of the C library with the layer that calls them.
    pub by_caller: ByLayer,
    /// Writes to a socket.
    pub writes: f64,
    /// System calls, by the function that makes them. valgrind makes one of each look at a clock.
    pub system_calls: BTreeMap<String, f64>,
    /// Calls of the allocator that ask for memory.
    pub allocations: f64,
    /// The most expensive functions with what they call in the two libraries, the first most.
    pub functions: Vec<Hot>,
    /// The most expensive lines likewise.
    pub lines: Vec<Hot>,
}

impl Row {
    /// True if each event was one write, so that the count is of single events.
    pub fn is_one_write(&self) -> bool {
        ONE_WRITE.contains(&self.event.writes)
    }
}

/// A function, with its most expensive line; or a line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hot {
    /// Its layer.
    pub layer: Layer,
    /// The function.
    pub function: String,
    /// File and line.
    pub line: String,
    /// Instructions.
    pub instructions: f64,
}

impl Hot {
    /// From where the code is.
    pub fn new(source: Source, instructions: f64) -> Hot {
        let Source { layer, file, line, function } = source;
        let line = if line == 0 { file } else { format!("{file}:{line}") };
        Hot { layer, function, line, instructions }
    }
}

/// All rows, and where they were made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// The version of the JSON.
    pub schema: u32,
    /// Where.
    pub environment: Environment,
    /// Streams of the topic.
    pub subscribers: usize,
    /// Messages that were counted.
    pub messages: usize,
    /// Streams that were opened and counted.
    pub opened: usize,
    /// Server by server.
    pub rows: Vec<Row>,
}

/// The counts of an earlier run.
#[derive(Debug, Deserialize)]
pub struct Earlier {
    rows: Vec<Before>,
}

#[derive(Debug, Deserialize)]
struct Before {
    server: String,
    encoding: String,
    instructions: f64,
}

impl Earlier {
    /// From the JSON of that run.
    ///
    /// # Errors
    /// If the file cannot be read, or is no such JSON.
    pub fn read(path: &Path) -> Result<Earlier> {
        let shown = path.display();
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
        serde_json::from_str(&text).with_context(|| format!("{shown} is no JSON of cost"))
    }
}

impl Report {
    /// Those of the JSON of earlier runs, in this order.
    ///
    /// # Errors
    /// If a file cannot be read, is no such JSON, or was counted otherwise than the first.
    pub fn read(paths: &[PathBuf]) -> Result<Report> {
        let mut all: Option<Report> = None;
        for path in paths {
            let shown = path.display();
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
            let report: Report = serde_json::from_str(&text)
                .with_context(|| format!("{shown} is no JSON of cost of this version"))?;
            let Some(all) = &mut all else {
                all = Some(report);
                continue;
            };
            ensure!(all.is_alike(&report), "{shown} was counted otherwise than the first");
            all.rows.extend(report.rows);
        }
        all.context("no file was given")
    }

    /// Whether the rows of both may stand in one table.
    fn is_alike(&self, other: &Report) -> bool {
        let how = |it: &Report| {
            let Environment { cpu, rustc, commit, .. } = it.environment.clone();
            (it.schema, it.subscribers, it.messages, it.opened, cpu, rustc, commit)
        };
        how(self) == how(other)
    }

    /// Whether it has a row of this server.
    pub fn has(&self, server: &str) -> bool {
        self.rows.iter().any(|it| it.server == server)
    }

    /// The rows of one run.
    pub fn new(environment: Environment, load: Load, rows: Vec<Row>) -> Report {
        let Load { subscribers, counted: messages, opened, .. } = load;
        Report { schema: SCHEMA, environment, subscribers, messages, opened, rows }
    }

    /// For a terminal, with so many functions and lines of each server.
    pub fn text(&self, lines: usize) -> String {
        let mut text = "Instructions for one delivered event, by source file\n\n".to_owned();
        self.table(&mut text, |row| &row.event, |it| &it.by_file);
        text += "\nThe same; what std and libc do counts for the layer that calls them\n\n";
        self.table(&mut text, |row| &row.event, |it| &it.by_caller);
        text += "\nInstructions for one more stream, up to its first event; likewise\n\n";
        self.table(&mut text, |row| &row.opening, |it| &it.by_caller);
        text.push('\n');
        for Row { server, encoding, event, .. } in &self.rows {
            let Sums { writes, allocations, .. } = event;
            let calls = event.calls();
            let _ = writeln!(
                text,
                "{server} {encoding}: {writes:.3} writes, {calls:.2} system calls, {allocations:.2} \
                 allocations"
            );
        }
        let Report { subscribers, messages, .. } = self;
        let _ = writeln!(
            text,
            "\nweb: the framework; async: the runtime; {subscribers} streams, {messages} messages"
        );
        for row in self.rows.iter().filter(|it| !it.is_one_write()) {
            let Row { server, encoding, event, .. } = row;
            let writes = event.writes;
            let _ = writeln!(text, "{server} {encoding}: {writes:.3} writes for each event, not 1");
        }
        for Row { server, encoding, event, .. } in self.rows.iter().filter(|_| lines > 0) {
            for (what, all) in [("functions", &event.functions), ("lines", &event.lines)] {
                let _ = writeln!(text, "\n{server} {encoding}, {what}");
                for Hot { layer, function, line, instructions } in all.iter().take(lines) {
                    let layer = layer.name();
                    let _ = writeln!(text, "{instructions:7.1} {layer:<6} {function}  {line}");
                }
            }
        }
        text
    }

    /// For a document.
    pub fn markdown(&self) -> String {
        let Environment { cpu, rustc, commit, .. } = &self.environment;
        let Report { subscribers, messages, opened, .. } = self;
        let mut text = format!(
            "Commit {commit}; {cpu}; {rustc}; {subscribers} streams, {messages} messages, then {opened} \
             more streams.\n\n### One delivered event\n\n"
        );
        self.markdown_table(&mut text, |row| &row.event);
        text += "\n### One more stream, up to its first event\n\n";
        self.markdown_table(&mut text, |row| &row.opening);
        text += "\n### The functions of an event\n";
        for Row { server, framework, encoding, event, .. } in &self.rows {
            let _ = writeln!(text, "\n#### {server}, {encoding} ({framework})\n");
            text += "| instructions | layer | function | its most expensive line |\n\
                     | ---: | --- | --- | --- |\n";
            for Hot { layer, function, line, instructions } in
                event.functions.iter().take(FUNCTIONS)
            {
                let layer = layer.name();
                let _ = writeln!(text, "| {instructions:.0} | {layer} | `{function}` | {line} |");
            }
        }
        text
    }

    fn markdown_table(&self, text: &mut String, sums: impl Fn(&Row) -> &Sums) {
        let shown = self.layers(|row| &sums(row).by_caller);
        let names: Vec<_> = shown.iter().map(|it| it.name()).collect();
        let _ = writeln!(
            text,
            "| server | encoding | all | {} | writes | system calls | allocations |\n| --- | --- {}|",
            names.join(" | "),
            "| ---: ".repeat(names.len() + 4)
        );
        for row in &self.rows {
            let Row { server, encoding, .. } = row;
            let sums = sums(row);
            let _ = write!(text, "| {server} | {encoding} | {:.0} ", sums.instructions);
            for layer in &shown {
                let _ = write!(text, "| {:.0} ", sums.by_caller.get(layer).unwrap_or(&0.0));
            }
            let Sums { writes, allocations, .. } = sums;
            let _ = writeln!(text, "| {writes:.2} | {:.2} | {allocations:.2} |", sums.calls());
        }
    }

    /// The counts that are larger than in an earlier run, in words.
    pub fn grown(&self, earlier: &Earlier) -> Vec<String> {
        let mut grown = Vec::new();
        for Row { server, encoding, event, .. } in &self.rows {
            let instructions = event.instructions;
            let is_same = |it: &&Before| it.server == *server && it.encoding == *encoding;
            let Some(Before { instructions: before, .. }) = earlier.rows.iter().find(is_same)
            else {
                continue;
            };
            if instructions > before * (1.0 + TOLERANCE) {
                let more = (instructions / before - 1.0) * 100.0;
                grown.push(format!(
                    "{server} {encoding}: {instructions:.0} instructions, {before:.0} before: \
                     {more:.1} % more"
                ));
            }
        }
        grown
    }

    /// The layers that have a number in one row at least.
    fn layers<'r>(&'r self, layers: impl Fn(&'r Row) -> &'r ByLayer) -> Vec<Layer> {
        let has = |layer: &Layer| self.rows.iter().any(|row| layers(row).contains_key(layer));
        Layer::ALL.into_iter().filter(has).collect()
    }

    fn table(
        &self,
        text: &mut String,
        sums: impl Fn(&Row) -> &Sums,
        layers: impl Fn(&Sums) -> &ByLayer,
    ) {
        let shown = self.layers(|row| layers(sums(row)));
        let _ = write!(text, "{:<18}{:>6}", "server", "all");
        for layer in &shown {
            let _ = write!(text, "{:>7}", layer.name());
        }
        text.push('\n');
        for row in &self.rows {
            let name = format!("{} {}", row.server, row.encoding);
            let _ = write!(text, "{name:<18}{:>6.0}", sums(row).instructions);
            for layer in &shown {
                let _ = write!(text, "{:>7.0}", layers(sums(row)).get(layer).unwrap_or(&0.0));
            }
            text.push('\n');
        }
    }
}

impl Sums {
    /// System calls of all kinds.
    fn calls(&self) -> f64 {
        self.system_calls.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(instructions: f64, writes: f64) -> Report {
        let hot = Hot {
            layer: Layer::Feed,
            function: "A::b".into(),
            line: "feed/src/a.rs:7".into(),
            instructions,
        };
        let event = Sums {
            instructions,
            by_file: [(Layer::Feed, 300.0), (Layer::Http, 700.0)].into(),
            writes,
            functions: vec![hot.clone()],
            lines: vec![hot],
            ..Sums::default()
        };
        let (server, encoding) = ("newcomer".into(), "shared".into());
        let row = Row { server, encoding, event, ..Row::default() };
        let load = Load { subscribers: 2, uncounted: 1, counted: 3, opened: 1 };
        Report::new(Environment::default(), load, vec![row])
    }

    #[test]
    fn the_table_fits_a_terminal_and_shows_the_lines_that_were_asked_for() {
        let text = report(1000.0, 1.0).text(1);
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        assert!(text.contains("newcomer shared     1000    300    700\n"), "{text}");
        assert!(text.contains(" 1000.0 feed   A::b  feed/src/a.rs:7\n"), "{text}");
        assert!(!report(1000.0, 1.0).text(0).contains("a.rs"));
        let markdown = report(1000.0, 1.0).markdown();
        assert!(markdown.contains("| 1000 | feed | `A::b` | feed/src/a.rs:7 |\n"), "{markdown}");
    }

    #[test]
    fn events_that_are_written_together_are_no_single_events() {
        assert!(report(1.0, 1.005).rows[0].is_one_write());
        let together = report(1.0, 0.5);
        assert!(!together.rows[0].is_one_write());
        assert!(together.text(0).contains("0.500 writes for each event, not 1"));
    }

    #[test]
    fn a_count_that_has_grown_is_found() {
        let before = serde_json::to_string(&report(1000.0, 1.0)).unwrap();
        let before: Earlier = serde_json::from_str(&before).unwrap();
        assert_eq!(report(1029.0, 1.0).grown(&before), [""; 0]);
        let grown = report(1031.0, 1.0).grown(&before);
        assert!(grown[0].contains("newcomer shared: 1031 instructions, 1000 before: 3.1 % more"));
        assert!(serde_json::from_str::<Earlier>("{}").is_err());
    }
}
