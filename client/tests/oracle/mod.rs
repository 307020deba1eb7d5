//! Our parser beside sse-core, on the same pieces of the same stream.
#![allow(dead_code)] // Each test that includes it uses a part.

use client::{Item, ParseError, Parser};
use sse_core::{SseDecoder, SseEvent};

/// A piece of a stream, as either parser reports it.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// Type, data and last event id.
    Event(String, String, String),
    /// sse-core does not report them.
    Comment(String),
    /// In milliseconds.
    Retry(u128),
}

impl From<Item<'_>> for Seen {
    fn from(item: Item<'_>) -> Self {
        match item {
            Item::Event(e) => Self::Event(e.event.into(), e.data.into(), e.last_event_id.into()),
            Item::Comment(text) => Self::Comment(text.into()),
            Item::Retry(delay) => Self::Retry(delay.as_millis()),
        }
    }
}

/// The pieces that our parser sees, and the last event id at the end.
pub fn ours(pieces: &[&[u8]]) -> Result<(Vec<Seen>, String), ParseError> {
    let mut parser = Parser::new();
    let mut seen = Vec::new();
    for mut piece in pieces.iter().copied() {
        while let Some(item) = parser.parse(&mut piece)? {
            seen.push(item.into());
        }
        assert!(piece.is_empty(), "what is not an item is read");
    }
    Ok((seen, parser.last_event_id().to_owned()))
}

/// The same by a parser that skips comments, which has separate code for them.
pub fn ours_without_comments(pieces: &[&[u8]]) -> Result<(Vec<Seen>, String), ParseError> {
    let mut parser = Parser::new().skip_comments();
    let mut seen = Vec::new();
    for mut piece in pieces.iter().copied() {
        while let Some(item) = parser.parse(&mut piece)? {
            seen.push(item.into());
        }
    }
    Ok((seen, parser.last_event_id().to_owned()))
}

/// The same as `ours`, by `push` and `next_item`.
pub fn ours_pushed(pieces: &[&[u8]]) -> Result<(Vec<Seen>, String), ParseError> {
    let mut parser = Parser::new();
    let mut seen = Vec::new();
    for piece in pieces {
        parser.push(piece);
        while let Some(item) = parser.next_item()? {
            seen.push(item.into());
        }
    }
    Ok((seen, parser.last_event_id().to_owned()))
}

/// The pieces that sse-core sees.
pub fn theirs(pieces: &[&[u8]]) -> (Vec<Seen>, String) {
    let mut decoder = SseDecoder::new();
    let mut seen = Vec::new();
    let id = |id: Option<&std::sync::Arc<str>>| id.map(ToString::to_string).unwrap_or_default();
    for mut piece in pieces.iter().copied() {
        while let Some(item) = decoder.next(&mut piece) {
            seen.push(match item.expect("the streams are shorter than its limit") {
                SseEvent::Message(event) => Seen::Event(
                    event.event.to_string(),
                    event.data,
                    id(event.last_event_id.as_ref()),
                ),
                SseEvent::Retry(ms) => Seen::Retry(ms.into()),
            });
        }
    }
    (seen, id(decoder.last_event_id()))
}

/// Panics unless both see the same, and ours the same for any cut.
pub fn assert_same(pieces: &[&[u8]]) {
    let (seen, id) = ours(pieces).expect("the streams are shorter than our limit");
    let pushed = ours_pushed(pieces).expect("the same limit");
    assert_eq!((&seen, &id), (&pushed.0, &pushed.1), "pushed: {pieces:x?}");
    let whole = ours(&[&pieces.concat()]).expect("the same limit");
    assert_eq!((&seen, &id), (&whole.0, &whole.1), "whole: {pieces:x?}");
    let skipped = ours_without_comments(pieces).expect("the same limit");
    let others = seen.iter().filter(|item| !matches!(item, Seen::Comment(_)));
    assert!(others.eq(&skipped.0) && id == skipped.1, "comments skipped: {pieces:x?}");
    let comparable = |item: &Seen| match item {
        Seen::Event(..) => true,
        Seen::Comment(_) => false,
        // It has 32 bits for them, and ignores what needs more.
        Seen::Retry(ms) => *ms <= u32::MAX.into(),
    };
    let seen: Vec<Seen> = seen.into_iter().filter(comparable).collect();
    assert_eq!((seen, id), theirs(pieces), "sse-core: {pieces:x?}");
}
