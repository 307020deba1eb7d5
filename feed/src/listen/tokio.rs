//! The listener of a server on tokio, and the deadline of its connections.
//!
//! Every connection has a deadline unless an event stream is open on it. Only the handlers know
//! that; the bytes do not show it, because an answer, a `100 Continue` and the first event look alike
//! from below. So each connection has a [`Connection`], with which its handlers report.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::{Pending, Place};
use crate::settings::Settings;

/// The wait after a failed `accept`: out of file descriptors it fails at once, again and again,
/// until a connection closes. Long enough to cost nothing, short enough to be hardly noticed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A listener whose connections have a [`RequestDeadline`] and are limited in number.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    pending: Arc<Pending>,
    timeout: Duration,
}

impl Listener {
    /// Takes what [`bind`](super::bind) returns; within a runtime.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn from_std(listener: std::net::TcpListener, settings: &Settings) -> io::Result<Listener> {
        // tokio panics on a listener that blocks.
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let (pending, timeout) = (Pending::new(settings), settings.request_timeout());
        Ok(Listener { listener, pending, timeout })
    }

    /// The next connection, once there is room for it. After a failure it waits and tries again.
    pub async fn accept(&self) -> (RequestDeadline<TcpStream>, SocketAddr) {
        loop {
            self.pending.until(true).await;
            match self.listener.accept().await {
                Ok((stream, client)) => {
                    let connection = Connection::new(&self.pending, self.timeout);
                    return (RequestDeadline::new(stream, connection), client);
                }
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
        self.listener.local_addr()
    }
}

/// Linux reports through `accept` an error of a connection that waited: accept(2), section "Error
/// handling".
fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// A connection, as its handlers see it. Clones share one state.
#[derive(Debug, Clone)]
pub struct Connection {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    pending: Arc<Pending>,
    timeout: Duration,
    /// Beside the lock, since each event looks whether there is one.
    open_streams: AtomicUsize,
    phase: Mutex<Phase>,
}

#[derive(Debug)]
struct Phase {
    /// The start of the time for the next request.
    since: Instant,
    /// Its place among the pending connections; none while a stream is open.
    place: Option<Place>,
}

impl Connection {
    /// A connection that was just accepted.
    pub fn new(pending: &Arc<Pending>, timeout: Duration) -> Connection {
        let place = Some(pending.place());
        let phase = Mutex::new(Phase { since: Instant::now(), place });
        let (pending, open_streams) = (Arc::clone(pending), AtomicUsize::new(0));
        Connection { state: Arc::new(State { pending, timeout, open_streams, phase }) }
    }

    /// Reports an answer: the time for the next request begins. Only a handler may report it, since
    /// nothing that a client does on its own may buy time.
    pub fn answered(&self) {
        self.phase().since = Instant::now();
    }

    /// Reports a stream: as long as the returned one lives, there is no deadline.
    pub fn streaming<S>(&self, stream: S) -> Streaming<S> {
        let mut phase = self.phase();
        self.state.open_streams.fetch_add(1, SeqCst);
        phase.place = None;
        Streaming { stream, _open: OpenStream(self.clone()) }
    }

    /// The time at which the connection has to end; `None` while a stream is open.
    pub fn due(&self) -> Option<Instant> {
        let phase = self.phase();
        (!self.is_streaming()).then(|| phase.since + self.state.timeout)
    }

    /// True while a stream is open. Each event asks, so it takes no lock.
    #[inline]
    fn is_streaming(&self) -> bool {
        self.state.open_streams.load(SeqCst) > 0
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        // No code that can panic runs under this lock, so a poisoned one is still whole.
        self.state.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartialEq for Connection {
    fn eq(&self, other: &Connection) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }
}

/// The stream of a response during which its connection has no deadline.
#[derive(Debug)]
pub struct Streaming<S> {
    stream: S,
    _open: OpenStream,
}

impl<S: Stream + Unpin> Stream for Streaming<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        Pin::new(&mut self.stream).poll_next(cx)
    }
}

/// One open stream in the count of its connection.
#[derive(Debug)]
struct OpenStream(Connection);

impl Drop for OpenStream {
    fn drop(&mut self) {
        let Connection { state } = &self.0;
        let mut phase = self.0.phase();
        if state.open_streams.load(SeqCst) == 1 {
            phase.since = Instant::now();
            phase.place = Some(state.pending.place());
        }
        state.open_streams.fetch_sub(1, SeqCst);
    }
}

/// The bytes of a connection; they end when it is due.
///
/// hyper has a timeout for a request's head, but it needs a timer, and neither `axum::serve` nor
/// poem's server gives it one; for a body, a wait for the next request and an answer that is not
/// read there is none.
#[derive(Debug)]
pub struct RequestDeadline<S> {
    stream: S,
    connection: Connection,
    timer: Option<Pin<Box<Sleep>>>,
    /// A read waits for the client, and so shows that it leaves.
    reads: bool,
}

impl<S> RequestDeadline<S> {
    /// The bytes of this connection.
    pub fn new(stream: S, connection: Connection) -> RequestDeadline<S> {
        RequestDeadline { stream, connection, timer: None, reads: false }
    }

    /// The connection, for its handlers.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The stream below.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Ready when the connection is due; or else it wakes the task then.
    #[inline(always)]
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.timer.is_none() && self.connection.is_streaming() {
            return Poll::Pending;
        }
        self.poll_timer(cx)
    }

    #[inline(never)]
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Some(due) = self.connection.due() else {
            self.timer = None;
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        timer.as_mut().poll(cx).map(|()| io::ErrorKind::TimedOut.into())
    }

    /// This result of a write; if that waits for the client, no longer than until the connection is
    /// due.
    fn or_due<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_pending() { self.poll_due(cx).map(Err) } else { written }
    }
}

/// A connection that shows its end without being read.
pub trait Left {
    /// Ready when the client has left; or else it wakes the task when that may be so. Bytes that the
    /// kernel still holds hide the end.
    fn poll_left(&self, cx: &mut Context<'_>) -> Poll<()>;
}

impl Left for TcpStream {
    fn poll_left(&self, cx: &mut Context<'_>) -> Poll<()> {
        match ready!(self.poll_peek(cx, &mut ReadBuf::new(&mut [0]))) {
            Ok(1..) => Poll::Pending,
            Ok(0) | Err(_) => Poll::Ready(()),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for RequestDeadline<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // First, so that a client that always has another byte ready is no exception.
        if let Poll::Ready(error) = self.poll_due(cx) {
            return Poll::Ready(Err(error));
        }
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.reads = read.is_pending();
        read
    }
}

impl<S: AsyncWrite + Left + Unpin> AsyncWrite for RequestDeadline<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.or_due(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.or_due(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper reads nothing behind a next request that it holds already, so it would not see that
        // the client has left this stream.
        if !self.reads && self.connection.is_streaming() && self.stream.poll_left(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.or_due(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::timeout;

    use super::*;

    const LONGER: Duration = Duration::from_secs(3600);

    impl Left for DuplexStream {
        fn poll_left(&self, _: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }
    }

    /// A client, and the server's side of its connection.
    fn pair() -> (DuplexStream, RequestDeadline<DuplexStream>) {
        let settings = Settings::for_tests();
        let connection = Connection::new(&Pending::new(&settings), settings.request_timeout());
        let (client, server) = duplex(10);
        (client, RequestDeadline::new(server, connection))
    }

    /// Seconds until a read ends in an error.
    async fn seconds_until_due(server: &mut RequestDeadline<DuplexStream>) -> u64 {
        let begin = Instant::now();
        let read = timeout(LONGER, server.read(&mut [0])).await.expect("it ends");
        assert_eq!(read.expect_err("no more bytes come").kind(), io::ErrorKind::TimedOut);
        begin.elapsed().as_secs()
    }

    // In these tests, time stands still but for the timers that are waited for.

    #[tokio::test(start_paused = true)]
    async fn bytes_buy_no_time_but_an_answer_does() {
        let (mut client, mut server) = pair();
        for _ in 0..2 {
            client.write_all(b"G").await.expect("room");
            server.read_exact(&mut [0]).await.expect("a byte");
            // 100 Continue, for instance.
            server.write_all(b"1").await.expect("room");
            sleep(Duration::from_secs(10)).await;
        }
        assert_eq!(seconds_until_due(&mut server).await, 10);

        let (_client, mut server) = pair();
        sleep(Duration::from_secs(20)).await;
        server.connection().answered();
        assert_eq!(seconds_until_due(&mut server).await, 30);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_that_are_always_ready_buy_no_time_either() {
        let (mut client, mut server) = pair();
        client.write_all(b"GET").await.expect("room");
        sleep(Duration::from_secs(30)).await;
        assert_eq!(seconds_until_due(&mut server).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_has_no_deadline_and_the_time_after_it_has_one() {
        let (_client, mut server) = pair();
        let connection = server.connection().clone();
        let (first, second) = (connection.streaming(()), connection.streaming(()));
        assert!(timeout(LONGER, server.read(&mut [0])).await.is_err(), "it waits");
        drop(first);
        assert!(timeout(LONGER, server.read(&mut [0])).await.is_err(), "one is still open");
        drop(second);
        assert_eq!(seconds_until_due(&mut server).await, 30);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_must_be_read_in_time_but_a_stream_need_not() {
        let (_client, mut server) = pair();
        let stream = server.connection().streaming(());
        assert!(timeout(LONGER, server.write_all(&[0; 11])).await.is_err(), "it waits");
        drop(stream);
        let begin = Instant::now();
        let error = server.write_all(b"more").await.expect_err("the client does not read");
        assert_eq!((error.kind(), begin.elapsed().as_secs()), (io::ErrorKind::TimedOut, 30));
    }

    #[tokio::test]
    async fn at_the_limit_no_more_are_accepted_until_one_ends_or_streams() {
        let settings = Settings { max_pending: 1, ..Settings::for_tests() };
        let listener = super::super::bind(&settings).expect("any port");
        let listener = Listener::from_std(listener, &settings).expect("it listens");
        let address = listener.local_addr().expect("bound");
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(TcpStream::connect(address).await.expect("the backlog has room"));
        }
        let (first, _) = listener.accept().await;
        assert!(listener.accept().now_or_never().is_none());
        let stream = first.connection().streaming(());
        let (second, _) = listener.accept().await;
        drop(stream);
        drop(second);
        // The first one is pending again.
        assert!(listener.accept().now_or_never().is_none());
        drop(first);
        listener.accept().await;
    }
}
