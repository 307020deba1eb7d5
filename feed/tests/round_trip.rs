//! Any event that goes into the encoder comes out of the client's parser equal, after the repairs
//! that `feed::wire` documents.

use std::time::Duration;

use client::parser::{Item, Parser};
use feed::Event;
use feed::wire::encode;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

/// An item that the client's parser returns.
#[derive(Debug, PartialEq)]
enum Seen {
    Event { event: String, data: String, last_event_id: String },
    Comment(String),
    Retry(Duration),
}

/// Text that breaks encoders: line ends of all kinds, NUL, colons, spaces, BOM, field names, wide
/// characters.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-c]{0,3}",
        Just("\r".to_owned()),
        Just("\n".to_owned()),
        Just("\r\n".to_owned()),
        Just("\0".to_owned()),
        Just(":".to_owned()),
        Just(" ".to_owned()),
        Just("data: inj\n".to_owned()),
        Just("\nid: 1".to_owned()),
        Just("\u{feff}".to_owned()),
        Just("\u{2028}é😀".to_owned()),
    ];
    vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn event() -> impl Strategy<Value = Event> {
    (of(text()), of(text()), of(text()), of(0..=u64::MAX / 1000), of(text())).prop_map(
        |(id, event, data, retry, comment)| Event {
            id,
            event: event.map(Into::into),
            data,
            retry: retry.map(Duration::from_millis),
            comment,
        },
    )
}

/// The items that the standard demands for these events, after the documented repairs.
fn expected(events: &[Event]) -> Vec<Seen> {
    let line_ends = |text: &str| text.replace("\r\n", "\n").replace('\r', "\n");
    let mut last_event_id = String::new();
    let mut seen = Vec::new();
    for event in events {
        if let Some(comment) = &event.comment {
            seen.extend(line_ends(comment).split('\n').map(|line| Seen::Comment(line.to_owned())));
        }
        if let Some(id) = &event.id {
            last_event_id = id.replace(['\r', '\n', '\0'], "");
        }
        seen.extend(event.retry.map(Seen::Retry));
        if let Some(data) = &event.data {
            let kind = event.event.as_deref().unwrap_or("").replace(['\r', '\n'], "");
            seen.push(Seen::Event {
                event: if kind.is_empty() { "message".to_owned() } else { kind },
                data: line_ends(data),
                last_event_id: last_event_id.clone(),
            });
        }
    }
    seen
}

fn parsed(wire: &[u8]) -> Vec<Seen> {
    let mut parser = Parser::new();
    parser.push(wire);
    let mut seen = Vec::new();
    while let Some(item) = parser.next_item().expect("small events are within the limits") {
        seen.push(match item {
            Item::Event(event) => Seen::Event {
                event: event.event.to_owned(),
                data: event.data.to_owned(),
                last_event_id: event.last_event_id.to_owned(),
            },
            Item::Comment(text) => Seen::Comment(text.to_owned()),
            Item::Retry(retry) => Seen::Retry(retry),
        });
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn what_goes_in_comes_out(events in vec(event(), 0..8)) {
        let wire: Vec<u8> = events.iter().flat_map(|event| encode(event).to_vec()).collect();
        prop_assert_eq!(parsed(&wire), expected(&events));
    }
}
