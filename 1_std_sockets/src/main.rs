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

use feed::contract::{EVENT_STREAM, PROMETHEUS, STREAM_HEADERS, unrouted};
use feed::settings::Encoding;
use feed::{Failure, Feed, Opened, listen, page};

use crate::connection::{Handler, RequestBody};
use crate::http::{Body, Request, Response};
use crate::server::Server;

fn main() -> Result<(), Failure> {
    let settings = feed::settings!();
    // std: there is no SSE type in the standard library, so there is no native encoding.
    if settings.encoding != Encoding::Shared {
        let advice = "std has no encoding of its own; leave --encoding away";
        return Err(io::Error::other(advice).into());
    }
    // SSE: backlog, TCP_NODELAY and write timeout are the listener's; connections inherit them.
    let listener = listen::bind(&settings)?;
    let address = listener.local_addr()?;
    let feed = Feed::until_signal(settings)?;
    // std: no runtime either; the loop that polls what `routes` answers is in `worker.rs`.
    let handler: Handler = |feed, request, body| Box::pin(http::guard(feed, request, body, routes));
    let server = Server::start(listener, &feed, handler)?;
    listen::announce(address);
    // SSE: every stream ends itself on shutdown, so that the graceful stop has an end.
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
        ("/healthz", _) if get => healthz(),
        ("/metrics", _) if get => metrics(feed),
        ("/script", _) if get => script(feed, request),
        _ => not_found(feed, request),
    }
}

fn page() -> Response {
    let policy = page::CONTENT_SECURITY_POLICY.as_str();
    Response::text(200, page::CONTENT_TYPE, page::HTML).with("Content-Security-Policy", policy)
}

fn ticks(feed: &Feed, request: &Request) -> Response {
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
        // SSE: whoever may not publish is told so before the body is read.
        feed.may_publish(topic, &request.publisher())?;
        feed.publish(topic, body.read().await?).await
    };
    match published.await {
        Ok(json) => Response::text(201, "application/json", json),
        Err(problem) => Response::from(&problem),
    }
}

fn simulation(feed: &Feed, request: &Request) -> Response {
    respond(feed.simulation(request.query(), request.last_event_id()))
}

fn healthz() -> Response {
    Response::text(200, "text/plain", "ok\n")
}

fn metrics(feed: &Feed) -> Response {
    Response::text(200, PROMETHEUS, feed.metrics())
}

fn script(feed: &Feed, request: &Request) -> Response {
    // SSE: whoever asks chooses every byte of the answer, so this is for conformance tests only.
    respond(feed.script(request.query(), request.last_event_id()))
}

fn not_found(feed: &Feed, request: &Request) -> Response {
    Response::from(&unrouted(request.path(), feed.settings.conformance))
}

fn respond(opened: Opened) -> Response {
    let stream = match opened {
        Ok(Some(stream)) => stream,
        // SSE: 204 tells an EventSource not to come back.
        Ok(None) => return Response::new(204, Body::None),
        Err(problem) => return Response::from(&problem),
    };
    // SSE: the head leaves at once; one frame, all that is ready, is one write.
    let response = Response::new(200, Body::Events(stream)).with("Content-Type", EVENT_STREAM);
    STREAM_HEADERS.into_iter().fold(response, |response, (name, value)| response.with(name, value))
}
