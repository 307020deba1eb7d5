//! Bytes on their way out: a response head, a frame, or both, in one vectored write.

use std::io::{self, ErrorKind, IoSlice, Write};
use std::net::TcpStream;

use bytes::Bytes;

use crate::http::chunk_head;

/// What is to be written next. The frame is shared with every other stream that sends it; nothing
/// is copied.
#[derive(Debug)]
pub struct Outgoing {
    /// A head, an answer or a last chunk; goes before the frame.
    pub plain: Vec<u8>,
    /// An encoded event, or several.
    pub frame: Bytes,
    /// The frame goes out as a chunk.
    pub chunked: bool,
    /// Bytes of all that are out already.
    written: usize,
}

/// How much of it the socket took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Everything.
    All,
    /// A part.
    Some,
    /// Not a byte.
    Nothing,
}

impl Outgoing {
    /// These bytes as they are, then frames.
    pub fn new(plain: Vec<u8>, chunked: bool) -> Outgoing {
        Outgoing { plain, frame: Bytes::new(), chunked, written: 0 }
    }

    /// True if there is no frame yet, and no part of something else is out while the rest is not.
    pub fn takes_a_frame(&self) -> bool {
        self.frame.is_empty() && self.written == 0
    }

    /// Writes as much as the socket takes. What fits into `scratch` is put together there first:
    /// for a small event that costs less than having the kernel gather its parts.
    ///
    /// # Errors
    /// Those of the socket; the client is gone.
    pub fn write(&mut self, mut socket: &TcpStream, scratch: &mut [u8]) -> io::Result<Written> {
        let mut line = [0; 18];
        let chunk = self.chunked && !self.frame.is_empty();
        let (before, after): (&[u8], &[u8]) =
            if chunk { (chunk_head(self.frame.len(), &mut line), b"\r\n") } else { (b"", b"") };
        let parts = [&self.plain, before, &self.frame, after];
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let left = total - self.written;
        while self.written < total {
            let took = if self.written == 0 && total <= scratch.len() {
                socket.write(join(parts, scratch))
            } else {
                let mut slices = parts.map(IoSlice::new);
                let mut slices = &mut slices[..];
                IoSlice::advance_slices(&mut slices, self.written);
                socket.write_vectored(slices)
            };
            match took {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    self.written += bytes;
                    // It took less than there was: its buffer is full, and asking again would only
                    // confirm it.
                    if bytes < left {
                        return Ok(Written::Some);
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(Written::Nothing),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.plain = Vec::new();
        self.frame = Bytes::new();
        self.written = 0;
        Ok(Written::All)
    }
}

fn join<'a>(parts: [&[u8]; 4], scratch: &'a mut [u8]) -> &'a [u8] {
    let mut end = 0;
    for part in parts {
        scratch[end..end + part.len()].copy_from_slice(part);
        end += part.len();
    }
    &scratch[..end]
}
