//! Publishers at once to one topic: each reader gets each message once, and all get one order.

use std::collections::{BTreeMap, HashMap};
use std::thread;

use fastrand::Rng;
use serde_json::{Value, json};
use wire::{Connection, Event, EventStream};

use super::target::{Running, broken};
use super::{Failure, Figures, Outcome, Size, Target};

const PUBLISHERS: usize = 8;

/// Messages of a publisher between two moments at which all have all. Those of all publishers are far
/// fewer than a topic retains, so that no reader may get a gap.
const BURST: usize = 20;

/// Filler of a message, at most.
const FILLER_BYTES: usize = 300;

/// One reader in so many leaves after a burst and comes back with the last id.
const LEAVES: usize = 4;

/// Threads that read.
const READING: usize = 2;

const TOPIC: &str = "/messages/room";

/// The ids of messages, by their data.
type Ids = HashMap<String, String>;

pub(super) fn promise(size: &Size) -> String {
    format!(
        "{PUBLISHERS} publishers, {} messages: {} readers, some of which leave and resume, get each \
         once and in the same order",
        messages(size),
        size.readers
    )
}

fn messages(size: &Size) -> usize {
    PUBLISHERS * BURST * size.bursts
}

pub(super) fn run(target: &Target) -> Outcome {
    let size = target.size;
    let running = target.start(&[])?;
    let mut rng = Rng::with_seed(target.seed);
    let publishers = (0..PUBLISHERS).map(|_| running.connect());
    let mut publishers = publishers.collect::<wire::Result<Vec<_>>>()?;
    let readers = (0..size.readers).map(|_| running.open(TOPIC));
    let mut readers = readers.collect::<wire::Result<Vec<_>>>()?;
    let mut resumed = 0;
    for burst in 0..size.bursts {
        let (ids, read) = one_burst(&running, burst, &mut publishers, &mut readers, &mut rng)?;
        compare(&ids, &read)?;
        for (reader, events) in readers.iter_mut().zip(&read) {
            if rng.usize(0..LEAVES) == 0 {
                let last = events.last().map(|it| it.id.as_str()).unwrap_or_default();
                let request = running.request("GET", TOPIC).header("Last-Event-ID", last);
                *reader = EventStream::open(running.connect()?, &request)?;
                resumed += 1;
            }
        }
    }
    let _ = running.server.stop();
    for (number, reader) in (1..).zip(&mut readers) {
        let place = format!("reader {number}, after the last message");
        let more = reader.read_to_end().map_err(|error| Failure::from(error).at(&place))?;
        if let Some(event) = more.first() {
            return Err(broken(format!("{place}: {}", shown(event))));
        }
    }
    let deliveries = messages(&size) * size.readers;
    Ok(Figures {
        headline: format!("{deliveries} deliveries"),
        all: json!({
            "messages": messages(&size),
            "readers": size.readers,
            "deliveries": deliveries,
            "resumed": resumed,
        }),
    })
}

/// Every publisher sends its messages, while each reader takes as many as all of them send.
fn one_burst(
    running: &Running,
    burst: usize,
    publishers: &mut [Connection],
    readers: &mut [EventStream],
    rng: &mut Rng,
) -> Result<(Ids, Vec<Vec<Event>>), Failure> {
    thread::scope(|scope| {
        let publishing = publishers.iter_mut().enumerate().map(|(publisher, connection)| {
            let mut rng = rng.fork();
            scope.spawn(move || publish(running, connection, publisher, burst, &mut rng))
        });
        let publishing: Vec<_> = publishing.collect();
        let group = readers.len().div_ceil(READING).max(1);
        let reading = readers.chunks_mut(group).map(|group| scope.spawn(move || read(group)));
        let reading: Vec<_> = reading.collect();
        let mut ids = Ids::new();
        for it in publishing {
            ids.extend(it.join().expect("publishing has nothing that panics")?);
        }
        let mut events = Vec::new();
        for it in reading {
            events.extend(it.join().expect("reading has nothing that panics")?);
        }
        Ok((ids, events))
    })
}

/// The messages of a publisher, each with the id that the server gave it.
fn publish(
    running: &Running,
    connection: &mut Connection,
    publisher: usize,
    burst: usize,
    rng: &mut Rng,
) -> Result<Ids, Failure> {
    let mut ids = Ids::new();
    for number in burst * BURST..(burst + 1) * BURST {
        let filler = "x".repeat(rng.usize(0..FILLER_BYTES));
        let data = format!("{publisher} {number} {filler}");
        let request = running.request("POST", TOPIC).body(data.as_str());
        let (head, mut body) = connection.ask(&request)?;
        let body = connection.read_body_to_end(&mut body)?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        match answer["id"].as_str() {
            Some(id) if head.status == 201 => ids.insert(data, id.to_owned()),
            _ => return Err(broken(format!("message {number}: {}", head.summary()))),
        };
    }
    Ok(ids)
}

/// For each reader the events of a burst.
fn read(readers: &mut [EventStream]) -> Result<Vec<Vec<Event>>, Failure> {
    let take = |reader: &mut EventStream| reader.take(PUBLISHERS * BURST);
    let all = readers.iter_mut().map(take).collect::<wire::Result<Vec<_>>>();
    all.map_err(|error| Failure::from(error).at("a reader that waits for a message"))
}

/// The first reader has each message once, those of a publisher in their order; the others have the
/// same as the first.
fn compare(ids: &Ids, read: &[Vec<Event>]) -> Result<(), Failure> {
    let Some((first, others)) = read.split_first() else { return Ok(()) };
    let mut last: BTreeMap<&str, usize> = BTreeMap::new();
    for event in first {
        if event.event != "message" || ids.get(&event.data) != Some(&event.id) {
            return Err(broken(format!("reader 1: {}, which was not published", shown(event))));
        }
        let mut words = event.data.split(' ');
        let publisher = words.next().unwrap_or_default();
        let number: usize = words.next().and_then(|it| it.parse().ok()).unwrap_or_default();
        // As many as were published, and none twice: so none is lost.
        if last.insert(publisher, number).is_some_and(|before| number <= before) {
            return Err(broken(format!("reader 1: {} again or too late", shown(event))));
        }
    }
    for (number, events) in (2..).zip(others) {
        if let Some((event, due)) = events.iter().zip(first).find(|(one, other)| one != other) {
            let (event, due) = (shown(event), shown(due));
            return Err(broken(format!("reader {number}: {event} where reader 1 got {due}")));
        }
    }
    Ok(())
}

/// Type, id and the beginning of the data.
fn shown(event: &Event) -> String {
    let data: String = event.data.chars().take(20).collect();
    format!("{} {:?} {data:?}", event.event, event.id)
}
