#![doc = include_str!("../README.md")]

mod http;

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, ServiceExt, middleware};
use feed::contract::{EVENT_STREAM, MAX_MESSAGE_BYTES, STREAM_HEADERS};
use feed::event::with;
use feed::listen::Connection;
use feed::settings::Encoding;
use feed::{Failure, Feed, StreamResponse, listen};
use futures_util::StreamExt;
use tower::Layer;

use crate::http::{Client, Listener, Refused};

fn main() -> Result<(), Failure> {
    let settings = feed::settings!();
    // SSE: set backlog, TCP_NODELAY, TCP_USER_TIMEOUT and TCP_NOTSENT_LOWAT on the listener;
    // accepted sockets inherit them (Linux, tcp(7)).
    let listener = listen::bind(&settings)?;
    let address = listener.local_addr()?;
    let feed = Feed::until_signal(settings)?;
    feed.settings.runtime()?.block_on(async {
        // axum: by itself it waits forever for a request; its trait `Listener` lets in a deadline.
        let listener = Listener(listen::Listener::from_std(listener, &feed.settings)?);
        // axum: a layer inside the router runs behind the routing, which adds its own headers.
        let guard = middleware::from_fn_with_state(Arc::clone(&feed), http::guard);
        let routes = guard.layer(routes(Arc::clone(&feed)));
        let routes = routes.into_make_service_with_connect_info::<Client>();
        listen::announce(address);
        // SSE: an event stream never ends by itself: feed ends each one on shutdown, or the
        // graceful stop would wait forever.
        let shutdown = async move { feed.shutdown.begun().await };
        axum::serve(listener, routes).with_graceful_shutdown(shutdown).await?;
        Ok(())
    })
}

fn routes(feed: Arc<Feed>) -> Router {
    // axum: a GET route answers HEAD too, without the body.
    Router::new()
        .route("/ticks", get(|f, r| stream(f, r, Feed::ticks)))
        .route("/time", get(|f, r| stream(f, r, Feed::time)))
        .route("/tasks", get(|f, r| stream(f, r, Feed::tasks)))
        .route("/simulation", get(|f, r| stream(f, r, Feed::simulation)))
        // SSE: test endpoint: the client chooses the events; 404 unless --conformance.
        .route("/script", get(|f, r| stream(f, r, Feed::script)))
        .route("/messages/{topic}", get(subscribe).post(publish))
        .route("/", get(http::page))
        .route("/healthz", get(http::healthz))
        .route("/metrics", get(http::metrics))
        .fallback(http::not_found)
        .method_not_allowed_fallback(http::not_found)
        .layer(DefaultBodyLimit::max(MAX_MESSAGE_BYTES))
        .with_state(feed)
}

async fn stream(
    State(feed): State<Arc<Feed>>,
    request: Request,
    open: impl FnOnce(&Feed, &str, Option<&[u8]>) -> StreamResponse,
) -> Result<Response, Refused> {
    // SSE: where to resume: the browser sends the last id it saw when it reconnects (HTML 9.2.4).
    let opened = open(&feed, http::query(&request), http::last_event_id(&request));
    respond(&feed, &http::connection(&request), opened)
}

async fn subscribe(
    feed: State<Arc<Feed>>,
    Path(topic): Path<String>,
    request: Request,
) -> Result<Response, Refused> {
    stream(feed, request, move |feed, query, id| feed.subscribe(&topic, query, id)).await
}

async fn publish(
    State(feed): State<Arc<Feed>>,
    Path(topic): Path<String>,
    request: Request,
) -> Result<Response, Refused> {
    // SSE: authorise before reading the body, so that no client can make the server buffer it for a
    // 401 (RFC 9110 15.5.2).
    let key = feed.may_publish(&topic, &http::publisher(&request))?;
    // SSE: answer when the bus has the message, and no sooner: with a broker that is a while.
    let json = feed.publish(&topic, key, http::read_message(request).await?).await?;
    Ok((StatusCode::CREATED, [(CONTENT_TYPE, "application/json")], json).into_response())
}

fn respond(
    feed: &Feed,
    connection: &Connection,
    opened: StreamResponse,
) -> Result<Response, Refused> {
    let Some(stream) = opened? else {
        // SSE: 204 No Content makes a browser's EventSource stop reconnecting (HTML 9.2.1).
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    // SSE: a connection has a deadline unless it streams, or silent clients would take all
    // connections; only the handler knows when it streams.
    let response = match feed.settings.encoding {
        Encoding::Shared => {
            // SSE: send the headers now, before the first event; then write each batch of ready
            // events at once (do not buffer).
            let frames = connection.streaming(stream.frames()).map(Ok::<_, Infallible>);
            ([(CONTENT_TYPE, EVENT_STREAM)], Body::from_stream(frames)).into_response()
        }
        Encoding::Native => {
            let events = connection.streaming(stream.events());
            let events = events.map(|event| Ok::<_, Infallible>(to_event(event)));
            // SSE: a comment after 15 s of silence keeps proxies from closing the connection (HTML
            // 9.2.7); feed's frames have it.
            let keep_alive = KeepAlive::new().interval(feed.settings.keep_alive());
            Sse::new(events).keep_alive(keep_alive).into_response()
        }
    };
    // SSE: a browser takes text/event-stream only (HTML 9.2.3); caches must not replay it
    // (no-cache, RFC 9111 5.2.2.4), nginx must not hold it back (X-Accel-Buffering: no).
    Ok((STREAM_HEADERS, response).into_response())
}

fn to_event(event: feed::Event) -> Event {
    // axum: CR or LF in `id`, `event` or a comment panics here, and so does NUL in `id`; empty data
    // is never dispatched.
    let native = with(Event::default(), event.comment, Event::comment);
    let native = with(native, event.id, Event::id);
    let native = with(native, event.event, Event::event);
    let native = with(native, event.retry, Event::retry);
    with(native, event.data, Event::data)
}
