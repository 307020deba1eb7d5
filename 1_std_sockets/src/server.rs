//! The threads: one for each of `--workers`, with its own epoll, timer and mailbox.
//!
//! ```text
//!             ┌─▶ worker ─┬─ epoll ◀── its connections, a timer, its mailbox, the listener
//!  listener ──┤           └─ mailbox ◀── topics, the shutdown, other workers
//!             └─▶ worker ─ …
//! ```
//!
//! A connection stays with one worker from accept to close, so no lock is held for it.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use feed::Feed;
use feed::listen::Pending;

use crate::connection::{Handler, Service};
use crate::worker::{Mailbox, Poller, Worker};

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    mailboxes: Arc<[Arc<Mailbox>]>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts the workers.
    ///
    /// # Errors
    /// If the system gives no more files or threads.
    pub fn start(listener: TcpListener, feed: &Arc<Feed>, handler: Handler) -> io::Result<Server> {
        listener.set_nonblocking(true)?;
        let listener = Arc::new(listener);
        let mailboxes = (0..feed.settings.workers).map(|_| Mailbox::new().map(Arc::new));
        let mailboxes: Arc<[Arc<Mailbox>]> = mailboxes.collect::<io::Result<_>>()?;
        let pending = Pending::new(&feed.settings);
        let start = |number: usize| {
            let poller = Poller::new(&listener, &mailboxes[number].wakeup)?;
            let (feed, pending) = (Arc::clone(feed), Arc::clone(&pending));
            let service = Service { feed, handler, pending };
            let (listener, mailboxes) = (Arc::clone(&listener), Arc::clone(&mailboxes));
            thread::Builder::new().name(format!("worker {number}")).spawn(move || {
                Worker::new(service, listener, mailboxes, number, poller).run();
            })
        };
        let threads = (0..mailboxes.len()).map(start).collect::<io::Result<_>>()?;
        Ok(Server { mailboxes, threads })
    }

    /// Takes no more connections and waits until all streams have ended; each ends itself once the
    /// shutdown has begun.
    pub fn stop(self) {
        self.mailboxes.iter().for_each(|mailbox| mailbox.stop());
        // A thread that panicked has ended too.
        self.threads.into_iter().for_each(|thread| drop(thread.join()));
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Poll, Waker};
    use std::time::{Duration, Instant};

    use clap::Parser;
    use feed::settings::Settings;

    use super::*;
    use crate::http::{Request, Response};

    /// Only a broken server takes longer, even on a loaded machine.
    const PATIENCE: Duration = Duration::from_secs(10);

    fn start(workers: &str, handler: Handler) -> (Server, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("any port");
        let address = listener.local_addr().expect("bound");
        let feed = Feed::new(Settings::parse_from(["test", "--workers", workers])).expect("opens");
        let feed = Arc::new(feed);
        (Server::start(listener, &feed, handler).expect("files and threads"), address)
    }

    fn ask(address: SocketAddr, path: &str) -> TcpStream {
        let mut client = TcpStream::connect(address).expect("it listens");
        client.set_read_timeout(Some(PATIENCE)).expect("an option");
        client.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).expect("it reads");
        client
    }

    fn answer(mut client: TcpStream) -> String {
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("an answer in time");
        answer
    }

    fn until(what: &str, is_so: impl Fn() -> bool) {
        let start = Instant::now();
        while !is_so() {
            assert!(start.elapsed() < PATIENCE, "not {what}");
            thread::yield_now();
        }
    }

    #[test]
    fn connections_are_spread_over_the_workers() {
        let (server, address) = start("4", |_, _, _| Box::pin(std::future::pending()));
        let _clients: Vec<TcpStream> = (0..40).map(|_| ask(address, "/")).collect();
        let mailboxes = &server.mailboxes;
        until("10 each", || {
            mailboxes.iter().all(|mailbox| mailbox.connections.load(Ordering::Relaxed) == 10)
        });
    }

    #[test]
    fn a_pending_answer_holds_up_no_other() {
        static WAKER: Mutex<Option<Waker>> = Mutex::new(None);
        static READY: AtomicBool = AtomicBool::new(false);
        async fn later(request: Request) -> Response {
            if request.path() == "/later" {
                poll_fn(|context| {
                    *WAKER.lock().expect("no panic") = Some(context.waker().clone());
                    if READY.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
            }
            Response::text(200, "text/plain", request.path().to_owned())
        }
        let (_server, address) = start("1", |_, request, _| Box::pin(later(request)));
        let waiting = ask(address, "/later");
        until("asked", || WAKER.lock().expect("no panic").is_some());
        assert!(answer(ask(address, "/now")).ends_with("\r\n\r\n/now"));
        let start = Instant::now();
        READY.store(true, Ordering::SeqCst);
        WAKER.lock().expect("no panic").take().expect("just seen").wake();
        assert!(answer(waiting).ends_with("\r\n\r\n/later"));
        // Without the waker it would come only at its deadline.
        assert!(start.elapsed() < PATIENCE / 2);
    }
}
