//! Waiting for the kernel: sockets, a timer and the mailbox in one epoll.

use std::fs::File;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// The slot that stands for the listener.
pub const LISTENER: u32 = 0;
const TIMER: u32 = u32::MAX;
const MAILBOX: u32 = u32::MAX - 1;

/// The timer fires this much later than asked, so that deadlines a few microseconds apart share a
/// wake-up.
const TIMER_SLACK_NS: u64 = 20_000;

/// An epoll and a timer that ends its wait. `epoll_wait` itself counts whole milliseconds only.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
    timer: OwnedFd,
    /// When the timer fires.
    alarm: Option<u64>,
}

impl Poller {
    /// Waits for connections and mail.
    ///
    /// # Errors
    /// If the process may not open two more files.
    pub fn new(listener: &TcpListener, mailbox: &File) -> io::Result<Poller> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let clock = TimerfdClockId::Monotonic;
        let timer = timerfd_create(clock, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        // A new connection is reported to one worker, not to all.
        let exclusive = EventFlags::IN | EventFlags::ET | EventFlags::EXCLUSIVE;
        epoll::add(&epoll, listener, data(LISTENER), exclusive)?;
        epoll::add(&epoll, &timer, data(TIMER), EventFlags::IN | EventFlags::ET)?;
        epoll::add(&epoll, mailbox, data(MAILBOX), EventFlags::IN | EventFlags::ET)?;
        Ok(Poller { epoll, timer, alarm: None })
    }

    /// Registers a socket for as long as it is open; each change is reported once.
    ///
    /// # Errors
    /// If the kernel has no memory for it.
    pub fn add(&self, stream: &TcpStream, slot: u32) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.epoll, stream, data(slot), flags)?)
    }

    /// Takes the kernel's reports, as many as `events` has room for. With `sleep` it waits until
    /// there is one.
    pub fn wait(&mut self, sleep: bool, events: &mut Vec<Event>) {
        let timeout = (!sleep).then(Timespec::default);
        // It fails if a signal interrupts it, and then reports nothing.
        let _ = epoll::wait(&self.epoll, spare_capacity(events), timeout.as_ref());
        events.retain(|event| match token(event) {
            TIMER => {
                self.alarm = None;
                false
            }
            token => token != MAILBOX,
        });
    }

    /// True if a sleep ends by `at` in any case. To set the timer for a later moment instead would
    /// cost as much as that wake-up.
    pub fn wakes_by(&self, at: u64) -> bool {
        self.alarm.is_some_and(|alarm| alarm <= at)
    }

    /// Sets the timer to `at`.
    pub fn wake_at(&mut self, at: u64, now: u64) {
        let wait = Duration::from_nanos(at.saturating_sub(now).saturating_add(TIMER_SLACK_NS));
        let wait = Timespec::try_from(wait).expect("64 bits of nanoseconds are 584 years");
        let once = Itimerspec { it_interval: Timespec::default(), it_value: wait };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once).expect("a valid time");
        self.alarm = Some(at);
    }
}

fn data(token: u32) -> EventData {
    EventData::new_u64(token.into())
}

/// The slot of a report, or [`LISTENER`].
pub fn token(event: &Event) -> u32 {
    event.data.u64() as u32
}
