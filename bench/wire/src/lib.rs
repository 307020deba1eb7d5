//! Raw HTTP/1.1 on a blocking socket, with deadlines and a log of the bytes.
//!
//! The conformance suite must see what a server really wrote, so nothing here repairs, guesses or
//! forgives: header lines stay raw and in order, chunk syntax is checked byte by byte, and every
//! step has a deadline and a size limit. A connection never shuts down its sending side: several
//! servers take that for a disconnect and would look broken.

mod body;
mod connection;
mod log;
mod message;
pub mod server;
mod stream;

use std::time::Duration;

pub use body::{Body, Framing};
pub use connection::Connection;
pub use log::{Log, Sent, Side};
pub use message::{Head, Request, base_url};
pub use stream::{Event, EventStream, Window};

/// The most bytes of a response head: several times what servers send in practice.
pub const HEAD_LIMIT: usize = 64 * 1024;
/// The most bytes of a finite body, decoded. The largest case scripts 1 MiB.
pub const BODY_LIMIT: usize = 8 * 1024 * 1024;

/// Why a step of a dialogue did not get what it waited for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection was refused or could not be made.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// `host:port` as tried.
        address: String,
        /// The error of the system.
        reason: std::io::Error,
    },
    /// The deadline passed.
    #[error("no {awaited} within {} ms", .patience.as_millis())]
    Timeout {
        /// The awaited event, as words that fit after "no".
        awaited: &'static str,
        /// How long.
        patience: Duration,
    },
    /// The peer closed the connection in an orderly way (FIN).
    #[error("the connection was closed before {awaited}")]
    Closed {
        /// The awaited event.
        awaited: &'static str,
    },
    /// The peer reset the connection, or another socket error ended it.
    #[error("the connection broke before {awaited}: {reason}")]
    Broken {
        /// The awaited event.
        awaited: &'static str,
        /// The error of the system.
        reason: std::io::Error,
    },
    /// The bytes are not HTTP/1.1 (RFC 9112).
    #[error("not valid HTTP/1.1: {0}")]
    Syntax(String),
    /// More bytes than this side is ready to hold.
    #[error("{what} is longer than {limit} bytes")]
    TooLong {
        /// The part that grew.
        what: &'static str,
        /// The limit, in bytes.
        limit: usize,
    },
    /// An answer that is no event stream where one was needed.
    #[error("status {status} with Content-Type {content_type:?}")]
    NotAStream {
        /// The status.
        status: u16,
        /// The `Content-Type` value, empty if there is none.
        content_type: String,
    },
    /// The event parser gave up (a size limit).
    #[error("the stream does not parse: {0}")]
    Parse(#[from] client::parser::ParseError),
}

/// The result of a step of a dialogue.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether no server listens there, as opposed to an answer that is wrong.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Error::Connect { .. })
    }

    /// Whether the peer ended the connection, in whatever way.
    pub fn is_end(&self) -> bool {
        matches!(self, Error::Closed { .. } | Error::Broken { .. })
    }

    /// The awaited event, for the "expected" line of a report.
    pub fn awaited(&self) -> &'static str {
        match self {
            Error::Connect { .. } => "a connection",
            Error::Timeout { awaited, .. }
            | Error::Closed { awaited }
            | Error::Broken { awaited, .. } => awaited,
            Error::Syntax(_) => "valid HTTP/1.1",
            Error::TooLong { .. } => "an answer of bounded size",
            Error::NotAStream { .. } => "an event stream (200, text/event-stream)",
            Error::Parse(_) => "a stream that parses",
        }
    }
}
