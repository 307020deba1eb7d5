#![doc = include_str!("../README.md")]

mod http;
mod listen;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use feed::contract::{EVENT_STREAM, PROMETHEUS, STREAM_HEADERS, unrouted};
use feed::settings::Encoding;
use feed::{Failure, Feed, Opened};
use futures_util::StreamExt;
use poem::error::{MethodNotAllowedError, NotFoundError};
use poem::http::header::CONTENT_SECURITY_POLICY;
use poem::http::{HeaderMap, StatusCode};
use poem::web::sse::{Event, SSE};
use poem::web::{Data, Path};
use poem::{
    Body, Endpoint, EndpointExt, FromRequest, IntoResponse, Request, Response, Result, Route,
    Server, handler,
};

use crate::http::{StreamRequest, get};
use crate::listen::Acceptor;

/// How long connections get to end by themselves: the contract gives the whole process 2 s.
const GRACE: Duration = Duration::from_millis(1500);

/// Requests at once on one HTTP/2 connection: as few as RFC 9113 6.5.2 finds sensible.
const MAX_HTTP2_STREAMS: u32 = 100;

fn main() -> Result<(), Failure> {
    let settings = feed::settings!();
    // SSE: backlog, TCP_NODELAY and write timeout are the listener's; connections inherit them.
    let listener = listen::bind(&settings)?;
    // poem: tokio takes only a listener that does not block.
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let feed = Feed::until_signal(settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(feed.settings.workers.into())
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // poem: with its own acceptor it spins when out of descriptors and keeps whose client left.
        let acceptor = Acceptor::from_std(listener)?;
        let routes = routes(Arc::clone(&feed));
        listen::announce(address);
        // SSE: every stream ends itself on shutdown, so that the graceful stop has an end.
        // poem: without that it cuts them after this time, or given none waits for ever.
        let shutdown = async move { feed.shutdown.begun().await };
        Server::new_with_acceptor(acceptor)
            // poem: speaks HTTP/2 without TLS too, and has no limit there, whatever its docs say.
            .http2_max_concurrent_streams(MAX_HTTP2_STREAMS)
            .run_with_graceful_shutdown(routes, shutdown, Some(GRACE))
            .await?;
        Ok(())
    })
}

fn routes(feed: Arc<Feed>) -> impl Endpoint {
    // poem: its own `get` answers HEAD too, but without the Content-Length.
    Route::new()
        .at("/", get(page))
        .at("/ticks", get(ticks))
        .at("/time", get(time))
        .at("/tasks", get(tasks))
        .at("/messages/:topic", get(subscribe).post(publish))
        .at("/simulation", get(simulation))
        .at("/healthz", get(healthz))
        .at("/metrics", get(metrics))
        .at("/script", get(script))
        .around(not_found)
        .around(http::guard)
        .data(feed)
}

#[handler]
async fn page() -> Response {
    // poem: a handler is a type, and would hide a module of the same name.
    let policy = feed::page::CONTENT_SECURITY_POLICY.as_str();
    let html = feed::page::HTML.with_content_type(feed::page::CONTENT_TYPE);
    html.with_header(CONTENT_SECURITY_POLICY, policy).into_response()
}

#[handler]
async fn ticks(Data(feed): Data<&Arc<Feed>>, request: StreamRequest<'_>) -> Response {
    respond(feed, feed.ticks(request.query, request.last_event_id()))
}

#[handler]
async fn time(Data(feed): Data<&Arc<Feed>>, request: StreamRequest<'_>) -> Response {
    respond(feed, feed.time(request.query, request.last_event_id()))
}

#[handler]
async fn tasks(Data(feed): Data<&Arc<Feed>>, request: StreamRequest<'_>) -> Response {
    respond(feed, feed.tasks(request.query, request.last_event_id()))
}

#[handler]
async fn subscribe(
    Data(feed): Data<&Arc<Feed>>,
    Path(topic): Path<String>,
    request: StreamRequest<'_>,
) -> Response {
    respond(feed, feed.subscribe(&topic, request.query, request.last_event_id()))
}

#[handler]
async fn publish(
    Data(feed): Data<&Arc<Feed>>,
    Path(topic): Path<String>,
    headers: &HeaderMap,
    body: Body,
) -> Response {
    let published = async {
        // SSE: whoever may not publish is told so before the body is read.
        feed.may_publish(&topic, &http::publisher(headers))?;
        feed.publish(&topic, http::read_message(body).await?).await
    };
    match published.await {
        Ok(json) => json
            .with_status(StatusCode::CREATED)
            .with_content_type("application/json")
            .into_response(),
        Err(problem) => http::problem(&problem),
    }
}

#[handler]
async fn simulation(Data(feed): Data<&Arc<Feed>>, request: StreamRequest<'_>) -> Response {
    respond(feed, feed.simulation(request.query, request.last_event_id()))
}

#[handler]
async fn healthz() -> Response {
    "ok\n".with_content_type("text/plain").into_response()
}

#[handler]
async fn metrics(Data(feed): Data<&Arc<Feed>>) -> Response {
    feed.metrics().with_content_type(PROMETHEUS).into_response()
}

#[handler]
async fn script(Data(feed): Data<&Arc<Feed>>, request: StreamRequest<'_>) -> Response {
    // SSE: whoever asks chooses every byte of the answer, so this is for conformance tests only.
    respond(feed, feed.script(request.query, request.last_event_id()))
}

async fn not_found<E: Endpoint>(routes: Arc<E>, request: Request) -> Result<Response> {
    // poem: 404 and 405 are errors of the router, and the 405 does not say what is allowed.
    let Data(feed) = Data::<&Arc<Feed>>::from_request_without_body(&request).await?;
    let (uri, conformance) = (request.uri().clone(), feed.settings.conformance);
    match routes.call(request).await {
        Err(error) if error.is::<NotFoundError>() || error.is::<MethodNotAllowedError>() => {
            Ok(http::problem(&unrouted(uri.path(), conformance)))
        }
        answer => answer.map(IntoResponse::into_response),
    }
}

fn respond(feed: &Feed, opened: Opened) -> Response {
    let stream = match opened {
        Ok(Some(stream)) => stream,
        // SSE: 204 tells an EventSource not to come back.
        Ok(None) => return StatusCode::NO_CONTENT.into_response(),
        Err(problem) => return http::problem(&problem),
    };
    match feed.settings.encoding {
        Encoding::Shared => {
            // SSE: the head leaves at once; one frame, all that is ready, is one write.
            let body = Body::from_bytes_stream(stream.frames().map(Ok::<_, io::Error>));
            let head = Response::builder().content_type(EVENT_STREAM);
            STREAM_HEADERS
                .into_iter()
                .fold(head, |head, (name, value)| head.header(name, value))
                .body(body)
        }
        Encoding::Native => {
            // poem: sets the same header fields; comments come at fixed times, silence or not.
            SSE::new(stream.events().map(to_event))
                .keep_alive(feed.settings.keep_alive())
                .into_response()
        }
    }
}

fn to_event(event: feed::Event) -> Event {
    // poem: a CR or LF in `id` or `event` starts a new field, so does a CR in data; empty data is
    // never dispatched, a last LF is lost, an empty id resets nothing. There is no comment, and no
    // retry with data.
    if let (Some(retry), None) = (event.retry, &event.data) {
        return Event::retry(u64::try_from(retry.as_millis()).unwrap_or(u64::MAX));
    }
    let mut native = Event::message(event.data.unwrap_or_default());
    if let Some(id) = event.id {
        native = native.id(id);
    }
    if let Some(kind) = event.event {
        native = native.event_type(kind);
    }
    native
}
