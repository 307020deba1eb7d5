//! One connection, plain or over TLS, with a deadline for each step.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::response::Interim;
use super::{
    BODY_LIMIT, Body, Channel, Error, Head, Log, RESPONSE_HEAD, Request, Result, Side, Tls, tls,
};

/// How much one read takes at most.
const READ_BYTES: usize = 64 * 1024;
/// RFC 6585, 4.
pub(super) const TOO_MANY_REQUESTS: u16 = 429;
/// A client's end of a connection; bytes beyond the current answer stay in its buffer.
#[derive(Debug)]
pub struct Connection {
    channel: Channel<TcpStream>,
    number: usize,
    log: Log,
    pub(super) buffer: Vec<u8>,
    patience: Duration,
    /// Its frames are logged, and not its bytes.
    is_framed: bool,
}

/// The peer of a connection, and the way there.
#[derive(Clone, Copy, Debug)]
pub struct Dial<'d> {
    /// `host:port`; all addresses of a name are tried.
    pub address: &'d str,
    /// With TLS on it.
    pub tls: Option<&'d Tls>,
    /// A fixed receive buffer of this many bytes, as of a client whose system holds little. Without it
    /// the kernel lets a buffer grow to what the peer sends, tens of megabytes.
    pub receive_buffer: Option<usize>,
}

impl Connection {
    /// Connects without TLS; each later step may take as long as `patience`.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub fn open(address: &str, patience: Duration, log: &Log) -> Result<Connection> {
        Connection::dial(Dial { address, tls: None, receive_buffer: None }, patience, log)
    }

    /// Connects; this and each later step may take as long as `patience`.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Handshake`].
    pub fn dial(dial: Dial<'_>, patience: Duration, log: &Log) -> Result<Connection> {
        let refused = |reason| Error::Connect { address: dial.address.to_owned(), reason };
        let number = log.open();
        let candidates: Vec<SocketAddr> =
            dial.address.to_socket_addrs().map_err(refused)?.collect();
        let mut last = std::io::Error::new(ErrorKind::NotFound, "the name has no address");
        for candidate in candidates {
            match connect(candidate, patience, dial.receive_buffer) {
                Ok(socket) => {
                    // Probes are single writes; waiting to fill a segment would only distort times.
                    socket.set_nodelay(true).map_err(refused)?;
                    log.add(number, Side::Note, format!("connected to {candidate}").as_bytes());
                    let log = log.clone();
                    let channel = Channel::new(socket, dial.tls).map_err(refused)?;
                    let buffer = Vec::new();
                    let is_framed = false;
                    let mut connection =
                        Connection { channel, number, log, buffer, patience, is_framed };
                    connection.shake_hands().map_err(|reason| Error::Handshake {
                        address: dial.address.to_owned(),
                        reason,
                    })?;
                    return Ok(connection);
                }
                Err(error) => last = error,
            }
        }
        Err(refused(last))
    }

    fn shake_hands(&mut self) -> std::result::Result<(), String> {
        let deadline = self.deadline();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let ms = self.patience.as_millis();
                return Err(format!("no end of the handshake in {ms} ms; is it a port for TLS?"));
            }
            let socket = self.channel.socket();
            let limited = socket.set_read_timeout(Some(left));
            limited
                .and_then(|()| socket.set_write_timeout(Some(left)))
                .map_err(|it| it.to_string())?;
            match self.channel.shake_hands() {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => {
                    let words = tls::words(&error);
                    self.log.add(self.number, Side::Note, words.as_bytes());
                    return Err(words);
                }
            }
        }
        if let Some(facts) = self.channel.facts() {
            self.log.add(self.number, Side::Note, facts.as_bytes());
        }
        Ok(())
    }

    /// Sets how long each later step may take.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// The TCP socket, below any TLS, for tests that reset it or look at its options.
    pub fn socket(&self) -> &TcpStream {
        self.channel.socket()
    }

    /// The log of the dialogue.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Its number in the log.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// Whether TLS is spoken, and whether it has chosen HTTP/2.
    pub(super) fn tls_and_http2(&self) -> (bool, bool) {
        (self.channel.is_tls(), self.channel.is_http2())
    }

    /// Leaves what is sent and received to its user to log.
    pub(super) fn log_no_bytes(&mut self) {
        self.is_framed = true;
    }

    /// Sends all bytes.
    ///
    /// # Errors
    /// [`Error::Broken`] if the peer is gone, [`Error::Timeout`] if it stopped reading,
    /// [`Error::Spent`] if no more requests may be sent.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        if !self.log.may_send(bytes) {
            return Err(Error::Spent { max: self.log.budget().max() });
        }
        self.log.add(self.number, Side::Sent, bytes);
        self.write(bytes)
    }

    /// Sends all bytes, and logs nothing.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let awaited = "the request was sent";
        self.channel
            .socket()
            .set_write_timeout(Some(self.patience))
            .and_then(|()| self.channel.write_all(bytes))
            .and_then(|()| self.channel.flush())
            .map_err(|reason| match reason.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                    Error::Timeout { awaited: "room to send the request", patience: self.patience }
                }
                _ => Error::Broken { awaited, reason },
            })
    }

    /// Reads the next head, an interim one (1xx) too.
    ///
    /// # Errors
    /// Any of the module's except [`Error::Connect`].
    pub fn read_head(&mut self) -> Result<Head> {
        let deadline = self.deadline();
        let mut searched = 0;
        loop {
            if let Some((head, length)) = Head::take(&self.buffer, searched)? {
                self.buffer.drain(..length);
                if head.status == TOO_MANY_REQUESTS {
                    self.log.note_too_many(head.value("retry-after"));
                }
                return Ok(head);
            }
            searched = self.buffer.len();
            if self.fill(deadline, RESPONSE_HEAD)? == 0 {
                return Err(Error::Closed { awaited: "a response head" });
            }
        }
    }

    /// Sends a request and reads the final head; interim ones are skipped.
    ///
    /// # Errors
    /// As for [`Connection::read_head`]. A failure to send is no error if the head still arrives:
    /// a server may answer before it has read everything.
    pub fn ask(&mut self, request: &Request) -> Result<(Head, Body)> {
        let sent = self.send(&request.to_bytes());
        if let Err(error @ Error::Spent { .. }) = sent {
            return Err(error);
        }
        let mut interim = Interim::default();
        let head = loop {
            match self.read_head() {
                Ok(head) if head.status >= 200 => break head,
                Ok(_) => interim.count()?,
                Err(error) => return Err(sent.err().unwrap_or(error)),
            }
        };
        let body = Body::new(request.method(), &head)?;
        Ok((head, body))
    }

    /// The next bytes of a body as they arrive; `None` at its end.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::Closed`] if the body is cut short, [`Error::Syntax`].
    pub fn read_body(&mut self, body: &mut Body) -> Result<Option<Vec<u8>>> {
        self.read_body_until(body, self.deadline())
    }

    /// The same with a deadline of the caller.
    ///
    /// # Errors
    /// As for [`Connection::read_body`].
    pub fn read_body_until(
        &mut self,
        body: &mut Body,
        deadline: Instant,
    ) -> Result<Option<Vec<u8>>> {
        let mut output = Vec::new();
        loop {
            let decoded = body.decode(&mut self.buffer, &mut output);
            // Data before a syntax error counts: the error comes again at the next call.
            if !output.is_empty() {
                return Ok(Some(output));
            }
            decoded?;
            if body.is_done() {
                return Ok(None);
            }
            if self.fill(deadline, "more of the body")? == 0 {
                body.end_of_connection()?;
            }
        }
    }

    /// The whole of a finite body.
    ///
    /// # Errors
    /// As for [`Connection::read_body`], and [`Error::TooLong`].
    pub fn read_body_to_end(&mut self, body: &mut Body) -> Result<Vec<u8>> {
        let deadline = self.deadline();
        let mut whole = Vec::new();
        while let Some(piece) = self.read_body_until(body, deadline)? {
            whole.extend_from_slice(&piece);
            if whole.len() > BODY_LIMIT {
                return Err(Error::TooLong { what: "the body", limit: BODY_LIMIT });
            }
        }
        Ok(whole)
    }

    /// Waits until the peer closes; the bytes it sent before that.
    ///
    /// # Errors
    /// [`Error::Timeout`] if it stays open. A reset is a close here.
    pub fn read_to_close(&mut self) -> Result<Vec<u8>> {
        let deadline = self.deadline();
        loop {
            match self.fill(deadline, "close of the connection") {
                Ok(0) | Err(Error::Broken { .. }) => return Ok(std::mem::take(&mut self.buffer)),
                Ok(_) if self.buffer.len() > BODY_LIMIT => {
                    return Err(Error::TooLong { what: "what follows", limit: BODY_LIMIT });
                }
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// When a step that begins now must be over.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.patience
    }

    /// Reads once into the buffer; 0 at the end of the connection.
    pub(super) fn fill(&mut self, deadline: Instant, awaited: &'static str) -> Result<usize> {
        let broken = |reason| Error::Broken { awaited, reason };
        let mut bytes = [0; READ_BYTES];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.log.add(self.number, Side::Note, format!("waited for {awaited}").as_bytes());
                self.log.timed_out();
                return Err(Error::Timeout { awaited, patience: self.patience });
            }
            self.channel.socket().set_read_timeout(Some(left)).map_err(broken)?;
            match self.channel.read(&mut bytes) {
                Ok(0) => {
                    let how: &[u8] = match self.channel.is_cut() {
                        true => b"closed by the peer, without close_notify",
                        false => b"closed by the peer",
                    };
                    self.log.add(self.number, Side::Note, how);
                    return Ok(0);
                }
                Ok(count) => {
                    if !self.is_framed {
                        self.log.add(self.number, Side::Received, &bytes[..count]);
                    }
                    self.buffer.extend_from_slice(&bytes[..count]);
                    return Ok(count);
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut => {}
                    _ => {
                        let remark = format!("broken: {error}");
                        self.log.add(self.number, Side::Note, remark.as_bytes());
                        return Err(broken(error));
                    }
                },
            }
        }
    }
}

fn connect(
    address: SocketAddr,
    patience: Duration,
    receive_buffer: Option<usize>,
) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if let Some(bytes) = receive_buffer {
        // Before the connection is made: the window is agreed upon then.
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.connect_timeout(&address.into(), patience)?;
    Ok(socket.into())
}
