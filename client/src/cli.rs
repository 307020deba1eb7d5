//! The command line.

mod demo;
mod pages;
pub(crate) mod print;
mod record;
mod recording;
mod replay;
mod send;
mod tail;
mod wish;

use std::fmt;

use clap::{Parser, Subcommand};

/// Read, publish, record and replay Server-Sent Events.
#[derive(Debug, Parser)]
#[command(name = "sse", version, propagate_version = true)]
#[command(after_help = "\
Examples:
  sse tail http://127.0.0.1:8003/ticks
  sse send http://127.0.0.1:8003/messages/news 'Hello, everyone'
  sse record --timeout 10s http://127.0.0.1:8003/ticks > ticks.sse
  sse replay ticks.sse
  sse demo axum")]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Tail(Box<tail::Tail>),
    Send(send::Send),
    Record(Box<record::Record>),
    Replay(Box<replay::Replay>),
    Demo(demo::Demo),
    Completions(pages::Completions),
    Man(pages::Man),
}

impl Cli {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Tail(tail) => tail.run().await,
            Command::Send(send) => send.run().await,
            Command::Record(record) => record.run().await,
            Command::Replay(replay) => replay.run().await,
            Command::Demo(demo) => demo.run().await,
            Command::Completions(completions) => completions.run(),
            Command::Man(man) => man.run(),
        }
    }
}

/// The URL that was meant, if the scheme alone is missing.
fn without_scheme(url: &str) -> Option<String> {
    let is_bare =
        !url.contains("://") && url.starts_with(|it: char| it.is_ascii_alphanumeric() || it == '[');
    is_bare.then(|| format!("http://{url}"))
}

/// A stream that was read, but did not come to the end that was asked for: in words.
#[derive(Debug)]
pub(crate) struct Unmet(String);

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unmet {}
