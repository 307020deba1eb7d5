//! Raw HTTP/1.1 on a blocking socket, plain or over TLS, with deadlines and a log of the bytes; HTTP/2 in the
//! same way, with a log of the frames.
//!
//! The conformance suite must see what a server really wrote, so nothing here repairs, guesses or
//! forgives: header lines stay raw and in order, chunk syntax is checked byte by byte, and every
//! step has a deadline and a size limit. Where a head contradicts itself the body is read as a client
//! would, and the head is there to be judged. A connection never shuts down its sending side: several
//! servers take that for a disconnect and would look broken.

mod body;
mod channel;
mod connection;
pub mod http2;
pub mod ledger;
mod location;
mod log;
mod message;
#[cfg(feature = "peer")]
pub mod peer;
pub mod publish;
mod response;
pub mod server;
mod shown;
mod stream;
pub mod tls;

use std::time::Duration;

pub use body::{Body, Framing};
pub use channel::Channel;
pub use connection::{Connection, Dial};
pub use http2::Http2;
pub use location::{Location, base_url};
pub use log::{Budget, Log, Sent, Side};
pub use message::{Head, Request};
pub use response::{Piece, ResponseDecoder};
pub use shown::{shown, steers};
pub use stream::{End, Event, EventStream, Window};
pub use tls::{Tls, Trust};

/// The event that [`Connection::read_head`] awaits.
pub const RESPONSE_HEAD: &str = "response head";
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
    /// The server was there, and TLS with it did not come about.
    #[error("cannot speak TLS with {address}: {reason}")]
    Handshake {
        /// `host:port` as tried.
        address: String,
        /// Why, with advice.
        reason: String,
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
    /// The first bytes are those of a TLS alert.
    #[error("speaks TLS on this port; try https://")]
    SpeaksTls,
    /// The bytes are not HTTP/1.1 (RFC 9112).
    #[error("not valid HTTP/1.1: {0}")]
    Syntax(String),
    /// The bytes are not HTTP/2 (RFC 9113).
    #[error("not valid HTTP/2: {0}")]
    Http2(String),
    /// The peer reset the stream of HTTP/2, and not the connection.
    #[error("the stream was reset ({code}) before {awaited}")]
    Reset {
        /// The awaited event.
        awaited: &'static str,
        /// Why.
        code: http2::Code,
    },
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
    /// A stream was asked for as any client would, and its head did not come in time.
    #[error("no response head within {} ms", .patience.as_millis())]
    LateHead {
        /// How long it was awaited.
        patience: Duration,
        /// The server is known to serve one stream at a time, so it may be busy with another one.
        is_busy: bool,
    },
    /// The request was not sent: no more may be sent.
    #[error("the {max} requests that may be sent are spent (--max-requests)")]
    Spent {
        /// How many there were.
        max: u64,
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
        matches!(self, Error::Connect { .. } | Error::Handshake { .. })
    }

    /// Whether the peer ended the connection, in whatever way.
    pub fn is_end(&self) -> bool {
        matches!(self, Error::Closed { .. } | Error::Broken { .. } | Error::Reset { .. })
    }

    /// The awaited event, for the "expected" line of a report.
    pub fn awaited(&self) -> &'static str {
        match self {
            Error::Connect { .. } | Error::Handshake { .. } => "a connection",
            Error::Timeout { awaited, .. }
            | Error::Closed { awaited }
            | Error::Reset { awaited, .. }
            | Error::Broken { awaited, .. } => awaited,
            Error::Syntax(_) | Error::SpeaksTls => "valid HTTP/1.1",
            Error::Http2(_) => "valid HTTP/2",
            Error::TooLong { .. } => "an answer of bounded size",
            Error::NotAStream { .. } => "an event stream (200, text/event-stream)",
            Error::LateHead { .. } => "the head of the stream",
            Error::Spent { .. } => "leave to send a request",
            Error::Parse(_) => "a stream that parses",
        }
    }
}
