//! Responses.

use std::borrow::Cow;
use std::io::Write;

use feed::Problem;
use feed::clock::{SECOND, unix_ns};
use feed::stream::EventStream;
use jiff::Timestamp;

/// The end of a chunked body ([RFC 9112
/// 7.1](https://www.rfc-editor.org/rfc/rfc9112.html#section-7.1)).
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// A response, before it is encoded.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The header fields that the handler chose; those of the framing come with
    /// [`into_bytes`](Self::into_bytes).
    pub fields: Vec<(&'static str, Cow<'static, str>)>,
    /// The content.
    pub body: Body,
}

/// The content of a response.
#[derive(Debug)]
pub enum Body {
    /// None, and no field about its length: 204.
    None,
    /// All of it.
    Text(Cow<'static, str>),
    /// It comes as events come.
    Events(EventStream),
}

/// The client that a response goes to.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// It speaks HTTP/1.1: it knows chunks.
    pub http_1_1: bool,
    /// It asked with HEAD: no body for it
    /// ([RFC 9110 9.3.2](https://www.rfc-editor.org/rfc/rfc9110.html#section-9.3.2)).
    pub head_only: bool,
}

impl Response {
    /// A response without header fields.
    pub fn new(status: u16, body: Body) -> Response {
        Response { status, fields: Vec::new(), body }
    }

    /// The same response with one more header field.
    pub fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Response {
        self.fields.push((name, value.into()));
        self
    }

    /// True if the content comes as events come.
    pub fn is_stream(&self) -> bool {
        matches!(self.body, Body::Events(_))
    }

    /// A response with all of its content.
    pub fn text(
        status: u16,
        content_type: &'static str,
        text: impl Into<Cow<'static, str>>,
    ) -> Response {
        Response::new(status, Body::Text(text.into())).with("Content-Type", content_type)
    }

    /// The head on the wire, with the body if that is text, and the events that follow. A client
    /// that wants only the head gets neither. `keep_alive`: the connection stays open after it.
    pub fn into_bytes(self, peer: Peer, keep_alive: bool) -> (Vec<u8>, Option<EventStream>) {
        let mut bytes = Vec::with_capacity(512);
        let mut line = |line: std::fmt::Arguments<'_>| {
            bytes.write_fmt(line).expect("writing to a Vec does not fail");
            bytes.extend_from_slice(b"\r\n");
        };
        // Always the server's own version; a 1.0 client can read it (RFC 9110 2.5).
        line(format_args!("HTTP/1.1 {} {}", self.status, reason(self.status)));
        line(format_args!("Date: {}", imf_fixdate(unix_ns() / SECOND)));
        for (name, value) in &self.fields {
            line(format_args!("{name}: {value}"));
        }
        match &self.body {
            Body::Text(text) => line(format_args!("Content-Length: {}", text.len())),
            // A 1.0 client does not know chunks; for it the end of the connection is the end of the
            // body. An answer to HEAD may omit fields that are known only once the body is made.
            Body::Events(_) if peer.http_1_1 && !peer.head_only => {
                line(format_args!("Transfer-Encoding: chunked"));
            }
            Body::Events(_) | Body::None => {}
        }
        match (keep_alive, peer.http_1_1) {
            (true, true) => {}
            (true, false) => line(format_args!("Connection: keep-alive")),
            (false, _) => line(format_args!("Connection: close")),
        }
        line(format_args!(""));
        match self.body {
            Body::Text(text) if !peer.head_only => bytes.extend_from_slice(text.as_bytes()),
            Body::Events(events) if !peer.head_only => return (bytes, Some(events)),
            _ => {}
        }
        (bytes, None)
    }
}

impl From<&Problem> for Response {
    fn from(problem: &Problem) -> Response {
        let fields = problem.headers().map(|(name, value)| (name, value.into())).collect();
        Response { status: problem.status, fields, body: Body::Text(problem.json().into()) }
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        // The phrase may be empty (RFC 9112 4).
        _ => "",
    }
}

/// A Unix second as `Fri, 20 Nov 2026 12:34:56 GMT`
/// ([RFC 9110 5.6.7](https://www.rfc-editor.org/rfc/rfc9110.html#section-5.6.7)).
fn imf_fixdate(second: u64) -> impl std::fmt::Display {
    let second = i64::try_from(second).unwrap_or_default();
    Timestamp::from_second(second).unwrap_or_default().strftime("%a, %d %b %Y %H:%M:%S GMT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_imf_fixdates() {
        for (second, date) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_795_178_096, "Fri, 20 Nov 2026 12:34:56 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            assert_eq!(imf_fixdate(second).to_string(), date);
        }
    }

    #[test]
    fn the_head_says_how_the_body_ends_and_what_becomes_of_the_connection() {
        let says = |http_1_1, keep_alive| {
            let text = Response::text(200, "text/plain", "ok\n");
            let (bytes, _) = text.into_bytes(Peer { http_1_1, head_only: false }, keep_alive);
            String::from_utf8(bytes).expect("ASCII")
        };
        assert!(
            says(true, true)
                .ends_with("\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nok\n")
        );
        assert!(
            says(true, false).ends_with("\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n")
        );
        assert!(says(false, true).ends_with("\r\nConnection: keep-alive\r\n\r\nok\n"));
        assert!(says(false, false).starts_with("HTTP/1.1 200 OK\r\nDate: "));
    }
}
