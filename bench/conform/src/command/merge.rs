//! `sse-bench conform report`: any number of JSON files as one matrix.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use super::{Outputs, print};
use crate::Side;
use crate::report::{Document, Paint, summary_markdown, summary_table, write};
use crate::splice;

/// Prefixes of the markers in a document; a document may have a table of each kind.
const MARKER: &str = "sse-bench conform report";
const MARKER_OF_CLIENTS: &str = "clients: sse-bench conform report";

/// Which files to merge, and into what.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sse-bench conform report a.json b.json --html matrix.html    both side by side
  sse-bench conform report results/*.json --md matrix.md
  sse-bench conform report results/*.json --splice README.md   only the summary

The summary goes between these two lines of the document:
  <!-- sse-bench conform report -->
  <!-- /sse-bench conform report -->

A summary of clients goes between these:
  <!-- clients: sse-bench conform report -->
  <!-- /clients: sse-bench conform report -->")]
pub struct ReportArgs {
    /// Files that `conform server --json` or `conform client --json` wrote
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Where else it goes
    #[command(flatten)]
    pub outputs: Outputs,
    /// Replace the text between the `sse-bench conform report` markers of this document, or between
    /// those that begin with `clients:` where all runs are of clients
    #[arg(long, help_heading = "Output", value_name = "FILE")]
    pub splice: Option<PathBuf>,
}

/// Merges reports and renders them.
///
/// # Errors
/// When a file cannot be read or written, or is no report.
pub fn merge_reports(args: &ReportArgs) -> Result<ExitCode> {
    let document = Document::read(&args.files)?;
    ensure!(!document.runs.is_empty(), "there is no run in these files; nothing was written");
    args.outputs.write(&document)?;
    if let Some(path) = &args.splice {
        let shown = path.display();
        let old = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
        let arguments = format!("--splice {shown} {}", folder_or_files(&args.files));
        let only_clients = document.runs.iter().all(|run| run.side() == Side::Client);
        let marker = if only_clients { MARKER_OF_CLIENTS } else { MARKER };
        let new = splice(&old, marker, &arguments, &summary_markdown(&document))
            .with_context(|| format!("cannot splice into {shown}"))?;
        write(path, &new)?;
    }
    print(&summary_table(&document.runs, args.outputs.paint(Paint::for_stdout())))?;
    Ok(ExitCode::SUCCESS)
}

/// `DIR/*.json` where that means the same: what a person would type.
pub fn folder_or_files(files: &[PathBuf]) -> String {
    let mut folders: Vec<_> = files.iter().map(|file| file.parent()).collect();
    folders.dedup();
    match folders.as_slice() {
        [Some(folder)] if files.len() > 1 => format!("{}/*.json", folder.display()),
        _ => files.iter().map(|it| it.display().to_string()).collect::<Vec<_>>().join(" "),
    }
}
