//! `sse-bench load`: any endpoint of Server-Sent Events under open streams.

mod display;
mod json;
mod text;

use std::fs;
use std::io::{self, IsTerminal, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{ArgGroup, value_parser};
use client::arguments::{self, RequestArgs, Wanted};
use wire::{Location, Tls, Trust};

use self::display::Display;
use self::json::Document;
use self::text::put;
pub use self::text::time;
use super::arrivals::Arrivals;
use super::condition::Condition;
use super::generator::{self, Outcome};
use super::plan::{Asking, Body, Pace, Plan, Publish, Stop, stream_request};
use super::slo::Slo;
use super::stamp::StampReader;
use crate::stats::hlog;
use crate::timer::{MILLISECOND_NS, SECOND_NS, unix_ns};
use crate::truths::{self, Check};
use wire::publish::{Publication, PublishArgs};

/// Most streams of one run: what is left of the usual limit of open files, and below the number of
/// ports that one address has for one server.
const CONNECTIONS_MAX: u64 = 19_000;

/// Streams that are held open, or connections that ask again.
const CONNECTIONS: u64 = 100;

/// The most connections of an open loop: a hundred requests a second that take ten seconds each.
const CONNECTIONS_OPEN: u64 = 1000;

/// Longest run.
const DURATION_MAX_S: u64 = 3600;

/// How long to measure.
const DURATION_S: u64 = 10;

/// How long a number of requests may take: a hundred answers of six seconds, one after the other.
const REQUESTS_S: u64 = 600;

/// Fastest ramp, and most requests a second; faster than any of the servers here accepts on a separate
/// core.
const RAMP_MAX_PER_S: u64 = 10_000;

/// The longest time after the last connection until all streams have to be open.
const OPEN_NS: u64 = 2 * SECOND_NS;

/// Time after the last request of an open loop until all answers have to be there.
const ANSWERED_NS: u64 = 60 * SECOND_NS;

/// How long to look for an address of a name that takes connections.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(2);

/// Which endpoint, and how much load.
#[derive(Debug, Clone, clap::Args)]
#[command(group = ArgGroup::new("asking").args(["requests", "rate"]).multiple(true))]
#[command(after_help = "\
Examples:
  sse-bench load 'http://127.0.0.1:8003/ticks?interval_ms=100&stamp=1'
  sse-bench load http://HOST/stream --stamp-path meta.sent_at \\
    --fail-if 'p99>50ms'                         is 1 event in 100 late?
  sse-bench load http://HOST/stream --duration-s 60 --stall 20s \\
    --fail-if 'stalls>0' --fail-if 'events<1'    is a stream silent for 20 s?
  sse-bench load http://HOST/room --publish http://HOST/say \\
    --publish-body '{\"text\":{json}}'             how late is a message?
  sse-bench load http://HOST/room --publish-cmd 'redis-cli PUBLISH room {text}'
  sse-bench load https://HOST/v1/chat/completions -H @token.txt \\
    -d @prompt.json --requests 50 --connections 5 --until '[DONE]'
  sse-bench load http://HOST/answer --rate 20 --poisson \\
    --slo 'first-event<200ms,gap<50ms' --fail-if 'goodput<95%'

Waits need no stamp. They count from the request, with --rate from when it was due.

Latency counts from the time that an event says it was due at: our own stamp \
{\"n\":…,\"scheduled_ns\":…}, or the value at --stamp-path. Both clocks must be of one host.

Before it begins, the command measures a server of its own that lies by known amounts. Where it \
does not find them, it prints no figure.

Exit codes:
  0  fine
  1  a stream, an answer or a message failed, or a --fail-if is true
  2  could not run
  3  self-check failed")]
pub struct Args {
    /// The URL of a stream, for instance `http://127.0.0.1:8003/ticks?interval_ms=100&stamp=1`
    url: String,
    /// Streams to hold open [default: 100]. With --requests the connections that ask, with --rate
    /// the most that are open at once [default: 1000]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=CONNECTIONS_MAX))]
    connections: Option<u64>,
    /// How long to measure once all are open, seconds [default: 10]. With --requests the longest
    /// that it may take [default: 600]
    #[arg(long, value_name = "S", value_parser = value_parser!(u64).range(1..=DURATION_MAX_S))]
    duration_s: Option<u64>,
    /// End after this many events of all streams together, or after --duration-s
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    events: Option<u64>,
    /// For answers that end: ask so many times in all, each connection again when its answer has
    /// ended (a closed loop)
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    requests: Option<u64>,
    /// For answers that end: ask so many times a second, however late the answers are (an open
    /// loop); every wait counts from when its request was due
    #[arg(long, value_name = "PER_S", value_parser = rate)]
    rate: Option<f64>,
    /// With --rate: at random times, as independent users ask (the same in each run)
    #[arg(long, requires = "rate")]
    poisson: bool,
    /// An answer is whole with the event whose data is this, such as [DONE], and fails without it;
    /// its connection is closed then
    #[arg(long, value_name = "TEXT", requires = "asking")]
    until: Option<String>,
    /// How long to wait for what is late: the head of a stream after the ramp [default: 2s], with
    /// --rate the answers that are still open after --duration-s [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = arguments::time)]
    patience: Option<Duration>,
    /// Count the silences after an event that are longer: 500ms, 20s
    #[arg(long, value_name = "TIME", value_parser = arguments::time)]
    stall: Option<Duration>,
    /// Count the streams that keep to all these limits: headers, first-event, second-event, gap (each
    /// one), mean-gap, duration; 'first-event<200ms,gap<50ms'
    #[arg(long, value_name = "LIMITS")]
    slo: Option<Slo>,
    /// Connections to open each second
    #[arg(long, value_name = "N", default_value_t = 1000,
          value_parser = value_parser!(u64).range(1..=RAMP_MAX_PER_S))]
    ramp_per_s: u64,
    /// Path of the due time in an event's JSON data, with dots: `meta.sent_at`
    #[arg(long, value_name = "PATH")]
    stamp_path: Option<String>,
    /// Fail if this is true: 'p99>50ms', 'rate<1000', 'errors>0', 'events<1', 'gap-max>1s',
    /// 'first-event-p50>200ms', 'stalls>0', 'goodput<95%'; may be given several times
    #[arg(long, value_name = "CONDITION")]
    fail_if: Vec<Condition>,
    /// Measure although the self-check fails, as on a host that is always late; the result says so
    #[arg(long)]
    unchecked: bool,

    /// How to publish while it runs; the text is a stamp
    #[command(flatten)]
    publishing: PublishArgs,
    /// Between two messages, milliseconds
    #[arg(long, help_heading = "Publishing", value_name = "MS", default_value_t = 100, requires = "publisher",
          value_parser = value_parser!(u64).range(1..=60_000))]
    publish_every_ms: u64,
    /// The request of each stream
    #[command(flatten)]
    request: RequestArgs,
    /// Write the result as JSON to this file; - is stdout, in place of the text
    #[arg(long, help_heading = "Output", value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the result as one page with charts to this file
    #[arg(long, help_heading = "Output", value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the latencies as an HdrHistogram log to this file
    #[arg(long, help_heading = "Output", value_name = "FILE")]
    hlog: Option<PathBuf>,
}

/// The result of a load run, for a page.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// The URL of the streams.
    pub url: &'a str,
    /// The result as lines of text.
    pub text: &'a str,
    /// The result.
    pub outcome: &'a Outcome,
    /// How long it was measured.
    pub seconds: f64,
}

impl Args {
    fn connections(&self) -> u64 {
        let usual = if self.rate.is_some() { CONNECTIONS_OPEN } else { CONNECTIONS };
        self.connections.unwrap_or(usual)
    }

    fn duration_ns(&self) -> u64 {
        let usual = if self.requests.is_some() { REQUESTS_S } else { DURATION_S };
        self.duration_s.unwrap_or(usual) * SECOND_NS
    }

    fn patience_ns(&self) -> u64 {
        let usual = if self.rate.is_some() { ANSWERED_NS } else { OPEN_NS };
        self.patience.map_or(usual, |it| it.as_nanos() as u64)
    }

    /// # Errors
    /// When a condition is about something that is not counted.
    fn check(&self) -> Result<()> {
        if self.slo.is_none() && self.fail_if.iter().any(Condition::is_of_goodput) {
            bail!("goodput has no limits; give them: --slo 'first-event<200ms,gap<50ms'");
        }
        let duration = Duration::from_nanos(self.duration_ns());
        let is_held = self.requests.is_none() && self.rate.is_none();
        if let Some(stall) = self.stall.filter(|it| is_held && *it >= duration) {
            bail!(
                "a silence of {stall:?} does not fit into {duration:?}; give a longer --duration-s"
            );
        }
        if self.stall.is_none() && self.fail_if.iter().any(Condition::is_of_stalls) {
            bail!("no silence is a stall yet; say from when on: --stall 20s");
        }
        Ok(())
    }
}

/// Requests a second.
fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|it| *it > 0.0 && *it <= RAMP_MAX_PER_S as f64);
    rate.ok_or_else(|| format!("write requests a second, more than 0 and up to {RAMP_MAX_PER_S}"))
}

/// The generator does not find known truths, so it prints no figure.
#[derive(Debug, thiserror::Error)]
#[error("{0}; is the host busy? --unchecked measures all the same")]
pub struct Untrue(String);

/// Opens the streams, counts what comes, and prints it; `page` draws it for `--html`.
///
/// The exit code is 1 if a stream did not open or ended early, an answer or a message failed, or a
/// condition says so, else 0.
///
/// # Errors
/// [`Untrue`]; or when the URL cannot be used or no stream opens.
pub fn run(args: &Args, page: impl Fn(&Page<'_>) -> String) -> Result<ExitCode> {
    args.check()?;
    let live = io::stderr().is_terminal();
    // Mistakes in these show at once. Read once: the body may come from standard input.
    let wanted = args.request.wanted().map_err(anyhow::Error::msg)?;
    Location::parse(&args.url).map_err(anyhow::Error::msg)?;
    let again = |words: &str| {
        // For those who wait; an error stays one line.
        if live {
            eprintln!("self-check, {words}");
        }
    };
    let checks = truths::find(again).context("the self-check cannot run")?;
    let untrue = truths::untrue(&checks);
    if let Some(why) = untrue.clone().filter(|_| !args.unchecked) {
        return Err(Untrue(why).into());
    }
    let plan = plan(args, &wanted, live)?;
    let mut display = Display::new(args.connections(), unix_ns());
    let outcome = generator::run(&plan, unix_ns, |mark| display.show(&mark, unix_ns()))?;
    if live {
        eprint!("\r\x1b[K");
    }
    let failure = outcome.first_failure.as_deref().unwrap_or("no answer within the time");
    let Range { start, end } = outcome.window_ns;
    let window_ns = unix_ns().min(end).saturating_sub(start);
    let seconds = (window_ns as f64 / 1e9).max(1e-3);
    let failed: Vec<String> = args
        .fail_if
        .iter()
        .filter(|it| it.is_met(&outcome, seconds))
        .map(ToString::to_string)
        .collect();
    save(args, &outcome, seconds, &failed, &checks)?;
    if outcome.opened == 0 {
        // Trouble with TLS has its own advice.
        let is_refused = ["answered 401", "answered 403"].iter().any(|it| failure.contains(it));
        let is_advised = ["--cacert", "try http"].iter().any(|it| failure.contains(it));
        let advice = match () {
            () if is_refused => {
                "; does it need a token? -H @FILE, with a line Authorization: Bearer …"
            }
            () if is_advised => "",
            () => "; is it the URL of a running stream?",
        };
        bail!("no stream of {} opened: {failure}{advice}", args.url);
    }
    let unfinished = if outcome.asks { outcome.waits.ends.open } else { 0 };
    let whole = outcome.errors() + unfinished == 0;
    let mut text = text::text(args, &outcome, seconds);
    if let Some(why) = untrue {
        put(&mut text, "UNCHECKED", &why);
    }
    if !whole {
        put(&mut text, "first failure", failure);
    }
    for it in &failed {
        put(&mut text, "FAILED", it);
    }
    if let Some(path) = &args.html {
        let html = page(&Page { url: &args.url, text: &text, outcome: &outcome, seconds });
        fs::write(path, html).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if args.json.as_ref().is_none_or(|it| it.as_os_str() != "-") {
        write!(io::stdout(), "{text}")?;
    }
    Ok(ExitCode::from(u8::from(!whole || !failed.is_empty())))
}

/// The run as times, from now on; with marks for the display if it is `live`.
fn plan(args: &Args, wanted: &Wanted, live: bool) -> Result<Plan> {
    let (location, addr, tls) = reach(&args.url, &args.request)?;
    let limit = fleet::raise_fd_limit()?;
    let connections = args.connections();
    if limit < connections + fleet::SPARE_FDS {
        bail!("{limit} open files are allowed; use fewer --connections or raise: ulimit -Hn");
    }
    let begin_ns = unix_ns() + 10 * MILLISECOND_NS;
    let asking = asking(args, begin_ns);
    let connect = Pace {
        first_ns: begin_ns,
        every_ns: SECOND_NS / args.ramp_per_s,
        count: match &asking {
            None => connections,
            Some(Asking::Again { requests }) => connections.min(*requests),
            Some(Asking::At { .. }) => 0,
        },
    };
    // Answers that end are measured from the first request on, those of an open loop to their end.
    let (up_by_ns, late_ns) = match &asking {
        None => (connect.time_ns(connections) + args.patience_ns(), 0),
        Some(Asking::Again { .. }) => (begin_ns, 0),
        Some(Asking::At { .. }) => (begin_ns, args.patience_ns()),
    };
    let end_ns = up_by_ns + args.duration_ns() + late_ns;
    let marks = if live { (end_ns - begin_ns) / display::EVERY_NS } else { 0 };
    Ok(Plan {
        publish: publish(args, up_by_ns)?,
        stamp: match &args.stamp_path {
            Some(path) => StampReader::Path(path.split('.').map(str::to_owned).collect()),
            None => StampReader::Ours,
        },
        marks_ns: (1..marks).map(|at| begin_ns + at * display::EVERY_NS).collect(),
        stop: match args.events {
            Some(events) => Stop::AfterEvents { events, at_latest_ns: end_ns },
            None => Stop::At(end_ns),
        },
        cancel: Some(fleet::stopped_by_signals()?),
        goes_on: true,
        asking,
        until: args.until.as_deref().map(|it| it.trim().to_owned()),
        stall_ns: args.stall.map(|it| it.as_nanos() as u64),
        slo: args.slo.clone().unwrap_or_default(),
        tls,
        request: bytes_of(wanted, &location),
        ..Plan::bare(addr, &location.target, connect, up_by_ns, up_by_ns..end_ns)
    })
}

/// How answers that end are asked for.
fn asking(args: &Args, begin_ns: u64) -> Option<Asking> {
    match (args.requests, args.rate) {
        (None, None) => None,
        (Some(requests), None) => Some(Asking::Again { requests }),
        (requests, Some(rate_per_s)) => Some(Asking::At {
            arrivals: Arrivals {
                first_ns: begin_ns,
                rate_per_s,
                is_poisson: args.poisson,
                end_ns: begin_ns + args.duration_ns(),
                count: requests.unwrap_or(u64::MAX),
            },
            connections: args.connections() as usize,
        }),
    }
}

/// The messages to publish from then on.
fn publish(args: &Args, first_ns: u64) -> Result<Option<Publish>> {
    let trust = trust(&args.request);
    let publication = args.publishing.publication(&trust).map_err(anyhow::Error::msg)?;
    let publish = publication.map(|publication| -> Result<Publish> {
        // A command knows by itself where to publish.
        let url = args.publishing.publish.as_ref().unwrap_or(&args.url);
        let (location, addr, tls) = reach(url, &args.request)?;
        let every_ns = args.publish_every_ms * MILLISECOND_NS;
        let count = args.duration_ns() / every_ns;
        let pace = Pace { first_ns, every_ns, count };
        let body = match &publication {
            Publication::Request { .. } => Body::Request(publication),
            Publication::Command { .. } => Body::Command(publication),
        };
        Ok(Publish { addr, tls, host: location.host, path: location.target, body, pace })
    });
    publish.transpose()
}

/// The parts of a URL, the address to dial, and how to speak TLS there.
fn reach(url: &str, args: &RequestArgs) -> Result<(Location, SocketAddr, Option<Tls>)> {
    let location = Location::parse(url).map_err(anyhow::Error::msg)?;
    let tls = location.is_tls.then(|| Tls::new(location.name(), &trust(args))).transpose();
    let tls = tls.map_err(anyhow::Error::msg)?;
    let unknown = || format!("{} is not known; check the host in the URL", location.address);
    let found: Vec<SocketAddr> =
        location.address.to_socket_addrs().with_context(unknown)?.collect();
    let addr = dialled(&found).with_context(unknown)?;
    Ok((location, addr, tls))
}

fn trust(args: &RequestArgs) -> Trust {
    Trust {
        cacert: args.cacert.clone(),
        insecure: args.insecure,
        server_name: args.server_name.clone(),
    }
}

/// Of a name's addresses the first one that takes connections: a server may listen on one of those of
/// `localhost` only.
fn dialled(found: &[SocketAddr]) -> Option<SocketAddr> {
    let takes = |it: &&SocketAddr| TcpStream::connect_timeout(it, ADDRESS_TIMEOUT).is_ok();
    let several = found.len() > 1;
    let addr = if several { found.iter().find(takes) } else { None };
    addr.or(found.first()).copied()
}

/// The request of each stream; a header of the user's takes the place of ours of the same name.
fn bytes_of(wanted: &Wanted, location: &Location) -> Vec<u8> {
    let mut request = stream_request(&wanted.method, &location.target, &location.host);
    for (name, _) in &wanted.headers {
        request = request.without(name);
    }
    for (name, value) in &wanted.headers {
        request = request.header(name, value);
    }
    if let Some(body) = &wanted.body {
        request = request.body(body.clone());
    }
    request.to_bytes()
}

fn save(
    args: &Args,
    outcome: &Outcome,
    seconds: f64,
    failed: &[String],
    checks: &[Check],
) -> Result<()> {
    if let Some(path) = &args.hlog {
        let shown = path.display();
        let log = hlog::of(&[("load".into(), &outcome.latency_ns)], seconds)?;
        fs::write(path, log).with_context(|| format!("cannot write {shown}"))?;
    }
    let Some(path) = &args.json else { return Ok(()) };
    let document = Document::of(args, outcome, seconds, failed, checks);
    let mut json = serde_json::to_string_pretty(&document)?;
    json.push('\n');
    if path.as_os_str() == "-" {
        write!(io::stdout(), "{json}")?;
        return Ok(());
    }
    fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_name_is_tried_at_all_its_addresses() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let listens = listener.local_addr().unwrap();
        // The same port of another address, at which there is no server.
        let refuses = SocketAddr::from(([127, 0, 0, 2], listens.port()));
        assert_eq!(dialled(&[refuses, listens]), Some(listens));
        assert_eq!(dialled(&[refuses]), Some(refuses));
        let url = format!("http://127.0.0.1:{}/x?y", listens.port());
        let (location, addr, tls) = reach(&url, &RequestArgs::default()).unwrap();
        assert_eq!((addr, tls.is_none(), location.target.as_str()), (listens, true, "/x?y"));
    }

    #[test]
    fn the_request_is_the_users() {
        let headers = vec!["Accept: */*".to_owned(), "X-A: 1".to_owned()];
        let args = RequestArgs { headers, data: Some("{}".to_owned()), ..RequestArgs::default() };
        let location = Location::parse("http://h/x").unwrap();
        let expected = "POST /x HTTP/1.1\r\nHost: h\r\nAccept: */*\r\nX-A: 1\r\n\
                        Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(bytes_of(&args.wanted().unwrap(), &location), expected.as_bytes());
        let plain = bytes_of(&Wanted::default(), &location);
        let expected = b"GET /x HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n";
        assert_eq!(plain, expected);
    }
}
