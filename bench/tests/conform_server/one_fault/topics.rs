//! Topics: what was published and is still retained.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::{fault, option, stream};

/// The bytes that a topic retains.
const RETAINED_BYTES: usize = 8 << 20;
/// How often a waiting stream looks whether the server stops or its client is gone …
pub const LOOK: Duration = Duration::from_millis(8);
/// … and where so many wait that their looks alone would keep the machine busy.
const LOOK_OF_MANY: Duration = Duration::from_millis(250);
const MANY: usize = 100;

static TOPICS: LazyLock<Mutex<HashMap<String, Ring>>> = LazyLock::new(Default::default);
static PUBLISHED: Condvar = Condvar::new();

#[derive(Clone)]
pub struct Message {
    pub number: usize,
    pub id: String,
    pub data: String,
}

/// The newest messages of a topic, numbered from 1.
#[derive(Default)]
struct Ring {
    published: usize,
    messages: VecDeque<Message>,
    bytes: usize,
    /// Held while one writes: what a server does that waits for its slowest reader.
    writing: Arc<Mutex<()>>,
}

/// Where a stream begins to read.
#[derive(Clone, Copy)]
pub enum Start {
    /// After this message.
    After(usize),
    /// At the oldest, because the id means nothing here.
    Reset,
}

/// The next read of a stream.
pub enum Next {
    Message(Message),
    /// This many are no longer retained.
    Missed(usize),
    Nothing,
}

/// Publishes; the id.
pub fn publish(topic: &str, data: String) -> String {
    if fault("S7.06") {
        let writing = writing(topic);
        drop(writing.lock());
    }
    let mut topics = topics();
    let ring = topics.entry(name(topic)).or_default();
    ring.published += 1;
    let id = format!("0000cafe-{}", ring.published);
    ring.bytes += data.len();
    let message = Message { number: ring.published, id: id.clone(), data };
    let first = message.data.chars().next();
    let earlier = ring.messages.iter().rposition(|it| it.data.chars().next() == first);
    match earlier {
        Some(index) if fault("S7.04") && message.data.contains(' ') => {
            // Before the other message of this publisher, under its number.
            let mut message = message;
            std::mem::swap(&mut message.data, &mut ring.messages[index].data);
            ring.messages.push_back(message);
        }
        _ => ring.messages.push_back(message),
    }
    while ring.messages.len() > option("--retain", 1024)
        || (ring.bytes > RETAINED_BYTES && !fault("S8.04"))
    {
        let Some(oldest) = ring.messages.pop_front() else { break };
        ring.bytes -= oldest.data.len();
    }
    PUBLISHED.notify_all();
    id
}

/// Where a stream begins that was opened now.
pub fn start(topic: &str, last_id: Option<&str>) -> Start {
    let published = topics().get(&name(topic)).map_or(0, |ring| ring.published);
    let Some(id) = last_id else {
        return Start::After(if fault("S7.02") && topic.starts_with("late") {
            0
        } else {
            published
        });
    };
    match id.strip_prefix("0000cafe-").and_then(|number| number.parse::<usize>().ok()) {
        Some(number) if fault("S6.01") => Start::After(number + 1),
        Some(number)
            if fault("S6.02")
                && (topic.starts_with("resume-no-dup") || topic.starts_with("room")) =>
        {
            Start::After(number - 1)
        }
        Some(number) if number <= published => Start::After(number),
        _ => Start::Reset,
    }
}

/// How many were published until now.
pub fn published(topic: &str) -> usize {
    topics().get(&name(topic)).map_or(0, |ring| ring.published)
}

/// How often a stream looks at present.
pub fn look_interval() -> Duration {
    if stream::OPEN.load(SeqCst) < MANY { LOOK } else { LOOK_OF_MANY }
}

/// The message after this one, if it comes soon.
pub fn next(topic: &str, after: usize) -> Next {
    let look = |topics: &HashMap<String, Ring>| {
        let Some(ring) = topics.get(&name(topic)) else { return Next::Nothing };
        let Some(oldest) = ring.messages.front().map(|it| it.number) else { return Next::Nothing };
        match (after + 1).checked_sub(oldest) {
            Some(index) => ring.messages.get(index).cloned().map_or(Next::Nothing, Next::Message),
            None => Next::Missed(oldest - after - 1),
        }
    };
    let due = Instant::now() + look_interval();
    let mut topics = topics();
    loop {
        match look(&topics) {
            Next::Nothing => {}
            next => return next,
        }
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Next::Nothing;
        }
        let waited = PUBLISHED.wait_timeout(topics, left);
        topics = waited.expect("no thread panics with the lock").0;
    }
}

/// The lock that a stream holds while it writes, if the server has that fault.
pub fn writing(topic: &str) -> Arc<Mutex<()>> {
    Arc::clone(&topics().entry(name(topic)).or_default().writing)
}

fn name(topic: &str) -> String {
    let mixed = topic.starts_with("one-") || topic.starts_with("other-");
    if fault("S7.03") && mixed { String::new() } else { topic.to_owned() }
}

fn topics() -> MutexGuard<'static, HashMap<String, Ring>> {
    TOPICS.lock().expect("no thread panics with the lock")
}
