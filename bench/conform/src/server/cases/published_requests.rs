//! Categories 7 and 8 in the author's own room: requests that publish in another way than usual, and a reader
//! that falls behind.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use wire::{Error, EventStream, Head};

use crate::expect::{fact, miss, miss_should, pass};
use crate::server::room::{Room, Session, not_stayed, read_until, refused, word};
use crate::server::{Fault, Outcome, Target};

/// S7.07: the bytes behind the word of a text that is cut short, and how many of the request are kept back.
const TORN_FILLER: usize = 400;
const TORN_BYTES: usize = 200;
/// How long the answer to a torn request may take.
const TORN_PATIENCE: Duration = Duration::from_secs(1);
/// S7.08: the texts in chunks, and those of the usual kind before and behind each. Two of these in a row come
/// on one stream only where each text comes on each.
const CHUNKED: usize = 3;
const USUAL: usize = 2;
/// S8.05: more than sockets and a usual history hold.
const OVERFLOW_TEXTS: usize = 320;
const OVERFLOW_BYTES: usize = 48 * 1024;
/// S8.05: fewer bytes may all lie in the buffers of the sockets.
const LEAST_OVERFLOW: usize = 8 * 1024 * 1024;
/// How long they may take, and how long the reader then catches up.
const OVERFLOW_TIME: Duration = Duration::from_secs(6);
const CATCH_UP: Duration = Duration::from_secs(6);

/// S7.07: of a request that was cut short nothing is published.
pub(super) fn torn_body(target: &Target, room: &Room) -> Outcome {
    let mut session = room.enter(target)?;
    let name = word();
    let text = format!("{name} {}", "x".repeat(TORN_FILLER));
    let (head, body) = request_of(&mut session, &text)?;
    let kept = body.len().saturating_sub(TORN_BYTES);
    let is_in_what_is_sent = memchr::memmem::find(&body, name.as_bytes()).is_some_and(|at| {
        // The rest of the text, or the end of what is around it, has to be missing.
        at + name.len() < kept
    });
    if !is_in_what_is_sent {
        return Err(Fault::Skip("the text is not in the body of the request".to_owned()));
    }
    let mut connection = session.publisher.dial()?;
    connection.set_patience(target.scaled(TORN_PATIENCE));
    connection.send(&[head.as_slice(), &body[..kept]].concat())?;
    let closed = connection.socket().shutdown(Shutdown::Write);
    closed.map_err(|error| Fault::Harness(format!("cannot close: {error}")))?;
    // The server has seen the end when it answers or closes; either is fine.
    let answer = connection.read_head();
    drop(connection);
    let end = word();
    session.publisher.say(&end)?;
    let events = read_until(&mut session.stream, &end, target.patience())
        .map_err(|error| Fault::Skip(format!("no text came behind the torn one: {error}")))?;
    if let Some(event) = events.iter().find(|event| event.data.contains(&name)) {
        let status = answer.map_or_else(|error| error.to_string(), |head| head.summary());
        let actual = format!(
            "{} of {} bytes of a body came as an event ({status}): {:.60}",
            kept,
            body.len(),
            event.data
        );
        return Err(miss_should("no event of a text whose body was cut short", actual));
    }
    pass()
}

/// S7.08: a text that is sent in chunks comes like any other. To refuse it is allowed (411).
pub(super) fn chunked_body(target: &Target, room: &Room) -> Outcome {
    let mut session = room.enter(target)?;
    let mut answers = Vec::new();
    for _ in 0..CHUNKED {
        usual(target, &mut session)?;
        let names = [word(), word()];
        let text = names.join(" ");
        let head = send_in_chunks(&mut session, &text)?;
        if !(200..400).contains(&head.status) {
            return Err(Fault::Skip(format!("a body in chunks is refused: {}", head.summary())));
        }
        // It has its time: a room that passes on only the newest of several texts is right, too.
        let mut data = data_until(&mut session.stream, &names[1], target.patience() / 2)?;
        data += &usual(target, &mut session)?;
        let has = |name: &String| data.contains(name.as_str());
        match names.each_ref().map(has) {
            [true, true] => return pass(),
            [false, false] => {}
            [first, _] => {
                let part = if first { "first" } else { "second" };
                return Err(miss(format!("{text:?}"), format!("the {part} part of it alone")));
            }
        }
        answers.push(head.status.to_string());
    }
    let actual = format!(
        "{CHUNKED} texts in chunks were answered with {}, and none came; those with a length before and \
         behind each did",
        answers.join(", ")
    );
    Err(miss("the text", actual))
}

/// Texts of the usual kind, each of which has to come; the data of all events meanwhile.
fn usual(target: &Target, session: &mut Session<'_>) -> Result<String, Fault> {
    let mut all = String::new();
    for _ in 0..USUAL {
        let text = word();
        session.publisher.say(&text)?;
        let data = data_until(&mut session.stream, &text, target.patience() / 2)?;
        if !data.contains(&text) {
            let words = "not each text of the usual kind comes, either";
            return Err(Fault::Skip(words.to_owned()));
        }
        all += &data;
    }
    Ok(all)
}

/// The data of all events to the one that has this word, or to the end of the time.
fn data_until(stream: &mut EventStream, word: &str, within: Duration) -> Result<String, Fault> {
    let due = Instant::now() + within;
    let mut data = String::new();
    while !data.contains(word) {
        stream.set_patience(due.saturating_duration_since(Instant::now()));
        match stream.next_event() {
            Ok(Some(event)) => data += &format!("{}\n", event.data),
            Ok(None) => return Err(Fault::Skip("the stream ended".to_owned())),
            Err(Error::Timeout { .. }) => break,
            Err(error) => return Err(not_stayed(error)),
        }
    }
    Ok(data)
}

fn send_in_chunks(session: &mut Session<'_>, text: &str) -> Result<Head, Fault> {
    let (head, body) = request_of(session, text)?;
    let head = String::from_utf8_lossy(&head).into_owned();
    let is_length = |line: &&str| line.to_ascii_lowercase().starts_with("content-length:");
    let lines: Vec<_> = head.split("\r\n").filter(|line| !is_length(line)).collect();
    let head = lines.join("\r\n");
    let head = format!("{}\r\nTransfer-Encoding: chunked\r\n\r\n", head.trim_end());
    let mut bytes = head.into_bytes();
    let (one, two) = body.split_at(body.len() / 2);
    for chunk in [one, two] {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    let mut connection = session.publisher.dial()?;
    connection.send(&bytes)?;
    connection.read_head().map_err(|error| match error {
        Error::Timeout { .. } => Fault::Skip(format!("a body in chunks: {error}")),
        error if error.is_end() => Fault::Skip(format!("a body in chunks is refused: {error}")),
        error => error.into(),
    })
}

/// The request that publishes this text: its head with the blank line, and its body.
fn request_of(session: &mut Session<'_>, text: &str) -> Result<(Vec<u8>, Vec<u8>), Fault> {
    let request = session.publisher.request_for(text).ok_or_else(|| {
        Fault::Skip("texts are published by a command, whose requests are its own".to_owned())
    })?;
    let bytes = request.to_bytes();
    let at = memchr::memmem::find(&bytes, b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    if at + 2 > bytes.len() {
        return Err(Fault::Skip("the request that publishes has no body".to_owned()));
    }
    Ok((bytes[..at].to_vec(), bytes[at..].to_vec()))
}

/// S8.05: a reader that fell behind is cut off, or gets whole texts; some may be missing.
pub(super) fn overflow(target: &Target, room: &Room) -> Outcome {
    let mut session = room.enter(target)?.prompt()?;
    let request = target.get(target.path());
    let narrow = || EventStream::open(target.connect_narrow()?, &request);
    let mut behind = target.asking(&request, narrow).map_err(refused)?;
    session.publisher.greet(&mut behind)?;
    let name = word();
    let (start, filler) = (Instant::now(), "x".repeat(OVERFLOW_BYTES));
    let mut said = 0;
    while said < OVERFLOW_TEXTS && start.elapsed() < target.scaled(OVERFLOW_TIME) {
        let text = format!("{name}-{said}. {filler} {}", end_of(said));
        session.publisher.say(&text)?;
        let found = read_until(&mut session.stream, &name, target.patience());
        let keeps_up = "a reader that keeps up does not get each text whole, either";
        let event = found.map_err(|error| Fault::Skip(format!("{keeps_up}: {error}")))?.pop();
        if !event.is_some_and(|event| event.data.contains(&end_of(said))) {
            return Err(Fault::Skip(keeps_up.to_owned()));
        }
        said += 1;
    }
    if said * OVERFLOW_BYTES < LEAST_OVERFLOW {
        let took = start.elapsed().as_millis();
        let words =
            format!("{said} large texts took {took} ms: too few for a reader to fall behind");
        return Err(Fault::Skip(words));
    }
    let due = Instant::now() + target.scaled(CATCH_UP);
    let (mut read, mut previous) = (0, None);
    while Instant::now() < due {
        behind.set_patience(due.saturating_duration_since(Instant::now()));
        let event = match behind.next_event() {
            Ok(Some(event)) => event,
            Ok(None) => return fact(format!("{read} of {said} texts, then the stream ended")),
            Err(error) if error.is_end() => {
                return fact(format!("{read} of {said} texts, then the stream was cut off"));
            }
            Err(Error::Timeout { .. }) => break,
            Err(error) => return Err(error.into()),
        };
        let Some(number) = super::published_flow::number_in(&event, &name) else { continue };
        if !event.data.contains(&end_of(number)) {
            let actual = format!("text {number} with {} bytes, without its end", event.data.len());
            return Err(miss_should("whole texts, or none", actual));
        }
        if previous.is_some_and(|previous| number <= previous) {
            let actual = format!("text {number} behind text {}", previous.unwrap_or_default());
            return Err(miss_should("texts in their order", actual));
        }
        (read, previous) = (read + 1, Some(number));
        if number + 1 == said {
            break;
        }
    }
    fact(format!("{read} of {said} texts, each whole"))
}

fn end_of(number: usize) -> String {
    format!("end-{number}.")
}
