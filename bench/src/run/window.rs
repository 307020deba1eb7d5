//! One window: a fresh server, one workload, and what `/proc` says of it.

use std::thread;

use anyhow::Result;
use fleet::{Launch, Server};
use hdrhistogram::Histogram;
use load::bare::thread_cpu_ns;
use load::generator::{self, Mark, Outcome};
use load::plan::Plan;
use load::stats::{Distribution, Slope};
use load::timer::unix_ns;
use load::{Room, Shape};

use super::gate::{self, Gate};
use crate::report::{Distributions, Figures, Generator, MemoryPoint, Window};

/// Where server and generator run, so that they do not share a core.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cores {
    pub(crate) server: Option<usize>,
    pub(crate) generator: Option<usize>,
}

impl Cores {
    /// The first two that are allowed, or none and the reason.
    pub(crate) fn choose() -> (Cores, Option<String>) {
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
    pub(crate) fn both(&self) -> Vec<usize> {
        [self.server, self.generator].into_iter().flatten().collect()
    }
}

/// A window, and what its percentiles are of.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) window: Window,
    /// Raw latencies, if it has some.
    pub(super) latencies: Option<Histogram<u64>>,
}

impl AsRef<Window> for Measured {
    fn as_ref(&self) -> &Window {
        &self.window
    }
}

/// Starts the server, runs the workload once, stops the server.
///
/// Every error ends up in the window's `fault`.
pub(super) fn measure(
    launch: &Launch,
    room: Option<&Room>,
    shape: &Shape,
    cores: &Cores,
) -> Measured {
    let launch = Launch { core: cores.server, ..launch.clone() };
    let mut gate = Gate::open(&cores.both());
    let (mut measured, server_ns) = match once(&launch, room, shape, cores, &mut gate) {
        Ok((measured, server_ns)) => (measured, Some(server_ns)),
        Err(error) => {
            let window = Window { fault: Some(format!("{error:#}")), ..Window::default() };
            (Measured { window, latencies: None }, None)
        }
    };
    let window = &mut measured.window;
    window.host = gate.close(server_ns, shape.connections(), &cores.both());
    window.poisoned = gate::poisoned(&window.host, &window.generator);
    measured
}

/// The window, and the CPU time that its server used.
fn once(
    launch: &Launch,
    room: Option<&Room>,
    shape: &Shape,
    cores: &Cores,
    gate: &mut Gate,
) -> Result<(Measured, u64)> {
    let mut server = Server::start(launch)?;
    gate.start();
    let (addr, pids) = (server.addr(), server.pids());
    let before_ns = fleet::cpu_of_all(&pids)?;
    let memory = matches!(shape, Shape::Idle(_));
    let plan = |now_ns| match room {
        Some(room) => shape.plan_in_room(room, addr, now_ns),
        None => shape.plan(addr, now_ns),
    };
    let (outcome, readings) = generate(plan, &server, memory, cores)?;
    let after_ns = fleet::cpu_of_all(&pids).unwrap_or(before_ns);
    let mut window = window(shape, &outcome, &readings);
    let mut latencies = Some(outcome.latency_ns).filter(|it| !it.is_empty());
    if let Some(status) = server.ended()? {
        let stderr = server.stderr();
        let words = stderr.lines().last().unwrap_or_default();
        window.fault = Some(format!("the server ended by itself ({status}) {words}"));
        latencies = None;
    } else {
        // How a server of others ends is a question of the suite; here it is killed.
        let stopped = if room.is_none() { Some(server.stop()?) } else { None };
        if let Some(stopped) = stopped.filter(|it| !it.status.success()) {
            window.fault.get_or_insert(format!("after SIGTERM: {}", stopped.status));
        }
    }
    Ok((Measured { window, latencies }, after_ns - before_ns))
}

/// Runs the generator on its core, with a reading at each mark.
pub(super) fn generate(
    plan: impl FnOnce(u64) -> Plan + Send,
    server: &Server,
    memory: bool,
    cores: &Cores,
) -> Result<(Outcome, Vec<Reading>)> {
    fleet::on_core(cores.generator, || {
        let mut readings = Vec::new();
        let mut pids = server.pids();
        let plan = plan(unix_ns());
        let outcome = generator::run(&plan, unix_ns, |mark| {
            // Looking for them takes a millisecond or two; a window has no time for it.
            if memory {
                pids = server.pids();
            }
            readings.extend(Reading::take(&pids, &mark, memory));
        })?;
        Ok((outcome, readings))
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
    fn take(pids: &[u32], mark: &Mark<'_>, memory: bool) -> Option<Reading> {
        let server_cpu_ns = fleet::cpu_of_all(pids).ok()?;
        let rss_bytes = if memory { fleet::memory_of(pids).ok()? } else { 0 };
        let ticks = pids.iter().map(|pid| ticks_of(*pid));
        let (user_ticks, system_ticks) =
            ticks.fold((0.0, 0.0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
        Some(Reading {
            open: mark.open,
            at_ns: unix_ns(),
            server_cpu_ns,
            user_ticks,
            system_ticks,
            generator_cpu_ns: thread_cpu_ns(),
            generator_waited_ns: fleet::waited_for_a_core(),
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

/// Kernel memory in slabs, the whole host's.
fn slab_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|it| it.strip_prefix("Slab:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}

fn window(shape: &Shape, outcome: &Outcome, readings: &[Reading]) -> Window {
    let mut window = Window {
        fault: outcome.fault(),
        expected: outcome.expected,
        delivered: outcome.delivered,
        gaps: outcome.gaps,
        duplicates: outcome.duplicates,
        out_of_order: outcome.out_of_order,
        distributions: distributions(shape, outcome),
        timeline: outcome.timeline.clone(),
        ..Window::default()
    };
    let figures = &mut window.figures;
    match shape {
        Shape::Idle(_) => {
            window.memory = memory(readings, figures);
            return window;
        }
        Shape::ConnectStorm(it) => {
            let all_s = outcome.all_started_ns as f64 / 1e9;
            figures.streams_per_s = divided(it.streams as f64, all_s);
        }
        Shape::Broadcast(it) => {
            if it.stalled_each == 0 {
                window.fault = window.fault.or_else(|| outcome.falls_behind());
            }
            let gaps: Vec<f64> = outcome
                .messages
                .iter()
                .filter(|it| it.count > 1)
                .map(|it| (it.last_ns - it.first_ns) as f64 / 1e3 / (it.count - 1) as f64)
                .collect();
            figures.us_per_recipient = divided(gaps.iter().sum(), gaps.len() as f64);
            figures.stalled_closed = (it.stalled_each > 0).then_some(outcome.stalled_closed);
        }
        _ => {}
    }
    figures.completeness = divided(outcome.delivered as f64, outcome.expected as f64);
    if let [first, .., last] = readings
        && last.at_ns > first.at_ns
    {
        cost(shape, outcome, first, last, figures);
        window.generator = Generator {
            publish_lateness_p99_ns: outcome.publish_lateness_ns.value_at_quantile(0.99),
            ..generator_of(first, last)
        };
    }
    window
}

/// A quotient, if there is one.
fn divided(value: f64, by: f64) -> Option<f64> {
    Some(value / by).filter(|it| it.is_finite())
}

fn distributions(shape: &Shape, outcome: &Outcome) -> Distributions {
    // Where the opening is not what is asked, or waits for a publication, it says nothing.
    let asks_for_opening = matches!(shape, Shape::Ticks(_) | Shape::ConnectStorm(_));
    let opening = |of| Distribution::of(of).filter(|_| asks_for_opening);
    Distributions {
        latency: Distribution::of(&outcome.latency_ns),
        emit_lateness: Distribution::of(&outcome.emit_lateness_ns),
        transit: Distribution::of(&outcome.transit_ns),
        connect_time: opening(&outcome.connect_ns),
        time_to_headers: opening(&outcome.headers_ns),
        time_to_first_byte: opening(&outcome.first_byte_ns),
        time_to_first_event: opening(&outcome.first_event_ns),
        fanout_skew: Distribution::of(&outcome.skew_ns),
    }
}

/// The memory at each wave, and what one more stream takes of it.
fn memory(readings: &[Reading], figures: &mut Figures) -> Vec<MemoryPoint> {
    let slope = |of: fn(&Reading) -> u64| {
        let line: Vec<_> = readings.iter().map(|it| (it.open as f64, of(it) as f64)).collect();
        Slope::of(&line)
    };
    let (resident, kernel) = (slope(|it| it.rss_bytes), slope(|it| it.kernel_bytes));
    figures.resident_bytes_per_stream = resident.map(|it| it.per_x);
    figures.resident_r_squared = resident.map(|it| it.r_squared);
    figures.kernel_bytes_per_stream = kernel.map(|it| it.per_x);
    figures.kernel_r_squared = kernel.map(|it| it.r_squared);
    let point = |it: &Reading| MemoryPoint {
        streams: it.open,
        resident_bytes: it.rss_bytes,
        kernel_bytes: it.kernel_bytes,
    };
    readings.iter().map(point).collect()
}

/// The server's cost between two readings.
fn cost(shape: &Shape, outcome: &Outcome, first: &Reading, last: &Reading, figures: &mut Figures) {
    let received = (last.events - first.events) as f64;
    let events = if matches!(shape, Shape::Firehose(_)) {
        // It has no schedule that says which events are the window's: those between the marks.
        figures.events_per_s = divided(received, (last.at_ns - first.at_ns) as f64 / 1e9);
        received
    } else {
        outcome.delivered as f64
    };
    let cpu_ns = last.server_cpu_ns.saturating_sub(first.server_cpu_ns);
    figures.cpu_ns_per_event = divided(cpu_ns as f64, events);
    let user = last.user_ticks - first.user_ticks;
    let system = last.system_ticks - first.system_ticks;
    figures.cpu_user_share_approximate = divided(user, user + system);
    figures.bytes_per_event = divided((last.bytes - first.bytes) as f64, received);
}

/// The harness's own share between two readings.
fn generator_of(first: &Reading, last: &Reading) -> Generator {
    let share =
        |of: fn(&Reading) -> u64| (of(last) - of(first)) as f64 / (last.at_ns - first.at_ns) as f64;
    Generator {
        cpu_share: share(|it| it.generator_cpu_ns),
        waited_share: share(|it| it.generator_waited_ns),
        events_per_read: (last.events - first.events) as f64
            / (last.reads - first.reads).max(1) as f64,
        ..Generator::default()
    }
}
