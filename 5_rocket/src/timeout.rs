//! The limit on a request that does not end, which Rocket leaves open.
//!
//! Rocket turns hyper's timeout off, and takes no connection of ours that could have one
//! ([Rocket#1405](https://github.com/rwf2/Rocket/issues/1405)). But the kernel knows all sockets of
//! this process, and a fairing sees who has made a request. Who is connected for too long and never
//! made one is cut off.
//!
//! After its first request a connection is left alone.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, mem, thread};

use rocket::fairing::{Fairing, Info, Kind};
use rocket::{Data, Orbit, Request, Rocket};
use socket2::Socket;

use crate::listen::sockets;

/// How long a client may take for its first request, the wait for the first byte among it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Between two looks at all sockets. A connection may wait for so much longer than it should.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// A look pauses after so many sockets, so that a worker that shares its core hardly notices.
const SOCKETS_AT_ONCE: usize = 64;
const PAUSE: Duration = Duration::from_millis(1);

/// Descriptors that a look needs. It keeps them: clients that say nothing may hold all others.
const SPARE_DESCRIPTORS: usize = 2;

/// Cuts off clients that never end their first request.
#[derive(Default)]
pub struct RequestTimeout(Heard);

#[rocket::async_trait]
impl Fairing for RequestTimeout {
    fn info(&self) -> Info {
        Info { name: "request timeout", kind: Kind::Liftoff | Kind::Request }
    }

    async fn on_liftoff(&self, rocket: &Rocket<Orbit>) {
        let mut watch = Watch::new(rocket.config().port, REQUEST_TIMEOUT, self.0.clone());
        let started = watch.look().and_then(|()| {
            // Not a task: a look at thousands of sockets would hold up the streams of a worker, and
            // `listen::drained` waits until there is no task.
            thread::Builder::new().name("timeout".into()).spawn(move || {
                loop {
                    thread::sleep(LOOK_AGAIN);
                    // Without descriptors, the next look has to do.
                    let _ = watch.look();
                }
            })
        });
        if let Err(error) = started {
            eprintln!(
                "a request that does not end is waited for: {error}; \
                 allow this process pidfd_getfd"
            );
        }
    }

    async fn on_request(&self, request: &mut Request<'_>, _: &mut Data<'_>) {
        if let Some(client) = request.remote() {
            self.0.clients().insert(client);
        }
    }
}

/// The clients that made a request since the last look.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<HashSet<SocketAddr>>>);

impl Heard {
    fn clients(&self) -> MutexGuard<'_, HashSet<SocketAddr>> {
        // An insertion leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of the connections that there are, and of no others.
struct Watch {
    port: u16,
    timeout: Duration,
    heard: Heard,
    known: HashSet<SocketAddr>,
    /// Who has not made a request, and the first look that saw them.
    silent: HashMap<SocketAddr, Instant>,
    spare: Vec<File>,
}

impl Watch {
    fn new(port: u16, timeout: Duration, heard: Heard) -> Watch {
        let (known, silent) = (HashSet::new(), HashMap::new());
        Watch { port, timeout, heard, known, silent, spare: Vec::new() }
    }

    /// Looks at all connections and cuts off those whose time is over.
    ///
    /// # Errors
    /// When the kernel does not show the sockets; what is known stays as it was.
    fn look(&mut self) -> io::Result<()> {
        self.spare.clear();
        let looked = self.look_at_all();
        self.spare.extend((0..SPARE_DESCRIPTORS).map_while(|_| File::open("/dev/null").ok()));
        looked
    }

    fn look_at_all(&mut self) -> io::Result<()> {
        let now = Instant::now();
        // Before the look: who connects during it may be heard and not seen.
        self.known.extend(mem::take(&mut *self.heard.clients()));
        let (mut known, mut silent) = (HashSet::new(), HashMap::new());
        for (looked_at, socket) in sockets()?.enumerate() {
            let socket = socket?;
            if looked_at % SOCKETS_AT_ONCE == SOCKETS_AT_ONCE - 1 {
                thread::sleep(PAUSE);
            }
            let Some(client) = self.client(&socket) else { continue };
            if self.known.contains(&client) {
                known.insert(client);
                continue;
            }
            let since = self.silent.get(&client).map_or(now, |since| *since);
            silent.insert(client, since);
            if now - since >= self.timeout && !self.heard.clients().contains(&client) {
                // hyper reads the end of a request that is not whole, and closes.
                let _ = socket.shutdown(Shutdown::Both);
            }
        }
        (self.known, self.silent) = (known, silent);
        Ok(())
    }

    /// Who is at the other end, if this is a connection to the server.
    fn client(&self, socket: &Socket) -> Option<SocketAddr> {
        let local = socket.local_addr().ok()?.as_socket()?;
        if local.port() != self.port {
            return None;
        }
        socket.peer_addr().ok()?.as_socket()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// A client of this listener, and the server's end of it.
    fn connect(listener: &TcpListener) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("listens");
        client.set_nonblocking(true).expect("a socket takes it");
        (client, listener.accept().expect("one is waiting").0)
    }

    fn is_open(client: &mut TcpStream) -> bool {
        client.read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    #[test]
    fn who_makes_no_request_in_time_is_cut_off() {
        let bind = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (listener, elsewhere) = (bind(), bind());
        let (mut heard_one, heard_socket) = connect(&listener);
        let (mut silent_one, _silent_socket) = connect(&listener);
        let (mut other, _other_socket) = connect(&elsewhere);
        let heard = Heard::default();
        let port = listener.local_addr().expect("bound").port();
        let mut watch = Watch::new(port, Duration::from_secs(3600), heard.clone());
        heard.clients().insert(heard_one.local_addr().expect("connected"));

        watch.look().expect("this process may look at itself");
        assert_eq!((watch.known.len(), watch.silent.len()), (1, 1));
        assert!(heard.clients().is_empty());
        assert!(is_open(&mut silent_one));

        watch.timeout = Duration::ZERO;
        watch.look().expect("this process may look at itself");
        assert!(!is_open(&mut silent_one));
        assert!(is_open(&mut heard_one) && is_open(&mut other));

        drop(heard_socket);
        watch.look().expect("this process may look at itself");
        assert!(watch.known.is_empty());
    }
}
