//! Whether one subscriber got every event, once, in order.

/// How far back a late event is distinguished from a repeated one. A server that reorders further
/// than this is reported as repeating; it is wrong either way.
const REMEMBERED: u64 = 64;

/// The numbers that one subscriber has received; they start at 1 and rise by 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sequence {
    /// Highest number received.
    highest: u64,
    /// Bit k: `highest - k` was received.
    recent: u64,
    /// Numbers below the highest that have not come.
    pub gaps: u64,
    /// Events whose number had come before.
    pub duplicates: u64,
    /// Events that came after one with a higher number.
    pub out_of_order: u64,
}

impl Sequence {
    /// Notes that number `n` came; `true` if it came for the first time.
    #[inline]
    pub fn receive(&mut self, n: u64) -> bool {
        if n > self.highest {
            let step = n - self.highest;
            self.gaps += step - 1;
            self.recent = if step < REMEMBERED { self.recent << step | 1 } else { 1 };
            self.highest = n;
            return true;
        }
        let back = self.highest - n;
        if back < REMEMBERED && n > 0 && self.recent & (1 << back) == 0 {
            self.recent |= 1 << back;
            self.gaps -= 1;
            self.out_of_order += 1;
            return true;
        }
        self.duplicates += 1;
        false
    }

    /// Whether each number up to the highest came once, in order.
    pub fn is_whole(&self) -> bool {
        self.gaps == 0 && self.duplicates == 0 && self.out_of_order == 0
    }

    /// The highest number received; 0 before the first.
    #[inline]
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// Notes that the stream has ended and that `last` should have been reached.
    pub fn end_at(&mut self, last: u64) {
        self.gaps += last.saturating_sub(self.highest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(numbers: &[u64]) -> (u64, u64, u64) {
        let mut sequence = Sequence::default();
        for n in numbers {
            sequence.receive(*n);
        }
        (sequence.gaps, sequence.duplicates, sequence.out_of_order)
    }

    #[test]
    fn counts_gaps_duplicates_and_disorder_apart() {
        assert_eq!(received(&[1, 2, 3, 4]), (0, 0, 0));
        assert_eq!(received(&[1, 2, 5, 6]), (2, 0, 0));
        assert_eq!(received(&[3]), (2, 0, 0));
        assert_eq!(received(&[1, 2, 2, 3, 1]), (0, 2, 0));
        assert_eq!(received(&[1, 3, 2, 4]), (0, 0, 1));
        assert_eq!(received(&[1, 3, 2, 2, 4]), (0, 1, 1));
        assert_eq!(received(&[2, 0]), (1, 1, 0));
    }

    #[test]
    fn a_jump_beyond_memory_stays_counted() {
        assert_eq!(received(&[1, 100, 101, 50]), (97, 0, 1));
        assert_eq!(received(&[1, 200, 201, 50]), (198, 1, 0));
        assert_eq!(received(&[1, 65, 2]), (62, 0, 1));
        assert_eq!(received(&[1, 65, 1]), (63, 1, 0));
    }

    #[test]
    fn what_never_came_at_the_end_is_a_gap() {
        let mut sequence = Sequence::default();
        sequence.receive(1);
        sequence.end_at(4);
        assert_eq!(sequence.gaps, 3);
        let mut nothing = Sequence::default();
        nothing.end_at(4);
        assert_eq!(nothing.gaps, 4);
    }
}
