//! The room of the server's author: a text goes in by `--publish` and comes out of the stream under test.
//!
//! The suite does not know how the author's code wraps a text, so it looks first: a text that is one
//! word is published and found again. After that only such things are judged as can be told apart from
//! the wrapping. Other people may speak in the same room; each text of the suite carries a word of its
//! own, and cases take turns.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use wire::publish::{CallError, Message, Publication};
use wire::{Connection, Dial, Error, Event, EventStream, Head, Request, Side};

use super::{Fault, Target};
use crate::host;

/// A stream may be subscribed a moment after its head: so often it is spoken to before it counts as deaf.
pub(super) const GREETINGS: u32 = 5;
/// After this many deaf streams in a row the next case is not tried: it would wait for the same.
const MOST_DEAF: u64 = 2;
/// Texts that push out what a buffer holds: 64 KiB, as many as the largest that is common.
const PUSHES: usize = 64;
const PUSH_BYTES: usize = 1024;
/// Why a case is not judged in a room whose texts come late.
const LATE: &str = "texts come late, which S5.02 is about";
/// How long a text may come after one that was published later.
const OVERTAKEN: Duration = Duration::from_millis(500);

/// The room.
#[derive(Debug)]
pub struct Room {
    publication: Publication,
    wrapping: OnceLock<Wrapping>,
    /// The effort that a text needed to come out of it, if any.
    held: OnceLock<String>,
    /// Whether a text was awaited in vain, because it waits for the next one.
    is_stuck: AtomicBool,
    /// Streams in a row that had no text.
    deaf: AtomicU64,
    turn: Mutex<()>,
    /// Shared by those who publish out of turn, to make the head of a stream come.
    voices: RwLock<()>,
    published: AtomicU64,
}

/// How the author's code puts a text into an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wrapping {
    /// The data are the text, behind these characters.
    Plain(String),
    /// The data are JSON, in which one string is the text.
    Json,
    /// The text is somewhere in the data.
    Opaque,
}

/// The answer to a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It was taken.
    Taken,
    /// It was refused, in these words.
    Refused {
        /// Of the answer, if it was a request.
        status: Option<u16>,
        /// The words to show.
        words: String,
    },
    /// There was no answer, but the end of the connection.
    Gone(String),
    /// There was no answer in time.
    Late(String),
}

/// Publishes, on one kept connection if it is by request.
#[derive(Debug)]
pub(super) struct Publisher<'r> {
    room: &'r Room,
    target: &'r Target,
    connection: Option<Connection>,
    answer: Option<Head>,
}

/// A case's turn in the room, with a stream that is known to hear it.
#[derive(Debug)]
pub(super) struct Session<'r> {
    pub(super) publisher: Publisher<'r>,
    pub(super) stream: EventStream,
    is_behind: bool,
    room: &'r Room,
    target: &'r Target,
    _turn: MutexGuard<'r, ()>,
}

/// A session, and whether its stream had one of the first texts.
#[derive(Debug)]
pub(super) struct Joined<'r> {
    pub(super) session: Session<'r>,
    pub(super) hears: bool,
}

/// The outcome of one text.
#[derive(Debug)]
pub(super) struct Carried {
    /// The events between the text before it and the one behind it.
    pub(super) events: Vec<Event>,
    /// Their bytes.
    pub(super) raw: Vec<u8>,
}

/// Why a case is not judged on a stream that hears nothing.
fn deaf() -> String {
    format!("{GREETINGS} texts were published, and this stream had none of them (see S7.01)")
}

/// A word that occurs nowhere else.
pub(super) fn word() -> String {
    format!("t{:012x}", fastrand::u64(..1 << 48))
}

impl Target {
    /// The same server, in whose stream a text comes out that is published in this way.
    #[must_use]
    pub fn with_publication(mut self, publication: Publication) -> Target {
        self.room = Some(Arc::new(Room {
            publication,
            wrapping: OnceLock::new(),
            held: OnceLock::new(),
            is_stuck: AtomicBool::new(false),
            deaf: AtomicU64::new(0),
            turn: Mutex::new(()),
            voices: RwLock::new(()),
            published: AtomicU64::new(0),
        }));
        self
    }

    /// The author's room, if there is one and its texts come out of the stream.
    pub(super) fn room(&self) -> Option<&Room> {
        self.room.as_deref().filter(|room| room.wrapping.get().is_some())
    }

    /// Finds out how a text comes back.
    ///
    /// # Errors
    /// One line with advice: publishing fails, or no event has the text.
    pub(super) fn learn_room(&self) -> Result<(), String> {
        let Some(room) = self.room.as_deref() else { return Ok(()) };
        let wrapping = room.learn(self)?;
        let _ = room.wrapping.set(wrapping);
        Ok(())
    }

    /// How a text comes back that is published, for people.
    pub(super) fn room_words(&self) -> Option<String> {
        let room = self.room()?;
        let data = match room.wrapping.get()? {
            Wrapping::Plain(before) if before.is_empty() => "as data".to_owned(),
            Wrapping::Plain(before) => format!("as data, behind {before:?}"),
            Wrapping::Json => "in data that are JSON".to_owned(),
            Wrapping::Opaque => "within data".to_owned(),
        };
        Some(format!("{}: the text comes back {data}", room.publication.words()))
    }
}

impl Room {
    /// Waits for its turn, opens the stream, and sees that it hears what is published.
    pub(super) fn enter<'r>(&'r self, target: &'r Target) -> Result<Session<'r>, Fault> {
        if self.deaf.load(Ordering::Relaxed) >= MOST_DEAF {
            return Err(Fault::Skip(deaf()));
        }
        let Joined { session, hears } = self.join(target)?;
        if hears { Ok(session) } else { Err(Fault::Skip(deaf())) }
    }

    /// The same, where the stream may be deaf.
    pub(super) fn join<'r>(&'r self, target: &'r Target) -> Result<Joined<'r>, Fault> {
        let turn = self.turn();
        if self.held.get().is_some() {
            return Err(Fault::Skip(LATE.to_owned()));
        }
        let mut publisher = self.publisher(target);
        let mut stream = target.stream().map_err(refused)?;
        let greeted = publisher.greeted(&mut stream)?;
        let is_behind = greeted.unwrap_or_default();
        let session = Session { publisher, stream, is_behind, room: self, target, _turn: turn };
        match greeted {
            Some(_) => self.deaf.store(0, Ordering::Relaxed),
            None => _ = self.deaf.fetch_add(1, Ordering::Relaxed),
        }
        Ok(Joined { session, hears: greeted.is_some() })
    }

    /// A turn in which no case speaks.
    pub(super) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nothing is published out of turn, and keeps it so.
    pub(super) fn silence(&self) -> RwLockWriteGuard<'_, ()> {
        self.voices.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it may be published out of turn.
    pub(super) fn speaks(&self) -> RwLockReadGuard<'_, ()> {
        self.voices.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn publisher<'r>(&'r self, target: &'r Target) -> Publisher<'r> {
        Publisher { room: self, target, connection: None, answer: None }
    }

    /// Whether texts go through a command, which may change them on their way to the server.
    pub(super) fn is_by_command(&self) -> bool {
        matches!(self.publication, Publication::Command { .. })
    }

    /// The effort that the first text needed to come out of it, if any.
    pub(super) fn held(&self) -> Option<&str> {
        self.held.get().map(String::as_str)
    }

    /// The text as the author's code has put it into an event, if that can be told.
    pub(super) fn text_of(&self, event: &Event, word: &str) -> Option<String> {
        match self.wrapping.get()? {
            Wrapping::Plain(before) => event.data.strip_prefix(before.as_str()).map(str::to_owned),
            Wrapping::Json => {
                let json: Value = serde_json::from_str(&event.data).ok()?;
                string_with(&json, word).map(str::to_owned)
            }
            Wrapping::Opaque => None,
        }
    }

    /// Whether the user's own template writes the lines of the event: the server only passes them on.
    fn is_relay(&self) -> bool {
        match &self.publication {
            Publication::Request { body, .. } => body.contains("data:"),
            Publication::Command { words } => words.iter().any(|word| word.contains("data:")),
        }
    }

    /// Whether data are the texts themselves.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.wrapping.get(), Some(Wrapping::Plain(_)))
    }

    fn learn(&self, target: &Target) -> Result<Wrapping, String> {
        let way = self.publication.words();
        let mut stream = target.stream().map_err(|error| error.to_string())?;
        let mut publisher = self.publisher(target);
        let taken = |publisher: &mut Publisher<'_>, text: &str| match publisher.publish(text) {
            Ok(Answer::Taken) => Ok(()),
            Ok(Answer::Refused { words, .. } | Answer::Gone(words) | Answer::Late(words))
            | Err(Fault::Skip(words)) => Err(format!("publishing does not work: {way}: {words}")),
            Err(fault) => Err(format!("publishing does not work: {way}: {fault:?}")),
        };
        // The last event that was read, and the text in it.
        let found = |stream: &mut EventStream, texts: &[String], within: Duration| {
            let event = read_until_any(stream, texts, within).ok()?.pop()?;
            let text = texts.iter().find(|text| event.data.contains(text.as_str()))?.clone();
            Some((event, text))
        };
        let (mut texts, mut first) = (Vec::new(), None);
        while first.is_none() && texts.len() < GREETINGS as usize {
            texts.push(word());
            taken(&mut publisher, &texts[texts.len() - 1])?;
            first = found(&mut stream, &texts, target.patience() / GREETINGS);
        }
        if first.is_none() {
            // A layer that fills a buffer before it sends it lets go of it now.
            for _ in 0..PUSHES {
                taken(&mut publisher, &"x".repeat(PUSH_BYTES))?;
            }
            first = found(&mut stream, &texts, target.patience());
            if first.is_some() {
                let _ = self.held.set(format!(
                    "a text came only when {PUSHES} more of {PUSH_BYTES} bytes were published behind it"
                ));
            }
        }
        let (event, text) = first.ok_or_else(|| {
            format!(
                "{way} was accepted, but no event had the text within {} ms: is the URL the stream of \
                 that room? Or does a layer hold events back?",
                target.patience().as_millis()
            )
        })?;
        let wrapping = wrapping_of(&event, &text);
        // Only what is the same around two texts is known; a time of day is not.
        let texts = [word()];
        taken(&mut publisher, &texts[0])?;
        let again = found(&mut stream, &texts, target.patience() / GREETINGS);
        let is_same = again.is_none_or(|(event, text)| wrapping_of(&event, &text) == wrapping);
        Ok(if is_same { wrapping } else { Wrapping::Opaque })
    }
}

impl Publisher<'_> {
    /// Opens one more stream, and speaks until it hears.
    pub(super) fn subscribe(&mut self) -> Result<EventStream, Fault> {
        let mut stream = self.target.stream().map_err(refused)?;
        self.greet(&mut stream)?;
        Ok(stream)
    }

    /// Speaks until this stream hears; whether a text was heard only behind a later one.
    pub(super) fn greet(&mut self, stream: &mut EventStream) -> Result<bool, Fault> {
        self.greeted(stream)?.ok_or_else(|| Fault::Skip(deaf()))
    }

    /// The same; `None` if it hears none of the texts.
    pub(super) fn greeted(&mut self, stream: &mut EventStream) -> Result<Option<bool>, Fault> {
        self.greeted_behind(&mut Vec::new(), stream)
    }

    /// The same; the events that came meanwhile are added to these.
    pub(super) fn greeted_behind(
        &mut self,
        events: &mut Vec<Event>,
        stream: &mut EventStream,
    ) -> Result<Option<bool>, Fault> {
        let patience = self.target.patience();
        let mut texts = Vec::new();
        for _ in 0..GREETINGS {
            texts.push(word());
            self.say(&texts[texts.len() - 1])?;
            match read_into(events, stream, &texts, patience / GREETINGS) {
                Ok(()) => {
                    stream.set_patience(patience);
                    let last = &texts[texts.len() - 1];
                    let is_last = |event: &Event| event.data.contains(last);
                    return Ok(Some(!events.last().is_some_and(is_last)));
                }
                Err(Error::Timeout { .. }) => {}
                Err(error) => return Err(not_stayed(error)),
            }
        }
        Ok(None)
    }

    /// Publishes a text that the server has to take.
    pub(super) fn say(&mut self, text: &str) -> Result<(), Fault> {
        match self.publish(text)? {
            Answer::Taken => Ok(()),
            Answer::Refused { words, .. } | Answer::Gone(words) | Answer::Late(words) => {
                Err(Fault::Skip(format!("the server does not take such a text: {words}")))
            }
        }
    }

    /// The request that publishes this text, if it is one: for cases that send it in another way.
    pub(super) fn request_for(&self, text: &str) -> Option<Request> {
        self.room.publication.request(self.message(text))
    }

    /// A new connection to where such a request goes.
    pub(super) fn dial(&self) -> Result<Connection, Fault> {
        let Publication::Request { address, tls, .. } = &self.room.publication else {
            return Err(Fault::Harness("neither a request nor a command".to_owned()));
        };
        let dial = Dial { address, tls: tls.as_ref(), receive_buffer: None };
        let dialled = Connection::dial(dial, self.target.patience(), self.target.log());
        dialled.map_err(|error| Fault::Skip(format!("publishing: {error}")))
    }

    fn message<'m>(&self, text: &'m str) -> Message<'m> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Message {
            text,
            number: self.room.published.fetch_add(1, Ordering::Relaxed) + 1,
            scheduled_ns: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    /// The head of the last answer, if texts are published by request.
    pub(super) fn answer(&self) -> Option<&Head> {
        self.answer.as_ref()
    }

    /// Publishes a text.
    pub(super) fn publish(&mut self, text: &str) -> Result<Answer, Fault> {
        let message = self.message(text);
        if let Some(call) = self.room.publication.call(message) {
            let log = self.target.log();
            log.add(log.open(), Side::Note, format!("run {:?}", call.words).as_bytes());
            return match call.run(self.target.patience()) {
                Ok(()) => Ok(Answer::Taken),
                Err(CallError::Failed(words)) => Ok(Answer::Refused { status: None, words }),
                Err(error) => Err(Fault::Skip(error.to_string())),
            };
        }
        self.request(message)
    }

    fn request(&mut self, message: Message<'_>) -> Result<Answer, Fault> {
        let Some(request) = self.room.publication.request(message) else {
            return Err(Fault::Harness("no request".to_owned()));
        };
        let trouble = |error: &Error| Fault::Skip(format!("publishing: {error}"));
        let is_kept = self.connection.is_some();
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.dial()?,
        };
        let asked = match connection.ask(&request) {
            // A kept connection may have been closed in the meantime.
            Err(error) if is_kept && error.is_end() => {
                connection = self.dial()?;
                connection.ask(&request)
            }
            asked => asked,
        };
        let (head, mut body) = match asked {
            Ok(answer) => answer,
            Err(error) if error.is_end() => return Ok(Answer::Gone(error.to_string())),
            Err(error @ Error::Timeout { .. }) => return Ok(Answer::Late(error.to_string())),
            Err(error) => return Err(trouble(&error)),
        };
        let whole = connection.read_body_to_end(&mut body);
        if whole.is_ok() && body.framing() != wire::Framing::Close && !head.ends_connection() {
            self.connection = Some(connection);
        }
        // A form is often answered by a redirection.
        let answer = match head.status {
            200..400 => Answer::Taken,
            status => Answer::Refused { status: Some(status), words: head.summary() },
        };
        self.answer = Some(head);
        Ok(answer)
    }
}

impl Session<'_> {
    /// Publishes a text, and another one behind it; what came between.
    ///
    /// `words` are those in the text that show where it went.
    pub(super) fn carry(&mut self, text: &str, words: &[&str]) -> Result<Carried, Fault> {
        if self.room.is_relay() {
            let words = "the template writes data: itself, so the server only passes it on";
            return Err(Fault::Skip(words.to_owned()));
        }
        if self.room.is_stuck.load(Ordering::Relaxed) {
            return Err(Fault::Skip(LATE.to_owned()));
        }
        self.stream.forget_raw();
        let begin = Instant::now();
        self.publisher.say(text)?;
        let end = word();
        self.publisher.say(&end)?;
        let found = read_until(&mut self.stream, &end, self.target.patience());
        let mut events = found.map_err(|error| match error {
            Error::Timeout { .. } => {
                // Where each text waits for the next one, one such wait is enough, unless the host explains it.
                let counts = host::worst_since(begin) < self.target.patience() / 4;
                self.room.is_stuck.store(self.is_behind && counts, Ordering::Relaxed);
                Fault::Skip(format!("nothing came after such a text: {error}"))
            }
            error => Fault::Skip(format!("after such a text the stream ended: {error}")),
        })?;
        let last = events.pop();
        let has_both = |event: &Event| words.iter().any(|word| event.data.contains(word));
        if let Some(event) = last.filter(has_both) {
            // Strings in JSON are still apart.
            if self.room.is_plain() {
                return Err(Fault::Skip("the server puts several texts into one event".to_owned()));
            }
            events.push(event);
        }
        let mut carried = Carried { events, raw: self.stream.raw().to_vec() };
        let due = Instant::now() + self.target.scaled(OVERTAKEN);
        while words.iter().any(|word| !carried.is_on_the_wire(word)) && Instant::now() < due {
            self.stream.set_patience(due.saturating_duration_since(Instant::now()));
            match self.stream.next_event() {
                Ok(Some(event)) => carried.events.push(event),
                _ => break,
            }
            carried.raw = self.stream.raw().to_vec();
        }
        self.stream.set_patience(self.target.patience());
        Ok(carried)
    }

    /// Goes on only if texts come without a later one behind them: else S5.02 fails, and that is all.
    pub(super) fn prompt(self) -> Result<Self, Fault> {
        match self.is_behind {
            true => Err(Fault::Skip(LATE.to_owned())),
            false => Ok(self),
        }
    }

    /// The room.
    pub(super) fn room(&self) -> &Room {
        self.room
    }
}

impl Carried {
    /// Whether the word is in the data of an event.
    pub(super) fn is_in_data(&self, word: &str) -> bool {
        self.events.iter().any(|event| event.data.contains(word))
    }

    /// Whether the word was in the bytes at all.
    pub(super) fn is_on_the_wire(&self, word: &str) -> bool {
        memchr::memmem::find(&self.raw, word.as_bytes()).is_some()
    }

    /// The bytes, for "actual".
    pub(super) fn shown(&self) -> String {
        format!("\"{}\"", wire::shown(&self.raw[..self.raw.len().min(400)]))
    }
}

/// Reads to the event that has this word; all events until then, that one last.
pub(super) fn read_until(
    stream: &mut EventStream,
    word: &str,
    within: Duration,
) -> wire::Result<Vec<Event>> {
    read_until_any(stream, &[word.to_owned()], within)
}

/// The same for an event that has any of these words.
fn read_until_any(
    stream: &mut EventStream,
    words: &[String],
    within: Duration,
) -> wire::Result<Vec<Event>> {
    let mut events = Vec::new();
    read_into(&mut events, stream, words, within).map(|()| events)
}

/// The same; the events that came are kept also where none has a word.
pub(super) fn read_into(
    events: &mut Vec<Event>,
    stream: &mut EventStream,
    words: &[String],
    within: Duration,
) -> wire::Result<()> {
    let due = Instant::now() + within;
    loop {
        stream.set_patience(due.saturating_duration_since(Instant::now()));
        match stream.next_event() {
            Ok(Some(event)) => events.push(event),
            Ok(None) => return Err(Error::Closed { awaited: "the event of a published text" }),
            Err(Error::Timeout { .. }) => {
                let awaited = "event of a published text";
                return Err(Error::Timeout { awaited, patience: within });
            }
            Err(error) => return Err(error),
        }
        let has_word = |event: &Event| words.iter().any(|word| event.data.contains(word.as_str()));
        if events.last().is_some_and(has_word) {
            stream.set_patience(within);
            return Ok(());
        }
    }
}

/// A further stream that is refused is no fault: some servers allow one.
pub(super) fn refused(error: Error) -> Fault {
    match error {
        Error::NotAStream { .. } | Error::Timeout { .. } => {
            Fault::Skip(format!("one more stream is not served: {error}"))
        }
        error => not_stayed(error),
    }
}

/// A stream that ends before a case is done with it: some servers close the older one, and a cut is the
/// claim of S2.04.
pub(super) fn not_stayed(error: Error) -> Fault {
    match error {
        error if error.is_end() => Fault::Skip(format!("the stream did not stay: {error}")),
        error => error.into(),
    }
}

fn wrapping_of(event: &Event, text: &str) -> Wrapping {
    if let Some(before) = event.data.strip_suffix(text) {
        return Wrapping::Plain(before.to_owned());
    }
    let json = serde_json::from_str::<Value>(&event.data).ok();
    match json.as_ref().and_then(|json| string_with(json, text)) {
        Some(string) if string == text => Wrapping::Json,
        _ => Wrapping::Opaque,
    }
}

/// The first string in the JSON that has this word.
fn string_with<'j>(json: &'j Value, word: &str) -> Option<&'j str> {
    match json {
        Value::String(text) => text.contains(word).then_some(text),
        Value::Array(items) => items.iter().find_map(|item| string_with(item, word)),
        Value::Object(fields) => fields.values().find_map(|value| string_with(value, word)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wrapping_of_a_text_is_found() {
        let of = |data: &str| {
            let event = Event { event: "chat".into(), data: data.into(), id: String::new() };
            wrapping_of(&event, "t1")
        };
        assert_eq!(of("t1"), Wrapping::Plain(String::new()));
        assert_eq!(of("ada: t1"), Wrapping::Plain("ada: ".to_owned()));
        assert_eq!(of("\"t1\""), Wrapping::Json);
        assert_eq!(of("[{\"from\":\"ada\",\"text\":\"t1\"}]"), Wrapping::Json);
        assert_eq!(of("{\"html\":\"<b>t1</b>\"}"), Wrapping::Opaque);
        assert_eq!(of("<b>t1</b>"), Wrapping::Opaque);
    }
}
