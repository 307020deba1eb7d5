//! A list of wakers that one event calls all at once.
//!
//! An async task and a parked thread both wait with a [`std::task::Waker`], so topics and the
//! shutdown serve both kinds of server and depend on no runtime.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// Wakers, one in each slot.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Wakers {
    /// A slot, to be given back with [`unregister`](Self::unregister).
    pub(crate) fn register(&self) -> usize {
        let mut slots = self.slots();
        slots.free.pop().unwrap_or_else(|| {
            slots.wakers.push(None);
            slots.wakers.len() - 1
        })
    }

    /// Gives the slot back.
    pub(crate) fn unregister(&self, slot: usize) {
        let waker = {
            let mut slots = self.slots();
            slots.free.push(slot);
            slots.wakers[slot].take()
        };
        // Dropped here, without the lock: a waker may be the last owner of a task that has a slot
        // too.
        drop(waker);
    }

    /// Sets the waker, which is called once. The caller checks again afterwards: the event may have
    /// come just before.
    pub(crate) fn set_waker(&self, slot: usize, waker: &Waker) {
        let mut slots = self.slots();
        let sleeping = &mut slots.wakers[slot];
        if !sleeping.as_ref().is_some_and(|w| w.will_wake(waker)) {
            let replaced = sleeping.replace(waker.clone());
            drop(slots);
            drop(replaced);
        }
    }

    /// Calls and removes all wakers.
    pub(crate) fn wake_all(&self) {
        let woken: Vec<Waker> = self.slots().wakers.iter_mut().filter_map(Option::take).collect();
        woken.into_iter().for_each(Waker::wake);
    }

    /// How many slots are taken.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let slots = self.slots();
        slots.wakers.len() - slots.free.len()
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        // No code that can panic runs under this lock, so a poisoned one is still whole.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
