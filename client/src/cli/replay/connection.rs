//! One connection of a replay: reads a request, plays the answer, closes.

use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use tokio::io::{self, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use super::score::{Chunk, Score};
use crate::cli::print::notice;
use crate::cli::recording::End;

/// The time limit for the head of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest head of a request.
const MAX_REQUEST_BYTES: usize = 64 << 10;

/// How long a client may be silent before it closes, behind the end of its answer. Without this wait a
/// client that still sends its request would get a reset, and might not read the answer.
const LINGER: Duration = Duration::from_secs(10);

/// Bytes of a request that are read at once, and forgotten.
const READ_BYTES: usize = 8 << 10;

/// As much of a target, or of an id, as a log shows.
const MAX_SHOWN_CHARS: usize = 80;

/// A connection, and what it will be answered.
#[derive(Debug)]
pub(super) struct Connection {
    number: u64,
    score: Arc<Score>,
}

/// The first lines of a request: as much as an answer depends on, and as a log shows.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    method: String,
    target: String,
    /// The version has chunks: HTTP/1.1.
    has_chunks: bool,
    last_event_id: Option<String>,
}

impl Connection {
    pub(super) fn new(number: u64, score: Arc<Score>) -> Connection {
        Connection { number, score }
    }

    /// Answers one request.
    pub(super) async fn serve(&self, mut socket: TcpStream) {
        let _ = socket.set_nodelay(true);
        let Some(request) = self.request(&mut socket).await else { return };
        let start = Instant::now();
        let (mut reading, writing) = socket.split();
        let mut player =
            Player { score: &self.score, request: &request, out: writing, start, sent: 0 };
        let end = tokio::select! {
            result = player.play() => result.is_ok().then_some(self.score.end),
            () = drained(&mut reading) => None,
        };
        let sent = player.sent;
        match end {
            Some(End::Reset) => {
                let _ = socket.set_zero_linger();
            }
            Some(_) => {
                let _ = socket.shutdown().await;
            }
            None => {}
        }
        let how = end.map_or("the client has left", End::word);
        let seconds = start.elapsed().as_secs_f64();
        self.log(&format!("{how}, after {sent} bytes in {seconds:.1} s"));
        if end.is_some_and(|it| it != End::Reset) {
            let mut buffer = [0; READ_BYTES];
            while let Ok(Ok(1..)) = timeout(LINGER, socket.read(&mut buffer)).await {}
        }
    }

    async fn request(&self, socket: &mut TcpStream) -> Option<Request> {
        let head = match timeout(REQUEST_TIMEOUT, read_head(socket)).await {
            Ok(Ok(head)) => head,
            Ok(Err(error)) => {
                self.log(&format!("no request: {error}"));
                return None;
            }
            Err(_) => {
                self.log(&format!("no request within {REQUEST_TIMEOUT:?}"));
                return None;
            }
        };
        let Some(request) = Request::parse(&head) else {
            self.log("no request of HTTP/1.1 or HTTP/1.0");
            let _ =
                socket.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
            return None;
        };
        let Request { method, target, last_event_id, .. } = &request;
        let id = last_event_id.as_ref().map(|it| format!(", Last-Event-ID {}", short(it)));
        self.log(&format!("{} {}{}", short(method), short(target), id.unwrap_or_default()));
        Some(request)
    }

    fn log(&self, text: &str) {
        notice(&format!("connection {}: {text}", self.number));
    }
}

/// Reads up to the empty line. A part of the body may come with it; no answer depends on that.
async fn read_head(socket: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(4 << 10);
    loop {
        let seen = head.len();
        if socket.read_buf(&mut head).await? == 0 {
            return Err(io::Error::other(format!("it was closed after {seen} bytes")));
        }
        let from = seen.saturating_sub(3);
        if let Some(at) = memchr::memmem::find(&head[from..], b"\r\n\r\n") {
            head.truncate(from + at);
            return Ok(head);
        }
        if head.len() > MAX_REQUEST_BYTES {
            return Err(io::Error::other(format!("its head has over {MAX_REQUEST_BYTES} bytes")));
        }
    }
}

impl Request {
    fn parse(head: &[u8]) -> Option<Request> {
        let head = String::from_utf8_lossy(head);
        let mut lines = head.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        if words.next().is_some() || !version.starts_with("HTTP/1.") {
            return None;
        }
        let id = lines
            .filter_map(|it| it.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("last-event-id"));
        Some(Request {
            method: method.to_owned(),
            target: target.to_owned(),
            has_chunks: version != "HTTP/1.0",
            last_event_id: id.map(|(_, value)| value.trim().to_owned()),
        })
    }
}

/// Plays an answer; what it has sent can be asked for at any time.
struct Player<'a, W> {
    score: &'a Score,
    request: &'a Request,
    out: W,
    start: Instant,
    /// Bytes of the body.
    sent: u64,
}

impl<W: AsyncWrite + Unpin> Player<'_, W> {
    /// Comes back at the end of the answer; of an open one, never.
    async fn play(&mut self) -> io::Result<()> {
        let score = self.score;
        sleep_until(self.start + score.head_at).await;
        self.out.write_all(&self.head()).await?;
        if !self.has_body() || self.request.method == "HEAD" {
            return Ok(());
        }
        let mut round = self.start;
        loop {
            for chunk in &score.body {
                sleep_until(round + chunk.at).await;
                self.send(chunk).await?;
            }
            sleep_until(round + score.end_at).await;
            if !score.repeats {
                break;
            }
            round += score.end_at;
        }
        match score.end {
            End::Whole if self.request.has_chunks => self.out.write_all(b"0\r\n\r\n").await,
            End::Whole | End::Cut | End::Reset => Ok(()),
            End::Open => std::future::pending().await,
        }
    }

    fn head(&self) -> Vec<u8> {
        let Score { status, headers, .. } = self.score;
        let reason = status.canonical_reason().unwrap_or_default();
        let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
        for (name, value) in headers {
            head.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        if self.request.has_chunks && self.has_body() {
            head.extend(b"transfer-encoding: chunked\r\n");
        }
        head.extend(b"connection: close\r\n\r\n");
        head
    }

    /// RFC 9110, 6.4.1.
    fn has_body(&self) -> bool {
        ![StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&self.score.status)
    }

    async fn send(&mut self, chunk: &Chunk) -> io::Result<()> {
        // One write, so that a chunk is one segment if it fits into one.
        let mut bytes = Vec::with_capacity(chunk.bytes.len() + 20);
        if self.request.has_chunks {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.announced).as_bytes());
        }
        bytes.extend_from_slice(&chunk.bytes);
        if self.request.has_chunks && chunk.announced == chunk.bytes.len() {
            bytes.extend_from_slice(b"\r\n");
        }
        self.out.write_all(&bytes).await?;
        self.sent += chunk.bytes.len() as u64;
        Ok(())
    }
}

/// Reads and forgets, until the client closes.
async fn drained(from: &mut (impl AsyncRead + Unpin)) {
    let mut buffer = [0; READ_BYTES];
    while let Ok(1..) = from.read(&mut buffer).await {}
}

fn short(text: &str) -> String {
    let shown: String = text.chars().take(MAX_SHOWN_CHARS).collect();
    if shown.len() < text.len() { shown + "…" } else { shown }
}
