//! `sse replay`: a server that plays a recording, as it was or with faults.

mod connection;
mod score;

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use reqwest::StatusCode;
use reqwest::header::HeaderValue;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use self::connection::Connection;
use self::score::{Coding, Faults, Score};
use super::print::notice;
use super::recording::{End, MAX_FILE_BYTES, Recording};

/// The most connections that an option may allow; each is a descriptor.
const MAX_CONNECTIONS: u64 = 100_000;

/// The wait after an accept that failed, most likely for lack of descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serve a recording with its times, or with faults
///
/// The server listens on 127.0.0.1. It answers every request, whatever its method, path and
/// Last-Event-ID, with the recording from its beginning. Ask with sse tail, a browser, a proxy or a monitor, and see how it
/// takes a stream that is cut, silent, late or coded. BYTES count the body as it is sent, without the
/// framing of HTTP.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sse record --timeout 10s http://127.0.0.1:8003/ticks > ticks.sse
  sse replay ticks.sse                              as it was
  sse replay --speed max --end whole ticks.sse      at once, and then it ends
  sse replay --loop --speed 2 ticks.sse             twice as fast, for ever

Does the client reconnect when its stream is cut, within an event?
  sse replay --cut-at 500 --first 1 ticks.sse       cut once, then whole
  sse replay --cut-at 500 --end reset ticks.sse     with a RST, each time
  sse replay --status 503 -H 'Retry-After: 5' --first 2 ticks.sse

Does something give up when it is silent? Do events come late, or none?
  sse replay --stall-at 500 --stall 60s ticks.sse   silent for a minute
  sse replay --clump 2s ticks.sse                   as a proxy that buffers
  sse replay --coding gzip-unflushed ticks.sse      coded, and never flushed
  sse replay -H 'Content-Encoding: gzip' ticks.sse  says gzip, and is none

The first line of standard output is 'listening on http://127.0.0.1:PORT'. The log goes to \
standard error: a line when a request comes, with its Last-Event-ID, and one when its answer is \
over.")]
pub(super) struct Replay {
    /// A file that sse record wrote
    file: PathBuf,
    /// The port to listen on; 0 is any that is free
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// So many times as fast, from 0.01 to 1000, or max: all at once
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = speed)]
    speed: f64,
    /// Play it again and again within one answer, without its end
    #[arg(long = "loop", conflicts_with_all = ["cut_at", "stall_at", "end", "coding"])]
    repeat: bool,
    /// Connections at a time; more of them wait
    #[arg(long, value_name = "N", default_value_t = 1000,
        value_parser = clap::value_parser!(u64).range(1..=MAX_CONNECTIONS))]
    max_connections: u64,
    #[command(flatten)]
    faults: FaultArgs,
}

/// Other answers than the recorded one.
#[derive(Debug, Args)]
#[command(next_help_heading = "Faults")]
struct FaultArgs {
    /// End after this many bytes of the body, within a chunk if need be
    #[arg(long, value_name = "BYTES")]
    cut_at: Option<u64>,
    /// How the answer ends [default: as recorded, and cut with --cut-at]
    #[arg(long, value_enum, value_name = "HOW")]
    end: Option<End>,
    /// Be silent after this many bytes of the body
    #[arg(long, value_name = "BYTES")]
    stall_at: Option<u64>,
    /// Go on after this time of silence [default: never]
    #[arg(long, value_name = "TIME", requires = "stall_at", value_parser = client::arguments::time)]
    stall: Option<Duration>,
    /// Send what came within each such time together, at its end
    #[arg(long, value_name = "TIME", value_parser = client::arguments::time)]
    clump: Option<Duration>,
    /// Code the body, whatever the client accepts
    #[arg(long, value_enum)]
    coding: Option<Coding>,
    /// Answer with this status, from 200 to 599; the body stays, but 204 and 304 have none
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(200..=599))]
    status: Option<u16>,
    /// A header line of the answer, in place of those of that name; may be given several times
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The first N connections get the faults above, later ones none
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    first: Option<u64>,
}

impl Replay {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let name = self.file.display();
        let recording = read(&self.file)?;
        let score = |faults: &Faults| {
            Score::of(&recording, self.speed, self.repeat, faults).map_err(anyhow::Error::msg)
        };
        let faulty = Arc::new(score(&self.faults.faults()?)?);
        let plain = match self.faults.first {
            None => Arc::clone(&faulty),
            Some(_) => Arc::new(score(&Faults::default())?),
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await;
        let listener = listener.map_err(|error| {
            anyhow!("cannot listen on port {}: {error}; choose another with --port", self.port)
        })?;
        let mut stdout = io::stdout();
        writeln!(stdout, "listening on http://{}", listener.local_addr()?)?;
        stdout.flush()?;
        notice(&format!("{name}: {}", faulty.description()));
        let room = Arc::new(Semaphore::new(usize::try_from(self.max_connections)?));
        for number in 1.. {
            let score =
                if self.faults.first.is_none_or(|it| number <= it) { &faulty } else { &plain };
            let connection = Connection::new(number, Arc::clone(score));
            self.accept(&listener, &room, connection).await?;
        }
        Ok(())
    }

    /// Hands the next client over to a task, once there is room for one.
    async fn accept(
        &self,
        listener: &TcpListener,
        room: &Arc<Semaphore>,
        connection: Connection,
    ) -> anyhow::Result<()> {
        if room.available_permits() == 0 {
            let most = self.max_connections;
            notice(&format!("{most} connections are open; more of them wait (--max-connections)"));
        }
        let permit = Arc::clone(room).acquire_owned().await?;
        let socket = loop {
            match listener.accept().await {
                Ok((socket, _)) => break socket,
                Err(error) => {
                    notice(&format!("cannot accept a connection: {error}; check `ulimit -n`"));
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        };
        tokio::spawn(async move {
            connection.serve(socket).await;
            drop(permit);
        });
        Ok(())
    }
}

impl FaultArgs {
    fn faults(&self) -> anyhow::Result<Faults> {
        let mut headers = Vec::new();
        for text in &self.headers {
            let (name, value) = client::arguments::header(text).map_err(anyhow::Error::msg)?;
            let field = name.parse()?;
            if score::is_ours(&field) {
                bail!("{name} follows from how the body is framed; replay sends its own");
            }
            headers.push((field, HeaderValue::from_bytes(value.as_bytes())?));
        }
        Ok(Faults {
            cut_at: self.cut_at,
            end: self.end,
            stall_at: self.stall_at,
            stall: self.stall,
            clump: self.clump,
            coding: self.coding,
            status: self.status.map(StatusCode::from_u16).transpose()?,
            headers,
        })
    }
}

fn read(path: &Path) -> anyhow::Result<Recording> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
    let mut text = Vec::new();
    let read = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text);
    read.with_context(|| format!("cannot read {name}"))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        bail!("{name} is larger than {MAX_FILE_BYTES} bytes; record less with --max-bytes");
    }
    let text = String::from_utf8(text).map_err(|_| anyhow!("{name} is no recording: not UTF-8"))?;
    Recording::parse(&text).map_err(|why| anyhow!("{name}: {why}"))
}

/// A factor; `max` is beyond all of them.
fn speed(text: &str) -> Result<f64, String> {
    if text == "max" {
        return Ok(f64::INFINITY);
    }
    let factor = text.parse().ok().filter(|it| (0.01..=1000.0).contains(it));
    factor.ok_or_else(|| "give a factor from 0.01 to 1000, or max".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_have_bounds() {
        assert_eq!((speed("2"), speed("0.5"), speed("max")), (Ok(2.0), Ok(0.5), Ok(f64::INFINITY)));
        for bad in ["0", "-1", "1001", "NaN", "inf", "fast", ""] {
            assert!(speed(bad).is_err(), "{bad}");
        }
    }
}
