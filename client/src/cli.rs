//! The command line.

mod demo;
mod pages;
pub(crate) mod print;
mod send;
mod tail;

use clap::{Parser, Subcommand};

/// Read and publish Server-Sent Events.
#[derive(Debug, Parser)]
#[command(name = "sse", version, propagate_version = true)]
#[command(after_help = "\
Examples:
  sse tail http://127.0.0.1:8003/ticks
  sse send http://127.0.0.1:8003/messages/news 'Hello, everyone'
  sse demo axum")]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Tail(tail::Tail),
    Send(send::Send),
    Demo(demo::Demo),
    Completions(pages::Completions),
    Man(pages::Man),
}

impl Cli {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Tail(tail) => tail.run().await,
            Command::Send(send) => send.run().await,
            Command::Demo(demo) => demo.run().await,
            Command::Completions(completions) => completions.run(),
            Command::Man(man) => man.run(),
        }
    }
}
