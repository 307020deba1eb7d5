//! Reading requests: a few threads, for any number of connections.
//!
//! std has no way to wait for many sockets at once. A thread can wait for one, which notices a
//! request at once; a pump can ask many again and again, which notices it within
//! [`pump`](crate::pump)'s 50 ms. So a pool thread is patient with a quiet connection as long as no
//! other connection needs one, and some threads never are.

use std::collections::VecDeque;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use feed::Problem;
use feed::clock::unix_ns;
use feed::shutdown::unpark_this_thread;

use crate::connection::{Came, Connection, Step};
use crate::http::{Body, Refusal, Request, Response};
use crate::pump::{Job, Outgoing, Task, Written};
use crate::server::Shared;

/// Pool threads. They mostly sleep: what they do takes microseconds.
pub const THREADS: usize = 16;

/// How many of them may be patient at a time; the others are always there for whoever has sent a
/// request.
const PATIENT_THREADS: usize = 12;

/// How long a patient thread sleeps until it looks whether somebody else needs it.
const PATIENCE: Duration = Duration::from_millis(100);

/// Connections that wait for a pool thread before the acceptor leaves further ones to the kernel's
/// backlog.
const MAX_QUEUE: usize = 1024;

/// Requests that are answered on a connection in one go: a client that sends them faster than that
/// lets others in.
const REQUESTS_PER_TURN: usize = 16;

/// Bytes read at once: most requests are one read, a full message is five.
const READ_BYTES: usize = 16 * 1024;

/// Connections that a pool thread should look at.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    room: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    connections: VecDeque<Connection>,
    /// Threads that are patient now.
    patient: usize,
    closed: bool,
}

impl Queue {
    /// Queues a connection. Never waits: as many come back as were let in.
    pub fn push(&self, connection: Connection) {
        let mut waiting = self.waiting();
        if !waiting.closed {
            waiting.connections.push_back(connection);
            drop(waiting);
            self.arrived.notify_one();
        }
    }

    /// Queues a new connection; waits while there are too many.
    pub fn push_when_room(&self, connection: Connection) {
        let mut waiting = self.waiting();
        while waiting.connections.len() >= MAX_QUEUE && !waiting.closed {
            waiting = self.room.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        drop(waiting);
        self.push(connection);
    }

    /// Drops all connections and lets the threads go.
    pub fn close(&self) {
        let mut waiting = self.waiting();
        waiting.closed = true;
        waiting.connections.clear();
        drop(waiting);
        self.arrived.notify_all();
        self.room.notify_all();
    }

    /// Waits for a connection; `None` when closed.
    fn pop(&self) -> Option<Connection> {
        let mut waiting = self.waiting();
        loop {
            if waiting.closed {
                return None;
            }
            if let Some(connection) = waiting.connections.pop_front() {
                if waiting.connections.len() == MAX_QUEUE - 1 {
                    self.room.notify_one();
                }
                return Some(connection);
            }
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes a place among the patient, if there is one.
    fn be_patient(&self) -> bool {
        let mut waiting = self.waiting();
        let place = waiting.patient < PATIENT_THREADS && !waiting.closed;
        waiting.patient += usize::from(place);
        place
    }

    /// Gives that place back.
    fn be_brisk(&self) {
        self.waiting().patient -= 1;
    }

    fn is_closed(&self) -> bool {
        self.waiting().closed
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // No code that can panic runs under this lock, so a poisoned one is still whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a pool thread does all its life.
pub fn work(shared: &Shared) {
    let mut scratch = vec![0; READ_BYTES];
    while let Some(connection) = shared.queue.pop() {
        serve(shared, connection, &mut scratch);
    }
}

/// Answers what a connection asks, until it asks nothing more or somebody else takes it over.
fn serve(shared: &Shared, mut connection: Connection, scratch: &mut [u8]) {
    let mut answered = 0;
    loop {
        let request = match connection.step() {
            Step::Request(request) => request,
            Step::Refused(refusal) => return refuse(shared, connection, &refusal),
            Step::More => match read(shared, &mut connection, scratch) {
                Came::Bytes => continue,
                Came::Nothing => return shared.post(Job::new(connection, Task::Listen)),
                Came::End => return,
            },
        };
        let response = answer(shared, &request);
        if matches!(response.body, Body::AfterRequest) {
            if connection.read_body(request) {
                // 25 bytes fit into the buffer of a client that waits for them.
                let _ = connection.socket().write(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            continue;
        }
        match send(shared, connection, &request, response, scratch) {
            Some(back) if answered < REQUESTS_PER_TURN => connection = back,
            Some(back) => return shared.queue.push(back),
            None => return,
        }
        answered += 1;
    }
}

/// Reads, patiently if that holds up nobody else.
fn read(shared: &Shared, connection: &mut Connection, scratch: &mut [u8]) -> Came {
    let mut came = connection.read(scratch);
    if came != Came::Nothing {
        return came;
    }
    if !shared.queue.be_patient() {
        shared.crowded.store(true, Relaxed);
        return Came::Nothing;
    }
    while came == Came::Nothing && !connection.is_late(unix_ns()) {
        came = connection.wait(PATIENCE, scratch);
        if shared.queue.is_closed() {
            came = Came::End;
        } else if came == Came::Nothing && shared.crowded.swap(false, Relaxed) {
            break;
        }
    }
    shared.queue.be_brisk();
    came
}

/// Waits on this thread for a future.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = unpark_this_thread();
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

fn answer(shared: &Shared, request: &Request) -> Response {
    let routed = || (shared.routes)(&shared.feed, request);
    let mut response = match request.facts().check() {
        // A bug in one handler must not take a thread from all others.
        Ok(()) => catch_unwind(AssertUnwindSafe(routed))
            .unwrap_or_else(|_| Response::from(&Problem::internal())),
        Err(problem) => Response::from(&problem),
    };
    if let Some(origin) = shared.feed.allowed_origin(request.field("origin")) {
        let allowed = ("Access-Control-Allow-Origin", origin.to_owned().into());
        response.fields.extend([allowed, ("Vary", "Origin".into())]);
    }
    response
}

/// Sends a response, or has a pump send it. Gives the connection back if the next request may be
/// read now.
fn send(
    shared: &Shared,
    mut connection: Connection,
    request: &Request,
    response: Response,
    scratch: &mut [u8],
) -> Option<Connection> {
    let peer = request.peer();
    let delimited = peer.http_1_1 || !matches!(response.body, Body::Events(_));
    let skipped = connection.skip_body(request);
    let keep_alive =
        skipped && delimited && request.keeps_alive() && !shared.feed.shutdown.has_begun();
    let mut bytes = response.head(peer, keep_alive).into_bytes();
    match response.body {
        // HEAD: the stream was opened to see whether it could be, and is dropped here.
        _ if peer.head_only => {}
        Body::Text(text) => bytes.extend_from_slice(text.as_bytes()),
        Body::Events(events) => {
            let outgoing = Outgoing::new(bytes, peer.http_1_1);
            shared.post(Job { connection, outgoing, task: Task::Stream(events), keep_alive });
            return None;
        }
        Body::None | Body::AfterRequest => {}
    }
    let mut outgoing = Outgoing::new(bytes, false);
    match outgoing.write(connection.socket(), scratch) {
        Ok(Written::All) if keep_alive => {
            connection.next_request();
            Some(connection)
        }
        Ok(_) => {
            shared.post(Job { connection, outgoing, task: Task::Answer, keep_alive });
            None
        }
        Err(_) => None,
    }
}

/// Says why, and closes the connection once the client had the time to read it.
fn refuse(shared: &Shared, connection: Connection, refusal: &Refusal) {
    let outgoing = Outgoing::new(refusal.to_bytes(), false);
    shared.post(Job { connection, outgoing, task: Task::Answer, keep_alive: false });
}
