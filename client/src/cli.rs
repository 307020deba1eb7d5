//! The command line.

mod demo;
pub(crate) mod print;
mod send;
mod tail;

use clap::{Parser, Subcommand};

/// Read and publish Server-Sent Events.
#[derive(Debug, Parser)]
#[command(name = "sse", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Tail(tail::Tail),
    Send(send::Send),
    Demo(demo::Demo),
}

impl Cli {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Tail(tail) => tail.run().await,
            Command::Send(send) => send.run().await,
            Command::Demo(demo) => demo.run().await,
        }
    }
}
