//! The one reader of the stream, and what it does when the broker is away, hangs, or has another
//! stream than before.
//!
//! Each connection begins anew: async-nats would keep messages that are published while the broker is
//! away and send them later, and would go on reading in a stream that was made anew.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::context::{
    GetStreamError, GetStreamErrorKind, RequestError, RequestErrorKind,
};
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Info, RetentionPolicy, StorageType, Stream,
};
use async_nats::jetstream::{self, Context, ErrorCode};
use async_nats::{Client, ConnectOptions, Event as Broker};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::{Link, Login, Node, event, topic_of};
use crate::clock;
use crate::contract::MAX_MESSAGE_BYTES;
use crate::settings::Settings;

/// The time to connect to one broker, and for it to answer a question.
const ANSWER: Duration = Duration::from_secs(3);

/// The longest wait between two attempts to connect. All nodes come back within it, at random times.
const AGAIN_MS: std::ops::Range<u64> = 200..1000;

/// A broker says that often that it is there. When it was silent for twice this long, it is taken for
/// hung.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// Messages that are on their way to this node at most.
const BATCH: usize = 256;

/// The broker forgets the consumer of a node that is gone for so long.
const INACTIVE: Duration = Duration::from_secs(30);

/// The wait between two looks at a stream that seems to have lost its end, and their number.
pub(super) const SETTLING: Duration = Duration::from_millis(500);
pub(super) const SETTLING_LOOKS: u32 = 60;

/// Why there is no way to the stream.
enum Away {
    /// It comes back, perhaps.
    Lost(String),
    /// An operator has to act.
    Misfit(String),
}

impl<E: std::error::Error> From<E> for Away {
    fn from(error: E) -> Away {
        Away::Lost(words(&error))
    }
}

/// An error with its causes.
fn words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Reads the stream, again and again. `first` gets the outcome of the first attempt.
pub(super) async fn forever(node: &Arc<Node>, first: &SyncSender<Result<(), String>>) {
    let mut said = String::new();
    loop {
        let Err(away) = session(node, first).await;
        if node.link.send_replace(None).is_some() {
            node.counts.lost_links.fetch_add(1, Relaxed);
        }
        let why = match away {
            Away::Lost(why) => {
                let _ = first.try_send(Ok(()));
                why
            }
            Away::Misfit(why) => {
                let _ = first.try_send(Err(why.clone()));
                why
            }
        };
        // Once for each reason, and not for each attempt.
        if why != said {
            eprintln!("bus: {}", why.replace('\n', " "));
            said = why;
        }
        sleep(Duration::from_millis(fastrand::u64(AGAIN_MS))).await;
    }
}

async fn session(
    node: &Arc<Node>,
    first: &SyncSender<Result<(), String>>,
) -> Result<Infallible, Away> {
    let (client, mut events) = connect(node).await?;
    let mut context = jetstream::new(client);
    context.set_timeout(ANSWER);
    let stream = open(&context, &node.plan.stream).await?;
    let (epoch, info) = settled(node, &stream).await?;
    let is_first = begin(node, &epoch, &info);
    let config = pull::Config {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: node.rings.newest() + 1 },
        ack_policy: AckPolicy::None,
        inactive_threshold: INACTIVE,
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await?;
    let mut messages =
        consumer.stream().max_messages_per_batch(BATCH).heartbeat(HEARTBEAT).messages().await?;
    // The consumer may be at a broker that does not have all yet, and says that none is pending.
    let last = info.state.last_sequence;
    let mut behind = node.rings.newest() < last;
    let has_last = behind && stream.get_raw_message(last).await.is_ok();
    behind &= has_last || consumer.cached_info().num_pending > 0;
    let mut delivered = 0;
    loop {
        if !behind && node.link.borrow().is_none() {
            let (context, stream) = (context.clone(), stream.clone());
            *node.epoch() = Some(Arc::clone(&epoch));
            node.link.send_replace(Some(Link { epoch: Arc::clone(&epoch), context, stream }));
            let _ = first.try_send(Ok(()));
            eprintln!("bus: ready, stream {}, epoch {epoch}", node.plan.name);
        }
        let message = tokio::select! {
            event = events.recv() => match event {
                Some(Broker::Disconnected | Broker::Closed) | None => {
                    return Err(Away::Lost("the broker has closed the connection".into()));
                }
                Some(_) => continue,
            },
            message = messages.next() => match message {
                Some(message) => message?,
                None => return Err(Away::Lost("the broker has ended the consumer".into())),
            },
        };
        let place = message.info().map_err(|error| Away::Lost(error.to_string()))?;
        delivered += 1;
        if place.consumer_sequence != delivered {
            return Err(Away::Lost("a message was lost on the way from the broker".into()));
        }
        let number = place.stream_sequence;
        let readers_are_here = !is_first || !behind;
        behind &= number < last && (has_last || place.pending > 0);
        if number <= node.rings.newest() {
            // A broker that does not have all yet begins with what it gets next (2.9.10).
            continue;
        }
        if number > node.rings.newest() + 1 {
            // All topics come through here, so what is missing was removed from the stream.
            skip_to(node, number - 1, readers_are_here);
        }
        node.counts.received.fetch_add(1, Relaxed);
        match topic_of(&node.plan.name, &message.subject) {
            Some(topic) => {
                let event = event(&epoch, number, &message.payload);
                node.rings.append(&topic, number, event, clock::now().monotonic);
            }
            None => node.rings.pass(number),
        }
        node.newest.send_replace(number);
    }
}

/// The stream's epoch and state. A broker that has just become the leader may not show the newest
/// messages for a moment, and they are not lost.
async fn settled(node: &Node, stream: &Stream) -> Result<(Arc<str>, Info), Away> {
    let mut looks = 0;
    loop {
        let info = stream.get_info().await?;
        let epoch: Arc<str> = format!("{:x}", info.created.unix_timestamp_nanos()).into();
        let is_known = node.epoch().as_ref() == Some(&epoch);
        looks += 1;
        if !is_known || info.state.last_sequence >= node.rings.newest() || looks > SETTLING_LOOKS {
            return Ok((epoch, info));
        }
        sleep(SETTLING).await;
    }
}

/// Where to begin in this stream. True if the node reads it for the first time: its readers wait
/// until it is up to date.
fn begin(node: &Node, epoch: &Arc<str>, info: &Info) -> bool {
    let (first, last) = (info.state.first_sequence.max(1), info.state.last_sequence);
    let now = clock::now().monotonic;
    let mut known = node.epoch();
    let Some(known) = known.as_mut() else {
        // The newest part of the stream, so that most of those who come back find all in the rings.
        node.rings.begin_at((first - 1).max(last.saturating_sub(node.plan.retain)), now);
        node.newest.send_replace(node.rings.newest());
        return true;
    };
    let newest = node.rings.newest();
    if known != epoch {
        // Made anew: all of it is new to the readers.
        node.rings.begin_at(first - 1, now);
        *known = Arc::clone(epoch);
    } else if last < newest {
        // A broker that has lost the end of its store gives the same numbers to other messages.
        node.rings.begin_at(last, now);
    } else if newest < first - 1 {
        skip_to(node, first - 1, true);
    }
    node.newest.send_replace(node.rings.newest());
    false
}

/// Passes over what was removed from the stream before this node has seen it.
fn skip_to(node: &Node, number: u64, has_readers: bool) {
    let missing = number.saturating_sub(node.rings.newest());
    node.rings.skip_to(number, has_readers);
    node.newest.send_replace(number);
    if has_readers {
        node.counts.holes.fetch_add(missing, Relaxed);
    }
}

async fn connect(node: &Node) -> Result<(Client, mpsc::UnboundedReceiver<Broker>), Away> {
    let (sender, events) = mpsc::unbounded_channel();
    let options = ConnectOptions::new()
        .name("sse")
        .connection_timeout(ANSWER)
        .request_timeout(Some(ANSWER))
        .event_callback(move |event| {
            let _ = sender.send(event);
            async {}
        });
    let options = match &node.plan.login {
        None => options,
        Some(Login::User(user, password)) => {
            options.user_and_password(user.clone(), password.clone())
        }
        Some(Login::Token(token)) => options.token(token.clone()),
        Some(Login::Credentials(text)) => options.credentials(text)?,
    };
    let servers = &node.plan.servers;
    let limit = ANSWER * u32::try_from(servers.len()).unwrap_or(u32::MAX);
    let why = match timeout(limit, options.connect(servers.as_slice())).await {
        Ok(Ok(client)) => return Ok((client, events)),
        Ok(Err(error)) => words(&error),
        Err(_) => "no broker answers".to_owned(),
    };
    // Not the URLs: they may have a password.
    let places: Vec<_> = servers.iter().map(|it| format!("{}:{}", it.host(), it.port())).collect();
    Err(Away::Lost(format!("cannot connect to {}: {why}", places.join(", "))))
}

/// The stream, made if there is none.
async fn open(context: &Context, wanted: &Config) -> Result<Stream, Away> {
    let name = &wanted.name;
    let found = match context.get_stream(name).await {
        Ok(stream) => stream,
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(error)
                if error.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                context.create_stream(wanted.clone()).await?
            }
            _ if is_without_jetstream(&error) => {
                let why = "the broker has no JetStream, or not yet: nats-server has it with -js";
                return Err(Away::Lost(why.into()));
            }
            _ => return Err(error.into()),
        },
    };
    let differences = differences(&found.cached_info().config, wanted);
    if differences.is_empty() {
        return Ok(found);
    }
    Err(Away::Misfit(format!(
        "the stream {name} does not fit the settings: {}; nats stream info {name} shows it, nats \
         stream edit {name} changes it, --bus-stream names another one",
        differences.join(", ")
    )))
}

/// Nothing listens where JetStream would.
fn is_without_jetstream(error: &GetStreamError) -> bool {
    let cause = std::error::Error::source(error).and_then(|it| it.downcast_ref::<RequestError>());
    cause.is_some_and(|it| it.kind() == RequestErrorKind::NoResponders)
}

/// The stream that these settings ask for.
pub(super) fn configuration(settings: &Settings, name: &str) -> Config {
    let max_age = Duration::from_secs(settings.bus_max_age_s);
    Config {
        name: name.into(),
        subjects: vec![format!("{name}.>")],
        max_messages_per_subject: settings.retain.into(),
        max_bytes: i64::try_from(settings.retain_total_bytes()).unwrap_or(i64::MAX),
        max_age,
        // The oldest go, so that a full stream takes new messages.
        discard: DiscardPolicy::Old,
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        num_replicas: settings.bus_replicas.into(),
        // A broker refuses a longer one than the age.
        duplicate_window: settings.idempotency_window().min(max_age),
        ..Config::default()
    }
}

/// In what a stream breaks a promise of ours, in words.
fn differences(found: &Config, wanted: &Config) -> Vec<String> {
    let mut all = Vec::new();
    let mut compare = |what: &str, setting: &str, found: String, wanted: String| {
        if found != wanted {
            let setting = if setting.is_empty() { String::new() } else { format!(" ({setting})") };
            all.push(format!("{what} is {found}, not {wanted}{setting}"));
        }
    };
    let text = |config: &Config| {
        [
            ("subjects", "", format!("{:?}", config.subjects)),
            ("retention", "", format!("{:?}", config.retention)),
            ("discard", "", format!("{:?}", config.discard)),
            ("max_msgs_per_subject", "--retain", config.max_messages_per_subject.to_string()),
            ("max_bytes", "--retain-total-mb", config.max_bytes.to_string()),
            ("max_age", "--bus-max-age-s", format!("{:?}", config.max_age)),
            ("duplicate_window", "--idempotency-s", format!("{:?}", config.duplicate_window)),
            ("num_replicas", "--bus-replicas", config.num_replicas.to_string()),
            ("no_ack", "", config.no_ack.to_string()),
            ("sealed", "", config.sealed.to_string()),
        ]
    };
    for ((what, setting, found), (_, _, wanted)) in text(found).into_iter().zip(text(wanted)) {
        compare(what, setting, found, wanted);
    }
    let takes_all = |limit: i64| limit <= 0 || limit >= MAX_MESSAGE_BYTES as i64;
    if !takes_all(found.max_message_size.into()) {
        let (found, wanted) = (found.max_message_size, MAX_MESSAGE_BYTES);
        all.push(format!("max_msg_size is {found}, below {wanted}"));
    }
    if found.max_messages > 0 {
        all.push(format!("max_msgs is {}, not unlimited", found.max_messages));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_fits_as_it_was_made_and_a_difference_is_named_with_its_setting() {
        let settings = Settings::for_tests();
        let wanted = configuration(&settings, "sse");
        let mut found = Config { max_messages: -1, max_consumers: -1, ..wanted.clone() };
        found.max_message_size = -1;
        assert_eq!(differences(&found, &wanted), [""; 0]);
        found.max_messages_per_subject = 10;
        found.max_message_size = 1000;
        found.retention = RetentionPolicy::WorkQueue;
        let all = differences(&found, &wanted).join(", ");
        assert_eq!(
            all,
            "retention is WorkQueue, not Limits, max_msgs_per_subject is 10, not 1024 (--retain), \
             max_msg_size is 1000, below 65536"
        );
    }

    #[test]
    fn the_window_of_keys_is_no_longer_than_the_age() {
        let settings = Settings { bus_max_age_s: 60, ..Settings::for_tests() };
        assert_eq!(configuration(&settings, "s").duplicate_window, Duration::from_secs(60));
    }
}
