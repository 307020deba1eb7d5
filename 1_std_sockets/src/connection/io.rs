//! The bytes of one connection: reading and writing as far as its socket lets it.
//!
//! A worker polls a connection whenever something may have happened to it: the kernel reported its
//! socket, its waker was called, its deadline is there. So the futures here need no waker; they look
//! again at each poll.

use std::cell::{Cell, RefCell, RefMut};
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::rc::Rc;
use std::task::{Poll, ready};

use bytes::BytesMut;
use rustix::event::epoll::EventFlags;

use crate::http::{End, Framing, Input};

/// Bytes read at once: most requests are one read, a full message is five.
const READ_BYTES: usize = 16 * 1024;

/// Bytes that are put together for one write. For a small event that costs less than having the
/// kernel gather its parts.
const JOINED_BYTES: usize = 4 * 1024;

/// No deadline.
pub const NEVER: u64 = u64::MAX;

/// What the connections of one worker share.
#[derive(Debug)]
pub struct Local {
    /// Now, in nanoseconds of the worker's clock, which deadlines are in.
    pub now: Cell<u64>,
    /// How much Unix time, which events are in, is ahead of that.
    pub unix_offset: Cell<u64>,
    scratch: RefCell<Vec<u8>>,
}

impl Local {
    /// A clock that stands at 0.
    pub fn new() -> Local {
        let scratch = RefCell::new(vec![0; READ_BYTES]);
        Local { now: Cell::new(0), unix_offset: Cell::new(0), scratch }
    }

    /// Now, in Unix nanoseconds.
    pub fn unix_ns(&self) -> u64 {
        self.now.get().wrapping_add(self.unix_offset.get())
    }
}

/// A socket that never blocks, what it has received, and until when it may wait.
///
/// The kernel reports a change once (`EPOLLET`), so that a connection costs one registration in all
/// its life.
#[derive(Debug)]
pub struct Io {
    /// The socket.
    pub stream: TcpStream,
    /// What it shares with others.
    pub local: Rc<Local>,
    /// When what is waited for must have happened, or when a stream has something to write.
    pub deadline: Cell<u64>,
    /// It could go on, but others have their turn first.
    pub wants_a_turn: Cell<bool>,
    /// A server that stops lets it go on: it has an answer to finish.
    pub answering: Cell<bool>,
    /// The framing of a body that was not read; none if a part of it was.
    pub unread_body: Cell<Option<Framing>>,
    received: RefCell<BytesMut>,
    /// What the kernel reported, until a call finds out otherwise.
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

    /// Takes note of a report of the kernel.
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

    /// Gives what comes next so many nanoseconds.
    pub fn within(&self, ns: u64) {
        self.deadline.set(self.local.now.get() + ns);
    }

    /// True if the deadline is there.
    pub fn is_late(&self) -> bool {
        self.deadline.get() <= self.local.now.get()
    }

    /// Writes what is left of these parts, as far as the socket takes it; `total` is all their bytes.
    ///
    /// # Errors
    /// If the client has gone, or does not take anything in time.
    // Called once for each event of each stream. In line it costs fewer instructions (callgrind).
    #[inline(always)]
    pub fn poll_write(
        &self,
        parts: &[&[u8]; 4],
        written: usize,
        total: usize,
    ) -> Poll<Result<usize, End>> {
        let polled = if written == 0 && total <= JOINED_BYTES {
            let mut scratch = self.local.scratch.borrow_mut();
            let mut end = 0;
            for part in parts {
                scratch[end..end + part.len()].copy_from_slice(part);
                end += part.len();
            }
            self.attempt(EventFlags::OUT, || (&self.stream).write(&scratch[..end]))
        } else {
            let mut slices = parts.map(IoSlice::new);
            let mut slices = &mut slices[..];
            IoSlice::advance_slices(&mut slices, written);
            self.attempt(EventFlags::OUT, || (&self.stream).write_vectored(slices))
        };
        match polled {
            Poll::Ready(Ok(bytes @ 1..)) => {
                if written + bytes < total {
                    // It is full. Asking again would only confirm it.
                    self.exhausted(EventFlags::OUT);
                }
                Poll::Ready(Ok(bytes))
            }
            Poll::Pending if !self.is_late() => Poll::Pending,
            _ => Poll::Ready(Err(End::Gone)),
        }
    }

    /// Reads what is there, as far as `buffer` takes it; 0 bytes: the client has gone.
    fn poll_read(&self, buffer: &mut [u8]) -> Poll<usize> {
        let bytes = ready!(self.attempt(EventFlags::IN, || (&self.stream).read(buffer)));
        let bytes = bytes.unwrap_or_default();
        if bytes < buffer.len() && !self.has_ended() {
            // The kernel's buffer is empty (epoll(7), question 9), and its end was not reported.
            self.exhausted(EventFlags::IN);
        }
        Poll::Ready(bytes)
    }

    /// Ends the connection so that the client can read the last answer: says that nothing more
    /// comes, and throws away what comes, as long as there is time and at most `max_bytes`.
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

    /// Throws away what is there. Closing with something unread would reset the connection, and what
    /// was written last might be lost.
    pub fn discard(&self) {
        let _ = self.poll_read(&mut self.local.scratch.borrow_mut());
    }

    /// Makes this call, if it may find something to do.
    fn attempt(
        &self,
        ready: EventFlags,
        mut call: impl FnMut() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        while self.reported.get().contains(ready) {
            match call() {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.exhausted(ready),
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
                Poll::Pending if self.is_late() => Err(End::timeout()),
                Poll::Pending => return Poll::Pending,
            })
        })
        .await
    }
}
