//! The accept loop of `warp::serve`, for a service, and for HTTP/1 only.
//!
//! `warp::serve` takes filters only, and [`guard`](crate::http::guard) cannot be one. And it speaks
//! HTTP/2 to a client that begins with it, where a stream can stall while its connection does not:
//! no timeout of the kernel sees that.

use std::convert::Infallible;
use std::pin::pin;

use feed::listen::Listener;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use warp::reply::Response;

/// Serves until the shutdown begins, then until the open connections are done.
pub async fn until<S>(shutdown: impl Future<Output = ()>, listener: Listener, service: S)
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let http = http1::Builder::new();
    let connections = GracefulShutdown::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut shutdown => break,
        };
        // So that handlers can report to their connection.
        let (client, service) = (stream.connection().clone(), service.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(client.clone());
            service.call(request)
        });
        let connection = http.serve_connection(TokioIo::new(stream), service);
        // An error here is the client's: it left, or its request was malformed.
        tokio::spawn(connections.watch(connection));
    }
    // First, so that a new client is refused at once and can go to another server.
    drop(listener);
    connections.shutdown().await;
}
