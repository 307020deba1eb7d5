//! The hiccup gate: was the host quiet while a window was measured?

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use load::timer::SECOND_NS;
use rustix::time::{ClockId, clock_gettime};

use crate::report::{Generator, Hiccup};

/// How long a thread spins on each core, before and after a window.
const SPIN: Duration = Duration::from_millis(25);

/// A spinning thread reads the clock every few nanoseconds; away for this long, it was interrupted.
const GAP: Duration = Duration::from_micros(20);

/// How often a window is measured again because the host was disturbed.
pub(crate) const ATTEMPTS_MAX: u32 = 3;

/// Of all windows, how many may be repetitions.
pub(crate) const REPEATED_SHARE_MAX: f64 = 0.3;

/// The worst that a quiet host shows. Of this project's hosts, virtual machines all, one loses 1 %
/// when it is quiet and another 4 to 8 % (the hypervisor takes a millisecond now and then); beside
/// a compiler both lose 25 %, beside a spinning process half.
const SPIN_LOSS_MAX: f64 = 0.12;
const SPIN_GAP_MAX_NS: u64 = 10_000_000;
const STEAL_MAX: f64 = 0.03;
const FOREIGN_MAX: f64 = 0.20;
/// In a short window a few of the kernel's ticks of 10 ms would already be that much.
const FOREIGN_MIN_S: f64 = 0.1;
const GENERATOR_WAITED_MAX: f64 = 0.10;

/// Time for the kernel to free both ends of a connection after the window. Ten thousand cost a
/// spinning thread 25 % of its time briefly; that is our own clean-up, not interference.
const SETTLE_EACH: Duration = Duration::from_micros(50);

/// Ticks of `/proc/stat` in a second, the same on every Linux.
const TICKS_PER_S: f64 = 100.0;

/// Looks at the host around a window.
#[derive(Debug)]
pub(crate) struct Gate {
    before: (f64, u64),
    counters: Counters,
}

#[derive(Debug, Clone, Copy)]
struct Counters {
    at: Instant,
    busy_ticks: f64,
    stolen_ticks: f64,
    pressure_us: f64,
    own_ns: u64,
}

impl Gate {
    /// Spins before the window.
    pub(crate) fn open(cores: &[usize]) -> Gate {
        Gate { before: spin(cores), counters: Counters::read() }
    }

    /// Starts counting: the window begins, its server runs.
    pub(crate) fn start(&mut self) {
        self.counters = Counters::read();
    }

    /// Ends the window, in which the server used `server_ns` of CPU time, and spins again: until a
    /// spin is quiet or `connections` must have been freed. Without `server_ns` no time is foreign.
    pub(crate) fn close(self, server_ns: Option<u64>, connections: u64, cores: &[usize]) -> Hiccup {
        let (from, to) = (self.counters, Counters::read());
        let elapsed_s = to.at.duration_since(from.at).as_secs_f64().max(1e-6);
        let busy_s = (to.busy_ticks - from.busy_ticks) / TICKS_PER_S;
        let settle = SETTLE_EACH * u32::try_from(connections).unwrap_or(u32::MAX);
        let mut after = spin(cores);
        while after.0 > SPIN_LOSS_MAX && to.at.elapsed() < settle {
            after = spin(cores);
        }
        let foreign_s = server_ns.map_or(0.0, |server_ns| {
            busy_s - (server_ns + to.own_ns - from.own_ns) as f64 / SECOND_NS as f64
        });
        Hiccup {
            spin_loss: self.before.0.max(after.0),
            spin_gap_ns: self.before.1.max(after.1),
            steal: (to.stolen_ticks - from.stolen_ticks) / TICKS_PER_S / elapsed_s,
            pressure: (to.pressure_us - from.pressure_us) / 1e6 / elapsed_s,
            foreign: if foreign_s < FOREIGN_MIN_S { 0.0 } else { foreign_s / elapsed_s },
        }
    }
}

/// Why a window does not count, or nothing.
pub(crate) fn poisoned(host: &Hiccup, generator: &Generator) -> Option<String> {
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    let mut found = Vec::new();
    if host.spin_loss > SPIN_LOSS_MAX {
        found.push(format!("a spinning thread lost {}", percent(host.spin_loss)));
    }
    if host.spin_gap_ns > SPIN_GAP_MAX_NS {
        found.push(format!("a spinning thread was away for {} ms", host.spin_gap_ns / 1_000_000));
    }
    if host.steal > STEAL_MAX {
        found.push(format!("the hypervisor took {}", percent(host.steal)));
    }
    if host.foreign > FOREIGN_MAX {
        found.push(format!("others used {} of a core", percent(host.foreign)));
    }
    if generator.waited_share > GENERATOR_WAITED_MAX {
        let share = percent(generator.waited_share);
        found.push(format!("the generator waited {share} of the time for its core"));
    }
    (!found.is_empty()).then(|| found.join(", "))
}

impl Counters {
    fn read() -> Counters {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let all: Vec<f64> = stat
            .lines()
            .next()
            .unwrap_or_default()
            .split_ascii_whitespace()
            .filter_map(|it| it.parse().ok())
            .collect();
        let field = |index: usize| all.get(index).copied().unwrap_or(0.0);
        let pressure = fs::read_to_string("/proc/pressure/cpu").unwrap_or_default();
        let total = pressure.lines().next().and_then(|it| it.rsplit_once("total="));
        let own = clock_gettime(ClockId::ProcessCPUTime);
        Counters {
            at: Instant::now(),
            // user, nice, system, irq, softirq; not idle, iowait, steal.
            busy_ticks: [0, 1, 2, 5, 6].map(field).iter().sum(),
            stolen_ticks: field(7),
            pressure_us: total.and_then(|(_, it)| it.parse().ok()).unwrap_or(0.0),
            own_ns: own.tv_sec as u64 * SECOND_NS + own.tv_nsec as u64,
        }
    }
}

/// The share of time lost and the longest gap, on the worst of the cores.
fn spin(cores: &[usize]) -> (f64, u64) {
    thread::scope(|scope| {
        let spinning: Vec<_> = cores
            .iter()
            .map(|core| {
                scope.spawn(|| {
                    // Where it cannot be pinned it still sees the host.
                    let _ = fleet::pin_current_thread(*core);
                    let began = Instant::now();
                    let (mut last, mut lost, mut longest) = (began, Duration::ZERO, Duration::ZERO);
                    while last - began < SPIN {
                        let now = Instant::now();
                        let gap = now - last;
                        if gap > GAP {
                            lost += gap;
                            longest = longest.max(gap);
                        }
                        last = now;
                    }
                    (lost.as_secs_f64() / (last - began).as_secs_f64(), longest.as_nanos() as u64)
                })
            })
            .collect();
        spinning
            .into_iter()
            .map(|it| it.join().expect("spinning has nothing that panics"))
            .fold((0.0_f64, 0), |worst, it| (worst.0.max(it.0), worst.1.max(it.1)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Spinners on a core take time from other threads on it, and the gate must see it.
    #[test]
    fn spinners_on_a_core_poison_the_window() {
        let core = fleet::allowed_cores().unwrap()[0];
        let stop = AtomicBool::new(false);
        let host = thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    fleet::pin_current_thread(core).unwrap();
                    while !stop.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            thread::sleep(Duration::from_millis(20));
            let mut gate = Gate::open(&[core]);
            gate.start();
            thread::sleep(Duration::from_millis(100));
            let host = gate.close(Some(0), 0, &[core]);
            stop.store(true, Ordering::Relaxed);
            host
        });
        assert!(host.spin_loss > 0.3, "{host:?}");
        let why = poisoned(&host, &Generator::default()).unwrap();
        assert!(why.contains("a spinning thread lost"), "{why}");
    }

    #[test]
    fn a_quiet_host_poisons_nothing_and_a_starved_generator_does() {
        let quiet = Hiccup { spin_loss: 0.01, spin_gap_ns: 900_000, ..Hiccup::default() };
        assert_eq!(poisoned(&quiet, &Generator::default()), None);
        let starved = Generator { waited_share: 0.4, ..Generator::default() };
        assert!(poisoned(&quiet, &starved).unwrap().contains("40 %"));
        let stolen = Hiccup { steal: 0.10, foreign: 0.5, ..quiet };
        let why = poisoned(&stolen, &Generator::default()).unwrap();
        assert!(why.contains("hypervisor") && why.contains("others used 50 %"), "{why}");
    }
}
