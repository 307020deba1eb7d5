//! Keys of publishers that were seen lately, and the ids that their messages got.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::problem::Problem;

/// Keys that are remembered at most: a few MiB. When there are more, the oldest is forgotten before
/// its time.
const MAX_KEYS: usize = 10_000;

/// The keys by which a repeated message is recognised, for a while.
#[derive(Debug)]
pub(super) struct Recent {
    window_ns: u64,
    keys: Mutex<Keys>,
}

#[derive(Debug, Default)]
struct Keys {
    /// The id of the message with this key.
    ids: HashMap<Key, String>,
    /// The keys in their order, and when each came.
    order: VecDeque<(u64, Key)>,
}

/// The same key for two topics is of two messages.
type Key = (Box<str>, Box<str>);

impl Recent {
    pub(super) fn new(window: Duration) -> Recent {
        let window_ns = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        Recent { window_ns, keys: Mutex::default() }
    }

    /// Publishes, unless it did for this key: then the id of that time.
    pub(super) fn once(
        &self,
        topic: &str,
        key: &str,
        now: u64,
        publish: impl FnOnce() -> Result<String, Problem>,
    ) -> Result<String, Problem> {
        // Held while it publishes, so that of two requests at once one is the repeated one.
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.forget(now.saturating_sub(self.window_ns), MAX_KEYS);
        let key: Key = (topic.into(), key.into());
        if let Some(id) = keys.ids.get(&key) {
            return Ok(id.clone());
        }
        let id = publish()?;
        keys.forget(0, MAX_KEYS - 1);
        keys.order.push_back((now, key.clone()));
        keys.ids.insert(key, id.clone());
        Ok(id)
    }
}

impl Keys {
    /// Forgets those from before this time, and the oldest until this many are left.
    fn forget(&mut self, before: u64, most: usize) {
        while let Some((came, _)) = self.order.front()
            && (*came < before || self.order.len() > most)
            && let Some((_, key)) = self.order.pop_front()
        {
            self.ids.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SECOND;

    #[test]
    fn a_key_gives_the_same_id_within_its_window_and_topic() {
        let recent = Recent::new(Duration::from_secs(120));
        let once = |topic, key: &str, seconds: u64, id: &str| {
            recent.once(topic, key, seconds * SECOND, || Ok(id.into())).expect("published")
        };
        assert_eq!(once("t", "k", 0, "1"), "1");
        assert_eq!(once("t", "k", 120, "2"), "1");
        assert_eq!(once("u", "k", 120, "3"), "3");
        assert_eq!(once("t", "k", 121, "4"), "4");
        assert_eq!(once("t", "k", 240, "5"), "4");
    }

    #[test]
    fn a_message_that_was_refused_is_not_remembered() {
        let recent = Recent::new(Duration::from_secs(120));
        assert!(recent.once("t", "k", 0, || Err(Problem::full("topics", 1))).is_err());
        assert_eq!(recent.once("t", "k", 0, || Ok("1".into())), Ok("1".into()));
    }

    #[test]
    fn the_oldest_keys_go_when_there_are_too_many() {
        let recent = Recent::new(Duration::from_secs(120));
        let once = |key: usize, id: &str| {
            recent.once("t", &key.to_string(), 0, || Ok(id.into())).expect("published")
        };
        for key in 0..=MAX_KEYS {
            once(key, "first");
        }
        assert_eq!(once(1, "again"), "first");
        assert_eq!(once(0, "again"), "again");
        assert_eq!(recent.keys.lock().expect("whole").ids.len(), MAX_KEYS);
    }
}
