//! Events that are gathered for one write.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};

use super::Item;
use crate::wire::{self, CHUNK_HEAD_BYTES, CRLF, Encoded, chunk_head};

/// Room for one event of ordinary size.
const ROOM_BYTES: usize = 128;

/// A single shared event goes out as it is; only several are copied together.
#[derive(Debug)]
pub(super) enum Gathered {
    Nothing,
    Shared(Arc<Encoded>),
    /// Frames behind room for the line that begins a chunk.
    Batch(BytesMut),
}

impl Gathered {
    /// Bytes of the frames.
    pub(super) fn len(&self) -> usize {
        match self {
            Gathered::Nothing => 0,
            Gathered::Shared(encoded) => encoded.frame_bytes().len(),
            Gathered::Batch(batch) => batch.len() - CHUNK_HEAD_BYTES,
        }
    }

    /// Adds an event.
    // In line, and so is `finish`: for a single event the compiler sees that nothing is gathered.
    #[inline(always)]
    pub(super) fn add(&mut self, item: Item) {
        match (item, &self) {
            (Item::Shared(encoded), Gathered::Nothing) => *self = Gathered::Shared(encoded),
            (item, _) => self.append(&item),
        }
    }

    #[inline(never)]
    fn append(&mut self, item: &Item) {
        match item {
            Item::Shared(encoded) => self.batch().extend_from_slice(encoded.frame_bytes()),
            Item::Event(event) => wire::encode_into(event, self.batch()),
        }
    }

    /// The buffer to which frames are appended.
    fn batch(&mut self) -> &mut BytesMut {
        if !matches!(self, Gathered::Batch(_)) {
            let mut batch = BytesMut::with_capacity(CHUNK_HEAD_BYTES + ROOM_BYTES + CRLF.len());
            batch.resize(CHUNK_HEAD_BYTES, 0);
            if let Gathered::Shared(encoded) = self {
                batch.extend_from_slice(encoded.frame_bytes());
            }
            *self = Gathered::Batch(batch);
        }
        let Gathered::Batch(batch) = self else { unreachable!("it was made just above") };
        batch
    }

    /// All of it for one write.
    #[inline(always)]
    pub(super) fn finish(self, chunked: bool) -> Bytes {
        match self {
            Gathered::Nothing => Bytes::new(),
            Gathered::Shared(encoded) if chunked => encoded.chunk(),
            Gathered::Shared(encoded) => encoded.frame(),
            Gathered::Batch(batch) => Gathered::finish_batch(batch, chunked),
        }
    }

    fn finish_batch(mut batch: BytesMut, chunked: bool) -> Bytes {
        if !chunked {
            batch.advance(CHUNK_HEAD_BYTES);
            return batch.freeze();
        }
        let mut line = [0; CHUNK_HEAD_BYTES];
        let line = chunk_head(batch.len() - CHUNK_HEAD_BYTES, &mut line);
        let start = CHUNK_HEAD_BYTES - line.len();
        batch[start..CHUNK_HEAD_BYTES].copy_from_slice(line);
        batch.advance(start);
        batch.extend_from_slice(CRLF);
        batch.freeze()
    }
}
