//! An open event stream as an async `Stream`.
//!
//! A stream that always has another event ready must yield its thread now and then. Or else one
//! fast reader of `/ticks?interval_ms=0` would hold up other streams and new connections for
//! seconds: the frameworks write on as long as the socket takes bytes. So every item is charged to
//! the task's budget in the runtime ([`coop`]).

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use tokio::task::coop;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{EventPoll, EventStream, FramePoll};
use crate::clock::{self, wait};
use crate::event::Event;

impl EventStream {
    /// The stream as bytes for a raw response body: one item, one write.
    pub fn frames(self) -> Frames {
        Frames { stream: self, timer: Timer::default() }
    }

    /// The stream as events for a framework's own SSE type. That type keeps the connection alive by
    /// itself, so no comment comes.
    pub fn events(mut self) -> Events {
        self.keep_alive_ns = u64::MAX;
        Events { stream: self, timer: Timer::default() }
    }
}

/// Encoded events; everything that is ready at once is one item.
#[derive(Debug)]
pub struct Frames {
    stream: EventStream,
    timer: Timer,
}

impl Stream for Frames {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Frames { stream, timer } = &mut *self;
        let turn = ready!(coop::poll_proceed(cx));
        loop {
            let now = clock::now();
            match stream.poll_frame(now, cx.waker()) {
                FramePoll::Frame(frame) => {
                    turn.made_progress();
                    return Poll::Ready(Some(frame));
                }
                FramePoll::End => return Poll::Ready(None),
                FramePoll::Wait(until) => ready!(timer.poll(now.monotonic, until, cx)),
            }
        }
    }
}

/// Events one by one.
#[derive(Debug)]
pub struct Events {
    stream: EventStream,
    timer: Timer,
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let Events { stream, timer } = &mut *self;
        let turn = ready!(coop::poll_proceed(cx));
        loop {
            let now = clock::now();
            let event = match stream.poll_event(now, cx.waker()) {
                EventPoll::Event(event) => event,
                EventPoll::Shared(encoded) => encoded.event(),
                EventPoll::End => return Poll::Ready(None),
                EventPoll::Wait(until) => {
                    ready!(timer.poll(now.monotonic, until, cx));
                    continue;
                }
            };
            turn.made_progress();
            return Poll::Ready(Some(event));
        }
    }
}

/// The runtime's timer, made when it is first needed and then only moved.
#[derive(Debug, Default)]
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    set_for: u64,
}

impl Timer {
    fn poll(&mut self, now: u64, until: u64, cx: &mut Context<'_>) -> Poll<()> {
        if self.set_for != until || self.sleep.is_none() {
            self.set_for = until;
            // A year is long enough, and the runtime's arithmetic stays far from its limits.
            let at =
                Instant::now() + wait(now, until).min(std::time::Duration::from_secs(31_536_000));
            match &mut self.sleep {
                Some(sleep) => sleep.as_mut().reset(at),
                None => self.sleep = Some(Box::pin(sleep_until(at))),
            }
        }
        let sleep = self.sleep.as_mut().expect("set just above");
        ready!(sleep.as_mut().poll(cx));
        // Timers may fire a little early by that clock; the next round sets a new one then.
        self.set_for = 0;
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::StreamExt;

    use crate::Feed;
    use crate::settings::Settings;

    #[tokio::test]
    async fn frames_follow_the_clock_to_the_end() {
        let feed = Feed::new(Settings::for_tests());
        let stream = feed.ticks("interval_ms=5&count=3", None).expect("open").expect("a stream");
        let frames: Vec<_> = stream.frames().collect().await;
        let tick = |n| format!("id: {n}\ndata: Hello! This is event {n}\n\n");
        let expected: String = (1..=3).map(tick).collect();
        assert_eq!(frames.concat(), expected.as_bytes());
    }

    #[tokio::test]
    async fn a_published_message_wakes_a_sleeping_stream() {
        let feed = Arc::new(Feed::new(Settings::for_tests()));
        let stream = feed.subscribe("t", "", None).expect("open").expect("a stream");
        let publisher = Arc::clone(&feed);
        let mut events = stream.events();
        let first = tokio::spawn(async move { events.next().await });
        tokio::task::yield_now().await;
        publisher.publish("t", b"hello".to_vec()).await.expect("published");
        let event = first.await.expect("no panic").expect("an event");
        assert_eq!(event.data.as_deref(), Some("hello"));
    }

    /// On one thread: a stream that is always ready must not keep the next one from its turn.
    #[tokio::test]
    async fn a_stream_that_never_waits_lets_others_run() {
        let feed = Feed::new(Settings::for_tests());
        let endless = || feed.ticks("interval_ms=0", None).expect("open").expect("a stream");
        let frames = tokio::spawn(endless().frames().take(10_000).count());
        let events = tokio::spawn(endless().events().take(10_000).count());
        tokio::task::yield_now().await;
        assert!(!frames.is_finished() && !events.is_finished());
        assert_eq!(
            (frames.await.expect("no panic"), events.await.expect("no panic")),
            (10_000, 10_000)
        );
    }

    #[tokio::test]
    async fn the_shutdown_ends_a_silent_stream() {
        let feed = Feed::new(Settings::for_tests());
        let stream = feed.subscribe("t", "", None).expect("open").expect("a stream");
        let all = tokio::spawn(stream.frames().collect::<Vec<_>>());
        tokio::task::yield_now().await;
        feed.shutdown.begin();
        let frames = all.await.expect("no panic");
        assert!(frames.concat().starts_with(b"retry: "));
    }
}
