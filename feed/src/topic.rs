//! A topic: published events, in order, as far back as they are retained, and cursors that read
//! them.
//!
//! There is no queue per subscriber. Each has a cursor into the one ring, so a slow reader costs no
//! memory; one that falls off the end of the ring gets an event with the number that it missed.
//! Replay and live are the same operation, reading on from a sequence number, so there is no seam
//! between them at which an event could be lost or repeated.

use std::collections::VecDeque;
use std::mem::size_of;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Now;
use crate::event::{Event, Gap};
use crate::source::{Source, SourcePoll};
use crate::wakers::{Sleeper, Slot, Wakers};
use crate::wire::Encoded;

/// How much a topic retains; the oldest events go first.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Events at most.
    pub events: usize,
    /// Bytes of memory at most, so that large messages do not multiply by `events`. The newest event
    /// always stays.
    pub bytes: usize,
}

/// The ring has room for this many times its events at most.
const SPARE_ROOM: usize = 4;

/// A named, ordered, retained sequence of events.
#[derive(Debug)]
pub struct Topic {
    epoch: Arc<str>,
    retention: Retention,
    ring: Mutex<Ring>,
    /// Sequence number of the newest event: a cursor that is up to date needs no lock.
    newest: AtomicU64,
    /// Bytes of memory of all topics together.
    total: Arc<AtomicUsize>,
    wakers: Wakers,
    /// A reader has left since this was last asked.
    reader_left: AtomicBool,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Arc<Encoded>>,
    /// Bytes of memory that the events take, their places in the ring among them.
    bytes: usize,
    /// Sequence number of the newest event; the first is 1.
    newest: u64,
    /// With a broker: the ring has had all events with numbers above this one.
    complete_after: u64,
    /// Sequence number of the newest gap that lies, or lay, among the events; 0 without one.
    possible_at: u64,
    reset_at: u64,
}

impl Ring {
    fn oldest(&self) -> u64 {
        self.newest + 1 - self.events.len() as u64
    }

    fn push(&mut self, event: Arc<Encoded>) {
        self.newest += 1;
        self.bytes += memory(&event);
        self.events.push_back(event);
    }

    /// Drops the oldest events until this is no longer true of the ring.
    fn drop_while(&mut self, is_too_much: impl Fn(&Ring) -> bool) {
        while is_too_much(self)
            && let Some(oldest) = self.events.pop_front()
        {
            self.bytes -= memory(&oldest);
        }
        if self.events.capacity() / SPARE_ROOM > self.events.len() {
            self.events.shrink_to(2 * self.events.len());
        }
    }
}

/// Bytes of memory that an event takes with its place in the ring.
fn memory(event: &Encoded) -> usize {
    event.memory() + SPARE_ROOM * size_of::<Arc<Encoded>>()
}

impl Topic {
    /// An empty topic. `epoch` marks this life of it: ids of another epoch are not ours. `total`
    /// counts the bytes of memory of all topics.
    pub fn new(epoch: Arc<str>, retention: Retention, total: Arc<AtomicUsize>) -> Topic {
        Topic {
            epoch,
            retention,
            ring: Mutex::default(),
            newest: AtomicU64::new(0),
            total,
            wakers: Wakers::default(),
            reader_left: AtomicBool::new(false),
        }
    }

    /// Appends a message and wakes every subscriber. Returns the event's id, `<epoch>-<seq>`.
    pub fn publish(&self, data: String) -> String {
        let ring = self.ring();
        let id = format!("{}-{}", self.epoch, ring.newest + 1);
        self.push(ring, Event::data(data).with_event("message").with_id(&id));
        id
    }

    #[inline(always)]
    fn push(&self, mut ring: MutexGuard<'_, Ring>, event: Event) {
        let Retention { events, bytes } = self.retention;
        self.change(&mut ring, |ring| {
            ring.push(Arc::new(Encoded::from(event)));
            ring.drop_while(|ring| {
                ring.events.len() > 1 && (ring.events.len() > events || ring.bytes > bytes)
            });
        });
        self.newest.store(ring.newest, Ordering::SeqCst);
        drop(ring);
        self.wakers.wake_all();
    }

    /// Bytes of memory of its events.
    pub fn bytes(&self) -> usize {
        self.ring().bytes
    }

    /// Drops the oldest events, if need be all, until the rest takes at most this many bytes.
    pub fn shrink_to(&self, bytes: usize) {
        let mut ring = self.ring();
        let newest = ring.events.back().and_then(|event| number(event));
        self.change(&mut ring, |ring| ring.drop_while(|ring| ring.bytes > bytes));
        if ring.events.is_empty() {
            ring.complete_after = ring.complete_after.max(newest.unwrap_or(0));
        }
    }

    fn change(&self, ring: &mut Ring, change: impl FnOnce(&mut Ring)) {
        let before = ring.bytes;
        change(ring);
        // An atomic number wraps, so this subtracts too.
        self.total.fetch_add(ring.bytes.wrapping_sub(before), Ordering::Relaxed);
    }

    /// A cursor: from now on without a last event id, after that event with one.
    pub fn subscribe(self: &Arc<Topic>, last_event_id: Option<&str>) -> Subscription {
        let slot = self.wakers.register();
        let (next, gap) = {
            let ring = self.ring();
            match last_event_id.map(|id| self.seq(id, ring.newest)) {
                None => (ring.newest + 1, None),
                Some(Some(seq)) => (seq + 1, None),
                Some(None) => (ring.oldest(), Some(Gap::Reset)),
            }
        };
        Subscription { topic: Arc::clone(self), slot, next, gap }
    }

    /// True if it has had no event yet, so that none of its ids is known to anyone.
    pub fn is_new(&self) -> bool {
        self.newest.load(Ordering::SeqCst) == 0
    }

    /// True if a reader has left since the last call.
    pub fn reader_left(&self) -> bool {
        self.reader_left.swap(false, Ordering::Relaxed)
    }

    /// The sequence number in an id of ours: of this epoch, and not of the future.
    fn seq(&self, id: &str, newest: u64) -> Option<u64> {
        let digits = id.strip_prefix(&*self.epoch)?.strip_prefix('-')?;
        // `parse` would take a sign too.
        let seq = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())??;
        (seq <= newest).then_some(seq)
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        // No code that can panic runs under this lock, so a poisoned one is still whole.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes(), Ordering::Relaxed);
    }
}

/// The part for a broker, which numbers the events of all topics together: the numbers of
/// one topic have holes, so a reader's place is found by the ids of the events in the ring.
impl Topic {
    /// The same topic, whose ring lacks events up to this number.
    pub(crate) fn complete_after(self, number: u64) -> Topic {
        self.ring().complete_after = number;
        self
    }

    /// Appends an event that has its id.
    #[cfg(feature = "nats")]
    pub(crate) fn append(&self, event: Event) {
        self.push(self.ring(), event);
    }

    /// Tells the readers, in its place among the events, that some are missing here. Twice in a row
    /// would say no more.
    #[cfg(feature = "nats")]
    pub(crate) fn mark(&self) {
        let mut ring = self.ring();
        if ring.events.back().is_none_or(|event| number(event).is_some()) {
            ring.possible_at = ring.newest + 1;
            self.push(ring, Gap::Possible.into());
        }
    }

    /// Numbers begin anew behind this one.
    #[cfg(feature = "nats")]
    pub(crate) fn begin_at(&self, number: u64) {
        let mut ring = self.ring();
        ring.complete_after = number;
        ring.reset_at = ring.newest + 1;
        self.push(ring, Gap::Reset.into());
    }

    /// A cursor behind the event with this number, if the ring has all since then.
    #[cfg(feature = "nats")]
    pub(crate) fn join(self: &Arc<Topic>, after: u64) -> Option<Subscription> {
        let slot = self.wakers.register();
        let ring = self.ring();
        // An event without a number marks a gap: what lies before it is not of this count.
        let is_later = |event: &Arc<Encoded>| number(event).is_some_and(|number| number > after);
        let later = ring.events.iter().rev().take_while(|&event| is_later(event)).count();
        let is_whole = later < ring.events.len() || later as u64 == ring.newest || later == 0;
        if after < ring.complete_after || !is_whole {
            self.wakers.unregister(&slot);
            return None;
        }
        let next = ring.newest + 1 - later as u64;
        drop(ring);
        Some(Subscription { topic: Arc::clone(self), slot, next, gap: None })
    }
}

/// The number in the id of an event, `<epoch>-<number>`.
fn number(event: &Encoded) -> Option<u64> {
    event.id()?.rsplit_once('-')?.1.parse().ok()
}

/// A subscriber's place in a topic.
#[derive(Debug)]
pub struct Subscription {
    topic: Arc<Topic>,
    slot: Slot,
    next: u64,
    gap: Option<Gap>,
}

impl Source for Subscription {
    fn poll(&mut self, _now: Now) -> SourcePoll {
        if self.gap.is_some()
            && let Some(gap) = self.gap.take()
        {
            return SourcePoll::Gap(gap);
        }
        if self.next > self.topic.newest.load(Ordering::SeqCst) {
            return SourcePoll::Wait(None);
        }
        let ring = self.topic.ring();
        let oldest = ring.oldest();
        if self.next < oldest {
            let missed = oldest - self.next;
            let next = std::mem::replace(&mut self.next, oldest);
            // A gap that it has not seen either makes the count one of something else.
            return SourcePoll::Gap(match () {
                () if (next..oldest).contains(&ring.reset_at) => Gap::Reset,
                () if (next..oldest).contains(&ring.possible_at) => Gap::Possible,
                () => Gap::Missed(missed),
            });
        }
        let at = usize::try_from(self.next - oldest).expect("the ring fits into memory");
        self.next += 1;
        SourcePoll::Shared { encoded: Arc::clone(&ring.events[at]), more: self.next <= ring.newest }
    }

    fn follows_clock(&self) -> bool {
        false
    }

    fn set_sleeper(&mut self, sleeper: &Sleeper) {
        self.topic.wakers.set(&self.slot, sleeper);
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.topic.wakers.unregister(&self.slot);
        self.topic.reader_left.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(events: usize, bytes: usize) -> Arc<Topic> {
        Arc::new(Topic::new("e".into(), Retention { events, bytes }, Arc::default()))
    }

    /// Everything that the subscription has now, in words.
    fn read(subscription: &mut Subscription) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            seen.push(match subscription.poll(Now::at(0)) {
                SourcePoll::Shared { encoded, .. } => {
                    encoded.event().data.expect("messages have data")
                }
                SourcePoll::Gap(gap) => format!("{gap:?}"),
                SourcePoll::Wait(None) => return seen,
                step => panic!("a topic never says {step:?}"),
            });
        }
    }

    #[test]
    fn a_subscriber_without_an_id_gets_only_what_comes() {
        let topic = topic(8, 100_000);
        topic.publish("old".into());
        let mut live = topic.subscribe(None);
        assert_eq!(read(&mut live), [""; 0]);
        assert_eq!(topic.publish("new".into()), "e-2");
        assert_eq!(read(&mut live), ["new"]);
    }

    #[test]
    fn a_resuming_subscriber_goes_on_after_its_id_without_a_seam() {
        let topic = topic(8, 100_000);
        for n in 1..=3 {
            topic.publish(n.to_string());
        }
        let mut resumed = topic.subscribe(Some("e-1"));
        topic.publish("4".into());
        assert_eq!(read(&mut resumed), ["2", "3", "4"]);
        topic.publish("5".into());
        assert_eq!(read(&mut resumed), ["5"]);
    }

    #[test]
    fn what_is_no_longer_retained_is_counted_as_missed() {
        let topic = topic(2, 100_000);
        for n in 1..=5 {
            topic.publish(n.to_string());
        }
        assert_eq!(read(&mut topic.subscribe(Some("e-1"))), ["Missed(2)", "4", "5"]);
    }

    #[test]
    fn a_cursor_that_falls_off_the_ring_gets_a_gap_and_goes_on() {
        let topic = topic(2, 100_000);
        let mut slow = topic.subscribe(None);
        for n in 1..=3 {
            topic.publish(n.to_string());
        }
        assert_eq!(read(&mut slow), ["Missed(1)", "2", "3"]);
    }

    #[test]
    fn an_id_that_is_not_ours_resets() {
        let topic = topic(8, 100_000);
        topic.publish("1".into());
        for foreign in ["x-1", "e-2", "e-+1", "e-", "1", "e-99999999999999999999"] {
            assert_eq!(read(&mut topic.subscribe(Some(foreign))), ["Reset", "1"], "{foreign}");
        }
    }

    #[test]
    fn retention_is_limited_in_bytes_too_but_the_newest_stays() {
        let topic = topic(100, 3000);
        for _ in 0..10 {
            topic.publish("x".repeat(1000));
        }
        assert_eq!(topic.ring().events.len(), 2);
        topic.publish("y".repeat(5000));
        assert_eq!(topic.ring().events.len(), 1);
    }

    #[test]
    fn a_topic_that_gives_up_everything_goes_on_behind_a_gap() {
        let topic = topic(8, 100_000);
        let mut slow = topic.subscribe(None);
        for n in 1..=3 {
            topic.publish(n.to_string());
        }
        topic.shrink_to(0);
        assert_eq!(read(&mut slow), ["Missed(3)"]);
        assert_eq!(topic.publish("4".into()), "e-4");
        assert_eq!(read(&mut slow), ["4"]);
        assert_eq!(read(&mut topic.subscribe(Some("e-2"))), ["Missed(1)", "4"]);
    }

    #[test]
    fn all_memory_is_in_the_total_until_the_topic_goes() {
        let total = Arc::new(AtomicUsize::new(0));
        let retention = Retention { events: 4, bytes: 10_000 };
        let topic = Topic::new("e".into(), retention, Arc::clone(&total));
        for n in 0..100 {
            topic.publish("x".repeat(n * 37));
            assert_eq!(total.load(Ordering::Relaxed), topic.bytes());
        }
        topic.shrink_to(5_000);
        assert_eq!(total.load(Ordering::Relaxed), topic.bytes());
        drop(topic);
        assert_eq!(total.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_ring_that_has_become_short_gives_its_room_back() {
        let topic = topic(1_000_000, 1 << 20);
        for _ in 0..3000 {
            topic.publish(String::new());
        }
        topic.publish("x".repeat(1 << 20));
        assert!(topic.ring().events.capacity() <= SPARE_ROOM);
    }

    /// A topic with these numbers of a broker, in a ring of four.
    #[cfg(feature = "nats")]
    fn numbered(numbers: impl IntoIterator<Item = u64>) -> Arc<Topic> {
        let topic = topic(4, 100_000);
        numbers.into_iter().for_each(|number| append(&topic, number));
        topic
    }

    #[cfg(feature = "nats")]
    fn append(topic: &Topic, number: u64) {
        topic.append(Event::data(number.to_string()).with_id(format!("e-{number}")));
    }

    #[cfg(feature = "nats")]
    fn joined(topic: &Arc<Topic>, after: u64) -> Option<Vec<String>> {
        topic.join(after).map(|mut subscription| read(&mut subscription))
    }

    #[cfg(feature = "nats")]
    fn words(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(ToString::to_string).collect())
    }

    #[cfg(feature = "nats")]
    #[test]
    fn a_place_is_found_among_numbers_with_holes() {
        let topic = numbered([3, 7, 20]);
        assert_eq!(joined(&topic, 0), words(&["3", "7", "20"]));
        assert_eq!(joined(&topic, 3), words(&["7", "20"]));
        assert_eq!(joined(&topic, 6), words(&["7", "20"]));
        assert_eq!(joined(&topic, 20), words(&[]));
        assert_eq!(joined(&topic, 99), words(&[]));
        let late = Arc::new(Topic::new("e".into(), topic.retention, Arc::default()));
        let late = Arc::new(Arc::into_inner(late).expect("one owner").complete_after(10));
        append(&late, 20);
        assert_eq!(joined(&late, 9), None);
        assert_eq!(joined(&late, 10), words(&["20"]));
    }

    #[cfg(feature = "nats")]
    #[test]
    fn a_place_before_the_ring_is_not_guessed() {
        let topic = numbered([1, 2, 5, 6, 7, 9]);
        assert_eq!(joined(&topic, 2), None, "5 may not be the first one behind it");
        assert_eq!(joined(&topic, 5), words(&["6", "7", "9"]));
        topic.shrink_to(0);
        assert_eq!((joined(&topic, 8), joined(&topic, 9)), (None, words(&[])));
        let mut slow = topic.join(9).expect("it is up to date");
        (10..16).for_each(|number| append(&topic, number));
        assert_eq!(read(&mut slow), ["Missed(2)", "12", "13", "14", "15"], "counted by the ring");
    }

    #[cfg(feature = "nats")]
    #[test]
    fn a_mark_lies_between_the_events_and_counts_begin_anew() {
        let topic = numbered([1]);
        let mut live = topic.join(0).expect("all is here");
        let gap = |gap: Gap| Event::from(gap).data.expect("a gap has data");
        topic.mark();
        topic.mark();
        append(&topic, 8);
        assert_eq!(read(&mut live), ["1", &gap(Gap::Possible), "8"]);
        assert_eq!(joined(&topic, 7), words(&["8"]));
        topic.begin_at(0);
        append(&topic, 2);
        assert_eq!(read(&mut live), [&gap(Gap::Reset), "2"]);
        assert_eq!(joined(&topic, 0), words(&["2"]), "none of the numbers of before");
    }

    #[cfg(feature = "nats")]
    #[test]
    fn a_gap_that_a_slow_reader_missed_is_not_counted_as_an_event() {
        let topic = numbered([1]);
        let readers = || [0, 1].map(|_| topic.join(1).expect("it is up to date"));
        let ([mut slow, mut quick], numbers) = (readers(), 2..8);
        topic.mark();
        assert_eq!(read(&mut quick).len(), 1);
        numbers.for_each(|number| append(&topic, number));
        assert_eq!(read(&mut slow)[0], "Possible");
        assert_eq!(read(&mut quick)[0], "Missed(2)");
        let [mut slow, _] = [0, 1].map(|_| topic.join(7).expect("it is up to date"));
        topic.begin_at(0);
        (1..8).for_each(|number| append(&topic, number));
        assert_eq!(read(&mut slow)[0], "Reset");
    }

    #[test]
    fn a_publish_wakes_each_sleeper_once() {
        use std::sync::atomic::AtomicUsize;
        use std::task::{Wake, Waker};
        struct Count(AtomicUsize);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let topic = topic(8, 100_000);
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let sleepers: Vec<_> = (0..10).map(|_| Sleeper::from(&waker)).collect();
        let subscribe = |sleeper| {
            let mut subscription = topic.subscribe(None);
            subscription.set_sleeper(sleeper);
            subscription
        };
        let mut subscriptions: Vec<Subscription> = sleepers.iter().map(subscribe).collect();
        topic.publish("0".into());
        assert_eq!(count.0.load(Ordering::SeqCst), 0, "none sleeps");
        sleepers.iter().for_each(Sleeper::sleep);
        subscriptions.truncate(9);
        topic.publish("1".into());
        assert_eq!(count.0.load(Ordering::SeqCst), 9);
        topic.publish("2".into());
        assert_eq!(count.0.load(Ordering::SeqCst), 9, "none sleeps again");
        sleepers[0].sleep();
        topic.publish("3".into());
        assert_eq!(count.0.load(Ordering::SeqCst), 10, "the same waker is called again");
    }
}
