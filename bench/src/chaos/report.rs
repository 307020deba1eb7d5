//! The results of the runs, as data and as a table.

use std::fmt::Write as _;

use serde::Serialize;
use wire::ledger::Findings;

use super::play::{Figures, Outcome};
use super::schedule::Schedule;
use crate::report::Environment;

/// The version of the JSON. It grows when a field changes its meaning or goes.
const SCHEMA: u32 = 1;

/// A kind of failure, and its first cases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its name.
    pub kind: &'static str,
    /// How many there are.
    pub count: u64,
    /// The first of them, in words.
    pub examples: Vec<String>,
    /// Why it fails no run, if the schedule says so.
    pub allowed: Option<String>,
}

/// The shortest schedule that still showed a failure.
#[derive(Debug, Clone, Serialize)]
pub struct Shortest {
    /// The file that has it.
    pub file: String,
    /// Its steps.
    pub steps: usize,
    /// Runs that were made to find it.
    pub replays: usize,
    /// The command that plays it.
    pub again: String,
}

/// One run.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The seed of the schedule.
    pub seed: u64,
    /// Brokers.
    pub brokers: usize,
    /// Nodes, by the names of their servers.
    pub nodes: Vec<String>,
    /// Readers.
    pub clients: usize,
    /// Messages a second that were asked for.
    pub rate: u64,
    /// Whether retention was shorter than absences.
    pub gaps_allowed: bool,
    /// The numbers.
    pub figures: Figures,
    /// All failures, also those that are allowed.
    pub findings: Vec<Finding>,
    /// The shortest schedule, if it failed.
    pub shortest: Option<Shortest>,
    /// The command that does it again.
    pub again: String,
}

impl Row {
    /// The row of a run; the caller adds the rest.
    pub(super) fn of(schedule: &Schedule, outcome: &Outcome, again: String) -> Row {
        Row {
            seed: schedule.seed,
            brokers: schedule.brokers,
            nodes: schedule.nodes.clone(),
            clients: schedule.clients,
            rate: schedule.rate,
            gaps_allowed: schedule.gaps,
            figures: outcome.figures.clone(),
            findings: findings(schedule, outcome),
            shortest: None,
            again,
        }
    }

    /// Whether the run broke a promise.
    pub fn has_failed(&self) -> bool {
        self.findings.iter().any(|it| it.allowed.is_none())
    }

    /// The kinds of its failures.
    pub fn kinds(&self) -> Vec<&'static str> {
        let failures = self.findings.iter().filter(|it| it.allowed.is_none());
        failures.map(|it| it.kind).collect()
    }

    fn cells(&self) -> Vec<String> {
        let it = &self.figures;
        let numbers = [
            it.moves,
            it.kills,
            it.stops,
            it.broker_restarts,
            it.cuts,
            it.acknowledged,
            it.delivered,
            it.lost,
            it.doubled,
            it.misordered,
            it.gaps,
        ];
        let mut cells = vec![self.seed.to_string(), self.brokers.to_string()];
        cells.extend(numbers.map(|it| it.to_string()));
        cells.push(format!("{:.1} s", it.longest_absence_ms as f64 / 1000.0));
        cells.push(if self.has_failed() { "FAILED" } else { "held" }.to_owned());
        cells
    }

    /// The numbers that have no column, then the failures.
    fn words(&self) -> String {
        let Row { seed, clients, rate, nodes, figures, .. } = self;
        let Figures { took_s, breaks, silences, repeats, refusals, unacknowledged, .. } = figures;
        let mut words = format!(
            "seed {seed}: {clients} clients, {rate} messages a second to {} ({}), {took_s:.0} s; {breaks} streams \
             ended under their readers, {silences} were left since nothing came; {repeats} posts were repeated, \
             {refusals} refused; {unacknowledged} messages came without an acknowledgement\n",
            if nodes.len() == 1 { "one node".into() } else { format!("{} nodes", nodes.len()) },
            nodes.join(", "),
        );
        for Finding { kind, count, examples, allowed } in &self.findings {
            let verdict = match allowed {
                None => "FAILED",
                Some(_) => "allowed",
            };
            let _ = write!(words, "\n{verdict} seed {seed}, {kind}: {count}");
            if let Some(reason) = allowed {
                let _ = write!(words, " ({reason})");
            }
            words.push('\n');
            for example in examples {
                let _ = writeln!(words, "- {example}");
            }
        }
        if let Some(Shortest { steps, replays, file, again }) = &self.shortest {
            let _ = writeln!(
                words,
                "\nThe shortest schedule that showed it has {steps} steps, found in {replays} replays: {file}\n  again: {again}"
            );
        }
        if self.has_failed() {
            let _ = writeln!(words, "  the whole run: {}", self.again);
        }
        words
    }
}

/// The failures of a run.
fn findings(schedule: &Schedule, outcome: &Outcome) -> Vec<Finding> {
    let judgement = &outcome.judgement;
    let reason = schedule.broker_loss.clone();
    let finding = |kind, it: &Findings, allowed: Option<String>| Finding {
        kind,
        count: it.count,
        examples: it.examples.clone(),
        allowed,
    };
    let of_servers = judgement.of_servers().map(|(kind, it)| finding(kind, it, None));
    let of_broker = judgement.of_broker().map(|(kind, it)| finding(kind, it, reason.clone()));
    let odd = Finding {
        kind: "odd answer",
        count: outcome.odd.len() as u64,
        examples: outcome.odd.clone(),
        allowed: None,
    };
    let all = of_servers.into_iter().chain(of_broker).chain([odd]);
    all.filter(|it| it.count > 0).collect()
}

/// All runs, and where they were made.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The version of the JSON.
    pub schema: u32,
    /// That of `sse-bench`.
    pub version: &'static str,
    /// When, in UTC.
    pub began: String,
    /// The command that does it again.
    pub command: String,
    /// Whether the nodes were release builds; unknown if their programs were given.
    pub release: Option<bool>,
    /// The broker, as it says itself.
    pub broker: String,
    /// Where.
    pub environment: Environment,
    /// Run by run.
    pub rows: Vec<Row>,
}

impl Default for Report {
    fn default() -> Report {
        Report {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            began: String::new(),
            command: String::new(),
            release: None,
            broker: String::new(),
            environment: Environment::default(),
            rows: Vec::new(),
        }
    }
}

const COLUMNS: [&str; 15] = [
    "seed",
    "brokers",
    "moves",
    "kills",
    "stops",
    "broker restarts",
    "cuts",
    "acknowledged",
    "delivered",
    "lost",
    "doubled",
    "out of order",
    "gaps",
    "longest absence",
    "verdict",
];

impl Report {
    /// Whether a run broke a promise.
    pub fn has_failed(&self) -> bool {
        self.rows.iter().any(Row::has_failed)
    }

    /// For a terminal: a line for each number.
    pub fn text(&self) -> String {
        let mut lines: Vec<Vec<String>> = vec![COLUMNS.iter().map(|it| (*it).to_owned()).collect()];
        lines.extend(self.rows.iter().map(Row::cells));
        let mut text = String::new();
        for column in 0..COLUMNS.len() {
            let cells = lines.iter().map(|line| &line[column]);
            let mut line = String::new();
            for (number, cell) in cells.enumerate() {
                let _ = match number {
                    0 => write!(line, "{cell:<16}"),
                    _ => write!(line, " {cell:>10}"),
                };
            }
            let _ = writeln!(text, "{line}");
        }
        for row in &self.rows {
            let _ = write!(text, "\n{}", row.words());
        }
        text
    }

    /// For a document.
    pub fn markdown(&self) -> String {
        let build = match self.release {
            Some(true) => "release builds",
            Some(false) => "debug builds",
            None => "programs that were there",
        };
        let mut text = self.environment.head("Chaos", &self.command, &self.began);
        let _ = write!(
            text,
            "; {}, {build}.\n\n*Acknowledged* counts messages, *delivered* events at all clients. *Lost*: acknowledged, in \
             the broker's stream, and passed over at a client.\n\n",
            self.broker
        );
        let _ = writeln!(text, "| {} |", COLUMNS.join(" | "));
        let _ = writeln!(text, "|{}", " ---: |".repeat(COLUMNS.len()));
        for row in &self.rows {
            let _ = writeln!(text, "| {} |", row.cells().join(" | "));
        }
        for row in &self.rows {
            let _ = write!(text, "\n{}", row.words());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use wire::ledger::Judgement;

    use super::super::schedule::{Length, Plan};
    use super::*;

    fn schedule() -> Schedule {
        let nodes = vec!["axum".to_owned()];
        let length = Length::Seconds(1);
        let (seed, brokers, clients, rate, gaps) = (7, 1, 2, 5, false);
        Schedule::of(&Plan { seed, nodes, brokers, clients, rate, gaps, length }).unwrap()
    }

    fn outcome() -> Outcome {
        let figures = Figures { moves: 12, longest_absence_ms: 1500, ..Figures::default() };
        Outcome { judgement: Judgement::default(), figures, odd: Vec::new() }
    }

    #[test]
    fn a_run_without_findings_has_held() {
        let row = Row::of(&schedule(), &outcome(), "sse-bench chaos --seed 7".into());
        assert!(!row.has_failed());
        let report = Report { rows: vec![row], ..Report::default() };
        let text = report.text();
        for words in ["moves                    12", "1.5 s", "held", "one node (axum)"] {
            assert!(text.contains(words), "{words}\n{text}");
        }
        let table = report.markdown();
        let widths: Vec<_> = table
            .lines()
            .filter(|it| it.starts_with('|'))
            .map(|it| it.matches('|').count())
            .collect();
        assert_eq!(widths, [COLUMNS.len() + 1; 3], "{table}");
    }

    #[test]
    fn the_loss_of_a_broker_is_allowed_if_the_schedule_says_why() {
        let mut outcome = outcome();
        outcome.judgement.broker_lost.count = 3;
        let failed = Row::of(&schedule(), &outcome, String::new());
        assert_eq!(failed.kinds(), ["lost by the broker"]);
        let reason = Some("its store is gone".to_owned());
        let schedule = Schedule { broker_loss: reason, ..schedule() };
        let allowed = Row::of(&schedule, &outcome, String::new());
        assert!(!allowed.has_failed() && allowed.words().contains("its store is gone"));
        outcome.judgement.lost.count = 1;
        outcome.odd.push("status 500".to_owned());
        let row = Row::of(&schedule, &outcome, String::new());
        assert_eq!(row.kinds(), ["lost", "odd answer"]);
    }
}
