//! The `sse` command: reads event streams, publishes messages, and shows how it works.

mod cli;

use std::io;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;

/// The stream was read, and did not come to the end that was asked for.
const EXIT_UNMET: u8 = 1;

/// The command could not do its work. clap ends with the same code for a wrong command line.
const EXIT_FAILURE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The second thread serves connections while the first one waits for standard input.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(cli.run()),
        Err(error) => Err(anyhow::Error::new(error).context("cannot start; check `ulimit -a`")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of our output (`head`, `less`) has ended.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            cli::print::notice(&format!("{error:#}"));
            ExitCode::from(if error.is::<cli::Unmet>() { EXIT_UNMET } else { EXIT_FAILURE })
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io_error = error.downcast_ref::<io::Error>();
    io_error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
