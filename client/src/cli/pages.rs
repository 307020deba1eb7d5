//! `sse completions` and `sse man`: files that a package installs beside the program.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::Shell;

use super::Cli;

/// Shells for which completions are made.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Known {
    Bash,
    Zsh,
    Fish,
}

/// Print completions for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  source <(sse completions bash)
  sse completions zsh > ~/.zfunc/_sse
  sse completions fish > ~/.config/fish/completions/sse.fish")]
pub(super) struct Completions {
    /// The shell
    shell: Known,
}

impl Completions {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let shell = match self.shell {
            Known::Bash => Shell::Bash,
            Known::Zsh => Shell::Zsh,
            Known::Fish => Shell::Fish,
        };
        // Into memory first: the generator panics when a pipe breaks.
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "sse", &mut script);
        io::stdout().write_all(&script)?;
        Ok(())
    }
}

/// Print the manual page, or write one for each subcommand
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sse man | man -l -
  sse man --directory ~/.local/share/man/man1")]
pub(super) struct Man {
    /// Write sse.1, sse-tail.1 and the others into this directory, which exists
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        match &self.directory {
            None => clap_mangen::Man::new(Cli::command()).render(&mut io::stdout())?,
            Some(directory) => {
                clap_mangen::generate_to(Cli::command(), directory).with_context(|| {
                    format!("cannot write to {}; does it exist?", directory.display())
                })?;
            }
        }
        Ok(())
    }
}
