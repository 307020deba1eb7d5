//! A list of sleepers that one event wakes all at once.
//!
//! An async task and a parked thread both wait with a [`std::task::Waker`], so topics and the
//! shutdown serve both kinds of server and depend on no runtime.
//!
//! A sleeper stays in its slot from one event to the next. To sleep again is only a flag, without a
//! lock; events are many and a new waker is rare.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// A waker that is called once for each sleep, whatever happens how often. Clones share the sleep.
#[derive(Debug, Clone, Default)]
pub struct Sleeper {
    /// None until it is set, and not the one that does nothing: a caller may have that.
    waker: Option<Waker>,
    asleep: Arc<AtomicBool>,
}

impl Sleeper {
    /// From now on the waker is called, once. The caller looks afterwards: the event may have come just
    /// before.
    #[inline]
    pub fn sleep(&self) {
        // One that was not woken since the last time, as it reads a replay, only reads the flag. If
        // that is set here, the swap in `wake` comes later and finds it.
        if !self.is_asleep() {
            self.asleep.store(true, SeqCst);
        }
    }

    /// True from then until the waker was called.
    #[inline]
    pub(crate) fn is_asleep(&self) -> bool {
        self.asleep.load(SeqCst)
    }

    /// Calls the waker if it sleeps. The event is there already: in the one order that all threads
    /// see, either the sleeper finds it, or its flag is found here.
    #[inline]
    pub(crate) fn wake(&self) {
        if self.asleep.swap(false, SeqCst)
            && let Some(waker) = &self.waker
        {
            waker.wake_by_ref();
        }
    }

    /// False also for the same waker, if that cannot be seen.
    #[inline]
    pub(crate) fn has(&self, waker: &Waker) -> bool {
        self.waker.as_ref().is_some_and(|it| it.will_wake(waker))
    }

    /// Sets the waker of this one, and of clones that are made from now on.
    pub(crate) fn set_waker(&mut self, waker: &Waker) {
        self.waker = Some(waker.clone());
    }
}

impl From<&Waker> for Sleeper {
    fn from(waker: &Waker) -> Sleeper {
        Sleeper { waker: Some(waker.clone()), ..Sleeper::default() }
    }
}

/// Sleepers, one in each slot.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    sleepers: Vec<Option<Sleeper>>,
    free: Vec<usize>,
}

/// The number of a slot that is taken.
#[derive(Debug)]
pub(crate) struct Slot(usize);

impl Wakers {
    /// A slot, to be given back with [`unregister`](Self::unregister).
    pub(crate) fn register(&self) -> Slot {
        let mut slots = self.slots();
        Slot(slots.free.pop().unwrap_or_else(|| {
            slots.sleepers.push(None);
            slots.sleepers.len() - 1
        }))
    }

    /// Gives the slot back.
    pub(crate) fn unregister(&self, slot: &Slot) {
        let sleeper = {
            let mut slots = self.slots();
            slots.free.push(slot.0);
            slots.sleepers[slot.0].take()
        };
        // Dropped here, without the lock: a waker may be the last owner of a task that has a slot
        // too.
        drop(sleeper);
    }

    /// Puts a sleeper into a slot, for all its sleeps.
    pub(crate) fn set(&self, slot: &Slot, sleeper: &Sleeper) {
        let replaced = self.slots().sleepers[slot.0].replace(sleeper.clone());
        drop(replaced);
    }

    /// Wakes all that sleep. The event is there already.
    pub(crate) fn wake_all(&self) {
        // Under the lock: a waker puts its task into a queue, and never runs it here.
        self.slots().sleepers.iter().flatten().for_each(Sleeper::wake);
    }

    /// How many slots are taken.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let slots = self.slots();
        slots.sleepers.len() - slots.free.len()
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        // No code that can panic runs under this lock, so a poisoned one is still whole.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::shutdown::unpark_this_thread;

    /// As a stream does, in the list of its topic and in that of the shutdown. Each waker is another
    /// one, as of a stream that moves from task to task.
    #[test]
    fn no_wake_is_lost_however_an_event_and_a_sleep_meet() {
        const EVENTS: u64 = 3000;
        /// Only a lost wake takes so long.
        const LOST: Duration = Duration::from_secs(30);
        let lists = [Wakers::default(), Wakers::default()];
        let slots = lists.each_ref().map(Wakers::register);
        let (event, seen) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut sleeper = Sleeper::default();
                while seen.load(SeqCst) < EVENTS {
                    sleeper.set_waker(&unpark_this_thread());
                    lists.iter().zip(&slots).for_each(|(list, slot)| list.set(slot, &sleeper));
                    sleeper.sleep();
                    let newest = event.load(SeqCst);
                    if seen.swap(newest, SeqCst) == newest && newest < EVENTS {
                        let start = Instant::now();
                        thread::park_timeout(LOST);
                        assert!(start.elapsed() < LOST, "after {newest} events");
                    }
                }
            });
            // Each event waits until the last one was seen, or it would make up for a lost wake.
            for number in 1..=EVENTS {
                event.store(number, SeqCst);
                lists[number as usize % 2].wake_all();
                let start = Instant::now();
                while seen.load(SeqCst) < number && start.elapsed() < 2 * LOST {
                    thread::yield_now();
                }
            }
        });
        assert_eq!(seen.into_inner(), EVENTS);
    }
}
