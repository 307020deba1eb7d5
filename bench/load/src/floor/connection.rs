//! One connection of the floor, and the stream on it.

use std::io::{self, Write};

use mio::net::TcpStream;

use super::fault::Faults;
use super::http::Gone;
use crate::timer::unix_ns;

/// Bytes kept for a reader that is behind; one further behind is closed. No measured reader is.
const PENDING_MAX_BYTES: usize = 1 << 20;

pub(super) struct Connection {
    // Slots are used again; this separates an old due time from a new connection.
    pub(super) generation: u64,
    pub(super) stream: TcpStream,
    pub(super) input: Vec<u8>,
    pub(super) pending: Vec<u8>,
    pub(super) ticks: Option<Ticks>,
    pub(super) topic: Option<String>,
}

pub(super) struct Ticks {
    pub(super) n: u64,
    pub(super) start_ns: u64,
    pub(super) interval_ns: u64,
    pub(super) count: u64,
    pub(super) stamp: bool,
    /// It ends within its second event.
    pub(super) is_cut: bool,
    pub(super) digits: Digits,
    pub(super) held: Vec<u8>,
}

/// A number in decimal, counted up digit by digit: dividing it again for each of ten million events
/// a second would be most of what the floor does.
#[derive(Debug, Clone)]
pub(super) struct Digits(Vec<u8>);

impl Digits {
    pub(super) fn one() -> Digits {
        Digits(b"1".to_vec())
    }

    fn count(&mut self) {
        for digit in self.0.iter_mut().rev() {
            if *digit < b'9' {
                *digit += 1;
                return;
            }
            *digit = b'0';
        }
        self.0.insert(0, b'1');
    }
}

impl Ticks {
    /// When the next tick is due.
    pub(super) fn due_ns(&self) -> u64 {
        self.start_ns + (self.n - 1) * self.interval_ns
    }

    /// Appends the next tick to `out`, without framing.
    pub(super) fn render(&mut self, faults: Faults, event: &mut Vec<u8>, out: &mut Vec<u8>) {
        let n = self.n;
        event.clear();
        if self.stamp {
            let emitted_ns = unix_ns();
            let scheduled_ns = if faults.restamp { emitted_ns } else { self.due_ns() };
            // Writing to memory cannot fail.
            let _ = write!(
                event,
                "id: {n}\ndata: {{\"n\":{n},\"scheduled_ns\":{scheduled_ns},\
                 \"emitted_ns\":{emitted_ns},\"pad\":\"\"}}\n\n"
            );
        } else {
            let digits = self.digits.0.as_slice();
            for part in [b"id: ", digits, b"\ndata: Hello! This is event ", digits, b"\n\n"] {
                event.extend_from_slice(part);
            }
        }
        faults.apply(n, event, &mut self.held, out);
        self.digits.count();
        self.n += 1;
    }
}

impl Connection {
    /// Whether a stream is open on it.
    pub(super) fn is_stream(&self) -> bool {
        self.ticks.is_some() || self.topic.is_some()
    }

    /// Whether its ticks are not paced.
    pub(super) fn is_poured(&self) -> bool {
        self.ticks.as_ref().is_some_and(|it| it.interval_ns == 0)
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        let mut written = 0;
        if self.pending.is_empty() {
            written = self.write_some(bytes)?;
        }
        self.pending.extend_from_slice(&bytes[written..]);
        if self.pending.len() > PENDING_MAX_BYTES { Err(Gone) } else { Ok(()) }
    }

    /// Sends what is pending; `true` if there was something and nothing is left.
    pub(super) fn flush(&mut self) -> Result<bool, Gone> {
        let was_behind = !self.pending.is_empty();
        while !self.pending.is_empty() {
            let pending = std::mem::take(&mut self.pending);
            let written = self.write_some(&pending);
            self.pending = pending;
            match written? {
                0 => break,
                written => self.pending.drain(..written),
            };
        }
        Ok(was_behind && self.pending.is_empty())
    }

    fn write_some(&mut self, bytes: &[u8]) -> Result<usize, Gone> {
        loop {
            match self.stream.write(bytes) {
                Ok(written) => return Ok(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Gone),
            }
        }
    }
}
