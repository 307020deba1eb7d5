//! The head of a request, and why a request is refused.

use std::borrow::Cow;
use std::str;

use bytes::{Buf, BytesMut};
use feed::contract::{MAX_HEADER_BYTES, MAX_TARGET_BYTES, RequestFacts, is_host};
use feed::{Problem, Publisher};
use percent_encoding::percent_decode_str;

use super::body::Framing;
use super::response::{Body, Peer, Response};

/// Bytes of a request's head that are read at all: twice the limit of the contract, so that the
/// answer to a request slightly above the limit can name its size.
pub(super) const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Header fields of a request: browsers send about 20, proxies add a few.
pub(super) const MAX_FIELDS: usize = 100;

/// The form of a request line, for an error.
const REQUEST_LINE: &str = "METHOD target HTTP/1.1";

/// Why a connection brings no further request.
#[derive(Debug, PartialEq)]
pub enum End {
    /// The client has gone.
    Gone,
    /// The request is refused with this answer, and the connection closes after it: the start of
    /// the next request is not certain.
    Refused(Vec<u8>),
}

impl End {
    /// 408: the request did not come in time.
    pub fn timeout() -> End {
        End::refused(408, "Request Timeout", "the request was not whole in time")
    }

    /// The same without the body of the answer, for a HEAD ([RFC 9110
    /// 9.3.2](https://www.rfc-editor.org/rfc/rfc9110.html#section-9.3.2)).
    pub fn without_body(mut self) -> End {
        if let End::Refused(bytes) = &mut self {
            bytes.truncate(head_end(bytes, 0).unwrap_or(bytes.len()));
        }
        self
    }

    /// An error of HTTP itself, with no counterpart in the contract.
    pub(super) fn refused(status: u16, title: &str, detail: &str) -> End {
        let json = format!(
            r#"{{"type":"about:blank","title":"{title}","status":{status},"detail":"{detail}"}}"#
        );
        let mut response = Response::from(&Problem::internal());
        (response.status, response.body) = (status, Body::Text(json.into()));
        End::from(response)
    }

    /// 400: this part of the request must be like that.
    pub(super) fn malformed(what: &'static str, value: &[u8], must_be: &'static str) -> End {
        Response::from(&Problem::bad_value(what, &String::from_utf8_lossy(value), must_be)).into()
    }

    /// 414 or 431: the head is larger than [`MAX_HEAD_BYTES`].
    pub(super) fn head_too_large(head: &[u8]) -> End {
        let line = head.iter().position(|&byte| byte == b'\n').unwrap_or(head.len());
        Response::from(&if line > MAX_TARGET_BYTES {
            Problem::target_too_long(line, MAX_TARGET_BYTES)
        } else {
            Problem::headers_too_large(head.len(), MAX_HEADER_BYTES)
        })
        .into()
    }
}

impl From<Response> for End {
    fn from(response: Response) -> End {
        End::Refused(response.into_bytes(Peer { http_1_1: true, head_only: false }, false).0)
    }
}

/// A request without its body.
#[derive(Debug)]
pub struct Request {
    method: String,
    /// The authority, the path and the query of the target; the latter two as they were sent.
    authority: Option<String>,
    path: String,
    query: String,
    target_bytes: usize,
    /// Names in lower case, and values.
    fields: Vec<(String, Vec<u8>)>,
    pub(super) http_1_1: bool,
    /// How the body ends.
    pub framing: Framing,
}

impl Request {
    /// Parses a head that ends in a blank line, as [`head_end`] finds it.
    ///
    /// # Errors
    /// 400 if it breaks the grammar, 431 for too many fields, 501 for an unknown transfer coding,
    /// 505.
    pub fn parse(head: &[u8]) -> Result<Request, End> {
        // A line may end in LF alone (RFC 9112 2.2), as netcat sends it.
        let mut lines =
            head.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let line = lines.next().unwrap_or_default();
        let (method, target, http_1_1) = request_line(line)?;
        let malformed_target = || {
            let must_be = "a path, or a URL of this server, without a fragment";
            End::malformed("target", target.as_bytes(), must_be)
        };
        let (authority, path, query) = split_target(target).ok_or_else(malformed_target)?;
        let mut request = Request {
            method: method.to_owned(),
            authority: authority.map(str::to_owned),
            path: path.to_owned(),
            query: query.to_owned(),
            target_bytes: path.len() + query.len() + usize::from(target.contains('?')),
            fields: Vec::with_capacity(16),
            http_1_1,
            framing: Framing::None,
        };
        for line in lines.take_while(|line| !line.is_empty()) {
            if request.fields.len() == MAX_FIELDS {
                let detail = "a request must have at most 100 header fields";
                return Err(End::refused(431, "Request Header Fields Too Large", detail));
            }
            request.fields.push(field(line)?);
        }
        if let Some(host) = request.field("host").filter(|host| !host.iter().all(is_host)) {
            return Err(End::malformed("Host", host, "a host and an optional port"));
        }
        request.framing = Framing::of(&request)?;
        Ok(request)
    }

    /// The method; case matters ([RFC 9110
    /// 9.1](https://www.rfc-editor.org/rfc/rfc9110.html#section-9.1)).
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The path as it was sent.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The query as it was sent, without its question mark.
    pub fn query(&self) -> &str {
        &self.query
    }

    /// The rest of the path after `prefix` if that is one segment, percent-decoded.
    pub fn segment_after(&self, prefix: &str) -> Option<Cow<'_, str>> {
        let segment = self.path.strip_prefix(prefix)?;
        (!segment.is_empty() && !segment.contains('/'))
            .then(|| percent_decode_str(segment).decode_utf8_lossy())
    }

    /// The first field of this name, which is given in lower case.
    pub fn field(&self, name: &'static str) -> Option<&[u8]> {
        self.fields(name).next()
    }

    /// All fields of this name, which is given in lower case.
    pub(super) fn fields(&self, name: &'static str) -> impl Iterator<Item = &[u8]> {
        self.fields.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_slice())
    }

    /// Where the client wants to resume.
    pub fn last_event_id(&self) -> Option<&[u8]> {
        self.field("last-event-id")
    }

    /// The client that wants to publish.
    pub fn publisher(&self) -> Publisher<'_> {
        Publisher {
            authorization: self.field("authorization"),
            origin: self.field("origin"),
            host: self.host(),
            content_length: self.field("content-length"),
            idempotency_key: self.field("idempotency-key"),
        }
    }

    /// The host that the request is for: the authority of the target outranks the field (RFC 9112
    /// 3.2.2).
    fn host(&self) -> Option<&[u8]> {
        let authority = self.authority.as_ref().map(String::as_bytes);
        authority.or_else(|| self.field("host"))
    }

    /// The facts that the contract checks of every request.
    pub fn facts(&self) -> RequestFacts<'_> {
        RequestFacts {
            http_1_1: self.http_1_1,
            method: &self.method,
            hosts: self.fields("host").count(),
            host: self.host(),
            origin: self.field("origin"),
            asks_for_method: self.field("access-control-request-method").is_some(),
            transfer_encodings: self.fields("transfer-encoding").count(),
            transfer_encoding: self.field("transfer-encoding"),
            path: &self.path,
            target_bytes: self.target_bytes,
            header_bytes: self.fields.iter().map(|(name, value)| name.len() + value.len()).sum(),
        }
    }

    /// The client that an answer goes to.
    pub fn peer(&self) -> Peer {
        Peer { http_1_1: self.http_1_1, head_only: self.method == "HEAD" }
    }

    /// May the connection be used again? HTTP/1.1 says yes by default, 1.0 no
    /// ([RFC 9112 9.3](https://www.rfc-editor.org/rfc/rfc9112.html#section-9.3)).
    pub fn keeps_alive(&self) -> bool {
        let says = |option| self.has_option("connection", option);
        !says("close") && (self.http_1_1 || says("keep-alive"))
    }

    /// Does the client wait for a `100 Continue` before it sends the body? A 1.0 client cannot
    /// ([RFC 9110 10.1.1](https://www.rfc-editor.org/rfc/rfc9110.html#section-10.1.1)).
    pub fn expects_continue(&self) -> bool {
        self.http_1_1 && self.has_option("expect", "100-continue")
    }

    /// Is this option in a comma-separated list?
    fn has_option(&self, name: &'static str, option: &str) -> bool {
        self.fields(name)
            .flat_map(|list| list.split(|&byte| byte == b','))
            .any(|one| one.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
    }
}

/// Takes the head of a request off the front of the received bytes.
#[derive(Debug, Default)]
pub struct HeadDecoder {
    /// Bytes that were searched for the end of the head before.
    searched: usize,
    blank_line_skipped: bool,
}

impl HeadDecoder {
    /// The next request; `None` if its head is not all there.
    ///
    /// # Errors
    /// If the head is malformed or too large.
    pub fn take(&mut self, received: &mut BytesMut) -> Result<Option<Request>, End> {
        if !self.blank_line_skipped {
            // Some clients send one more line end after a body: skip it (RFC 9112 2.2).
            match &received[..] {
                [] | [b'\r'] => return Ok(None),
                [b'\r', b'\n', ..] => received.advance(2),
                [b'\n', ..] => received.advance(1),
                _ => {}
            }
            self.blank_line_skipped = true;
        }
        // A client that sends TLS here, for example, gets its answer at once.
        if received.first().is_some_and(|byte| !is_token(byte)) {
            return Err(End::malformed("request line", b"", REQUEST_LINE));
        }
        match head_end(received, self.searched) {
            Some(end) if end <= MAX_HEAD_BYTES => {
                let request = Request::parse(&received[..end])?;
                received.advance(end);
                Ok(Some(request))
            }
            None if received.len() <= MAX_HEAD_BYTES => {
                self.searched = received.len();
                Ok(None)
            }
            _ => Err(End::head_too_large(received)),
        }
    }
}

/// Where the head ends, just after its blank line, if it is all there. The first `scanned` bytes
/// were looked at before.
pub(super) fn head_end(bytes: &[u8], scanned: usize) -> Option<usize> {
    let from = scanned.saturating_sub(2);
    let lines = bytes[from..].iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    lines.map(|(at, _)| from + at + 1).find_map(|next| match &bytes[next..] {
        [b'\n', ..] => Some(next + 1),
        [b'\r', b'\n', ..] => Some(next + 2),
        _ => None,
    })
}

/// A byte that a method or a field name may have
/// ([RFC 9110 5.6.2](https://www.rfc-editor.org/rfc/rfc9110.html#section-5.6.2)).
fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

/// The method, the target and whether the version is 1.1.
fn request_line(line: &[u8]) -> Result<(&str, &str, bool), End> {
    let malformed = || End::malformed("request line", line, REQUEST_LINE);
    let mut words = line.splitn(4, |&byte| byte == b' ').map(str::from_utf8);
    let (Some(Ok(method)), Some(Ok(target)), Some(Ok(version)), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(malformed());
    };
    let is_method = !method.is_empty() && method.as_bytes().iter().all(is_token);
    let is_target = !target.is_empty() && target.bytes().all(|byte| byte.is_ascii_graphic());
    match version.as_bytes() {
        _ if !is_method || !is_target => Err(malformed()),
        b"HTTP/1.0" => Ok((method, target, false)),
        // A later minor version understands what 1.1 says (RFC 9110 2.5).
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9'] => Ok((method, target, true)),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
            let detail = "this server speaks HTTP/1.1 and HTTP/1.0";
            Err(End::refused(505, "HTTP Version Not Supported", detail))
        }
        _ => Err(malformed()),
    }
}

/// Authority, path and query of `/path?query` or `http://authority/path?query` ([RFC 9112
/// 3.2](https://www.rfc-editor.org/rfc/rfc9112.html#section-3.2)). `*` is a path without a route.
fn split_target(target: &str) -> Option<(Option<&str>, &str, &str)> {
    let after = |scheme: &str| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let (authority, rest) = match after("http://").or_else(|| after("https://")) {
        Some(url) => {
            let (authority, rest) = url.split_at(url.find(['/', '?']).unwrap_or(url.len()));
            (Some(authority), rest)
        }
        None => (None, target),
    };
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    // A URL without a path means the root.
    let path = if authority.is_some() && path.is_empty() { "/" } else { path };
    let is_path = path.starts_with('/') || target == "*";
    let is_authority = authority.is_none_or(|it| !it.is_empty() && it.bytes().all(|b| is_host(&b)));
    (is_path && is_authority && !target.contains('#')).then_some((authority, path, query))
}

/// A header field: its name in lower case, and its value.
pub(super) fn field(line: &[u8]) -> Result<(String, Vec<u8>), End> {
    let malformed = |must_be| Err(End::malformed("header field", line, must_be));
    let Some(colon) = line.iter().position(|&byte| byte == b':') else {
        return malformed("a name, a colon and a value");
    };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    // This refuses a space before the colon (RFC 9112 5.1) and a line that continues the one before
    // (5.2) too.
    if name.is_empty() || !name.iter().all(is_token) {
        return malformed("a name of letters, digits and dashes, right before the colon");
    }
    // This refuses a CR that ends no line, and NUL (RFC 9110 5.5).
    if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return malformed("without control characters");
    }
    let name = name.iter().map(|byte| char::from(byte.to_ascii_lowercase())).collect();
    Ok((name, value.trim_ascii().to_vec()))
}
