//! The listener of a server on tokio, and the deadline of a request.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep};

/// The time from an accepted connection, or from the last answer, to the end of the next request:
/// long enough for a slow phone, short enough that silent connections do not pile up.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The wait after a failed `accept`: out of file descriptors it fails at once, again and again,
/// until a connection closes. Long enough to cost nothing, short enough to be hardly noticed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A listener whose connections have a [`RequestDeadline`].
#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    /// Takes what [`bind`](super::bind) returns; within a runtime.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<Listener> {
        // tokio panics on a listener that blocks.
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).map(Listener)
    }

    /// The next connection. After a failure it waits and tries again.
    pub async fn accept(&self) -> (RequestDeadline<TcpStream>, SocketAddr) {
        loop {
            match self.0.accept().await {
                Ok((stream, client)) => return (RequestDeadline::new(stream), client),
                Err(error) if is_about_one_connection(&error) => {}
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Linux reports through `accept` an error of a connection that waited: accept(2), section "Error
/// handling".
fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// A connection that ends when a request stays unanswered because it does not end.
///
/// hyper has a timeout for a request's head, but it needs a timer, and neither `axum::serve` nor
/// poem's server gives it one; for a body there is none.
#[derive(Debug)]
pub struct RequestDeadline<S> {
    stream: S,
    /// Set while a request arrives; an answer stops it, the next request starts it anew.
    due: Option<Pin<Box<Sleep>>>,
}

impl<S> RequestDeadline<S> {
    /// The clock runs from now on.
    pub fn new(stream: S) -> RequestDeadline<S> {
        RequestDeadline { stream, due: Some(Box::pin(sleep(REQUEST_TIMEOUT))) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for RequestDeadline<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match (Pin::new(&mut self.stream).poll_read(cx, buf), &mut self.due) {
            (Poll::Pending, Some(due)) => {
                due.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
            }
            (Poll::Pending, None) => Poll::Pending,
            (read, due) => {
                due.get_or_insert_with(|| Box::pin(sleep(REQUEST_TIMEOUT)));
                read
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for RequestDeadline<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.due = None;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.due = None;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::{Instant, timeout};

    use super::*;

    const LONGER: Duration = Duration::from_secs(3600);

    /// Time stands still but for the timers that are waited for.
    #[tokio::test(start_paused = true)]
    async fn a_request_has_thirty_seconds_and_a_stream_has_no_limit() {
        let (server, mut client) = duplex(100);
        let mut server = RequestDeadline::new(server);
        let mut read = [0; 10];

        // A byte now and then does not buy time.
        let begin = Instant::now();
        client.write_all(b"G").await.expect("room");
        server.read_exact(&mut read[..1]).await.expect("a byte");
        sleep(REQUEST_TIMEOUT / 2).await;
        client.write_all(b"E").await.expect("room");
        server.read_exact(&mut read[..1]).await.expect("a byte");
        let error = server.read(&mut read).await.expect_err("no more bytes come");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begin.elapsed().as_secs(), REQUEST_TIMEOUT.as_secs());

        // An answer stops the clock, so a stream has no deadline.
        server.write_all(b"200").await.expect("room");
        assert!(timeout(LONGER, server.read(&mut read)).await.is_err(), "it waits");

        // The next request starts it again.
        client.write_all(b"G").await.expect("room");
        server.read_exact(&mut read[..1]).await.expect("a byte");
        let next = timeout(LONGER, server.read(&mut read)).await.expect("it ends");
        assert_eq!(next.expect_err("no more bytes come").kind(), io::ErrorKind::TimedOut);
    }
}
