//! Messages of other threads to a worker: connections, calls of wakers, the stop.

use std::fs::File;
use std::io::{self, Write};
use std::mem;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use feed::listen::Place;
use rustix::event::{EventfdFlags, eventfd};

/// The mailbox of one worker.
#[derive(Debug)]
pub struct Mailbox {
    mail: Mutex<Mail>,
    /// An eventfd: a write ends the worker's sleep.
    pub wakeup: File,
    /// Connections that the worker has, or has in its mail.
    pub connections: AtomicUsize,
}

/// The mail itself.
#[derive(Debug, Default)]
pub struct Mail {
    /// Connections that were accepted.
    pub streams: Vec<(TcpStream, Place)>,
    /// Slots whose waker was called.
    pub woken: Vec<u32>,
    /// The server stops.
    pub stop: bool,
    /// The worker sleeps, or is about to.
    asleep: bool,
}

impl Mailbox {
    /// An empty mailbox.
    ///
    /// # Errors
    /// If the process may not open one more file.
    pub fn new() -> io::Result<Mailbox> {
        let wakeup = File::from(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        Ok(Mailbox { mail: Mutex::default(), wakeup, connections: AtomicUsize::new(0) })
    }

    /// The one of the worker with the fewest connections, which counts one more from now: several workers
    /// accept at a time, and must not choose alike.
    pub fn with_fewest(all: &[Arc<Mailbox>]) -> &Mailbox {
        loop {
            let counted = all.iter().map(|mailbox| (mailbox.connections.load(Relaxed), mailbox));
            let (count, mailbox) =
                counted.min_by_key(|(count, _)| *count).expect("there is at least one worker");
            let taken = mailbox.connections.compare_exchange(count, count + 1, Relaxed, Relaxed);
            if taken.is_ok() {
                return mailbox;
            }
        }
    }

    /// Gives the worker a connection, which `with_fewest` has counted.
    pub fn deliver(&self, stream: TcpStream, place: Place) {
        self.post(|mail| mail.streams.push((stream, place)));
    }

    /// Makes the worker end once its answers have ended.
    pub fn stop(&self) {
        self.post(|mail| mail.stop = true);
    }

    /// A waker for the connections in this slot.
    pub fn waker(self: &Arc<Mailbox>, slot: u32) -> Waker {
        Waker::from(Arc::new(SlotWaker { mailbox: Arc::clone(self), slot }))
    }

    /// True if there is no mail: the worker may sleep, and the next mail wakes it.
    pub fn try_sleep(&self) -> bool {
        let mut mail = self.mail();
        mail.asleep = mail.streams.is_empty() && mail.woken.is_empty() && !mail.stop;
        mail.asleep
    }

    /// Takes everything out, into empty buffers. The worker is awake now.
    pub fn take(&self, into: &mut Mail) {
        let mut mail = self.mail();
        mem::swap(&mut *mail, into);
        mail.asleep = false;
    }

    /// Adds to the mail. All mail until the worker looks costs one wake-up.
    fn post(&self, add: impl FnOnce(&mut Mail)) {
        let mut mail = self.mail();
        add(&mut mail);
        let asleep = mem::take(&mut mail.asleep);
        drop(mail);
        if asleep {
            // It fails only if the counter is full, and then the worker is awake. The worker never
            // reads the counter: each write is reported to it once (EPOLLET).
            let _ = (&self.wakeup).write(&1_u64.to_ne_bytes());
        }
    }

    fn mail(&self) -> MutexGuard<'_, Mail> {
        // No code that can panic runs under this lock, so a poisoned one is still whole.
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the connection in one slot. It belongs to the slot, not to the connection, so a late call
/// wakes at worst another connection, which finds nothing to do.
struct SlotWaker {
    mailbox: Arc<Mailbox>,
    slot: u32,
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.mailbox.post(|mail| mail.woken.push(self.slot));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_worker_that_sleeps_is_woken_once_for_a_burst_and_one_that_works_never() {
        let mailbox = Arc::new(Mailbox::new().expect("a file"));
        let writes = || {
            let mut count = [0; 8];
            (&mailbox.wakeup).read(&mut count).map_or(0, |_| u64::from_ne_bytes(count))
        };
        let wakers: Vec<Waker> = (1..=100).map(|slot| mailbox.waker(slot)).collect();
        let mut mail = Mail::default();
        for _ in 0..2 {
            assert!(mailbox.try_sleep());
            wakers.iter().for_each(Waker::wake_by_ref);
            assert_eq!(writes(), 1);
            assert!(!mailbox.try_sleep(), "there is mail");
            mailbox.take(&mut mail);
            assert!(mail.woken.drain(..).eq(1..=100));
            wakers.iter().for_each(Waker::wake_by_ref);
            assert_eq!(writes(), 0);
            mailbox.take(&mut mail);
            assert_eq!(mail.woken.drain(..).count(), 100);
        }
    }
    #[test]
    fn workers_that_accept_at_a_time_spread_connections_evenly() {
        let all: Vec<_> = (0..4).map(|_| Arc::new(Mailbox::new().expect("a file"))).collect();
        let barrier = std::sync::Barrier::new(all.len());
        let uneven = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..all.len() {
                scope.spawn(|| {
                    for round in 1..=2000 {
                        barrier.wait();
                        Mailbox::with_fewest(&all);
                        barrier.wait();
                        let is_even = all.iter().all(|it| it.connections.load(Relaxed) == round);
                        uneven.fetch_add(usize::from(!is_even), Relaxed);
                    }
                });
            }
        });
        assert_eq!(uneven.into_inner(), 0);
    }
}
