//! When to look at which slot again: a binary heap with at most one entry for each slot.
//!
//! A time that moves later, as every event moves the next keep-alive, costs nothing: the entry
//! stays where it is, comes up early, and the owner puts it in again. Only an earlier time moves an
//! entry.

/// A slot that has no entry.
const NOWHERE: u32 = u32::MAX;

/// Slots and the times at which to look at them.
#[derive(Debug, Default)]
pub struct Due {
    heap: Vec<Entry>,
    /// Where in the heap a slot's entry is.
    places: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    at: u64,
    slot: u32,
}

impl Due {
    /// Has this slot come up at `at` or before.
    pub fn by(&mut self, slot: u32, at: u64) {
        if self.places.len() <= slot as usize {
            self.places.resize(slot as usize + 1, NOWHERE);
        }
        match self.places[slot as usize] {
            NOWHERE => {
                self.heap.push(Entry { at, slot });
                self.rise(self.heap.len() - 1);
            }
            place if self.heap[place as usize].at > at => {
                self.heap[place as usize].at = at;
                self.rise(place as usize);
            }
            _ => {}
        }
    }

    /// When the next slot comes up.
    pub fn next(&self) -> Option<u64> {
        self.heap.first().map(|entry| entry.at)
    }

    /// A slot that has come up by `now`.
    pub fn pop(&mut self, now: u64) -> Option<u32> {
        let first = *self.heap.first().filter(|entry| entry.at <= now)?;
        self.places[first.slot as usize] = NOWHERE;
        let last = self.heap.pop().expect("it has a first");
        if last.slot != first.slot {
            self.heap[0] = last;
            self.sink(0);
        }
        Some(first.slot)
    }

    fn rise(&mut self, mut place: usize) {
        let entry = self.heap[place];
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.heap[parent].at <= entry.at {
                break;
            }
            self.put(place, self.heap[parent]);
            place = parent;
        }
        self.put(place, entry);
    }

    fn sink(&mut self, mut place: usize) {
        let entry = self.heap[place];
        loop {
            let mut child = 2 * place + 1;
            if child >= self.heap.len() {
                break;
            }
            if child + 1 < self.heap.len() && self.heap[child + 1].at < self.heap[child].at {
                child += 1;
            }
            if entry.at <= self.heap[child].at {
                break;
            }
            self.put(place, self.heap[child]);
            place = child;
        }
        self.put(place, entry);
    }

    fn put(&mut self, place: usize, entry: Entry) {
        self.heap[place] = entry;
        self.places[entry.slot as usize] = u32::try_from(place).expect("slots are numbered in u32");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_come_up_in_the_order_of_their_times() {
        let mut due = Due::default();
        // Any order that is not sorted; 7919 and 1000 have no common factor.
        for slot in 0..1000 {
            due.by(slot, u64::from(slot) * 7919 % 1000);
        }
        assert_eq!(due.pop(0).map(|slot| slot * 7919 % 1000), Some(0));
        assert_eq!(due.pop(0), None, "the rest is later");
        let order: Vec<u32> = std::iter::from_fn(|| due.pop(u64::MAX)).collect();
        assert_eq!(order.len(), 999);
        assert!(order.iter().map(|slot| slot * 7919 % 1000).is_sorted());
        assert_eq!(due.next(), None);
    }

    #[test]
    fn an_earlier_time_counts_and_a_later_one_waits_for_its_turn() {
        let mut due = Due::default();
        for (slot, at) in [(0, 50), (1, 60), (2, 70), (2, 10), (0, 90)] {
            due.by(slot, at);
        }
        assert_eq!(due.next(), Some(10));
        let order: Vec<u32> = std::iter::from_fn(|| due.pop(u64::MAX)).collect();
        assert_eq!(order, [2, 0, 1], "slot 0 comes up at 50, and its owner puts it in again");
    }
}
