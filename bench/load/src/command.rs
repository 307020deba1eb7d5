//! `sse-bench load`: any endpoint of Server-Sent Events under open streams.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, IsTerminal, Write as _};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail};
use clap::value_parser;
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::condition::Condition;
use super::generator::{self, Mark, Outcome};
use super::ledger::Step;
use super::plan::{Body, Pace, Plan, Publish, Stop};
use super::stamp::StampReader;
use crate::stats::{Distribution, hlog};
use crate::timer::{MILLISECOND_NS, SECOND_NS, unix_ns};

/// Most streams of one run: what is left of the usual limit of open files, and below the number of
/// ports that one address has for one server.
const CONNECTIONS_MAX: u64 = 19_000;

/// Longest run.
const DURATION_MAX_S: u64 = 3600;

/// Fastest ramp; faster than any of the servers here accepts on a separate core.
const RAMP_MAX_PER_S: u64 = 10_000;

/// Time after the last connection until all streams have to be open.
const OPEN_NS: u64 = 2 * SECOND_NS;

/// Between two changes of the live display.
const DISPLAY_NS: u64 = 250 * MILLISECOND_NS;

/// Which endpoint, and how much load.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  sse-bench load 'http://127.0.0.1:8003/ticks?interval_ms=100&stamp=1'
  sse-bench load http://HOST/stream --stamp-path meta.sent_at --fail-if 'p99>50ms'
  sse-bench load http://HOST/room/1 --publish http://HOST/room/1 --publish-body '{stamp}'

Latency counts from the time that an event says it was due at: our own stamp
{\"n\":…,\"scheduled_ns\":…}, or the value at --stamp-path. Both clocks must be of one host.
Exit codes: 0 fine, 1 a stream failed or a --fail-if is true, 2 could not run.")]
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
    /// End after this many events of all streams together, or after --duration-s
    #[arg(long, value_parser = value_parser!(u64).range(1..))]
    events: Option<u64>,
    /// Connections to open each second
    #[arg(long, default_value_t = 1000,
          value_parser = value_parser!(u64).range(1..=RAMP_MAX_PER_S))]
    ramp_per_s: u64,
    /// POST messages to this URL while it runs
    #[arg(long, value_name = "URL")]
    publish: Option<String>,
    /// Between two messages, milliseconds
    #[arg(long, default_value_t = 100, requires = "publish",
          value_parser = value_parser!(u64).range(1..=60_000))]
    publish_every_ms: u64,
    /// The message; {stamp}, {n}, {scheduled_ns} and {scheduled_ms} are replaced
    #[arg(long, default_value = "{stamp}", requires = "publish", value_name = "TEXT")]
    publish_body: String,
    /// Path of the due time in an event's JSON data, with dots: `meta.sent_at`
    #[arg(long, value_name = "PATH")]
    stamp_path: Option<String>,
    /// Fail if this is true: 'p99>50ms', 'rate<1000', 'errors>0'; may be given several times
    #[arg(long, value_name = "CONDITION")]
    fail_if: Vec<Condition>,
    /// Write the result as JSON to this file; - is stdout, in place of the text
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the latencies as an HdrHistogram log to this file
    #[arg(long, value_name = "FILE")]
    hlog: Option<PathBuf>,
}

/// The result of a load run, as JSON.
#[derive(Debug, Serialize)]
struct Result_<'a> {
    schema: u32,
    url: &'a str,
    connections: u64,
    opened: u64,
    not_open_in_time: u64,
    ended_early: u64,
    seconds: f64,
    events: u64,
    events_per_s: f64,
    bytes: u64,
    reads: u64,
    latency: Option<Distribution>,
    connect_time: Option<Distribution>,
    time_to_headers: Option<Distribution>,
    time_to_first_byte: Option<Distribution>,
    time_to_first_event: Option<Distribution>,
    timeline: &'a [Step],
    first_failure: Option<&'a str>,
    failed_conditions: Vec<String>,
}

/// Opens the streams, counts what comes, and prints it.
///
/// The exit code is 1 if a stream did not open or ended early or a condition says so, else 0.
///
/// # Errors
/// When the URL cannot be used or no stream opens.
pub fn run(args: &Args) -> Result<ExitCode> {
    let live = io::stderr().is_terminal();
    let plan = plan(args, live)?;
    let mut display = Display { last_events: 0, last_ns: unix_ns() };
    let outcome = generator::run(&plan, unix_ns, |mark| display.show(args, &mark))?;
    if live {
        eprint!("\r\x1b[K");
    }
    let failure = outcome.first_failure.as_deref().unwrap_or("no answer within the time");
    if outcome.opened == 0 {
        bail!("no stream of {} opened: {failure}; is it the URL of a running stream?", args.url);
    }
    let window_ns = unix_ns().min(plan.window_ns.end).saturating_sub(plan.window_ns.start);
    let seconds = (window_ns as f64 / 1e9).max(1e-3);
    let failed: Vec<String> = args
        .fail_if
        .iter()
        .filter(|it| it.is_met(&outcome, seconds))
        .map(ToString::to_string)
        .collect();
    let whole = outcome.not_up == 0 && outcome.early_closes == 0;
    save(args, &outcome, seconds, &failed)?;
    if args.json.as_ref().is_none_or(|it| it.as_os_str() != "-") {
        let mut text = text(args, &outcome, seconds);
        if !whole {
            let _ = writeln!(text, "first failure  {failure}");
        }
        for it in &failed {
            let _ = writeln!(text, "FAILED         {it}");
        }
        write!(io::stdout(), "{text}")?;
    }
    Ok(ExitCode::from(u8::from(!whole || !failed.is_empty())))
}

/// The run as times, from now on; with marks for the display if it is `live`.
fn plan(args: &Args, live: bool) -> Result<Plan> {
    let (addr, host, target) = resolve(&args.url)?;
    let limit = fleet::raise_fd_limit()?;
    if limit < args.connections + fleet::SPARE_FDS {
        bail!("{limit} open files are allowed; use fewer --connections or raise: ulimit -Hn");
    }
    let connect = Pace {
        first_ns: unix_ns() + 10 * MILLISECOND_NS,
        every_ns: SECOND_NS / args.ramp_per_s,
        count: args.connections,
    };
    let up_by_ns = connect.time_ns(args.connections) + OPEN_NS;
    let end_ns = up_by_ns + args.duration_s * SECOND_NS;
    let publish = args.publish.as_ref().map(|url| -> Result<Publish> {
        let (addr, host, path) = resolve(url)?;
        let every_ns = args.publish_every_ms * MILLISECOND_NS;
        let count = args.duration_s * SECOND_NS / every_ns;
        let pace = Pace { first_ns: up_by_ns, every_ns, count };
        let body = Body::Template(args.publish_body.clone());
        Ok(Publish { addr, host, path, body, pace })
    });
    let begin_ns = connect.first_ns;
    let marks = if live { (end_ns - begin_ns) / DISPLAY_NS } else { 0 };
    Ok(Plan {
        publish: publish.transpose()?,
        stamp: match &args.stamp_path {
            Some(path) => StampReader::Path(path.split('.').map(str::to_owned).collect()),
            None => StampReader::Ours,
        },
        marks_ns: (1..marks).map(|at| begin_ns + at * DISPLAY_NS).collect(),
        stop: match args.events {
            Some(events) => Stop::AfterEvents { events, at_latest_ns: end_ns },
            None => Stop::At(end_ns),
        },
        cancel: Some(cancelled_by_signals()?),
        host,
        ..Plan::bare(addr, &target, connect, up_by_ns, up_by_ns..end_ns)
    })
}

/// Set at the first Ctrl-C or SIGTERM; the second ends the process.
fn cancelled_by_signals() -> Result<Arc<AtomicBool>> {
    let cancel = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&cancel))?;
        signal_hook::flag::register(signal, Arc::clone(&cancel))?;
    }
    Ok(cancel)
}

fn resolve(url: &str) -> Result<(SocketAddr, String, String)> {
    let (dialled, host, target) = wire::base_url(url).map_err(anyhow::Error::msg)?;
    let addr = dialled
        .to_socket_addrs()
        .ok()
        .and_then(|mut found| found.next())
        .with_context(|| format!("{dialled} is not known; check the host in the URL"))?;
    Ok((addr, host, target))
}

/// The line that changes while it runs.
struct Display {
    last_events: u64,
    last_ns: u64,
}

impl Display {
    fn show(&mut self, args: &Args, mark: &Mark<'_>) {
        let now_ns = unix_ns();
        let events = mark.outcome.events;
        let passed_s = now_ns.saturating_sub(self.last_ns).max(1) as f64 / 1e9;
        let rate = (events - self.last_events) as f64 / passed_s;
        (self.last_events, self.last_ns) = (events, now_ns);
        let latency = &mark.outcome.latency_ns;
        let ms = |at| latency.value_at_quantile(at) as f64 / 1e6;
        let latency = if latency.is_empty() {
            "latency unknown".into()
        } else {
            format!("p50 {:.2}  p99 {:.2}  max {:.2} ms", ms(0.5), ms(0.99), ms(1.0))
        };
        let errors = mark.outcome.early_closes + mark.outcome.not_up;
        // The display is optional: continue without it.
        let _ = write!(
            io::stderr(),
            "\r\x1b[K{}/{} open  {rate:.0} events/s  {latency}  {errors} errors",
            mark.open,
            args.connections
        );
    }
}

fn save(args: &Args, outcome: &Outcome, seconds: f64, failed: &[String]) -> Result<()> {
    if let Some(path) = &args.hlog {
        let shown = path.display();
        let log = hlog::of(&[("load".into(), &outcome.latency_ns)], seconds)?;
        fs::write(path, log).with_context(|| format!("cannot write {shown}"))?;
    }
    let Some(path) = &args.json else { return Ok(()) };
    let result = Result_ {
        schema: 1,
        url: &args.url,
        connections: args.connections,
        opened: outcome.opened,
        not_open_in_time: outcome.not_up,
        ended_early: outcome.early_closes,
        seconds,
        events: outcome.delivered,
        events_per_s: outcome.delivered as f64 / seconds,
        bytes: outcome.received.bytes,
        reads: outcome.received.reads,
        latency: Distribution::of(&outcome.latency_ns),
        connect_time: Distribution::of(&outcome.connect_ns),
        time_to_headers: Distribution::of(&outcome.headers_ns),
        time_to_first_byte: Distribution::of(&outcome.first_byte_ns),
        time_to_first_event: Distribution::of(&outcome.first_event_ns),
        timeline: &outcome.timeline,
        first_failure: outcome.first_failure.as_deref(),
        failed_conditions: failed.to_vec(),
    };
    let mut json = serde_json::to_string_pretty(&result)?;
    json.push('\n');
    if path.as_os_str() == "-" {
        write!(io::stdout(), "{json}")?;
        return Ok(());
    }
    fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))
}

fn text(args: &Args, outcome: &Outcome, seconds: f64) -> String {
    let mut lines = format!("streams        {} of {} opened\n", outcome.opened, args.connections);
    // Writing to a String cannot fail.
    if outcome.not_up > 0 {
        let late = outcome.not_up;
        let _ = writeln!(lines, "               {late} not open in time: nothing was measured");
        return lines;
    }
    let rate = outcome.delivered as f64 / seconds;
    let _ = writeln!(lines, "ended early    {}", outcome.early_closes);
    let _ = writeln!(lines, "events         {} in {seconds:.1} s, {rate:.1}/s", outcome.delivered);
    for (name, found) in [
        ("headers", &outcome.headers_ns),
        ("first byte", &outcome.first_byte_ns),
        ("first event", &outcome.first_event_ns),
        ("latency", &outcome.latency_ns),
    ] {
        let Some(it) = Distribution::of(found) else { continue };
        let ms = |ns: u64| ns as f64 / 1e6;
        let _ = writeln!(
            lines,
            "{name:<14} p50 {:.3} ms, p99 {:.3} ms, max {:.3} ms, n {}",
            ms(it.p50_ns),
            ms(it.p99_ns),
            ms(it.max_ns),
            it.n
        );
    }
    if outcome.latency_ns.is_empty() {
        let _ = writeln!(
            lines,
            "latency        unknown: no data begins with {{\"n\":…,\"scheduled_ns\":…; \
             see --stamp-path"
        );
    }
    lines
}
