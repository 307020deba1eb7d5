//! The other side: requests as clients wrote them, and a small server for peers that answer whole.

use std::io::{self, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::HEAD_LIMIT;

/// How much one read takes at most.
const READ_BYTES: usize = 16 * 1024;

/// A client's request, as it was written.
#[derive(Clone, Debug)]
pub struct ReceivedRequest {
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// `HTTP/1.1`.
    pub version: String,
    /// The header lines in their order; values without surrounding white space, as raw bytes.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body, without the framing of its chunks.
    pub body: Vec<u8>,
    /// When its head was whole.
    pub at: Instant,
}

/// An answer that is whole.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// `200 OK`.
    pub status: &'static str,
    /// Further header lines, each with its CR LF.
    pub lines: String,
    /// The body; its length is sent along.
    pub body: String,
}

/// Answers all requests at this listener, as long as the process runs: a thread for each connection.
///
/// A body may have this many bytes. A connection ends with its client, with a request that is none, or with an answer
/// that says `Connection: close`.
pub fn serve(
    listener: TcpListener,
    body_limit: usize,
    answer: impl Fn(&ReceivedRequest) -> Answer + Send + Sync + 'static,
) {
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let answer = Arc::clone(&answer);
            thread::spawn(move || {
                let socket = Arc::new(socket);
                let mut reader = RequestReader::new(Arc::clone(&socket), body_limit);
                while let Some((request, _)) = reader.next_request() {
                    let Answer { status, lines, body } = answer(&request);
                    let length = body.len();
                    let text = format!(
                        "HTTP/1.1 {status}\r\n{lines}Content-Length: {length}\r\n\r\n{body}"
                    );
                    let is_last = lines.contains("Connection: close");
                    if (&*socket).write_all(text.as_bytes()).is_err() || is_last {
                        return;
                    }
                }
            });
        }
    });
}

impl ReceivedRequest {
    /// The values of a header, in order.
    pub fn all(&self, name: &str) -> Vec<&[u8]> {
        let lines = self.headers.iter().filter(|(it, _)| it.eq_ignore_ascii_case(name));
        lines.map(|(_, value)| value.as_slice()).collect()
    }

    /// The value of a header that is there once.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.all(name).first().copied()
    }

    /// The value as text for a report; `none` if there is no such line.
    pub fn shown(&self, name: &str) -> String {
        match self.all(name).as_slice() {
            [] => format!("no {name}"),
            values => {
                let values: Vec<_> =
                    values.iter().map(|it| format!("{name}: {}", crate::shown(it))).collect();
                values.join(" and ")
            }
        }
    }
}

/// Reads requests one after the other off a connection.
#[derive(Debug)]
pub struct RequestReader {
    socket: Arc<TcpStream>,
    buffer: Vec<u8>,
    body_limit: usize,
}

impl RequestReader {
    /// A reader; a body may have this many bytes.
    pub fn new(socket: Arc<TcpStream>, body_limit: usize) -> RequestReader {
        RequestReader { socket, buffer: Vec::new(), body_limit }
    }

    /// The next request with its bytes; `None` at the end of the connection, however it ends.
    pub fn next_request(&mut self) -> Option<(ReceivedRequest, Vec<u8>)> {
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
        let mut request = ReceivedRequest { method, target, version, headers, body, at };
        let mut bytes = head;
        request.body = self.body(&request)?;
        bytes.extend_from_slice(&request.body);
        Some((request, bytes))
    }

    fn body(&mut self, request: &ReceivedRequest) -> Option<Vec<u8>> {
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
            if size > self.body_limit {
                return None;
            }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Connection, Log, Request};

    #[test]
    fn requests_of_one_connection_are_answered_and_one_too_large_ends_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        serve(listener, 1000, |request| {
            let body = format!("{} {} {}", request.method, request.target, request.body.len());
            Answer { status: "200 OK", lines: "X: y\r\n".to_owned(), body }
        });
        let patience = Duration::from_secs(5);
        let mut connection = Connection::open(&address, patience, &Log::new()).unwrap();
        for (size, answer) in [(0, "POST /a?b 0"), (999, "POST /a?b 999")] {
            let request = Request::new("POST", "/a?b").header("Host", "h").body(vec![b'x'; size]);
            let (head, mut body) = connection.ask(&request).unwrap();
            assert_eq!((head.status, head.value("x").as_deref()), (200, Some("y")));
            assert_eq!(connection.read_body_to_end(&mut body).unwrap(), answer.as_bytes());
        }
        connection
            .send(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nab\r\n0\r\n\r\n")
            .unwrap();
        assert_eq!(connection.read_head().unwrap().status, 200);
        let mut connection = Connection::open(&address, patience, &Log::new()).unwrap();
        let request = Request::new("POST", "/").header("Host", "h").body(vec![b'x'; 100_000]);
        assert!(connection.ask(&request).unwrap_err().is_end());
    }
}
