//! Category 4: what goes into the encoder comes out of a client's parser.

use serde_json::{Value, json};

use crate::conformance::expect::{equal, pass};
use crate::conformance::server::script::data;
use crate::conformance::server::{Case, Level, Need, Outcome, Target};

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
        cost: &[],
        claim: "One line of data arrives unchanged, with the type message.",
        run: |target| data_becomes(target, "hello", "hello"),
    },
    Case {
        id: "S4.02",
        slug: "multi-line",
        level: Level::MustContract,
        source: "HTML 9.2.5",
        needs: &[Need::Script],
        cost: &[],
        claim: "Data of several lines arrives with the same lines.",
        run: |target| data_becomes(target, "a\nb\nc", "a\nb\nc"),
    },
    Case {
        id: "S4.03",
        slug: "crlf-in-data",
        level: Level::Should,
        source: "HTML 9.2.5",
        needs: &[Need::Script],
        cost: &[],
        claim: "CRLF in data is one line end: two lines arrive, not three.",
        run: |target| data_becomes(target, "a\r\nb", "a\nb"),
    },
    Case {
        id: "S4.04",
        slug: "cr-in-data",
        level: Level::MustContract,
        source: "HTML 9.2.5",
        needs: &[Need::Script],
        cost: &[],
        claim: "CR in data is a line end: two lines arrive and nothing is lost.",
        run: |target| data_becomes(target, "a\rb", "a\nb"),
    },
    Case {
        id: "S4.05",
        slug: "trailing-newline",
        level: Level::Should,
        source: "HTML 9.2.6",
        needs: &[Need::Script],
        cost: &[],
        claim: "A newline at the end of data arrives.",
        run: |target| data_becomes(target, "x\n", "x\n"),
    },
    Case {
        id: "S4.06",
        slug: "empty-data",
        level: Level::MustContract,
        source: "HTML 9.2.6",
        needs: &[Need::Script],
        cost: &[],
        claim: "An event with empty data arrives: it needs a data line all the same.",
        run: |target| data_becomes(target, "", ""),
    },
    Case {
        id: "S4.07",
        slug: "leading-space",
        level: Level::MustContract,
        source: "HTML 9.2.6",
        needs: &[Need::Script],
        cost: &[],
        claim: "Data that begins with spaces keeps them: a parser takes one away.",
        run: |target| {
            data_becomes(target, " x", " x")?;
            data_becomes(target, "  x", "  x")
        },
    },
    Case {
        id: "S4.08",
        slug: "colon-first",
        level: Level::MustContract,
        source: "HTML 9.2.5",
        needs: &[Need::Script],
        cost: &[],
        claim: "Data that looks like a comment or a field is data.",
        run: |target| {
            data_becomes(target, ":x", ":x")?;
            data_becomes(target, "data: y", "data: y")
        },
    },
    Case {
        id: "S4.09",
        slug: "unicode",
        level: Level::MustContract,
        source: "HTML 9.2.5",
        needs: &[Need::Script],
        cost: &[],
        claim: "Any character other than CR and LF arrives, in data and in the event type.",
        run: |target| {
            let text = "😀 \u{2028} \u{2029} \u{85} \u{b} \u{feff} \0 é";
            let item = json!({ "event": "naïve-✓", "data": text });
            emits(target, &[item], &[("naïve-✓", text, "")])
        },
    },
    Case {
        id: "S4.10",
        slug: "large-line",
        level: Level::Should,
        source: "practice",
        needs: &[Need::Script],
        cost: &[],
        claim: "A line of 1 MiB arrives.",
        run: |target| {
            let item = json!({ "data": "x", "times": LINE_BYTES });
            emits(target, &[item], &[("message", &"x".repeat(LINE_BYTES), "")])
        },
    },
    Case {
        id: "S4.11",
        slug: "many-lines",
        level: Level::Should,
        source: "practice",
        needs: &[Need::Script],
        cost: &[],
        claim: "Data of 20 000 lines arrives.",
        run: |target| {
            // The line end comes first: one at the end is the claim of S4.05.
            let item = json!({ "data": "\nx", "times": LINES });
            emits(target, &[item], &[("message", &"\nx".repeat(LINES), "")])
        },
    },
    Case {
        id: "S4.12",
        slug: "id-reset",
        level: Level::MustContract,
        source: "HTML 9.2.6",
        needs: &[Need::Script],
        cost: &[],
        claim: "An empty id is written as an empty id line, which resets the last event id.",
        run: |target| {
            let items = [json!({ "id": "7", "data": "a" }), json!({ "id": "", "data": "b" })];
            emits(target, &items, &[("message", "a", "7"), ("message", "b", "")])
        },
    },
    Case {
        id: "S4.13",
        slug: "pretty-json",
        level: Level::MustContract,
        source: "HTML 9.2.5",
        needs: &[Need::Script],
        cost: &[],
        claim: "JSON written over several lines arrives byte by byte.",
        run: |target| {
            let text = "{\n  \"a\": [\n    1,\n    2\n  ]\n}";
            data_becomes(target, text, text)
        },
    },
];

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
