//! The bytes of one connection: reading and writing as far as its socket lets it.
//!
//! A worker polls a connection when the kernel reported its socket, when its waker was called, and
//! when its deadline is reached. So the futures here need no waker; they check again at each poll.

use std::cell::{Cell, RefCell, RefMut};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{Shutdown, TcpStream};
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use feed::clock::{self, Now};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;

use crate::http::{End, Framing, Input};

/// Bytes read at once: most requests are one read, a full message is five.
const READ_BYTES: usize = 16 * 1024;

/// No deadline.
pub const NEVER: u64 = u64::MAX;

/// The state that the connections of one worker share.
#[derive(Debug)]
pub struct Local {
    /// The time of this round of turns. Deadlines are due in its monotonic time.
    pub now: Cell<Now>,
    /// The time for a request, and again for its answer.
    timeout_ns: u64,
    scratch: RefCell<Vec<u8>>,
}

impl Local {
    /// The state of a worker that starts now.
    pub fn new(timeout: Duration) -> Local {
        let scratch = RefCell::new(vec![0; READ_BYTES]);
        let timeout_ns = timeout.as_nanos() as u64;
        Local { now: Cell::new(clock::now()), timeout_ns, scratch }
    }

    /// Reads the clock.
    pub fn read_clock(&self) -> Now {
        let now = clock::now();
        self.now.set(now);
        now
    }
}

/// A socket that never blocks, its received bytes and its deadline.
///
/// The kernel reports a change once (`EPOLLET`), so that a connection costs one registration in all
/// its life.
#[derive(Debug)]
pub struct Io {
    /// The socket.
    pub stream: TcpStream,
    /// The state that it shares with the other connections of its worker.
    pub local: Rc<Local>,
    /// The end of the current wait: a timeout, or the time of a stream's next event.
    pub deadline: Cell<u64>,
    /// It could go on, but others have their turn first.
    pub wants_a_turn: Cell<bool>,
    /// It has an answer to finish, so a server that stops lets it go on.
    pub answering: Cell<bool>,
    /// The framing of a body that was not read; none if a part of it was.
    pub unread_body: Cell<Option<Framing>>,
    received: RefCell<BytesMut>,
    /// The kernel's reports, each until a call finds nothing more to do.
    reported: Cell<EventFlags>,
}

impl Io {
    /// Takes over an accepted socket.
    ///
    /// # Errors
    /// If it cannot be made non-blocking.
    pub fn new(stream: TcpStream, local: Rc<Local>) -> io::Result<Io> {
        stream.set_nonblocking(true)?;
        Ok(Io {
            stream,
            local,
            deadline: Cell::new(NEVER),
            wants_a_turn: Cell::new(false),
            answering: Cell::new(false),
            unread_body: Cell::new(None),
            received: RefCell::default(),
            reported: Cell::new(EventFlags::OUT),
        })
    }

    /// Records a report of the kernel.
    pub fn report(&self, flags: EventFlags) {
        self.reported.set(self.reported.get() | flags);
    }

    /// True if the connection was reset, or the kernel gave it up because the client took nothing for
    /// the stall timeout.
    pub fn is_broken(&self) -> bool {
        self.reported.get().intersects(EventFlags::ERR | EventFlags::HUP)
    }

    /// True if the client has sent its last byte. A client that closes says nothing more than that.
    pub fn has_ended(&self) -> bool {
        self.reported.get().contains(EventFlags::RDHUP)
    }

    /// Sets the deadline to this many nanoseconds from now.
    pub fn expire_in(&self, ns: u64) {
        self.deadline.set(self.local.now.get().monotonic + ns);
    }

    /// Starts the time for a request, or for an answer to be taken. No byte of the client may start
    /// it: a client that sends a byte now and then would stay forever.
    pub fn start_timeout(&self) {
        self.expire_in(self.local.timeout_ns);
    }

    /// True if the deadline is reached.
    pub fn is_expired(&self) -> bool {
        self.deadline.get() <= self.local.now.get().monotonic
    }

    /// Writes the rest of these two parts, as far as the socket takes it.
    ///
    /// # Errors
    /// If the client has gone, or does not take anything in time.
    pub fn poll_write(&self, parts: [&[u8]; 2], written: usize) -> Poll<Result<usize, End>> {
        let [first, second] = parts;
        let total = first.len() + second.len();
        let polled = if first.is_empty() {
            self.attempt(EventFlags::OUT, || rustix::io::write(&self.stream, &second[written..]))
        } else {
            let mut slices = parts.map(IoSlice::new);
            let mut slices = &mut slices[..];
            IoSlice::advance_slices(&mut slices, written);
            self.attempt(EventFlags::OUT, || rustix::io::writev(&self.stream, slices))
        };
        match polled {
            Poll::Ready(Ok(bytes @ 1..)) => {
                if written + bytes < total {
                    // The send buffer is full. Another call would only confirm it.
                    self.exhausted(EventFlags::OUT);
                }
                Poll::Ready(Ok(bytes))
            }
            Poll::Pending if !self.is_expired() => Poll::Pending,
            _ => Poll::Ready(Err(End::Gone)),
        }
    }

    /// Reads the received bytes, as far as `buffer` takes them; 0 bytes: the client has gone.
    fn poll_read(&self, buffer: &mut [u8]) -> Poll<usize> {
        let read = || rustix::io::read(&self.stream, &mut *buffer);
        let bytes = ready!(self.attempt(EventFlags::IN, read));
        let bytes = bytes.unwrap_or_default();
        if bytes < buffer.len() && !self.has_ended() {
            // The kernel's buffer is empty (epoll(7), question 9), and its end was not reported.
            self.exhausted(EventFlags::IN);
        }
        Poll::Ready(bytes)
    }

    /// Ends the connection so that the client can read the last answer: sends FIN, then reads and
    /// discards at most `max_bytes` until the deadline.
    pub async fn close(&self, max_bytes: usize) {
        // It fails if the client has gone, which the next read shows.
        let _ = self.stream.shutdown(Shutdown::Write);
        let mut left = max_bytes;
        self.received().clear();
        while left > 0 && self.more().await.is_ok() {
            left = left.saturating_sub(self.received().len());
            self.received().clear();
        }
    }

    /// Discards the received bytes. To close with unread bytes would reset the connection, and the
    /// last bytes written might be lost.
    pub fn discard(&self) {
        let _ = self.poll_read(&mut self.local.scratch.borrow_mut());
    }

    /// Makes this call, if the kernel has reported that it can succeed.
    fn attempt(
        &self,
        ready: EventFlags,
        mut call: impl FnMut() -> Result<usize, Errno>,
    ) -> Poll<Result<usize, Errno>> {
        while self.reported.get().contains(ready) {
            match call() {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.exhausted(ready),
                result => return Poll::Ready(result),
            }
        }
        Poll::Pending
    }

    fn exhausted(&self, ready: EventFlags) {
        self.reported.set(self.reported.get() - ready);
    }
}

impl Input for Io {
    fn received(&self) -> RefMut<'_, BytesMut> {
        self.received.borrow_mut()
    }

    async fn more(&self) -> Result<(), End> {
        poll_fn(|_| {
            let mut scratch = self.local.scratch.borrow_mut();
            Poll::Ready(match self.poll_read(&mut scratch) {
                Poll::Ready(0) => Err(End::Gone),
                Poll::Ready(bytes) => {
                    self.received().extend_from_slice(&scratch[..bytes]);
                    Ok(())
                }
                Poll::Pending if self.is_expired() => Err(End::timeout()),
                Poll::Pending => return Poll::Pending,
            })
        })
        .await
    }
}
