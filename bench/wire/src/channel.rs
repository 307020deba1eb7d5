//! A socket, and the TLS on it if there is some: plain text is read and written either way.

use std::io::{self, ErrorKind, Read, Write};

use rustls::ClientConnection;

use super::Tls;
use super::tls::HTTP2;

/// A client's socket, blocking or not; its errors are the socket's.
///
/// TLS has no I/O of its own here, so the one implementation serves the suite, whose sockets block
/// until a deadline, and the load loop, whose sockets never do.
#[derive(Debug)]
pub struct Channel<S> {
    socket: S,
    tls: Option<Box<Session>>,
}

#[derive(Debug)]
struct Session {
    connection: ClientConnection,
    facts: String,
    tls: Tls,
    is_cut: bool,
}

impl<S: Read + Write> Channel<S> {
    /// The socket as it is, or with TLS on it; nothing is sent yet.
    ///
    /// # Errors
    /// When rustls refuses the configuration.
    pub fn new(socket: S, tls: Option<&Tls>) -> io::Result<Channel<S>> {
        let session = |tls: &Tls| -> io::Result<Box<Session>> {
            let connection = tls.session()?;
            let facts = String::new();
            Ok(Box::new(Session { connection, facts, tls: tls.clone(), is_cut: false }))
        };
        Ok(Channel { socket, tls: tls.map(session).transpose()? })
    }

    /// The socket below.
    pub fn socket(&self) -> &S {
        &self.socket
    }

    /// Whether TLS is spoken: then a read may leave bytes in the socket though it was short.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether the handshake has chosen HTTP/2.
    pub fn is_http2(&self) -> bool {
        self.tls.as_ref().is_some_and(|it| it.connection.alpn_protocol() == Some(HTTP2))
    }

    /// Version, cipher and certificate, once the handshake is over.
    pub fn facts(&self) -> Option<&str> {
        self.tls.as_ref().map(|it| it.facts.as_str()).filter(|it| !it.is_empty())
    }

    /// Whether the peer has ended its side without the end of TLS (`close_notify`).
    pub fn is_cut(&self) -> bool {
        self.tls.as_ref().is_some_and(|it| it.is_cut)
    }

    /// Goes on with the handshake; whether it is over, so that plain text can be written.
    ///
    /// # Errors
    /// The socket's, `WouldBlock` left out, and those of TLS: see [`words`](super::tls::words).
    pub fn shake_hands(&mut self) -> io::Result<bool> {
        let Some(session) = &mut self.tls else { return Ok(true) };
        let connection = &mut session.connection;
        while connection.is_handshaking() {
            match connection.complete_io(&mut self.socket) {
                Ok(_) => {}
                Err(error) if is_not_now(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        if session.facts.is_empty() {
            session.facts = session.tls.facts(connection);
        }
        Ok(true)
    }
}

impl Session {
    /// Writes what TLS holds back; an error of the socket if not all of it went.
    fn flush(&mut self, socket: &mut impl Write) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(socket)?;
        }
        Ok(())
    }
}

impl<S: Read + Write> Read for Channel<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(session) = &mut self.tls else { return self.socket.read(buffer) };
        loop {
            match session.connection.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // To HTTP it is an end; whether it is one that it may trust is for the caller.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    session.is_cut = true;
                    return Ok(0);
                }
                result => return result,
            }
            session.connection.read_tls(&mut self.socket)?;
            let processed = session.connection.process_new_packets();
            // An answer to a key update, or the alert for what could not be processed; the peer may
            // have stopped reading.
            let _ = session.flush(&mut self.socket);
            processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        }
    }
}

impl<S: Read + Write> Write for Channel<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(session) = &mut self.tls else { return self.socket.write(bytes) };
        // Before more is taken, so that no write is taken that is not sent.
        session.flush(&mut self.socket)?;
        let taken = session.connection.writer().write(bytes)?;
        match session.flush(&mut self.socket) {
            Err(error) if !is_not_now(&error) => Err(error),
            _ => Ok(taken),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            None => self.socket.flush(),
            Some(session) => session.flush(&mut self.socket),
        }
    }
}

fn is_not_now(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::NotConnected)
}
