//! The switches, and what else than its own case each may turn red.

/// Further ways to fail a case, each its own switch.
pub const MORE_FAULTS: &[(&str, &str)] = &[
    ("S1.02", "twice"),
    ("S1.11", "vary"),
    ("S2.01", "twice"),
    ("S2.01", "length"),
    ("S2.04", "length"),
    // Only in every second attempt: no retry may forgive it.
    ("S5.02", "alternate"),
    ("S5.06", "event"),
    ("S6.12", "header"),
    // No body, and no next request either.
    ("S9.01", "deaf"),
    ("S9.05", "without-get"),
    ("S9.21", "many"),
    ("S9.22", "8000"),
    ("S9.29", "body"),
    ("S10.07", "head"),
    ("S10.08", "stream"),
    ("S11.01", "exit-code"),
    ("S12.03", "status"),
    ("S12.06", "open"),
    ("S12.13", "cut"),
];

/// Where one fault breaks more than one claim, the other claims: a case that is blocked by a
/// failure of a case it depends on counts as well.
pub const ALSO: &[(&str, &[&str])] = &[
    // No stream opens: category 9 does not depend on that, but compares with it.
    ("S1.01", &["S9.02", "S9.20", "S9.23", "S9.24", "S9.25", "S9.26", "S9.29", "S9.30"]),
    ("S1.02", &["S9.20", "S9.23", "S9.24", "S9.25", "S9.26"]),
    ("S1.02-twice", &["S9.20", "S9.23", "S9.24", "S9.25", "S9.26"]),
    // A length instead of chunks, which the end of the stream then belies.
    ("S1.08", &["S11.03"]),
    // No event at all: each case that waits for one before it goes on.
    ("S3.13", &["S3.03", "S3.05", "S10.06"]),
    ("S4.02", &["S4.11", "S4.13"]),
    // One bug, seen from two sides.
    ("S4.04", &["S10.03"]),
    ("S10.03", &["S4.04"]),
    ("S4.07", &["S4.13"]),
    ("S4.13", &["S4.07"]),
    // A heartbeat that is an event comes where another event is awaited.
    ("S5.06-event", &["S5.01", "S5.07", "S5.08"]),
    // A lost or renamed next event shows in each kind of resuming.
    ("S6.03", &["S6.02"]),
    ("S6.10", &["S6.03"]),
];
