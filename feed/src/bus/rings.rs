//! The topics of this process: a ring for each, within one bound for the memory of all.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::{SECOND, unix_ns};
#[cfg(feature = "nats")]
use crate::event::Event;
use crate::problem::Problem;
use crate::settings::Settings;
use crate::topic::{Retention, Subscription, Topic};

/// Topics at most. Each costs a few hundred bytes beside its events.
pub const MAX_TOPICS: usize = 1024;

/// Bytes of memory that one topic retains at most: many small messages or a hundred of the largest.
pub const RETAIN_BYTES: usize = 8 * 1024 * 1024;

/// Of the memory for all topics, the part that is freed beyond need when it is full, so that the
/// search for the largest topics is rare.
const FREED_SHARE: usize = 64;

/// The time between two searches for topics that have expired.
const SEARCH_NS: u64 = SECOND;

/// The topics of this process.
#[derive(Debug)]
pub(super) struct Rings {
    retention: Retention,
    /// Bytes of memory that all topics retain at most, and do now.
    max_total: usize,
    total: Arc<AtomicUsize>,
    idle_ns: u64,
    topics: Mutex<Topics>,
}

impl Rings {
    /// No topics yet, with the bounds of these settings.
    pub(super) fn new(settings: &Settings) -> Rings {
        Rings {
            retention: Retention { events: settings.retain as usize, bytes: RETAIN_BYTES },
            max_total: settings.retain_total_bytes(),
            total: Arc::default(),
            idle_ns: settings.topic_idle_s.saturating_mul(SECOND),
            topics: Mutex::new(Topics::new()),
        }
    }

    /// Appends a message to a topic. Returns its id, which counts the messages of that topic.
    ///
    /// # Errors
    /// 503 if there are [`MAX_TOPICS`] others that all have readers.
    pub(super) fn publish(
        &self,
        topic: &str,
        message: String,
        now: u64,
    ) -> Result<String, Problem> {
        let id = self.topic(topic, now)?.publish(message);
        if self.retained_bytes() > self.max_total {
            self.make_room();
        }
        Ok(id)
    }

    /// Reads a topic, from now on or from the event after the last one that was seen.
    ///
    /// # Errors
    /// 503 if there are [`MAX_TOPICS`] others that all have readers.
    pub(super) fn subscribe(
        &self,
        topic: &str,
        last_event_id: Option<&str>,
        now: u64,
    ) -> Result<Subscription, Problem> {
        Ok(self.topic(topic, now)?.subscribe(last_event_id))
    }

    /// Bytes of memory that the events of all topics take.
    pub(super) fn retained_bytes(&self) -> usize {
        self.total.load(Relaxed)
    }

    fn topic(&self, name: &str, now: u64) -> Result<Arc<Topic>, Problem> {
        self.topic_among(&mut self.topics(), name, now)
    }

    fn topic_among(
        &self,
        topics: &mut Topics,
        name: &str,
        now: u64,
    ) -> Result<Arc<Topic>, Problem> {
        if now >= topics.next_search {
            topics.next_search = now.saturating_add(SEARCH_NS);
            topics.expire(now, self.idle_ns);
        }
        if let Some(entry) = topics.entries.get_mut(name) {
            entry.last_used = now;
            return Ok(Arc::clone(&entry.topic));
        }
        if topics.entries.len() >= MAX_TOPICS && !topics.drop_one(now) {
            return Err(Problem::full("topics", MAX_TOPICS));
        }
        let topic = Topic::new(Arc::clone(&topics.epoch), self.retention, Arc::clone(&self.total));
        let topic = Arc::new(topic.complete_after(topics.dropped_at));
        let entry = Entry { topic: Arc::clone(&topic), last_used: now };
        topics.entries.insert(name.into(), entry);
        Ok(topic)
    }

    /// Appends an event that has its number from a broker. A topic that finds no room has no ring.
    #[cfg(feature = "nats")]
    pub(super) fn append(&self, name: &str, number: u64, event: Event, now: u64) {
        {
            let mut topics = self.topics();
            topics.newest = number;
            match self.topic_among(&mut topics, name, now) {
                Ok(topic) => topic.append(event),
                Err(_) => topics.dropped_at = number,
            }
        }
        if self.retained_bytes() > self.max_total {
            self.make_room();
        }
    }

    /// A cursor behind this number, if the ring of the topic has all since then, and else the topic,
    /// so that it stays meanwhile.
    #[cfg(feature = "nats")]
    pub(super) fn join(
        &self,
        name: &str,
        after: u64,
        now: u64,
    ) -> Result<Result<Subscription, Arc<Topic>>, Problem> {
        let mut topics = self.topics();
        let topic = self.topic_among(&mut topics, name, now)?;
        let is_complete = topics.hole_until <= after && after <= topics.newest;
        let joined = if is_complete { topic.join(after) } else { None };
        Ok(joined.ok_or(topic))
    }

    /// An event of no topic.
    #[cfg(feature = "nats")]
    pub(super) fn pass(&self, number: u64) {
        self.topics().newest = number;
    }

    /// The number of the newest event, whatever its topic.
    #[cfg(feature = "nats")]
    pub(super) fn newest(&self) -> u64 {
        self.topics().newest
    }

    /// Events up to this number are passed over: they were removed from the stream, and of which
    /// topics they were is not known. Each topic gets a gap, unless it can have no reader.
    #[cfg(feature = "nats")]
    pub(super) fn skip_to(&self, number: u64, has_readers: bool) {
        let mut topics = self.topics();
        (topics.newest, topics.hole_until) = (number, number);
        if has_readers {
            topics.entries.values().for_each(|entry| entry.topic.mark());
        }
    }

    /// Numbers begin anew behind this one, and each reader gets a gap.
    #[cfg(feature = "nats")]
    pub(super) fn begin_at(&self, number: u64, now: u64) {
        let mut topics = self.topics();
        topics.entries.retain(|_, entry| entry.is_in_use(now));
        topics.entries.values().for_each(|entry| entry.topic.begin_at(number));
        (topics.newest, topics.hole_until, topics.dropped_at) = (number, number, number);
    }

    /// The largest topics give up their oldest events. So one flooder does not erase the history of
    /// all.
    fn make_room(&self) {
        let topics = self.topics();
        if self.retained_bytes() <= self.max_total {
            return;
        }
        let mut sizes: Vec<_> = topics.entries.values().map(|entry| entry.topic.bytes()).collect();
        let most = equal_share(&mut sizes, self.max_total - self.max_total / FREED_SHARE);
        topics.entries.values().for_each(|entry| entry.topic.shrink_to(most));
    }

    fn topics(&self) -> MutexGuard<'_, Topics> {
        // No code that can panic runs under this lock, so a poisoned one is still whole.
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The most that each may keep, so that all together have `total`.
fn equal_share(sizes: &mut [usize], mut total: usize) -> usize {
    sizes.sort_unstable();
    for (at, &size) in sizes.iter().enumerate() {
        let share = total / (sizes.len() - at);
        if size > share {
            return share;
        }
        total -= size;
    }
    usize::MAX
}

#[derive(Debug)]
struct Topics {
    entries: HashMap<Box<str>, Entry>,
    process: String,
    /// The epoch of the next topic.
    epoch: Arc<str>,
    /// How many epochs there were before.
    epochs: u64,
    next_search: u64,
    /// With a broker: the number of the newest event.
    newest: u64,
    /// The number up to which the ring of a topic that is new here lacks events.
    dropped_at: u64,
    /// The number up to which all rings do.
    #[cfg(feature = "nats")]
    hole_until: u64,
}

#[derive(Debug)]
struct Entry {
    topic: Arc<Topic>,
    /// When it was last seen with a publisher or a reader.
    last_used: u64,
}

impl Entry {
    /// True if it has a reader, or a publisher at this moment: only those own it too, and more of
    /// them come only through the bus.
    fn is_in_use(&mut self, now: u64) -> bool {
        let in_use = Arc::strong_count(&self.topic) > 1;
        if in_use || self.topic.reader_left() {
            self.last_used = now;
        }
        in_use
    }
}

impl Topics {
    fn new() -> Topics {
        let process = new_epoch();
        let epoch = process.as_str().into();
        Topics {
            entries: HashMap::new(),
            process,
            epoch,
            epochs: 0,
            next_search: 0,
            newest: 0,
            dropped_at: 0,
            #[cfg(feature = "nats")]
            hole_until: 0,
        }
    }

    fn expire(&mut self, now: u64, idle_ns: u64) {
        let mut expired = false;
        self.entries.retain(|_, entry| {
            let keep = entry.is_in_use(now) || now.saturating_sub(entry.last_used) < idle_ns;
            expired |= !keep && !entry.topic.is_new();
            keep
        });
        if expired {
            self.begin_epoch();
        }
    }

    /// Drops the topic that was not used for the longest time: one without events before one with,
    /// and none that has a reader. False if all have.
    fn drop_one(&mut self, now: u64) -> bool {
        let unused = self.entries.iter_mut().filter_map(|(name, entry)| {
            let in_use = entry.is_in_use(now);
            (!in_use).then(|| (!entry.topic.is_new(), entry.last_used, name))
        });
        let Some((had_events, _, name)) = unused.min() else { return false };
        let name = name.clone();
        self.entries.remove(&name);
        if had_events {
            self.begin_epoch();
        }
        true
    }

    /// New topics get another epoch from now on: one of them may be the one that was dropped, and an
    /// id is never given twice.
    fn begin_epoch(&mut self) {
        self.epochs += 1;
        self.dropped_at = self.newest;
        self.epoch = format!("{}.{}", self.process, self.epochs).into();
    }
}

/// A random 32-bit id of this process, in hex.
fn new_epoch() -> String {
    // RandomState draws from the operating system's randomness, without one more dependency.
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(unix_ns());
    format!("{:08x}", hasher.finish() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Now;
    use crate::source::{Source, SourcePoll};

    const HOUR: u64 = 3600 * SECOND;

    fn bus(change: impl FnOnce(&mut Settings)) -> Rings {
        let mut settings = Settings::for_tests();
        change(&mut settings);
        Rings::new(&settings)
    }

    fn read(subscription: &mut Subscription) -> Vec<String> {
        let next = || match subscription.poll(Now::at(0)) {
            SourcePoll::Shared { encoded, .. } => encoded.event().data,
            SourcePoll::Gap(gap) => Some(format!("{gap:?}")),
            _ => None,
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn at_the_limit_the_topic_that_was_unused_for_longest_goes() {
        let bus = bus(|_| ());
        let name = |n: usize| format!("t{n}");
        for n in 0..MAX_TOPICS {
            bus.publish(&name(n), "x".into(), n as u64).expect("room");
        }
        let mut reader = bus.subscribe("t0", None, 2000).expect("it is there");
        bus.publish("t1", "y".into(), 2001).expect("it is there");
        bus.publish("new", "x".into(), 2002).expect("t2 goes");
        let has = |name: &str| bus.topics().entries.contains_key(name);
        assert!(has("t0") && has("t1") && !has("t2") && has("t3") && has("new"));
        bus.publish("t0", "z".into(), 2003).expect("it is there");
        assert_eq!(read(&mut reader), ["z"], "a topic with a reader stays");
    }

    #[test]
    fn a_topic_without_events_goes_first_and_one_with_a_reader_never() {
        let bus = bus(|_| ());
        bus.publish("used", "x".into(), 0).expect("room");
        let subscribe = |n: usize| bus.subscribe(&format!("read-{n}"), None, 1).expect("room");
        let mut readers: Vec<_> = (1..MAX_TOPICS).map(subscribe).collect();
        readers.pop();
        bus.publish("more", "x".into(), 2).expect("the last of those goes");
        assert!(bus.topics().entries.contains_key("used"));
        let _all = ["used", "more"].map(|name| bus.subscribe(name, None, 3).expect("it is there"));
        let problem = bus.publish("one-more", "x".into(), 4).expect_err("all have readers");
        assert_eq!(problem.status, 503);
        bus.publish("read-7", "y".into(), 5).expect("a topic that exists takes more");
    }

    #[test]
    fn a_topic_expires_and_returns_with_another_epoch() {
        let bus = bus(|_| ());
        let publish = |now| bus.publish("t", "x".into(), now).expect("room");
        let first = publish(0);
        assert!(publish(HOUR - 1).ends_with("-2"), "it was used since");
        let reader = bus.subscribe("t", None, HOUR).expect("room");
        assert!(publish(9 * HOUR).ends_with("-3"), "it has a reader");
        drop(reader);
        assert!(publish(18 * HOUR).ends_with("-4"), "a reader was there, perhaps just now");
        let (second, third) = (publish(19 * HOUR), publish(20 * HOUR));
        assert!(second.ends_with("-1") && second != first, "{first} {second}");
        assert!(third.ends_with("-1") && third != first && third != second, "{second} {third}");
        let mut resumed = bus.subscribe("t", Some(&second), 20 * HOUR).expect("room");
        assert_eq!(read(&mut resumed), ["Reset", "x"]);
        assert_eq!(bus.retained_bytes(), bus.topics().entries["t"].topic.bytes());
    }

    #[test]
    fn all_topics_together_have_a_bound_and_the_largest_give_way() {
        let bus = bus(|settings| settings.retain_total_mb = 1);
        let publish = |topic: &str, bytes: usize| {
            bus.publish(topic, "x".repeat(bytes), 0).expect("room");
            assert!(bus.retained_bytes() <= 1 << 20);
        };
        let mut quiet = bus.subscribe("quiet", None, 0).expect("room");
        let mut slow = bus.subscribe("flood-1", None, 0).expect("room");
        publish("quiet", 10_000);
        for n in 0..1000 {
            publish(&format!("flood-{}", n % 3), 3000);
        }
        assert_eq!(read(&mut quiet).len(), 1, "the small topic has lost nothing");
        let seen = read(&mut slow);
        assert_eq!(seen[0], format!("Missed({})", 333 - (seen.len() - 1)));
        assert!((90..120).contains(&seen.len()), "a third of the memory: {}", seen.len());
    }

    #[test]
    fn a_share_is_equal_unless_one_needs_less() {
        assert_eq!(equal_share(&mut [5, 1, 9], 12), 6);
        assert_eq!(equal_share(&mut [9, 9, 9], 12), 4);
        assert_eq!(equal_share(&mut [1, 2, 3], 12), usize::MAX);
    }

    #[test]
    fn each_bus_has_its_own_epoch() {
        let id = || bus(|_| ()).publish("t", "x".into(), 0).expect("room");
        let (first, second) = (id(), id());
        assert_ne!(first, second);
        assert!(first.ends_with("-1") && first.len() == 10, "{first}");
    }
}
