#![doc = include_str!("../README.md")]

#[cfg(feature = "event-source")]
pub mod event_source;
pub mod parser;

#[cfg(feature = "event-source")]
pub use event_source::{Error, EventSource, MessageEvent, Reason, State, Update};
pub use parser::{Event, Item, Limits, ParseError, Parser};
