#![cfg_attr(feature = "event-source", doc = include_str!("../README.md"))]
#![cfg_attr(not(feature = "event-source"), doc = "Server-Sent Events: the parser alone.")]

#[cfg(feature = "event-source")]
pub mod event_source;
pub mod parser;

#[cfg(feature = "event-source")]
pub use event_source::{Error, EventSource, MessageEvent, Reason, State, Update};
pub use parser::{Event, Item, Limits, ParseError, Parser};
