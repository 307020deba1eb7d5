//! A request as a client wrote it.

use std::io::{self, Read};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

/// The most bytes of a request's head: several times what clients send.
const HEAD_LIMIT: usize = 64 * 1024;
/// The most bytes of a body that a client sends; the cases ask for a few hundred.
const BODY_LIMIT: usize = 1024 * 1024;
/// The most bytes of a report: 10 MiB of data as JSON, twice over.
const REPORT_LIMIT: usize = 24 * 1024 * 1024;
/// How much one read takes at most.
const READ_BYTES: usize = 16 * 1024;

/// A client's request, as it was written.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) version: String,
    /// The header lines in their order; values without surrounding white space, as raw bytes.
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
    /// When its head was whole.
    pub(super) at: Instant,
}

impl Request {
    /// The values of a header, in order.
    pub(super) fn all(&self, name: &str) -> Vec<&[u8]> {
        let lines = self.headers.iter().filter(|(it, _)| it.eq_ignore_ascii_case(name));
        lines.map(|(_, value)| value.as_slice()).collect()
    }

    /// The value of a header that is there once.
    pub(super) fn header(&self, name: &str) -> Option<&[u8]> {
        self.all(name).first().copied()
    }

    /// The value as text for a report; `none` if there is no such line.
    pub(super) fn shown(&self, name: &str) -> String {
        match self.all(name).as_slice() {
            [] => format!("no {name}"),
            values => {
                let values: Vec<_> =
                    values.iter().map(|it| format!("{name}: {}", it.escape_ascii())).collect();
                values.join(" and ")
            }
        }
    }
}

/// Reads requests one after the other off a connection.
pub(super) struct Reader {
    socket: Arc<TcpStream>,
    buffer: Vec<u8>,
    body_limit: usize,
}

impl Reader {
    pub(super) fn new(socket: Arc<TcpStream>) -> Reader {
        Reader { socket, buffer: Vec::new(), body_limit: BODY_LIMIT }
    }

    /// The same, and bodies may be as large as what clients report of large events.
    pub(super) fn of_reports(socket: Arc<TcpStream>) -> Reader {
        Reader { body_limit: REPORT_LIMIT, ..Reader::new(socket) }
    }

    /// The next request with its bytes; `None` at the end of the connection, however it ends.
    pub(super) fn next(&mut self) -> Option<(Request, Vec<u8>)> {
        let end = loop {
            // A blank line before a request is skipped (RFC 9112 2.2).
            while self.buffer.starts_with(b"\r\n") {
                self.buffer.drain(..2);
            }
            if let Some(at) = memchr::memmem::find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            self.more(HEAD_LIMIT).ok()?;
        };
        let at = Instant::now();
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let mut lines = head[..head.len() - 4].split(|byte| *byte == b'\n');
        let first = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
        let mut words = first.trim_end().split(' ').map(str::to_owned);
        let mut word = || words.next().unwrap_or_default();
        let (method, target, version) = (word(), word(), word());
        let headers = lines
            .map(|line| {
                let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
                let value = line.get(colon + 1..).unwrap_or_default().trim_ascii().to_vec();
                (String::from_utf8_lossy(&line[..colon]).into_owned(), value)
            })
            .collect();
        let body = Vec::new();
        let mut request = Request { method, target, version, headers, body, at };
        let mut bytes = head;
        request.body = self.body(&request)?;
        bytes.extend_from_slice(&request.body);
        Some((request, bytes))
    }

    fn body(&mut self, request: &Request) -> Option<Vec<u8>> {
        let coding = request.header("Transfer-Encoding").unwrap_or_default();
        if coding.eq_ignore_ascii_case(b"chunked") {
            return self.chunks();
        }
        let length = request.header("Content-Length").unwrap_or_default();
        let length: usize = std::str::from_utf8(length).ok()?.parse().unwrap_or_default();
        while self.buffer.len() < length {
            self.more(self.body_limit).ok()?;
        }
        Some(self.buffer.drain(..length).collect())
    }

    fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                if let Some(at) = memchr::memmem::find(&self.buffer, b"\r\n") {
                    break at;
                }
                self.more(self.body_limit).ok()?;
            };
            let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
            let digits = line.split(|it| !it.is_ascii_hexdigit()).next().unwrap_or_default();
            let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
            while self.buffer.len() < size + 2 {
                self.more(self.body_limit).ok()?;
            }
            body.extend(self.buffer.drain(..size + 2).take(size));
            if size == 0 || body.len() > self.body_limit {
                return Some(body);
            }
        }
    }

    fn more(&mut self, limit: usize) -> io::Result<()> {
        if self.buffer.len() > limit {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = [0; READ_BYTES];
        match (&*self.socket).read(&mut bytes) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.buffer.extend_from_slice(&bytes[..count]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }
}
