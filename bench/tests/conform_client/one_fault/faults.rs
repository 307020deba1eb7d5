//! The cases that a switch turns red beside its own.

/// Further ways to fail a case, each its own switch.
pub const MORE_FAULTS: &[(&str, &str)] = &[
    // Only in every second attempt: no retry may forgive it.
    ("C2.08", "alternate"),
    // Line ends that Python's splitlines knows beside those of other languages.
    ("C2.10", "separators"),
    // Every blank line makes an event.
    ("C3.04", "dispatched"),
    // `open` when the request is sent.
    ("C5.01", "early"),
    // At once, but for the first time, when the host is slow.
    ("C6.10", "host"),
    // The decoder keeps half a character for the next connection.
    ("C5.06", "utf8"),
];

/// Where one fault breaks more than one claim of its category, the other claims.
pub const ALSO: &[(&str, &[&str])] = &[
    // A CR LF that is cut is still CR LF.
    ("C2.02", &["C2.05"]),
    ("C2.05", &["C2.02"]),
    ("C2.03", &["C2.06"]),
    ("C2.06", &["C2.03"]),
    // An event that is lost at the end is late before it.
    ("C2.17", &["C2.07"]),
    // Both are about segments that hold parts of the chunks' lines.
    ("C2.11", &["C2.16"]),
    ("C2.16", &["C2.11"]),
];
