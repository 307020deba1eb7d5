//! What actix's server leaves open: a request target that is too long for `http::Uri`.
//!
//! actix-http then answers 400 before any handler. Here such a target arrives cut, still far too
//! long for the contract, so that `http::guard` can say 414. `HttpServer` has no place for that: it
//! takes sockets as they are. [`serve`] builds what it builds, for a [`Connection`].

use std::fmt;
use std::io::{self, IoSlice};
use std::net::TcpListener;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_http::{HttpService, Protocol, Request};
use actix_server::ServerBuilder;
use actix_service::{IntoServiceFactory, ServiceFactoryExt, map_config};
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{AppConfig, Response, Server, Service, ServiceFactory, fn_service};
use actix_web::rt::net::TcpStream;
pub use feed::listen::{announce, bind};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How long a connection may take to close: as with `HttpServer`.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest target that `http::Uri` takes.
const LONGEST_BYTES: usize = 65_534;

/// Whoever sends a target longer than this is not worth the work of an answer in good words.
const CUT_UP_TO_BYTES: usize = 1024 * 1024;

/// What says, at the start of a line, that bytes follow the head which are none of a head.
const BODY_FIELDS: [&[u8]; 3] = [b"content-length:", b"transfer-encoding:", b"upgrade:"];

/// Bytes of a line that are looked at: the longest of [`BODY_FIELDS`].
const LINE_START_BYTES: usize = 18;

/// Serves an `App` in each worker, as `HttpServer` does.
///
/// # Errors
/// Those of the operating system.
pub fn serve<A, S, B, F>(server: ServerBuilder, listener: TcpListener, app: F) -> io::Result<Server>
where
    A: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Response<BoxBody>> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    S::Service: 'static,
    <S::Service as Service<Request>>::Future: 'static,
    B: MessageBody + 'static,
    F: Fn() -> A + Send + Clone + 'static,
{
    let stopping = server.graceful_shutdown_signal();
    let server = server.listen("http", listener, move || {
        let stopping = stopping.clone();
        let http = HttpService::build()
            // Not documented, but without it kept-alive connections hold up the graceful stop.
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .client_disconnect_timeout(CLOSE_TIMEOUT)
            // By default a client that closed its side stays until a write to it fails.
            .h1_allow_half_closed(false)
            .finish(map_config(app(), |()| AppConfig::default()));
        fn_service(|socket: TcpStream| async move {
            let peer = socket.peer_addr().ok();
            Ok((Connection { socket, heads: Heads::default() }, Protocol::Http1, peer))
        })
        .and_then(http)
    })?;
    Ok(server.run())
}

/// A connection on which no request target is longer than `http::Uri` takes.
struct Connection {
    socket: TcpStream,
    heads: Heads,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let start = buf.filled().len();
        loop {
            ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
            let read = buf.filled().len() - start;
            let kept = self.heads.cut(&mut buf.filled_mut()[start..]);
            buf.set_filled(start + kept);
            // Nothing at all would be the end of the connection.
            if kept > 0 || read == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// The heads of requests, one behind the other, and where in them the client is.
///
/// A body is never touched: behind a head that may have one, nothing is looked at any more.
#[derive(Default)]
struct Heads {
    place: Place,
    /// How the line begins, in lower case.
    line: Vec<u8>,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Place {
    #[default]
    Method,
    /// With its bytes so far.
    Target(usize),
    Version,
    Fields,
    Body,
}

impl Heads {
    /// Takes out what makes a target too long; returns how many bytes are left.
    fn cut(&mut self, bytes: &mut [u8]) -> usize {
        if self.place == Place::Body {
            return bytes.len();
        }
        let mut kept = 0;
        for at in 0..bytes.len() {
            if self.keeps(bytes[at]) {
                bytes[kept] = bytes[at];
                kept += 1;
            }
        }
        kept
    }

    fn keeps(&mut self, byte: u8) -> bool {
        match (self.place, byte) {
            (Place::Method, b' ') if self.line == b"connect" => self.place = Place::Body,
            (Place::Method, b' ') => self.place = Place::Target(0),
            // For `http::Uri` a fragment is no part of the target, however long. None is allowed
            // here (RFC 9112 3.2), so that 400 is right.
            (Place::Target(_), b' ' | b'#') => self.place = Place::Version,
            (Place::Target(bytes), _) => {
                self.place = Place::Target(bytes + 1);
                return !(LONGEST_BYTES..CUT_UP_TO_BYTES).contains(&bytes);
            }
            (Place::Method | Place::Version | Place::Fields, b'\n') => self.end_line(),
            (Place::Method | Place::Fields, b'\r') | (Place::Version | Place::Body, _) => (),
            (Place::Method | Place::Fields, _) if self.line.len() == LINE_START_BYTES => (),
            (Place::Method | Place::Fields, _) => self.line.push(byte.to_ascii_lowercase()),
        }
        true
    }

    fn end_line(&mut self) {
        self.place = match self.place {
            Place::Version => Place::Fields,
            Place::Fields if self.line.is_empty() => Place::Method,
            Place::Fields if BODY_FIELDS.iter().any(|it| self.line.starts_with(it)) => Place::Body,
            place => place,
        };
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What arrives of this, in one piece and byte by byte.
    fn arrives(sent: &str) -> String {
        let mut whole = sent.as_bytes().to_vec();
        let kept = Heads::default().cut(&mut whole);
        whole.truncate(kept);
        let mut heads = Heads::default();
        let kept = |byte: &u8| heads.cut(&mut [*byte]) == 1;
        let pieces: Vec<u8> = sent.bytes().filter(kept).collect();
        assert_eq!(whole, pieces);
        String::from_utf8(whole).expect("ASCII")
    }

    fn get(target_bytes: usize) -> String {
        let path = "x".repeat(target_bytes - 1);
        format!("GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n")
    }

    #[test]
    fn a_target_is_cut_wherever_a_request_may_begin() {
        let (usual, longest, long) = (get(10), get(LONGEST_BYTES), get(100_000));
        assert_eq!(arrives(&longest), longest);
        assert_eq!(arrives(&long), longest);
        let sent = format!("{usual}{long}\r\n{usual}{long}");
        assert_eq!(arrives(&sent), format!("{usual}{longest}\r\n{usual}{longest}"));
        assert_eq!(arrives(&sent.replace('\r', "")), arrives(&sent).replace('\r', ""));
        let endless = get(2 * CUT_UP_TO_BYTES);
        assert_eq!(endless.len() - arrives(&endless).len(), CUT_UP_TO_BYTES - LONGEST_BYTES);
    }

    #[test]
    fn nothing_else_is() {
        let long = get(100_000);
        let field = |field: &str| format!("POST /a HTTP/1.1\r\n{field}\r\n\r\n{long}");
        for sent in [
            field("content-length: 100000"),
            field("Host: x\r\nTRANSFER-ENCODING: chunked"),
            field("Upgrade: websocket"),
            format!("CONNECT a:1 HTTP/1.1\r\n\r\n{long}"),
            format!("GET /a HTTP/1.1\r\nCookie: {}\r\n\r\n", "x".repeat(100_000)),
            format!("GET /#{} HTTP/1.1\r\n\r\n", "x".repeat(100_000)),
            "\r\n\n no request \0\u{ff}\n".repeat(9000),
        ] {
            assert_eq!(arrives(&sent), sent);
        }
        let other = format!("{}{long}", field("X-Content-Length: 1").replace(&long, ""));
        assert_eq!(other.len() - arrives(&other).len(), 100_000 - LONGEST_BYTES);
    }
}
