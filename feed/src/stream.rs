//! One open event stream: a source, kept alive, ended on shutdown, counted.
//!
//! [`EventStream`] does no I/O and knows no runtime: the std server's workers drive it by hand. With
//! the feature `tokio` it becomes a `Stream` of [`Frames`](EventStream::frames) or of
//! [`Events`](EventStream::events).

mod gathered;
#[cfg(feature = "tokio")]
mod tokio;

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;

use self::gathered::Gathered;
#[cfg(feature = "tokio")]
pub use self::tokio::{Events, Frames};
use crate::clock::{MS, Now};
use crate::event::Event;
use crate::shutdown::Watch;
use crate::source::{Sleeper, Source, SourcePoll};
use crate::stats::OpenStream;
use crate::wire::Encoded;
use crate::wire_log::StreamLog;

/// Bytes that are gathered for one write when several events are ready. More would not make the
/// write cheaper per byte, and would let one fast reader hold up the others.
pub const COALESCE_BYTES: usize = 16 * 1024;

/// The `retry` that each stream sends on shutdown, in milliseconds, at random: clients that
/// reconnect all at once would overload the server that comes up.
const RETRY_MS: std::ops::RangeInclusive<u64> = 1_000..=5_000;

/// An event that leaves.
#[derive(Debug)]
pub enum Item {
    /// For this stream alone.
    Event(Event),
    /// Other streams get it too, and it is encoded already.
    Shared(Arc<Encoded>),
}

/// The result of [`EventStream::poll_event`].
#[derive(Debug)]
pub enum EventPoll {
    /// An event.
    Item(Item),
    /// The monotonic time to poll again, in nanoseconds, unless the waker is called before.
    Wait(u64),
    /// The stream has ended: the response ends, whole.
    End,
}

/// The result of a look for the next event.
enum Look {
    /// It was handed on.
    Item,
    /// As [`EventPoll::Wait`].
    Wait(u64),
    End,
}

/// A response body of type `text/event-stream`, before any encoding.
#[derive(Debug)]
pub struct EventStream {
    source: Box<dyn Source>,
    /// [`Source::follows_clock`], in reach.
    follows_clock: bool,
    keep_alive_ns: u64,
    /// When the last byte left, in monotonic nanoseconds.
    quiet_since: u64,
    /// In the lists of the source and of the shutdown.
    sleeper: Sleeper,
    /// The source had nothing more, and has nothing before that time unless the sleeper was woken
    /// since; 0 if that is not known.
    waits_until: u64,
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
            follows_clock: source.follows_clock(),
            source,
            keep_alive_ns,
            quiet_since: now.monotonic,
            sleeper: Sleeper::default(),
            waits_until: 0,
            shutdown,
            open,
            log,
        }
    }

    /// The next event, or the time to poll again. After `Wait` the waker is called once when there
    /// may be an event before that time.
    pub fn poll_event(&mut self, now: Now, waker: &Waker) -> EventPoll {
        self.take_waker(waker);
        let mut found = None;
        match (self.poll_item(now, |item| found = Some(item)), found) {
            (Look::Wait(until), _) => EventPoll::Wait(until),
            (_, Some(item)) => EventPoll::Item(item),
            (_, None) => EventPoll::End,
        }
    }

    /// Hands the next event to `take`.
    // All of this is in line, down to the source, so that no event is moved from call to call: that
    // took more instructions than the rest (callgrind).
    #[inline(always)]
    fn poll_item(&mut self, now: Now, mut take: impl FnMut(Item)) -> Look {
        let look = self.look(now, &mut take);
        let Look::Wait(until) = look else { return look };
        if now.monotonic < self.keep_alive_due() {
            return Look::Wait(until.min(self.keep_alive_due()));
        }
        take(self.send(now, Event::comment("")));
        Look::Item
    }

    /// As [`poll_item`](Self::poll_item), without a keep-alive.
    #[inline(always)]
    fn look(&mut self, now: Now, take: &mut impl FnMut(Item)) -> Look {
        if now.monotonic < self.waits_until && self.sleeper.is_asleep() {
            return Look::Wait(self.waits_until);
        }
        // Before the look, so that no event between the two is missed.
        self.sleeper.sleep();
        self.waits_until = 0;
        let look = self.next(now, take);
        if let Look::Wait(until) = look {
            self.waits_until = until;
        }
        look
    }

    /// True if there is nothing new before [`waits_until`](Self::waits_until): it has this waker, and
    /// has not called it since.
    #[cfg(feature = "tokio")]
    #[inline]
    fn rests(&self, waker: &Waker) -> bool {
        self.waits_until != 0 && self.sleeper.is_asleep() && self.sleeper.has(waker)
    }

    /// Takes this waker for all sleeps, if it is another one; true if it is.
    #[inline]
    fn take_waker(&mut self, waker: &Waker) -> bool {
        let is_new = !self.sleeper.has(waker);
        if is_new {
            self.register(waker);
        }
        is_new
    }

    #[inline(never)]
    fn register(&mut self, waker: &Waker) {
        self.sleeper.set_waker(waker);
        self.source.set_sleeper(&self.sleeper);
        self.shutdown.set_sleeper(&self.sleeper);
        // It may have called the other one.
        self.waits_until = 0;
    }

    #[inline(always)]
    fn next(&mut self, now: Now, take: &mut impl FnMut(Item)) -> Look {
        if self.shutdown.has_begun() && self.end() {
            let retry = Duration::from_millis(fastrand::u64(RETRY_MS));
            take(self.send(now, Event::retry(retry)));
            return Look::Item;
        }
        match self.source.poll(now) {
            SourcePoll::Shared { encoded, more } => {
                // The sleeper is woken for the next.
                self.waits_until = if more { 0 } else { u64::MAX };
                self.open.sent();
                self.quiet_since = now.monotonic;
                if let Some(log) = &self.log {
                    log.sent(&encoded.event());
                }
                take(Item::Shared(encoded));
                Look::Item
            }
            SourcePoll::Event(event) => {
                self.open.sent();
                take(self.send(now, event));
                Look::Item
            }
            SourcePoll::Gap(gap) => {
                self.open.lagged();
                self.open.sent();
                take(self.send(now, gap.into()));
                Look::Item
            }
            SourcePoll::Wait(until) => Look::Wait(until.unwrap_or(u64::MAX)),
            SourcePoll::End => {
                self.end();
                Look::End
            }
        }
    }

    /// Everything that is ready now, encoded, for one write of about [`COALESCE_BYTES`] at most.
    pub fn poll_frame(&mut self, now: Now, waker: &Waker) -> FramePoll {
        self.take_waker(waker);
        self.poll_write(now, false)
    }

    /// The same as a chunk of HTTP/1.1, for a server that writes the framing itself.
    pub fn poll_chunk(&mut self, now: Now, waker: &Waker) -> FramePoll {
        self.take_waker(waker);
        self.poll_write(now, true)
    }

    #[inline(always)]
    fn poll_write(&mut self, now: Now, chunked: bool) -> FramePoll {
        let mut gathered = Gathered::Nothing;
        match self.poll_item(now, |item| gathered.add(item)) {
            Look::Wait(until) => return FramePoll::Wait(until),
            Look::End => return FramePoll::End,
            Look::Item => {}
        }
        if self.may_have_more() {
            self.gather(now, &mut gathered);
        }
        FramePoll::Frame(gathered.finish(chunked))
    }

    /// Adds what is ready behind the first event.
    #[inline(never)]
    fn gather(&mut self, now: Now, gathered: &mut Gathered) {
        while gathered.len() < COALESCE_BYTES && self.may_have_more() {
            let Look::Item = self.look(now, &mut |item| gathered.add(item)) else { return };
        }
    }

    /// False if a moment ago is exact enough for the next poll, as long as the time of the last
    /// [`Wait`](FramePoll::Wait) has not come.
    pub fn follows_clock(&self) -> bool {
        self.follows_clock
    }

    /// The time to poll again as in [`Wait`](FramePoll::Wait), if the last poll has found that there
    /// was nothing more.
    pub fn rests_until(&self) -> Option<u64> {
        let until = self.waits_until.min(self.keep_alive_due());
        (!self.may_have_more()).then_some(until)
    }

    fn keep_alive_due(&self) -> u64 {
        self.quiet_since.saturating_add(self.keep_alive_ns)
    }

    /// False if the source had nothing more at the time of the last poll.
    pub fn may_have_more(&self) -> bool {
        self.waits_until == 0
    }

    fn send(&mut self, now: Now, event: Event) -> Item {
        self.quiet_since = now.monotonic;
        if let Some(log) = &self.log {
            log.sent(&event);
        }
        Item::Event(event)
    }

    /// False if it has ended before.
    #[cold]
    fn end(&mut self) -> bool {
        self.source = Box::new(Ended);
        self.open.source_ended()
    }
}

/// The source of a stream that has ended, though its last bytes may still be on their way.
struct Ended;

impl Source for Ended {
    fn poll(&mut self, _now: Now) -> SourcePoll {
        SourcePoll::End
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
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::Wake;

    use futures_util::FutureExt;

    use super::*;
    use crate::Feed;
    use crate::clock::SECOND;
    use crate::settings::Settings;

    const SILENT: u64 = 3600 * SECOND;

    /// A waker that counts its calls.
    #[derive(Default)]
    struct Count(AtomicU64);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn feed() -> Arc<Feed> {
        let settings = Settings { keep_alive_ms: 15_000, ..Settings::for_tests() };
        Arc::new(Feed::new(settings).expect("opens"))
    }

    fn publish(feed: &Feed, body: Vec<u8>) {
        feed.publish("t", None, body).now_or_never().expect("ready at once").expect("published");
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
        let feed = feed();
        let mut stream = feed.subscribe("t", "", None).expect("open").expect("a stream");
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let now = stream.quiet_since;
        assert!(matches!(stream.poll_event(Now::at(now), &waker), EventPoll::Wait(_)));
        publish(&feed, b"x".to_vec());
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert!(matches!(stream.poll_event(Now::at(now), &waker), EventPoll::Item(_)));
        feed.shutdown.begin();
        assert_eq!(count.0.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_source_that_has_nothing_is_polled_again_only_when_it_wakes() {
        struct Counted(Arc<AtomicU64>, bool);
        impl Source for Counted {
            fn poll(&mut self, now: Now) -> SourcePoll {
                self.0.fetch_add(1, Ordering::SeqCst);
                match std::mem::take(&mut self.1) {
                    true => SourcePoll::Event(Event::data("x")),
                    false => SourcePoll::Wait(Some(now.monotonic + SECOND)),
                }
            }
        }
        let polls = Arc::new(AtomicU64::new(0));
        let mut stream = feed().subscribe("t", "", None).expect("open").expect("a stream");
        (stream.source, stream.follows_clock) = (Box::new(Counted(Arc::clone(&polls), true)), true);
        let waker = Waker::from(Arc::new(Count::default()));
        let now = stream.quiet_since;
        let mut poll =
            |ns: u64| matches!(stream.poll_frame(Now::at(ns), &waker), FramePoll::Frame(_));
        assert!(poll(now) && !poll(now) && !poll(now + 1));
        assert_eq!(polls.load(Ordering::SeqCst), 2, "an event, and nothing more");
        assert!(!poll(now + SECOND));
        assert_eq!(polls.load(Ordering::SeqCst), 3, "it said when");
    }

    /// Each waker is another one, as of a stream that moves from task to task.
    #[test]
    fn a_waker_that_changes_is_the_one_that_is_called() {
        let feed = feed();
        let mut stream = feed.subscribe("t", "", None).expect("open").expect("a stream");
        let now = Now::at(stream.quiet_since);
        let counts = [(); 3].map(|()| Arc::new(Count::default()));
        for count in &counts {
            let waker = Waker::from(Arc::clone(count));
            assert!(matches!(stream.poll_event(now, &waker), EventPoll::Wait(_)));
        }
        publish(&feed, b"x".to_vec());
        let called = counts.each_ref().map(|count| count.0.load(Ordering::SeqCst));
        assert_eq!(called, [0, 0, 1]);
    }

    #[test]
    fn no_call_is_lost_between_a_look_and_a_sleep() {
        const EVENTS: usize = 20_000;
        let settings = Settings { retain: 100_000, ..Settings::for_tests() };
        let feed = Arc::new(Feed::new(settings).expect("opens"));
        let mut stream = feed.subscribe("t", "", None).expect("open").expect("a stream");
        let publisher = Arc::clone(&feed);
        let publishing = std::thread::spawn(move || {
            (0..EVENTS).for_each(|_| publish(&publisher, b"x".to_vec()));
        });
        let waker = crate::shutdown::unpark_this_thread();
        let mut seen = 0;
        while seen < EVENTS {
            match stream.poll_frame(Now::at(0), &waker) {
                FramePoll::Frame(frame) => {
                    seen += String::from_utf8_lossy(&frame).matches("data: ").count();
                }
                FramePoll::Wait(_) => {
                    let begin = std::time::Instant::now();
                    // Only a lost call takes so long.
                    std::thread::park_timeout(Duration::from_secs(20));
                    assert!(begin.elapsed() < Duration::from_secs(20), "after {seen} events");
                }
                FramePoll::End => panic!("the stream ended after {seen} events"),
            }
        }
        publishing.join().expect("no panic");
    }
}
