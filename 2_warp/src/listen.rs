//! The accept loop: what `warp::serve` does, for a service, and for HTTP/1 only.
//!
//! `warp::serve` takes filters only, and [`guard`](crate::http::guard) cannot be one. And it speaks
//! HTTP/2 to whoever begins with it, where a stream can stall while its connection does not: no
//! timeout of the kernel sees that.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::time::Duration;

pub use feed::listen::{announce, bind};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use warp::reply::Response;

/// How long a connection may wait for the head of a request, so that silent ones do not pile up.
/// hyper has this limit by default, but it needs a timer for it, and `warp::serve` gives it none.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The wait after a failed `accept`: out of file descriptors it fails at once, again and again,
/// until a connection closes. Long enough to cost nothing; short enough, unlike the 1 s of
/// `warp::serve`, to keep the shutdown in time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until the shutdown begins, then until the open connections are done.
pub async fn serve<S>(listener: TcpListener, service: S, shutdown: impl Future<Output = ()>)
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let connections = GracefulShutdown::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut shutdown => break,
        };
        match accepted {
            Ok((socket, _)) => {
                let connection = http.serve_connection(TokioIo::new(socket), service.clone());
                // How a connection ends is the client's affair; there is nothing to do here.
                tokio::spawn(connections.watch(connection));
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
    // First, so that clients who come now are refused at once and can go elsewhere.
    drop(listener);
    connections.shutdown().await;
}

/// Linux reports through `accept` what happened to a connection while it waited: accept(2), section
/// "Error handling".
fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
