//! A worker: one thread that owns many connections and gives each a turn when it can do something.
//!
//! It sleeps until the kernel reports a socket, a deadline is reached, or a topic, the shutdown or
//! another worker puts mail into its mailbox. Nothing else in it blocks.

mod mailbox;
mod poller;
mod timers;

use std::io::ErrorKind;
use std::mem;
use std::net::{TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Waker};

use feed::clock::MS;
use feed::listen::Place;
use rustix::event::epoll::Event;

use self::mailbox::Mail;
pub use self::mailbox::Mailbox;
pub use self::poller::Poller;
use self::poller::{LISTENER, token};
use self::timers::Timers;
use crate::connection::{Connection, Io, Local, Service};

/// How long a worker rests at the limit of pending connections, or after an error of `accept` such
/// as too many open files: the connection that it could not take is still there, so without a rest
/// it would spin.
const ACCEPT_REST_NS: u64 = 100 * MS;

/// Connections that are accepted before others have their turn.
const ACCEPTS_PER_TURN: usize = 256;

/// Reports of the kernel that are taken at once; the others wait for the next round.
const EVENTS: usize = 512;

/// A place for one connection. The first slot stands for the listener.
struct Slot {
    connection: Option<Connection>,
    /// Wakes the connection that is in this slot now.
    waker: Waker,
    /// It is in the queue.
    queued: bool,
}

/// One thread's connections.
pub struct Worker {
    /// Of all workers.
    mailboxes: Arc<[Arc<Mailbox>]>,
    /// Its own.
    mailbox: Arc<Mailbox>,
    /// None when the server stops.
    listener: Option<Arc<TcpListener>>,
    poller: Poller,
    slots: Vec<Slot>,
    /// Slots without a connection.
    free: Vec<u32>,
    timers: Timers,
    /// Slots that have a turn, each once.
    queue: Vec<u32>,
    local: Rc<Local>,
    service: Rc<Service>,
}

impl Worker {
    /// A worker without connections; `number` is the index of its mailbox.
    pub fn new(
        service: Service,
        listener: Arc<TcpListener>,
        mailboxes: Arc<[Arc<Mailbox>]>,
        number: usize,
        poller: Poller,
    ) -> Worker {
        let mailbox = Arc::clone(&mailboxes[number]);
        Worker {
            slots: vec![Slot::new(&mailbox, LISTENER)],
            mailboxes,
            mailbox,
            listener: Some(listener),
            poller,
            free: Vec::new(),
            timers: Timers::default(),
            queue: Vec::new(),
            local: Rc::new(Local::new(service.feed.settings.request_timeout())),
            service: Rc::new(service),
        }
    }

    /// Works on this thread until the server stops and every answer has ended.
    pub fn run(mut self) {
        // Kept from round to round with their room, so that a wake-up allocates nothing.
        let (mut events, mut mail) = (Vec::with_capacity(EVENTS), Mail::default());
        let mut turns = Vec::new();
        while self.listener.is_some() || self.free.len() + 1 < self.slots.len() {
            self.poll(&mut events);
            self.read_clock();
            self.open(&mut mail);
            self.expire_timers();
            mem::swap(&mut self.queue, &mut turns);
            for slot in turns.drain(..) {
                self.slots[slot as usize].queued = false;
                if slot == LISTENER { self.accept() } else { self.take_turn(slot) }
            }
        }
    }

    /// Gets the kernel's reports; sleeps before if no connection can go on.
    fn poll(&mut self, events: &mut Vec<Event>) {
        let idle = self.queue.is_empty() && self.mailbox.try_sleep();
        if idle {
            self.set_alarm();
        }
        self.poller.wait(idle, events);
        for event in events.drain(..) {
            let slot = token(&event);
            if let Some(connection) = &mut self.slots[slot as usize].connection {
                connection.io.report(event.flags);
            }
            self.enqueue(slot);
        }
    }

    fn open(&mut self, mail: &mut Mail) {
        self.mailbox.take(mail);
        for (stream, place) in mail.streams.drain(..) {
            self.place(stream, place);
        }
        for slot in mail.woken.drain(..) {
            self.enqueue(slot);
        }
        if mem::take(&mut mail.stop) {
            // The listener closes when the last worker has dropped it.
            self.listener = None;
            for slot in 0..self.slots.len() {
                let connection = self.slots[slot].connection.as_ref();
                if connection.is_some_and(|connection| !connection.io.answering.get()) {
                    self.release(slot as u32);
                }
            }
        }
    }

    fn expire_timers(&mut self) {
        let now = self.local.now.get().monotonic;
        while let Some((at, slot)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            match &self.slots[slot as usize].connection {
                Some(connection) if !connection.io.is_expired() => {
                    self.timers.set(slot, connection.io.deadline.get());
                }
                _ => self.enqueue(slot),
            }
        }
    }

    /// Sets the timer to the first deadline. Deadlines that have moved are updated before, so that
    /// an idle worker wakes up only when a deadline is due.
    fn set_alarm(&mut self) {
        while let Some((at, slot)) = self.timers.first()
            && !self.poller.wakes_by(at)
        {
            let connection = self.slots[slot as usize].connection.as_ref();
            match connection.map(|connection| connection.io.deadline.get()) {
                Some(deadline) if deadline > at => {
                    self.timers.pop_first();
                    self.timers.set(slot, deadline);
                }
                None if slot != LISTENER => self.timers.pop_first(),
                _ => return self.poller.wake_at(at, self.read_clock()),
            }
        }
    }

    fn enqueue(&mut self, slot: u32) {
        if !mem::replace(&mut self.slots[slot as usize].queued, true) {
            self.queue.push(slot);
        }
    }

    /// Accepts all waiting connections, and gives each to the worker that has the fewest: a stream
    /// stays for hours, and the kernel just wakes any idle worker.
    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(place) = self.service.pending.try_place() else {
                return self.timers.set(LISTENER, self.read_clock() + ACCEPT_REST_NS);
            };
            match listener.accept() {
                Ok((stream, _)) => {
                    Mailbox::with_fewest(&self.mailboxes).deliver(stream, place);
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return,
                    // The client gave up before it was accepted.
                    ErrorKind::ConnectionAborted | ErrorKind::Interrupted => {}
                    _ => return self.timers.set(LISTENER, self.read_clock() + ACCEPT_REST_NS),
                },
            }
        }
        self.enqueue(LISTENER);
    }

    /// Gives a new connection a slot.
    fn place(&mut self, stream: TcpStream, place: Place) {
        let slot = self.free.pop().unwrap_or_else(|| {
            let slot = u32::try_from(self.slots.len()).expect("files are fewer than that");
            self.slots.push(Slot::new(&self.mailbox, slot));
            slot
        });
        let Ok(io) = Io::new(stream, Rc::clone(&self.local)) else { return self.release(slot) };
        if self.listener.is_none() || self.poller.add(&io.stream, slot).is_err() {
            return self.release(slot);
        }
        self.slots[slot as usize].connection =
            Some(Connection::new(io, place, Rc::clone(&self.service)));
        self.enqueue(slot);
    }

    fn release(&mut self, slot: u32) {
        self.slots[slot as usize].connection = None;
        self.free.push(slot);
        self.mailbox.connections.fetch_sub(1, Relaxed);
    }

    fn take_turn(&mut self, slot: u32) {
        let Slot { connection: Some(connection), waker, .. } = &mut self.slots[slot as usize]
        else {
            return;
        };
        let mut context = Context::from_waker(waker);
        // A bug in one source must not end the other streams.
        let polled = catch_unwind(AssertUnwindSafe(|| connection.poll(&mut context).is_ready()));
        if polled.unwrap_or(true) {
            self.release(slot);
        } else if connection.io.wants_a_turn.take() {
            self.enqueue(slot);
        } else {
            self.timers.set(slot, connection.io.deadline.get());
        }
    }

    /// Sets the clock of all connections, once in a round; returns its monotonic time.
    fn read_clock(&self) -> u64 {
        self.local.read_clock().monotonic
    }
}

impl Slot {
    fn new(mailbox: &Arc<Mailbox>, slot: u32) -> Slot {
        Slot { connection: None, waker: mailbox.waker(slot), queued: false }
    }
}
