//! One open event stream: a source, kept alive, ended on shutdown, counted.
//!
//! [`EventStream`] does no I/O and knows no runtime: the std server's workers drive it by hand. With
//! the feature `tokio` it becomes a `Stream` of [`Frames`](EventStream::frames) or of
//! [`Events`](EventStream::events).

#[cfg(feature = "tokio")]
mod tokio;

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

#[cfg(feature = "tokio")]
pub use self::tokio::{Events, Frames};
use crate::clock::{MS, Now};
use crate::event::Event;
use crate::shutdown::Watch;
use crate::source::{Source, SourcePoll};
use crate::stats::OpenStream;
use crate::wire::{self, Encoded};
use crate::wire_log::StreamLog;

/// Bytes that are gathered for one write when several events are ready. More would not make the
/// write cheaper per byte, and would let one fast reader hold up the others.
pub const COALESCE_BYTES: usize = 16 * 1024;

/// The `retry` that each stream sends on shutdown, in milliseconds, at random: clients that
/// reconnect all at once would overload the server that comes up.
const RETRY_MS: std::ops::RangeInclusive<u64> = 1_000..=5_000;

/// The result of [`EventStream::poll_event`].
#[derive(Debug)]
pub enum EventPoll {
    /// An event for this stream alone.
    Event(Event),
    /// An event that other streams get too, encoded already.
    Shared(Arc<Encoded>),
    /// The monotonic time to poll again, in nanoseconds, unless the waker is called before.
    Wait(u64),
    /// The stream has ended: the response ends, whole.
    End,
}

/// A response body of type `text/event-stream`, before any encoding.
#[derive(Debug)]
pub struct EventStream {
    source: Option<Box<dyn Source>>,
    keep_alive_ns: u64,
    /// When the last byte left, in monotonic nanoseconds.
    quiet_since: u64,
    shutdown: Watch,
    open: OpenStream,
    log: Option<StreamLog>,
}

impl EventStream {
    pub(crate) fn new(
        source: Box<dyn Source>,
        keep_alive: Duration,
        now: Now,
        shutdown: Watch,
        open: OpenStream,
        log: Option<StreamLog>,
    ) -> EventStream {
        // At least a millisecond, the step of the runtimes' timers.
        let keep_alive_ns = u64::try_from(keep_alive.as_nanos()).unwrap_or(u64::MAX).max(MS);
        EventStream {
            source: Some(source),
            keep_alive_ns,
            quiet_since: now.monotonic,
            shutdown,
            open,
            log,
        }
    }

    /// The next event, or the time to poll again. After `Wait` the waker is called once when there
    /// may be an event before that time.
    pub fn poll_event(&mut self, now: Now, waker: &Waker) -> EventPoll {
        let mut asked_to_be_woken = false;
        loop {
            let Some(source) = &mut self.source else { return EventPoll::End };
            if self.shutdown.has_begun() {
                self.end();
                return self
                    .send(now, Event::retry(Duration::from_millis(fastrand::u64(RETRY_MS))));
            }
            match source.poll(now) {
                SourcePoll::Event(event) => {
                    self.open.sent();
                    return self.send(now, event);
                }
                SourcePoll::Gap(gap) => {
                    self.open.lagged();
                    self.open.sent();
                    return self.send(now, gap.into());
                }
                SourcePoll::Shared(encoded) => {
                    self.open.sent();
                    self.quiet_since = now.monotonic;
                    if let Some(log) = &self.log {
                        log.sent(&encoded.event());
                    }
                    return EventPoll::Shared(encoded);
                }
                SourcePoll::Wait(until) if asked_to_be_woken => {
                    let keep_alive = self.quiet_since.saturating_add(self.keep_alive_ns);
                    if now.monotonic >= keep_alive {
                        return self.send(now, Event::comment(""));
                    }
                    return EventPoll::Wait(
                        until.map_or(keep_alive, |until| until.min(keep_alive)),
                    );
                }
                SourcePoll::Wait(_) => {
                    // Register first, then poll again, so that no event between the two is missed.
                    source.wake(waker);
                    self.shutdown.set_waker(waker);
                    asked_to_be_woken = true;
                }
                SourcePoll::End => self.end(),
            }
        }
    }

    /// Everything that is ready now, encoded, for one write of about [`COALESCE_BYTES`] at most.
    pub fn poll_frame(&mut self, now: Now, waker: &Waker) -> FramePoll {
        // A single shared event goes out as it is; only several are copied into one write.
        let mut first: Option<Bytes> = None;
        let mut batch = BytesMut::new();
        loop {
            let gathered = first.as_ref().map_or(0, Bytes::len) + batch.len();
            let full = gathered >= COALESCE_BYTES;
            let next =
                if full { EventPoll::Wait(now.monotonic) } else { self.poll_event(now, waker) };
            match next {
                EventPoll::Shared(encoded) if gathered == 0 => first = Some(encoded.frame.clone()),
                EventPoll::Shared(encoded) => {
                    batch.extend(first.take());
                    batch.extend_from_slice(&encoded.frame);
                }
                EventPoll::Event(event) if gathered == 0 => first = Some(wire::encode(&event)),
                EventPoll::Event(event) => {
                    batch.extend(first.take());
                    wire::encode_into(&event, &mut batch);
                }
                EventPoll::Wait(_) | EventPoll::End if gathered > 0 => {
                    return FramePoll::Frame(first.unwrap_or_else(|| batch.freeze()));
                }
                EventPoll::Wait(until) => return FramePoll::Wait(until),
                EventPoll::End => return FramePoll::End,
            }
        }
    }

    fn send(&mut self, now: Now, event: Event) -> EventPoll {
        self.quiet_since = now.monotonic;
        if let Some(log) = &self.log {
            log.sent(&event);
        }
        EventPoll::Event(event)
    }

    fn end(&mut self) {
        self.source = None;
        self.open.source_ended();
    }
}

/// The result of [`EventStream::poll_frame`].
#[derive(Debug)]
pub enum FramePoll {
    /// One write.
    Frame(Bytes),
    /// The monotonic time to poll again, in nanoseconds, unless the waker is called before.
    Wait(u64),
    /// The stream has ended.
    End,
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::Feed;
    use crate::clock::SECOND;
    use crate::settings::Settings;

    const SILENT: u64 = 3600 * SECOND;

    fn feed() -> Arc<Feed> {
        Arc::new(Feed::new(Settings { keep_alive_ms: 15_000, ..Settings::for_tests() }))
    }

    fn publish(feed: &Feed, body: Vec<u8>) {
        feed.publish("t", body).now_or_never().expect("ready at once").expect("published");
    }

    fn frame(stream: &mut EventStream, now: u64) -> String {
        match stream.poll_frame(Now::at(now), Waker::noop()) {
            FramePoll::Frame(frame) => String::from_utf8(frame.to_vec()).expect("UTF-8"),
            next => format!("{next:?}"),
        }
    }

    #[test]
    fn silence_is_broken_by_a_comment_and_each_event_resets_the_wait() {
        let feed = feed();
        let mut stream = feed.subscribe("t", "", None).expect("open").expect("a stream");
        let start = stream.quiet_since;
        let due = start + 15 * SECOND;
        assert_eq!(frame(&mut stream, start), format!("Wait({due})"));
        assert_eq!(frame(&mut stream, due), ":\n\n");
        publish(&feed, b"x".to_vec());
        assert!(frame(&mut stream, due + SECOND).ends_with("data: x\n\n"));
        assert_eq!(frame(&mut stream, due + SECOND), format!("Wait({})", due + 16 * SECOND));
    }

    #[test]
    fn a_clock_that_is_set_changes_no_keep_alive() {
        let feed = feed();
        for set in [3600, -3600] {
            let mut stream = feed.subscribe("t", "", None).expect("open").expect("a stream");
            let start = stream.quiet_since;
            let due = start + 15 * SECOND;
            let mut poll = |ns: u64| stream.poll_frame(Now::at(ns).set(set), Waker::noop());
            assert!(matches!(poll(start), FramePoll::Wait(at) if at == due));
            assert!(matches!(poll(due), FramePoll::Frame(comment) if comment == ":\n\n"));
            assert!(matches!(poll(due), FramePoll::Wait(at) if at == due + 15 * SECOND));
        }
    }

    #[test]
    fn on_shutdown_a_stream_says_when_to_come_back_and_ends() {
        let feed = feed();
        let mut stream = feed.subscribe("t", "", None).expect("open").expect("a stream");
        feed.shutdown.begin();
        let farewell = frame(&mut stream, SILENT);
        let retry = farewell.strip_prefix("retry: ").and_then(|rest| rest.strip_suffix("\n\n"));
        let retry: u64 = retry.expect("a retry alone").parse().expect("digits");
        assert!(RETRY_MS.contains(&retry));
        assert_eq!(frame(&mut stream, SILENT), "End");
    }

    #[test]
    fn events_that_are_ready_together_go_out_together_up_to_a_limit() {
        let feed = feed();
        let mut stream = feed.subscribe("t", "", None).expect("open").expect("a stream");
        for n in 0..3 {
            publish(&feed, n.to_string().into_bytes());
        }
        let together = frame(&mut stream, 0);
        assert_eq!(together.matches("data: ").count(), 3);
        for _ in 0..3 {
            publish(&feed, vec![b'x'; COALESCE_BYTES]);
        }
        assert_eq!(frame(&mut stream, 0).matches("data: ").count(), 1);
    }

    #[test]
    fn a_sleeping_stream_is_woken_by_a_publish_and_by_the_shutdown() {
        use std::sync::atomic::{AtomicU64, Ordering};
        struct Count(AtomicU64);
        impl std::task::Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let feed = feed();
        let mut stream = feed.subscribe("t", "", None).expect("open").expect("a stream");
        let count = Arc::new(Count(AtomicU64::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let now = stream.quiet_since;
        assert!(matches!(stream.poll_event(Now::at(now), &waker), EventPoll::Wait(_)));
        publish(&feed, b"x".to_vec());
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        feed.shutdown.begin();
        assert_eq!(count.0.load(Ordering::SeqCst), 2);
    }
}
