//! Server-Sent Events: a parser without I/O, and an event source that reconnects.
#![cfg_attr(feature = "event-source", doc = include_str!("docs/event_source.md"))]
#![doc = include_str!("docs/parser.md")]

#[cfg(feature = "arguments")]
pub mod arguments;
#[cfg(feature = "event-source")]
pub mod event_source;
pub mod parser;
#[cfg(feature = "arguments")]
pub mod problem;

#[cfg(feature = "event-source")]
#[doc(inline)]
pub use event_source::{Error, EventSource, MessageEvent, Reason, State, Update};
#[doc(inline)]
pub use parser::{Event, Item, Limits, ParseError, Parser};

/// Words of a server as a part of one line: it can neither begin a line nor steer a terminal.
#[cfg(any(feature = "arguments", feature = "event-source"))]
fn one_line(words: &str) -> String {
    let words: Vec<_> = words.split_whitespace().collect();
    words.join(" ").replace(char::is_control, "\u{fffd}")
}

/// Its examples are tried, too.
#[cfg(all(doctest, feature = "event-source"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    #[test]
    fn the_table_of_the_documentation_is_that_of_the_readme() {
        let rows = |text: &'static str| -> Vec<&str> {
            let rows = text.lines().skip_while(|it| !it.starts_with("| ns for a block"));
            rows.take_while(|it| it.starts_with('|')).collect()
        };
        let documentation = rows(include_str!("docs/parser.md"));
        assert!(documentation.len() > 10);
        assert_eq!(documentation, rows(include_str!("../README.md")));
    }
}
