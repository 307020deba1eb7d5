//! An answer on its way out: its head and text, then events as they come.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use feed::clock::MS;
use feed::stream::{EventStream, FramePoll};

use super::io::{Io, NEVER};
use crate::http::{End, LAST_CHUNK};

/// Frames of a stream until other connections have their turn. With
/// [`feed::stream::COALESCE_BYTES`] in each that is enough to keep a fast reader busy.
const FRAMES_PER_TURN: usize = 4;

/// The bytes to write next, and the source of more. A frame is shared with every other stream that
/// sends it; it is never copied to be kept.
#[derive(Debug)]
pub struct Outgoing {
    /// A head with a text, or a last chunk; goes before the frame.
    plain: Vec<u8>,
    /// An encoded event, or several; one chunk, if frames go out as chunks.
    frame: Bytes,
    /// Bytes of both that are out already.
    written: usize,
    events: Option<EventStream>,
    /// Frames go out as chunks.
    chunked: bool,
}

impl Outgoing {
    /// These bytes as they are, then the events.
    pub fn new(plain: Vec<u8>, events: Option<EventStream>, chunked: bool) -> Outgoing {
        Outgoing { plain, frame: Bytes::new(), written: 0, events, chunked }
    }

    /// True until the last event.
    pub fn is_stream(&self) -> bool {
        self.events.is_some()
    }

    /// Writes until everything is out, for a stream until the last event is.
    ///
    /// # Errors
    /// If the client has gone, or does not take it in time.
    pub fn poll(&mut self, io: &Io, context: &Context<'_>) -> Poll<Result<(), End>> {
        for _ in 0..FRAMES_PER_TURN {
            if let Some(events) = &mut self.events
                && self.frame.is_empty()
                && self.written == 0
            {
                // Many others may have had their turn in this round, and made its time old.
                let now = match events.follows_clock() {
                    true => io.local.read_clock(),
                    false => io.local.now.get(),
                };
                let next = match self.chunked {
                    true => events.poll_chunk(now, context.waker()),
                    false => events.poll_frame(now, context.waker()),
                };
                match next {
                    FramePoll::Frame(frame) => self.frame = frame,
                    FramePoll::Wait(until) if self.plain.is_empty() => return wait(io, until),
                    // The head goes out before the first event is there.
                    FramePoll::Wait(_) => {}
                    FramePoll::End => self.end(io),
                }
            }
            ready!(self.poll_write(io))?;
            match &self.events {
                None => return Poll::Ready(Ok(())),
                Some(events) => {
                    if let Some(until) = events.rests_until() {
                        return wait(io, until);
                    }
                }
            }
        }
        io.wants_a_turn.set(true);
        Poll::Pending
    }

    fn end(&mut self, io: &Io) {
        self.events = None;
        io.start_timeout();
        if self.chunked {
            self.plain.extend_from_slice(LAST_CHUNK);
        }
    }

    fn poll_write(&mut self, io: &Io) -> Poll<Result<(), End>> {
        if self.events.is_some() {
            // The kernel closes a stream that takes no byte for the stall timeout.
            io.deadline.set(NEVER);
        }
        let parts: [&[u8]; 2] = [&self.plain, &self.frame];
        let total = self.plain.len() + self.frame.len();
        while self.written < total {
            self.written += ready!(io.poll_write(parts, self.written))?;
        }
        // A stream that waits holds no memory of its last event.
        self.plain = Vec::new();
        self.frame = Bytes::new();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

/// The end of a turn of a stream that has nothing until then.
fn wait(io: &Io, until: u64) -> Poll<Result<(), End>> {
    // A client that may have closed gets the frames that are ready; the stream does not wait for more.
    if io.has_ended() {
        return Poll::Ready(Err(End::Gone));
    }
    // Up to the next whole millisecond: streams that are due together share one wake-up, which costs
    // more than the writes, and an event that is due on a whole millisecond is not late.
    io.deadline.set(until.next_multiple_of(MS));
    Poll::Pending
}
