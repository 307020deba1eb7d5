//! Where the results of a command go: a table on the terminal, and files.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// Options of commands that print one table.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Output")]
pub struct Outputs {
    /// Write the results as JSON; - is standard output, instead of the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the table as Markdown
    #[arg(long, value_name = "FILE")]
    md: Option<PathBuf>,
}

impl Outputs {
    /// Writes a report to where it should go.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn publish(&self, report: &impl Serialize, text: &str, markdown: &str) -> Result<()> {
        let json = serde_json::to_string_pretty(report)? + "\n";
        if let Some(path) = &self.md {
            conform::report::write(path, markdown)?;
        }
        match &self.json {
            Some(path) if path == Path::new("-") => io::stdout().write_all(json.as_bytes())?,
            Some(path) => {
                conform::report::write(path, &json)?;
                io::stdout().write_all(text.as_bytes())?;
            }
            None => io::stdout().write_all(text.as_bytes())?,
        }
        Ok(())
    }
}

/// A document with the markers of a command, read before minutes are spent.
pub(crate) struct Document<'a> {
    path: &'a Path,
    command: &'static str,
    text: String,
}

impl Document<'_> {
    pub(crate) fn read<'a>(path: &'a Path, command: &'static str) -> Result<Document<'a>> {
        let shown = path.display();
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
        let document = Document { path, command, text };
        document.spliced("")?;
        Ok(document)
    }

    fn spliced(&self, tables: &str) -> Result<String> {
        let shown = self.path.display();
        conform::splice(&self.text, self.command, &format!("--splice {shown}"), tables)
            .with_context(|| format!("cannot splice into {shown}"))
    }

    /// Puts the tables between the markers.
    pub(crate) fn splice(&self, tables: &str) -> Result<()> {
        let new = self.spliced(tables)?;
        fs::write(self.path, new).with_context(|| format!("cannot write {}", self.path.display()))
    }
}
