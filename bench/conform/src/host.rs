//! How busy this host is while a case runs: a time that a case judges includes the host's own delays.
//!
//! On each core a thread wakes ten times a second, sends a byte to itself over loopback and does a few
//! milliseconds of work. How much later than planned it is done is what the host adds to the work
//! of a server, a client and the case itself: threads that wait for the core, packets that wait for the
//! kernel, a core that the hypervisor took away. The length of the work matters. A thread that only
//! wakes and sleeps again is scheduled at once, however many others wait.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The time between two samples.
const INTERVAL: Duration = Duration::from_millis(100);
/// The CPU time that a sample takes: more than the few milliseconds after which a scheduler lets
/// another thread run, and 5 % of the core.
const WORK: Duration = Duration::from_millis(5);
/// A host that is late by no more than this all the time is in time: five milliseconds of work had a fifth of a core.
pub const IN_TIME: Duration = Duration::from_millis(20);
/// The time that counts as recent: some twenty samples.
const RECENT: Duration = Duration::from_secs(2);
/// A time is wide enough if it is this many times what the host adds.
const WIDER: u32 = 8;
/// Samples that are kept: three minutes on eight cores, longer than any case.
const KEPT: usize = 8 * 1800;

static HOST: Mutex<Host> =
    Mutex::new(Host { watches: 0, running: 0, under_way: Vec::new(), samples: VecDeque::new() });
static SAMPLED: Condvar = Condvar::new();

struct Host {
    /// The watches that exist; the threads end without them.
    watches: usize,
    /// The threads that run.
    running: usize,
    /// When the samples that are being taken were due.
    under_way: Vec<Instant>,
    samples: VecDeque<Sample>,
}

#[derive(Clone, Copy)]
struct Sample {
    ended: Instant,
    late: Duration,
}

/// Samples are taken while this exists.
#[derive(Debug)]
pub struct Watch(());

impl Watch {
    /// Begins to take samples.
    #[must_use]
    pub fn start() -> Watch {
        let mut host = lock();
        host.watches += 1;
        if host.running == 0 {
            let cores = fleet::allowed_cores().unwrap_or_else(|_| vec![0]);
            host.running = cores.len();
            for core in cores {
                thread::spawn(move || sample(core));
            }
        }
        Watch(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        lock().watches -= 1;
        SAMPLED.notify_all();
    }
}

/// The longest delay since then, the one that is not over yet included.
pub fn worst_since(begin: Instant) -> Duration {
    let host = lock();
    let now = host.under_way.iter().map(|due| due.elapsed().saturating_sub(WORK));
    let now = now.max().unwrap_or(Duration::ZERO);
    let recent = host.samples.iter().rev().take_while(|it| it.ended >= begin);
    recent.map(|it| it.late).fold(now, Duration::max)
}

/// Whether an end by a deadline of this length may be the host's doing: in the time that such an end takes, its delays
/// were not small beside the deadline.
pub fn explains_end_by(deadline: Duration) -> bool {
    let begin = Instant::now().checked_sub(deadline * 2);
    begin.is_some_and(|it| worst_since(it) * WIDER > deadline)
}

/// This time, or longer on a busy host, so that the host's delays stay small beside it; `widest` at the most.
pub(super) fn widened(time: Duration, widest: Duration) -> Duration {
    let recent = Instant::now().checked_sub(RECENT).map_or(Duration::ZERO, worst_since);
    time.max(recent * WIDER).min(widest)
}

/// Waits until a sample is no later than this, but no longer than `within`.
pub(super) fn wait_until_quiet(limit: Duration, within: Duration) {
    let begin = Instant::now();
    let is_busy = |host: &mut Host| {
        host.samples.back().is_none_or(|last| last.ended < begin || last.late > limit)
    };
    let waited = SAMPLED.wait_timeout_while(lock(), within, is_busy);
    drop(waited.unwrap_or_else(PoisonError::into_inner));
}

/// Takes samples on a core until no watch is left.
fn sample(core: usize) {
    // Where a thread cannot be pinned, or has no loopback, it still sees the host.
    let _ = fleet::pin_current_thread(core);
    let mut loopback = loopback().ok();
    let mut host = lock();
    loop {
        let due = Instant::now() + INTERVAL;
        let left = |due: Instant| due.saturating_duration_since(Instant::now());
        while host.watches > 0 && !left(due).is_zero() {
            let waited = SAMPLED.wait_timeout(host, left(due));
            host = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if host.watches == 0 {
            host.running -= 1;
            return;
        }
        host.under_way.push(due);
        drop(host);
        if let Some((here, there)) = &mut loopback {
            let _ = here.write_all(b"x").and_then(|()| there.read_exact(&mut [0]));
        }
        work();
        host = lock();
        let ended = Instant::now();
        host.under_way.retain(|it| *it != due);
        if host.samples.len() == KEPT {
            host.samples.pop_front();
        }
        host.samples.push_back(Sample { ended, late: (ended - due).saturating_sub(WORK) });
        SAMPLED.notify_all();
    }
}

/// Two ends of a connection; a byte that does not arrive within a second is late enough.
fn loopback() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let here = TcpStream::connect(listener.local_addr()?)?;
    let (there, _) = listener.accept()?;
    here.set_nodelay(true)?;
    there.set_read_timeout(Some(Duration::from_secs(1)))?;
    Ok((here, there))
}

/// Uses [`WORK`] of CPU time, however long that takes.
fn work() {
    let used = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
    };
    let end = used() + WORK;
    while used() < end {
        std::hint::spin_loop();
    }
}

fn lock() -> MutexGuard<'static, Host> {
    // Nothing here panics half way.
    HOST.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Sixteen busy threads a core leave a sixteenth of it: 5 ms of work take far longer.
    #[test]
    fn busy_threads_are_seen_as_delay() {
        let _watch = Watch::start();
        let stop = AtomicBool::new(false);
        let begin = Instant::now();
        thread::scope(|scope| {
            let cores = thread::available_parallelism().map_or(1, usize::from);
            for _ in 0..16 * cores {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            let deadline = begin + Duration::from_secs(20);
            while worst_since(begin) < Duration::from_millis(20) && Instant::now() < deadline {
                thread::yield_now();
            }
            stop.store(true, Ordering::Relaxed);
        });
        let worst = worst_since(begin);
        assert!(worst >= Duration::from_millis(20), "{worst:?}");
    }
}
