//! The categories of cases; their numbers are frozen.

use std::fmt;

/// Which side of a stream cases are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Servers send events: ids begin with `S`.
    Server,
    /// Clients read them: ids begin with `C`.
    Client,
}

/// A group of cases, by the first half of their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Category {
    /// The side that it is about.
    pub side: Side,
    /// 6 for `S6.01`; 0 for an id of another form.
    pub number: u32,
}

impl Category {
    /// The category of the case with this id.
    pub fn of(id: &str) -> Category {
        let side = if id.starts_with('C') { Side::Client } else { Side::Server };
        let digits = id.trim_start_matches(['S', 'C']).split('.').next().unwrap_or_default();
        Category { side, number: digits.parse().unwrap_or_default() }
    }

    /// Its name, a word for filters and headings: `resume` for `S6`.
    pub fn name(self) -> &'static str {
        match (self.side, self.number) {
            (Side::Server, 1) => "handshake",
            (Side::Server, 2) => "framing",
            (Side::Server, 3) => "grammar",
            (Side::Server, 4) => "fidelity",
            (Side::Server, 5) => "timing",
            (Side::Server, 6) => "resume",
            (Side::Server, 7) => "broadcast",
            (Side::Server, 8) => "disconnect",
            (Side::Server, 9) => "http",
            (Side::Server, 10) => "injection",
            (Side::Server, 11) => "shutdown",
            (Side::Server, 12) => "http2",
            (Side::Server, 13) => "nodes",
            (Side::Client, 1) => "request",
            (Side::Client, 2) => "lines",
            (Side::Client, 3) => "fields",
            (Side::Client, 4) => "encoding",
            (Side::Client, 5) => "dispatch",
            (Side::Client, 6) => "reconnect",
            (Side::Client, 7) => "answers",
            (Side::Client, 8) => "limits",
            (Side::Client, 9) => "browser",
            _ => "other",
        }
    }
}

impl fmt::Display for Category {
    /// Number and name, for headings: `6 resume`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} {}", self.number, self.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_tell_side_and_number() {
        let of = |id| (Category::of(id).side, Category::of(id).number, Category::of(id).name());
        assert_eq!(of("S10.01"), (Side::Server, 10, "injection"));
        assert_eq!(of("C2.16"), (Side::Client, 2, "lines"));
        assert_eq!(of("nonsense"), (Side::Server, 0, "other"));
        assert!(Category::of("S11.01") < Category::of("C1.01"));
    }
}
