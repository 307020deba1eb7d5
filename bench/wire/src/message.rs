//! Requests as bytes, response heads as raw lines.

use std::fmt::Write as _;

use super::{Error, HEAD_LIMIT, Result};

/// The beginning of an alert, as a server with TLS answers to plain text (RFC 8446, 5.1).
const TLS_ALERT: [u8; 2] = [21, 3];

/// A well-formed request; malformed ones are written by hand where a case needs them.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    target: String,
    version: &'static str,
    headers: Vec<(String, Vec<u8>)>,
    /// Header lines that are none, perhaps, each with its CR LF.
    raw_lines: Vec<u8>,
    body: Option<Vec<u8>>,
}

impl Request {
    /// A request of HTTP/1.1 without any header line.
    pub fn new(method: &str, target: &str) -> Request {
        Request {
            method: method.to_owned(),
            target: target.to_owned(),
            version: "HTTP/1.1",
            headers: Vec::new(),
            raw_lines: Vec::new(),
            body: None,
        }
    }

    /// The same request as an HTTP/1.0 client sends it.
    #[must_use]
    pub fn http10(mut self) -> Request {
        self.version = "HTTP/1.0";
        self
    }

    /// Adds a header line; the value may hold any bytes.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Request {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Adds bytes where a header line belongs, and a line end.
    #[must_use]
    pub fn raw_line(mut self, line: &[u8]) -> Request {
        self.raw_lines.extend_from_slice(line);
        self.raw_lines.extend_from_slice(b"\r\n");
        self
    }

    /// Takes all header lines of this name away.
    #[must_use]
    pub fn without(mut self, name: &str) -> Request {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self
    }

    /// Sets the body; `Content-Length` is added when the request is written.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Request {
        self.body = Some(body.into());
        self
    }

    /// The method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Its target, as it stands in the request line.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Its header lines, but for what is written by hand.
    pub(super) fn headers(&self) -> &[(String, Vec<u8>)] {
        &self.headers
    }

    /// Its body, if it has one.
    pub(super) fn body_bytes(&self) -> Option<&[u8]> {
        self.body.as_deref()
    }

    /// The bytes as they go out.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes =
            format!("{} {} {}\r\n", self.method, self.target, self.version).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        if let Some(body) = &self.body {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        bytes.extend_from_slice(&self.raw_lines);
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

/// The head of a response: status line and header lines, in order, values as sent.
#[derive(Clone, Debug)]
pub struct Head {
    /// The minor version: 1 for `HTTP/1.1`, 0 for HTTP/2.
    pub minor_version: u8,
    /// The status.
    pub status: u16,
    /// Name and value of each line; optional whitespace around the value is gone (RFC 9112, 5.1).
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Head {
    /// The head at the front of `bytes` and its length with the blank line; `None` if its end has not come. The
    /// first `searched` bytes are known not to hold it.
    ///
    /// # Errors
    /// [`Error::Syntax`], [`Error::SpeaksTls`], [`Error::TooLong`].
    pub(super) fn take(bytes: &[u8], searched: usize) -> Result<Option<(Head, usize)>> {
        let from = searched.saturating_sub(3);
        if let Some(at) = memchr::memmem::find(&bytes[from..], b"\r\n\r\n") {
            let head = Head::parse(&bytes[..from + at + 2])?;
            return Ok(Some((head, from + at + 4)));
        }
        // A peer that does not speak HTTP at all should not cost the whole patience.
        let start = &bytes[..bytes.len().min(7)];
        if start.starts_with(&TLS_ALERT) {
            return Err(Error::SpeaksTls);
        }
        if !b"HTTP/1.".starts_with(start) {
            let words = format!("a head that begins \"{}\"", crate::shown(start));
            return Err(Error::Syntax(words));
        }
        if bytes.len() > HEAD_LIMIT {
            return Err(Error::TooLong { what: "the response head", limit: HEAD_LIMIT });
        }
        Ok(None)
    }

    /// Parses the lines before the blank one.
    ///
    /// # Errors
    /// [`Error::Syntax`] for anything RFC 9112 sections 4 and 5 do not allow a server to send.
    pub(super) fn parse(bytes: &[u8]) -> Result<Head> {
        let mut lines = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let end = rest.windows(2).position(|pair| pair == b"\r\n").unwrap_or(rest.len());
            lines.push(&rest[..end]);
            rest = rest.get(end + 2..).unwrap_or_default();
        }
        let (status_line, header_lines) =
            lines.split_first().ok_or_else(|| Error::Syntax("an empty head".to_owned()))?;
        let (minor_version, status) = parse_status_line(status_line)?;
        let headers =
            header_lines.iter().map(|line| parse_header_line(line)).collect::<Result<_>>()?;
        Ok(Head { minor_version, status, headers })
    }

    /// All values of a header, in order.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers
            .iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_slice())
    }

    /// The values of a header joined by a comma and a space (RFC 9110, 5.3), if there is one.
    pub fn value(&self, name: &str) -> Option<String> {
        let values: Vec<_> = self.values(name).map(String::from_utf8_lossy).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// Whether a comma-separated header holds this token, without regard to case.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.value(name)
            .is_some_and(|list| list.split(',').any(|item| item.trim().eq_ignore_ascii_case(token)))
    }

    /// Whether another head follows that counts (RFC 9110, 15.2). 101 ends HTTP on its connection.
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// The coding that hides the body, in lower case: a Content-Encoding, or a Transfer-Encoding besides
    /// `chunked`.
    pub fn coding(&self) -> Option<String> {
        ["content-encoding", "transfer-encoding"].iter().find_map(|name| {
            let value = self.value(name)?.to_ascii_lowercase();
            let mut codings = value.split(',').map(str::trim);
            let hides = |it: &&str| !matches!(*it, "" | "identity" | "none" | "chunked");
            codings.find(hides).map(str::to_owned)
        })
    }

    /// Whether no further request may be sent on the connection (RFC 9112, 9.3).
    pub fn ends_connection(&self) -> bool {
        self.has_token("connection", "close") || self.minor_version == 0
    }

    /// The media type without parameters, in lower case.
    pub fn essence(&self) -> Option<String> {
        let value = self.value("content-type")?;
        let essence = value.split(';').next().unwrap_or_default();
        Some(essence.trim().to_ascii_lowercase())
    }

    /// Whether this opens an event stream (HTML, 9.2.3).
    pub fn is_event_stream(&self) -> bool {
        self.status == 200 && self.essence().as_deref() == Some("text/event-stream")
    }

    /// Status and type on one line, for "actual" in reports.
    pub fn summary(&self) -> String {
        let mut text = format!("status {}", self.status);
        if let Some(content_type) = self.value("content-type") {
            let _ = write!(text, " with Content-Type {content_type}");
        }
        text
    }
}

fn parse_status_line(line: &[u8]) -> Result<(u8, u16)> {
    let bad = || Error::Syntax(format!("status line \"{}\"", crate::shown(line)));
    let rest = line.strip_prefix(b"HTTP/1.").ok_or_else(bad)?;
    // One digit, a space, three digits, a space; the reason may be empty (RFC 9112, 4).
    let [minor, b' ', a, b, c, rest @ ..] = rest else { return Err(bad()) };
    let digits = [minor, a, b, c].map(|byte| byte.wrapping_sub(b'0'));
    if digits.iter().any(|&digit| digit > 9) || !matches!(rest, [b' ', ..]) {
        return Err(bad());
    }
    let [minor, a, b, c] = digits;
    Ok((minor, u16::from(a) * 100 + u16::from(b) * 10 + u16::from(c)))
}

fn parse_header_line(line: &[u8]) -> Result<(String, Vec<u8>)> {
    let bad = |what: &str| Error::Syntax(format!("{what} in line \"{}\"", crate::shown(line)));
    let colon = line.iter().position(|&byte| byte == b':').ok_or_else(|| bad("no colon"))?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.is_empty() || !name.iter().all(|&byte| is_token_byte(byte)) {
        return Err(bad("a bad name"));
    }
    if value.iter().any(|&byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(bad("a control character"));
    }
    let name = String::from_utf8_lossy(name).into_owned();
    Ok((name, value.trim_ascii().to_vec()))
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_parse_strictly() {
        let head = Head::parse(b"HTTP/1.1 200 OK\r\nVary: a\r\nX:\r\nvary:  b \r\n").unwrap();
        assert_eq!((head.minor_version, head.status), (1, 200));
        assert_eq!(head.value("VARY").as_deref(), Some("a, b"));
        assert_eq!(head.value("x").as_deref(), Some(""));
        assert!(head.has_token("vary", "B"));
        for bad in [
            &b"HTTP/1.1 200\r\n"[..],
            b"HTTP/2 200 OK\r\n",
            b"HTTP/1.1 20x OK\r\n",
            b"HTTP/1.1 200 OK\r\nno colon\r\n",
            b"HTTP/1.1 200 OK\r\nA : b\r\n",
            b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n",
            b"HTTP/1.1 200 OK\r\nA: b\rC: d\r\n",
        ] {
            assert!(Head::parse(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn requests_write_what_they_were_given() {
        let request =
            Request::new("POST", "/x").header("Host", "a").header("B", [0xff]).without("host");
        assert_eq!(
            request.http10().body("hi").raw_line(b"C : d").to_bytes(),
            b"POST /x HTTP/1.0\r\nB: \xff\r\nContent-Length: 2\r\nC : d\r\n\r\nhi"
        );
    }
}
