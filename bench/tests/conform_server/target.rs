//! Raw sockets that do what a test wants, each on a separate loopback address.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// The head of a stream that conforms.
pub const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
    Cache-Control: no-cache\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
    Transfer-Encoding: chunked\r\n\r\n";

/// A listener that hands each connection to a function, with its number from 1.
pub struct Hostile {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
}

type Serve = dyn Fn(TcpStream, usize) + Send + Sync;

impl Hostile {
    pub fn start(serve: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> Hostile {
        Hostile::with(fresh(), Duration::ZERO, usize::MAX, Arc::new(serve))
    }

    pub fn start_at(
        address: IpAddr,
        serve: impl Fn(TcpStream, usize) + Send + Sync + 'static,
    ) -> Hostile {
        Hostile::with(address, Duration::ZERO, usize::MAX, Arc::new(serve))
    }

    /// Listens only after some time.
    pub fn start_after(
        time: Duration,
        serve: impl Fn(TcpStream, usize) + Send + Sync + 'static,
    ) -> Hostile {
        Hostile::with(fresh(), time, usize::MAX, Arc::new(serve))
    }

    /// Serves this many connections; then all of them end at once and the port is closed.
    pub fn start_for(
        connections: usize,
        serve: impl Fn(TcpStream, usize) + Send + Sync + 'static,
    ) -> Hostile {
        Hostile::with(fresh(), Duration::ZERO, connections, Arc::new(serve))
    }

    fn with(address: IpAddr, delay: Duration, limit: usize, serve: Arc<Serve>) -> Hostile {
        let mut listener = Some(TcpListener::bind((address, 0)).unwrap());
        let address = listener.as_ref().unwrap().local_addr().unwrap();
        if !delay.is_zero() {
            listener = None;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        thread::spawn(move || {
            thread::sleep(delay);
            let listener = listener.unwrap_or_else(|| TcpListener::bind(address).unwrap());
            let open: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
            let count = AtomicUsize::new(0);
            for socket in listener.incoming() {
                if stopped.load(SeqCst) {
                    return;
                }
                let Ok(socket) = socket else { continue };
                let number = count.fetch_add(1, SeqCst) + 1;
                if number > limit {
                    break;
                }
                // A copy keeps a connection open that the function closes.
                if limit < usize::MAX {
                    open.lock().unwrap().extend(socket.try_clone());
                }
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(socket, number));
            }
            drop(listener);
            for socket in open.lock().unwrap().drain(..) {
                let _ = socket.shutdown(std::net::Shutdown::Both);
            }
        });
        Hostile { address, stop }
    }

    pub fn url(&self) -> String {
        format!("http://{}/events", self.address)
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        // Wakes the listener, so that it sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

/// The head of a request, as far as it came.
pub fn read_request(socket: &mut TcpStream) -> String {
    let _ = socket.set_read_timeout(Some(Duration::from_secs(5)));
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while !bytes.windows(4).any(|it| it == b"\r\n\r\n") {
        match socket.read(&mut buffer) {
            Ok(count @ 1..) => bytes.extend_from_slice(&buffer[..count]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A stream of events that conforms, for HTTP/1.0 too.
pub fn serve_events(mut socket: TcpStream, number: usize) {
    let request = read_request(&mut socket);
    stream(socket, number, &request);
}

/// The answer to this request: events until the client goes.
pub fn stream(mut socket: TcpStream, _number: usize, request: &str) {
    if !request.starts_with("GET ") {
        return;
    }
    let is_old = request.contains(" HTTP/1.0");
    if socket.write_all(head(is_old).as_bytes()).is_err() {
        return;
    }
    for n in 1.. {
        let event = format!("id: {n}\ndata: event {n}\n\n");
        let written = if is_old {
            socket.write_all(event.as_bytes())
        } else {
            socket.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())
        };
        if written.is_err() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The head of a stream; for HTTP/1.0 the body ends with the connection.
pub fn head(is_old: bool) -> String {
    if is_old {
        STREAM_HEAD.replace("Transfer-Encoding: chunked", "Connection: close")
    } else {
        STREAM_HEAD.to_owned()
    }
}

/// An address of this machine that other hosts could reach, if it has one.
pub fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Sends nothing: only asks for the route.
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// Ports are used again, by other tests too; a separate address is not.
fn fresh() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(2);
    static BLOCK: AtomicU8 = AtomicU8::new(77);
    let host = NEXT.fetch_add(1, SeqCst);
    if host == 250 {
        BLOCK.fetch_add(1, SeqCst);
    }
    Ipv4Addr::new(127, 0, BLOCK.load(SeqCst), host.max(2)).into()
}
