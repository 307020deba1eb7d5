//! The ledger of a run: which messages were acknowledged, which are in the log of the broker, and which each reader
//! saw, in which order. No I/O.
//!
//! A message has a number, which its publisher gave it, and an id, which the servers gave it: a word, a dash and the
//! place in the log. A message that was acknowledged and is in the log must come to each reader once, in the order of
//! the log. It is lost only where a later one came, so no deadline decides: a reader that has not caught up is `behind`.
//!
//! That needs ids that say the place, and memory for each event. Where one publisher numbers its messages in a row, and
//! the ids are anybody's, or there is no time for them, a [`Sequence`] finds the same in a few words of memory.

mod sequence;

use std::collections::{BTreeMap, HashMap, HashSet};

pub use self::sequence::Sequence;

/// Findings in words that are kept of each kind, at most: the first ones explain the others.
const EXAMPLES: usize = 5;

/// The promise that readers are judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Each message comes: a gap is a loss that the server admits.
    Whole,
    /// Messages may be gone, and a gap stands where they were: with their number, or as possible. The log has nothing
    /// but these messages, so that its places say how many are gone.
    Honest,
}

/// The words of a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapWord {
    /// So many messages are gone.
    Counted(u64),
    /// Perhaps some are gone.
    Possible,
}

/// The books of one run.
#[derive(Debug)]
pub struct Ledger {
    entries: Vec<Entry>,
    by_id: HashMap<String, usize>,
    /// The entry under which a number was acknowledged.
    acknowledged: BTreeMap<u64, usize>,
    readers: Vec<Book>,
    has_log: bool,
    strays: Findings,
}

/// A message under an id.
#[derive(Debug)]
struct Entry {
    id: String,
    place: u64,
    number: u64,
    is_kept: bool,
    is_seen: bool,
}

/// The events of one reader.
#[derive(Debug, Default)]
struct Book {
    /// Entries, in the order in which they came.
    seen: Vec<u32>,
    /// Gaps, each with the number of messages before it.
    gaps: Vec<(usize, GapWord)>,
    last_place: Option<u64>,
}

/// A count, and its first cases in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// How many there are.
    pub count: u64,
    /// The first of them.
    pub examples: Vec<String>,
}

impl Findings {
    fn add(&mut self, words: impl FnOnce() -> String) {
        self.count += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(words());
        }
    }
}

/// The outcome of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Messages that were acknowledged.
    pub acknowledged: u64,
    /// Messages that came although their publishers had no acknowledgement. That is allowed.
    pub unacknowledged: u64,
    /// Events that readers saw, all of them together.
    pub delivered: u64,
    /// Acknowledged, in the log, and passed over at a reader; with [`Promise::Honest`] those without a gap.
    pub lost: Findings,
    /// Came again.
    pub doubled: Findings,
    /// Came after a later one.
    pub misordered: Findings,
    /// Gaps; with [`Promise::Honest`] those with a wrong number.
    pub gaps: Findings,
    /// Not acknowledged, and passed over at one reader although it is in the log, or at another reader.
    pub uneven: Findings,
    /// Events that are no message of this run, or have another id or text than before.
    pub strays: Findings,
    /// Acknowledged or seen, and not in the log: the broker's loss.
    pub broker_lost: Findings,
    /// Messages that are twice in the log.
    pub broker_doubled: Findings,
    /// Deliveries of acknowledged messages that are still to come.
    pub behind: u64,
}

impl Judgement {
    /// The findings against the servers, each with its name.
    pub fn of_servers(&self) -> [(&'static str, &Findings); 6] {
        [
            ("lost", &self.lost),
            ("doubled", &self.doubled),
            ("out of order", &self.misordered),
            ("gap", &self.gaps),
            ("uneven", &self.uneven),
            ("stray", &self.strays),
        ]
    }

    /// The findings against the broker, each with its name.
    pub fn of_broker(&self) -> [(&'static str, &Findings); 2] {
        [("lost by the broker", &self.broker_lost), ("twice in the stream", &self.broker_doubled)]
    }
}

/// The place in the log that an id names: the digits behind its last dash.
pub fn place(id: &str) -> Option<u64> {
    let (_, digits) = id.rsplit_once('-')?;
    // `parse` would take a sign too.
    digits.bytes().all(|it| it.is_ascii_digit()).then(|| digits.parse().ok())?
}

impl Ledger {
    /// Empty books for so many readers.
    pub fn new(readers: usize) -> Ledger {
        Ledger {
            entries: Vec::new(),
            by_id: HashMap::new(),
            acknowledged: BTreeMap::new(),
            readers: (0..readers).map(|_| Book::default()).collect(),
            has_log: false,
            strays: Findings::default(),
        }
    }

    /// A publisher was told that this message is in.
    pub fn acknowledge(&mut self, number: u64, id: &str) {
        let Some(entry) = self.entry(number, id, "a publisher") else { return };
        if let Some(before) = self.acknowledged.insert(number, entry).filter(|it| *it != entry) {
            let before = &self.entries[before].id;
            self.strays
                .add(|| format!("message {number} was acknowledged as {before} and as {id}"));
        }
    }

    /// A reader saw this message.
    pub fn see(&mut self, reader: usize, number: u64, id: &str) {
        let Some(entry) = self.entry(number, id, &format!("reader {reader}")) else { return };
        self.entries[entry].is_seen = true;
        let place = self.entries[entry].place;
        let book = &mut self.readers[reader];
        book.seen.push(u32::try_from(entry).expect("fewer messages than memory has bytes"));
        book.last_place = book.last_place.max(Some(place));
    }

    /// A reader got the word of a gap.
    pub fn gap(&mut self, reader: usize, word: GapWord) {
        let book = &mut self.readers[reader];
        book.gaps.push((book.seen.len(), word));
    }

    /// A reader saw an event that is no message of this run.
    pub fn stray(&mut self, reader: usize, words: &str) {
        self.strays.add(|| format!("reader {reader}: {words}"));
    }

    /// The log has this message. With the first one, all that are not in it count as not in the log.
    pub fn keep(&mut self, number: u64, id: &str) {
        self.has_log = true;
        if let Some(entry) = self.entry(number, id, "the log") {
            self.entries[entry].is_kept = true;
        }
    }

    /// The last place that a reader has reached.
    pub fn reached(&self, reader: usize) -> Option<u64> {
        self.readers[reader].last_place
    }

    /// Messages that were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    /// The last place that was acknowledged.
    pub fn last_acknowledged(&self) -> Option<u64> {
        self.acknowledged.values().map(|it| self.entries[*it].place).max()
    }

    /// Judges all readers.
    pub fn judge(&self, promise: Promise) -> Judgement {
        let mut judgement = Judgement {
            acknowledged: self.acknowledged.len() as u64,
            strays: self.strays.clone(),
            ..Judgement::default()
        };
        let mut in_order: Vec<usize> = (0..self.entries.len()).collect();
        in_order.sort_by_key(|it| self.entries[*it].place);
        for reader in 0..self.readers.len() {
            self.judge_order(reader, &mut judgement);
            match promise {
                Promise::Whole => self.judge_whole(reader, &in_order, &mut judgement),
                Promise::Honest => self.judge_honest(reader, &in_order, &mut judgement),
            }
        }
        self.judge_log(&in_order, &mut judgement);
        judgement
    }

    /// The entry of this id, new or known; none if the id is none, or names another message.
    fn entry(&mut self, number: u64, id: &str, teller: &str) -> Option<usize> {
        if let Some(&known) = self.by_id.get(id) {
            let before = self.entries[known].number;
            if before == number {
                return Some(known);
            }
            self.strays.add(|| format!("{teller}: {id} was message {before} and is {number} now"));
            return None;
        }
        let Some(place) = place(id) else {
            self.strays.add(|| format!("{teller}: message {number} has the id {id:?}"));
            return None;
        };
        let new = Entry { id: id.to_owned(), place, number, is_kept: false, is_seen: false };
        self.entries.push(new);
        self.by_id.insert(id.to_owned(), self.entries.len() - 1);
        Some(self.entries.len() - 1)
    }

    fn seen(&self, reader: usize) -> impl Iterator<Item = &Entry> {
        self.readers[reader].seen.iter().map(|it| &self.entries[*it as usize])
    }

    fn judge_order(&self, reader: usize, judgement: &mut Judgement) {
        let mut numbers = HashSet::new();
        let mut newest: Option<&Entry> = None;
        for entry in self.seen(reader) {
            judgement.delivered += 1;
            let Entry { id, number, .. } = entry;
            let last = newest.map_or("nothing", |it| &it.id);
            if !numbers.insert(*number) {
                judgement.doubled.add(|| {
                    format!("reader {reader} had message {number} ({id}) again, behind {last}")
                });
            } else if newest.is_some_and(|it| it.place > entry.place) {
                judgement
                    .misordered
                    .add(|| format!("reader {reader} had message {number} ({id}) behind {last}"));
            }
            if newest.is_none_or(|it| it.place < entry.place) {
                newest = Some(entry);
            }
        }
    }

    fn judge_whole(&self, reader: usize, in_order: &[usize], judgement: &mut Judgement) {
        let book = &self.readers[reader];
        for (at, word) in &book.gaps {
            judgement
                .gaps
                .add(|| format!("reader {reader} got a gap ({word:?}) behind {at} messages"));
        }
        let seen: HashSet<u32> = book.seen.iter().copied().collect();
        for &at in in_order {
            let entry = &self.entries[at];
            let is_expected = !self.has_log || entry.is_kept;
            if !is_expected || seen.contains(&u32::try_from(at).unwrap_or(u32::MAX)) {
                continue;
            }
            let is_acknowledged = self.acknowledged.get(&entry.number) == Some(&at);
            let Entry { id, number, .. } = entry;
            if book.last_place.is_none_or(|last| last < entry.place) {
                judgement.behind += u64::from(is_acknowledged);
            } else if is_acknowledged {
                judgement.lost.add(|| format!("reader {reader} never had message {number} ({id})"));
            } else {
                judgement.uneven.add(|| {
                    format!("reader {reader} never had message {number} ({id}), which no publisher knows to be in")
                });
            }
        }
    }

    fn judge_honest(&self, reader: usize, in_order: &[usize], judgement: &mut Judgement) {
        let book = &self.readers[reader];
        let mut last: Option<u64> = None;
        for (at, entry) in self.seen(reader).enumerate() {
            let Some(before) = last.replace(last.map_or(entry.place, |it| it.max(entry.place)))
            else {
                continue;
            };
            let missing = entry.place.saturating_sub(before + 1);
            let words: Vec<GapWord> =
                book.gaps.iter().filter(|it| it.0 == at).map(|it| it.1).collect();
            let counts = words.iter().map(|it| match it {
                GapWord::Counted(count) => Some(*count),
                GapWord::Possible => None,
            });
            let counted: Option<u64> = counts.sum();
            let id = &entry.id;
            if words.is_empty() && missing > 0 {
                let from = before + 1;
                judgement.lost.add(|| {
                    format!("reader {reader} lost {missing} messages from place {from} to {id}, without a gap")
                });
            } else if counted.is_some_and(|it| it != missing) {
                judgement.gaps.add(|| {
                    format!(
                        "reader {reader} lost {missing} messages before {id}, and got {words:?}"
                    )
                });
            }
        }
        let is_behind = |it: &&usize| {
            let entry = &self.entries[**it];
            let is_acknowledged = self.acknowledged.get(&entry.number) == Some(*it);
            is_acknowledged && last.is_none_or(|last| last < entry.place)
        };
        judgement.behind += in_order.iter().filter(is_behind).count() as u64;
    }

    /// The log against the books, and the messages without an acknowledgement.
    fn judge_log(&self, in_order: &[usize], judgement: &mut Judgement) {
        let mut kept = HashSet::new();
        let mut unacknowledged = HashSet::new();
        for &at in in_order {
            let Entry { id, number, is_kept, is_seen, .. } = &self.entries[at];
            let is_acknowledged = self.acknowledged.get(number) == Some(&at);
            if !self.acknowledged.contains_key(number) {
                unacknowledged.insert(*number);
            }
            if *is_kept && !kept.insert(*number) {
                judgement.broker_doubled.add(|| format!("message {number} is in again as {id}"));
            }
            if self.has_log && !is_kept && (is_acknowledged || *is_seen) {
                let how = if is_acknowledged { "acknowledged" } else { "seen" };
                judgement
                    .broker_lost
                    .add(|| format!("message {number} ({id}) was {how}, and is not in the stream"));
            }
        }
        judgement.unacknowledged = unacknowledged.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages 0 to 9 at the places 10 to 19, acknowledged and in the log; two readers that saw these numbers.
    fn ledger(seen: [&[u64]; 2]) -> Ledger {
        let mut ledger = Ledger::new(2);
        for number in 0..10 {
            ledger.acknowledge(number, &id(number));
            ledger.keep(number, &id(number));
        }
        for (reader, numbers) in seen.iter().enumerate() {
            numbers.iter().for_each(|it| ledger.see(reader, *it, &id(*it)));
        }
        ledger
    }

    fn id(number: u64) -> String {
        format!("e-{}", number + 10)
    }

    const ALL: &[u64] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

    /// The kinds that were found, each with its count.
    fn found(judgement: &Judgement) -> Vec<(&'static str, u64)> {
        let all = judgement.of_servers().into_iter().chain(judgement.of_broker());
        all.filter(|it| it.1.count > 0).map(|(name, it)| (name, it.count)).collect()
    }

    #[test]
    fn readers_that_saw_each_message_once_in_order_are_no_finding() {
        let judgement = ledger([ALL, ALL]).judge(Promise::Whole);
        assert_eq!(found(&judgement), []);
        assert_eq!((judgement.acknowledged, judgement.delivered, judgement.behind), (10, 20, 0));
    }

    #[test]
    fn each_planted_fault_is_found_and_is_one_finding() {
        for (seen, kind) in [
            (&[0, 1, 2, 3, 5, 6, 7, 8, 9][..], "lost"),
            (&[0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9], "doubled"),
            (&[0, 1, 2, 3, 4, 5, 6, 7, 2, 8, 9], "doubled"),
            (&[0, 1, 2, 4, 3, 5, 6, 7, 8, 9], "out of order"),
        ] {
            let judgement = ledger([ALL, seen]).judge(Promise::Whole);
            assert_eq!(found(&judgement), [(kind, 1)], "{seen:?}");
            let words = judgement.of_servers().into_iter().find(|it| it.0 == kind).unwrap().1;
            assert!(words.examples[0].contains("reader 1"), "{words:?}");
        }
        let mut gap = ledger([ALL, ALL]);
        gap.gap(0, GapWord::Possible);
        assert_eq!(found(&gap.judge(Promise::Whole)), [("gap", 1)]);
    }

    #[test]
    fn messages_behind_the_last_one_that_came_are_not_lost_yet() {
        let judgement = ledger([ALL, &[0, 1, 2, 3]]).judge(Promise::Whole);
        assert_eq!((found(&judgement), judgement.behind), (vec![], 6));
        let judgement = ledger([&[], ALL]).judge(Promise::Whole);
        assert_eq!((found(&judgement), judgement.behind), (vec![], 10));
    }

    #[test]
    fn an_id_names_one_message_and_a_message_has_one_id() {
        let mut forged = ledger([ALL, ALL]);
        forged.see(0, 4, &id(5));
        forged.see(1, 4, "without a place");
        forged.stray(1, "event \"hello\"");
        forged.acknowledge(4, "e-99");
        let judgement = forged.judge(Promise::Whole);
        assert_eq!(judgement.strays.count, 4, "{judgement:?}");
    }

    #[test]
    fn the_losses_of_the_broker_are_apart() {
        let mut ledger = ledger([ALL, ALL]);
        ledger.acknowledge(10, "e-20");
        // A reader had it, and no publisher an acknowledgement.
        ledger.see(0, 11, "e-21");
        ledger.see(0, 12, "e-22");
        ledger.see(1, 12, "e-22");
        ledger.keep(12, "e-22");
        let judgement = ledger.judge(Promise::Whole);
        assert_eq!(found(&judgement), [("lost by the broker", 2)], "{judgement:?}");
        assert_eq!(judgement.unacknowledged, 2);
        // A message that was sent again and is in twice.
        ledger.keep(12, "e-23");
        let judgement = ledger.judge(Promise::Whole);
        assert_eq!(judgement.broker_doubled.count, 1, "{judgement:?}");
    }

    #[test]
    fn a_message_without_acknowledgement_comes_to_all_or_to_no_reader() {
        let mut ledger = ledger([ALL, ALL]);
        ledger.keep(10, "e-20");
        ledger.keep(11, "e-21");
        ledger.see(0, 10, "e-20");
        ledger.see(0, 11, "e-21");
        ledger.see(1, 11, "e-21");
        let judgement = ledger.judge(Promise::Whole);
        assert_eq!(found(&judgement), [("uneven", 1)]);
        assert_eq!(judgement.unacknowledged, 2);
    }

    /// Reader 1 sees these, with gaps in front of some.
    fn honest(seen: &[(Option<GapWord>, u64)]) -> Vec<(&'static str, u64)> {
        let mut ledger = ledger([ALL, &[]]);
        for (gap, number) in seen {
            if let Some(word) = gap {
                ledger.gap(1, *word);
            }
            ledger.see(1, *number, &id(*number));
        }
        found(&ledger.judge(Promise::Honest))
    }

    #[test]
    fn what_is_gone_has_its_gap_with_the_right_number() {
        let (none, possible) = (None, Some(GapWord::Possible));
        let counted = |count| Some(GapWord::Counted(count));
        assert_eq!(honest(&[(none, 0), (possible, 5), (none, 6), (possible, 7)]), []);
        assert_eq!(honest(&[(none, 0), (counted(4), 5), (none, 6), (counted(2), 9)]), []);
        assert_eq!(honest(&[(none, 0), (none, 5), (none, 6)]), [("lost", 1)]);
        assert_eq!(honest(&[(none, 0), (counted(3), 5)]), [("gap", 1)]);
        assert_eq!(honest(&[(none, 0), (counted(3), 1)]), [("gap", 1)]);
        // A gap elsewhere excuses nothing.
        assert_eq!(honest(&[(none, 0), (possible, 1), (none, 5)]), [("lost", 1)]);
    }
}
