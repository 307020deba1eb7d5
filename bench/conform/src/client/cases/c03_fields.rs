//! Category 3: fields; all of it is data.

use super::CASE;
use crate::Level;
use crate::client::{Capability, Case, vectors};

pub(super) static CASES: &[Case] = &[
    Case {
        id: "C3.01",
        slug: "two-line-data",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "Data lines are joined by LF, and one LF is taken off at the end.",
        sends: "Blocks of several data lines.",
        fix: "Append LF behind each data line, and remove one at the end.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C3.02",
        slug: "data-empty",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "An empty data line makes an event with empty data.",
        sends: "data: and a blank line.",
        fix: "Ask whether a data line was seen, not whether the data is empty.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C3.03",
        slug: "bare-data",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "data without a colon is an empty line of data.",
        sends: "data without a colon.",
        fix: "Take a line without a colon for a name with an empty value.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C3.04",
        slug: "no-data",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "A block without data is no event, and its type is forgotten.",
        sends: "A block with a type and no data, then an event.",
        fix: "Forget the type with the block, dispatched or not.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C3.05",
        slug: "one-space",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "One space behind the colon is removed: not two, and no tab.",
        sends: "Values behind no, one and two spaces, and behind a tab.",
        fix: "Remove one U+0020 if there is one; do not trim.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C3.06",
        slug: "first-colon",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "The first colon ends the name; others belong to the value.",
        sends: "Values with colons.",
        fix: "Split at the first colon.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C3.07",
        slug: "unknown",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "Unknown fields and lines without a colon are ignored.",
        sends: "Unknown names, and text.",
        fix: "Ignore what is not known; it is no error.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C3.08",
        slug: "case",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "Names of fields are case-sensitive.",
        sends: "Names in upper case.",
        fix: "Compare names byte by byte.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C3.09",
        slug: "space-name",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "A space before a name makes it another name.",
        sends: "A name behind a space.",
        fix: "Do not trim lines.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C3.10",
        slug: "nul-name",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "A NUL in a name makes it another name.",
        sends: "Names with NUL.",
        fix: "Compare names whole; a NUL is a character as any.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C3.11",
        slug: "event-type",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "The event field sets the type, of one event.",
        sends: "An event with a type, and one without.",
        fix: "Reset the type with each block.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C3.12",
        slug: "event-empty",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "An empty event field means the type message.",
        sends: "event: without a value.",
        fix: "Take an empty type for message.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C3.13",
        slug: "event-reset-in-block",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "A later empty event field resets the type of the block.",
        sends: "event: a, then event: or event.",
        fix: "Let the later line win, an empty one too.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C3.14",
        slug: "event-last-wins",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "Of several event fields the last one counts.",
        sends: "Two event lines in a block.",
        fix: "Let the later line win.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C3.15",
        slug: "id-basic",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "The id field sets the last event id.",
        sends: "Events with ids of several kinds.",
        fix: "Keep the value as it is: an id need not be a number.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C3.16",
        slug: "id-persist",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "The last event id stays until another one comes.",
        sends: "An event with an id, and one without.",
        fix: "Keep the last event id across events.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C3.17",
        slug: "id-reset",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "An empty id field resets the last event id.",
        sends: "id: and id without a colon.",
        fix: "Let an empty value reset the id.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C3.18",
        slug: "id-nul",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "An id with a NUL is ignored; the event is not, and the old id stays.",
        sends: "An id with NUL.",
        fix: "Ignore that line, and nothing else.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C3.19",
        slug: "id-last-wins",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "Of several id fields the last one counts.",
        sends: "Two id lines in a block.",
        fix: "Let the later line win.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C3.20",
        slug: "id-only-block",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "An id without data makes no event, but counts.",
        sends: "A block with an id and no data.",
        fix: "Take the id over at the blank line, before asking whether there is data.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C3.21",
        slug: "comment",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "Comments are ignored: before, within and behind events, with NUL, long.",
        sends: "Comments before, in and behind events, with NUL, of 2 KiB.",
        fix: "Ignore lines that begin with a colon.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C3.22",
        slug: "comment-then-blank",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "A comment with its blank line is no event.",
        sends: "A comment and a blank line after an event.",
        fix: "Dispatch nothing where no data line was seen.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C3.23",
        slug: "comment-no-blank",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "A comment without a blank line leaves the next event whole.",
        sends: "A comment without a blank line before an event.",
        fix: "Do not wait for a blank line behind a comment.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C3.24",
        slug: "comment-report",
        level: Level::Should,
        source: "practice: watchdogs",
        needs: &[Capability::Cm],
        claim: "Comments are reported, without the colon and a space behind it.",
        sends: "Comments with and without a space.",
        fix: "Hand out the text behind the colon and one space.",
        run: vectors::run_comments,
        ..CASE
    },
    Case {
        id: "C3.25",
        slug: "order",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "The order of the fields in a block does not matter.",
        sends: "A block with its fields in another order.",
        fix: "Collect the fields, and look at them at the blank line.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C3.26",
        slug: "wpt-kitchen-sink",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "All of it together, as in the standard's examples and WPT.",
        sends: "The standard's examples, and a mix of all fields.",
        fix: "See which case of this category fails, too.",
        run: vectors::run,
        ..CASE
    },
];
