//! The cases that a switch turns red beside its own.

/// Further ways to fail a case, each its own switch.
pub const MORE_FAULTS: &[(&str, &str)] = &[
    // Only in every second attempt: no retry may forgive it.
    ("C2.08", "alternate"),
];

/// Where one fault breaks more than one claim of its category, the other claims.
pub const ALSO: &[(&str, &[&str])] = &[
    // Line ends of one kind are part of the mix.
    ("C2.02", &["C2.04", "C2.05"]),
    ("C2.03", &["C2.04", "C2.06", "C2.07"]),
    ("C2.05", &["C2.02", "C2.04"]),
    ("C2.06", &["C2.03", "C2.04", "C2.07"]),
    // Both are about segments that hold parts of the chunks' lines.
    ("C2.11", &["C2.16"]),
    ("C2.16", &["C2.11"]),
    // Most blocks have several data lines.
    ("C3.01", &["C3.03", "C3.05", "C3.06", "C3.21", "C3.26"]),
    ("C3.02", &["C3.03"]),
    ("C3.03", &["C3.01"]),
    ("C3.05", &["C3.11", "C3.15", "C3.26"]),
    ("C3.06", &["C3.15"]),
    // The mix has lines of each kind.
    ("C3.07", &["C3.26"]),
    ("C3.08", &["C3.26"]),
    ("C3.09", &["C3.26"]),
    ("C3.10", &["C3.26"]),
    ("C3.12", &["C3.13"]),
    ("C3.16", &["C3.18", "C3.20"]),
    ("C3.17", &["C3.26"]),
    ("C3.22", &["C3.26"]),
    ("C3.23", &["C3.21", "C3.24"]),
    ("C3.26", &["C3.01", "C3.05"]),
    // A client that takes U+FEFF out of lines takes it out of names too.
    ("C4.04", &["C4.02", "C4.03"]),
    // Text that is decoded chunk by chunk, or not at all, loses all that is not ASCII.
    ("C4.05", &["C4.01", "C4.04", "C4.06", "C4.07"]),
    ("C4.06", &["C4.01", "C4.07"]),
    ("C4.07", &["C4.06"]),
];
