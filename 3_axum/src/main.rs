#![doc = include_str!("../README.md")]

mod http;
mod listen;

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{StatusCode, Uri};
use axum::middleware;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, ServiceExt};
use feed::contract::{EVENT_STREAM, MAX_MESSAGE_BYTES, PROMETHEUS, STREAM_HEADERS, unrouted};
use feed::settings::Encoding;
use feed::{Failure, Feed, Opened, page};
use futures_util::StreamExt;
use tokio::net::TcpListener;
use tower::Layer;

use crate::http::StreamRequest;

fn main() -> Result<(), Failure> {
    let settings = feed::settings!();
    // SSE: backlog, TCP_NODELAY and write timeout are the listener's; connections inherit them.
    let listener = listen::bind(&settings)?;
    // axum: tokio takes only a listener that does not block.
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let feed = Feed::until_signal(settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(feed.settings.workers.into())
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // axum: it would wait for ever for the head of a request.
        let listener = listen::Listener(TcpListener::from_std(listener)?);
        // axum: a layer inside the router runs behind the routing, which adds headers of its own.
        let guard = middleware::from_fn_with_state(Arc::clone(&feed), http::guard);
        let routes = guard.layer(routes(Arc::clone(&feed))).into_make_service();
        listen::announce(address);
        // SSE: every stream ends itself on shutdown, so that the graceful stop has an end.
        // axum: without that it waits for ever for a response that never ends (axum#2673).
        let shutdown = async move { feed.shutdown.begun().await };
        axum::serve(listener, routes).with_graceful_shutdown(shutdown).await?;
        Ok(())
    })
}

fn routes(feed: Arc<Feed>) -> Router {
    // axum: a GET route answers HEAD too, without the body.
    Router::new()
        .route("/", get(page))
        .route("/ticks", get(ticks))
        .route("/time", get(time))
        .route("/tasks", get(tasks))
        .route("/messages/{topic}", get(subscribe).post(publish))
        .route("/simulation", get(simulation))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .route("/script", get(script))
        .fallback(not_found)
        .method_not_allowed_fallback(not_found)
        .layer(DefaultBodyLimit::max(MAX_MESSAGE_BYTES))
        .with_state(feed)
}

async fn page() -> Response {
    let policy = page::CONTENT_SECURITY_POLICY.as_str();
    ([(CONTENT_TYPE, page::CONTENT_TYPE), (CONTENT_SECURITY_POLICY, policy)], page::HTML)
        .into_response()
}

async fn ticks(State(feed): State<Arc<Feed>>, request: StreamRequest) -> Response {
    respond(&feed, feed.ticks(&request.query, request.last_event_id()))
}

async fn time(State(feed): State<Arc<Feed>>, request: StreamRequest) -> Response {
    respond(&feed, feed.time(&request.query, request.last_event_id()))
}

async fn tasks(State(feed): State<Arc<Feed>>, request: StreamRequest) -> Response {
    respond(&feed, feed.tasks(&request.query, request.last_event_id()))
}

async fn subscribe(
    State(feed): State<Arc<Feed>>,
    Path(topic): Path<String>,
    request: StreamRequest,
) -> Response {
    respond(&feed, feed.subscribe(&topic, &request.query, request.last_event_id()))
}

async fn publish(
    State(feed): State<Arc<Feed>>,
    Path(topic): Path<String>,
    request: Request,
) -> Response {
    let published = async {
        // SSE: whoever may not publish is told so before the body is read.
        feed.may_publish(&topic, &http::publisher(request.headers()))?;
        feed.publish(&topic, http::read_message(request).await?).await
    };
    match published.await {
        Ok(json) => {
            (StatusCode::CREATED, [(CONTENT_TYPE, "application/json")], json).into_response()
        }
        Err(problem) => http::problem(&problem),
    }
}

async fn simulation(State(feed): State<Arc<Feed>>, request: StreamRequest) -> Response {
    respond(&feed, feed.simulation(&request.query, request.last_event_id()))
}

async fn healthz() -> Response {
    ([(CONTENT_TYPE, "text/plain")], "ok\n").into_response()
}

async fn metrics(State(feed): State<Arc<Feed>>) -> Response {
    ([(CONTENT_TYPE, PROMETHEUS)], feed.metrics()).into_response()
}

async fn script(State(feed): State<Arc<Feed>>, request: StreamRequest) -> Response {
    // SSE: whoever asks chooses every byte of the answer, so this is for conformance tests only.
    respond(&feed, feed.script(&request.query, request.last_event_id()))
}

async fn not_found(State(feed): State<Arc<Feed>>, uri: Uri) -> Response {
    http::problem(&unrouted(uri.path(), feed.settings.conformance))
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
            let body = Body::from_stream(stream.frames().map(Ok::<_, Infallible>));
            (STREAM_HEADERS, [(CONTENT_TYPE, EVENT_STREAM)], body).into_response()
        }
        Encoding::Native => {
            let events = stream.events().map(|event| Ok::<_, Infallible>(to_event(event)));
            let keep_alive = KeepAlive::new().interval(feed.settings.keep_alive());
            (STREAM_HEADERS, Sse::new(events).keep_alive(keep_alive)).into_response()
        }
    }
}

fn to_event(event: feed::Event) -> Event {
    // axum: CR or LF in `id`, `event` or a comment panics here, and so does NUL in `id`; empty data
    // is never dispatched.
    let mut native = Event::default();
    if let Some(comment) = event.comment {
        native = native.comment(comment);
    }
    if let Some(id) = event.id {
        native = native.id(id);
    }
    if let Some(kind) = event.event {
        native = native.event(kind);
    }
    if let Some(retry) = event.retry {
        native = native.retry(retry);
    }
    if let Some(data) = event.data {
        native = native.data(data);
    }
    native
}
