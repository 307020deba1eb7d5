//! A stream whose body is compressed: its events as a browser gets them, each as soon as it can be decoded.

use std::collections::VecDeque;
use std::io::Write as _;
use std::time::{Duration, Instant};

use client::parser::{Item, Parser};
use flate2::write::GzDecoder;
use wire::{Error, Event, EventStream};

use super::Target;

/// A stream that was asked for with `Accept-Encoding: gzip`.
#[derive(Debug)]
pub(super) struct Coded {
    stream: EventStream,
    decoder: Option<GzDecoder<Vec<u8>>>,
    parser: Parser,
    ready: VecDeque<Event>,
    /// Bytes of the body until now, and bytes that they decode to.
    pub(super) received: usize,
    pub(super) decoded: usize,
}

impl Coded {
    /// Opens the stream under test as a client that takes gzip.
    pub(super) fn open(target: &Target) -> wire::Result<Coded> {
        let request = target.get(target.path()).header("Accept-Encoding", "gzip");
        let stream = target.open(&request)?;
        let is_coded = stream.head().has_token("content-encoding", "gzip");
        Ok(Coded {
            stream,
            decoder: is_coded.then(|| GzDecoder::new(Vec::new())),
            parser: Parser::new(),
            ready: VecDeque::new(),
            received: 0,
            decoded: 0,
        })
    }

    /// Whether the server compresses it.
    pub(super) fn is_compressed(&self) -> bool {
        self.decoder.is_some()
    }

    /// Reads until an event is there that has this in its data, or until the time is over.
    ///
    /// # Errors
    /// The end of the stream, and bytes that do not decode; not the end of the time.
    pub(super) fn event_with(&mut self, word: &str, within: Duration) -> wire::Result<bool> {
        let due = Instant::now() + within;
        loop {
            while let Some(event) = self.ready.pop_front() {
                if event.data.contains(word) {
                    return Ok(true);
                }
            }
            self.stream.set_patience(due.saturating_duration_since(Instant::now()));
            match self.stream.next_piece() {
                Ok(Some(piece)) => self.decode(&piece)?,
                Ok(None) => return Err(Error::Closed { awaited: "the next event" }),
                Err(Error::Timeout { .. }) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    fn decode(&mut self, piece: &[u8]) -> wire::Result<()> {
        self.received += piece.len();
        let bytes = match &mut self.decoder {
            None => piece.to_vec(),
            Some(decoder) => {
                let decoded = decoder.write_all(piece).and_then(|()| decoder.flush());
                decoded.map_err(|error| Error::Syntax(format!("no gzip: {error}")))?;
                std::mem::take(decoder.get_mut())
            }
        };
        self.decoded += bytes.len();
        self.parser.push(&bytes);
        while let Some(item) = self.parser.next_item()? {
            if let Item::Event(event) = item {
                self.ready.push_back(Event {
                    event: event.event.to_owned(),
                    data: event.data.to_owned(),
                    id: event.last_event_id.to_owned(),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    /// The decoder hands out what a flush has completed, and no more.
    #[test]
    fn a_flush_is_what_makes_an_event_readable() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(b"data: a\n\n").unwrap();
        let held = std::mem::take(encoder.get_mut());
        encoder.flush().unwrap();
        let flushed = std::mem::take(encoder.get_mut());
        let mut decoder = GzDecoder::new(Vec::new());
        decoder.write_all(&held).unwrap();
        decoder.flush().unwrap();
        assert_eq!(decoder.get_ref().as_slice(), b"");
        decoder.write_all(&flushed).unwrap();
        decoder.flush().unwrap();
        assert_eq!(decoder.get_ref().as_slice(), b"data: a\n\n");
    }
}
