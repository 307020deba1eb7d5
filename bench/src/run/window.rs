//! One window: a fresh server, one workload, and what `/proc` says of it.

use std::thread;

use anyhow::Result;
use rustix::time::{ClockId, clock_gettime};

use crate::fleet::{self, Launch, Server, Usage};
use crate::load::generator::{self, Mark, Outcome};
use crate::load::{Shape, Workload};
use crate::report::{Generator, Latency, Memory, Window};
use crate::stats::Slope;
use crate::timer::{SECOND_NS, unix_ns};

/// Where server and generator run, so that they do not share a core.
#[derive(Debug, Clone, Copy, Default)]
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
}

/// Starts the server, runs the workload once, stops the server.
///
/// Whatever goes wrong is the window's fault and ends up in its `fault`.
pub(super) fn measure(launch: &Launch, workload: &Workload, cores: Cores) -> Window {
    measured(launch, workload, cores)
        .unwrap_or_else(|error| Window { fault: Some(format!("{error:#}")), ..Window::default() })
}

fn measured(launch: &Launch, workload: &Workload, cores: Cores) -> Result<Window> {
    let launch = Launch { core: cores.server, ..launch.clone() };
    let mut server = Server::start(&launch)?;
    let (addr, pid) = (server.addr(), server.pid());
    let watch_memory = matches!(workload.shape, Shape::Idle { .. });
    let (outcome, readings) = thread::scope(|scope| {
        let generator = scope.spawn(|| -> Result<(Outcome, Vec<Reading>)> {
            if let Some(core) = cores.generator {
                fleet::pin_current_thread(core)?;
            }
            let mut readings = Vec::new();
            let plan = workload.plan(addr, unix_ns());
            let outcome = generator::run(&plan, unix_ns, |mark| {
                readings.extend(Reading::take(pid, mark, watch_memory));
            })?;
            Ok((outcome, readings))
        });
        generator.join().expect("the generator has nothing that panics")
    })?;

    let mut window = window(&outcome, &readings, watch_memory);
    if let Some(status) = server.ended()? {
        let stderr = server.stderr();
        let words = stderr.lines().last().unwrap_or_default();
        window.fault = Some(format!("the server ended by itself ({status}) {words}"));
        return Ok(window);
    }
    let stopped = server.stop()?;
    if !stopped.status.success() {
        window.fault.get_or_insert(format!("after SIGTERM: {}", stopped.status));
    }
    Ok(window)
}

/// What was read at a mark.
#[derive(Debug, Clone, Copy)]
struct Reading {
    open: u64,
    at_ns: u64,
    server_cpu_ns: u64,
    generator_cpu_ns: u64,
    generator_waited_ns: u64,
    rss_bytes: u64,
}

impl Reading {
    /// Nothing if the server is gone; the generator notices that in its own way.
    fn take(pid: u32, mark: Mark, memory: bool) -> Option<Reading> {
        let (server_cpu_ns, _) = fleet::cpu_of(pid).ok()?;
        let rss_bytes = if memory { Usage::of(pid).ok()?.rss_bytes } else { 0 };
        let own = clock_gettime(ClockId::ThreadCPUTime);
        Some(Reading {
            open: mark.open,
            at_ns: unix_ns(),
            server_cpu_ns,
            generator_cpu_ns: own.tv_sec as u64 * SECOND_NS + own.tv_nsec as u64,
            generator_waited_ns: waited_ns(),
            rss_bytes,
        })
    }
}

/// How long the calling thread wanted a core and had none, nanoseconds.
fn waited_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_ascii_whitespace().nth(1).and_then(|it| it.parse().ok()).unwrap_or(0)
}

fn window(outcome: &Outcome, readings: &[Reading], watch_memory: bool) -> Window {
    let mut window = Window {
        fault: outcome.fault(),
        expected: outcome.expected,
        delivered: outcome.delivered,
        gaps: outcome.gaps,
        duplicates: outcome.duplicates,
        out_of_order: outcome.out_of_order,
        ..Window::default()
    };
    if watch_memory {
        let points: Vec<(u64, u64)> = readings.iter().map(|it| (it.open, it.rss_bytes)).collect();
        let floats: Vec<_> = points.iter().map(|(x, y)| (*x as f64, *y as f64)).collect();
        window.memory = Slope::of(&floats).map(|slope| Memory { points, slope });
    } else {
        let latency = &outcome.latency_ns;
        window.latency = (!latency.is_empty()).then(|| Latency {
            p50_ns: latency.value_at_quantile(0.50),
            p90_ns: latency.value_at_quantile(0.90),
            p99_ns: latency.value_at_quantile(0.99),
            max_ns: latency.max(),
            samples: latency.len(),
        });
    }
    if let (Some(first), Some(last)) = (readings.first(), readings.last())
        && last.at_ns > first.at_ns
    {
        let cpu_ns = last.server_cpu_ns.saturating_sub(first.server_cpu_ns);
        let share = |of: fn(&Reading) -> u64| {
            (of(last) - of(first)) as f64 / (last.at_ns - first.at_ns) as f64
        };
        window.cpu_ns_per_event =
            (outcome.delivered > 0).then(|| cpu_ns as f64 / outcome.delivered as f64);
        window.generator = Generator {
            cpu_share: share(|it| it.generator_cpu_ns),
            waited_share: share(|it| it.generator_waited_ns),
            events_per_read: outcome.events as f64 / outcome.reads.max(1) as f64,
            publish_lateness_p99_ns: outcome.publish_lateness_ns.value_at_quantile(0.99),
        };
    }
    window
}
