//! The threads and what they share: one accepts, a small pool reads requests, pumps write
//! everything that takes time.
//!
//! ```text
//!  acceptor ──▶ pool ──(stream, or an answer that the client does not take at once)──▶ pump
//!                ▲  └──(nothing to read for now)───────────────────────────────────────▶│
//!                └──────────────────(bytes came, or the stream ended)────────────────────┘
//! ```
//!
//! A pool thread never waits for a client that makes others wait; a pump never waits for anybody.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use feed::Feed;

use crate::connection::Connection;
use crate::http::{Request, Response};
use crate::pool::{self, Queue};
use crate::pump::{Inbox, Job, Pump};

/// How long the acceptor rests after an error such as too many open files: the connection that it
/// could not take is still there, so without a rest it would spin.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// How long the stop may wait for a connection to ourselves.
const WAKE_TIMEOUT: Duration = Duration::from_millis(200);

/// What a server does with a request.
pub type Routes = fn(&Feed, &Request) -> Response;

/// What all threads share.
#[derive(Debug)]
pub struct Shared {
    /// The server's state.
    pub feed: Arc<Feed>,
    /// What answers requests.
    pub routes: Routes,
    /// Connections that a pool thread should look at.
    pub queue: Queue,
    /// True if a connection was refused a pool thread's patience.
    pub crowded: AtomicBool,
    inboxes: Vec<Arc<Inbox>>,
}

impl Shared {
    /// Gives a job to the pump that has the fewest.
    pub fn post(&self, job: Job) {
        let inbox = self.inboxes.iter().min_by_key(|inbox| inbox.load());
        inbox.expect("there is at least one worker").post(job);
    }
}

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    pool: Vec<JoinHandle<()>>,
    pumps: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts all threads.
    ///
    /// # Errors
    /// If the system gives no more threads.
    pub fn start(listener: TcpListener, feed: Arc<Feed>, routes: Routes) -> io::Result<Server> {
        let inboxes = (0..feed.settings.workers).map(|_| Arc::default()).collect();
        let (queue, crowded) = (Queue::default(), AtomicBool::new(false));
        let shared = Arc::new(Shared { feed, routes, queue, crowded, inboxes });
        let spawn = |name: String, work: Box<dyn FnOnce() + Send>| {
            thread::Builder::new().name(name).spawn(work)
        };
        let mut pumps = Vec::new();
        for (at, inbox) in shared.inboxes.iter().enumerate() {
            let (shared, inbox) = (Arc::clone(&shared), Arc::clone(inbox));
            let pump = move || Pump::new(shared, inbox).run();
            pumps.push(spawn(format!("pump {at}"), Box::new(pump))?);
        }
        let mut pool = Vec::new();
        for at in 0..pool::THREADS {
            let shared = Arc::clone(&shared);
            pool.push(spawn(format!("pool {at}"), Box::new(move || pool::work(&shared)))?);
        }
        let address = listener.local_addr()?;
        let acceptor = Arc::clone(&shared);
        spawn("acceptor".into(), Box::new(move || accept(&listener, &acceptor)))?;
        Ok(Server { shared, address, pool, pumps })
    }

    /// Waits until all streams have ended, which they do by themselves once the shutdown has begun;
    /// takes no more connections meanwhile.
    pub fn stop(self) {
        // `accept` cannot be interrupted, but it can be given something to accept.
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        // If that fails, the listener closes with the process instead of now.
        let _ = TcpStream::connect_timeout(&address, WAKE_TIMEOUT);
        self.shared.queue.close();
        // First those who hand streams to the pumps, then the pumps. A thread that panicked has
        // nothing more to do.
        self.pool.into_iter().for_each(|thread| drop(thread.join()));
        self.shared.inboxes.iter().for_each(|inbox| inbox.stop());
        self.pumps.into_iter().for_each(|thread| drop(thread.join()));
    }
}

fn accept(listener: &TcpListener, shared: &Shared) {
    loop {
        let accepted = listener.accept();
        if shared.feed.shutdown.has_begun() {
            return;
        }
        match accepted {
            Ok((socket, _)) => {
                if let Ok(connection) = Connection::new(socket) {
                    shared.queue.push_when_room(connection);
                }
            }
            // The client gave up while it waited; the next one is none the worse for it.
            Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => thread::sleep(ACCEPT_REST),
        }
    }
}
