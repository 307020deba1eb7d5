//! One open stream of the generator: a socket, what decodes it, and what was received.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

use client::{Item, Parser};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

use super::response::{Piece, ResponseDecoder};
use super::sequence::Sequence;
use super::stamp::{Stamp, StampReader, number_of_id};

/// Loopback addresses that connections come from, in turn: one address has 28 000 ports, and some
/// of them are still in TIME_WAIT from the window before.
const SOURCES: usize = 64;

/// Full reads of one socket before it is another one's turn: a server that never waits can keep it
/// full for ever.
const READS_AT_ONCE: u32 = 8;

/// The receive buffer of a subscriber that never reads: small, so that the server soon feels it.
const STALLED_BUFFER_BYTES: usize = 4096;

/// A subscriber's connection.
#[derive(Debug)]
pub(super) struct Subscriber {
    stream: TcpStream,
    decoder: ResponseDecoder,
    parser: Parser,
    requested: bool,
    stalled: bool,
}

/// The events of one subscriber; outlives its connection.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// The response head came, and is that of an event stream.
    pub(super) up: bool,
    /// It never reads, and nothing is due to it.
    pub(super) stalled: bool,
    pub(super) times: Times,
    /// When event 1 was due, once that is known.
    pub(super) start_ns: Option<u64>,
    /// The number of the last event that is due in the run, once that is known.
    pub(super) last: u64,
    pub(super) sequence: Sequence,
    /// Events of the window that came, each counted once.
    pub(super) delivered: u64,
    /// Everything up to `last` came.
    pub(super) complete: bool,
}

/// When what happened to one connection, Unix nanoseconds; 0 = not yet.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Times {
    /// connect() was called.
    pub(super) connect_ns: u64,
    /// The connection was there, and the whole request was written.
    pub(super) requested_ns: u64,
    /// The response head was whole.
    pub(super) headers_ns: u64,
    /// The first byte of the body came.
    pub(super) first_byte_ns: u64,
    /// The first event came.
    pub(super) first_event_ns: u64,
}

/// Why a subscriber is of no more use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("closed its stream before the end")]
    Closed,
    #[error("answered {0} instead of 200 text/event-stream")]
    Answer(String),
    #[error("{0}")]
    Response(#[from] super::response::ResponseError),
    #[error("sent what cannot be parsed: {0}")]
    Parse(#[from] client::ParseError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Reads and bytes of one readiness of the socket.
#[derive(Debug, Default, Clone, Copy)]
pub struct Received {
    /// Calls that gave something.
    pub reads: u64,
    /// Bytes received, heads and framing included.
    pub bytes: u64,
}

/// How to read a socket.
pub(super) struct Reading<'a, C> {
    /// The poll said that the peer has closed: read on until that shows.
    pub(super) until_closed: bool,
    /// Unix nanoseconds.
    pub(super) clock: &'a C,
    /// How an event says when it was due.
    pub(super) stamp: &'a StampReader,
}

/// An event as it is handed to the book-keeping.
pub(super) struct Arrival {
    pub(super) stamp: Option<Stamp>,
    pub(super) id_matches: bool,
    /// The number that the id ends in, if there is no stamp.
    pub(super) id: Option<u64>,
    /// The server says that it lost events.
    pub(super) is_gap: bool,
    pub(super) received_ns: u64,
}

impl Subscriber {
    /// Connects from one of many loopback addresses, or from any if it is another host's server.
    pub(super) fn connect(
        addr: SocketAddr,
        token: Token,
        stalled: bool,
        registry: &Registry,
    ) -> io::Result<Subscriber> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        if stalled {
            socket.set_recv_buffer_size(STALLED_BUFFER_BYTES)?;
        }
        if addr.ip() == Ipv4Addr::LOCALHOST {
            let from = Ipv4Addr::new(127, 0, 1, (1 + token.0 % SOURCES) as u8);
            socket.bind(&SocketAddr::from((from, 0)).into())?;
        }
        socket.set_nonblocking(true)?;
        match socket.connect(&addr.into()) {
            Err(error)
                if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) =>
            {
                return Err(error);
            }
            _ => {}
        }
        let mut stream = TcpStream::from_std(socket.into());
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Subscriber {
            stream,
            decoder: ResponseDecoder::default(),
            parser: Parser::new(),
            requested: false,
            stalled,
        })
    }

    /// Sends the request as soon as the connection is there.
    pub(super) fn request(
        &mut self,
        request: &[u8],
        book: &mut Book,
        clock: &impl Fn() -> u64,
    ) -> Result<(), Failure> {
        if self.requested {
            return Ok(());
        }
        if let Some(error) = self.stream.take_error()? {
            return Err(error.into());
        }
        match self.stream.write(request) {
            // A new socket takes a few hundred bytes at once.
            Ok(written) if written == request.len() => {
                self.requested = true;
                book.times.requested_ns = clock();
                // It will not read the answer.
                book.up = self.stalled;
            }
            Ok(_) => return Err(io::Error::other("did not take the request").into()),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Receives what is there; `arrive` gets each event, with the time of the read that ended it.
    ///
    /// `true` if it stopped before it had read all: nothing will speak of the rest again. One clock
    /// read for each read; no allocation for an event, and no copy (the parser lends slices).
    pub(super) fn receive(
        &mut self,
        buffer: &mut [u8],
        reading: &Reading<'_, impl Fn() -> u64>,
        totals: &mut Received,
        book: &mut Book,
        mut arrive: impl FnMut(&mut Book, &Arrival),
    ) -> Result<bool, Failure> {
        if self.stalled {
            return if reading.until_closed { Err(Failure::Closed) } else { Ok(false) };
        }
        for _ in 0..READS_AT_ONCE {
            let read = match self.stream.read(buffer) {
                Ok(0) => return Err(Failure::Closed),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let received_ns = (reading.clock)();
            totals.reads += 1;
            totals.bytes += read as u64;
            self.decode(&buffer[..read], received_ns, reading.stamp, book, &mut arrive)?;
            // A short read has emptied the socket: epoll will speak again (epoll(7), question 9),
            // unless it has said already that the peer closed.
            if read < buffer.len() && !reading.until_closed {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn decode(
        &mut self,
        mut input: &[u8],
        received_ns: u64,
        reader: &StampReader,
        book: &mut Book,
        arrive: &mut impl FnMut(&mut Book, &Arrival),
    ) -> Result<(), Failure> {
        while let Some(piece) = self.decoder.next(&mut input)? {
            match piece {
                Piece::Head(head) => {
                    let media_type = head.content_type.split(';').next().unwrap_or_default();
                    if head.status != 200 || media_type.trim_end() != "text/event-stream" {
                        let answer = format!("{} {}", head.status, head.content_type);
                        return Err(Failure::Answer(answer));
                    }
                    book.up = true;
                    book.times.headers_ns = received_ns;
                }
                Piece::Body(mut bytes) => {
                    if book.times.first_byte_ns == 0 {
                        book.times.first_byte_ns = received_ns;
                    }
                    while let Some(item) = self.parser.parse(&mut bytes)? {
                        let Item::Event(event) = item else { continue };
                        if book.times.first_event_ns == 0 {
                            book.times.first_event_ns = received_ns;
                        }
                        let stamp = reader.read(event.data);
                        let arrival = Arrival {
                            stamp,
                            id_matches: stamp.is_some_and(|it| it.matches_id(event.last_event_id)),
                            id: stamp.map_or_else(|| number_of_id(event.last_event_id), |_| None),
                            is_gap: event.event == "gap",
                            received_ns,
                        };
                        arrive(book, &arrival);
                    }
                }
                Piece::End => return Err(Failure::Closed),
            }
        }
        Ok(())
    }
}
