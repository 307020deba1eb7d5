//! HTTP/2 by hand, from the client's side (RFC 9113).
//!
//! As with HTTP/1.1 every byte is seen, so here every frame is: a field that a library would refuse is there to
//! be judged, and nothing is asked for that is not read. A connection answers SETTINGS and PING while it waits for
//! something, and gives a stream more room as its data is taken.

mod exchange;
mod frame;
mod hpack;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::connection::TOO_MANY_REQUESTS;
use super::log::is_secret;
use super::{
    BODY_LIMIT, Connection, Dial, Error, Event, HEAD_LIMIT, Head, Log, RESPONSE_HEAD, Request,
    Result, Side,
};
use exchange::{Ended, Exchange, fields_of, head_of};
pub use frame::{ACK, Code, END_HEADERS, END_STREAM, Frame, Kind, PAYLOAD_LIMIT, PREFACE};
pub use hpack::{Decoder, Field, encode};

/// How many bytes may come on a stream before this side asks for more: the value without SETTINGS.
pub const STREAM_WINDOW: u32 = 65_535;
/// How many may come on the connection: one stream that is not read takes little of it.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// The cost of a piece beside its bytes.
const PIECE_BYTES: usize = 32;
/// Numbers of settings (RFC 9113, 6.5.2).
const ENABLE_PUSH: u16 = 2;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// A client's end of a connection.
#[derive(Debug)]
pub struct Http2 {
    connection: Connection,
    decoder: Decoder,
    window: u32,
    next: u32,
    exchanges: BTreeMap<u32, Exchange>,
    /// A header block whose end has not come: its stream, its bytes, and whether the stream ends with it.
    block: Option<(u32, Vec<u8>, bool)>,
    max_concurrent: Option<u32>,
    has_settings: bool,
    /// The data of a PING whose answer has not come.
    pinged: Option<[u8; 8]>,
    goaway: Option<Code>,
    /// Bytes that came on the connection since it was last given more room.
    taken: u32,
}

impl Http2 {
    /// Connects, by ALPN over TLS and else by prior knowledge, and exchanges SETTINGS. `window` is how many bytes
    /// may come on a stream: with 0 none come until [`Http2::grant`].
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Handshake`]; [`Error::Http2`] if the server speaks something else.
    pub fn dial(dial: Dial<'_>, window: u32, patience: Duration, log: &Log) -> Result<Http2> {
        let tls = dial.tls.map(super::Tls::preferring_http2);
        let dial = Dial { tls: tls.as_ref(), ..dial };
        let mut connection = Connection::dial(dial, patience, log)?;
        if matches!(connection.tls_and_http2(), (true, false)) {
            return Err(Error::Http2("the TLS handshake chose another protocol".to_owned()));
        }
        connection.log_no_bytes();
        let mut http2 = Http2 {
            connection,
            decoder: Decoder::new(),
            window,
            next: 1,
            exchanges: BTreeMap::new(),
            block: None,
            max_concurrent: None,
            has_settings: false,
            pinged: None,
            goaway: None,
            taken: 0,
        };
        http2.connection.write(PREFACE)?;
        let settings = [(ENABLE_PUSH, 0), (INITIAL_WINDOW_SIZE, window)];
        let settings = settings.map(|(number, value): (u16, u32)| {
            [&number.to_be_bytes()[..], &value.to_be_bytes()].concat()
        });
        http2.send(&Frame::new(Kind::Settings, 0, 0, settings.concat()))?;
        http2.give(0, CONNECTION_WINDOW - STREAM_WINDOW)?;
        http2.until("SETTINGS of the server", |it| it.has_settings.then_some(Ok(())))?;
        Ok(http2)
    }

    /// Sends a request, and returns the stream of its answer.
    ///
    /// # Errors
    /// [`Error::Spent`] if no more may be sent, and those of [`Connection::send`].
    pub fn ask(&mut self, request: &Request) -> Result<u32> {
        if !self.connection.log().may_ask(1) {
            return Err(Error::Spent { max: self.connection.log().budget().max() });
        }
        let body = request.body_bytes();
        // The room that a peer gives without SETTINGS; a prompt is smaller.
        let limit = STREAM_WINDOW as usize;
        if body.is_some_and(|it| it.len() > limit) {
            return Err(Error::TooLong { what: "the body of a request over HTTP/2", limit });
        }
        let stream = self.next;
        self.next += 2;
        let is_open = self.window > 0;
        let exchange =
            Exchange { room: self.window, taken: is_open.then_some(0), ..Exchange::default() };
        self.exchanges.insert(stream, exchange);
        let fields = fields_of(request, self.connection.tls_and_http2().0);
        let end = if body.is_none() { END_STREAM } else { 0 };
        let head = Frame::new(Kind::Headers, END_HEADERS | end, stream, encode(fields.clone()));
        self.note(Side::Sent, &head, &fields);
        self.connection.write(&head.to_bytes())?;
        let mut pieces = body.unwrap_or_default().chunks(PAYLOAD_LIMIT).peekable();
        while let Some(piece) = pieces.next() {
            let end = if pieces.peek().is_none() { END_STREAM } else { 0 };
            self.send(&Frame::new(Kind::Data, end, stream, piece))?;
        }
        if body.is_some_and(<[u8]>::is_empty) {
            self.send(&Frame::new(Kind::Data, END_STREAM, stream, []))?;
        }
        Ok(stream)
    }

    /// The head of an answer; interim ones are skipped.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::Reset`], [`Error::Closed`], [`Error::Http2`].
    pub fn head(&mut self, stream: u32) -> Result<Head> {
        self.until(RESPONSE_HEAD, |it| {
            let exchange = it.exchange(stream);
            match &exchange.head {
                Some(head) => Some(Ok(head.clone())),
                None => Some(Err(exchange.ended("the response head")?.err()?)),
            }
        })
    }

    /// The fields of the head of an answer as they stood in its block, once it has come.
    pub fn fields(&self, stream: u32) -> &[Field] {
        self.exchanges.get(&stream).and_then(|it| it.fields.as_deref()).unwrap_or_default()
    }

    /// The first bytes of an answer, without the framing.
    pub fn raw(&self, stream: u32) -> &[u8] {
        self.exchanges.get(&stream).map_or(&[], |it| &it.read.raw)
    }

    /// When a step that begins now must be over.
    pub fn deadline(&self) -> Instant {
        self.connection.deadline()
    }

    /// The next event of an answer; `None` when it has ended with END_STREAM.
    ///
    /// # Errors
    /// As for [`Http2::head`], and [`Error::Parse`].
    pub fn next_event(&mut self, stream: u32) -> Result<Option<Event>> {
        self.until("next event", |it| {
            let exchange = it.exchange(stream);
            match exchange.read.ready.pop_front() {
                Some(event) => Some(Ok(Some(event))),
                None => Some(exchange.ended("the next event")?.map(|()| None)),
            }
        })
    }

    /// The next data of an answer, a frame at a time; `None` when it has ended with END_STREAM.
    ///
    /// # Errors
    /// As for [`Http2::head`], and [`Error::Parse`].
    pub fn next_piece(&mut self, stream: u32) -> Result<Option<Vec<u8>>> {
        self.until("more of the stream", |it| {
            let exchange = it.exchange(stream);
            match exchange.pieces.pop_front() {
                Some(piece) => Some(Ok(Some(piece))),
                None => Some(exchange.ended("the end of the stream")?.map(|()| None)),
            }
        })
    }

    /// Reads for this long, whatever comes on which stream.
    ///
    /// # Errors
    /// Those of [`Http2::head`], but the end of the time is none.
    pub fn watch(&mut self, length: Duration) -> Result<()> {
        self.connection.log().watched(length);
        let deadline = Instant::now() + length;
        loop {
            match self.read(deadline, "the end of the watch") {
                Ok(()) => {}
                Err(Error::Timeout { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Lets the stream send, as a client does that reads on.
    ///
    /// # Errors
    /// Those of [`Connection::send`].
    pub fn grant(&mut self, stream: u32) -> Result<()> {
        let exchange = self.exchange(stream);
        exchange.taken = Some(0);
        exchange.room = exchange.room.saturating_add(STREAM_WINDOW);
        self.give(stream, STREAM_WINDOW)
    }

    /// Leaves a stream (RST_STREAM with CANCEL), as a client that closes it does.
    ///
    /// # Errors
    /// Those of [`Connection::send`].
    pub fn leave(&mut self, stream: u32) -> Result<()> {
        self.exchange(stream).end = Some(Ended::Left);
        let code = Code::CANCEL.0.to_be_bytes();
        self.send(&Frame::new(Kind::RstStream, 0, stream, code))
    }

    /// How many frames have come on a stream since this side left it.
    pub fn late_frames(&self, stream: u32) -> usize {
        self.exchanges.get(&stream).map_or(0, |it| it.late_frames)
    }

    /// Sends PING, and waits for its answer.
    ///
    /// # Errors
    /// Those of [`Http2::head`].
    pub fn ping(&mut self, data: [u8; 8]) -> Result<()> {
        self.send(&Frame::new(Kind::Ping, 0, 0, data))?;
        self.pinged = Some(data);
        self.until("PING with ACK and the same data", |it| it.pinged.is_none().then_some(Ok(())))
    }

    /// Waits until the server says that it is going away (GOAWAY).
    ///
    /// # Errors
    /// Those of [`Http2::head`].
    pub fn goaway(&mut self) -> Result<Code> {
        self.until("GOAWAY", |it| it.goaway.map(Ok))
    }

    /// Whether the server has said that it is going away.
    pub fn is_going_away(&self) -> bool {
        self.goaway.is_some()
    }

    /// How many streams the server allows at a time, if it has said so.
    pub fn max_concurrent(&self) -> Option<u32> {
        self.max_concurrent
    }

    /// Sets how long each later step may take.
    pub fn set_patience(&mut self, patience: Duration) {
        self.connection.set_patience(patience);
    }

    fn exchange(&mut self, stream: u32) -> &mut Exchange {
        self.exchanges.entry(stream).or_default()
    }

    fn send(&mut self, frame: &Frame) -> Result<()> {
        self.note(Side::Sent, frame, &[]);
        self.connection.write(&frame.to_bytes())
    }

    /// WINDOW_UPDATE.
    fn give(&mut self, stream: u32, bytes: u32) -> Result<()> {
        self.send(&Frame::new(Kind::WindowUpdate, 0, stream, bytes.to_be_bytes()))
    }

    fn note(&self, side: Side, frame: &Frame, fields: &[Field]) {
        let mut words = frame.describe();
        for (name, value) in fields {
            let value = if is_secret(name) { b"(not shown)" } else { value.as_slice() };
            words += &format!(", {}: {}", crate::shown(name), crate::shown(value));
        }
        self.connection.log().describe(self.connection.number(), side, &words);
    }

    /// Reads until there is something to be seen.
    fn until<T>(
        &mut self,
        awaited: &'static str,
        mut look: impl FnMut(&mut Http2) -> Option<Result<T>>,
    ) -> Result<T> {
        let deadline = self.connection.deadline();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            self.read(deadline, awaited)?;
        }
    }

    /// Reads a frame.
    fn read(&mut self, deadline: Instant, awaited: &'static str) -> Result<()> {
        loop {
            // A server of HTTP/1.1 answers the preface with its own kind of head.
            if self.connection.buffer.starts_with(b"HTTP/1.") {
                return Err(Error::Http2("the answer is one of HTTP/1".to_owned()));
            }
            if let Some(frame) = Frame::take(&mut self.connection.buffer).map_err(Error::Http2)? {
                return self.take(&frame);
            }
            if self.connection.fill(deadline, awaited)? == 0 {
                return Err(Error::Closed { awaited });
            }
        }
    }

    fn take(&mut self, frame: &Frame) -> Result<()> {
        let is_block = matches!(frame.kind, Kind::Headers | Kind::Continuation);
        if !is_block || !frame.has(END_HEADERS) {
            self.note(Side::Received, frame, &[]);
        }
        let broken = |words: &str| Error::Http2(format!("{words}: {}", frame.describe()));
        if !self.has_settings && (frame.kind != Kind::Settings || frame.has(ACK)) {
            return Err(broken("the first frame is not SETTINGS"));
        }
        let open = self.block.as_ref().map(|(stream, ..)| *stream);
        let goes_on = frame.kind == Kind::Continuation;
        if goes_on != open.is_some() || (goes_on && open != Some(frame.stream)) {
            return Err(broken("a header block is not in one piece"));
        }
        let of_a_stream =
            matches!(frame.kind, Kind::Data | Kind::Headers | Kind::RstStream | Kind::Continuation);
        if of_a_stream && !self.exchanges.contains_key(&frame.stream) {
            return Err(broken("a frame of a stream that was not opened"));
        }
        match frame.kind {
            Kind::Data => self.take_data(frame),
            Kind::Headers | Kind::Continuation => self.take_block(frame),
            Kind::RstStream => {
                let code = Code(frame.number_at(0).ok_or_else(|| broken("too short"))?);
                self.exchange(frame.stream).end.get_or_insert(Ended::Reset(code));
                Ok(())
            }
            Kind::Settings if !frame.has(ACK) => self.take_settings(frame),
            Kind::Ping if frame.has(ACK) => {
                self.pinged = self.pinged.filter(|data| frame.payload != data);
                Ok(())
            }
            Kind::Ping => self.answer(&Frame::new(Kind::Ping, ACK, 0, frame.payload.clone())),
            Kind::GoAway => {
                self.goaway = Some(Code(frame.number_at(4).ok_or_else(|| broken("too short"))?));
                Ok(())
            }
            Kind::PushPromise => Err(broken("a push, which was refused")),
            _ => Ok(()),
        }
    }

    /// Sends what a peer asks for. A peer that is gone shows when it is read from.
    fn answer(&mut self, frame: &Frame) -> Result<()> {
        match self.send(frame) {
            Err(error) if error.is_end() => Ok(()),
            sent => sent,
        }
    }

    fn take_settings(&mut self, frame: &Frame) -> Result<()> {
        for (number, value) in frame.settings().map_err(Error::Http2)? {
            if number == MAX_CONCURRENT_STREAMS {
                self.max_concurrent = Some(value);
            }
        }
        self.has_settings = true;
        self.answer(&Frame::new(Kind::Settings, ACK, 0, []))
    }

    fn take_data(&mut self, frame: &Frame) -> Result<()> {
        let content = frame.content().map_err(Error::Http2)?;
        let broken = |words: &str| Error::Http2(format!("{words}: {}", frame.describe()));
        let length = u32::try_from(frame.payload.len()).unwrap_or(u32::MAX);
        let exchange = self.exchanges.entry(frame.stream).or_default();
        match exchange.end {
            Some(Ended::Left) => exchange.late_frames += 1,
            Some(_) => return Err(broken("a stream goes on after its end")),
            None if exchange.head.is_none() => return Err(broken("data before the head")),
            None => {
                let room = exchange.room.checked_sub(length);
                exchange.room = room.ok_or_else(|| broken("more data than the window has room"))?;
                exchange.bytes += content.len() + PIECE_BYTES;
                if exchange.bytes > BODY_LIMIT {
                    return Err(Error::TooLong { what: "the stream", limit: BODY_LIMIT });
                }
                exchange.read.push(content)?;
                exchange.pieces.push_back(content.to_vec());
                if frame.has(END_STREAM) {
                    exchange.end = Some(Ended::Whole);
                }
            }
        }
        self.make_room(frame.stream, length)
    }

    /// Lets as much come again as was taken, once it is half of the window.
    fn make_room(&mut self, stream: u32, length: u32) -> Result<()> {
        self.taken += length;
        if self.taken > CONNECTION_WINDOW / 2 {
            let bytes = std::mem::take(&mut self.taken);
            self.answer(&window_update(0, bytes))?;
        }
        let exchange = self.exchange(stream);
        let (Some(taken), None) = (&mut exchange.taken, exchange.end) else { return Ok(()) };
        *taken += length;
        if *taken <= STREAM_WINDOW / 2 {
            return Ok(());
        }
        let bytes = std::mem::take(taken);
        exchange.room = exchange.room.saturating_add(bytes);
        self.answer(&window_update(stream, bytes))
    }

    fn take_block(&mut self, frame: &Frame) -> Result<()> {
        let part = frame.content().map_err(Error::Http2)?;
        let ends = frame.kind == Kind::Headers && frame.has(END_STREAM);
        let (stream, mut block, ends) =
            self.block.take().unwrap_or_else(|| (frame.stream, Vec::new(), ends));
        block.extend_from_slice(part);
        if block.len() > HEAD_LIMIT {
            return Err(Error::TooLong { what: "a header block", limit: HEAD_LIMIT });
        }
        if !frame.has(END_HEADERS) {
            self.block = Some((stream, block, ends));
            return Ok(());
        }
        // It is decoded whatever becomes of it: the table is that of the connection.
        let fields = self.decoder.decode(&block).map_err(Error::Http2)?;
        self.note(Side::Received, frame, &fields);
        let exchange = self.exchanges.entry(stream).or_default();
        if matches!(exchange.end, Some(Ended::Left)) {
            exchange.late_frames += 1;
            return Ok(());
        }
        if exchange.end.is_some() {
            return Err(Error::Http2(format!("fields after the end of stream {stream}")));
        }
        // Behind the head they are trailers.
        if exchange.head.is_none() {
            let head = head_of(&fields)?;
            if head.status == TOO_MANY_REQUESTS {
                self.connection.log().note_too_many(head.value("retry-after"));
            }
            if head.status >= 200 {
                (exchange.head, exchange.fields) = (Some(head), Some(fields));
            }
        }
        if ends {
            exchange.end = Some(Ended::Whole);
        }
        Ok(())
    }
}

fn window_update(stream: u32, bytes: u32) -> Frame {
    Frame::new(Kind::WindowUpdate, 0, stream, bytes.to_be_bytes())
}
