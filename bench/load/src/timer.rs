//! An absolute wake-up for an epoll loop, exact to the clock.
//!
//! `epoll_wait` takes whole milliseconds, which is as long as the latencies that are measured here.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

/// Nanoseconds of one second.
pub const SECOND_NS: u64 = 1_000_000_000;

/// Nanoseconds of one millisecond.
pub const MILLISECOND_NS: u64 = 1_000_000;

/// The time now, Unix nanoseconds: the clock that the servers' stamps are in.
pub fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Fits until the year 2554.
    since.as_nanos() as u64
}

/// A timer that wakes the poll it is registered with at a given Unix time.
#[derive(Debug)]
pub struct Timer {
    fd: OwnedFd,
    due_ns: Option<u64>,
}

impl Timer {
    /// A timer, not set, that makes `token` readable when it is due.
    ///
    /// # Errors
    /// When the system has no file descriptor left.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Timer> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = rustix::time::timerfd_create(TimerfdClockId::Realtime, flags)?;
        registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Timer { fd, due_ns: None })
    }

    /// Sets the time to wake, Unix nanoseconds; a past one wakes at once, `None` never.
    ///
    /// Costs a system call only if the time differs from the one set before. There is no need to
    /// read the timer after it woke: the poll is edge-triggered, and setting it anew rearms it.
    ///
    /// # Errors
    /// When the system refuses the time.
    pub fn set(&mut self, due_ns: Option<u64>) -> io::Result<()> {
        if self.due_ns == due_ns {
            return Ok(());
        }
        self.due_ns = due_ns;
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let it_value = match due_ns {
            // All zero would mean "never".
            Some(0) => Timespec { tv_sec: 0, tv_nsec: 1 },
            Some(due) => Timespec {
                tv_sec: (due / SECOND_NS).try_into().unwrap_or(i64::MAX),
                tv_nsec: (due % SECOND_NS) as _,
            },
            None => zero,
        };
        let spec = Itimerspec { it_interval: zero, it_value };
        rustix::time::timerfd_settime(&self.fd, TimerfdTimerFlags::ABSTIME, &spec)?;
        Ok(())
    }
}
