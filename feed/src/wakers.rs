//! A list of wakers that one event calls all at once.
//!
//! An async task and a parked thread both wait with a [`std::task::Waker`], so topics and the
//! shutdown serve both kinds of server and depend on no runtime.
//!
//! A waker stays in its slot from one event to the next. A stream that goes to sleep again only sets
//! a flag, without a lock; events are many and a new waker is rare.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// Wakers, one in each slot.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    entries: Vec<Entry>,
    free: Vec<usize>,
}

#[derive(Debug, Default)]
struct Entry {
    asleep: Arc<AtomicBool>,
    waker: Option<Waker>,
}

/// The owner's side of a slot.
#[derive(Debug)]
pub(crate) struct Slot {
    number: usize,
    asleep: Arc<AtomicBool>,
}

impl Slot {
    /// From now on the waker is called, once. The caller checks again afterwards: the event may have
    /// come just before.
    pub(crate) fn sleep(&self) {
        self.asleep.store(true, SeqCst);
    }

    /// True from then until the waker was called.
    pub(crate) fn is_asleep(&self) -> bool {
        self.asleep.load(SeqCst)
    }
}

impl Wakers {
    /// A slot, to be given back with [`unregister`](Self::unregister).
    pub(crate) fn register(&self) -> Slot {
        let mut slots = self.slots();
        let number = slots.free.pop().unwrap_or_else(|| {
            slots.entries.push(Entry::default());
            slots.entries.len() - 1
        });
        Slot { number, asleep: Arc::clone(&slots.entries[number].asleep) }
    }

    /// Gives the slot back.
    pub(crate) fn unregister(&self, slot: &Slot) {
        let waker = {
            let mut slots = self.slots();
            slots.free.push(slot.number);
            slot.asleep.store(false, SeqCst);
            slots.entries[slot.number].waker.take()
        };
        // Dropped here, without the lock: a waker may be the last owner of a task that has a slot
        // too.
        drop(waker);
    }

    /// Sets the waker of a slot, for all its sleeps.
    pub(crate) fn set_waker(&self, slot: &Slot, waker: &Waker) {
        let replaced = self.slots().entries[slot.number].waker.replace(waker.clone());
        drop(replaced);
    }

    /// Calls the wakers of all that sleep. The event is there already: in the one order that all
    /// threads see, either the sleeper finds it, or its flag is found here.
    pub(crate) fn wake_all(&self) {
        // Under the lock: a waker puts its task into a queue, and never runs it here.
        for Entry { asleep, waker } in &self.slots().entries {
            if asleep.swap(false, SeqCst)
                && let Some(waker) = waker
            {
                waker.wake_by_ref();
            }
        }
    }

    /// How many slots are taken.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let slots = self.slots();
        slots.entries.len() - slots.free.len()
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        // No code that can panic runs under this lock, so a poisoned one is still whole.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
