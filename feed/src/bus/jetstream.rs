//! Topics on NATS JetStream: one stream for all of them, one reader of it in each node.
//!
//! - An id is `<epoch>-<sequence number in the stream>`. The epoch comes from the time at which the
//!   stream was created, so all nodes give the same ids, and a stream that was made anew gives others.
//! - A node reads the whole stream with one consumer ([`session`]) into its rings. Since that is all
//!   topics, its sequence numbers are consecutive, and a hole in them is a loss: the stream has removed
//!   messages that this node never saw. One consumer a topic could not know that.
//! - A reader whose id is older than the ring reads on from the stream first ([`resume`]).
//! - The runtime of the client has a thread of its own, in every server: so it is the same code in
//!   all, with and without a runtime, and no slow handler holds up the consumer's heartbeats.

mod resume;
mod session;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc as std_mpsc};
use std::time::Duration;
use std::{fs, io, thread};

use async_nats::jetstream::context::{Context, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::Stream;
use async_nats::{ConnectOptions, ServerAddr};
use percent_encoding::percent_decode_str;
use tokio::runtime::{self, Handle};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::IdempotencyKey;
use super::rings::Rings;
use crate::event::Event;
use crate::problem::Problem;
use crate::settings::Settings;
use crate::source::Source;

/// The time for a broker to acknowledge a message: an election of a new leader takes two to four
/// seconds.
const ACKNOWLEDGE: Duration = Duration::from_secs(5);

/// The wait before a message is sent again that no broker took, while they elect a leader.
const NO_LEADER: Duration = Duration::from_millis(100);

/// Messages that wait for their acknowledgement at most, each of 64 KiB: with one more a broker is
/// too slow.
const MAX_UNACKNOWLEDGED: usize = 1024;

/// The time that a server's start waits to learn whether the stream fits.
const OPEN: Duration = Duration::from_secs(3);

/// The topics of this server, on a broker.
#[derive(Debug)]
pub struct JetStream {
    node: Arc<Node>,
    runtime: Handle,
}

/// The part that handlers and the client's thread share.
#[derive(Debug)]
struct Node {
    rings: Rings,
    plan: Plan,
    /// The epoch of the events in the rings; none before the first are there.
    epoch: Mutex<Option<Arc<str>>>,
    /// The way to the stream, while this node is up to date with it.
    link: watch::Sender<Option<Link>>,
    /// The number of the newest event in the rings.
    newest: watch::Sender<u64>,
    unacknowledged: Semaphore,
    /// Readers of old events from the stream at once.
    resuming: Semaphore,
    counts: Counts,
}

/// The settings, as the bus needs them.
#[derive(Debug)]
struct Plan {
    servers: Vec<ServerAddr>,
    login: Option<Login>,
    name: String,
    stream: async_nats::jetstream::stream::Config,
    retain: u64,
}

enum Login {
    User(String, String),
    Token(String),
    /// The text of a file with a JWT and the seed of its key.
    Credentials(String),
}

/// It is secret.
impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login")
    }
}

/// The way to the stream, for as long as one connection lasts.
#[derive(Debug, Clone)]
struct Link {
    epoch: Arc<str>,
    context: Context,
    stream: Stream,
}

#[derive(Debug, Default)]
struct Counts {
    received: AtomicU64,
    acknowledged: AtomicU64,
    refused: AtomicU64,
    lost_links: AtomicU64,
    holes: AtomicU64,
    resumed: AtomicU64,
}

impl JetStream {
    /// Connects, and goes on connecting in a thread of its own.
    ///
    /// # Errors
    /// If the stream does not fit the settings, or the credentials cannot be read. A broker that is
    /// away is no error.
    pub(super) fn open(settings: &Settings, urls: &[String]) -> io::Result<JetStream> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let node = Arc::new(Node {
            rings: Rings::new(settings),
            plan: Plan::new(settings, urls)?,
            epoch: Mutex::default(),
            link: watch::Sender::default(),
            newest: watch::Sender::default(),
            unacknowledged: Semaphore::new(MAX_UNACKNOWLEDGED),
            resuming: Semaphore::new(resume::AT_ONCE),
            counts: Counts::default(),
        });
        let jetstream = JetStream { node: Arc::clone(&node), runtime: runtime.handle().clone() };
        let (first, opened) = std_mpsc::sync_channel(1);
        thread::Builder::new()
            .name("bus".into())
            .spawn(move || runtime.block_on(session::forever(&node, &first)))?;
        match opened.recv_timeout(OPEN) {
            Ok(Err(misfit)) => Err(io::Error::other(misfit)),
            // Later it is no reason to end any more: then it is logged, and the node is not ready.
            Ok(Ok(())) | Err(_) => Ok(jetstream),
        }
    }

    pub(super) async fn publish(
        &self,
        topic: &str,
        message: String,
        key: Option<IdempotencyKey>,
    ) -> Result<String, Problem> {
        let node = Arc::clone(&self.node);
        let subject = subject(&node.plan.name, topic);
        // The key of a stream is for all topics.
        let key = key.map(|key| format!("{topic}/{key}"));
        // On the client's runtime: a handler may run on any, or on none. And a client that hangs up
        // takes back no message that is on its way.
        let published = self.runtime.spawn(async move {
            let published = node.publish(subject, message, key).await;
            let Counts { acknowledged, refused, .. } = &node.counts;
            if published.is_ok() { acknowledged } else { refused }.fetch_add(1, Relaxed);
            published
        });
        published.await.unwrap_or_else(|_| Err(Problem::internal()))
    }

    pub(super) fn subscribe(
        &self,
        topic: &str,
        last_event_id: Option<&str>,
        now: u64,
    ) -> Result<Box<dyn Source>, Problem> {
        let node = &self.node;
        {
            let epoch = node.epoch();
            let after = match (&*epoch, last_event_id) {
                (Some(_), None) => {
                    return Ok(Box::new(node.rings.subscribe(topic, None, now)?));
                }
                (Some(epoch), Some(id)) => number_of(id, epoch),
                (None, _) => None,
            };
            if let Some(after) = after
                && let Ok(joined) = node.rings.join(topic, after, now)?
            {
                return Ok(Box::new(joined));
            }
        }
        Ok(Box::new(resume::start(&self.runtime, node, topic, last_event_id)))
    }

    pub(super) fn retained_bytes(&self) -> usize {
        self.node.rings.retained_bytes()
    }

    pub(super) fn ready(&self) -> Result<(), Problem> {
        self.node.link().map(|_| ())
    }

    pub(super) fn prometheus(&self) -> String {
        let Counts { received, acknowledged, refused, lost_links, holes, resumed } =
            &self.node.counts;
        let mut text = String::with_capacity(1024);
        let mut metric = |name: &str, kind: &str, help: &str, value: u64| {
            text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"));
        };
        let (gauge, counter) = ("gauge", "counter");
        let ready = u64::from(self.ready().is_ok());
        let newest = *self.node.newest.borrow();
        metric("sse_bus_ready", gauge, "1 if this node is up to date with the stream.", ready);
        metric("sse_bus_sequence", gauge, "The newest event that this node has seen.", newest);
        for (name, help, count) in [
            ("sse_bus_received_total", "Events from the stream.", received),
            ("sse_bus_acknowledged_total", "Messages that the broker acknowledged.", acknowledged),
            ("sse_bus_refused_total", "Messages answered with 503.", refused),
            ("sse_bus_lost_links_total", "Ends of the way to the stream.", lost_links),
            ("sse_bus_holes_total", "Events removed from the stream before seen here.", holes),
            ("sse_bus_resumed_total", "Readers that began with the stream, not the ring.", resumed),
        ] {
            metric(name, counter, help, count.load(Relaxed));
        }
        text
    }
}

impl Node {
    fn epoch(&self) -> MutexGuard<'_, Option<Arc<str>>> {
        // No code that can panic runs under this lock, so a poisoned one is still whole.
        self.epoch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn link(&self) -> Result<Link, Problem> {
        let link = self.link.borrow().clone();
        link.ok_or_else(|| Problem::unavailable("the bus is away; ask again later"))
    }

    async fn publish(
        &self,
        subject: String,
        message: String,
        key: Option<String>,
    ) -> Result<String, Problem> {
        let Ok(_place) = self.unacknowledged.try_acquire() else {
            return Err(Problem::full("unacknowledged messages", MAX_UNACKNOWLEDGED));
        };
        let mut links = self.link.subscribe();
        links.borrow_and_update();
        let Link { epoch, context, .. } = self.link()?;
        let mut publish = PublishMessage::build().payload(message.into());
        if let Some(key) = key {
            publish = publish.message_id(key);
        }
        let acknowledged = async {
            loop {
                let sent = context.send_publish(subject.clone(), publish.clone()).await;
                let sent = match sent {
                    Ok(acknowledgement) => acknowledgement.await,
                    Err(error) => Err(error),
                };
                match sent {
                    Ok(acknowledgement) => return Ok(acknowledgement.sequence),
                    // No broker took it, so it is not in the stream and may be sent again.
                    Err(error) if error.kind() == PublishErrorKind::StreamNotFound => {
                        sleep(NO_LEADER).await;
                    }
                    Err(error) => return Err(error.to_string()),
                }
            }
        };
        let unknown = "the bus did not acknowledge the message: send it again, with the same \
                       Idempotency-Key if it must not come twice";
        tokio::select! {
            acknowledged = timeout(ACKNOWLEDGE, acknowledged) => match acknowledged {
                Ok(Ok(number)) => Ok(format!("{epoch}-{number}")),
                Ok(Err(reason)) => Err(Problem::unavailable(format!("{unknown} ({reason})"))),
                Err(_) => Err(Problem::unavailable(unknown)),
            },
            _ = links.changed() => Err(Problem::unavailable(unknown)),
        }
    }
}

impl Plan {
    fn new(settings: &Settings, urls: &[String]) -> io::Result<Plan> {
        let name = settings.bus_stream.clone();
        let servers: Result<Vec<ServerAddr>, _> = urls.iter().map(|url| url.parse()).collect();
        let servers = servers.map_err(|error| io::Error::other(format!("--bus: {error}")))?;
        let in_file = settings.bus_credentials.as_deref().map(Login::read).transpose()?;
        Ok(Plan {
            login: in_file.or_else(|| servers.iter().find_map(Login::in_url)),
            servers,
            stream: session::configuration(settings, &name),
            name,
            retain: settings.retain.into(),
        })
    }
}

impl Login {
    /// async-nats does not take it from there by itself.
    fn in_url(server: &ServerAddr) -> Option<Login> {
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let user = decoded(server.username()?);
        Some(match server.password() {
            Some(password) => Login::User(user, decoded(password)),
            None => Login::Token(user),
        })
    }

    fn read(file: &Path) -> io::Result<Login> {
        let refused =
            |why: String| io::Error::other(format!("--bus-credentials {}: {why}", file.display()));
        let text = fs::read_to_string(file).map_err(|error| refused(error.to_string()))?;
        if text.contains("-----BEGIN NATS USER JWT-----") {
            // The words of the error would have a part of the file.
            let parsed = ConnectOptions::new().credentials(&text);
            let why = "no whole JWT and seed of a user, as nsc generate creds writes them";
            return parsed.map(|_| Login::Credentials(text)).map_err(|_| refused(why.into()));
        }
        let line = text.trim();
        if line.is_empty() || line.contains(char::is_whitespace) {
            let why = "neither one line with user:password or a token, nor a file with a JWT";
            return Err(refused(why.into()));
        }
        Ok(match line.split_once(':') {
            Some((user, password)) => Login::User(user.into(), password.into()),
            None => Login::Token(line.into()),
        })
    }
}

/// The subject of a topic. Of the bytes that a topic's name may have, only the dot means something in
/// a subject: it parts words, and `a..b` would be none. A slash, which no topic has, stands for it. So
/// two topics never have one subject, and none is a wildcard, and the subject can be read.
fn subject(stream: &str, topic: &str) -> String {
    format!("{stream}.{}", topic.replace('.', "/"))
}

/// The topic of a subject; none if the message is not from a server of ours.
fn topic_of(stream: &str, subject: &str) -> Option<String> {
    let topic = subject.strip_prefix(stream)?.strip_prefix('.')?;
    let topic = (!topic.contains('.')).then(|| topic.replace('/', "."))?;
    crate::contract::check_topic(&topic).is_ok().then_some(topic)
}

/// The number in an id of this epoch.
fn number_of(id: &str, epoch: &str) -> Option<u64> {
    let digits = id.strip_prefix(epoch)?.strip_prefix('-')?;
    // `parse` would take a sign too.
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// A message of the stream as an event.
fn event(epoch: &str, number: u64, payload: &[u8]) -> Event {
    let id = format!("{epoch}-{number}");
    Event::data(String::from_utf8_lossy(payload)).with_event("message").with_id(id)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_topic_has_a_subject_of_its_own_and_comes_back_from_it() {
        let topics = ["news", "News", "a.b", "a-b", "a_b", ".", "..", "a..b", ".a", "a.", "sse"];
        let subjects: HashSet<_> = topics.map(|topic| subject("sse", topic)).into();
        assert_eq!(subjects.len(), topics.len());
        for (topic, subject) in topics.map(|topic| (topic, subject("sse", topic))) {
            let words: Vec<_> = subject.split('.').collect();
            assert!(words.len() == 2 && words.iter().all(|word| !word.is_empty()), "{subject}");
            assert!(!subject.contains(['*', '>', ' ']), "{subject}");
            assert_eq!(topic_of("sse", &subject).as_deref(), Some(topic));
        }
        for foreign in ["sse", "sse.", "sse.a.b", "other.a", "ssenews", "sse.a b", "sse.ä"] {
            assert_eq!(topic_of("sse", foreign), None, "{foreign}");
        }
    }

    #[test]
    fn an_id_is_a_number_of_this_epoch() {
        assert_eq!(number_of("e-7", "e"), Some(7));
        for foreign in ["x-7", "e-", "e-+7", "e7", "7", "e-99999999999999999999", "e-7-8"] {
            assert_eq!(number_of(foreign, "e"), None, "{foreign}");
        }
    }

    #[test]
    fn credentials_are_one_line() {
        let file = std::env::temp_dir().join(format!("sse-credentials-{}", std::process::id()));
        let read = |text: &str| {
            fs::write(&file, text).expect("a temporary file");
            Login::read(&file)
        };
        assert!(
            matches!(read("a:b:c\n"), Ok(Login::User(user, word)) if user == "a" && word == "b:c")
        );
        assert!(matches!(read("secret"), Ok(Login::Token(token)) if token == "secret"));
        let error = read("-----BEGIN NATS USER JWT-----\nx\n").expect_err("a JWT").to_string();
        assert!(error.contains("--bus-credentials") && error.contains("JWT"), "{error}");
        fs::remove_file(&file).expect("it is there");
        assert!(Login::read(&file).is_err());
    }
}
