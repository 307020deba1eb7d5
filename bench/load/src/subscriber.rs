//! One open stream of the generator: a socket, what decodes it, and what was received.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

use client::{Item, Limits, Parser};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};
use wire::ledger::Sequence;
use wire::{Channel, Head, Piece, ResponseDecoder, Tls, tls};

use super::stamp::{Stamp, StampReader, number_of_id};
use super::waits::{End, Refusal, Watch};

/// Loopback addresses that connections come from, in turn: one address has 28 000 ports, and some
/// of them are still in TIME_WAIT from the window before.
const SOURCES: usize = 64;

/// Full reads of one socket before it is another one's turn: a server that never waits can keep it
/// full for ever.
const READS_AT_ONCE: u32 = 8;

/// The receive buffer of a subscriber that never reads: small, so that the server soon feels it.
const STALLED_BUFFER_BYTES: usize = 4096;

/// Data of unfinished events that all subscribers together may hold: a server with endless events
/// must not take the memory of the host that measures it.
const EVENTS_MAX_BYTES: usize = 256 << 20;

/// Bytes of a refusal's body that are kept: a problem has to be whole to be read.
const REFUSAL_MAX_BYTES: usize = 1 << 10;

/// Each of many subscribers may at least hold this: four of the largest events of our servers.
const EVENT_MIN_BYTES: usize = 256 << 10;

/// The limits of the parser of each of so many subscribers.
pub(super) fn limits(subscribers: usize) -> Limits {
    let most = Limits::default().max_event_bytes;
    let share = EVENTS_MAX_BYTES / subscribers.max(1);
    Limits { max_event_bytes: share.clamp(EVENT_MIN_BYTES, most) }
}

/// A subscriber's connection.
#[derive(Debug)]
pub(super) struct Subscriber {
    channel: Channel<TcpStream>,
    decoder: ResponseDecoder,
    parser: Parser,
    /// An answer in place of a stream, and the beginning of its body.
    refused: Option<(Head, Vec<u8>)>,
    /// How much of the request has gone.
    written: usize,
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
    /// The waits of its reader.
    pub(super) watch: Watch,
    /// Its end is noted.
    pub(super) ended: bool,
}

/// When what happened to one connection, Unix nanoseconds; 0 = not yet.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Times {
    /// The request was due, where requests are due at times of their own.
    pub(super) due_ns: u64,
    /// connect() was called.
    pub(super) connect_ns: u64,
    /// The connection was there, TLS included, just before the request was written: a server may have
    /// answered before a write returns.
    pub(super) requested_ns: u64,
    /// The response head was whole.
    pub(super) headers_ns: u64,
    /// The first byte of the body came.
    pub(super) first_byte_ns: u64,
    /// The first event came.
    pub(super) first_event_ns: u64,
}

impl Times {
    /// From when on its reader waits.
    pub(super) fn origin_ns(&self) -> u64 {
        if self.due_ns > 0 { self.due_ns } else { self.requested_ns }
    }
}

/// Why a subscriber is of no more use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("ended whole; --requests is for answers that end")]
    Ended,
    #[error("sent the event of --until")]
    Marked,
    #[error("closed its stream before the end")]
    Closed,
    #[error("closed the connection before a response head{}", if *.is_tls { "" } else { "; if it speaks TLS, try https://" })]
    Silent { is_tls: bool },
    #[error("{}", refused(.0))]
    Answer(Refusal),
    #[error("{0}")]
    Response(#[from] wire::Error),
    #[error("sends its stream coded as {0}, which was not asked for")]
    Coded(String),
    #[error("{0}")]
    Handshake(String),
    #[error("sent what cannot be parsed: {0}")]
    Parse(#[from] client::ParseError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Failure {
    /// The end of a stream that was asked for or not, and whose end had to be said by an event or not.
    pub(super) fn end(&self, was_requested: bool, has_mark: bool) -> End {
        match self {
            Failure::Ended if has_mark => End::WithoutMark,
            Failure::Ended => End::Whole,
            Failure::Marked => End::UntilMark,
            Failure::Answer(_) => End::Refused,
            Failure::Handshake(_) => End::Unreachable,
            Failure::Io(_) if !was_requested => End::Unreachable,
            Failure::Closed | Failure::Silent { .. } | Failure::Io(_) => End::Cut,
            Failure::Response(_) | Failure::Coded(_) | Failure::Parse(_) => End::Malformed,
        }
    }
}

fn refused(refusal: &Refusal) -> String {
    let Refusal { status, content_type, .. } = refusal;
    if let Some(words) = refusal.problem() {
        return format!("answered {words}");
    }
    let body = refusal.beginning();
    let kind = if content_type.is_empty() { "without a type" } else { content_type };
    let colon = if body.is_empty() { "" } else { ": " };
    format!("answered {status} {kind} instead of 200 text/event-stream{colon}{body}")
}

/// The beginning of a body on one line; nothing in it commands a terminal.
fn on_one_line(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace(char::is_control, "\u{fffd}")
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
    /// The data of the event that ends a stream.
    pub(super) until: Option<&'a str>,
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
        tls: Option<&Tls>,
        token: Token,
        stalled: bool,
        limits: Limits,
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
            channel: Channel::new(stream, tls)?,
            decoder: ResponseDecoder::default(),
            parser: Parser::with_limits(limits),
            refused: None,
            written: 0,
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
        if self.written == request.len() {
            return self.flush();
        }
        if let Some(error) = self.channel.socket().take_error()? {
            return Err(self.broken(error));
        }
        let shaken = self.channel.shake_hands();
        if !shaken.map_err(|error| Failure::Handshake(tls::words(&error)))? {
            return Ok(());
        }
        while self.written < request.len() {
            let now_ns = clock();
            match self.channel.write(&request[self.written..]) {
                Ok(written) => {
                    if self.written == 0 {
                        book.times.requested_ns = now_ns;
                    }
                    self.written += written;
                }
                Err(error) if is_not_now(&error) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        // It will not read the answer.
        book.up = self.stalled;
        self.flush()
    }

    /// The connection is gone: before the request, it was the handshake that the server did not want.
    fn broken(&self, error: io::Error) -> Failure {
        let is_reset = error.kind() == io::ErrorKind::ConnectionReset;
        match self.channel.is_tls() && self.written == 0 && is_reset {
            true => Failure::Handshake(tls::words(&error)),
            false => error.into(),
        }
    }

    /// Sends what TLS holds back.
    fn flush(&mut self) -> Result<(), Failure> {
        match self.channel.flush() {
            Err(error) if !is_not_now(&error) => Err(error.into()),
            _ => Ok(()),
        }
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
            let read = match self.channel.read(buffer) {
                Ok(0) if self.refused.is_some() => return Err(self.refusal()),
                // Without the end of TLS anybody may have cut it (RFC 9112, 9.8).
                Ok(0) if self.decoder.ends_with_connection() && !self.channel.is_cut() => {
                    return Err(Failure::Ended);
                }
                Ok(0) if book.times.headers_ns == 0 => {
                    return Err(Failure::Silent { is_tls: self.channel.is_tls() });
                }
                Ok(0) => return Err(Failure::Closed),
                Ok(read) => read,
                Err(error) if is_not_now(&error) => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // The handshake is not over: bytes of a server without TLS may come now.
                Err(error) if self.written == 0 && self.channel.is_tls() => {
                    return Err(Failure::Handshake(tls::words(&error)));
                }
                Err(error) => return Err(error.into()),
            };
            let received_ns = (reading.clock)();
            totals.reads += 1;
            totals.bytes += read as u64;
            self.decode(&buffer[..read], received_ns, reading, book, &mut arrive)?;
            // A short read has emptied the socket: epoll will speak again (epoll(7), question 9),
            // unless it has said already that the peer closed. TLS hands out record by record.
            if read < buffer.len() && !reading.until_closed && !self.channel.is_tls() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn decode(
        &mut self,
        mut input: &[u8],
        received_ns: u64,
        reading: &Reading<'_, impl Fn() -> u64>,
        book: &mut Book,
        arrive: &mut impl FnMut(&mut Book, &Arrival),
    ) -> Result<(), Failure> {
        loop {
            let piece = match self.decoder.next(&mut input) {
                Ok(Some(piece)) => piece,
                Ok(None) => return Ok(()),
                // The status says more than a body that cannot be read.
                Err(_) if self.refused.is_some() => return Err(self.refusal()),
                Err(error) => return Err(error.into()),
            };
            match piece {
                Piece::Head(head) => {
                    if !head.is_event_stream() {
                        self.refused = Some((head, Vec::new()));
                        continue;
                    }
                    if let Some(coding) = head.coding() {
                        return Err(Failure::Coded(coding));
                    }
                    book.up = true;
                    book.times.headers_ns = received_ns;
                }
                Piece::Body(bytes) if let Some((_, body)) = &mut self.refused => {
                    let room = REFUSAL_MAX_BYTES - body.len();
                    body.extend_from_slice(&bytes[..room.min(bytes.len())]);
                    if body.len() == REFUSAL_MAX_BYTES {
                        return Err(self.refusal());
                    }
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
                        let stamp = reading.stamp.read(event.data);
                        let arrival = Arrival {
                            stamp,
                            id_matches: stamp
                                .is_some_and(|it| reading.stamp.fits(it, event.last_event_id)),
                            id: stamp.map_or_else(|| number_of_id(event.last_event_id), |_| None),
                            is_gap: event.event == "gap",
                            received_ns,
                        };
                        arrive(book, &arrival);
                        if reading.until.is_some_and(|it| event.data.trim() == it) {
                            return Err(Failure::Marked);
                        }
                    }
                }
                Piece::End if self.refused.is_some() => return Err(self.refusal()),
                Piece::End => return Err(Failure::Ended),
            }
        }
    }

    /// Whether the server has answered something else than a stream, and its body is not yet read.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// The answer in place of a stream, as far as it was read.
    pub(super) fn refusal(&mut self) -> Failure {
        let Some((head, body)) = self.refused.take() else { return Failure::Closed };
        let content_type = head.value("content-type").unwrap_or_default();
        let [content_type, body] = [content_type.as_bytes(), body.as_slice()].map(on_one_line);
        let status = head.status;
        Failure::Answer(Refusal { status, content_type, body, count: 1 })
    }
}

/// The poll will say when. A connection that is still being made says `NotConnected`.
fn is_not_now(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_subscribers_together_hold_a_bounded_part_of_unfinished_events() {
        let most = Limits::default().max_event_bytes;
        for (subscribers, bytes) in [(1, most), (16, most), (100, EVENTS_MAX_BYTES / 100)] {
            assert_eq!(limits(subscribers).max_event_bytes, bytes, "{subscribers}");
        }
        assert_eq!(limits(10_000).max_event_bytes, EVENT_MIN_BYTES);
    }
}
