//! One window: a fresh server, one workload, and what `/proc` says of it.

use std::thread;

use anyhow::Result;
use fleet::{Launch, Server, Usage};
use hdrhistogram::Histogram;
use load::bare::thread_cpu_ns;
use load::generator::{self, Mark, Outcome};
use load::plan::Plan;
use load::stats::{Distribution, Slope};
use load::timer::unix_ns;
use load::{Shape, Workload};

use super::gate::{self, Gate};
use crate::report::{Generator, MemoryPoint, Window};

/// Where server and generator run, so that they do not share a core.
#[derive(Debug, Clone, Default)]
pub(super) struct Cores {
    pub(super) server: Option<usize>,
    pub(super) generator: Option<usize>,
}

impl Cores {
    /// The first two that are allowed, or none and the reason.
    pub(super) fn choose() -> (Cores, Option<String>) {
        let allowed = fleet::allowed_cores().unwrap_or_default();
        let &[server, generator, ..] = allowed.as_slice() else {
            let note = "Server and generator share one core: the numbers compare nothing.";
            return (Cores::default(), Some(note.into()));
        };
        let pinned = thread::spawn(move || {
            fleet::pin_current_thread(server).and_then(|()| fleet::pin_current_thread(generator))
        });
        match pinned.join().expect("pinning has nothing that panics") {
            Ok(()) => (Cores { server: Some(server), generator: Some(generator) }, None),
            Err(error) => {
                let note = format!(
                    "Nothing could be pinned to a core ({error}): the numbers compare nothing."
                );
                (Cores::default(), Some(note))
            }
        }
    }

    /// Both, for code that looks at the host.
    pub(super) fn both(&self) -> Vec<usize> {
        [self.server, self.generator].into_iter().flatten().collect()
    }
}

/// A window, and its raw latencies if it has some.
pub(super) type Measured = (Window, Option<Histogram<u64>>);

/// Starts the server, runs the workload once, stops the server.
///
/// Every error ends up in the window's `fault`.
pub(super) fn measure(launch: &Launch, workload: &Workload, cores: &Cores) -> Measured {
    let launch = Launch { core: cores.server, ..launch.clone() };
    let mut gate = Gate::open(&cores.both());
    let measured = planned(&launch, workload, cores, &mut gate);
    let (mut window, histogram) = measured.unwrap_or_else(|error| {
        (Window { fault: Some(format!("{error:#}")), ..Window::default() }, None)
    });
    let server_ns = window.figures.remove("server_cpu_ns");
    let server_used_ns = server_ns.unwrap_or(0.0) as u64;
    window.host = gate.close(server_used_ns, workload.connections(), &cores.both());
    if server_ns.is_none() {
        // The owner of the CPU time is not known for a server that did not last the window.
        window.host.foreign = 0.0;
    }
    window.poisoned = gate::poisoned(&window.host, &window.generator);
    (window, histogram)
}

fn planned(
    launch: &Launch,
    workload: &Workload,
    cores: &Cores,
    gate: &mut Gate,
) -> Result<Measured> {
    let mut server = Server::start(launch)?;
    gate.start();
    let (before_ns, _) = fleet::cpu_of(server.pid())?;
    let memory = matches!(workload.shape, Shape::Idle { .. });
    let (addr, pid) = (server.addr(), server.pid());
    let plan = |now_ns| workload.plan(addr, now_ns);
    let (outcome, readings) = generate(plan, pid, memory, cores)?;
    let after_ns = fleet::cpu_of(server.pid()).map_or(before_ns, |it| it.0);
    let mut window = window(workload, &outcome, &readings);
    window.figures.insert("server_cpu_ns".into(), (after_ns - before_ns) as f64);
    if let Some(status) = server.ended()? {
        let stderr = server.stderr();
        let words = stderr.lines().last().unwrap_or_default();
        window.fault = Some(format!("the server ended by itself ({status}) {words}"));
        return Ok((window, None));
    }
    let stopped = server.stop()?;
    if !stopped.status.success() {
        window.fault.get_or_insert(format!("after SIGTERM: {}", stopped.status));
    }
    Ok((window, Some(outcome.latency_ns)))
}

/// Runs the generator on its core, with a reading at each mark.
pub(super) fn generate(
    plan: impl FnOnce(u64) -> Plan + Send,
    pid: u32,
    memory: bool,
    cores: &Cores,
) -> Result<(Outcome, Vec<Reading>)> {
    thread::scope(|scope| {
        let generator = scope.spawn(|| -> Result<(Outcome, Vec<Reading>)> {
            if let Some(core) = cores.generator {
                fleet::pin_current_thread(core)?;
            }
            let mut readings = Vec::new();
            let plan = plan(unix_ns());
            let outcome = generator::run(&plan, unix_ns, |mark| {
                readings.extend(Reading::take(pid, &mark, memory));
            })?;
            Ok((outcome, readings))
        });
        generator.join().expect("the generator has nothing that panics")
    })
}

/// The figures read at a mark.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    open: u64,
    at_ns: u64,
    server_cpu_ns: u64,
    user_ticks: f64,
    system_ticks: f64,
    pub(super) generator_cpu_ns: u64,
    generator_waited_ns: u64,
    rss_bytes: u64,
    kernel_bytes: u64,
    pub(super) events: u64,
    reads: u64,
    bytes: u64,
}

impl Reading {
    /// Nothing if the server is gone; the generator notices that in its own way.
    fn take(pid: u32, mark: &Mark<'_>, memory: bool) -> Option<Reading> {
        let (server_cpu_ns, _) = fleet::cpu_of(pid).ok()?;
        let rss_bytes = if memory { Usage::of(pid).ok()?.rss_bytes } else { 0 };
        let (user_ticks, system_ticks) = ticks_of(pid);
        Some(Reading {
            open: mark.open,
            at_ns: unix_ns(),
            server_cpu_ns,
            user_ticks,
            system_ticks,
            generator_cpu_ns: thread_cpu_ns(),
            generator_waited_ns: waited_ns(),
            rss_bytes,
            kernel_bytes: if memory { slab_bytes() } else { 0 },
            events: mark.outcome.events,
            reads: mark.received.reads,
            bytes: mark.received.bytes,
        })
    }
}

/// Ticks of user and system time: sampled by the kernel, good for a split and not for a sum.
fn ticks_of(pid: u32) -> (f64, f64) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in brackets may hold spaces; user and system time are the 12th and 13th after it.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = rest.split_ascii_whitespace().skip(11).map(|it| it.parse().unwrap_or(0.0));
    (fields.next().unwrap_or(0.0), fields.next().unwrap_or(0.0))
}

/// How long the calling thread wanted a core and had none, nanoseconds.
fn waited_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_ascii_whitespace().nth(1).and_then(|it| it.parse().ok()).unwrap_or(0)
}

/// Kernel memory in slabs, the whole host's.
fn slab_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|it| it.strip_prefix("Slab:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}

fn window(workload: &Workload, outcome: &Outcome, readings: &[Reading]) -> Window {
    let mut window = Window {
        fault: outcome.fault(),
        expected: outcome.expected,
        delivered: outcome.delivered,
        gaps: outcome.gaps,
        duplicates: outcome.duplicates,
        out_of_order: outcome.out_of_order,
        timeline: outcome.timeline.clone(),
        ..Window::default()
    };
    let distributions = [
        ("latency", &outcome.latency_ns),
        ("emit_lateness", &outcome.emit_lateness_ns),
        ("transit", &outcome.transit_ns),
        ("connect_time", &outcome.connect_ns),
        ("time_to_headers", &outcome.headers_ns),
        ("time_to_first_byte", &outcome.first_byte_ns),
        ("time_to_first_event", &outcome.first_event_ns),
        ("fanout_skew", &outcome.skew_ns),
    ];
    for (name, histogram) in distributions {
        let found = Distribution::of(histogram);
        // Where the opening is not what is asked, or waits for a publication, it says nothing.
        let opening = name.starts_with("time_to") || name == "connect_time";
        let asked = matches!(workload.shape, Shape::Ticks { .. } | Shape::ConnectStorm { .. });
        if let Some(found) = found.filter(|_| asked || !opening) {
            window.distributions.insert(name.into(), found);
        }
    }
    let figures = &mut window.figures;
    let mut note = |name: &str, value: f64| {
        if value.is_finite() {
            figures.insert(name.into(), value);
        }
    };
    match &workload.shape {
        Shape::Idle { .. } => {
            let points: Vec<MemoryPoint> = readings
                .iter()
                .map(|it| MemoryPoint {
                    streams: it.open,
                    resident_bytes: it.rss_bytes,
                    kernel_bytes: it.kernel_bytes,
                })
                .collect();
            for (name, of) in [
                ("resident", (|it| it.resident_bytes) as fn(&MemoryPoint) -> u64),
                ("kernel", |it| it.kernel_bytes),
            ] {
                let line: Vec<_> =
                    points.iter().map(|it| (it.streams as f64, of(it) as f64)).collect();
                if let Some(slope) = Slope::of(&line) {
                    note(&format!("{name}_bytes_per_stream"), slope.per_x);
                    note(&format!("{name}_r_squared"), slope.r_squared);
                }
            }
            window.memory = points;
            return window;
        }
        Shape::ConnectStorm { streams } => {
            note("streams_per_s", *streams as f64 / (outcome.all_started_ns as f64 / 1e9));
        }
        Shape::Broadcast { stalled_each, .. } => {
            let gaps: Vec<f64> = outcome
                .messages
                .iter()
                .filter(|it| it.count > 1)
                .map(|it| (it.last_ns - it.first_ns) as f64 / 1e3 / (it.count - 1) as f64)
                .collect();
            note("us_per_recipient", gaps.iter().sum::<f64>() / gaps.len() as f64);
            if *stalled_each > 0 {
                note("stalled_closed", outcome.stalled_closed as f64);
            }
        }
        _ => {}
    }
    note("completeness", outcome.delivered as f64 / outcome.expected as f64);
    if let (Some(first), Some(last)) = (readings.first(), readings.last())
        && last.at_ns > first.at_ns
    {
        let cpu_ns = last.server_cpu_ns.saturating_sub(first.server_cpu_ns) as f64;
        let events = match workload.shape {
            // It has no schedule that says which events are the window's: those between the marks.
            Shape::Firehose { .. } => {
                let events = (last.events - first.events) as f64;
                note("events_per_s", events / ((last.at_ns - first.at_ns) as f64 / 1e9));
                events
            }
            _ => outcome.delivered as f64,
        };
        note("cpu_ns_per_event", cpu_ns / events);
        let (user, system) =
            (last.user_ticks - first.user_ticks, last.system_ticks - first.system_ticks);
        note("cpu_user_share_approximate", user / (user + system));
        note(
            "bytes_per_event",
            (last.bytes - first.bytes) as f64 / (last.events - first.events) as f64,
        );
        let share = |of: fn(&Reading) -> u64| {
            (of(last) - of(first)) as f64 / (last.at_ns - first.at_ns) as f64
        };
        window.generator = Generator {
            cpu_share: share(|it| it.generator_cpu_ns),
            waited_share: share(|it| it.generator_waited_ns),
            events_per_read: (last.events - first.events) as f64
                / (last.reads - first.reads).max(1) as f64,
            publish_lateness_p99_ns: outcome.publish_lateness_ns.value_at_quantile(0.99),
        };
    }
    window
}
