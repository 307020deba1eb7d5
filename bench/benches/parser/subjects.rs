//! The five parsers behind one method, each driven the way of its documentation that costs it least.
//!
//! All live on from round to round, as on a connection that stays: what a parser keeps between
//! events, it keeps here, and none is charged for being made. None gets its input copied for it.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use client::{Item, Parser};
use eventsource_stream::Eventsource;
use futures_core::Stream;
use sse_core::{SseDecoder, SseEvent};

/// A parser in the middle of a connection.
pub trait Subject<'a> {
    /// As it stands in reports.
    const NAME: &'static str;
    /// Whether a line in twice as many pieces takes twice as long, and not four times.
    const LINEAR: bool = true;

    /// A parser that will read these pieces, once in each round.
    fn new(pieces: &'a [Bytes]) -> Self;

    /// Reads all pieces; `each` gets the type, the data and the last event id of every event.
    fn round(&mut self, each: impl FnMut(&str, &str, &str));
}

/// Ours: comments are skipped, as the other four skip them.
pub struct Ours<'a> {
    pieces: &'a [Bytes],
    parser: Parser,
}

impl<'a> Subject<'a> for Ours<'a> {
    const NAME: &'static str = "sse-client";

    fn new(pieces: &'a [Bytes]) -> Self {
        Self { pieces, parser: Parser::new().skip_comments() }
    }

    fn round(&mut self, mut each: impl FnMut(&str, &str, &str)) {
        for piece in self.pieces {
            let mut piece: &[u8] = piece;
            while let Some(item) = self.parser.parse(&mut piece).expect("past no limit") {
                if let Item::Event(event) = item {
                    each(event.event, event.data, event.last_event_id);
                }
            }
        }
    }
}

/// sse-core: its decoder without I/O, over slices, which are its cheapest `Buf`.
pub struct SseCore<'a> {
    pieces: &'a [Bytes],
    decoder: SseDecoder,
}

impl<'a> Subject<'a> for SseCore<'a> {
    const NAME: &'static str = "sse-core";

    fn new(pieces: &'a [Bytes]) -> Self {
        Self { pieces, decoder: SseDecoder::new() }
    }

    fn round(&mut self, mut each: impl FnMut(&str, &str, &str)) {
        for piece in self.pieces {
            let mut piece: &[u8] = piece;
            while let Some(item) = self.decoder.next(&mut piece) {
                if let SseEvent::Message(event) = item.expect("past no limit") {
                    let id = event.last_event_id.as_deref().unwrap_or_default();
                    each(&event.event, &event.data, id);
                }
            }
        }
    }
}

/// sse-stream: `SseByteStream`, which its documentation prefers for bytes, over slices.
///
/// It reports raw blocks, those without data too, and leaves the last event id to the caller.
pub struct SseStream<'a> {
    stream: sse_stream::SseByteStream<Rounds<'a, &'a [u8]>>,
    last_event_id: String,
}

impl<'a> Subject<'a> for SseStream<'a> {
    const NAME: &'static str = "sse-stream";

    fn new(pieces: &'a [Bytes]) -> Self {
        let stream = sse_stream::SseByteStream::new(Rounds::new(pieces, |piece| &piece[..]));
        Self { stream, last_event_id: String::new() }
    }

    fn round(&mut self, mut each: impl FnMut(&str, &str, &str)) {
        drain(&mut self.stream, |block| {
            let block = block.expect("all fixtures are well-formed");
            if let Some(id) = block.id {
                self.last_event_id = id;
            }
            if let Some(data) = &block.data {
                let event = block.event.as_deref().unwrap_or("message");
                each(event, data, &self.last_event_id);
            }
        });
    }
}

/// sseer: `EventStream` over `Bytes`, of which its events are slices.
pub struct Sseer<'a> {
    stream: sseer::EventStream<Rounds<'a, Bytes>>,
}

impl<'a> Subject<'a> for Sseer<'a> {
    const NAME: &'static str = "sseer";

    fn new(pieces: &'a [Bytes]) -> Self {
        Self { stream: sseer::EventStream::new(Rounds::new(pieces, Bytes::clone)) }
    }

    fn round(&mut self, mut each: impl FnMut(&str, &str, &str)) {
        drain(&mut self.stream, |event| {
            let event = event.expect("all fixtures are well-formed");
            each(&event.event, &event.data, &event.id);
        });
    }
}

/// eventsource-stream: its extension method over a stream of slices.
pub struct EventsourceStream<'a> {
    stream: eventsource_stream::EventStream<Rounds<'a, &'a [u8]>>,
}

impl<'a> Subject<'a> for EventsourceStream<'a> {
    const NAME: &'static str = "eventsource-stream";
    const LINEAR: bool = false;

    fn new(pieces: &'a [Bytes]) -> Self {
        Self { stream: Rounds::new(pieces, |piece| &piece[..]).eventsource() }
    }

    fn round(&mut self, mut each: impl FnMut(&str, &str, &str)) {
        drain(&mut self.stream, |event| {
            let event = event.expect("all fixtures are well-formed");
            each(&event.event, &event.data, &event.id);
        });
    }
}

/// The pieces, again and again; pending once after each round.
pub struct Rounds<'a, T> {
    pieces: &'a [Bytes],
    next: usize,
    piece: fn(&'a Bytes) -> T,
}

impl<'a, T> Rounds<'a, T> {
    fn new(pieces: &'a [Bytes], piece: fn(&'a Bytes) -> T) -> Self {
        Self { pieces, next: 0, piece }
    }
}

impl<T> Stream for Rounds<'_, T> {
    type Item = Result<T, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(piece) = self.pieces.get(self.next) {
            self.next += 1;
            return Poll::Ready(Some(Ok((self.piece)(piece))));
        }
        self.next = 0;
        Poll::Pending
    }
}

/// Takes what there is, without an executor, whose cost would be counted as the parser's.
fn drain<S: Stream + Unpin>(stream: &mut S, mut each: impl FnMut(S::Item)) {
    let mut context = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(item)) = Pin::new(&mut *stream).poll_next(&mut context) {
        each(item);
    }
}
