//! `sse-bench completions` and `sse-bench man`: what a package of the program installs beside it.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Command, ValueEnum};
use clap_complete::Shell;

/// Shells for which completions are made.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Known {
    Bash,
    Zsh,
    Fish,
}

/// Where the manual pages go.
#[derive(clap::Args)]
pub(crate) struct ManArgs {
    /// Write sse-bench.1, sse-bench-run.1 and the others into this directory, which exists
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Prints completions of `command` for a shell.
pub(crate) fn completions(mut command: Command, shell: Known) -> Result<ExitCode> {
    let shell = match shell {
        Known::Bash => Shell::Bash,
        Known::Zsh => Shell::Zsh,
        Known::Fish => Shell::Fish,
    };
    // Into memory first: the generator panics when a pipe breaks.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "sse-bench", &mut script);
    io::stdout().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the manual page of `command`, or writes one for each of its subcommands.
pub(crate) fn man(command: Command, args: &ManArgs) -> Result<ExitCode> {
    match &args.directory {
        None => clap_mangen::Man::new(command).render(&mut io::stdout())?,
        Some(directory) => clap_mangen::generate_to(command, directory)
            .with_context(|| format!("cannot write to {}; does it exist?", directory.display()))?,
    }
    Ok(ExitCode::SUCCESS)
}
