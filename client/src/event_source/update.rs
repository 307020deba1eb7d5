//! The items of an event source, and its errors.

use std::fmt;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{StatusCode, Url, Version};

use crate::one_line;
use crate::parser::ParseError;

/// Something that happened on an [`EventSource`](super::EventSource).
#[derive(Debug)]
#[non_exhaustive]
pub enum Update {
    /// A connection is open.
    Open(Head),
    /// An event.
    Event(MessageEvent),
    /// A comment, which servers send as a keep-alive.
    Comment(String),
    /// The server set the reconnection time.
    Retry(Duration),
    /// There is no connection, or none any more; the next attempt follows after a wait.
    Reconnecting {
        /// Why.
        reason: Reason,
        /// How long until the next attempt.
        after: Duration,
    },
    /// The server has nothing more, and nothing follows.
    ///
    /// It answered 204, which asks its clients not to come back; or it ended the stream of a POST,
    /// which is not sent again (see [`repeat`](super::Builder::repeat)).
    Closed,
}

/// An event, in the words of the DOM's `MessageEvent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageEvent {
    /// The type; `message` if the stream names none.
    pub event: String,
    /// The data lines, joined by LF.
    pub data: String,
    /// The last event id, whether this event or an earlier one set it; may be empty.
    pub last_event_id: String,
}

/// The head of the response that opened a connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Head {
    /// Always 200 with servers of today.
    pub status: StatusCode,
    /// The URL after redirects.
    pub url: Url,
    /// HTTP/1.1 or HTTP/2.
    pub version: Version,
    /// The header fields.
    pub headers: HeaderMap,
}

/// Why an event source reconnects.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reason {
    /// No connection, or one without an answer.
    Unanswered(reqwest::Error),
    /// No answer within the [time for it](super::Builder::answer_timeout).
    NoAnswer(Duration),
    /// The server ended the stream.
    Ended,
    /// The connection broke.
    Broken(reqwest::Error),
    /// Nothing came for as long as the read timeout.
    Silent(Duration),
    /// The server is not available at the moment
    /// (only with [`retry_unavailable`](super::Builder::retry_unavailable)).
    Unavailable(StatusCode),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unanswered(error) => write!(f, "no answer: {}", root_cause(error)),
            Self::NoAnswer(timeout) => write!(f, "no answer within {timeout:?}"),
            Self::Ended => write!(f, "the server ended the stream"),
            Self::Broken(error) => write!(f, "the connection broke: {}", root_cause(error)),
            Self::Silent(timeout) => write!(f, "nothing came for {timeout:?}"),
            Self::Unavailable(status) => write!(f, "the server answered {status}"),
        }
    }
}

/// Why an event source ended for good.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not an absolute `http` or `https` URL.
    #[error("{url:?} is not an http or https URL: {why}")]
    Url {
        /// The URL as given.
        url: String,
        /// The reason why it cannot be used.
        why: String,
    },
    /// The HTTP client could not be set up, for instance for lack of root certificates.
    #[error("the HTTP client could not be set up: {}", root_cause(.0))]
    Client(#[source] reqwest::Error),
    /// The request cannot be sent, or its redirects have no end.
    #[error("the request failed: {}", root_cause(.0))]
    Request(#[source] reqwest::Error),
    /// A status other than 200 and 204.
    #[error("{url} answered {status}{}", after_colon(.words))]
    Status {
        /// The status.
        status: StatusCode,
        /// The URL after redirects.
        url: Url,
        /// Whether the words are `application/problem+json` (RFC 9457).
        is_problem: bool,
        /// The beginning of the body as the server wrote it, up to 1 KiB, if it is text or JSON.
        words: String,
    },
    /// The response is not an event stream.
    #[error("{url} is not an event stream: its Content-Type is {}", one_line(found.as_deref().unwrap_or("missing")))]
    ContentType {
        /// The type, if there is one.
        found: Option<String>,
        /// The URL after redirects.
        url: Url,
    },
    /// The stream is coded, though the request asked for `identity`.
    ///
    /// A coding has to be undone before the events can be read ([RFC 9110, section 8.4][rfc]).
    ///
    /// [rfc]: https://www.rfc-editor.org/rfc/rfc9110.html#section-8.4
    #[error("{url} sends a stream that is coded as {}, which was not asked for", one_line(found))]
    Coding {
        /// The codings, as the server names them.
        found: String,
        /// The URL after redirects.
        url: Url,
    },
    /// A POST came to no good end, and is not sent again (see [`repeat`](super::Builder::repeat)).
    #[error("{0}; a POST is not sent again by itself")]
    NotRepeated(Reason),
    /// The stream exceeded a limit of the parser.
    #[error(transparent)]
    Parse(#[from] ParseError),
}

/// The words of a server behind a colon, if there are any.
fn after_colon(words: &str) -> String {
    let words = one_line(words);
    if words.is_empty() { words } else { format!(": {words}") }
}

/// The last error of the chain, in words: it says what happened, the others say during what.
pub fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
