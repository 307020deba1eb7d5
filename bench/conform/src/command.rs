//! Common parts of the commands on servers, on clients and on their reports.

mod kept;
mod merge;
mod progress;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

pub(super) use kept::Kept;
pub use merge::{ReportArgs, folder_or_files, merge_reports};
pub(super) use progress::Progress;

use super::Verdict;
use super::report::{
    Document, Paint, Run, complain, counted, html, junit, markdown, summary_table, write,
};

/// Everything as expected.
const EXIT_EXPECTED: u8 = 0;
/// A failure that is not listed, a listed case that passes, a server that stopped answering.
const EXIT_UNEXPECTED: u8 = 1;
/// Nothing was checked, or nothing judged: unreachable, unknown name, bad arguments, only skips.
pub(super) const EXIT_COULD_NOT_RUN: u8 = 2;
/// The harness itself failed.
pub(super) const EXIT_HARNESS: u8 = 3;

/// How results are judged, of servers, clients and clusters alike.
#[derive(Clone, Debug, clap::Args)]
pub struct JudgeArgs {
    /// Not these cases
    #[arg(long, value_name = "CASES", value_delimiter = ',')]
    pub skip: Vec<String>,
    /// A failed recommendation (SHOULD) is an unexpected result, too
    #[arg(long, help_heading = "Judging")]
    pub strict: bool,
    /// Known failures, in the form of deviations.toml: a listed failure is expected, any other is
    /// not, and neither is a listed case that passes
    #[arg(long, value_name = "FILE", help_heading = "Judging")]
    pub baseline: Option<PathBuf>,
    /// Multiply every wait and every threshold by this factor, for slow programs and machines
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = factor)]
    pub time_scale: f64,
    /// Show every case, and the dialogues of known failures too
    #[arg(long)]
    pub verbose: bool,
}

/// Where the results go.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Output")]
pub struct Outputs {
    /// Write the results as JSON; a folder (ending in /) gets a file for each run
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write JUnit XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Write Markdown
    #[arg(long, value_name = "FILE")]
    pub md: Option<PathBuf>,
    /// Write the matrix as one HTML file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Print every column of a table, however narrow the terminal is
    #[arg(long)]
    pub wide: bool,
}

/// Says in one line why nothing was checked.
pub(super) fn could_not_run(words: &str) -> Result<ExitCode> {
    complain(words);
    Ok(ExitCode::from(EXIT_COULD_NOT_RUN))
}

/// Writes what came of the runs to where it should go; the exit code says whether it is as expected.
pub(super) fn finish(runs: Vec<Run>, outputs: &Outputs, paint: Paint) -> Result<ExitCode> {
    if runs.len() > 1 {
        print(&format!("\n{}", summary_table(&runs, outputs.paint(paint))))?;
    }
    let document = Document::new(runs);
    outputs.write(&document)?;
    let results = || document.runs.iter().flat_map(|run| &run.results);
    let nothing = document.runs.iter().all(|run| run.summary.judged_nothing());
    if nothing && !results().any(|it| it.verdict == Verdict::Error) {
        let reason = results().find_map(|it| it.actual.as_deref()).unwrap_or("there is no case");
        let cases = counted(results().count(), "case", "cases");
        return could_not_run(&format!("nothing was judged ({cases}): {reason}"));
    }
    Ok(ExitCode::from(if results().any(|it| it.verdict == Verdict::Error) {
        EXIT_HARNESS
    } else if document.runs.iter().any(|run| run.summary.unexpected > 0) {
        EXIT_UNEXPECTED
    } else {
        EXIT_EXPECTED
    }))
}

impl Outputs {
    /// Whether results go anywhere but to the terminal.
    pub(super) fn is_any(&self) -> bool {
        [&self.json, &self.junit, &self.md, &self.html].iter().any(|it| it.is_some())
    }

    /// For tables.
    pub(super) fn paint(&self, paint: Paint) -> Paint {
        if self.wide { paint.unlimited() } else { paint }
    }

    pub(super) fn write(&self, document: &Document) -> Result<()> {
        if let Some(path) = &self.json {
            document.write(path)?;
        }
        if let Some(path) = &self.junit {
            write(path, &junit(document))?;
        }
        if let Some(path) = &self.md {
            write(path, &markdown(document))?;
        }
        if let Some(path) = &self.html {
            write(path, &html(document))?;
        }
        Ok(())
    }
}

/// Writes to stdout.
pub(super) fn print(text: &str) -> Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// A factor on the command line.
fn factor(text: &str) -> Result<f64, String> {
    let factor: f64 = text.parse().map_err(|_| "write a number, for instance 2")?;
    let is_fine = (0.1..=100.0).contains(&factor);
    if is_fine { Ok(factor) } else { Err("from 0.1 to 100".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_within_reason() {
        assert_eq!(factor("2.5"), Ok(2.5));
        assert!(factor("0").is_err() && factor("NaN").is_err());
    }
}
