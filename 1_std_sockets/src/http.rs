//! HTTP/1.1 from scratch, one half: requests. No I/O happens here; `connection.rs` feeds it bytes.
//!
//! Strict where leniency lets two readers of one message disagree about where it ends: that is how
//! requests are smuggled past a proxy. Source: [RFC
//! 9112](https://www.rfc-editor.org/rfc/rfc9112.html).

mod body;
mod response;

use std::borrow::Cow;
use std::ops::Range;
use std::str;

use feed::contract::{MAX_HEADER_BYTES, MAX_TARGET_BYTES, RequestFacts};
use feed::{Problem, Publisher};

pub use self::body::{Decoder, Framing, Progress};
pub use self::response::{Body, LAST_CHUNK, Peer, Response, chunk_head};

/// Bytes of a request's head that are read at all: what the contract allows, and as much again, so
/// that a request that is somewhat too large can be told by how much.
pub const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Header fields of a request: browsers send about 20, proxies add a few.
const MAX_FIELDS: usize = 100;

/// Why a request is refused before any handler sees it. The connection closes after it: where the
/// next request begins is no longer sure.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// As the contract words it.
    Problem(Problem),
    /// What only HTTP itself knows: status, title, detail.
    Http(u16, &'static str, &'static str),
}

impl Refusal {
    /// 408: the request did not come in time.
    pub fn timeout() -> Refusal {
        Refusal::Http(408, "Request Timeout", "the request must be whole within 10 seconds")
    }

    /// 400: this part of the request must be like that.
    pub(crate) fn malformed(what: &'static str, value: &[u8], must_be: &'static str) -> Refusal {
        Refusal::Problem(Problem::bad_value(what, &String::from_utf8_lossy(value), must_be))
    }

    /// 414 or 431: the head is larger than what is read at all.
    pub fn head_too_large(head: &[u8]) -> Refusal {
        let line = head.iter().position(|&byte| byte == b'\n').unwrap_or(head.len());
        Refusal::Problem(if line > MAX_TARGET_BYTES {
            Problem::target_too_long(line, MAX_TARGET_BYTES)
        } else {
            Problem::headers_too_large(head.len(), MAX_HEADER_BYTES)
        })
    }
}

/// A request: the head as it came, and where its parts are.
#[derive(Debug)]
pub struct Request {
    head: Vec<u8>,
    method: Range<usize>,
    path: Range<usize>,
    query: Range<usize>,
    /// From a target such as `http://host/path`; it outranks the Host field.
    authority: Option<Range<usize>>,
    fields: Vec<(Range<usize>, Range<usize>)>,
    http_1_1: bool,
    /// How the body ends.
    pub framing: Framing,
    /// The body, once a handler asked for it and it is whole.
    pub body: Option<Result<Vec<u8>, Problem>>,
}

impl Request {
    /// Parses a head that ends in a blank line, as [`head_end`] finds it.
    ///
    /// # Errors
    /// 400 for what the grammar does not allow, 431 for too many fields, 501 for an unknown
    /// transfer coding, 505.
    pub fn parse(head: Vec<u8>) -> Result<Request, Refusal> {
        let mut lines = lines(&head);
        let line = lines.next().unwrap_or_default();
        let (method, target, http_1_1) = request_line(&head, line)?;
        let (authority, path, query) = split_target(&head, target)?;
        let mut fields = Vec::with_capacity(16);
        for line in lines.take_while(|line| !line.is_empty()) {
            if fields.len() == MAX_FIELDS {
                let detail = "a request must have at most 100 header fields";
                return Err(Refusal::Http(431, "Request Header Fields Too Large", detail));
            }
            fields.push(field(&head, line)?);
        }
        let framing = Framing::None;
        let mut request =
            Request { head, method, path, query, authority, fields, http_1_1, framing, body: None };
        if let Some(host) = request.field("host").filter(|host| !host.iter().all(is_host)) {
            return Err(Refusal::malformed("Host", host, "a host and an optional port"));
        }
        request.framing = Framing::of(&request)?;
        Ok(request)
    }

    /// The method; case matters ([RFC 9110
    /// 9.1](https://www.rfc-editor.org/rfc/rfc9110.html#section-9.1)).
    pub fn method(&self) -> &str {
        self.ascii(&self.method)
    }

    /// The path as it was sent.
    pub fn path(&self) -> &str {
        self.ascii(&self.path)
    }

    /// The query as it was sent, without its question mark.
    pub fn query(&self) -> &str {
        self.ascii(&self.query)
    }

    /// What follows `prefix` in the path if that is one segment, percent-decoded.
    pub fn segment_after(&self, prefix: &str) -> Option<Cow<'_, str>> {
        let segment = self.path().strip_prefix(prefix)?;
        (!segment.is_empty() && !segment.contains('/')).then(|| percent_decode(segment))
    }

    /// The first field of this name, which is given in lower case.
    pub fn field(&self, name: &'static str) -> Option<&[u8]> {
        self.fields(name).next()
    }

    /// Where the client wants to resume.
    pub fn last_event_id(&self) -> Option<&[u8]> {
        self.field("last-event-id")
    }

    /// Who wants to publish.
    pub fn publisher(&self) -> Publisher<'_> {
        let host = self.authority.as_ref().map(|authority| &self.head[authority.clone()]);
        Publisher {
            authorization: self.field("authorization"),
            origin: self.field("origin"),
            host: host.or_else(|| self.field("host")),
        }
    }

    /// What the contract wants to check of every request.
    pub fn facts(&self) -> RequestFacts<'_> {
        let question = usize::from(self.query.start > self.path.end);
        RequestFacts {
            http_1_1: self.http_1_1,
            hosts: self.fields("host").count(),
            path: self.path(),
            target_bytes: self.path.len() + question + self.query.len(),
            header_bytes: self.fields.iter().map(|(name, value)| name.len() + value.len()).sum(),
        }
    }

    /// Whom an answer goes to.
    pub fn peer(&self) -> Peer {
        Peer { http_1_1: self.http_1_1, head_only: self.method() == "HEAD" }
    }

    /// May the connection be used again? HTTP/1.1 says yes by default, 1.0 no
    /// ([RFC 9112 9.3](https://www.rfc-editor.org/rfc/rfc9112.html#section-9.3)).
    pub fn keeps_alive(&self) -> bool {
        let says = |option| self.fields("connection").any(|value| has_option(value, option));
        !says("close") && (self.http_1_1 || says("keep-alive"))
    }

    /// Does the client wait for a `100 Continue` before it sends the body? A 1.0 client cannot
    /// ([RFC 9110 10.1.1](https://www.rfc-editor.org/rfc/rfc9110.html#section-10.1.1)).
    pub fn expects_continue(&self) -> bool {
        self.http_1_1 && self.fields("expect").any(|value| has_option(value, "100-continue"))
    }

    fn fields(&self, name: &'static str) -> impl Iterator<Item = &[u8]> {
        let named = move |field: &Range<usize>| {
            self.head[field.clone()].eq_ignore_ascii_case(name.as_bytes())
        };
        self.fields
            .iter()
            .filter(move |(n, _)| named(n))
            .map(|(_, value)| &self.head[value.clone()])
    }

    fn ascii(&self, part: &Range<usize>) -> &str {
        str::from_utf8(&self.head[part.clone()]).expect("parsing let only ASCII through")
    }
}

/// Where the head ends, just after its blank line, if it is all there. The first `scanned` bytes
/// were looked at before.
pub fn head_end(bytes: &[u8], scanned: usize) -> Option<usize> {
    let from = scanned.saturating_sub(2);
    // A line may end in LF alone (RFC 9112 2.2): good for people who type at netcat.
    let lines = bytes[from..].iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    lines.map(|(at, _)| from + at + 1).find_map(|next| match &bytes[next..] {
        [b'\n', ..] => Some(next + 1),
        [b'\r', b'\n', ..] => Some(next + 2),
        _ => None,
    })
}

/// A byte that a method or a field name may have
/// ([RFC 9110 5.6.2](https://www.rfc-editor.org/rfc/rfc9110.html#section-5.6.2)).
pub fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

fn lines(head: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let end = start + head[start..].iter().position(|&byte| byte == b'\n')?;
        let line = start..if head[start..end].ends_with(b"\r") { end - 1 } else { end };
        start = end + 1;
        Some(line)
    })
}

type RequestLine = (Range<usize>, Range<usize>, bool);

fn request_line(head: &[u8], line: Range<usize>) -> Result<RequestLine, Refusal> {
    let text = &head[line.clone()];
    let malformed = || Refusal::malformed("request line", text, "METHOD target HTTP/1.1");
    let mut spaces = text.iter().enumerate().filter(|(_, byte)| **byte == b' ').map(|(at, _)| at);
    let (Some(first), Some(second), None) = (spaces.next(), spaces.next(), spaces.next()) else {
        return Err(malformed());
    };
    let (method, target) = (line.start..line.start + first, first + 1..second);
    if method.is_empty() || !text[..first].iter().all(is_token) {
        return Err(malformed());
    }
    if target.is_empty() || !text[target.clone()].iter().all(|byte| byte.is_ascii_graphic()) {
        return Err(malformed());
    }
    let http_1_1 = match &text[second + 1..] {
        b"HTTP/1.0" => false,
        // A later minor version understands what 1.1 says (RFC 9110 2.5).
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9'] => true,
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
            let detail = "this server speaks HTTP/1.1 and HTTP/1.0";
            return Err(Refusal::Http(505, "HTTP Version Not Supported", detail));
        }
        _ => return Err(malformed()),
    };
    Ok((method, line.start + target.start..line.start + target.end, http_1_1))
}

type Target = (Option<Range<usize>>, Range<usize>, Range<usize>);

/// Authority, path and query of `/path?query` or `http://authority/path?query` ([RFC 9112
/// 3.2](https://www.rfc-editor.org/rfc/rfc9112.html#section-3.2)). `*` is a path that nothing is
/// at.
fn split_target(head: &[u8], target: Range<usize>) -> Result<Target, Refusal> {
    let text = &head[target.clone()];
    let malformed = || {
        Refusal::malformed("target", text, "a path, or a URL of this server, without a fragment")
    };
    let scheme = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|s| text.get(..s.len()).is_some_and(|start| start.eq_ignore_ascii_case(s)));
    let after_scheme = scheme.map_or(0, <[u8]>::len);
    let find = |from: usize, stop: &[u8]| {
        text[from..].iter().position(|byte| stop.contains(byte)).map_or(text.len(), |at| from + at)
    };
    let authority = scheme.map(|_| after_scheme..find(after_scheme, b"/?"));
    let path_start = authority.as_ref().map_or(0, |authority| authority.end);
    let path = path_start..find(path_start, b"?");
    let query = (path.end + 1).min(text.len())..text.len();
    let authority_fits = authority
        .as_ref()
        .is_none_or(|host| !host.is_empty() && text[host.clone()].iter().all(is_host));
    let path_fits = text[path.clone()].starts_with(b"/")
        || text == b"*"
        || (authority.is_some() && path.is_empty());
    if !authority_fits || !path_fits || text.contains(&b'#') {
        return Err(malformed());
    }
    let at = |part: Range<usize>| target.start + part.start..target.start + part.end;
    // A URL without a path means the root; the slashes after the scheme are as good as any.
    let path = if path.is_empty() { after_scheme - 1..after_scheme } else { path };
    Ok((authority.map(at), at(path), at(query)))
}

type Field = (Range<usize>, Range<usize>);

fn field(head: &[u8], line: Range<usize>) -> Result<Field, Refusal> {
    let text = &head[line.clone()];
    let malformed = |must_be| Err(Refusal::malformed("header field", text, must_be));
    let Some(colon) = text.iter().position(|&byte| byte == b':') else {
        return malformed("a name, a colon and a value");
    };
    // This refuses a space before the colon (RFC 9112 5.1) and a line that continues the one before
    // (5.2) too.
    if colon == 0 || !text[..colon].iter().all(is_token) {
        return malformed("a name of letters, digits and dashes, right before the colon");
    }
    let value = &text[colon + 1..];
    // This refuses a CR that ends no line, and NUL (RFC 9110 5.5).
    if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return malformed("without control characters");
    }
    let blank = |byte: &&u8| matches!(byte, b' ' | b'\t');
    let before = value.iter().take_while(blank).count();
    let after = value[before..].iter().rev().take_while(blank).count();
    let start = line.start + colon + 1;
    Ok((line.start..line.start + colon, start + before..start + value.len() - after))
}

fn is_host(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%:[]".contains(byte)
}

/// Is this option in a comma-separated list?
fn has_option(list: &[u8], option: &str) -> bool {
    list.split(|&byte| byte == b',')
        .any(|one| one.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
}

fn percent_decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return text.into();
    }
    let hex = |at: usize| text.as_bytes().get(at).and_then(|&byte| (byte as char).to_digit(16));
    let mut decoded = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.as_bytes().get(at) {
        match (byte, hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned().into()
}

#[cfg(test)]
mod tests;
