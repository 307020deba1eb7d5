//! The paced publisher: one keep-alive connection that POSTs stamped messages.

use std::io::{self, Read, Write as _};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::plan::{Body, Publish};
use super::response::{Piece, ResponseDecoder};
use super::stamp::Stamp;

impl Body {
    fn write(&self, stamp: Stamp, out: &mut String) {
        out.clear();
        match self {
            Body::Stamp { pad_bytes } => stamp.write(*pad_bytes, out),
            Body::Template(text) => {
                let mut whole = String::new();
                stamp.write(0, &mut whole);
                out.push_str(
                    &text
                        .replace("{n}", &stamp.n.to_string())
                        .replace("{scheduled_ns}", &stamp.scheduled_ns.to_string())
                        .replace("{scheduled_ms}", &(stamp.scheduled_ns / 1_000_000).to_string())
                        .replace("{stamp}", &whole),
                );
            }
        }
    }
}

/// A connection that publishes one message at a time.
///
/// It never pipelines: if an answer is late, so is the next message, and since latency counts from
/// the schedule, that is seen.
#[derive(Debug)]
pub(super) struct Publisher {
    what: Publish,
    token: Token,
    stream: Option<TcpStream>,
    decoder: ResponseDecoder,
    status: u16,
    request: Vec<u8>,
    written: usize,
    waiting: bool,
    body: String,
}

impl Publisher {
    pub(super) fn new(what: &Publish, token: Token) -> Publisher {
        Publisher {
            what: what.clone(),
            token,
            stream: None,
            decoder: ResponseDecoder::default(),
            status: 0,
            request: Vec::new(),
            written: 0,
            waiting: false,
            body: String::new(),
        }
    }

    /// Connects, unless it is connected.
    pub(super) fn connect(&mut self, registry: &Registry) -> io::Result<()> {
        if self.stream.is_none() {
            let mut stream = TcpStream::connect(self.what.addr)?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            registry.register(&mut stream, self.token, interest)?;
            let _ = stream.set_nodelay(true);
            self.decoder = ResponseDecoder::default();
            self.stream = Some(stream);
        }
        Ok(())
    }

    /// Whether the answer to the message before has come.
    pub(super) fn is_ready(&self) -> bool {
        !self.waiting
    }

    /// Sends one message.
    pub(super) fn publish(&mut self, stamp: Stamp, registry: &Registry) -> io::Result<()> {
        self.connect(registry)?;
        self.what.body.write(stamp, &mut self.body);
        self.request.clear();
        self.written = 0;
        self.waiting = true;
        write!(
            self.request,
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: text/plain\r\n\
             Content-Length: {}\r\n\r\n{}",
            self.what.path,
            self.what.host,
            self.body.len(),
            self.body
        )?;
        self.flush()
    }

    /// Goes on after the poll said that something is possible.
    pub(super) fn advance(&mut self) -> io::Result<()> {
        self.flush()?;
        let mut buffer = [0; 4096];
        while let Some(stream) = &mut self.stream {
            let read = match stream.read(&mut buffer) {
                Ok(read) => read,
                Err(error) if would_wait(&error) => return Ok(()),
                Err(error) if self.waiting => return Err(error),
                Err(_) => 0,
            };
            if read == 0 {
                self.stream = None;
                // A server may end a connection between two messages, but not instead of an answer.
                return if self.waiting {
                    Err(io::Error::other("closed the connection instead of an answer"))
                } else {
                    Ok(())
                };
            }
            let mut input = &buffer[..read];
            while let Some(piece) = self.decoder.next(&mut input).map_err(io::Error::other)? {
                match piece {
                    Piece::Head(head) => self.status = head.status,
                    Piece::Body(_) => {}
                    Piece::End if (200..300).contains(&self.status) => self.waiting = false,
                    Piece::End => {
                        return Err(io::Error::other(format!("answered {}, not 2xx", self.status)));
                    }
                }
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        while self.written < self.request.len() {
            match stream.write(&self.request[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if would_wait(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Not now; the poll will say when. A connection that is still being made says `NotConnected`.
fn would_wait(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, NotConnected, WouldBlock};
    matches!(error.kind(), WouldBlock | NotConnected | Interrupted)
}
