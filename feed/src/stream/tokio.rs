//! An open event stream as an async `Stream`.
//!
//! Little happens for each event, since there are many: one look at the clock, no change of the
//! runtime's timer, no waker that is set anew.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use tokio::time::{Sleep, sleep_until};

use super::{EventPoll, EventStream, FramePoll, Item};
use crate::clock::{self, Now, SECOND};
use crate::event::Event;

/// Items of a stream until other tasks have their turn. A stream that always has another one ready
/// must yield its thread now and then. Or else one fast reader of `/ticks?interval_ms=0` would hold up
/// other streams and new connections for seconds: the frameworks write on as long as the socket takes
/// bytes. Half of what tokio gives a task ([`tokio::task::coop`]), since each item is written, too.
const ITEMS_PER_TURN: u8 = 64;

/// A timer of a year is long enough, and the runtime's arithmetic stays far from its limits.
const LONGEST_NS: u64 = 31_536_000 * SECOND;

impl EventStream {
    /// The stream as bytes for a raw response body: one item, one write.
    pub fn frames(self) -> Frames {
        Frames { stream: self, pace: Pace::default() }
    }

    /// The stream as events for a framework's own SSE type. That type keeps the connection alive by
    /// itself, so no comment comes.
    pub fn events(mut self) -> Events {
        self.keep_alive_ns = u64::MAX;
        Events { stream: self, pace: Pace::default() }
    }
}

/// Encoded events; everything that is ready at once is one item.
#[derive(Debug)]
pub struct Frames {
    stream: EventStream,
    pace: Pace,
}

impl Stream for Frames {
    type Item = Bytes;

    #[inline]
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let this = &mut *self;
        if this.pace.rests(&this.stream, cx) { Poll::Pending } else { this.poll_frame(cx) }
    }
}

impl Frames {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Frames { stream, pace } = self;
        ready!(pace.poll_turn(stream, cx));
        loop {
            let now = pace.now(stream);
            match stream.poll_write(now, false) {
                FramePoll::Frame(frame) => {
                    pace.passed(now, stream.follows_clock && !stream.may_have_more());
                    return Poll::Ready(Some(frame));
                }
                FramePoll::End => return Poll::Ready(None),
                FramePoll::Wait(until) => ready!(pace.poll_wait(now, until, cx)),
            }
        }
    }
}

/// Events one by one.
#[derive(Debug)]
pub struct Events {
    stream: EventStream,
    pace: Pace,
}

impl Stream for Events {
    type Item = Event;

    #[inline]
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let this = &mut *self;
        if this.pace.rests(&this.stream, cx) { Poll::Pending } else { this.poll_event(cx) }
    }
}

impl Events {
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let Events { stream, pace } = self;
        ready!(pace.poll_turn(stream, cx));
        loop {
            let now = pace.now(stream);
            match stream.poll_event(now, cx.waker()) {
                EventPoll::Item(Item::Event(event)) => {
                    pace.passed(now, false);
                    return Poll::Ready(Some(event));
                }
                EventPoll::Item(Item::Shared(encoded)) => {
                    // Events that are shared show no time of their own.
                    pace.passed(now, stream.follows_clock);
                    return Poll::Ready(Some(encoded.event()));
                }
                EventPoll::End => return Poll::Ready(None),
                EventPoll::Wait(until) => ready!(pace.poll_wait(now, until, cx)),
            }
        }
    }
}

/// When a stream goes on: turns, the time, the timer.
#[derive(Debug, Default)]
struct Pace {
    /// Items since it last waited.
    items: u8,
    /// The time of the last item, for the look whether there is another. It may have become old
    /// meanwhile: then a timer is set for a time that has passed, and the next look has a new time.
    now: Option<Now>,
    /// Made when it is first needed and then only moved.
    timer: Option<Pin<Box<Sleep>>>,
    /// When the timer calls the stream's waker; 0 if it does not.
    set_for: u64,
}

impl Pace {
    /// True if nothing can have happened since the last poll: frameworks poll two or three times for
    /// each event.
    #[inline]
    fn rests(&mut self, stream: &EventStream, cx: &mut Context<'_>) -> bool {
        if !stream.rests(cx.waker()) {
            return false;
        }
        let is_set = self.is_set(stream.waits_until);
        if is_set {
            (self.items, self.now) = (0, None);
        } else {
            // The timer has fired, or is to fire earlier.
            self.set_for = 0;
        }
        is_set
    }

    /// Pending after many items in a row; the task is woken at once, behind the others.
    #[inline]
    fn poll_turn(&mut self, stream: &mut EventStream, cx: &mut Context<'_>) -> Poll<()> {
        if stream.take_waker(cx.waker()) {
            self.set_for = 0;
        }
        if self.items < ITEMS_PER_TURN { Poll::Ready(()) } else { self.poll_yield(cx) }
    }

    #[inline(never)]
    fn poll_yield(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.items = 0;
        // A plain call of the waker would keep the runtime from its sockets: it looks at them when no task
        // is ready, and otherwise only after many of such turns.
        std::pin::pin!(tokio::task::yield_now()).poll(cx)
    }

    /// True if the timer will call the stream's waker, until then at the latest.
    #[inline]
    fn is_set(&self, until: u64) -> bool {
        self.set_for != 0
            && self.set_for <= until
            && self.timer.as_ref().is_some_and(|timer| !timer.is_elapsed())
    }

    /// The time for the next look. Until the timer fires no keep-alive is due, and for the note when
    /// the last byte left, a time is exact enough that was read when its event was published.
    fn now(&mut self, stream: &EventStream) -> Now {
        if self.set_for != 0 && !stream.follows_clock {
            return clock::recent();
        }
        self.now.take().unwrap_or_else(clock::now)
    }

    /// An item passes; `again`: its time will do for the next look.
    fn passed(&mut self, now: Now, again: bool) {
        self.items += 1;
        if again {
            self.now = Some(now);
        }
    }

    /// Ready when it is time to look again. That may be too early: each event moves the keep-alive,
    /// and to move the timer would cost more than the event, so the timer keeps an earlier time.
    #[inline(never)]
    fn poll_wait(&mut self, now: Now, until: u64, cx: &mut Context<'_>) -> Poll<()> {
        self.items = 0;
        if self.is_set(until) {
            return Poll::Pending;
        }
        if self.set_for == 0 || self.set_for > until {
            self.set_for = until;
            let at = clock::instant(until.min(now.monotonic.saturating_add(LONGEST_NS))).into();
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(at),
                None => self.timer = Some(Box::pin(sleep_until(at))),
            }
        }
        ready!(self.timer.as_mut().expect("set just above").as_mut().poll(cx));
        // Timers may fire a little early by that clock; the next round sets a new one then.
        self.set_for = 0;
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::time::{Duration, Instant};

    use futures_util::{FutureExt, StreamExt};

    use super::ITEMS_PER_TURN;
    use crate::Feed;
    use crate::settings::Settings;

    #[tokio::test]
    async fn frames_follow_the_clock_to_the_end() {
        let feed = Feed::new(Settings::for_tests()).expect("opens");
        let stream = feed.ticks("interval_ms=5&count=3", None).expect("open").expect("a stream");
        let frames: Vec<_> = stream.frames().collect().await;
        let tick = |n| format!("id: {n}\ndata: Hello! This is event {n}\n\n");
        let expected: String = (1..=3).map(tick).collect();
        assert_eq!(frames.concat(), expected.as_bytes());
    }

    #[tokio::test]
    async fn a_stream_that_never_waits_keeps_the_runtime_from_no_socket() {
        let feed = Feed::new(Settings::for_tests()).expect("opens");
        let stream = feed.ticks("interval_ms=0", None).expect("open").expect("a stream");
        let mut frames = stream.frames();
        let seen = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&seen);
        tokio::spawn(async move {
            while frames.next().await.is_some() {
                counted.fetch_add(1, Relaxed);
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        for _ in 0..5 {
            let _client = std::net::TcpStream::connect(listener.local_addr().expect("bound"));
            let before = seen.load(Relaxed);
            listener.accept().await.expect("a connection");
            let turns = (seen.load(Relaxed) - before) / usize::from(ITEMS_PER_TURN);
            assert!(turns < 8, "{turns} turns of the stream before the runtime saw a connection");
        }
    }

    #[tokio::test]
    async fn a_published_message_wakes_a_sleeping_stream() {
        let feed = Arc::new(Feed::new(Settings::for_tests()).expect("opens"));
        let stream = feed.subscribe("t", "", None).expect("open").expect("a stream");
        let publisher = Arc::clone(&feed);
        let mut events = stream.events();
        let first = tokio::spawn(async move { events.next().await });
        tokio::task::yield_now().await;
        publisher.publish("t", None, b"hello".to_vec()).await.expect("published");
        let event = first.await.expect("no panic").expect("an event");
        assert_eq!(event.data.as_deref(), Some("hello"));
    }

    /// Though no clock is read for such an event: its time is that of its publication.
    #[tokio::test]
    async fn an_event_of_a_topic_moves_the_keep_alive() {
        const KEEP_ALIVE: Duration = Duration::from_millis(100);
        let keep_alive_ms = KEEP_ALIVE.as_millis() as u64;
        let feed = Feed::new(Settings { keep_alive_ms, ..Settings::for_tests() }).expect("opens");
        let stream = feed.subscribe("t", "", None).expect("open").expect("a stream");
        let mut frames = stream.frames();
        assert!(frames.next().now_or_never().is_none(), "the timer is set");
        tokio::time::sleep(KEEP_ALIVE / 2).await;
        let published = Instant::now();
        feed.publish("t", None, b"x".to_vec()).await.expect("published");
        assert!(frames.next().await.expect("an event").ends_with(b"data: x\n\n"));
        assert_eq!(frames.next().await.expect("a comment"), ":\n\n");
        // The clocks agree to a millisecond.
        assert!(published.elapsed() + Duration::from_millis(2) >= KEEP_ALIVE);
    }

    /// On one thread: a stream that is always ready must not keep the next one from its turn.
    #[tokio::test]
    async fn a_stream_that_never_waits_lets_others_run() {
        let feed = Feed::new(Settings::for_tests()).expect("opens");
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
        let feed = Feed::new(Settings::for_tests()).expect("opens");
        let stream = feed.subscribe("t", "", None).expect("open").expect("a stream");
        let all = tokio::spawn(stream.frames().collect::<Vec<_>>());
        tokio::task::yield_now().await;
        feed.shutdown.begin();
        let frames = all.await.expect("no panic");
        assert!(frames.concat().starts_with(b"retry: "));
    }
}
