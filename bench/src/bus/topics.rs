//! How much memory does a node take, and how much more for each topic that has an event?

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};

use super::publishing::{Publisher, subscribe, text};
use super::stage::Stage;
use super::{Measured, Task};

const MIB: f64 = 1024.0 * 1024.0;
const KIB: f64 = 1024.0;

/// Measures, on a node that was just started: one event in each topic.
pub(super) fn window(stage: &Stage, topics: u64) -> Result<Measured> {
    let address = stage.nodes()[0].address();
    let mut publisher = Publisher::connect(address)?;
    // The last one has a reader: when the event is there, all are, since a node has one consumer for all topics.
    let mut last = subscribe(address, &topic(topics - 1), None)?;
    let before = stage.memory()?;
    let publish = |it| publisher.publish(&topic(it), &text(it));
    let ids: Vec<String> = (0..topics).map(publish).collect::<Result<_>>()?;
    let vain = match last.next_event() {
        Ok(Some(_)) => None,
        Ok(None) => Some("the stream of the last topic has ended".to_owned()),
        Err(error @ wire::Error::Timeout { .. }) => Some(format!("the last topic: {error}")),
        Err(error) => return Err(error.into()),
    };
    let after = stage.memory()?;
    let task = Task::Topics { topics };
    let each = |after: u64, before: u64| (after as f64 - before as f64) / KIB / topics as f64;
    let mut figures = vec![
        ("a node without topics: MiB".to_owned(), before.node_bytes as f64 / MIB),
        (task.label("node, KiB each"), each(after.node_bytes, before.node_bytes)),
    ];
    if let (Some(before), Some(after)) = (before.broker_bytes, after.broker_bytes) {
        figures.push((task.label("broker, KiB each"), each(after, before)));
    }
    let lost = || (0..).zip(&ids).find_map(|(it, id)| missing(address, it, id).err());
    let void = vain.or_else(|| lost().map(|error| format!("{error:#}")));
    Ok(Measured { figures, load_share: 0.0, void })
}

fn topic(number: u64) -> String {
    format!("topic-{number}")
}

/// An error if a reader that resumes before the event of a topic does not get it.
fn missing(address: SocketAddr, number: u64, id: &str) -> Result<()> {
    let (epoch, place) = id.rsplit_once('-').context("an id without a dash")?;
    let before = place.parse::<u64>().ok().and_then(|it| it.checked_sub(1));
    let before = before.with_context(|| format!("the id {id}"))?;
    let mut stream = subscribe(address, &topic(number), Some(&format!("{epoch}-{before}")))?;
    match stream.next_event()? {
        Some(event) if event.id == id && event.data == text(number) => Ok(()),
        event => bail!("the event of {} is lost: {event:.80?}", topic(number)),
    }
}
