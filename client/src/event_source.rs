//! An event source that reconnects, as the HTML standard's [`EventSource`][html] does.
//!
//! | what happens | what follows |
//! | --- | --- |
//! | 200 with `text/event-stream` | [`Update::Open`], then events |
//! | the body ends, breaks off, or is silent for longer than the read timeout | [`Update::Reconnecting`] |
//! | no connection, no answer; streams that end at once and without an event | [`Update::Reconnecting`], each time after a longer wait |
//! | 204 | [`Update::Closed`]: the server wants no reconnection |
//! | any other status, another type, a coding, too many redirects, an event past the limit | an [`Error`], and the end |
//!
//! Reconnections start at the original URL, with `Last-Event-ID` once an id is known. Redirects are
//! followed. Choices where the standard leaves them open: see [`Builder`].
//!
//! [html]: https://html.spec.whatwg.org/multipage/server-sent-events.html#the-eventsource-interface

mod answer;
mod builder;
mod delay;
mod update;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_core::{FusedStream, Stream};
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};
use tokio::task::JoinHandle;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, Sleep};

pub use self::answer::{codings, refusal};
pub use self::builder::{Builder, http_client, http_client_builder, parse_url};
pub use self::update::{Error, Head, MessageEvent, Reason, Update, root_cause};

use self::answer::is_event_stream;
use self::delay::{Backoff, Ending};
use crate::parser::{Item, Parser};

/// Redirects followed for one request, as many as the [Fetch standard][fetch] allows.
///
/// [fetch]: https://fetch.spec.whatwg.org/#http-redirect-fetch
pub const MAX_REDIRECTS: usize = 20;

/// Lets the runtime read bytes that wait in the sockets, before a connection is given up as silent.
///
/// If this process was not scheduled for a while, the time may be over although bytes have come. It is
/// a task, because a future outside of the runtime's threads gives way to none of them. On a runtime of
/// one thread its second turn begins after the runtime has asked which sockets have bytes, and its
/// third one after their tasks have read them; on several threads that is likely, and no more.
#[doc(hidden)]
pub fn last_look() -> JoinHandle<()> {
    tokio::spawn(async {
        for _ in 0..2 {
            tokio::task::yield_now().await;
        }
    })
}

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// A stream of [`Update`]s from one URL, over as many connections as it takes.
///
/// It does nothing until polled, needs a tokio runtime with I/O and time, and holds at most one
/// event and one chunk of the body: a slow reader slows the server down. Dropping the future of
/// `next()` loses nothing, so it can stand in `select!`. After an error or [`Update::Closed`] the
/// stream is at its end.
///
/// ```no_run
/// # async fn read() -> Result<(), client::Error> {
/// use client::{EventSource, Update};
/// use futures_util::TryStreamExt;
///
/// let url = "https://example.org/events";
/// let mut source = EventSource::builder(url).last_event_id("41").retry_unavailable(true).build()?;
/// while let Some(update) = source.try_next().await? {
///     match update {
///         Update::Event(event) => println!("{}: {}", event.event, event.data),
///         Update::Reconnecting { reason, after } => eprintln!("{reason}; again in {after:?}"),
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct EventSource {
    builder: Builder,
    client: reqwest::Client,
    url: Url,
    parser: Parser,
    phase: Phase,
    backoff: Backoff,
    silence: Option<Silence>,
}

/// When a silent connection is given up.
#[derive(Debug)]
struct Silence {
    due: Pin<Box<Sleep>>,
    /// The look that began when that time had come.
    last_look: Option<JoinHandle<()>>,
}

/// The standard's `readyState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No connection yet, or none at the moment.
    Connecting = 0,
    /// Events may come.
    Open = 1,
    /// At the end, for good.
    Closed = 2,
}

enum Phase {
    Idle,
    Requesting(Pin<Box<dyn Future<Output = Result<reqwest::Result<Response>, Elapsed>> + Send>>),
    /// Reading the words of a refusal.
    Refused(Pin<Box<dyn Future<Output = Error> + Send>>),
    Reading(Body),
    Waiting(Pin<Box<Sleep>>),
    Closed,
}

struct Body {
    bytes: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    opened: Instant,
    has_event: bool,
}

impl EventSource {
    /// An event source with the standard's behaviour. The first request is sent when it is polled.
    ///
    /// # Errors
    ///
    /// [`Error::Url`] if the URL is not absolute, or neither `http` nor `https`.
    pub fn new(url: &str) -> Result<Self, Error> {
        Self::builder(url).build()
    }

    /// An event source with options.
    pub fn builder(url: &str) -> Builder {
        Builder::new(url)
    }

    /// Connecting, open or closed.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Idle | Phase::Requesting(_) | Phase::Refused(_) | Phase::Waiting(_) => {
                State::Connecting
            }
            Phase::Reading(_) => State::Open,
            Phase::Closed => State::Closed,
        }
    }

    /// The URL of each first request; redirects do not change it.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The id that a reconnection would resume from; empty if there is none.
    pub fn last_event_id(&self) -> &str {
        self.parser.last_event_id()
    }

    /// The reconnection time: the server's last `retry`, up to an hour, else the one of the builder.
    pub fn retry(&self) -> Duration {
        self.parser.retry().map_or(self.builder.retry, delay::bounded_retry)
    }

    /// Closes the connection; the stream ends and there are no further updates.
    pub fn close(&mut self) {
        self.phase = Phase::Closed;
        self.silence = None;
    }

    fn fail(&mut self, error: Error) -> Result<Update, Error> {
        self.close();
        Err(error)
    }

    fn request(&mut self) {
        let mut request = self.builder.request_to(&self.client, &self.url);
        let id = self.parser.last_event_id();
        // The standard wants UTF-8, as raw bytes. HTTP cannot carry control characters: such an id
        // is left out, and the server starts anew, which is better than never connecting again.
        if !id.is_empty()
            && let Ok(id) = HeaderValue::from_bytes(id.as_bytes())
        {
            request = request.header(LAST_EVENT_ID, id);
        }
        let answer = tokio::time::timeout(self.builder.answer_timeout, request.send());
        self.phase = Phase::Requesting(Box::pin(answer));
        self.restart_silence();
    }

    /// Judges a response: the standard's “announce the connection” or “fail the connection”.
    ///
    /// `None`: it is a refusal, whose words are to be read.
    fn answered(&mut self, response: Response) -> Option<Result<Update, Error>> {
        let status = response.status();
        if status == StatusCode::NO_CONTENT {
            self.close();
            return Some(Ok(Update::Closed));
        }
        if self.builder.retry_unavailable
            && self.builder.is_repeatable()
            && delay::is_unavailable(status)
        {
            let header = response.headers().get(RETRY_AFTER);
            let asked = header.and_then(|value| delay::retry_after(value, SystemTime::now()));
            return Some(self.reconnect(Reason::Unavailable(status), asked));
        }
        if status != StatusCode::OK {
            self.silence = None;
            self.phase = Phase::Refused(Box::pin(refusal(response)));
            return None;
        }
        let url = response.url().clone();
        let content_type = response.headers().get(CONTENT_TYPE);
        if !content_type.is_some_and(is_event_stream) {
            let found = content_type.map(|value| String::from_utf8_lossy(value.as_bytes()).into());
            return Some(self.fail(Error::ContentType { found, url }));
        }
        let found = codings(response.headers());
        if !found.is_empty() {
            return Some(self.fail(Error::Coding { found, url }));
        }
        let head =
            Head { status, url, version: response.version(), headers: response.headers().clone() };
        self.phase = Phase::Reading(Body {
            bytes: Box::pin(response.bytes_stream()),
            opened: Instant::now(),
            has_event: false,
        });
        self.restart_silence();
        Some(Ok(Update::Open(head)))
    }

    /// The standard's “reestablish the connection”, up to its wait; the end of a request that must
    /// not be sent again.
    fn reconnect(&mut self, reason: Reason, asked: Option<Duration>) -> Result<Update, Error> {
        // Without a connection it was not sent.
        let is_sent = !matches!(&reason, Reason::Unanswered(error) if error.is_connect());
        if is_sent && !self.builder.is_repeatable() {
            if matches!(reason, Reason::Ended) {
                self.close();
                return Ok(Update::Closed);
            }
            return self.fail(Error::NotRepeated(reason));
        }
        let ending = match &self.phase {
            Phase::Reading(body)
                if body.has_event || body.opened.elapsed() >= delay::bounded(self.retry()) =>
            {
                Ending::Lasted
            }
            Phase::Reading(_) => Ending::Empty,
            _ => Ending::Unopened,
        };
        self.parser.reset();
        self.silence = None;
        let wait = self.backoff.next(self.retry(), ending, self.builder.max_backoff);
        let after = delay::bounded(wait.max(asked.unwrap_or_default()));
        self.phase = Phase::Waiting(Box::pin(tokio::time::sleep(after)));
        Ok(Update::Reconnecting { reason, after })
    }

    fn restart_silence(&mut self) {
        let Some(timeout) = self.builder.read_timeout else { return };
        match &mut self.silence {
            Some(silence) => {
                silence.due.as_mut().reset(Instant::now() + timeout);
                silence.last_look = None;
            }
            None => {
                let due = Box::pin(tokio::time::sleep(timeout));
                self.silence = Some(Silence { due, last_look: None });
            }
        }
    }

    /// Ready when the server has been silent for too long.
    ///
    /// `has_looked` is whether the last look had ended before the connection was asked this time.
    fn poll_silence(
        &mut self,
        context: &mut Context<'_>,
        has_looked: bool,
    ) -> Poll<Result<Update, Error>> {
        let Some(silence) = &mut self.silence else { return Poll::Pending };
        ready!(silence.due.as_mut().poll(context));
        if !has_looked {
            // If the runtime is about to end, so has the look, and there is nothing to wait for.
            let look = silence.last_look.get_or_insert_with(last_look);
            if look.is_finished() || Pin::new(look).poll(context).is_ready() {
                context.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        let timeout = self.builder.read_timeout.unwrap_or_default();
        Poll::Ready(self.reconnect(Reason::Silent(timeout), None))
    }

    fn next_parsed(&mut self) -> Option<Result<Update, Error>> {
        let update = match self.parser.next_item() {
            Ok(None) => return None,
            Ok(Some(Item::Event(event))) => {
                if let Phase::Reading(body) = &mut self.phase {
                    body.has_event = true;
                }
                Update::Event(MessageEvent {
                    event: event.event.to_owned(),
                    data: event.data.to_owned(),
                    last_event_id: event.last_event_id.to_owned(),
                })
            }
            Ok(Some(Item::Comment(text))) => Update::Comment(text.to_owned()),
            Ok(Some(Item::Retry(delay))) => Update::Retry(delay),
            Err(error) => return Some(self.fail(Error::Parse(error))),
        };
        Some(Ok(update))
    }
}

impl Stream for EventSource {
    type Item = Result<Update, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if this.is_terminated() {
                return Poll::Ready(None);
            }
            // Arrived events come first: none is lost to a connection that broke behind it.
            if let Some(update) = this.next_parsed() {
                return Poll::Ready(Some(update));
            }
            let look = this.silence.as_ref().and_then(|it| it.last_look.as_ref());
            let has_looked = look.is_some_and(JoinHandle::is_finished);
            match &mut this.phase {
                Phase::Closed => return Poll::Ready(None),
                Phase::Idle => this.request(),
                Phase::Waiting(sleep) => {
                    ready!(sleep.as_mut().poll(context));
                    this.request();
                }
                Phase::Requesting(answer) => {
                    let update = match answer.as_mut().poll(context) {
                        Poll::Pending => ready!(this.poll_silence(context, has_looked)),
                        Poll::Ready(Ok(Ok(response))) => match this.answered(response) {
                            Some(update) => update,
                            None => continue,
                        },
                        // A broken request, or redirects without end: trying again is futile.
                        Poll::Ready(Ok(Err(error)))
                            if error.is_builder() || error.is_redirect() =>
                        {
                            this.fail(Error::Request(error))
                        }
                        Poll::Ready(Ok(Err(error))) => {
                            this.reconnect(Reason::Unanswered(error), None)
                        }
                        Poll::Ready(Err(_)) => {
                            let reason = Reason::NoAnswer(this.builder.answer_timeout);
                            this.reconnect(reason, None)
                        }
                    };
                    return Poll::Ready(Some(update));
                }
                Phase::Refused(error) => {
                    let error = ready!(error.as_mut().poll(context));
                    return Poll::Ready(Some(this.fail(error)));
                }
                Phase::Reading(body) => {
                    let reason = match body.bytes.as_mut().poll_next(context) {
                        Poll::Pending => return this.poll_silence(context, has_looked).map(Some),
                        Poll::Ready(Some(Ok(bytes))) => {
                            this.parser.push(&bytes);
                            this.restart_silence();
                            continue;
                        }
                        Poll::Ready(Some(Err(error))) => Reason::Broken(error),
                        Poll::Ready(None) => Reason::Ended,
                    };
                    return Poll::Ready(Some(this.reconnect(reason, None)));
                }
            }
        }
    }
}

impl FusedStream for EventSource {
    fn is_terminated(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }
}

impl fmt::Debug for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "Idle",
            Self::Requesting(_) => "Requesting",
            Self::Refused(_) => "Refused",
            Self::Reading(_) => "Reading",
            Self::Waiting(_) => "Waiting",
            Self::Closed => "Closed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_source_can_be_sent_to_another_task() {
        fn check<T: Send + Unpin>(_: &T) {}
        check(&EventSource::new("http://127.0.0.1:9/ticks").unwrap());
    }
}
