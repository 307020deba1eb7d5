//! The next deadline of each slot.
//!
//! A time that moves later, as every event moves the next keep-alive, costs nothing: the entry stays
//! in the heap, comes up early, and the owner sets it again. For a time that moves earlier there is
//! a new entry, and the old one no longer counts.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A slot that has no entry.
const NEVER: u64 = u64::MAX;

/// Slots and the times at which to look at them.
#[derive(Debug, Default)]
pub struct Timers {
    heap: BinaryHeap<Reverse<(u64, u32)>>,
    /// The time of a slot's entry that counts.
    times: Vec<u64>,
}

impl Timers {
    /// Sets this slot's time to `at` or earlier.
    pub fn set(&mut self, slot: u32, at: u64) {
        let slot_number = slot as usize;
        if self.times.len() <= slot_number {
            self.times.resize(slot_number + 1, NEVER);
        }
        if at < self.times[slot_number] {
            self.times[slot_number] = at;
            self.heap.push(Reverse((at, slot)));
        }
    }

    /// The next slot that comes up, and when.
    pub fn first(&mut self) -> Option<(u64, u32)> {
        if self.heap.len() > 2 * self.times.len() {
            // More than half of the entries no longer count.
            self.heap.retain(|Reverse((at, slot))| self.times[*slot as usize] == *at);
        }
        while let Some(&Reverse((at, slot))) = self.heap.peek() {
            if self.times[slot as usize] == at {
                return Some((at, slot));
            }
            self.heap.pop();
        }
        None
    }

    /// Takes out what [`first`](Self::first) found.
    pub fn pop_first(&mut self) {
        if let Some(Reverse((_, slot))) = self.heap.pop() {
            self.times[slot as usize] = NEVER;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(timers: &mut Timers) -> Vec<u32> {
        let mut slots = Vec::new();
        while let Some((_, slot)) = timers.first() {
            slots.push(slot);
            timers.pop_first();
        }
        slots
    }

    #[test]
    fn slots_come_up_in_the_order_of_their_times() {
        let mut timers = Timers::default();
        // Any order that is not sorted; 7919 and 1000 have no common factor.
        for slot in 0..1000 {
            timers.set(slot, u64::from(slot) * 7919 % 1000);
        }
        assert_eq!(timers.first(), Some((0, 0)));
        let order = all(&mut timers);
        assert_eq!(order.len(), 1000);
        assert!(order.iter().map(|slot| slot * 7919 % 1000).is_sorted());
        assert_eq!(timers.first(), None);
    }

    #[test]
    fn an_earlier_time_counts_and_a_later_one_waits_for_its_turn() {
        let mut timers = Timers::default();
        for (slot, at) in [(0, 50), (1, 60), (2, 70), (2, 10), (0, 90)] {
            timers.set(slot, at);
        }
        assert_eq!(timers.first(), Some((10, 2)));
        assert_eq!(all(&mut timers), [2, 0, 1], "each once; slot 0 at 50, to be set again");
    }

    #[test]
    fn entries_that_no_longer_count_do_not_pile_up() {
        let mut timers = Timers::default();
        for at in (1000..100_000).rev() {
            timers.set(0, at);
            assert_eq!(timers.first(), Some((at, 0)));
            assert!(timers.heap.len() <= 3);
        }
        assert_eq!(all(&mut timers), [0]);
    }
}
