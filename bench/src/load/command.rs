//! `sse-bench load`: any endpoint of Server-Sent Events under open streams.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::ToSocketAddrs;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::value_parser;

use super::generator::{self, Outcome};
use super::plan::{Pace, Plan, Schedule, Stop};
use crate::timer::{MILLISECOND_NS, SECOND_NS, unix_ns};
use crate::{fleet, wire};

/// Most streams of one run: what is left of the usual limit of open files, and below the number of
/// ports that one address has for one server.
const CONNECTIONS_MAX: u64 = 19_000;

/// Longest run; longer ones want a tool that shows what happens meanwhile.
const DURATION_MAX_S: u64 = 3600;

/// Fastest ramp; faster than any of the servers here accepts on a core of its own.
const RAMP_MAX_PER_S: u64 = 10_000;

/// Time after the last connection until all streams have to be open.
const OPEN_NS: u64 = 2 * SECOND_NS;

/// Which endpoint, and how much load.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  sse-bench load 'http://127.0.0.1:8003/ticks?interval_ms=100&stamp=1'
  sse-bench load http://HOST/stream --connections 1000 --duration-s 60

Exit codes: 0 fine, 1 a stream failed, 2 could not run.")]
pub struct Args {
    /// The URL of a stream, for instance `http://127.0.0.1:8003/ticks?interval_ms=100&stamp=1`
    url: String,
    /// Streams to hold open
    #[arg(long, default_value_t = 100,
          value_parser = value_parser!(u64).range(1..=CONNECTIONS_MAX))]
    connections: u64,
    /// How long to measure once all are open, seconds
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u64).range(1..=DURATION_MAX_S))]
    duration_s: u64,
    /// Connections to open each second
    #[arg(long, default_value_t = 1000,
          value_parser = value_parser!(u64).range(1..=RAMP_MAX_PER_S))]
    ramp_per_s: u64,
}

/// Opens the streams, counts what comes, and prints it.
///
/// The exit code is 1 if a stream did not open or ended early, else 0.
///
/// # Errors
/// When the URL cannot be used or no stream opens.
pub fn run(args: &Args) -> Result<ExitCode> {
    let (dialled, host, target) = wire::base_url(&args.url).map_err(anyhow::Error::msg)?;
    let addr = dialled
        .to_socket_addrs()
        .ok()
        .and_then(|mut found| found.next())
        .with_context(|| format!("{dialled} is not known; check the host in the URL"))?;
    let limit = fleet::raise_fd_limit()?;
    if limit < args.connections + crate::run::SPARE_FDS {
        bail!("{limit} open files are allowed; use fewer --connections or raise: ulimit -Hn");
    }
    let connect = Pace {
        first_ns: unix_ns() + 10 * MILLISECOND_NS,
        every_ns: SECOND_NS / args.ramp_per_s,
        count: args.connections,
    };
    let up_by_ns = connect.time_ns(args.connections) + OPEN_NS;
    let end_ns = up_by_ns + args.duration_s * SECOND_NS;
    let plan = Plan {
        addr,
        host,
        target,
        connect_at_ns: super::times(connect),
        up_by_ns,
        schedule: Schedule::Stamped,
        window_ns: up_by_ns..end_ns,
        marks_ns: Vec::new(),
        stop: Stop::At(end_ns),
    };
    let outcome = generator::run(&plan, unix_ns, |_| {})?;
    let failure = outcome.first_failure.as_deref().unwrap_or("no answer within the time");
    if outcome.opened == 0 {
        bail!("no stream of {} opened: {failure}; is it the URL of a running stream?", args.url);
    }
    let text = text(args, &outcome);
    let whole = outcome.not_up == 0 && outcome.early_closes == 0;
    let failed = if whole { String::new() } else { format!("first failure  {failure}\n") };
    write!(io::stdout(), "{text}{failed}")?;
    Ok(ExitCode::from(u8::from(!whole)))
}

fn text(args: &Args, outcome: &Outcome) -> String {
    let mut lines = format!("streams        {} of {} opened\n", outcome.opened, args.connections);
    // Writing to a String cannot fail.
    if outcome.not_up > 0 {
        let late = outcome.not_up;
        let _ = writeln!(lines, "               {late} not open in time: nothing was measured");
        return lines;
    }
    let seconds = args.duration_s as f64;
    let rate = outcome.delivered as f64 / seconds;
    let _ = writeln!(lines, "ended early    {}", outcome.early_closes);
    let _ = writeln!(lines, "events         {} in {seconds} s, {rate:.1}/s", outcome.delivered);
    let latency = &outcome.latency_ns;
    let ms = |quantile| latency.value_at_quantile(quantile) as f64 / 1e6;
    let _ = if latency.is_empty() {
        writeln!(lines, "latency        unknown: no data begins with {{\"n\":…,\"scheduled_ns\":…")
    } else {
        writeln!(
            lines,
            "latency        p50 {:.3} ms, p99 {:.3} ms, max {:.3} ms, n {}; from the scheduled time",
            ms(0.5),
            ms(0.99),
            latency.max() as f64 / 1e6,
            latency.len()
        )
    };
    lines
}
