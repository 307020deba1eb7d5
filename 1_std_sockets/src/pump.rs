//! A pump: one thread that owns many connections and writes to each what is due.
//!
//! It sleeps until the next due time or until a topic or the shutdown wakes one of its streams.
//! Nothing in it blocks: a socket that takes no more is asked again after a while, because std
//! cannot wait for many sockets at once.

mod due;
mod outgoing;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Wake, Waker};
use std::thread::{self, Thread};

use feed::clock::{MS, SECOND, unix_ns, wait};
use feed::stream::{EventStream, FramePoll};

use self::due::Due;
pub use self::outgoing::{Outgoing, Written};
use crate::connection::{Came, Connection};
use crate::http::{LAST_CHUNK, Refusal};
use crate::server::Shared;

/// Frames that a stream may write before others have their turn. With
/// [`feed::stream::COALESCE_BYTES`] in each that is enough to keep a fast reader busy.
const FRAMES_PER_TURN: usize = 4;

/// First and longest wait before a socket that gave or took nothing is asked again. The first is
/// about what a client needs to empty its buffer; the longest bounds what 10 000 silent clients
/// cost (200 000 reads a second, a tenth of a core) and how late their next request is noticed.
const FIRST_RETRY_NS: u64 = MS;
const LAST_RETRY_NS: u64 = 50 * MS;

/// Each stream is looked at so often for a client that has gone, or as often as it is kept alive.
const SWEEP_NS: u64 = SECOND;

/// Not more often than this, however short the keep-alive.
const MIN_SWEEP_NS: u64 = 20 * MS;

/// A sweep is cut into so many parts, so that none of them holds up events for long.
const SWEEP_PARTS: usize = 16;

/// How long a client may take to read a last answer before the connection is gone, and how much it
/// may still send meanwhile. Closing at once would reset the connection and could take the answer
/// back ([RFC 9112 9.6](https://www.rfc-editor.org/rfc/rfc9112.html#section-9.6)).
const LINGER_NS: u64 = 2 * SECOND;
const LINGER_BYTES: usize = 4 * 1024 * 1024;

/// Bytes read at once, and put together for one write: clients of a stream send next to nothing,
/// and an event is small.
const SCRATCH_BYTES: usize = 4 * 1024;

/// A connection and what a pump is to do with it.
#[derive(Debug)]
pub struct Job {
    /// The connection.
    pub connection: Connection,
    /// What is to be written.
    pub outgoing: Outgoing,
    /// What is to be done.
    pub task: Task,
    /// The connection goes back to the pool when the answer is out.
    pub keep_alive: bool,
}

/// What a pump does with a connection.
#[derive(Debug)]
pub enum Task {
    /// Wait until the client sends something.
    Listen,
    /// Write what is outgoing.
    Answer,
    /// Write what is outgoing, then events as they come.
    Stream(EventStream),
    /// Read so many bytes at most, until the client closes too.
    Linger(usize),
}

impl Job {
    /// A job with nothing to write.
    pub fn new(connection: Connection, task: Task) -> Job {
        Job { connection, outgoing: Outgoing::new(Vec::new(), false), task, keep_alive: true }
    }
}

/// Where a pump gets its work from. The thread is woken once, however much comes in until it looks.
#[derive(Debug, Default)]
pub struct Inbox {
    letters: Mutex<Letters>,
    thread: OnceLock<Thread>,
    jobs: AtomicUsize,
}

#[derive(Debug, Default)]
struct Letters {
    jobs: Vec<Job>,
    /// Slots whose stream may have something.
    woken: Vec<u32>,
    stopping: bool,
}

impl Inbox {
    /// Adds a job.
    pub fn post(&self, job: Job) {
        self.jobs.fetch_add(1, Relaxed);
        self.write(|letters| letters.jobs.push(job));
    }

    /// Has the pump end when its streams have.
    pub fn stop(&self) {
        self.write(|letters| letters.stopping = true);
    }

    /// How many jobs the pump has.
    pub fn load(&self) -> usize {
        self.jobs.load(Relaxed)
    }

    fn write(&self, letter: impl FnOnce(&mut Letters)) {
        let mut letters = self.letters();
        let unread = !letters.jobs.is_empty() || !letters.woken.is_empty();
        letter(&mut letters);
        drop(letters);
        if !unread && let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn letters(&self) -> MutexGuard<'_, Letters> {
        // No code that can panic runs under this lock, so a poisoned one is still whole.
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the stream in one slot of a pump. It belongs to the slot, not to the stream, so a late
/// call wakes at worst another stream, which finds nothing to do.
struct SlotWaker {
    inbox: Arc<Inbox>,
    slot: u32,
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.inbox.write(|letters| letters.woken.push(self.slot));
    }
}

/// A place for one connection.
struct Slot {
    job: Option<Job>,
    waker: Waker,
    /// When to look at it again; the heap may bring it up earlier.
    due: u64,
    /// It is in the line of those who have a turn.
    in_line: bool,
    /// How long it waits before the socket is asked again; 0 if it does not wait for the socket.
    retry_ns: u64,
    /// Since when the socket has neither taken nor given a byte.
    stuck_since: u64,
}

/// What is to be done with a connection after its turn.
enum After {
    /// Another turn at that time, or when the stream's waker is called.
    Wait(u64),
    /// Another turn after the others had theirs.
    Again,
    /// Another turn when the socket may give or take more; it did so just now, or it did not.
    Stuck { moved: bool },
    /// The answer is out.
    Answered,
    /// Something came: a pool thread shall look at it.
    Heard,
    /// The client is gone.
    Close,
}

/// One thread's connections.
pub struct Pump {
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
    slots: Vec<Slot>,
    /// Slots without a job.
    free: Vec<u32>,
    due: Due,
    /// Slots that have a turn, each once.
    line: VecDeque<u32>,
    stopping: bool,
    /// Empty, but with room for letters.
    jobs: Vec<Job>,
    woken: Vec<u32>,
    /// The time at the last look, to notice a clock that was set back.
    now: u64,
    /// When the last part of a sweep was.
    swept: u64,
    /// The slot at which the next part of the sweep begins.
    sweep_at: usize,
    scratch: Vec<u8>,
}

impl Pump {
    /// A pump without connections.
    pub fn new(shared: Arc<Shared>, inbox: Arc<Inbox>) -> Pump {
        Pump {
            shared,
            inbox,
            slots: Vec::new(),
            free: Vec::new(),
            due: Due::default(),
            line: VecDeque::new(),
            stopping: false,
            jobs: Vec::new(),
            woken: Vec::new(),
            now: 0,
            swept: 0,
            sweep_at: 0,
            scratch: vec![0; SCRATCH_BYTES],
        }
    }

    /// Works on this thread until it is stopped and all streams have ended.
    pub fn run(mut self) {
        self.inbox.thread.get_or_init(thread::current);
        loop {
            self.open_letters();
            self.look_at_the_clock();
            for _ in 0..self.line.len() {
                let slot = self.line.pop_front().expect("the line only grows meanwhile");
                self.slots[slot as usize].in_line = false;
                self.take_turn(slot);
            }
            self.sweep();
            if self.stopping && self.occupied() == 0 {
                return;
            }
            if self.line.is_empty() {
                self.sleep();
            }
        }
    }

    fn open_letters(&mut self) {
        // The buffers go round, so that a wake-up allocates nothing.
        let (mut jobs, mut woken) =
            (std::mem::take(&mut self.jobs), std::mem::take(&mut self.woken));
        let mut letters = self.inbox.letters();
        std::mem::swap(&mut letters.jobs, &mut jobs);
        std::mem::swap(&mut letters.woken, &mut woken);
        let stops = letters.stopping && !self.stopping;
        drop(letters);
        for job in jobs.drain(..) {
            self.place(job);
        }
        for slot in woken.drain(..) {
            // Whoever waits for the socket has something to write already.
            if self.slots[slot as usize].retry_ns == 0 {
                self.line_up(slot);
            }
        }
        (self.jobs, self.woken) = (jobs, woken);
        if stops {
            self.stopping = true;
            for slot in 0..self.slots.len() {
                let task = self.slots[slot].job.as_ref().map(|job| &job.task);
                if matches!(task, Some(Task::Listen | Task::Linger(_))) {
                    self.release(slot as u32);
                }
            }
        }
    }

    fn place(&mut self, job: Job) {
        let slot = self.free.pop().unwrap_or_else(|| {
            let slot = u32::try_from(self.slots.len()).expect("files are fewer than that");
            let waker = Waker::from(Arc::new(SlotWaker { inbox: Arc::clone(&self.inbox), slot }));
            let (due, in_line, retry_ns, stuck_since) = (0, false, 0, 0);
            self.slots.push(Slot { job: None, waker, due, in_line, retry_ns, stuck_since });
            slot
        });
        self.slots[slot as usize].job = Some(job);
        self.line_up(slot);
    }

    fn release(&mut self, slot: u32) -> Option<Job> {
        let job = self.slots[slot as usize].job.take()?;
        self.slots[slot as usize].retry_ns = 0;
        self.free.push(slot);
        self.inbox.jobs.fetch_sub(1, Relaxed);
        Some(job)
    }

    fn occupied(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn line_up(&mut self, slot: u32) {
        if !std::mem::replace(&mut self.slots[slot as usize].in_line, true) {
            self.line.push_back(slot);
        }
    }

    fn look_at_the_clock(&mut self) {
        let now = unix_ns();
        if now + SECOND < self.now {
            // It was set back: no due time means anything any more.
            self.swept = 0;
            (0..self.slots.len()).for_each(|slot| self.line_up(slot as u32));
        }
        self.now = now;
        while let Some(slot) = self.due.pop(now) {
            let Slot { job: Some(_), due, .. } = self.slots[slot as usize] else { continue };
            if due <= now { self.line_up(slot) } else { self.due.by(slot, due) }
        }
    }

    fn take_turn(&mut self, slot: u32) {
        let Slot { job: Some(job), waker, .. } = &mut self.slots[slot as usize] else { return };
        let (now, scratch) = (unix_ns(), &mut self.scratch);
        // A bug in one source must not take all other streams along.
        let after = catch_unwind(AssertUnwindSafe(|| job.turn(now, waker, scratch)));
        match after.unwrap_or(After::Close) {
            After::Wait(until) => self.again_at(slot, until, 0),
            After::Again => {
                self.slots[slot as usize].retry_ns = 0;
                self.line_up(slot);
            }
            After::Stuck { moved } => self.retry(slot, moved, now),
            After::Answered => self.answered(slot),
            After::Heard => {
                if let Some(job) = self.release(slot) {
                    self.shared.queue.push(job.connection);
                }
            }
            After::Close => drop(self.release(slot)),
        }
    }

    fn again_at(&mut self, slot: u32, at: u64, retry_ns: u64) {
        let place = &mut self.slots[slot as usize];
        (place.due, place.retry_ns) = (at, retry_ns);
        self.due.by(slot, at);
    }

    fn retry(&mut self, slot: u32, moved: bool, now: u64) {
        let place = &mut self.slots[slot as usize];
        if moved || place.retry_ns == 0 {
            place.stuck_since = now;
            return self.again_at(slot, now + FIRST_RETRY_NS, FIRST_RETRY_NS);
        }
        let patience = match place.job.as_ref().map(|job| &job.task) {
            Some(Task::Answer | Task::Stream(_)) => self.shared.feed.settings.stall_timeout_ms * MS,
            Some(Task::Linger(_)) => LINGER_NS,
            // The connection knows by itself when its request is late.
            Some(Task::Listen) | None => u64::MAX,
        };
        let end = place.stuck_since.saturating_add(patience);
        if now >= end {
            drop(self.release(slot));
        } else {
            let retry_ns = (2 * place.retry_ns).min(LAST_RETRY_NS);
            self.again_at(slot, end.min(now + retry_ns), retry_ns);
        }
    }

    fn answered(&mut self, slot: u32) {
        let ends = self.shared.feed.shutdown.has_begun();
        let place = &mut self.slots[slot as usize];
        match &mut place.job {
            Some(job) if !job.keep_alive && !ends => {
                job.connection.finish_sending();
                job.task = Task::Linger(LINGER_BYTES);
                place.retry_ns = 0;
                self.line_up(slot);
            }
            _ => {
                let Some(mut job) = self.release(slot) else { return };
                if ends {
                    // Closing with something unread would reset the connection, and the end of the
                    // stream might be lost.
                    job.connection.discard(&mut self.scratch);
                } else {
                    job.connection.next_request();
                    self.shared.queue.push(job.connection);
                }
            }
        }
    }

    /// Looks whether clients are still there: one part of the streams at a time.
    fn sweep(&mut self) {
        if self.occupied() == 0 || self.now < self.sweep_due() {
            return;
        }
        self.swept = self.now;
        for _ in 0..self.slots.len().div_ceil(self.sweep_parts()) {
            self.sweep_at = (self.sweep_at + 1) % self.slots.len();
            let gone = match &mut self.slots[self.sweep_at].job {
                Some(Job { task: Task::Stream(_), connection, .. }) => {
                    !connection.is_open(&mut self.scratch)
                }
                _ => false,
            };
            if gone {
                drop(self.release(self.sweep_at as u32));
            }
        }
    }

    fn sweep_due(&self) -> u64 {
        let keep_alive_ns = self.shared.feed.settings.keep_alive_ms * MS;
        let round_ns = keep_alive_ns.clamp(MIN_SWEEP_NS, SWEEP_NS);
        self.swept + round_ns / self.sweep_parts() as u64
    }

    fn sweep_parts(&self) -> usize {
        self.occupied().clamp(1, SWEEP_PARTS)
    }

    fn sleep(&self) {
        let sweep = (self.occupied() > 0).then(|| self.sweep_due());
        match self.due.next().into_iter().chain(sweep).min() {
            // Up to the next whole millisecond: what is due together then costs one wake-up, which
            // costs more than the writes, and what is due on the millisecond anyway is not late for
            // it.
            Some(until) => thread::park_timeout(wait(unix_ns(), until.next_multiple_of(MS))),
            None => thread::park(),
        }
    }
}

impl Job {
    fn turn(&mut self, now: u64, waker: &Waker, scratch: &mut [u8]) -> After {
        match &mut self.task {
            Task::Listen => match self.connection.read(scratch) {
                Came::Bytes => After::Heard,
                Came::End => After::Close,
                Came::Nothing if !self.connection.is_late(now) => After::Stuck { moved: false },
                Came::Nothing if self.connection.is_idle() => After::Close,
                Came::Nothing => {
                    self.outgoing = Outgoing::new(Refusal::timeout().to_bytes(), false);
                    self.keep_alive = false;
                    self.task = Task::Answer;
                    self.answer(scratch)
                }
            },
            Task::Answer => self.answer(scratch),
            Task::Stream(_) => self.stream(now, waker, scratch),
            Task::Linger(left) => loop {
                match self.connection.discard(scratch) {
                    None => return After::Stuck { moved: false },
                    Some(bytes) if bytes == 0 || bytes >= *left => return After::Close,
                    Some(bytes) => *left -= bytes,
                }
            },
        }
    }

    fn answer(&mut self, scratch: &mut [u8]) -> After {
        match self.outgoing.write(self.connection.socket(), scratch) {
            Ok(Written::All) => After::Answered,
            Ok(Written::Some) => After::Stuck { moved: true },
            Ok(Written::Nothing) => After::Stuck { moved: false },
            Err(_) => After::Close,
        }
    }

    fn stream(&mut self, now: u64, waker: &Waker, scratch: &mut [u8]) -> After {
        let Task::Stream(events) = &mut self.task else { return After::Again };
        let outgoing = &mut self.outgoing;
        let mut moved = false;
        for _ in 0..FRAMES_PER_TURN {
            if outgoing.takes_a_frame() {
                match events.poll_frame(now, waker) {
                    FramePoll::Frame(frame) => outgoing.frame = frame,
                    FramePoll::Wait(until) if outgoing.plain.is_empty() => {
                        return After::Wait(until);
                    }
                    // The head goes out before the first event is there.
                    FramePoll::Wait(_) => {}
                    FramePoll::End => {
                        if outgoing.chunked {
                            outgoing.plain.extend_from_slice(LAST_CHUNK);
                        }
                        self.task = Task::Answer;
                        return self.answer(scratch);
                    }
                }
            }
            match outgoing.write(self.connection.socket(), scratch) {
                Ok(Written::All) => moved = true,
                Ok(Written::Some) => return After::Stuck { moved: true },
                Ok(Written::Nothing) => return After::Stuck { moved },
                Err(_) => return After::Close,
            }
        }
        After::Again
    }
}
