//! One connection from accept to close.
//!
//! ```text
//!  ┌─▶ Asking ──(an answer, or a refusal)──▶ Answering ──┬──▶ Closing
//!  └──────────────────(keep-alive)───────────────────────┘
//! ```
//!
//! While it waits for the socket, for a handler or for an event, its worker serves others. A stage
//! that may last for hours is a separate state: an open stream holds no memory of its request.

mod io;
mod outgoing;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::BytesMut;
use feed::clock::SECOND;
use feed::listen::{Pending, Place};
use feed::{Feed, Problem};

pub use self::io::{Io, Local};
use self::outgoing::Outgoing;
use crate::http::{End, Framing, HeadDecoder, Input, Request, Response, read_body};

/// How long a client may take to read a last answer before the connection is gone, and how much it
/// may still send meanwhile. Closing at once would reset the connection and could take the answer
/// back ([RFC 9112 9.6](https://www.rfc-editor.org/rfc/rfc9112.html#section-9.6)).
const CLOSING_NS: u64 = 2 * SECOND;
const CLOSING_BYTES: usize = 4 * 1024 * 1024;

/// The interim answer to a client that waits for it with a body ([RFC 9110
/// 15.2.1](https://www.rfc-editor.org/rfc/rfc9110.html#section-15.2.1)).
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Answers a request, perhaps later.
pub type Handler = fn(Arc<Feed>, Request, RequestBody) -> PendingResponse;

/// The future of an answer. It stays on the thread of its worker.
pub type PendingResponse = Pin<Box<dyn Future<Output = Response>>>;

/// The application: its state and its routes.
#[derive(Debug)]
pub struct Service {
    /// The server's state.
    pub feed: Arc<Feed>,
    /// Its routes.
    pub handler: Handler,
    /// The connections without an open stream.
    pub pending: Arc<Pending>,
}

/// A connection: its bytes and its state.
pub struct Connection {
    /// Its bytes.
    pub io: Rc<Io>,
    service: Rc<Service>,
    /// Its place among the pending connections; none while a stream is open.
    place: Option<Place>,
    phase: Phase,
}

enum Phase {
    /// A request comes in, or its answer is pending.
    Asking(Pin<Box<dyn Future<Output = Result<Answer, End>>>>),
    /// An answer goes out, which may be a stream.
    Answering(Answer),
    /// The client reads the last answer.
    Closing(Pin<Box<dyn Future<Output = ()>>>),
}

struct Answer {
    outgoing: Outgoing,
    /// Another request may follow.
    keep_alive: bool,
}

impl Connection {
    /// A connection that waits for its first request.
    pub fn new(io: Io, place: Place, service: Rc<Service>) -> Connection {
        io.start_timeout();
        let io = Rc::new(io);
        let phase = asking(&io, &service);
        Connection { io, service, place: Some(place), phase }
    }

    /// Does what can be done now; ready when the connection has ended.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.io.is_broken() {
                return Poll::Ready(());
            }
            self.phase = match &mut self.phase {
                Phase::Asking(exchange) => match ready!(exchange.as_mut().poll(context)) {
                    Ok(answer) => {
                        self.place.take_if(|_| answer.outgoing.is_stream());
                        Phase::Answering(answer)
                    }
                    Err(End::Refused(bytes)) => {
                        self.io.start_timeout();
                        let outgoing = Outgoing::new(bytes, None, false);
                        Phase::Answering(Answer { outgoing, keep_alive: false })
                    }
                    Err(End::Gone) => return Poll::Ready(()),
                },
                Phase::Answering(Answer { outgoing, keep_alive }) => {
                    if ready!(outgoing.poll(&self.io, context)).is_err() {
                        return Poll::Ready(());
                    }
                    let keep_alive = *keep_alive;
                    self.place.get_or_insert_with(|| self.service.pending.place());
                    let Some(phase) = self.answered(keep_alive) else { return Poll::Ready(()) };
                    phase
                }
                Phase::Closing(rest) => return rest.as_mut().poll(context),
            };
            if self.io.wants_a_turn.get() {
                return Poll::Pending;
            }
        }
    }

    /// The state after an answer, if the connection goes on.
    fn answered(&self, keep_alive: bool) -> Option<Phase> {
        let io = &self.io;
        io.answering.set(false);
        if self.service.feed.shutdown.has_begun() {
            io.discard();
            return None;
        }
        if keep_alive {
            let pipelined = !io.received().is_empty();
            // After an answer to a client that pipelines requests, other connections have their
            // turn.
            io.wants_a_turn.set(pipelined);
            io.start_timeout();
            return Some(asking(io, &self.service));
        }
        io.expire_in(CLOSING_NS);
        let io = Rc::clone(io);
        Some(Phase::Closing(Box::pin(async move { io.close(CLOSING_BYTES).await })))
    }
}

fn asking(io: &Rc<Io>, service: &Rc<Service>) -> Phase {
    Phase::Asking(Box::pin(exchange(Rc::clone(io), Rc::clone(service))))
}

/// Waits for a request and for its answer.
async fn exchange(io: Rc<Io>, service: Rc<Service>) -> Result<Answer, End> {
    let request = read_request(&io).await?;
    let (peer, keep_alive) = (request.peer(), request.keeps_alive());
    let response = answer(&io, &service, request).await?;
    let delimited = peer.http_1_1 || !response.is_stream();
    let skipped = skip_body(&io);
    let keep_alive = skipped && delimited && keep_alive && !service.feed.shutdown.has_begun();
    // HEAD: the stream was opened only for its status and headers, and is dropped here.
    let (bytes, events) = response.into_bytes(peer, keep_alive);
    // A first event is due from now on, and this turn's clock is older: with a new one, it leaves
    // together with the head.
    io.wants_a_turn.set(events.is_some());
    if io.received().is_empty() {
        // A stream or a silence may follow, and needs no buffer.
        *io.received() = BytesMut::new();
    }
    io.start_timeout();
    Ok(Answer { outgoing: Outgoing::new(bytes, events, peer.http_1_1), keep_alive })
}

/// Waits for the head of a request.
async fn read_request(io: &Io) -> Result<Request, End> {
    let request = read_head(io).await;
    let is_head = || io.received().starts_with(b"HEAD ");
    request.map_err(|end| if is_head() { end.without_body() } else { end })
}

async fn read_head(io: &Io) -> Result<Request, End> {
    let mut decoder = HeadDecoder::default();
    loop {
        if let Some(request) = decoder.take(&mut io.received())? {
            return Ok(request);
        }
        let idle = io.received().is_empty();
        match io.more().await {
            // No request was begun, so there is nothing to refuse.
            Err(_) if idle => return Err(End::Gone),
            more => more?,
        }
    }
}

/// Waits for the answer of the handler.
async fn answer(io: &Rc<Io>, service: &Service, request: Request) -> Result<Response, End> {
    io.answering.set(true);
    io.unread_body.set(Some(request.framing));
    let failure = Rc::new(Cell::new(None));
    let body = RequestBody {
        io: Rc::clone(io),
        expects_continue: request.expects_continue(),
        failure: Rc::clone(&failure),
    };
    let mut answer = (service.handler)(Arc::clone(&service.feed), request, body);
    let internal = || Response::from(&Problem::internal());
    poll_fn(|context| {
        // A bug in one handler gets an answer, and must not end the other connections.
        match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(context))) {
            Ok(Poll::Ready(response)) => Poll::Ready(Ok(response)),
            Err(_) => Poll::Ready(Ok(internal())),
            Ok(Poll::Pending) => match failure.take() {
                Some(end) => Poll::Ready(Err(end)),
                None if io.is_expired() => Poll::Ready(Err(internal().into())),
                None => Poll::Pending,
            },
        }
    })
    .await
}

/// The body of a request, for its handler.
pub struct RequestBody {
    io: Rc<Io>,
    expects_continue: bool,
    /// Why the connection ends before the body has come.
    failure: Rc<Cell<Option<End>>>,
}

impl RequestBody {
    /// Waits for all of it. If it does not come, the handler never resumes: there is no client to
    /// answer, or the connection refuses the request.
    ///
    /// # Errors
    /// 413.
    pub async fn read(self) -> Result<Vec<u8>, Problem> {
        self.io.answering.set(false);
        match self.try_read().await {
            Ok(body) => {
                self.io.answering.set(true);
                self.io.start_timeout();
                body
            }
            Err(end) => {
                self.failure.set(Some(end));
                pending().await
            }
        }
    }

    async fn try_read(&self) -> Result<Result<Vec<u8>, Problem>, End> {
        let framing = self.io.unread_body.take().unwrap_or(Framing::None);
        if self.expects_continue && self.io.received().is_empty() {
            // These few bytes fit into the send buffer: the client waits for them.
            let _ = self.io.poll_write([CONTINUE, b""], 0);
        }
        let body = read_body(framing, &*self.io).await?;
        if body.is_ok() {
            self.io.unread_body.set(Some(Framing::None));
        }
        Ok(body)
    }
}

/// Passes over a body that the handler did not read. False if that is not all here: the rest would
/// be taken for a request.
fn skip_body(io: &Io) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    io.unread_body.take().is_some_and(|framing| {
        matches!(pin!(read_body(framing, io)).poll(&mut context), Poll::Ready(Ok(Ok(_))))
    })
}
