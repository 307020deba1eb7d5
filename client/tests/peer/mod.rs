//! A scripted HTTP/1.1 server on a raw socket: it can cut, break and refuse connections at any
//! byte.

#![allow(dead_code)] // Each test file uses its part.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use tokio::net::TcpSocket;

/// No test waits longer than this for anything.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Request {
    pub at: Instant,
    pub method: String,
    pub target: String,
    pub fields: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

impl Request {
    /// The value of a header field, if there is one. Names are compared without case.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        let found = self.fields.iter().find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| &value[..])
    }

    /// Reads a request; `None` if the peer went away before it was whole.
    fn read(socket: &TcpStream) -> Option<Self> {
        let mut reader = BufReader::new(socket);
        let mut line = || {
            let mut line = Vec::new();
            reader.read_until(b'\n', &mut line).ok()?;
            line.strip_suffix(b"\r\n").map(<[u8]>::to_vec)
        };
        let start = String::from_utf8(line()?).ok()?;
        let mut words = start.split(' ').map(str::to_owned);
        let (method, target) = (words.next()?, words.next()?);
        let mut fields = Vec::new();
        loop {
            let line = line()?;
            if line.is_empty() {
                break;
            }
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = String::from_utf8(line[..colon].to_vec()).ok()?;
            fields.push((name, line[colon + 1..].trim_ascii().to_vec()));
        }
        let mut request = Self { at: Instant::now(), method, target, fields, body: Vec::new() };
        let length = request.field("content-length").map(<[u8]>::to_vec);
        if let Some(length) = length.and_then(|text| String::from_utf8(text).ok()) {
            request.body.resize(length.parse().ok()?, 0);
            reader.read_exact(&mut request.body).ok()?;
        }
        Some(request)
    }
}

/// A port that refuses connections, and that no other test can get hold of.
pub struct Port(TcpSocket);

impl Port {
    pub fn new() -> Self {
        // Bound, but not listening. A port that was merely free a moment ago may be in use by now.
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self(socket)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub fn url(&self) -> String {
        format!("http://{}/ticks", self.address())
    }

    /// Accepts connections from here on, until the listener is dropped.
    pub fn listen(&self) -> TcpListener {
        TcpListener::bind(self.address()).unwrap()
    }
}

/// The answer to one connection, after its request was read.
pub type Answer = Box<dyn FnOnce(&mut TcpStream) + Send>;

/// The server. One answer for each connection, in order; after the last it answers 204.
pub struct Peer {
    pub address: SocketAddr,
    requests: Receiver<Request>,
}

impl Peer {
    pub fn start(script: impl IntoIterator<Item = Answer>) -> Self {
        Self::serve(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    pub fn serve(listener: TcpListener, script: impl IntoIterator<Item = Answer>) -> Self {
        let address = listener.local_addr().unwrap();
        let (sender, requests) = channel();
        let mut script: Vec<_> = script.into_iter().collect();
        script.reverse();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let mut socket = socket.unwrap();
                socket.set_read_timeout(Some(DEADLINE)).unwrap();
                let Some(request) = Request::read(&socket) else { continue };
                if sender.send(request).is_err() {
                    break; // The test is over.
                }
                let answer = script.pop().unwrap_or_else(|| status("204 No Content", ""));
                // A client that asks twice is seen while the first answer lasts.
                std::thread::spawn(move || answer(&mut socket));
            }
        });
        Self { address, requests }
    }

    pub fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.address)
    }

    /// The next request, within the deadline.
    pub fn request(&self) -> Request {
        self.requests.recv_timeout(DEADLINE).expect("a request within the deadline")
    }

    /// The next request if it came already.
    pub fn request_so_far(&self) -> Option<Request> {
        self.requests.try_recv().ok()
    }

    /// The next request, if there is one within this time: for requests that must not come.
    pub fn request_within(&self, time: Duration) -> Option<Request> {
        self.requests.recv_timeout(time).ok()
    }
}

/// Waits until the kernel has what was written for the other end, which has not read it yet.
///
/// A write may return earlier, even on loopback: the kernel may leave the rest to a thread of its own.
pub fn wait_until_received(socket: &TcpStream) {
    let end = |address: SocketAddr| format!(":{:04X}", address.port());
    let (here, there) = (end(socket.local_addr().unwrap()), end(socket.peer_addr().unwrap()));
    let is_received = || {
        let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
        // Number, address of this end, of the other, state, what waits to be sent and to be read.
        table.lines().any(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            fields[1].ends_with(&there)
                && fields[2].ends_with(&here)
                && !fields[4].ends_with(":00000000")
        })
    };
    let start = Instant::now();
    while !is_received() {
        assert!(start.elapsed() < DEADLINE, "the bytes do not arrive");
        std::thread::yield_now();
    }
}

/// The head of an event stream without framing: the body lasts until the connection is closed.
pub const HEAD: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";

/// The head of an event stream in chunks.
pub const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Writes these bytes and closes the connection.
pub fn raw(bytes: impl Into<Vec<u8>>) -> Answer {
    let bytes = bytes.into();
    Box::new(move |socket| {
        let _ = socket.write_all(&bytes);
    })
}

/// An event stream that ends whole.
pub fn stream(body: impl AsRef<[u8]>) -> Answer {
    let body = body.as_ref();
    let size = format!("{:x}\r\n", body.len());
    raw([CHUNKED.as_bytes(), size.as_bytes(), body, b"\r\n0\r\n\r\n"].concat())
}

/// An event stream that stays open until the client has gone.
pub fn held(body: &str) -> Answer {
    let bytes = HEAD.to_owned() + body;
    Box::new(move |socket| {
        let _ = socket.write_all(bytes.as_bytes());
        let _ = socket.read(&mut [0; 1]);
    })
}

/// A response without a body. `fields` holds whole lines.
pub fn status(status: &str, fields: &str) -> Answer {
    let length = if status.starts_with("204") { "" } else { "Content-Length: 0\r\n" };
    raw(format!("HTTP/1.1 {status}\r\n{length}Connection: close\r\n{fields}\r\n"))
}
