//! The results of the attacks, as data and as a table.

use std::fmt::Write as _;

use conform::{AttackDeviation, Known};
use serde::Serialize;

use super::{ATTACKS, Failure, Figures, Outcome, Size};
use crate::report::Environment;

/// The version of the JSON. It grows when a field changes its meaning or goes.
const SCHEMA: u32 = 1;

/// The judgement on a server under an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The promise held.
    Held,
    /// It was broken.
    Failed,
    /// It was broken as `deviations.toml` says.
    Known,
    /// It held, although `deviations.toml` says that it does not: the entry is out of date.
    Healed,
    /// Nothing can be said.
    NotJudged,
}

/// A server under an attack.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Its name without `sse-`.
    pub server: String,
    /// Framework and version.
    pub framework: String,
    /// The name of the attack.
    pub attack: &'static str,
    /// The judgement.
    pub verdict: Verdict,
    /// The figures, if the promise held.
    pub figures: Option<Figures>,
    /// How it was broken, or why nothing can be said.
    pub failure: Option<String>,
    /// Why it fails, if that is known.
    pub known: Option<Known>,
    /// How long it took, seconds.
    pub took_s: f64,
    /// The command that does it again.
    pub again: String,
}

impl Row {
    /// Judges an outcome by the entry that lists it, if there is one. The caller adds the server.
    pub fn judge(attack: &'static str, outcome: Outcome, listed: Option<&AttackDeviation>) -> Row {
        let is_as_listed = |words: &str| listed.is_some_and(|it| words.contains(&it.failure));
        let (verdict, figures, failure) = match outcome {
            Ok(figures) if listed.is_some() => (Verdict::Healed, Some(figures), None),
            Ok(figures) => (Verdict::Held, Some(figures), None),
            Err(Failure::Broken(words) | Failure::Late(words)) if is_as_listed(&words) => {
                (Verdict::Known, None, Some(words))
            }
            Err(Failure::Broken(words) | Failure::Late(words)) => {
                (Verdict::Failed, None, Some(words))
            }
            Err(Failure::NotJudged(words)) => (Verdict::NotJudged, None, Some(words)),
        };
        let known = listed.map(|it| Known {
            reason: it.reason.clone(),
            upstream: it.upstream.clone(),
            version: it.version.clone(),
        });
        Row {
            server: String::new(),
            framework: String::new(),
            attack,
            verdict,
            figures,
            failure,
            known,
            took_s: 0.0,
            again: String::new(),
        }
    }

    /// The cell of the table.
    fn cell(&self) -> String {
        match (self.verdict, &self.figures) {
            (Verdict::Held, Some(figures)) => figures.headline.clone(),
            (Verdict::Known, _) => "known".to_owned(),
            (Verdict::NotJudged, _) => "not judged".to_owned(),
            (Verdict::Healed, _) => "HEALED".to_owned(),
            _ => "FAILED".to_owned(),
        }
    }

    /// The words of a row; none if the promise held and that is no surprise.
    fn words(&self) -> Option<String> {
        let (server, attack) = (&self.server, self.attack);
        let failure = self.failure.as_deref().unwrap_or_default();
        let reason = self.known.as_ref().map(|it| it.reason.as_str()).unwrap_or_default();
        Some(match self.verdict {
            Verdict::Held => return None,
            Verdict::Failed => format!("FAILED {server} {attack}: {failure}"),
            Verdict::Known => format!("known {server} {attack}: {failure}: {reason}"),
            Verdict::Healed => format!(
                "HEALED {server} {attack}: it holds, yet deviations.toml lists it: remove the entry"
            ),
            Verdict::NotJudged => format!("not judged {server} {attack}: {failure}"),
        })
    }
}

/// All rows, and where they were made.
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
    /// Of all that is random.
    pub seed: u64,
    /// The numbers.
    pub size: Size,
    /// Whether release builds were attacked.
    pub release: bool,
    /// Where.
    pub environment: Environment,
    /// Server by server.
    pub rows: Vec<Row>,
}

impl Default for Report {
    fn default() -> Report {
        Report {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            began: String::new(),
            command: String::new(),
            seed: 0,
            size: Size::SHORT,
            release: false,
            environment: Environment::default(),
            rows: Vec::new(),
        }
    }
}

impl Report {
    /// Whether an attack ended so.
    pub fn has(&self, verdict: Verdict) -> bool {
        self.rows.iter().any(|it| it.verdict == verdict)
    }

    /// For a terminal.
    pub fn text(&self) -> String {
        let mut text = self.table();
        let build = if self.release { "release" } else { "debug" };
        let (size, seed) = (self.size.name, self.seed);
        let _ = writeln!(
            text,
            "\nsize {size}, seed {seed}, {build} builds; a figure says that it held"
        );
        for row in &self.rows {
            let Some(words) = row.words() else { continue };
            let _ = writeln!(text, "\n{words}");
            if row.verdict != Verdict::Known {
                let _ = writeln!(text, "  again: {}", row.again);
            }
        }
        text
    }

    /// For a document.
    pub fn markdown(&self) -> String {
        let mut text = self.environment.head("Attacks", &self.command, &self.began);
        text += ".\nA figure says that the promise held.\n\n";
        text += &self.table();
        text.push('\n');
        for attack in ATTACKS.iter().filter(|it| self.rows.iter().any(|row| row.attack == it.name))
        {
            let _ = writeln!(text, "- `{}`: {}.", attack.name, (attack.promise)(&self.size));
        }
        for words in self.rows.iter().filter_map(Row::words) {
            let _ = write!(text, "\n{words}\n");
        }
        text
    }

    /// A line for each server, a column for each attack.
    fn table(&self) -> String {
        let names: Vec<_> = ATTACKS.iter().map(|it| it.name).collect();
        let has = |name: &&&str| self.rows.iter().any(|row| row.attack == **name);
        let names: Vec<_> = names.iter().filter(has).copied().collect();
        let mut lines = vec![["server"].iter().chain(&names).map(|it| (*it).to_owned()).collect()];
        for row in &self.rows {
            let line: &mut Vec<String> = lines.last_mut().expect("the heading");
            if line[0] == row.server {
                line.push(row.cell());
            } else {
                lines.push(vec![row.server.clone(), row.cell()]);
            }
        }
        let width = |column: usize| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|it| it.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..=names.len()).map(width).collect();
        let mut text = String::new();
        for (number, line) in lines.iter().enumerate() {
            for (cell, width) in line.iter().zip(&widths) {
                let _ = write!(text, "| {cell:<width$} ");
            }
            text.push_str("|\n");
            if number == 0 {
                let rules = widths.iter().map(|width| format!("|{}", "-".repeat(width + 2)));
                text.extend(rules.chain(["|\n".to_owned()]));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed() -> AttackDeviation {
        AttackDeviation {
            attack: "stalled".into(),
            build: None,
            failure: "holds much".into(),
            reason: "it has no limit".into(),
            upstream: None,
            version: "x 1".into(),
        }
    }

    fn held() -> Outcome {
        Ok(Figures { headline: "9 KiB a reader".into(), all: serde_json::json!({}) })
    }

    #[test]
    fn a_known_failure_is_known_only_in_its_words_and_no_longer_when_it_holds() {
        let broken = |words: &str| Err(Failure::Broken(words.into()));
        let verdict = |outcome, listed| Row::judge("stalled", outcome, listed).verdict;
        let listed = listed();
        assert_eq!(verdict(held(), None), Verdict::Held);
        assert_eq!(verdict(held(), Some(&listed)), Verdict::Healed);
        assert_eq!(verdict(broken("it holds much"), Some(&listed)), Verdict::Known);
        assert_eq!(verdict(broken("it crashed"), Some(&listed)), Verdict::Failed);
        assert_eq!(verdict(broken("it holds much"), None), Verdict::Failed);
        let not_judged = Err(Failure::NotJudged("busy".into()));
        assert_eq!(verdict(not_judged, Some(&listed)), Verdict::NotJudged);
    }

    #[test]
    fn the_table_has_a_line_for_each_server_and_words_below_for_failures() {
        let row = |server: &str, attack, outcome| Row {
            server: server.into(),
            again: format!("sse-bench attack {server}"),
            ..Row::judge(attack, outcome, None)
        };
        let rows = vec![
            row("one", "streams", held()),
            row("one", "stalled", Err(Failure::Broken("7 were cut".into()))),
            row("two", "streams", held()),
            row("two", "stalled", held()),
        ];
        let report = Report { seed: 7, rows, ..Report::default() };
        let text = report.text();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "| server | streams        | stalled        |");
        assert_eq!(lines[2], "| one    | 9 KiB a reader | FAILED         |");
        assert_eq!(lines[3], "| two    | 9 KiB a reader | 9 KiB a reader |");
        assert!(text.contains("FAILED one stalled: 7 were cut\n  again: sse-bench attack one\n"));
        assert!(text.contains("seed 7"));
        let markdown = report.markdown();
        assert!(markdown.contains("- `stalled`: 9 readers") && !markdown.contains("`sigterm`"));
    }
}
