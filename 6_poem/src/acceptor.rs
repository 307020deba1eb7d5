//! The cases that poem's server does not handle: `accept` fails, a client leaves, a request does
//! not end.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use feed::listen::{Connection, Listener, RequestDeadline};
use poem::Request;
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The time for connections to end by themselves: the contract gives the whole process 2 s.
pub const GRACE: Duration = Duration::from_millis(1500);

/// Requests at once on one HTTP/2 connection: as few as RFC 9113 6.5.2 finds sensible.
pub const MAX_HTTP2_STREAMS: u32 = 100;

/// An acceptor that pauses after a failure, and knows the connections that it has accepted.
///
/// poem's server drops the error and accepts again at once. A process without a free descriptor
/// fails each time until a connection ends, and would use a whole core for it.
pub struct Acceptor {
    listener: Listener,
    connections: Connections,
}

impl Acceptor {
    pub fn new(listener: Listener) -> Acceptor {
        Acceptor { listener, connections: Connections::default() }
    }

    /// The connections, for handlers.
    pub fn connections(&self) -> Connections {
        self.connections.clone()
    }
}

impl poem::listener::Acceptor for Acceptor {
    type Io = Io;

    fn local_addr(&self) -> Vec<LocalAddr> {
        self.listener.local_addr().map(|local| LocalAddr(local.into())).into_iter().collect()
    }

    async fn accept(&mut self) -> io::Result<(Io, LocalAddr, RemoteAddr, Scheme)> {
        let (stream, client) = self.listener.accept().await;
        let addresses = (stream.get_ref().local_addr()?, client);
        self.connections.table().insert(addresses, stream.connection().clone());
        let (local, remote) = (LocalAddr(addresses.0.into()), RemoteAddr(client.into()));
        let io = Io { stream, ended: false, addresses, connections: self.connections() };
        Ok((io, local, remote, Scheme::HTTP))
    }
}

/// The open connections by their addresses, server's and client's: a request in poem knows these of
/// its connection, and nothing else.
#[derive(Clone, Default)]
pub struct Connections(Arc<Mutex<HashMap<(SocketAddr, SocketAddr), Connection>>>);

impl Connections {
    /// The connection that this request came from.
    pub fn of(&self, request: &Request) -> Option<Connection> {
        let (local, remote) = (request.local_addr(), request.remote_addr());
        let addresses = (*local.as_socket_addr()?, *remote.as_socket_addr()?);
        self.table().get(&addresses).cloned()
    }

    fn table(&self) -> MutexGuard<'_, HashMap<(SocketAddr, SocketAddr), Connection>> {
        // No code that can panic runs under this lock, so a poisoned one is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection whose end is an error.
///
/// When hyper reads the end (FIN) in the midst of a response, its future ends with an error: the
/// client left. But poem's server polls that future once more, as the graceful stop it always does,
/// and hyper, for which only the reading half is closed, goes on with the response. An idle stream
/// then stays open until a write fails. After an *error* hyper closes both halves, so the second
/// poll drops the body and only sends the buffered bytes.
///
/// Between two requests hyper takes the error for the same quiet end. Writes still work, so that an
/// upload that was cut short gets its answer.
pub struct Io {
    stream: RequestDeadline<TcpStream>,
    ended: bool,
    addresses: (SocketAddr, SocketAddr),
    connections: Connections,
}

impl Drop for Io {
    fn drop(&mut self) {
        let mut table = self.connections.table();
        // After a reset, the client may have come again from the same port.
        if table.get(&self.addresses) == Some(self.stream.connection()) {
            table.remove(&self.addresses);
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buf.remaining();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.ended = room > 0 && buf.remaining() == room;
        Poll::Ready(if self.ended { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) })
    }
}

// No vectored writes: poem boxes the connection in a type that does not pass them on.
impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, buf) {
            // A client that neither sends nor reads has left, so the buffered bytes have no
            // receiver.
            Poll::Pending if self.ended => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            written => written,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::sync::{Arc, Weak};
    use std::time::Instant;

    use clap::Parser;
    use feed::settings::Settings;
    use futures_util::stream;
    use poem::endpoint::make_sync;
    use poem::{Body, Server};
    use tokio::time::sleep;

    use super::*;

    /// Waits until it has this many owners.
    async fn owned_by(owned: &Weak<()>, owners: usize) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while owned.strong_count() != owners {
            assert!(Instant::now() < deadline, "{} own it, not {owners}", owned.strong_count());
            sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_client_that_leaves_takes_its_silent_stream_along() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let settings = Settings::parse_from(["test"]);
        let acceptor = Acceptor::new(Listener::from_std(listener, &settings).expect("a listener"));
        let owner = Arc::new(());
        let owned = Arc::downgrade(&owner);
        let silent = make_sync(move |_| {
            let owner = Arc::clone(&owner);
            Body::from_bytes_stream(stream::poll_fn(move |_| {
                let _held_while_open = &owner;
                Poll::<Option<io::Result<&[u8]>>>::Pending
            }))
        });
        tokio::spawn(Server::new_with_acceptor(acceptor).run(silent));
        for how in [Shutdown::Both, Shutdown::Write] {
            let mut client = TcpStream::connect(address).expect("it listens");
            client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("it reads");
            assert!(client.read(&mut [0; 1000]).expect("it answers") > 0);
            owned_by(&owned, 2).await;
            client.shutdown(how).expect("it is connected");
            owned_by(&owned, 1).await;
        }
    }
}
