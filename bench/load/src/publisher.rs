//! The paced publisher: stamped messages, one after the other, on one kept connection or each by a command.

use std::io::{self, Read, Write as _};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token, Waker};
use wire::publish::{Call, CallError, Message};
use wire::{Channel, Piece, Request, ResponseDecoder, tls};

use super::plan::{Body, Publish};
use super::stamp::Stamp;

/// How long a command may take.
const COMMAND_PATIENCE: Duration = Duration::from_secs(10);

/// Publishes one message at a time.
///
/// It never pipelines: if an answer is late, so is the next message, and since latency counts from
/// the schedule, that is seen.
#[derive(Debug)]
pub(super) struct Publisher {
    what: Publish,
    token: Token,
    channel: Option<Channel<TcpStream>>,
    decoder: ResponseDecoder,
    status: u16,
    is_last: bool,
    request: Vec<u8>,
    written: usize,
    waiting: bool,
    text: String,
    /// For commands: they run on a thread of their own.
    caller: Option<Caller>,
}

/// A thread that runs commands, one after the other.
#[derive(Debug)]
struct Caller {
    calls: mpsc::Sender<Call>,
    results: mpsc::Receiver<Result<(), CallError>>,
}

impl Caller {
    /// Starts the thread; it wakes the poll with this token when a command has ended.
    fn start(registry: &Registry, token: Token) -> io::Result<Caller> {
        let waker = Waker::new(registry, token)?;
        let (calls, to_run) = mpsc::channel::<Call>();
        let (ended, results) = mpsc::channel();
        thread::spawn(move || {
            for call in to_run {
                if ended.send(call.run(COMMAND_PATIENCE)).is_err() || waker.wake().is_err() {
                    return;
                }
            }
        });
        Ok(Caller { calls, results })
    }
}

impl Publisher {
    pub(super) fn new(what: &Publish, token: Token) -> Publisher {
        Publisher {
            what: what.clone(),
            token,
            channel: None,
            decoder: ResponseDecoder::default(),
            status: 0,
            is_last: false,
            request: Vec::new(),
            written: 0,
            waiting: false,
            text: String::new(),
            caller: None,
        }
    }

    /// Connects, unless it is connected.
    pub(super) fn connect(&mut self, registry: &Registry) -> io::Result<()> {
        if matches!(self.what.body, Body::Command(_)) {
            if self.caller.is_none() {
                self.caller = Some(Caller::start(registry, self.token)?);
            }
            return Ok(());
        }
        if self.channel.is_none() {
            let mut stream = TcpStream::connect(self.what.addr)?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            registry.register(&mut stream, self.token, interest)?;
            let _ = stream.set_nodelay(true);
            self.decoder = ResponseDecoder::default();
            self.channel = Some(Channel::new(stream, self.what.tls.as_ref())?);
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
        self.text.clear();
        let pad_bytes = if let Body::Stamp { pad_bytes } = self.what.body { pad_bytes } else { 0 };
        stamp.write(pad_bytes, &mut self.text);
        let Stamp { n: number, scheduled_ns, .. } = stamp;
        let message = Message { text: &self.text, number, scheduled_ns };
        self.request.clear();
        self.written = 0;
        self.waiting = true;
        match &self.what.body {
            Body::Stamp { .. } => write!(
                self.request,
                "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: text/plain\r\n\
                 Content-Length: {}\r\n\r\n{}",
                self.what.path,
                self.what.host,
                self.text.len(),
                self.text
            )?,
            Body::Request(publication) => {
                self.request
                    .extend(publication.request(message).iter().flat_map(Request::to_bytes));
            }
            Body::Command(publication) => {
                let sent = publication.call(message).zip(self.caller.as_ref());
                return match sent.map(|(call, caller)| caller.calls.send(call)) {
                    Some(Ok(())) => Ok(()),
                    _ => Err(io::Error::other("the thread that runs commands has ended")),
                };
            }
        }
        self.flush()
    }

    /// Goes on after the poll said that something is possible.
    pub(super) fn advance(&mut self) -> io::Result<()> {
        if let Some(caller) = &self.caller {
            if let Ok(result) = caller.results.try_recv() {
                self.waiting = false;
                result.map_err(io::Error::other)?;
            }
            return Ok(());
        }
        self.flush()?;
        let mut buffer = [0; 4096];
        while let Some(channel) = &mut self.channel {
            let read = match channel.read(&mut buffer) {
                Ok(read) => read,
                Err(error) if would_wait(&error) => return Ok(()),
                Err(error) if self.waiting => return Err(error),
                Err(_) => 0,
            };
            if read == 0 {
                self.channel = None;
                // A server may end a connection between two messages, but not instead of an answer.
                return match self.waiting {
                    true if self.decoder.ends_with_connection() => self.answered(),
                    true => Err(io::Error::other("closed the connection instead of an answer")),
                    false => Ok(()),
                };
            }
            let mut input = &buffer[..read];
            while let Some(piece) = self.decoder.next(&mut input).map_err(io::Error::other)? {
                match piece {
                    Piece::Head(head) => {
                        (self.status, self.is_last) = (head.status, head.ends_connection());
                    }
                    Piece::Body(_) => {}
                    Piece::End => {
                        self.answered()?;
                        if self.is_last {
                            self.channel = None;
                            return Ok(());
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// The answer to the message is whole.
    fn answered(&mut self) -> io::Result<()> {
        if !(200..300).contains(&self.status) {
            return Err(io::Error::other(format!("answered {}, not 2xx", self.status)));
        }
        self.waiting = false;
        Ok(())
    }

    /// Gives up the message and its connection; the next message gets a new one.
    pub(super) fn reset(&mut self) {
        self.channel = None;
        self.waiting = false;
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(channel) = &mut self.channel else { return Ok(()) };
        let shaken = channel.shake_hands();
        if !shaken.map_err(|error| io::Error::other(tls::words(&error)))? {
            return Ok(());
        }
        while self.written < self.request.len() {
            match channel.write(&self.request[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if would_wait(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        match channel.flush() {
            Err(error) if !would_wait(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

/// Not now; the poll will say when. A connection that is still being made says `NotConnected`.
fn would_wait(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, NotConnected, WouldBlock};
    matches!(error.kind(), WouldBlock | NotConnected | Interrupted)
}
