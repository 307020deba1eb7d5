#![doc = include_str!("../README.md")]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "this server waits with epoll, which only Linux has; for SSE with nothing but std: \
     cargo run -p sse-std-sockets --example smallest"
);

mod connection;
mod http;
mod server;
mod worker;

use std::io;

use feed::contract::{EVENT_STREAM, PROMETHEUS, STREAM_HEADERS, no_route};
use feed::settings::Encoding;
use feed::{Failure, Feed, StreamResponse, listen, page};

use crate::connection::{Handler, RequestBody};
use crate::http::{Body, Request, Response};
use crate::server::Server;

fn main() -> Result<(), Failure> {
    let settings = feed::settings!();
    // std: there is no SSE type in the standard library, so there is no native encoding.
    if settings.encoding != Encoding::Shared {
        let advice = "std has no event type, so there is no native encoding: omit --encoding";
        return Err(io::Error::other(advice).into());
    }
    // SSE: set backlog, TCP_NODELAY, TCP_USER_TIMEOUT and TCP_NOTSENT_LOWAT on the listener;
    // accepted sockets inherit them (Linux, tcp(7)).
    let listener = listen::bind(&settings)?;
    let address = listener.local_addr()?;
    let feed = Feed::until_signal(settings)?;
    // std: no runtime either; the loop that polls what `routes` answers is in `worker.rs`.
    let handler: Handler = |feed, request, body| Box::pin(http::guard(feed, request, body, routes));
    let server = Server::start(listener, &feed, handler)?;
    listen::announce(address);
    // SSE: an event stream never ends by itself: feed ends each one on shutdown, or the graceful
    // stop would wait forever.
    feed.shutdown.wait();
    server.stop();
    Ok(())
}

async fn routes(feed: &Feed, request: &Request, body: RequestBody) -> Response {
    // std: HEAD is answered like GET; the connection leaves the body away and drops the stream.
    let (get, post) = (matches!(request.method(), "GET" | "HEAD"), request.method() == "POST");
    match (request.path(), request.segment_after("/messages/")) {
        ("/", _) if get => page(),
        ("/ticks", _) if get => ticks(feed, request),
        ("/time", _) if get => time(feed, request),
        ("/tasks", _) if get => tasks(feed, request),
        (_, Some(topic)) if get => subscribe(feed, &topic, request),
        (_, Some(topic)) if post => publish(feed, &topic, request, body).await,
        ("/simulation", _) if get => simulation(feed, request),
        ("/healthz", _) if get => healthz(feed, request),
        ("/metrics", _) if get => metrics(feed),
        // SSE: test endpoint: the client chooses the events; 404 unless --conformance.
        ("/script", _) if get => script(feed, request),
        _ => not_found(feed, request),
    }
}

fn page() -> Response {
    let policy = page::CONTENT_SECURITY_POLICY.as_str();
    Response::text(200, page::CONTENT_TYPE, page::HTML).with("Content-Security-Policy", policy)
}

fn ticks(feed: &Feed, request: &Request) -> Response {
    // SSE: where to resume: the browser sends the last id it saw when it reconnects (HTML 9.2.4).
    respond(feed.ticks(request.query(), request.last_event_id()))
}

fn time(feed: &Feed, request: &Request) -> Response {
    respond(feed.time(request.query(), request.last_event_id()))
}

fn tasks(feed: &Feed, request: &Request) -> Response {
    respond(feed.tasks(request.query(), request.last_event_id()))
}

fn subscribe(feed: &Feed, topic: &str, request: &Request) -> Response {
    respond(feed.subscribe(topic, request.query(), request.last_event_id()))
}

async fn publish(feed: &Feed, topic: &str, request: &Request, body: RequestBody) -> Response {
    let published = async {
        // SSE: authorise before reading the body, so that no client can make the server buffer it
        // for a 401 (RFC 9110 15.5.2).
        let key = feed.may_publish(topic, &request.publisher())?;
        // SSE: answer when the bus has the message, and no sooner: with a broker that is a while.
        feed.publish(topic, key, body.read().await?).await
    };
    match published.await {
        Ok(json) => Response::text(201, "application/json", json),
        Err(problem) => Response::from(&problem),
    }
}

fn simulation(feed: &Feed, request: &Request) -> Response {
    respond(feed.simulation(request.query(), request.last_event_id()))
}

fn healthz(feed: &Feed, request: &Request) -> Response {
    match feed.healthz(request.query()) {
        Ok(text) => Response::text(200, "text/plain", text),
        Err(problem) => Response::from(&problem),
    }
}

fn metrics(feed: &Feed) -> Response {
    Response::text(200, PROMETHEUS, feed.metrics())
}

fn script(feed: &Feed, request: &Request) -> Response {
    respond(feed.script(request.query(), request.last_event_id()))
}

fn not_found(feed: &Feed, request: &Request) -> Response {
    Response::from(&no_route(request.path(), feed.settings.conformance))
}

fn respond(opened: StreamResponse) -> Response {
    let stream = match opened {
        Ok(Some(stream)) => stream,
        // SSE: 204 No Content makes a browser's EventSource stop reconnecting (HTML 9.2.1).
        Ok(None) => return Response::new(204, Body::None),
        Err(problem) => return Response::from(&problem),
    };
    // SSE: a connection has a deadline unless it streams, or silent clients would take all
    // connections; only the handler knows when it streams.
    // SSE: send the headers now, before the first event; then write each batch of ready events at
    // once (do not buffer).
    // SSE: a comment after 15 s of silence keeps proxies from closing the connection (HTML 9.2.7);
    // feed's frames have it.
    let response = Response::new(200, Body::Events(stream)).with("Content-Type", EVENT_STREAM);
    // SSE: a browser takes text/event-stream only (HTML 9.2.3); caches must not replay it
    // (no-cache, RFC 9111 5.2.2.4), nginx must not hold it back (X-Accel-Buffering: no).
    STREAM_HEADERS.into_iter().fold(response, |response, (name, value)| response.with(name, value))
}
