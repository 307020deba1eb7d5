//! Where topics live: in this process, or (later) on a broker that several nodes share.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::{BuildHasher, Hasher};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::unix_ns;
use crate::problem::Problem;
use crate::topic::{Retention, Subscription, Topic};

/// Topics at most. Together with the bytes that each may retain it bounds the memory that clients
/// can fill.
pub const MAX_TOPICS: usize = 1024;

/// Bytes that one topic retains at most: many small messages or a hundred of the largest.
pub const RETAIN_BYTES: usize = 8 * 1024 * 1024;

/// Which bus to use, as `--bus` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusUrl {
    /// In this process; gone when it ends.
    Memory,
}

impl FromStr for BusUrl {
    type Err = String;

    fn from_str(url: &str) -> Result<BusUrl, String> {
        match url {
            "memory" => Ok(BusUrl::Memory),
            _ => Err("the bus of this build is: memory".into()),
        }
    }
}

/// The topics of this server.
#[derive(Debug)]
pub struct Bus {
    epoch: Arc<str>,
    retention: Retention,
    topics: Mutex<HashMap<Box<str>, Arc<Topic>>>,
}

impl Bus {
    /// The bus at `url`; each topic retains at most `retain` events.
    pub fn open(url: &BusUrl, retain: usize) -> Bus {
        match url {
            BusUrl::Memory => Bus {
                epoch: new_epoch(),
                retention: Retention { events: retain, bytes: RETAIN_BYTES },
                topics: Mutex::default(),
            },
        }
    }

    /// Appends a message to a topic. Returns its id once it is sure to be delivered.
    ///
    /// # Errors
    /// 503 if there are [`MAX_TOPICS`] others.
    pub fn publish(&self, topic: &str, message: String) -> Result<String, Problem> {
        Ok(self.topic(topic)?.publish(message))
    }

    /// Reads a topic, from now on or from the event after the last one that was seen.
    ///
    /// # Errors
    /// 503 if there are [`MAX_TOPICS`] others.
    pub fn subscribe(
        &self,
        topic: &str,
        last_event_id: Option<&str>,
    ) -> Result<Subscription, Problem> {
        Ok(self.topic(topic)?.subscribe(last_event_id))
    }

    fn topic(&self, name: &str) -> Result<Arc<Topic>, Problem> {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if topics.len() >= MAX_TOPICS && !topics.contains_key(name) {
            // A topic that was never published to goes first: it holds no event.
            topics.retain(|_, topic| Arc::strong_count(topic) > 1 || !topic.is_unused());
            if topics.len() >= MAX_TOPICS {
                return Err(Problem::full("topics", MAX_TOPICS));
            }
        }
        Ok(match topics.entry(name.into()) {
            Entry::Occupied(topic) => Arc::clone(topic.get()),
            Entry::Vacant(vacant) => {
                let topic = Topic::new(Arc::clone(&self.epoch), self.retention);
                Arc::clone(vacant.insert(Arc::new(topic)))
            }
        })
    }
}

/// A random 32-bit id of this process, in hex.
fn new_epoch() -> Arc<str> {
    // RandomState draws from the operating system's randomness, without one more dependency.
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(unix_ns());
    format!("{:08x}", hasher.finish() as u32).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_limited_and_unused_ones_make_room() {
        let bus = Bus::open(&BusUrl::Memory, 8);
        for n in 0..MAX_TOPICS {
            bus.subscribe(&format!("looked-at-{n}"), None).expect("room");
        }
        for n in 0..MAX_TOPICS {
            bus.publish(&format!("used-{n}"), "x".into()).expect("unused topics make room");
        }
        let problem = bus.publish("one-more", "x".into()).expect_err("all are used");
        assert_eq!(problem.status, 503);
        bus.publish("used-7", "y".into()).expect("a topic that exists takes more");
    }

    #[test]
    fn each_bus_has_its_own_epoch() {
        let id = || Bus::open(&BusUrl::Memory, 8).publish("t", "x".into()).expect("room");
        let (first, second) = (id(), id());
        assert_ne!(first, second);
        assert!(first.ends_with("-1") && first.len() == 10, "{first}");
    }

    #[test]
    fn an_unknown_bus_is_refused() {
        assert!("nats://127.0.0.1:4222".parse::<BusUrl>().is_err());
    }
}
