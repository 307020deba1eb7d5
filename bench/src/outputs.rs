//! Where the results of a command go: a table on the terminal, and files.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;

/// Options of commands that print one table.
#[derive(Debug, Clone, clap::Args)]
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
