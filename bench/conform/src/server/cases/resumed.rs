//! Category 6 on a stream as it is: ids are opaque, so what a resumed stream should say is read from a
//! second one that stayed open.

use std::collections::HashMap;
use std::time::Instant;

use wire::{Error, Event, EventStream};

use crate::expect::{fact, miss, miss_should, noted};
use crate::server::room::{Publisher, Session, not_stayed, refused, word};
use crate::server::{Fault, Outcome, Target};

/// Events behind the one that is resumed from: one could be on its way.
const BEHIND: usize = 2;
/// The events of the connection that leaves.
const LEAVES_AFTER: usize = 2;
/// S6.03: how often it connects again.
const RECONNECTS: usize = 8;
/// The events that S6.10 compares.
const COMPARED: usize = 4;
/// Events without an id before a stream counts as one without ids.
const MOST_WITHOUT: usize = 4;

/// The behaviour of a stream that is opened with the id of an event.
enum Resumed {
    /// It goes on with the next one.
    Next(String),
    /// It says that one again, and then goes on.
    Again(String),
    /// The events between are lost; in words.
    Lost(String),
}

/// S6.01: a server that gives ids and loses the events between is reported; one without ids is not judged.
pub(super) fn next(target: &Target) -> Outcome {
    match resume(target, "Last-Event-ID")? {
        Resumed::Next(words) | Resumed::Again(words) => fact(words),
        // Once more: the first time may have met a restart.
        Resumed::Lost(_) => match resume(target, "Last-Event-ID")? {
            Resumed::Next(words) | Resumed::Again(words) => fact(words),
            Resumed::Lost(words) => {
                Err(miss_should("the event after the last that was seen", words))
            }
        },
    }
}

/// S6.02.
pub(super) fn no_repetition(target: &Target) -> Outcome {
    match resume(target, "Last-Event-ID")? {
        Resumed::Next(words) => fact(words),
        Resumed::Again(words) => Err(miss_should("the event after the last that was seen", words)),
        Resumed::Lost(words) => Err(not_resumed(&words)),
    }
}

/// S6.07: only a server that resumes can be said to have missed the header.
pub(super) fn header_case(target: &Target) -> Outcome {
    if let Resumed::Lost(words) = resume(target, "Last-Event-ID")? {
        return Err(not_resumed(&words));
    }
    let mut lost = String::new();
    for _ in 0..2 {
        match resume(target, "last-event-id")? {
            Resumed::Next(words) | Resumed::Again(words) => return fact(words),
            Resumed::Lost(words) => lost = words,
        }
    }
    Err(miss("the same as with Last-Event-ID", lost))
}

/// S6.03: what a client reads that connects again and again is what another one reads that stays. Only where
/// S6.02 has seen that the stream resumes.
pub(super) fn seam(target: &Target) -> Outcome {
    no_repetition(target)
        .map_err(|_| Fault::Skip("the stream does not resume (S6.01, S6.02)".to_owned()))?;
    // Once more: the first time may have met a restart.
    let mut found = seam_once(target)?;
    if found.0 != found.1 {
        found = seam_once(target)?;
    }
    let (expected, read) = found;
    if expected != read {
        let expected = format!("the ids that a stream has that stays: {expected:?}");
        return Err(miss_should(expected, format!("{read:?}")));
    }
    fact(format!("{} events read over several connections", read.len()))
}

/// The ids on the stream that stays, and those on the connections beside it, from the same event on.
fn seam_once(target: &Target) -> Result<(Vec<String>, Vec<String>), Fault> {
    let mut stays = target.stream().map_err(refused)?;
    let first = with_ids(&mut stays, 1, &mut Vec::new())?.remove(0);
    let (mut all, mut read) = (vec![first.clone()], vec![first]);
    let start = Instant::now();
    for round in 0..RECONNECTS {
        if start.elapsed() > target.patience() {
            break;
        }
        let id = &read[read.len() - 1].id;
        let request = target.get(target.path()).header("Last-Event-ID", id);
        let mut stream = target.open(&request).map_err(refused)?;
        for event in with_ids(&mut stream, 1 + round % LEAVES_AFTER, &mut Vec::new())? {
            note(&mut read, event);
        }
    }
    if read.len() <= LEAVES_AFTER {
        return Err(Fault::Skip(format!("{} events in this time show no seam", read.len() - 1)));
    }
    let last = read[read.len() - 1].id.clone();
    let start = Instant::now();
    while all[all.len() - 1].id != last {
        if start.elapsed() > target.patience() {
            let words = format!("the id {last:?} of one connection did not come on another one");
            return Err(Fault::Skip(words));
        }
        let event = with_ids(&mut stays, 1, &mut Vec::new())?.remove(0);
        note(&mut all, event);
    }
    let ids = |events: Vec<Event>| events.into_iter().skip(1).map(|event| event.id).collect();
    Ok((ids(all), ids(read)))
}

/// An event without an id of its own carries the one before it, and is no point to resume from.
fn note(events: &mut Vec<Event>, event: Event) {
    let carries = |last: &Event| last.id == event.id && last.data != event.data;
    if !events.last().is_some_and(carries) {
        events.push(event);
    }
}

/// S6.10: whether an id is that of one event for everyone. Ids of a user's own are no fault.
pub(super) fn stable(target: &Target) -> Outcome {
    let mut source = Source::of(target)?;
    let mut streams = [source.subscribe()?, source.subscribe()?];
    let mut seen = [HashMap::new(), HashMap::new()];
    source.speak(COMPARED.max(MOST_WITHOUT))?;
    for (stream, seen) in streams.iter_mut().zip(&mut seen) {
        for event in with_ids(stream, COMPARED, &mut Vec::new())? {
            seen.insert(event.id, (event.event, event.data));
        }
    }
    let [first, second] = seen;
    let common: Vec<_> = first.iter().filter(|(id, _)| second.contains_key(*id)).collect();
    let other = common.iter().find(|(id, event)| second.get(*id) != Some(*event));
    match other {
        None if common.is_empty() => noted("no id is the same on two connections"),
        None => fact(format!("{} ids name the same events on two connections", common.len())),
        Some((id, (_, data))) => {
            let there = second.get(*id).map(|(_, data)| data.as_str()).unwrap_or_default();
            noted(format!(
                "the id {id:?} has {data:.60?} on one connection and {there:.60?} on another"
            ))
        }
    }
}

fn not_resumed(words: &str) -> Fault {
    Fault::Skip(format!("the stream does not resume (S6.01): {words}"))
}

/// Where events come from: the stream by itself, or the room, in which this side speaks.
struct Source<'t> {
    target: &'t Target,
    session: Option<Session<'t>>,
}

impl<'t> Source<'t> {
    fn of(target: &'t Target) -> Result<Source<'t>, Fault> {
        let session = target.room().map(|room| room.enter(target)).transpose()?;
        Ok(Source { target, session })
    }

    /// A stream; in the room one that is known to hear.
    fn subscribe(&mut self) -> Result<EventStream, Fault> {
        match self.publisher() {
            Some(publisher) => publisher.subscribe(),
            None => self.target.stream().map_err(refused),
        }
    }

    /// Causes so many events, where this side can.
    fn speak(&mut self, count: usize) -> Result<(), Fault> {
        let Some(publisher) = self.publisher() else { return Ok(()) };
        (0..count).try_for_each(|_| publisher.say(&word()))
    }

    fn publisher(&mut self) -> Option<&mut Publisher<'t>> {
        self.session.as_mut().map(|session| &mut session.publisher)
    }
}

/// Reads an event, leaves, lets others come, and comes back with its id in this header.
fn resume(target: &Target, header: &str) -> Result<Resumed, Fault> {
    let mut source = Source::of(target)?;
    let mut stays = source.subscribe()?;
    let mut leaves = source.subscribe()?;
    source.speak(MOST_WITHOUT)?;
    let mut greetings = Vec::new();
    // Not the first one: a stream that begins anew says that one again, too.
    let last = with_ids(&mut leaves, LEAVES_AFTER, &mut greetings)?.remove(LEAVES_AFTER - 1);
    drop(leaves);
    source.speak(BEHIND)?;
    let start = Instant::now();
    let mut all: Vec<Event> = Vec::new();
    let behind = loop {
        let event = with_ids(&mut stays, 1, &mut greetings)?.remove(0);
        // An event without an id of its own carries the one before it.
        if all.last().is_none_or(|it| it.id != event.id) {
            all.push(event);
        }
        let at = all.iter().position(|it| it.id == last.id).map_or(all.len(), |at| at + 1);
        if all.len() - at >= BEHIND {
            break all.split_off(at);
        }
        if start.elapsed() > target.patience() {
            let words =
                format!("the id {:?} of one connection did not come on another one", last.id);
            return Err(Fault::Skip(words));
        }
    };
    greetings.extend(all.iter().chain(&behind).map(|event| event.event.clone()));
    let request = target.get(target.path()).header(header, &last.id);
    let mut resumed = target.open(&request).map_err(|error| match error {
        Error::NotAStream { .. } => Fault::Skip(format!("with {header}: {}: {error}", last.id)),
        error => error.into(),
    })?;
    judge(&mut resumed, &last, &all, &behind, &greetings)
}

fn judge(
    resumed: &mut EventStream,
    last: &Event,
    before: &[Event],
    behind: &[Event],
    types: &[String],
) -> Result<Resumed, Fault> {
    let next = &behind[0];
    let asked = format!("after the id {:?}, which {:?} follows,", last.id, next.id);
    let mut is_again = false;
    loop {
        let event = match resumed.next_event() {
            Ok(Some(event)) => event,
            Ok(None) => return Err(Fault::Skip("the resumed stream ended at once".to_owned())),
            Err(Error::Timeout { patience, .. }) => {
                resumed.connection().log().waited_in_vain(patience);
                return Ok(Resumed::Lost(format!(
                    "{asked} nothing for {} ms",
                    patience.as_millis()
                )));
            }
            Err(error) => return Err(not_stayed(error)),
        };
        if event.id.is_empty() {
            // A greeting, as each stream has it; or word that something is lost.
            if !types.contains(&event.event) {
                let words =
                    format!("the resumed stream first says {}: {:.80}", event.event, event.data);
                return Err(Fault::Skip(words));
            }
            continue;
        }
        if event.id == next.id {
            let words = format!("{asked} it came next");
            return Ok(if is_again { Resumed::Again(words) } else { Resumed::Next(words) });
        }
        if event.id == last.id && !is_again {
            is_again = true;
            continue;
        }
        let place = match event.id.as_str() {
            id if before.iter().any(|it| it.id == id) => "which came before it",
            id if behind.iter().any(|it| it.id == id) => "so that some are lost",
            _ => "a later one: what came between is lost",
        };
        return Ok(Resumed::Lost(format!("{asked} the next id is {:?}, {place}", event.id)));
    }
}

/// Events that have an id, so many, and the types of those without; a skip if the stream says none.
fn with_ids(
    stream: &mut EventStream,
    count: usize,
    without: &mut Vec<String>,
) -> Result<Vec<Event>, Fault> {
    let (mut events, first) = (Vec::new(), without.len());
    while events.len() < count {
        match stream.next_event() {
            Ok(Some(event)) if !event.id.is_empty() => events.push(event),
            Ok(Some(event)) => {
                without.push(event.event);
                if events.is_empty() && without.len() - first == MOST_WITHOUT {
                    return Err(Fault::Skip("the events have no ids".to_owned()));
                }
            }
            Ok(None) => {
                return Err(Fault::Skip("the stream ended before the case was done".to_owned()));
            }
            Err(Error::Timeout { patience, .. }) => {
                let what = if without.len() > first { "no event has an id" } else { "no event" };
                return Err(Fault::Skip(format!("{what}, within {} ms", patience.as_millis())));
            }
            Err(error) => return Err(not_stayed(error)),
        }
    }
    Ok(events)
}
