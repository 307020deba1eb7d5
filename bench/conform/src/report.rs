//! Reports: JSON is the data, everything else is a rendering of it.
//!
//! A [`Document`] holds any number of [`Run`]s, one a server and encoding, or
//! one a client; documents of different
//! days and machines merge into one matrix. The form of the JSON is in `report/schema.json`.

pub mod html;
mod junit;
mod markdown;
mod paint;
pub mod table;
mod terminal;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

pub use html::html;
pub use junit::junit;
pub use markdown::{markdown, summary_markdown};
pub use paint::{Paint, complain, shortened, terminal_columns, wrapped};
pub use terminal::{failure_text, run_text, summary_table};

use super::judge::in_order;
use super::{CaseResult, Category, Level, Profile, SUITE_VERSION, Side, Summary};

/// The name and the version of the JSON form; a change that readers would notice raises it.
pub const SCHEMA: &str = "sse-conformance-report/1";

/// The form of the JSON, as a JSON Schema (draft 2020-12).
pub const JSON_SCHEMA: &str = include_str!("report/schema.json");

/// Several runs: what a `--json` file holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// [`SCHEMA`].
    pub schema: String,
    /// In the order in which they ran or were merged.
    pub runs: Vec<Run>,
}

/// The results of one server with one encoding, or of one client.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Its name in tables: `axum`, or the value of `--name`.
    pub name: String,
    /// Of a server the URL, of nodes their URLs, or the package of this workspace. Either this or `client` is there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub server: Option<String>,
    /// Of a client the command, or what else it was driven by.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub client: Option<String>,
    /// The value of `--encoding`, for a server that has several.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub encoding: Option<String>,
    /// The framework it is written with: `axum 0.8.9`; of a client the version, if it says one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub framework: Option<String>,
    /// [`super::SUITE_VERSION`]: results of different versions do not compare.
    pub suite_version: u32,
    /// How much of the server was used; clients have no such choice.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub profile: Option<Profile>,
    /// Whether a failed recommendation counts as unexpected.
    pub strict: bool,
    /// `--time-scale`.
    pub time_scale: f64,
    /// When it began, UTC, RFC 3339.
    pub began: String,
    /// How long it took, milliseconds.
    pub took_ms: u64,
    /// The numbers of the results.
    pub summary: Summary,
    /// One a case, in the order of the ids.
    pub results: Vec<CaseResult>,
}

impl Document {
    /// A document of these runs.
    pub fn new(runs: Vec<Run>) -> Document {
        Document { schema: SCHEMA.to_owned(), runs }
    }

    /// Reads files and merges them; runs that bear the same name are numbered.
    ///
    /// # Errors
    /// When a file cannot be read, is no report, or of another version.
    pub fn read<P: AsRef<Path>>(paths: &[P]) -> Result<Document> {
        let mut runs = Vec::new();
        for path in paths {
            let shown = path.as_ref().display();
            let text =
                std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
            #[derive(Deserialize)]
            struct Version {
                schema: Option<String>,
            }
            let version: Version = serde_json::from_str(&text)
                .with_context(|| format!("{shown} is no report of sse-bench conform --json"))?;
            match version.schema.as_deref() {
                Some(SCHEMA) => {}
                Some(other) => bail!("{shown} has the form {other:?}; this command reads {SCHEMA}"),
                None => bail!("{shown} is no report of sse-bench conform --json (no \"schema\")"),
            }
            let document: Document = serde_json::from_str(&text)
                .with_context(|| format!("{shown} is not a whole report"))?;
            runs.extend(document.runs);
        }
        let mut document = Document::new(runs);
        document.number_equal_names();
        Ok(document)
    }

    /// The JSON text.
    pub fn to_json(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("strings and numbers only");
        text + "\n"
    }

    /// Writes one file with all runs, or into a folder (`…/`) one file a run.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let is_folder = path.is_dir() || path.to_string_lossy().ends_with('/');
        if !is_folder {
            return write(path, &self.to_json());
        }
        for (run, number) in self.runs.iter().zip(1..) {
            let one = Document::new(vec![run.clone()]);
            // Numbered, so that `*.json` merges them in the same order again.
            let name = format!("{number:02}-{}.json", run.file_stem());
            write(&path.join(name), &one.to_json())?;
        }
        Ok(())
    }

    fn number_equal_names(&mut self) {
        let labels: Vec<String> = self.runs.iter().map(Run::label).collect();
        for (index, run) in self.runs.iter_mut().enumerate() {
            let before = labels[..index].iter().filter(|it| **it == labels[index]).count();
            if before > 0 {
                run.name = format!("{} #{}", run.name, before + 1);
            }
        }
    }

    /// Every case that some run has a result for, in the order of the ids, by its first result.
    fn rows(&self) -> Vec<&CaseResult> {
        let mut rows: Vec<&CaseResult> = Vec::new();
        for result in self.runs.iter().flat_map(|run| &run.results) {
            if !rows.iter().any(|row| row.id == result.id) {
                rows.push(result);
            }
        }
        rows.sort_by_key(|row| (row.category(), row.id.clone()));
        rows
    }

    /// Rows by category.
    fn categories(&self) -> Vec<(Category, Vec<&CaseResult>)> {
        let mut categories: Vec<(Category, Vec<&CaseResult>)> = Vec::new();
        for row in self.rows() {
            match categories.last_mut() {
                Some((category, rows)) if *category == row.category() => rows.push(row),
                _ => categories.push((row.category(), vec![row])),
            }
        }
        categories
    }
}

impl Run {
    /// A run that begins now, of nothing yet.
    pub(super) fn begun(name: String, strict: bool, time_scale: f64) -> Run {
        Run {
            name,
            server: None,
            client: None,
            encoding: None,
            framework: None,
            suite_version: SUITE_VERSION,
            profile: None,
            strict,
            time_scale,
            began: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            took_ms: 0,
            summary: Summary::default(),
            results: Vec::new(),
        }
    }

    /// This run at its end, with its results.
    #[must_use]
    pub(super) fn ended(self, start: Instant, results: Vec<CaseResult>) -> Run {
        Run {
            took_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
            summary: Summary::of(&results, self.strict),
            results,
            ..self
        }
    }

    /// Name and encoding.
    pub fn label(&self) -> String {
        match &self.encoding {
            Some(encoding) => format!("{} {encoding}", self.name),
            None => self.name.clone(),
        }
    }

    /// This run and another one of the same server, which had other cases, at the same time.
    #[must_use]
    pub fn and(mut self, other: Run) -> Run {
        self.took_ms = self.took_ms.max(other.took_ms);
        self.results.extend(other.results);
        in_order(&mut self.results);
        self.summary = Summary::of(&self.results, self.strict);
        self
    }

    /// The server's URL or package, or the client's command.
    pub fn subject(&self) -> &str {
        self.server.as_deref().or(self.client.as_deref()).unwrap_or_default()
    }

    /// Which side was checked.
    pub fn side(&self) -> Side {
        if self.client.is_some() { Side::Client } else { Side::Server }
    }

    fn side_word(&self) -> &'static str {
        match self.side() {
            Side::Server => "server",
            Side::Client => "client",
        }
    }

    /// The result of a case, if it ran.
    pub fn result(&self, id: &str) -> Option<&CaseResult> {
        self.results.iter().find(|result| result.id == id)
    }

    /// A name for a file or an anchor: letters, digits and `-`.
    pub fn file_stem(&self) -> String {
        let safe =
            |it: char| if it.is_ascii_alphanumeric() { it.to_ascii_lowercase() } else { '-' };
        let stem: String = self.label().chars().map(safe).collect();
        let stem = stem.trim_matches('-').to_owned();
        if stem.is_empty() { "run".to_owned() } else { stem }
    }
}

/// Writes a report's file, and the folders above it.
///
/// # Errors
/// One line with advice.
pub fn write(path: &Path, text: &str) -> Result<()> {
    let shown = path.display();
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}; choose another place", folder.display()))?;
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {shown}; choose another file"))
}

/// The subjects of the document.
fn subjects(document: &Document) -> &'static str {
    let has = |side| document.runs.iter().any(|run| run.side() == side);
    match (has(Side::Server), has(Side::Client)) {
        (true, true) => "servers and clients",
        (false, true) => "clients",
        _ => "servers",
    }
}

/// The word for a level in reports of several servers.
fn level_word(level: Level) -> String {
    level.to_string()
}

/// `1 case`, `2 cases`.
pub(super) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{Known, Verdict};
    use super::*;

    /// Two runs that show every verdict, with text that must be escaped everywhere.
    pub(in super::super) fn sample() -> Document {
        let result = |id: &str, verdict, actual: Option<&str>| CaseResult {
            id: id.to_owned(),
            slug: "a-slug".to_owned(),
            level: Level::Must,
            source: "HTML 9.2.3 & <more>".to_owned(),
            scope: None,
            in_handler: false,
            because: None,
            outside_scope: false,
            claim: "A claim with <b>, & and \"quotes\" | pipes.".to_owned(),
            sends: "A request.".to_owned(),
            fix: "Change the answer.".to_owned(),
            needs: vec![],
            verdict,
            expected: actual.map(|_| "<expected>".to_owned()),
            actual: actual.map(str::to_owned),
            dialogue: actual.map(|_| "  0.1 ms > GET / HTTP/1.1\\r\\n\n".to_owned()),
            reproduce: actual.map(|_| "cat x | nc & </script>".to_owned()),
            deviation: None,
            took_ms: 1.5,
        };
        let run = |name: &str, results: Vec<CaseResult>| Run {
            name: name.to_owned(),
            server: Some("http://127.0.0.1:1/<x>".to_owned()),
            client: None,
            encoding: None,
            framework: Some("x 1.2 <3>".to_owned()),
            suite_version: 1,
            profile: Some(Profile::Full),
            strict: false,
            time_scale: 1.0,
            began: "2026-11-20T12:00:00Z".to_owned(),
            took_ms: 12_345,
            summary: Summary::of(&results, false),
            results,
        };
        let known = Known {
            reason: "upstream <does> it".to_owned(),
            upstream: Some("https://example.org/?a=1&b=\"2\"".to_owned()),
            version: "x 1.2".to_owned(),
        };
        Document::new(vec![
            run(
                "one <&>",
                vec![
                    result("S1.01", Verdict::Pass, None),
                    result("S1.02", Verdict::Fail, Some("<actual> \u{1b}[31m")),
                    CaseResult {
                        deviation: Some(known.clone()),
                        ..result("S2.01", Verdict::Fail, Some("known"))
                    },
                    CaseResult { deviation: Some(known), ..result("S2.02", Verdict::Pass, None) },
                ],
            ),
            run(
                "two",
                vec![
                    result("S1.01", Verdict::NonStrict, Some("almost")),
                    result("S1.02", Verdict::Info, Some("a fact")),
                    result("S2.01", Verdict::Skip, Some("not offered")),
                    result("S2.02", Verdict::Blocked, Some("gone")),
                    result("S10.03", Verdict::Error, Some("a bug")),
                ],
            ),
        ])
    }

    #[test]
    fn files_merge_in_order_and_equal_names_are_numbered() {
        let folder = std::env::temp_dir().join(format!("sse-report-{}", std::process::id()));
        let document = sample();
        document.write(&folder.join("all.json")).unwrap();
        document.write(&folder.join("each/")).unwrap();
        assert!(folder.join("each/01-one.json").exists());
        let merged =
            Document::read(&[folder.join("all.json"), folder.join("each/02-two.json")]).unwrap();
        let names: Vec<_> = merged.runs.iter().map(Run::label).collect();
        assert_eq!(names, ["one <&>", "two", "two #2"]);
        let ids: Vec<_> = merged.rows().iter().map(|row| row.id.as_str()).collect();
        assert_eq!(ids, ["S1.01", "S1.02", "S2.01", "S2.02", "S10.03"]);
        for (text, words) in [
            ("{", "no report"),
            ("{}", "no \"schema\""),
            ("{\"schema\":\"x/2\"}", "x/2"),
            ("{\"schema\":\"sse-conformance-report/1\"}", "whole"),
        ] {
            let path = folder.join("bad.json");
            std::fs::write(&path, text).unwrap();
            let error = format!("{:#}", Document::read(&[path]).unwrap_err());
            assert!(error.contains(words), "{error}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
