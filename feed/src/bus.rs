//! Where topics live: in this process, or on a broker that several nodes share.
//!
//! The bus in memory counts the messages of each topic. On NATS JetStream (feature `nats`) all topics
//! are one stream, whose sequence numbers all nodes see alike, so an id means the same event on each
//! of them; a node keeps its newest part in the same rings.

#[cfg(feature = "nats")]
mod jetstream;
mod recent;
mod rings;

use std::fmt;
use std::io;
use std::str::FromStr;

use self::recent::Recent;
use self::rings::Rings;
pub use self::rings::{MAX_TOPICS, RETAIN_BYTES};
use crate::problem::Problem;
use crate::settings::Settings;
use crate::source::Source;

/// Which bus to use, as `--bus` names it.
#[derive(Clone, PartialEq, Eq)]
pub enum BusUrl {
    /// In this process; gone when it ends.
    Memory,
    /// The servers of one NATS cluster, each `nats://` or `tls://`.
    Nats(Vec<String>),
}

/// A URL of NATS may have a password, which belongs into no log.
impl fmt::Debug for BusUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, BusUrl::Memory) { "Memory" } else { "Nats" })
    }
}

impl FromStr for BusUrl {
    type Err = String;

    fn from_str(url: &str) -> Result<BusUrl, String> {
        if url == "memory" {
            return Ok(BusUrl::Memory);
        }
        let urls: Vec<String> = url.split(',').map(|url| url.trim().to_owned()).collect();
        let is_nats = |url: &String| {
            let rest = url.strip_prefix("nats://").or_else(|| url.strip_prefix("tls://"));
            rest.is_some_and(|rest| !rest.is_empty())
        };
        if !urls.iter().all(is_nats) {
            return Err("a bus is memory, or nats://HOST:PORT, or tls://HOST:PORT; several \
                        servers of one cluster with commas between them"
                .into());
        }
        if cfg!(feature = "nats") {
            return Ok(BusUrl::Nats(urls));
        }
        Err("this build knows the bus memory alone: for NATS, build it with --features nats".into())
    }
}

/// The key of a publisher for one message, so that it may send it again: `Idempotency-Key`.
///
/// Source: [draft-ietf-httpapi-idempotency-key-header](https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/).
pub type IdempotencyKey = Box<str>;

/// The topics of this server.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a server has one, and mostly the large one")]
pub enum Bus {
    /// In this process.
    Memory(Memory),
    /// On a broker.
    #[cfg(feature = "nats")]
    JetStream(jetstream::JetStream),
}

impl Bus {
    /// The bus of these settings. With a broker that is away it opens too, and is not ready.
    ///
    /// # Errors
    /// If the broker's stream does not fit the settings, or a file cannot be read.
    pub fn open(settings: &Settings) -> io::Result<Bus> {
        match &settings.bus {
            BusUrl::Memory => Ok(Bus::Memory(Memory::new(settings))),
            #[cfg(feature = "nats")]
            BusUrl::Nats(urls) => Ok(Bus::JetStream(jetstream::JetStream::open(settings, urls)?)),
            #[cfg(not(feature = "nats"))]
            BusUrl::Nats(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Appends a message to a topic. Returns its id once the bus has it; with a key that it has seen,
    /// the id of then.
    ///
    /// # Errors
    /// 503 if there are [`MAX_TOPICS`] others that all have readers, or if the broker did not
    /// acknowledge the message.
    pub async fn publish(
        &self,
        topic: &str,
        message: String,
        key: Option<IdempotencyKey>,
        now: u64,
    ) -> Result<String, Problem> {
        match self {
            Bus::Memory(memory) => memory.publish(topic, message, key, now),
            #[cfg(feature = "nats")]
            Bus::JetStream(jetstream) => jetstream.publish(topic, message, key).await,
        }
    }

    /// Reads a topic, from now on or from the event after the last one that was seen.
    ///
    /// # Errors
    /// 503 if there are [`MAX_TOPICS`] others that all have readers.
    pub fn subscribe(
        &self,
        topic: &str,
        last_event_id: Option<&str>,
        now: u64,
    ) -> Result<Box<dyn Source>, Problem> {
        match self {
            Bus::Memory(memory) => {
                Ok(Box::new(memory.rings.subscribe(topic, last_event_id, now)?))
            }
            #[cfg(feature = "nats")]
            Bus::JetStream(jetstream) => jetstream.subscribe(topic, last_event_id, now),
        }
    }

    /// Bytes of memory that the events of all topics take.
    pub fn retained_bytes(&self) -> usize {
        match self {
            Bus::Memory(memory) => memory.rings.retained_bytes(),
            #[cfg(feature = "nats")]
            Bus::JetStream(jetstream) => jetstream.retained_bytes(),
        }
    }

    /// Whether messages can be published and read now.
    ///
    /// # Errors
    /// 503 with the reason.
    pub fn ready(&self) -> Result<(), Problem> {
        match self {
            Bus::Memory(_) => Ok(()),
            #[cfg(feature = "nats")]
            Bus::JetStream(jetstream) => jetstream.ready(),
        }
    }

    /// The counters of a broker in the Prometheus text format.
    pub fn prometheus(&self) -> String {
        match self {
            Bus::Memory(_) => String::new(),
            #[cfg(feature = "nats")]
            Bus::JetStream(jetstream) => jetstream.prometheus(),
        }
    }
}

/// The bus in this process.
#[derive(Debug)]
pub struct Memory {
    rings: Rings,
    recent: Recent,
}

impl Memory {
    fn new(settings: &Settings) -> Memory {
        Memory { rings: Rings::new(settings), recent: Recent::new(settings.idempotency_window()) }
    }

    fn publish(
        &self,
        topic: &str,
        message: String,
        key: Option<IdempotencyKey>,
        now: u64,
    ) -> Result<String, Problem> {
        let publish = || self.rings.publish(topic, message, now);
        match key {
            None => publish(),
            Some(key) => self.recent.once(topic, &key, now, publish),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bus_is_named_by_urls() {
        assert_eq!("memory".parse(), Ok(BusUrl::Memory));
        for bad in ["", "redis://a", "nats://", "nats://a,", "nats://a,http://b"] {
            let error = bad.parse::<BusUrl>().expect_err(bad);
            assert!(error.contains("nats://HOST:PORT"), "{error}");
        }
        let cluster = "nats://user:secret@a:4222, tls://b".parse::<BusUrl>();
        if cfg!(feature = "nats") {
            let urls = vec!["nats://user:secret@a:4222".into(), "tls://b".into()];
            assert_eq!(cluster, Ok(BusUrl::Nats(urls)));
            assert!(!format!("{cluster:?}").contains("secret"));
        } else {
            assert!(cluster.expect_err("no client").contains("--features nats"));
        }
    }
}
