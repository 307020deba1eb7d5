//! Texts of a case, and which of them come out of a stream.

use std::time::{Duration, Instant};

use wire::{Error, Event, EventStream};

use crate::server::Fault;
use crate::server::room::word;

/// Numbered texts with a word that occurs nowhere else.
#[derive(Debug)]
pub(super) struct Texts {
    before: String,
}

/// A text on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) number: usize,
    /// Empty without one.
    pub(super) id: String,
}

/// The texts and other events of a stream, in a span of time.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    /// The texts, in the order in which they came.
    pub(super) texts: Vec<Heard>,
    /// The other events.
    pub(super) others: Vec<Event>,
    /// How the stream ended, if it did.
    pub(super) end: Option<String>,
    /// The time was over first.
    pub(super) is_late: bool,
}

impl Texts {
    /// Texts of this kind; the kind is a word for people who read the dialogue.
    pub(super) fn new(kind: &str) -> Texts {
        Texts { before: format!("{}-{kind}-", word()) }
    }

    /// The text with this number, from 0.
    pub(super) fn text(&self, number: usize) -> String {
        format!("{}{number}.", self.before)
    }

    /// The texts in an event: a room may gather several.
    fn numbers_in(&self, event: &Event) -> Vec<usize> {
        let parts = event.data.split(self.before.as_str()).skip(1);
        let number = |part: &str| part.split_once('.').and_then(|(digits, _)| digits.parse().ok());
        parts.filter_map(number).collect()
    }

    /// Reads until this is enough, the time is over, or the stream ends.
    pub(super) fn hear(
        &self,
        stream: &mut EventStream,
        within: Duration,
        is_enough: impl Fn(&[Heard]) -> bool,
    ) -> Result<Hearing, Fault> {
        let due = Instant::now() + within;
        let mut hearing = Hearing::default();
        while !is_enough(&hearing.texts) {
            stream.set_patience(due.saturating_duration_since(Instant::now()));
            let event = match stream.next_event() {
                Ok(Some(event)) => event,
                Ok(None) => {
                    hearing.end = Some("it ended".to_owned());
                    break;
                }
                Err(Error::Timeout { .. }) => {
                    hearing.is_late = true;
                    break;
                }
                Err(error) if error.is_end() => {
                    hearing.end = Some(error.to_string());
                    break;
                }
                Err(error) => return Err(error.into()),
            };
            let numbers = self.numbers_in(&event);
            if numbers.is_empty() {
                hearing.others.push(event);
                continue;
            }
            let heard = |number| Heard { number, id: event.id.clone() };
            hearing.texts.extend(numbers.into_iter().map(heard));
        }
        Ok(hearing)
    }

    /// Reads until each of so many texts has come.
    pub(super) fn hear_all(
        &self,
        stream: &mut EventStream,
        count: usize,
        within: Duration,
    ) -> Result<Hearing, Fault> {
        self.hear(stream, within, |texts| has_all(texts, count))
    }
}

impl Hearing {
    /// The numbers of the texts.
    pub(super) fn numbers(&self) -> Vec<usize> {
        self.texts.iter().map(|it| it.number).collect()
    }

    /// The first event that is neither a text nor of a type that other streams have as well: word of a gap.
    pub(super) fn word_of_a_gap(&self, greetings: &[String]) -> Option<String> {
        let is_new = |event: &&Event| {
            !greetings.contains(&event.event)
                && !crate::server::grammar::has_own_word(event.data.as_bytes())
        };
        let event = self.others.iter().find(is_new)?;
        Some(format!("event {:?}, data {:.80}", event.event, event.data))
    }

    /// How it went on after the texts, for a report.
    pub(super) fn end_words(&self) -> String {
        match (&self.end, self.is_late) {
            (Some(words), _) => format!(", and then: {words}"),
            (None, true) => ", and then nothing in time".to_owned(),
            (None, false) => String::new(),
        }
    }
}

/// Whether each of so many texts is there.
pub(super) fn has_all(texts: &[Heard], count: usize) -> bool {
    texts.len() >= count && (0..count).all(|number| texts.iter().any(|it| it.number == number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_in_an_event_that_gathers_them() {
        let texts = Texts::new("x");
        let event = |data: String| Event { event: "message".into(), data, id: String::new() };
        let two = event(format!("[\"{}\",\"{}\"]", texts.text(1), texts.text(12)));
        assert_eq!(texts.numbers_in(&two), [1, 12]);
        assert!(texts.numbers_in(&event(Texts::new("x").text(1))).is_empty());
    }
}
