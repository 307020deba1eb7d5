//! The case server: a raw socket that does exactly what a case says, and counts what is asked.
//!
//! No HTTP library stands between: a case cuts segments where it likes, breaks framing, delays and
//! resets. One server is one listener, hence one origin.

use std::io::{self, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fleet::eventually;
use socket2::{Domain, SockRef, Socket, Type};
use wire::server::{ReceivedRequest, RequestReader};
use wire::{Log, Side};

use super::segments::Segments;

/// How long a write may wait for a client that does not read.
pub(super) const WRITE_PATIENCE: Duration = Duration::from_secs(20);
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 64;
/// More connections at a time than any case has a use for: a client that opens more is cut off.
const CONNECTIONS: usize = 256;
/// The most bytes of a body that a client sends; the cases ask for a few hundred.
const BODY_LIMIT: usize = 1024 * 1024;
/// How often to look whether a connection has ended.
const LOOK: Duration = Duration::from_millis(2);

/// The head of a stream that conforms, chunked.
const STREAM: &str = "200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\
                      Transfer-Encoding: chunked";

/// A listener and the requests that have come.
pub(super) struct ScriptedServer {
    address: SocketAddr,
    requests: Receiver<PendingRequest>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    count: AtomicUsize,
    /// Handles of open connections, to end them with the server.
    open: Mutex<Vec<(usize, Arc<TcpStream>)>>,
}

/// A port that is taken, but without a listener: connections are refused.
pub(super) struct RefusingPort {
    socket: Socket,
    address: SocketAddr,
}

/// One request, and the connection to answer it on.
///
/// Dropping it closes the connection, unless the answer was whole: then a next request may come.
pub(super) struct PendingRequest {
    pub(super) request: ReceivedRequest,
    socket: Arc<TcpStream>,
    segments: Segments,
    number: usize,
    log: Log,
    gone: Arc<Mutex<Option<Instant>>>,
    /// Bytes that were sent on the connection, for earlier requests too.
    sent: Arc<AtomicU64>,
    is_whole: bool,
    is_broken: bool,
}

impl RefusingPort {
    pub(super) fn reserve() -> io::Result<RefusingPort> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        let address = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::Unsupported)?;
        Ok(RefusingPort { socket, address })
    }

    pub(super) fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.address)
    }

    /// From now on connections are accepted.
    pub(super) fn open(self, log: &Log) -> io::Result<ScriptedServer> {
        self.socket.listen(BACKLOG)?;
        Ok(ScriptedServer::start(self.socket.into(), self.address, log))
    }
}

impl ScriptedServer {
    pub(super) fn open(log: &Log) -> io::Result<ScriptedServer> {
        RefusingPort::reserve()?.open(log)
    }

    fn start(listener: TcpListener, address: SocketAddr, log: &Log) -> ScriptedServer {
        let (sender, requests) = channel();
        let shared = Arc::new(Shared::default());
        let (theirs, log) = (Arc::clone(&shared), log.clone());
        thread::spawn(move || accept(&listener, &sender, &theirs, &log));
        ScriptedServer { address, requests, shared }
    }

    pub(super) fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.address)
    }

    /// `host:port`.
    pub(super) fn authority(&self) -> String {
        self.address.to_string()
    }

    /// The next request; preflights of browsers are answered on the way.
    pub(super) fn request(&self, within: Duration) -> Option<PendingRequest> {
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut pending = self.requests.recv_timeout(left).ok()?;
            if pending.request.method != "OPTIONS" {
                return Some(pending);
            }
            pending.head("204 No Content\r\nAccess-Control-Allow-Headers: *");
            pending.is_whole = true;
        }
    }

    /// The next request, a preflight too.
    pub(super) fn any_request(&self, within: Duration) -> Option<PendingRequest> {
        self.requests.recv_timeout(within).ok()
    }

    /// How many requests have come so far, answered or not.
    pub(super) fn count(&self) -> usize {
        self.shared.count.load(Ordering::SeqCst)
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
        for (_, socket) in lock(&self.shared.open).drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl PendingRequest {
    /// A remark on this connection, for the reader of the dialogue.
    pub(super) fn note(&self, words: &str) {
        self.log.add(self.number, Side::Note, words.as_bytes());
    }

    /// Sends these bytes in one write; a client that has gone is no fault of the case.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.log.add(self.number, Side::Sent, bytes);
        if !self.is_broken && (&*self.socket).write_all(bytes).is_err() {
            self.is_broken = true;
            self.log.add(self.number, Side::Note, b"the client does not read");
        }
        self.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }

    /// Sends these bytes as a segment that the client reads by itself.
    pub(super) fn segment(&mut self, bytes: &[u8]) {
        self.send(bytes);
        if !self.is_broken {
            self.segments.taken(self.sent.load(Ordering::Relaxed));
        }
    }

    /// Sends a head: status and header lines, joined by CR LF, without the blank line.
    ///
    /// A browser's page stands on another origin, so its requests are allowed.
    pub(super) fn head(&mut self, lines: &str) {
        let allow = match self.request.header("Origin") {
            Some(_) if !lines.contains("Access-Control-Allow-Origin") => {
                "\r\nAccess-Control-Allow-Origin: *"
            }
            _ => "",
        };
        let head = format!("HTTP/1.1 {lines}{allow}\r\n\r\n");
        self.send(head.as_bytes());
    }

    /// Sends a head as it is: no permission is added for other origins.
    pub(super) fn plain_lines(&mut self, lines: &str) {
        self.send(format!("HTTP/1.1 {lines}\r\n\r\n").as_bytes());
    }

    /// Sends a head of this version: `HTTP/1.0`.
    pub(super) fn plain_head(&mut self, version: &str, lines: &str) {
        self.send(
            format!("{version} {lines}\r\nAccess-Control-Allow-Origin: *\r\n\r\n").as_bytes(),
        );
    }

    /// An answer that is a head and nothing else, as 204 is.
    pub(super) fn head_only(&mut self, lines: &str) {
        self.head(lines);
        self.is_whole = true;
    }

    /// The answer is whole: its end was sent by hand.
    pub(super) fn answered(&mut self) {
        self.is_whole = true;
    }

    /// Opens an event stream, chunked.
    pub(super) fn open(&mut self) {
        self.head(STREAM);
    }

    /// Sends a chunk of the body as a separate segment.
    pub(super) fn chunk(&mut self, bytes: &[u8]) {
        self.segment(&chunk(bytes));
    }

    /// Opens a stream that consists of this, and ends it whole.
    pub(super) fn stream(&mut self, body: &[u8]) {
        self.open();
        if !body.is_empty() {
            self.chunk(body);
        }
        self.end();
    }

    /// Sends the last chunk.
    pub(super) fn end(&mut self) {
        self.send(b"0\r\n\r\n");
        self.is_whole = true;
    }

    /// An answer that is whole with its head, and no stream.
    pub(super) fn answer(&mut self, lines: &str) {
        self.head(&format!("{lines}\r\nContent-Length: 0"));
        self.is_whole = true;
    }

    /// Ends the connection in good order, behind an answer that is whole.
    pub(super) fn close(self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Breaks the connection with RST.
    ///
    /// An earlier request on the same connection has to be gone by then: it would keep it open.
    pub(super) fn reset(mut self) {
        self.log.add(self.number, Side::Note, b"reset");
        let _ = SockRef::from(&*self.socket).set_linger(Some(Duration::ZERO));
        // Wakes the thread that reads, which lets go of the socket; with its last owner it is closed,
        // and closing it sends RST. A shutdown of both directions would send FIN before.
        let _ = self.socket.shutdown(Shutdown::Read);
        self.is_whole = true;
    }

    /// When the client's end of the connection was seen, if it was within this time.
    pub(super) fn gone_within(&self, time: Duration) -> Option<Instant> {
        eventually(time, LOOK, || lock(&self.gone).ok_or(())).ok()
    }

    /// Whether writing failed: the client has gone.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken || lock(&self.gone).is_some()
    }
}

impl Drop for PendingRequest {
    fn drop(&mut self) {
        if !self.is_whole {
            let _ = self.socket.shutdown(Shutdown::Both);
        }
    }
}

/// Bytes as a chunk of a body.
pub(super) fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

fn accept(
    listener: &TcpListener,
    requests: &Sender<PendingRequest>,
    shared: &Arc<Shared>,
    log: &Log,
) {
    loop {
        let Ok((socket, _)) = listener.accept() else { return };
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        if lock(&shared.open).len() >= CONNECTIONS {
            continue;
        }
        let (requests, shared, log) = (requests.clone(), Arc::clone(shared), log.clone());
        thread::spawn(move || {
            let number = log.open();
            // A client that cannot be served has gone already.
            let _ = serve(&Arc::new(socket), number, &requests, &shared, &log);
            lock(&shared.open).retain(|(other, _)| *other != number);
        });
    }
}

/// Reads requests until the connection ends; answering them is the case's part.
fn serve(
    socket: &Arc<TcpStream>,
    number: usize,
    requests: &Sender<PendingRequest>,
    shared: &Shared,
    log: &Log,
) -> io::Result<()> {
    socket.set_nodelay(true)?;
    socket.set_write_timeout(Some(WRITE_PATIENCE))?;
    lock(&shared.open).push((number, Arc::clone(socket)));
    let (gone, sent) = (Arc::new(Mutex::new(None)), Arc::new(AtomicU64::new(0)));
    let mut reader = RequestReader::new(Arc::clone(socket), BODY_LIMIT);
    while let Some((request, bytes)) = reader.next_request() {
        log.add(number, Side::Received, &bytes);
        shared.count.fetch_add(1, Ordering::SeqCst);
        let pending = PendingRequest {
            request,
            socket: Arc::clone(socket),
            segments: Segments::of(socket),
            number,
            log: log.clone(),
            gone: Arc::clone(&gone),
            sent: Arc::clone(&sent),
            is_whole: false,
            is_broken: false,
        };
        if requests.send(pending).is_err() {
            break;
        }
    }
    lock(&gone).get_or_insert_with(Instant::now);
    log.add(number, Side::Note, b"the connection has ended");
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in a critical section panics half way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
