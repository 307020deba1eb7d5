//! Category 4: what goes into the encoder comes out of a client's parser.

use serde_json::{Value, json};

use super::{CASE, SIMPLE_EVENT, published_text};
use crate::expect::{equal, pass};
use crate::server::room::Room;
use crate::server::script::data;
use crate::server::{Case, Level, Need, Outcome, Target};

/// The length of the long line of S4.10.
const LINE_BYTES: usize = 1 << 20;
/// The lines of S4.11.
const LINES: usize = 20_000;

pub(super) static CASES: &[Case] = &[
    Case {
        id: "S4.01",
        slug: "simple",
        level: Level::MustContract,
        source: "HTML 9.2.5",
        needs: &[Need::Script],
        claim: "One line of data arrives unchanged, with the type message.",
        sends: "A script with data hello.",
        fix: "Write data: hello and a blank line.",
        run: |target| data_becomes(target, "hello", "hello"),
        ..CASE
    },
    Case {
        id: "S4.02",
        slug: "multi-line",
        level: Level::MustContract,
        source: "HTML 9.2.5",
        needs: &[Need::Text],
        after: SIMPLE_EVENT,
        claim: "Data of several lines arrives with the same lines.",
        sends: "A script, or a published text, with three lines of data.",
        fix: "Write a data line for each line of the value.",
        run: |target| {
            by_room_or(target, published_text::multi_line, |target| {
                data_becomes(target, "a\nb\nc", "a\nb\nc")
            })
        },
        ..CASE
    },
    Case {
        id: "S4.03",
        slug: "crlf-in-data",
        level: Level::Should,
        source: "HTML 9.2.5",
        needs: &[Need::Text],
        after: SIMPLE_EVENT,
        claim: "CRLF in data is one line end: two lines arrive, not three.",
        sends: "A script, or a published text, with CRLF in data.",
        fix: "Split data at CRLF, LF and CR, CRLF first: it is one line end, not two.",
        run: |target| {
            by_room_or(target, published_text::crlf, |target| {
                data_becomes(target, "a\r\nb", "a\nb")
            })
        },
        ..CASE
    },
    Case {
        id: "S4.04",
        slug: "cr-in-data",
        level: Level::MustContract,
        source: "HTML 9.2.5",
        needs: &[Need::Text],
        after: SIMPLE_EVENT,
        claim: "CR in data is a line end: two lines arrive and nothing is lost.",
        sends: "A script, or a published text, with a lone CR in data.",
        fix: "Split data at CR too: for a client it ends the line, and what follows is lost.",
        run: |target| {
            by_room_or(target, published_text::cr, |target| data_becomes(target, "a\rb", "a\nb"))
        },
        ..CASE
    },
    Case {
        id: "S4.05",
        slug: "trailing-newline",
        level: Level::Should,
        source: "HTML 9.2.6",
        needs: &[Need::Text],
        after: SIMPLE_EVENT,
        claim: "A newline at the end of data arrives.",
        sends: "A script, or a published text, with data that ends in LF.",
        fix: "Write one more, empty data line: a client removes exactly one LF at the end.",
        run: |target| {
            by_room_or(target, published_text::trailing_newline, |target| {
                data_becomes(target, "x\n", "x\n")
            })
        },
        ..CASE
    },
    Case {
        id: "S4.06",
        slug: "empty-data",
        level: Level::MustContract,
        source: "HTML 9.2.6",
        needs: &[Need::Text],
        after: SIMPLE_EVENT,
        claim: "An event with empty data arrives: it needs a data line all the same.",
        sends: "A script, or a published text, with empty data.",
        fix: "Write an empty data line: data: and a blank line dispatch an event, a blank line alone does not.",
        run: |target| {
            by_room_or(target, published_text::empty, |target| data_becomes(target, "", ""))
        },
        ..CASE
    },
    Case {
        id: "S4.07",
        slug: "leading-space",
        level: Level::MustContract,
        source: "HTML 9.2.6",
        needs: &[Need::Text],
        after: SIMPLE_EVENT,
        claim: "Data that begins with spaces keeps them: a parser takes one away.",
        sends: "A script, or a published text, with data that begins with one and with two spaces.",
        fix: "Always write a space after the colon: a client removes one.",
        run: |target| {
            by_room_or(target, published_text::leading_space, |target| {
                data_becomes(target, " x", " x")?;
                data_becomes(target, "  x", "  x")
            })
        },
        ..CASE
    },
    Case {
        id: "S4.08",
        slug: "colon-first",
        level: Level::MustContract,
        source: "HTML 9.2.5",
        needs: &[Need::Text],
        after: SIMPLE_EVENT,
        claim: "Data that looks like a comment or a field is data.",
        sends: "A script, or a published text, with data :x and data: y.",
        fix: "Write the value after data: and a space, whatever it looks like.",
        run: |target| {
            by_room_or(target, published_text::colon_first, |target| {
                data_becomes(target, ":x", ":x")?;
                data_becomes(target, "data: y", "data: y")
            })
        },
        ..CASE
    },
    Case {
        id: "S4.09",
        slug: "unicode",
        level: Level::MustContract,
        source: "HTML 9.2.5",
        needs: &[Need::Text],
        after: SIMPLE_EVENT,
        claim: "Any character other than CR and LF arrives, in data and in the event type.",
        sends: "A script, or a published text, with characters beyond the BMP, U+2028, U+0085, U+FEFF, NUL, and a non-ASCII type.",
        fix: "Split at CR and LF only, and pass everything else on as UTF-8.",
        run: |target| {
            by_room_or(target, published_text::unicode, |target| {
                let text = "😀 \u{2028} \u{2029} \u{85} \u{b} \u{feff} \0 é";
                let item = json!({ "event": "naïve-✓", "data": text });
                emits(target, &[item], &[("naïve-✓", text, "")])
            })
        },
        ..CASE
    },
    Case {
        id: "S4.10",
        slug: "large-line",
        level: Level::Should,
        source: "practice",
        needs: &[Need::Text],
        after: SIMPLE_EVENT,
        claim: "A line of 1 MiB arrives.",
        sends: "A script, or a published text, with one line of 1 MiB.",
        fix: "Raise or remove the limit of the encoder's buffer.",
        run: |target| {
            by_room_or(
                target,
                |target, room| published_text::large(target, room, &"x".repeat(LINE_BYTES)),
                |target| {
                    let item = json!({ "data": "x", "times": LINE_BYTES });
                    emits(target, &[item], &[("message", &"x".repeat(LINE_BYTES), "")])
                },
            )
        },
        ..CASE
    },
    Case {
        id: "S4.11",
        slug: "many-lines",
        level: Level::Should,
        source: "practice",
        needs: &[Need::Text],
        after: SIMPLE_EVENT,
        claim: "Data of 20 000 lines arrives.",
        sends: "A script, or a published text, with 20 000 lines of one byte.",
        fix: "Look for a quadratic loop or a limit in the encoder.",
        run: |target| {
            by_room_or(
                target,
                |target, room| published_text::large(target, room, &"\nx".repeat(LINES)),
                |target| {
                    // The line end comes first: one at the end is the claim of S4.05.
                    let item = json!({ "data": "\nx", "times": LINES });
                    emits(target, &[item], &[("message", &"\nx".repeat(LINES), "")])
                },
            )
        },
        ..CASE
    },
    Case {
        id: "S4.12",
        slug: "id-reset",
        level: Level::MustContract,
        source: "HTML 9.2.6",
        needs: &[Need::Script],
        after: SIMPLE_EVENT,
        claim: "An empty id is written as an empty id line, which resets the last event id.",
        sends: "A script with id 7, then an empty id.",
        fix: "Write an empty id line when the id is there but empty: that resets it.",
        run: |target| {
            let items = [json!({ "id": "7", "data": "a" }), json!({ "id": "", "data": "b" })];
            emits(target, &items, &[("message", "a", "7"), ("message", "b", "")])
        },
        ..CASE
    },
    Case {
        id: "S4.13",
        slug: "pretty-json",
        level: Level::MustContract,
        source: "HTML 9.2.5",
        needs: &[Need::Text],
        after: SIMPLE_EVENT,
        claim: "JSON written over several lines arrives byte by byte.",
        sends: "A script, or a published text, with JSON over several lines.",
        fix: "As S4.02; or send the JSON on one line.",
        run: |target| {
            by_room_or(target, published_text::pretty_json, |target| {
                let text = "{\n  \"a\": [\n    1,\n    2\n  ]\n}";
                data_becomes(target, text, text)
            })
        },
        ..CASE
    },
];

/// The script where there is one, because it shows most; else a text in the author's room.
fn by_room_or(
    target: &Target,
    by_room: impl Fn(&Target, &Room) -> Outcome,
    by_script: impl Fn(&Target) -> Outcome,
) -> Outcome {
    match target.room().filter(|_| !target.capabilities().contains(&Need::Script)) {
        Some(room) => by_room(target, room),
        None => by_script(target),
    }
}

/// An event with this data only arrives with that data.
fn data_becomes(target: &Target, input: &str, arrives: &str) -> Outcome {
    emits(target, &[data(input)], &[("message", arrives, "")])
}

/// The script makes exactly these events: type, data, last event id.
fn emits(target: &Target, items: &[Value], expected: &[(&str, &str, &str)]) -> Outcome {
    let events = target.script(items)?.read_to_end()?;
    let actual: Vec<_> =
        events.iter().map(|it| (it.event.as_str(), it.data.as_str(), it.id.as_str())).collect();
    equal("(type, data, last event id)", actual.as_slice(), expected)?;
    pass()
}
