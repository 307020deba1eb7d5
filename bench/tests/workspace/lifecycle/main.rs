//! A server's life: streams that end whole, clients that vanish, stall or are slow, restarts.
//!
//! Each check drives a separate process, for every server that `cargo metadata` finds; the names
//! of the tests are `axum::ends-1000-streams` and the like. A check that a framework cannot pass is
//! a `[[lifecycle]]` entry in the server's `deviations.toml`; a listed check must fail.

mod clocks;
mod pipelines;
mod process;
#[path = "../servers.rs"]
mod servers;
mod slow_clients;

use std::collections::HashSet;
use std::io::Read;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::OnceLock;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use conform::Deviations;
use conform::host::{self, Watch};
use fleet::{Package, Server, eventually};
use libtest_mimic::{Arguments, Failed, Trial};
use rustix::process::Signal;
use socket2::SockRef;
use wire::{Connection, Event, EventStream, Log, Request};

use crate::process::Process;

/// No step takes so long; debug builds on a busy machine take their time.
const PATIENCE: Duration = Duration::from_secs(15);
/// From SIGTERM to the exit, as the contract says.
const STOP_LIMIT: Duration = Duration::from_secs(2);
/// Time that a late timer and a busy machine may add to a promised time.
const GRACE: Duration = Duration::from_millis(450);

/// Between two reads of a slow reader.
const PACE: Duration = Duration::from_millis(10);
/// The attempts at a check that fails while the host is late.
const ATTEMPTS: usize = 5;

type Check = fn(&Package) -> Result<(), Failed>;

const CHECKS: &[(&str, Check)] = &[
    ("ends-1000-streams", ends_1000_streams),
    ("notices-200-vanished-clients", notices_200_vanished_clients),
    ("is-followed-across-a-restart", is_followed_across_a_restart),
    ("exits-at-the-second-signal", exits_at_the_second_signal),
    ("forgets-clients-that-left", pipelines::forgets_clients_that_left),
    ("closes-a-stalled-reader", closes_a_stalled_reader),
    ("ends-slow-clients", slow_clients::ends_slow_clients),
    ("cuts-no-stream", slow_clients::cuts_no_stream),
    ("cannot-be-locked-out", slow_clients::cannot_be_locked_out),
    ("limits-pending-connections", slow_clients::limits_pending_connections),
    ("answers-nothing-behind-a-close", pipelines::answers_nothing_behind_a_close),
    ("keeps-no-queue-of-requests", pipelines::keeps_no_queue_of_requests),
    ("bounds-the-kernel-memory-of-a-reader", bounds_the_kernel_memory_of_a_reader),
    ("keeps-no-queue-for-slow-readers", keeps_no_queue_for_slow_readers),
    ("lets-the-clock-be-set", clocks::lets_the_clock_be_set),
    ("prints-one-line", prints_one_line),
    ("fails-in-one-line", fails_in_one_line),
];

fn main() -> ExitCode {
    fleet::raise_fd_limit().expect("the soft limit may go up to the hard one");
    let mut trials = vec![Trial::test("deviations-name-checks", deviations_name_checks)];
    for package in servers::packages() {
        for (name, check) in CHECKS {
            let test = format!("{}::{name}", package.short_name());
            trials.push(Trial::test(test, move || as_listed(package, name, check(package))));
        }
    }
    let mut arguments = Arguments::from_args();
    // The checks measure times, so they do not run in crowds.
    arguments.test_threads.get_or_insert(2);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A failure that is listed is expected; a listed check that passes is out of date.
fn as_listed(package: &Package, check: &str, found: Result<(), Failed>) -> Result<(), Failed> {
    let deviations = Deviations::read(&package.folder)?;
    let Some(listed) = deviations.lifecycle().iter().find(|it| it.check == check) else {
        return found;
    };
    match found {
        Ok(()) => Err("it passes, yet deviations.toml lists it: remove the entry".into()),
        Err(failed) if failed.message().is_some_and(|it| it.contains(&listed.failure)) => Ok(()),
        Err(failed) => Err(failed),
    }
}

/// Every deviation names a check that there is.
fn deviations_name_checks() -> Result<(), Failed> {
    for package in servers::packages() {
        for listed in Deviations::read(&package.folder)?.lifecycle() {
            if !CHECKS.iter().any(|(name, _)| *name == listed.check) {
                let name = &package.name;
                return Err(format!("{name} lists {:?}: no such check", listed.check).into());
            }
        }
    }
    Ok(())
}

/// Tries it again while it fails on a host that was late itself after the moment that the attempt sets: what rests
/// on a time counts only if the server had its part of the cores. A pass counts always.
fn on_a_host_in_time(
    mut attempt: impl FnMut(&mut Instant) -> Result<(), Failed>,
) -> Result<(), Failed> {
    let _watch = Watch::start();
    let mut unjudged = String::new();
    for _ in 0..ATTEMPTS {
        let mut since = Instant::now();
        let Err(failed) = attempt(&mut since) else { return Ok(()) };
        let late = host::worst_since(since);
        if late <= host::IN_TIME {
            return Err(failed);
        }
        let words = failed.message().unwrap_or_default();
        unjudged = format!("not judged: the host was late by {late:?}; {words}");
    }
    Err(unjudged.into())
}

/// SIGTERM with 1000 open streams: each gets `retry` and its last chunk, and the exit is in time.
fn ends_1000_streams(package: &Package) -> Result<(), Failed> {
    on_a_host_in_time(|since| ends_1000_streams_once(package, since))
}

fn ends_1000_streams_once(package: &Package, since: &mut Instant) -> Result<(), Failed> {
    let server = servers::start(package, &[])?;
    let targets =
        ["/ticks?interval_ms=60000", "/ticks?interval_ms=200", "/messages/room", "/simulation"];
    let streams = (0..1000).map(|number| open(&server, targets[number % targets.len()]));
    let mut streams = streams.collect::<wire::Result<Vec<_>>>()?;
    *since = Instant::now();
    let stopped = server.stop().map_err(|error| format!("{error:#}"))?;
    let mut delays = HashSet::new();
    for (number, stream) in streams.iter_mut().enumerate() {
        let end = stream.read_to_end();
        end.map_err(|error| format!("stream {number} does not end whole: {error}"))?;
        let [delay] = stream.retries() else {
            return Err(format!("stream {number} got {:?} for retry", stream.retries()).into());
        };
        if !(1000..=5000).contains(&delay.as_millis()) {
            return Err(format!("stream {number} got retry {delay:?}").into());
        }
        delays.insert(*delay);
    }
    if delays.len() < 100 {
        return Err(format!("1000 clients come back at {} moments only", delays.len()).into());
    }
    if stopped.took > STOP_LIMIT || !stopped.status.success() {
        return Err(format!("{} after {:?}", stopped.status, stopped.took).into());
    }
    Ok(())
}

/// 100 clients close, 100 reset: within one keep-alive no stream is counted as open.
fn notices_200_vanished_clients(package: &Package) -> Result<(), Failed> {
    on_a_host_in_time(|since| notices_200_vanished_clients_once(package, since))
}

fn notices_200_vanished_clients_once(package: &Package, since: &mut Instant) -> Result<(), Failed> {
    let keep_alive = Duration::from_millis(500);
    let server = servers::start(package, &["--keep-alive-ms", "500"])?;
    let idle = |_| -> Result<EventStream, Failed> {
        let mut stream = open(&server, "/ticks?interval_ms=60000")?;
        stream.take(1)?;
        Ok(stream)
    };
    let streams = (0..200).map(idle).collect::<Result<Vec<_>, _>>()?;
    // The server may count a stream a moment after its first byte.
    until(PATIENCE, "200 open streams", || Ok(open_streams(&server)? == 200))?;
    *since = Instant::now();
    for (number, stream) in streams.into_iter().enumerate() {
        let connection = stream.into_connection();
        if number % 2 == 0 {
            // With this, closing sends a reset.
            SockRef::from(connection.socket()).set_linger(Some(Duration::ZERO))?;
        } else {
            // Unread bytes, a keep-alive perhaps, would turn the close into a reset.
            connection.socket().set_nonblocking(true)?;
            while matches!(connection.socket().read(&mut [0; 256]), Ok(1..)) {}
        }
    }
    let gone = Instant::now();
    until(keep_alive + GRACE, "sse_open_streams 0", || Ok(open_streams(&server)? == 0))?;
    if gone.elapsed() > keep_alive + GRACE {
        return Err(format!("noticed only after {:?}", gone.elapsed()).into());
    }
    Ok(())
}

/// `sse tail` loses and repeats no tick when the server is stopped and started again.
fn is_followed_across_a_restart(package: &Package) -> Result<(), Failed> {
    const INTERVAL_MS: u64 = 20;
    let binary = servers::binary(package)?;
    let port = fleet::free_port().map_err(|error| format!("{error:#}"))?.to_string();
    let start = || -> Result<Process, Failed> {
        let server = Process::start(&binary, &["--port", &port])?;
        let ready = server.line(PATIENCE)?;
        match ready {
            Some(line) if line.ends_with(&format!(":{port}")) => Ok(server),
            other => Err(format!("no ready line but {other:?}").into()),
        }
    };
    let sse = client_binary()?;
    let mut first = start()?;
    let url = format!("http://127.0.0.1:{port}/ticks?interval_ms={INTERVAL_MS}");
    let began = Instant::now();
    let tail = Process::start(&sse, &["tail", "--json", &url])?;
    let mut next: u64 = 1;
    let mut follow = |up_to: u64| -> Result<(), Failed> {
        while next <= up_to {
            let line = tail.line(PATIENCE)?.ok_or("sse tail has ended")?;
            let event: serde_json::Value = serde_json::from_str(&line)?;
            if event["id"].as_str() != Some(next.to_string().as_str()) {
                return Err(format!("after tick {} came {line}", next - 1).into());
            }
            next += 1;
        }
        Ok(())
    };
    follow(20)?;
    let status = first.stop(PATIENCE)?;
    if !status.success() {
        return Err(format!("the first process ended with {status}").into());
    }
    // The first process cannot have sent more than this, so the rest comes from the second.
    let sent = u64::try_from(began.elapsed().as_millis())? / INTERVAL_MS + 2;
    let mut second = start()?;
    follow(sent + 20)?;
    second.stop(PATIENCE)?;
    Ok(())
}

/// While a stalled reader holds up the shutdown, a second SIGTERM ends it.
fn exits_at_the_second_signal(package: &Package) -> Result<(), Failed> {
    on_a_host_in_time(|since| exits_at_the_second_signal_once(package, since))
}

fn exits_at_the_second_signal_once(package: &Package, since: &mut Instant) -> Result<(), Failed> {
    let mut server = servers::start(package, &["--stall-timeout-ms", "60000"])?;
    let stalled = open(&server, "/ticks?interval_ms=0&pad=65536")?;
    let mut healthy = open(&server, "/ticks?interval_ms=60000")?;
    stalls(&server)?;
    let asked = Instant::now();
    *since = asked;
    server.signal(Signal::TERM)?;
    // The end of a healthy stream shows that the shutdown has begun.
    healthy.read_to_end()?;
    if server.ended()?.is_some() {
        return Err(format!("exit after {:?} at the first signal", asked.elapsed()).into());
    }
    let asked_again = Instant::now();
    server.signal(Signal::TERM)?;
    let stopped = server.wait_stopped(asked_again).map_err(|error| format!("{error:#}"))?;
    drop(stalled);
    if stopped.took > GRACE {
        return Err(format!("exit only {:?} after the second signal", stopped.took).into());
    }
    Ok(())
}

/// A stream that accepts no byte is closed after the stall timeout; one that reads slowly is not.
fn closes_a_stalled_reader(package: &Package) -> Result<(), Failed> {
    on_a_host_in_time(|since| closes_a_stalled_reader_once(package, since))
}

fn closes_a_stalled_reader_once(package: &Package, since: &mut Instant) -> Result<(), Failed> {
    let stall_timeout = Duration::from_millis(600);
    let server = servers::start(package, &["--stall-timeout-ms", "600"])?;
    let flood = "/ticks?interval_ms=0&pad=65536";
    let _stalled = open(&server, flood)?;
    let mut slow = open(&server, flood)?;
    *since = Instant::now();
    let (enough, is_enough) = channel::<()>();
    thread::scope(|scope| {
        // The reader has a thread of its own, so that nothing delays its next read.
        let reading = scope.spawn(move || -> wire::Result<()> {
            // At a pace that leaves the server waiting most of the time, until the check is over.
            while is_enough.recv_timeout(PACE) == Err(RecvTimeoutError::Timeout) {
                slow.take(1)?;
            }
            Ok(())
        });
        let watched = (|| -> Result<(), Failed> {
            until(PATIENCE, "two open streams", || Ok(open_streams(&server)? == 2))?;
            // Filling the buffers on the way takes time before the stall begins.
            until(stall_timeout + PATIENCE / 3, "one open stream", || {
                Ok(open_streams(&server)? == 1)
            })?;
            // Longer than the timeout: the slow one stays.
            let begin = Instant::now();
            while begin.elapsed() < 2 * stall_timeout {
                if open_streams(&server)? != 1 {
                    return Err("the slow reader was closed, too".into());
                }
                thread::sleep(Duration::from_millis(20));
            }
            Ok(())
        })();
        drop(enough);
        let read = reading.join().expect("the reader has nothing that panics");
        watched?;
        read.map_err(|error| format!("the slow reader was closed, too: {error}"))?;
        Ok(())
    })
}

/// A reader that reads nothing holds little memory of the kernel.
fn bounds_the_kernel_memory_of_a_reader(package: &Package) -> Result<(), Failed> {
    const LIMIT_BYTES: u64 = 256 * 1024;
    let server = servers::start(package, &["--stall-timeout-ms", "60000"])?;
    let _stalled = open(&server, "/ticks?interval_ms=0&pad=65536")?;
    stalls(&server)?;
    // 0: 0100007F:1F43 0100007F:D2F0 01 00010000:00000000 …, in hex; the bytes to send stand last.
    let (sockets, port) = (std::fs::read_to_string("/proc/net/tcp")?, server.addr().port());
    let queues = sockets.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let is_it = fields.next()?.ends_with(&format!(":{port:04X}"));
        let (queue, _) = fields.nth(2)?.split_once(':')?;
        u64::from_str_radix(queue, 16).ok().filter(|_| is_it)
    });
    let queued = queues.max().ok_or("no socket of the server")?;
    if queued > LIMIT_BYTES {
        return Err(format!("{queued} bytes wait in the kernel").into());
    }
    Ok(())
}

/// Readers that stall cost no memory; when they read again they get whole events and a gap.
fn keeps_no_queue_for_slow_readers(package: &Package) -> Result<(), Failed> {
    const MESSAGE_BYTES: usize = 60_000;
    const RING_MESSAGES: u64 = 150;
    const MESSAGES: u64 = 1000;
    const READERS: usize = 8;
    /// A queue a reader would hold 60 MB for one, or for all of them.
    const GROWTH_LIMIT_BYTES: u64 = 24 << 20;
    let server = servers::start(package, &["--stall-timeout-ms", "60000"])?;
    let mut publisher = connect(&server)?;
    let mut publish = |number: u64| -> Result<(), Failed> {
        let message = format!("{number} {}", "x".repeat(MESSAGE_BYTES));
        let host = server.addr().to_string();
        let request = Request::new("POST", "/messages/slow").header("Host", host).body(message);
        let (head, mut body) = publisher.ask(&request)?;
        publisher.read_body_to_end(&mut body)?;
        if head.status == 201 { Ok(()) } else { Err(head.summary().into()) }
    };
    let usage = || server.usage().map_err(|error| Failed::from(format!("{error:#}")));
    // The ring is full before the measurement.
    (0..RING_MESSAGES).try_for_each(&mut publish)?;
    let before = usage()?;
    let readers = (0..READERS).map(|_| open(&server, "/messages/slow"));
    let mut readers = readers.collect::<wire::Result<Vec<_>>>()?;
    (RING_MESSAGES..RING_MESSAGES + MESSAGES).try_for_each(&mut publish)?;
    let growth = usage()?.rss_bytes.saturating_sub(before.rss_bytes);
    if growth > GROWTH_LIMIT_BYTES {
        return Err(format!("{READERS} slow readers cost {} KiB", growth / 1024).into());
    }
    let number_of =
        |event: &Event| event.data.split(' ').next().and_then(|it| it.parse::<u64>().ok());
    let reader = &mut readers[0];
    let mut expected = RING_MESSAGES;
    let mut gaps = 0;
    while expected < RING_MESSAGES + MESSAGES {
        let event = reader.take(1)?.remove(0);
        match (event.event.as_str(), number_of(&event)) {
            ("gap", _) => {
                gaps += 1;
                let gap: serde_json::Value = serde_json::from_str(&event.data)?;
                let missed = gap["missed"].as_u64().ok_or("a gap without missed")?;
                expected += missed;
            }
            ("message", Some(number)) if number == expected => {
                let text = &event.data[event.data.len() - MESSAGE_BYTES..];
                if text.bytes().any(|byte| byte != b'x') {
                    return Err(format!("message {number} is torn").into());
                }
                expected += 1;
            }
            (kind, number) => {
                return Err(format!("{kind} {number:?} where {expected} was due").into());
            }
        }
    }
    if gaps == 0 { Err("no gap, so the reader was not slow".into()) } else { Ok(()) }
}

/// Standard output holds the ready line and nothing else; the wire log goes to standard error.
fn prints_one_line(package: &Package) -> Result<(), Failed> {
    let binary = servers::binary(package)?;
    let mut server = Process::start(&binary, &["--port", "0", "--wire-log"])?;
    let ready = server.line(PATIENCE)?.ok_or("no ready line")?;
    let address =
        ready.strip_prefix("listening on http://").ok_or(format!("not ready: {ready}"))?;
    let log = Log::new();
    for target in ["/ticks?count=2&interval_ms=0", "/ticks?count=0", "/none", "/healthz"] {
        let mut connection = Connection::open(address, PATIENCE, &log)?;
        let request = Request::new("GET", target).header("Host", address);
        let (_, mut body) = connection.ask(&request)?;
        connection.read_body_to_end(&mut body)?;
    }
    let mut broken = Connection::open(address, PATIENCE, &log)?;
    broken.send(b"not HTTP at all\r\n\r\n")?;
    let _ = broken.read_head();
    let status = server.stop(PATIENCE)?;
    if !status.success() {
        return Err(format!("ended with {status}").into());
    }
    if let Some(line) = server.line(PATIENCE)? {
        return Err(format!("a further line on standard output: {line}").into());
    }
    let stderr = server.stderr(PATIENCE);
    if !stderr.contains("/ticks?count=2") {
        return Err(format!("--wire-log shows nothing of the requests: {stderr:?}").into());
    }
    Ok(())
}

/// A server whose port is taken prints one line with advice, in any environment.
fn fails_in_one_line(package: &Package) -> Result<(), Failed> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port().to_string();
    let output = Command::new(servers::binary(package)?)
        .args(["--port", &port])
        .env("RUST_BACKTRACE", "1")
        .output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let is_one_line = stderr.starts_with("Error: cannot listen on") && stderr.lines().count() == 1;
    if output.status.code() != Some(1) || !is_one_line || !stderr.contains("--port 0") {
        return Err(format!("{}: {stderr}", output.status).into());
    }
    Ok(())
}

/// Waits until nothing more goes out, in as many looks as show that the server is not just slow.
fn stalls(server: &Server) -> Result<(), Failed> {
    let (mut sent, mut looks) = (0, 0);
    until(PATIENCE, "stall", || {
        let before = std::mem::replace(&mut sent, metric(server, "sse_events_sent_total")?);
        looks = if sent > 2 && sent == before { looks + 1 } else { 0 };
        Ok(looks == 10)
    })
}

fn connect(server: &Server) -> wire::Result<Connection> {
    Connection::open(&server.addr().to_string(), PATIENCE, &Log::new())
}

fn open(server: &Server, target: &str) -> wire::Result<EventStream> {
    let request = Request::new("GET", target).header("Host", server.addr().to_string());
    EventStream::open(connect(server)?, &request)
}

fn open_streams(server: &Server) -> Result<u64, Failed> {
    metric(server, "sse_open_streams")
}

/// The value of a line of `/metrics`.
fn metric(server: &Server, name: &str) -> Result<u64, Failed> {
    let mut connection = connect(server)?;
    let request = Request::new("GET", "/metrics").header("Host", server.addr().to_string());
    let (_, mut body) = connection.ask(&request)?;
    let text = connection.read_body_to_end(&mut body)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let mut values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = values.next().ok_or_else(|| format!("no {name} in {text}"))?;
    Ok(value.trim().parse()?)
}

/// Asks again and again until it is so.
fn until(
    limit: Duration,
    what: &str,
    mut is_so: impl FnMut() -> Result<bool, Failed>,
) -> Result<(), Failed> {
    eventually(limit, Duration::from_millis(5), || match is_so() {
        Ok(true) => Ok(Ok(())),
        Ok(false) => Err(format!("no {what} within {limit:?}")),
        Err(error) => Ok(Err(error)),
    })?
}

/// The `sse` command, built by the first test that needs it.
fn client_binary() -> Result<PathBuf, Failed> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let client = Package {
            name: "sse-client".to_owned(),
            folder: servers::workspace().join("client"),
            framework: String::new(),
            framework_version: String::new(),
            encodings: Vec::new(),
        };
        fleet::build(&client, false).map_err(|error| format!("{error:#}"))
    });
    Ok(built.clone()?)
}
