//! Requests, heads of responses and chunks, right or with one fault.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::fault;
use crate::stream::is_room;

/// The longest head that is taken.
const HEAD_LIMIT: usize = 64 * 1024;
/// The most header lines.
const HEADERS_LIMIT: usize = 100;
/// The longest body that is taken; one more byte is read than a message may have.
const BODY_LIMIT: usize = 64 * 1024;
/// The time that a head may take from its first byte on.
const HEAD_PATIENCE: Duration = Duration::from_secs(1);
/// The longest target that is taken.
const TARGET_LIMIT: usize = 8192;

pub struct Request {
    pub method: String,
    pub path: String,
    pub query: String,
    pub minor_version: u8,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// Why a request gets no proper answer.
pub enum Refusal {
    /// Answered with this status, then closed.
    Status(u16),
    /// The client is gone.
    Gone,
}

impl From<io::Error> for Refusal {
    fn from(_: io::Error) -> Refusal {
        Refusal::Gone
    }
}

impl Request {
    /// Reads the next request; bytes beyond it stay in `buffer`.
    pub fn read(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<Request, Refusal> {
        let mut due = None;
        loop {
            if !buffer.is_empty() && !fault("S8.09") {
                let due = *due.get_or_insert_with(|| Instant::now() + HEAD_PATIENCE);
                let left = due.saturating_duration_since(Instant::now());
                socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            }
            if buffer.starts_with(b"\r\n") && !fault("S9.20") {
                buffer.drain(..2);
            } else if let Some(end) = find(buffer, b"\r\n\r\n") {
                socket.set_read_timeout(None)?;
                let head: Vec<u8> = buffer.drain(..end + 4).collect();
                let mut request = Request::parse(&head[..end])?;
                request.read_body(socket, buffer)?;
                return Ok(request);
            } else if buffer.len() > HEAD_LIMIT {
                let in_target = !buffer.contains(&b'\r');
                if fault("S9.21") && !in_target {
                    return Err(Refusal::Gone);
                }
                return Err(Refusal::Status(if in_target && !fault("S9.22") { 414 } else { 431 }));
            } else {
                fill(socket, buffer).map_err(|_| Refusal::Gone)?;
            }
        }
    }

    pub fn value(&self, name: &str) -> Option<&[u8]> {
        let found = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_slice())
    }

    /// Where to resume: the header, or else the parameter.
    pub fn last_event_id(&self) -> Option<String> {
        let header = match fault("S6.07") {
            true => self.headers.iter().find(|(name, _)| name == "Last-Event-ID"),
            false => {
                self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("last-event-id"))
            }
        };
        let header = header.map(|(_, value)| String::from_utf8_lossy(value).into_owned());
        let header = header.filter(|id| !id.is_empty() || fault("S6.05"));
        let parameter = self.parameter("last_event_id").map(str::to_owned);
        match () {
            () if fault("S6.12") => header,
            () if fault("S6.12-header") => parameter.or(header),
            () => header.or(parameter),
        }
    }

    pub fn has_token(&self, name: &str, token: &str) -> bool {
        let value = self.value(name).unwrap_or_default();
        let mut items = value.split(|byte| *byte == b',');
        items.any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    pub fn parameter(&self, name: &str) -> Option<&str> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    fn count(&self, name: &str) -> usize {
        self.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).count()
    }

    fn parse(head: &[u8]) -> Result<Request, Refusal> {
        let bad = || Refusal::Status(400);
        let mut lines = split(head, b"\r\n").into_iter();
        let line = String::from_utf8(lines.next().unwrap_or_default()).map_err(|_| bad())?;
        let words: Vec<&str> = line.split(' ').collect();
        let [method, target, version] = words[..] else { return Err(bad()) };
        let minor_version = match version {
            "HTTP/1.1" => 1,
            "HTTP/1.0" => 0,
            _ => return Err(bad()),
        };
        let limit = if fault("S9.22-8000") { 4096 } else { TARGET_LIMIT };
        if target.len() > limit && !fault("S9.22") {
            return Err(Refusal::Status(414));
        }
        let absolute = target.strip_prefix("http://").filter(|_| !fault("S9.23"));
        let target = match absolute {
            Some(rest) => &rest[rest.find('/').ok_or_else(bad)?..],
            None => target,
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers = Vec::new();
        for line in lines {
            headers.push(parse_header(&line)?);
        }
        if headers.len() > HEADERS_LIMIT {
            return Err(Refusal::Status(if fault("S9.21-many") { 500 } else { 431 }));
        }
        let request = Request {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            minor_version,
            headers,
            body: Vec::new(),
        };
        let hosts = request.count("host");
        let no_host = hosts == 0 && minor_version == 1 && !fault("S9.10");
        if no_host || (hosts > 1 && !fault("S9.11")) {
            return Err(bad());
        }
        Ok(request)
    }

    fn read_body(&mut self, socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<(), Refusal> {
        let (lengths, codings) = (self.count("content-length"), self.count("transfer-encoding"));
        let both = lengths > 0 && codings > 0 && !fault("S9.12");
        let old = codings > 0 && self.minor_version == 0 && !fault("S9.14");
        let differ = lengths > 1 && !fault("S9.13");
        if both || old || differ {
            return Err(Refusal::Status(400));
        }
        if codings > 0 && !self.has_token("transfer-encoding", "chunked") && !fault("S9.15") {
            return Err(Refusal::Status(501));
        }
        let is_last = self.value("transfer-encoding").is_none_or(|it| it.ends_with(b"chunked"));
        if !is_last && !fault("S9.15") {
            return Err(Refusal::Status(400));
        }
        let length = match self.value("content-length").map(String::from_utf8_lossy) {
            Some(text) if text.bytes().all(|it| it.is_ascii_digit()) => {
                text.parse().map_err(|_| Refusal::Status(400))?
            }
            Some(_) if fault("S9.27") => 0,
            Some(_) => return Err(Refusal::Status(400)),
            None => 0,
        };
        if self.has_token("expect", "100-continue") && self.minor_version == 1 && !fault("S9.28") {
            socket.write_all(b"HTTP/1.1 100 \r\n\r\n")?;
        }
        let body = match codings {
            // The author's room takes longer texts.
            0 if length > BODY_LIMIT && !fault("S7.09") && !is_room(&self.path) => {
                return Err(Refusal::Status(413));
            }
            0 => exactly(length, socket, buffer),
            _ => chunks(socket, buffer),
        };
        self.body = match body {
            Ok(body) => body,
            Err(torn) if fault("S7.07") && !torn.is_empty() => torn,
            Err(_) => return Err(Refusal::Gone),
        };
        Ok(())
    }
}

/// A body of this length, or the part of it that came.
fn exactly(
    length: usize,
    socket: &mut TcpStream,
    buffer: &mut Vec<u8>,
) -> Result<Vec<u8>, Vec<u8>> {
    while buffer.len() < length {
        if fill(socket, buffer).is_err() {
            return Err(std::mem::take(buffer));
        }
    }
    Ok(buffer.drain(..length).collect())
}

/// A chunked body without trailers, or the part of it that came.
fn chunks(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<Vec<u8>, Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let Some(end) = find(buffer, b"\r\n") else {
            match fill(socket, buffer) {
                Ok(()) => continue,
                Err(_) => return Err(body),
            }
        };
        let line = String::from_utf8_lossy(&buffer[..end]).into_owned();
        let size = line.split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16).map_err(|_| Vec::new())?;
        buffer.drain(..end + 2);
        match exactly(size + 2, socket, buffer) {
            Ok(_) if size == 0 => return Ok(body),
            Ok(_) if fault("S7.08") && !body.is_empty() => {}
            Ok(chunk) => body.extend_from_slice(&chunk[..size]),
            Err(part) => return Err([body, part].concat()),
        }
    }
}

/// The head of a response.
pub fn head(status: u16, lines: &[String]) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} \r\n");
    if !fault("S1.10") {
        text +=
            &format!("Date: {}\r\n", jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT"));
    }
    for line in lines {
        text += &format!("{line}\r\n");
    }
    text += "\r\n";
    text.into_bytes()
}

/// Writes one chunk.
pub fn write_chunk(socket: &mut TcpStream, data: &[u8]) -> io::Result<()> {
    let mut chunk = format!("{:x}\r\n", data.len()).into_bytes();
    chunk.extend_from_slice(data);
    chunk.extend_from_slice(b"\r\n");
    socket.write_all(&chunk)
}

/// `%0a` and the like as bytes; what is no escape stays.
pub fn percent_decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|it| std::str::from_utf8(it).ok());
        let byte = hex.filter(|_| first == b'%').and_then(|it| u8::from_str_radix(it, 16).ok());
        out.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn parse_header(line: &[u8]) -> Result<(String, Vec<u8>), Refusal> {
    let status = |id: &str| Refusal::Status(if fault(id) { 500 } else { 400 });
    if line.starts_with(b" ") || line.starts_with(b"\t") {
        return Err(status("S9.16"));
    }
    if line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) && !fault("S10.07") {
        return Err(status("S9.17"));
    }
    let colon = line.iter().position(|byte| *byte == b':').ok_or(Refusal::Status(400))?;
    let name = String::from_utf8_lossy(&line[..colon]).into_owned();
    if name.contains([' ', '\t']) && !fault("S9.18") {
        return Err(Refusal::Status(400));
    }
    Ok((name.trim().to_owned(), line[colon + 1..].trim_ascii().to_vec()))
}

fn fill(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<(), Refusal> {
    let mut bytes = [0; 16 * 1024];
    match socket.read(&mut bytes)? {
        0 => Err(Refusal::Gone),
        count => {
            buffer.extend_from_slice(&bytes[..count]);
            Ok(())
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn split(bytes: &[u8], separator: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    let mut rest = bytes;
    while let Some(at) = find(rest, separator) {
        parts.push(rest[..at].to_vec());
        rest = &rest[at + separator.len()..];
    }
    parts.push(rest.to_vec());
    parts
}
