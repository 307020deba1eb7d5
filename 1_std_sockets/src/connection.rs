//! One connection: its socket, what came in on it, and how far the request in there is.

use std::io::{self, ErrorKind, Read};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use feed::clock::{SECOND, unix_ns};

use crate::http::{self, Decoder, MAX_HEAD_BYTES, Progress, Refusal, Request};

/// Nanoseconds for a request's head to come, and as long again for its body: a person at netcat can
/// do it, and whoever sends a byte now and then to hold a connection open cannot.
const REQUEST_NS: u64 = 10 * SECOND;

/// Nanoseconds that a connection may stay open between requests.
const IDLE_NS: u64 = 30 * SECOND;

/// Bytes of further requests that are taken in while an answer is under way; more stay in the
/// kernel, which slows the sender down.
const PIPELINED_BYTES: usize = 8 * 1024;

/// An accepted connection. Its socket never blocks, except inside [`wait`](Self::wait).
#[derive(Debug)]
pub struct Connection {
    socket: TcpStream,
    received: Vec<u8>,
    state: State,
    /// When what is waited for must have come, in Unix nanoseconds.
    deadline: u64,
}

#[derive(Debug)]
enum State {
    /// In a head; so many of its bytes were searched for its end.
    Head { searched: usize, blank_line_skipped: bool },
    /// In the body of this request.
    Body(Option<Box<Request>>, Decoder),
}

const START: State = State::Head { searched: 0, blank_line_skipped: false };

/// What the bytes received so far make.
#[derive(Debug)]
pub enum Step {
    /// No whole request.
    More,
    /// A request: its head, or the same again with its body.
    Request(Box<Request>),
    /// Nothing that can be answered otherwise.
    Refused(Refusal),
}

/// What reading brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// Bytes.
    Bytes,
    /// Nothing yet.
    Nothing,
    /// The client has gone.
    End,
}

impl Connection {
    /// Takes over a socket.
    ///
    /// # Errors
    /// If it cannot be made non-blocking.
    pub fn new(socket: TcpStream) -> io::Result<Connection> {
        socket.set_nonblocking(true)?;
        let deadline = unix_ns() + REQUEST_NS;
        Ok(Connection { socket, received: Vec::new(), state: START, deadline })
    }

    /// The socket, to write to.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Reads what is there.
    pub fn read(&mut self, scratch: &mut [u8]) -> Came {
        loop {
            match (&self.socket).read(scratch) {
                Ok(0) => return Came::End,
                Ok(bytes) => {
                    if self.is_idle() {
                        self.deadline = unix_ns() + REQUEST_NS;
                    }
                    self.received.extend_from_slice(&scratch[..bytes]);
                    return Came::Bytes;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // TimedOut and WouldBlock are the same errno with two names.
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Came::Nothing;
                }
                Err(_) => return Came::End,
            }
        }
    }

    /// Reads, and sleeps up to `patience` if nothing is there.
    pub fn wait(&mut self, patience: Duration, scratch: &mut [u8]) -> Came {
        let blocking = self
            .socket
            .set_read_timeout(Some(patience))
            .and_then(|()| self.socket.set_nonblocking(false));
        let came = if blocking.is_ok() { self.read(scratch) } else { Came::End };
        if self.socket.set_nonblocking(true).is_err() {
            return Came::End;
        }
        came
    }

    /// Looks whether the client is still there, while an answer is under way: takes in what it
    /// sends, up to a limit.
    pub fn is_open(&mut self, scratch: &mut [u8]) -> bool {
        if self.received.len() >= PIPELINED_BYTES {
            // Reading would only bring more; a reset shows without it.
            return matches!(self.socket.take_error(), Ok(None));
        }
        self.read(scratch) != Came::End
    }

    /// Reads and throws away. Returns how many bytes; `None` if nothing is there, 0 at the end.
    pub fn discard(&self, scratch: &mut [u8]) -> Option<usize> {
        match (&self.socket).read(scratch) {
            Ok(bytes) => Some(bytes),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => None,
            Err(_) => Some(0),
        }
    }

    /// Tells the client that nothing more comes, and takes nothing of what it still sends for a
    /// request.
    pub fn finish_sending(&mut self) {
        // The client may be gone already; then there is nobody to tell.
        let _ = self.socket.shutdown(Shutdown::Write);
        self.received = Vec::new();
    }

    /// Starts waiting for the next request; part of it may be here already.
    pub fn next_request(&mut self) {
        let patience = if self.received.is_empty() { IDLE_NS } else { REQUEST_NS };
        self.deadline = unix_ns() + patience;
    }

    /// True if nothing of a request has come.
    pub fn is_idle(&self) -> bool {
        self.received.is_empty() && matches!(self.state, State::Head { .. })
    }

    /// True if what is waited for should have come.
    pub fn is_late(&self, now: u64) -> bool {
        now >= self.deadline
    }

    /// The next request, as far as it came.
    pub fn step(&mut self) -> Step {
        match &mut self.state {
            State::Head { searched, blank_line_skipped } => {
                if !*blank_line_skipped {
                    // Some clients end a body with a line end too many (RFC 9112 2.2). One is
                    // forgiven.
                    match self.received.as_slice() {
                        [] | [b'\r'] => return Step::More,
                        [b'\r', b'\n', ..] => drop(self.received.drain(..2)),
                        [b'\n', ..] => drop(self.received.drain(..1)),
                        _ => {}
                    }
                    *blank_line_skipped = true;
                }
                // Somebody who speaks TLS to us, say, should not have to wait for an answer.
                if self.received.first().is_some_and(|byte| !http::is_token(byte)) {
                    return Step::Refused(Refusal::malformed(
                        "request line",
                        b"",
                        "METHOD target HTTP/1.1",
                    ));
                }
                match http::head_end(&self.received, *searched) {
                    Some(end) if end <= MAX_HEAD_BYTES => {
                        let rest = self.received.split_off(end);
                        let head = std::mem::replace(&mut self.received, rest);
                        (*searched, *blank_line_skipped) = (0, false);
                        match Request::parse(head) {
                            Ok(request) => Step::Request(Box::new(request)),
                            Err(refusal) => Step::Refused(refusal),
                        }
                    }
                    None if self.received.len() <= MAX_HEAD_BYTES => {
                        *searched = self.received.len();
                        Step::More
                    }
                    _ => Step::Refused(Refusal::head_too_large(&self.received)),
                }
            }
            State::Body(request, decoder) => match decoder.take(&mut self.received) {
                Progress::More => Step::More,
                Progress::Refused(refusal) => Step::Refused(refusal),
                Progress::Done(body) => {
                    let mut request = request.take().expect("taken once, here");
                    request.body = Some(body);
                    self.state = START;
                    Step::Request(request)
                }
            },
        }
    }

    /// Has the next [`step`](Self::step) read the body of this request. True if the client waits to
    /// be told.
    pub fn read_body(&mut self, request: Box<Request>) -> bool {
        let told = request.expects_continue() && self.received.is_empty();
        self.deadline = unix_ns() + REQUEST_NS;
        let decoder = Decoder::new(request.framing);
        self.state = State::Body(Some(request), decoder);
        told
    }

    /// Passes over a body that nobody asked for. False if that is not all here: the rest would be
    /// taken for a request.
    pub fn skip_body(&mut self, request: &Request) -> bool {
        match &request.body {
            Some(body) => body.is_ok(),
            None => {
                let mut decoder = Decoder::new(request.framing);
                matches!(decoder.take(&mut self.received), Progress::Done(Ok(_)))
            }
        }
    }
}
