//! HTTP/1.1 by hand, as much of it as the cases ask for, right but for the fault at hand.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use crate::fault;

/// The most bytes of a head.
const HEAD_BYTES: usize = 64 * 1024;

/// Where a stream is.
#[derive(Clone, PartialEq)]
pub struct Url {
    pub authority: String,
    pub target: String,
}

impl Url {
    pub fn parse(text: &str) -> Option<Url> {
        let rest = text.strip_prefix("http://")?;
        let rest = rest.split('#').next()?;
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(at);
        let target = if target.is_empty() { "/" } else { target };
        Some(Url { authority: authority.to_owned(), target: target.to_owned() })
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.authority)
    }

    /// A `Location`, seen from here.
    pub fn join(&self, location: &str) -> Url {
        if let Some(url) = Url::parse(location) {
            return url;
        }
        let path = self.target.split('?').next().unwrap_or_default();
        let target = match location.as_bytes() {
            [] => self.target.clone(),
            _ if fault("C7.12") => format!("/{location}"),
            [b'/', ..] => location.to_owned(),
            [b'?', ..] => format!("{path}{location}"),
            _ => {
                let mut parts: Vec<&str> = path.split('/').collect();
                parts.pop();
                let mut rest = location;
                while let Some(behind) = rest.strip_prefix("../") {
                    rest = behind;
                    if parts.len() > 1 {
                        parts.pop();
                    }
                }
                parts.push(rest);
                parts.join("/")
            }
        };
        Url { target, ..self.clone() }
    }
}

/// An answer whose head has come.
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    socket: TcpStream,
    buffer: Vec<u8>,
    framing: Framing,
}

enum Framing {
    Chunked { left: usize, is_first: bool },
    Length(usize),
    Close,
}

/// The result of a read of the body.
pub enum Part {
    /// Bytes; none if a segment held only lines of the framing.
    Bytes(Vec<u8>),
    End,
    /// The connection ended before the body did, or broke.
    Broken,
    /// Nothing came for as long as the read timeout.
    Silent,
}

/// Sends a request and reads the head of the answer.
pub fn ask(
    url: &Url,
    request: &[u8],
    head_timeout: Option<Duration>,
    keep: impl FnOnce(&TcpStream),
) -> io::Result<Answer> {
    let mut socket = TcpStream::connect(&url.authority)?;
    socket.set_nodelay(true)?;
    keep(&socket);
    socket.write_all(request)?;
    socket.set_read_timeout(head_timeout)?;
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = find(&buffer, b"\r\n\r\n") {
                break at + 4;
            }
            if buffer.len() > HEAD_BYTES || !more(&mut socket, &mut buffer)? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let head: Vec<u8> = buffer.drain(..end).collect();
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|it| it.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
        if (100..200).contains(&status) && !fault("C7.13") {
            continue;
        }
        let split = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        let headers: Vec<(String, String)> = lines.filter_map(split).collect();
        let mut answer = Answer { status, headers, socket, buffer, framing: Framing::Close };
        let length = answer.header("content-length").and_then(|it| it.parse().ok());
        answer.framing = match length {
            _ if answer.header("transfer-encoding").is_some() => {
                Framing::Chunked { left: 0, is_first: true }
            }
            Some(length) if !fault("C2.14") => Framing::Length(length),
            _ => Framing::Close,
        };
        return Ok(answer);
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    pub fn set_read_timeout(&self, timeout: Option<Duration>) {
        let _ = self.socket.set_read_timeout(timeout);
    }

    pub fn close(&self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// The next bytes of the body.
    pub fn part(&mut self) -> Part {
        if matches!(self.framing, Framing::Close) && fault("C2.13") {
            return Part::Broken;
        }
        loop {
            match self.take() {
                Ok(Some(part)) => return part,
                Ok(None) => {}
                Err(()) if fault("C7.17") => {
                    // A body with unknown framing is taken as it is.
                    self.framing = Framing::Close;
                    continue;
                }
                Err(()) => return Part::Broken,
            }
            let before = self.buffer.len();
            match more(&mut self.socket, &mut self.buffer) {
                Ok(true) => {
                    if matches!(self.framing, Framing::Chunked { .. })
                        && self.is_framing_only(before)
                    {
                        return Part::Bytes(Vec::new());
                    }
                }
                Ok(false) if matches!(self.framing, Framing::Close) => return Part::End,
                Ok(false) => return Part::Broken,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    return Part::Silent;
                }
                Err(_) if fault("C7.19") && matches!(self.framing, Framing::Close) => {
                    return Part::End;
                }
                Err(_) => return Part::Broken,
            }
        }
    }

    /// Whether what came behind `before` is no byte of the body: one that is read in vain.
    fn is_framing_only(&self, before: usize) -> bool {
        let new = &self.buffer[before.min(self.buffer.len())..];
        !new.is_empty()
            && new.len() < 4
            && new.iter().all(|it| b"0123456789abcdef\r\n".contains(it))
            && matches!(self.framing, Framing::Chunked { left: 0, .. })
    }

    /// The next part in the buffer; `None` if more is needed, an error if the framing is broken.
    fn take(&mut self) -> Result<Option<Part>, ()> {
        match &mut self.framing {
            Framing::Close if self.buffer.is_empty() => Ok(None),
            Framing::Close => Ok(Some(Part::Bytes(std::mem::take(&mut self.buffer)))),
            Framing::Length(0) => Ok(Some(Part::End)),
            Framing::Length(_) if self.buffer.is_empty() => Ok(None),
            Framing::Length(left) => {
                let count = self.buffer.len().min(*left);
                *left -= count;
                Ok(Some(Part::Bytes(self.buffer.drain(..count).collect())))
            }
            Framing::Chunked { left, is_first } => {
                if *left == 0 {
                    // CR LF behind the last chunk's data, then the size of the next.
                    let skip = if *is_first { 0 } else { 2 };
                    if self.buffer.len() < skip {
                        return Ok(None);
                    }
                    if skip == 2 && !self.buffer.starts_with(b"\r\n") {
                        return Err(());
                    }
                    let Some(at) = find(&self.buffer[skip..], b"\r\n") else {
                        // One read is one line, it thinks.
                        return if fault("C2.11") && self.buffer.len() > skip {
                            Err(())
                        } else {
                            Ok(None)
                        };
                    };
                    let line = String::from_utf8_lossy(&self.buffer[skip..skip + at]).into_owned();
                    let digits = match line.split_once(';') {
                        Some(_) if fault("C2.12") => return Err(()),
                        Some((digits, _)) => digits.trim(),
                        None => line.trim(),
                    };
                    let size = usize::from_str_radix(digits, 16).map_err(|_| ())?;
                    if size == 0 {
                        return Ok(Some(Part::End));
                    }
                    self.buffer.drain(..skip + at + 2);
                    (*left, *is_first) = (size, false);
                }
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                let count = self.buffer.len().min(*left);
                *left -= count;
                Ok(Some(Part::Bytes(self.buffer.drain(..count).collect())))
            }
        }
    }
}

fn more(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let mut bytes = [0; 64 * 1024];
    let count = socket.read(&mut bytes)?;
    buffer.extend_from_slice(&bytes[..count]);
    Ok(count > 0)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|it| it == what)
}

/// Undoes gzip of stored blocks, which is all that the case sends. As some decoders do, it gives out what
/// came before an empty block: a compressor ends each flush with one.
#[derive(Default)]
pub struct Gunzip {
    buffer: Vec<u8>,
    begun: bool,
    held: Vec<u8>,
}

impl Gunzip {
    pub fn part(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.buffer.extend_from_slice(bytes);
        let mut out = Vec::new();
        if !self.begun {
            if self.buffer.len() < 10 {
                return out;
            }
            self.buffer.drain(..10);
            self.begun = true;
        }
        while self.buffer.len() >= 5 {
            let length = usize::from(u16::from_le_bytes([self.buffer[1], self.buffer[2]]));
            if self.buffer.len() < 5 + length {
                break;
            }
            if length == 0 && !fault("C4.09") {
                out.append(&mut self.held);
            }
            self.held.extend_from_slice(&self.buffer[5..5 + length]);
            self.buffer.drain(..5 + length);
        }
        out
    }
}
