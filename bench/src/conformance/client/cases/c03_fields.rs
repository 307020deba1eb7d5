//! Category 3: fields; all of it is data.

use super::{case, parsed};
use crate::conformance::Level;
use crate::conformance::client::{Capability, Case, vectors};

pub(super) static CASES: &[Case] = &[
    parsed(
        "C3.01",
        "two-line-data",
        "Data lines are joined by LF, and one LF is taken off at the end.",
    ),
    parsed("C3.02", "data-empty", "An empty data line makes an event with empty data."),
    parsed("C3.03", "bare-data", "data without a colon is an empty line of data."),
    parsed("C3.04", "no-data", "A block without data is no event, and its type is forgotten."),
    parsed("C3.05", "one-space", "One space behind the colon is removed: not two, and no tab."),
    parsed("C3.06", "first-colon", "The first colon ends the name; others belong to the value."),
    parsed("C3.07", "unknown", "Unknown fields and lines without a colon are ignored."),
    parsed("C3.08", "case", "Names of fields are case-sensitive."),
    parsed("C3.09", "space-name", "A space before a name makes it another name."),
    parsed("C3.10", "nul-name", "A NUL in a name makes it another name."),
    parsed("C3.11", "event-type", "The event field sets the type, of one event."),
    parsed("C3.12", "event-empty", "An empty event field means the type message."),
    parsed(
        "C3.13",
        "event-reset-in-block",
        "A later empty event field resets the type of the block.",
    ),
    parsed("C3.14", "event-last-wins", "Of several event fields the last one counts."),
    parsed("C3.15", "id-basic", "The id field sets the last event id."),
    parsed("C3.16", "id-persist", "The last event id stays until another one comes."),
    parsed("C3.17", "id-reset", "An empty id field resets the last event id."),
    parsed(
        "C3.18",
        "id-nul",
        "An id with a NUL is ignored; the event is not, and the old id stays.",
    ),
    parsed("C3.19", "id-last-wins", "Of several id fields the last one counts."),
    parsed("C3.20", "id-only-block", "An id without data makes no event, but counts."),
    parsed(
        "C3.21",
        "comment",
        "Comments are ignored: before, within and behind events, with NUL, long.",
    ),
    parsed("C3.22", "comment-then-blank", "A comment with its blank line is no event."),
    parsed(
        "C3.23",
        "comment-no-blank",
        "A comment without a blank line leaves the next event whole.",
    ),
    case(
        "C3.24",
        "comment-report",
        Level::Should,
        &[Capability::Cm],
        "practice: watchdogs",
        "Comments are reported, without the colon and a space behind it.",
        vectors::run_comments,
    ),
    parsed("C3.25", "order", "The order of the fields in a block does not matter."),
    parsed(
        "C3.26",
        "wpt-kitchen-sink",
        "All of it together, as in the standard's examples and WPT.",
    ),
];
