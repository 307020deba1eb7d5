//! When the head of the stream comes. Some servers hold it back until there is an event: that is the claim of
//! S5.01, and of no other case.

use std::sync::RwLockWriteGuard;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use wire::{Error, EventStream, Head, RESPONSE_HEAD, Request};

use super::Target;
use super::concurrency::Concurrency;
use super::room::{Room, word};

/// A path that no server has.
const NO_SUCH_PATH: &str = "/conformance-no-such-path";
/// The time before a text is published to make a head come, and between two of them: a server has
/// subscribed by then.
const PROMPT: Duration = Duration::from_millis(100);

/// The way of the head of the stream under test, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Heads {
    /// It comes by itself.
    #[default]
    Usual,
    /// It comes with the first event: a text that is published makes it come.
    WithAnEvent,
    /// It was awaited in vain, and other paths are answered.
    Awaited,
}

impl Target {
    /// A sentence for the user, if the head does not come by itself.
    pub(super) fn head_words(&self) -> Option<String> {
        let patience = self.patience().as_millis();
        match self.heads {
            Heads::Usual => None,
            Heads::WithAnEvent => Some(format!(
                "no response head within {patience} ms, but as soon as a text is published (S5.01): the \
                 suite publishes one wherever it opens the stream"
            )),
            Heads::Awaited => Some(format!(
                "no response head within {patience} ms (S5.01): cases that need the stream are not judged; \
                 --publish may make it come, or a longer --patience-ms"
            )),
        }
    }

    /// Finds out what makes the head come that did not come by itself.
    ///
    /// The head, if anything does.
    ///
    /// # Errors
    /// Nothing else is answered either.
    pub(super) fn with_late_head(&mut self) -> wire::Result<Option<Head>> {
        if self.room.is_some() {
            self.heads = Heads::WithAnEvent;
            if let Ok(head) = self.head(&self.get(self.path())) {
                return Ok(Some(head));
            }
        }
        self.heads = Heads::Awaited;
        self.answers_elsewhere().map(|()| None)
    }

    /// Asks for a path that is not the stream.
    pub(super) fn answers_elsewhere(&self) -> wire::Result<()> {
        self.connect()?.ask(&self.request("GET", NO_SUCH_PATH)).map(|_| ())
    }

    /// Whether the stream itself is no way to find out that the server answers.
    pub(super) fn has_late_head(&self) -> bool {
        self.heads != Heads::Usual || self.is_late.load(Ordering::Relaxed)
    }

    /// Whether a text has to be published before the head comes.
    pub(super) fn has_head_with_an_event(&self) -> bool {
        self.heads == Heads::WithAnEvent
    }

    /// Whether a head may be behind the stream of another client.
    pub(super) fn is_queue(&self) -> bool {
        self.concurrency() == Concurrency::Queues
    }

    /// Opens the stream, and does nothing that makes its head come.
    ///
    /// # Errors
    /// [`Error::Timeout`] if it does not come, and [`Error::LateHead`] where it may be behind another stream's.
    pub(super) fn stream_by_itself(&self) -> wire::Result<EventStream> {
        let open = || EventStream::open(self.connect()?, &self.get(self.path()));
        if self.is_queue() { self.asking_stream(true, open) } else { self.in_turn(open) }
    }

    /// Keeps other cases from publishing what makes their heads come, where that is needed.
    pub(super) fn silence(&self) -> Option<RwLockWriteGuard<'_, ()>> {
        self.prompting_room().map(Room::silence)
    }

    /// Asks with this request. If it is for the stream and the head does not come, the request was odd, or the
    /// head is late for everyone.
    pub(super) fn asking<T>(
        &self,
        request: &Request,
        ask: impl Fn() -> wire::Result<T>,
    ) -> wire::Result<T> {
        if !self.opens(request) {
            return ask();
        }
        let is_plain = request.to_bytes() == self.get(self.path()).to_bytes();
        if is_plain && self.heads == Heads::Awaited {
            return Err(self.late(false));
        }
        self.asking_stream(is_plain, ask)
    }

    /// Asks for the stream over HTTP/2. A head that is late there, and not over HTTP/1.1, is no late head.
    pub(super) fn asking_over_http2<T>(
        &self,
        ask: impl Fn() -> wire::Result<T>,
    ) -> wire::Result<T> {
        if self.heads == Heads::Awaited {
            return Err(self.late(false));
        }
        self.asking_stream(false, ask)
    }

    /// The same for bytes written by hand.
    pub(super) fn asking_raw<T>(
        &self,
        bytes: &[u8],
        ask: impl Fn() -> wire::Result<T>,
    ) -> wire::Result<T> {
        let line = format!("{} {} ", self.method(), self.path());
        let is_for_stream = memchr::memmem::find(bytes, line.as_bytes()).is_some_and(|at| at <= 2);
        if is_for_stream { self.asking_stream(false, ask) } else { ask() }
    }

    fn asking_stream<T>(
        &self,
        is_plain: bool,
        ask: impl Fn() -> wire::Result<T>,
    ) -> wire::Result<T> {
        let is_late = |answer: &wire::Result<T>| {
            matches!(answer, Err(Error::Timeout { awaited: RESPONSE_HEAD, .. }))
        };
        let is_queue = self.is_queue();
        let mut answer = self.prompted(&ask);
        if is_late(&answer) && is_queue {
            // It may not have noticed yet that the client before has left.
            answer = self.prompted(&ask);
        }
        if !is_late(&answer) {
            return answer;
        }
        let is_known = is_plain || is_queue || self.heads == Heads::Awaited;
        let plain = || self.connect()?.ask(&self.get(self.path())).map(|(head, _)| head);
        if is_known || matches!(self.prompted(plain), Err(Error::Timeout { .. })) {
            self.log().waited_in_vain(self.patience());
            return Err(self.late(is_queue));
        }
        answer
    }

    fn late(&self, is_busy: bool) -> Error {
        self.is_late.store(true, Ordering::Relaxed);
        Error::LateHead { patience: self.patience(), is_busy }
    }

    fn prompting_room(&self) -> Option<&Room> {
        self.room.as_deref().filter(|_| self.heads == Heads::WithAnEvent)
    }

    /// Asks, and publishes texts until the answer is there, if that makes it come.
    fn prompted<T>(&self, ask: impl Fn() -> wire::Result<T>) -> wire::Result<T> {
        let Some(room) = self.prompting_room() else { return ask() };
        let _speaks = room.speaks();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let prompter = scope.spawn(|| {
                let mut publisher = room.publisher(self);
                loop {
                    thread::park_timeout(PROMPT);
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    // If it is not taken, the head does not come, which is reported.
                    let _ = publisher.publish(&word());
                }
            });
            let answer = ask();
            is_over.store(true, Ordering::Relaxed);
            prompter.thread().unpark();
            answer
        })
    }
}
