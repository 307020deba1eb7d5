#![doc = include_str!("../README.md")]

mod acceptor;
mod http;

use std::io;
use std::sync::Arc;

use feed::contract::{EVENT_STREAM, STREAM_HEADERS};
use feed::event::with;
use feed::listen::Connection;
use feed::settings::Encoding;
use feed::{Failure, Feed, StreamResponse, listen};
use futures_util::StreamExt;
use poem::endpoint::make_sync;
use poem::http::{HeaderValue, StatusCode};
use poem::web::sse::{Event, SSE};
use poem::web::{Data, Path};
use poem::{Body, Endpoint, EndpointExt, IntoResponse, Request, Response, Route, Server, handler};

use crate::acceptor::{Acceptor, GRACE, MAX_HTTP2_STREAMS};
use crate::http::{Refused, get};

fn main() -> Result<(), Failure> {
    let settings = feed::settings!();
    // SSE: set backlog, TCP_NODELAY, TCP_USER_TIMEOUT and TCP_NOTSENT_LOWAT on the listener;
    // accepted sockets inherit them (Linux, tcp(7)).
    let listener = listen::bind(&settings)?;
    let address = listener.local_addr()?;
    let feed = Feed::until_signal(settings)?;
    feed.settings.runtime()?.block_on(async {
        // poem: with its own acceptor it spins when out of descriptors, and keeps the stream of a
        // client that has left.
        let listener = Acceptor::new(listen::Listener::from_std(listener, &feed.settings)?);
        let routes = routes(Arc::clone(&feed)).data(listener.connections());
        listen::announce(address);
        // SSE: an event stream never ends by itself: feed ends each one on shutdown, or the
        // graceful stop would wait forever.
        let shutdown = async move { feed.shutdown.begun().await };
        Server::new_with_acceptor(listener)
            // poem: speaks HTTP/2 without TLS too, and has no limit there, whatever its docs say;
            // `http::guard` answers 505.
            .http2_max_concurrent_streams(MAX_HTTP2_STREAMS)
            .run_with_graceful_shutdown(routes, shutdown, Some(GRACE))
            .await?;
        Ok(())
    })
}

fn routes(feed: Arc<Feed>) -> impl Endpoint {
    // poem: its own `get` answers HEAD too, but without the Content-Length.
    Route::new()
        .at("/ticks", get(make_sync(|r| stream(&r, Feed::ticks))))
        .at("/time", get(make_sync(|r| stream(&r, Feed::time))))
        .at("/tasks", get(make_sync(|r| stream(&r, Feed::tasks))))
        .at("/simulation", get(make_sync(|r| stream(&r, Feed::simulation))))
        // SSE: test endpoint: the client chooses the events; 404 unless --conformance.
        .at("/script", get(make_sync(|r| stream(&r, Feed::script))))
        .at("/messages/:topic", get(subscribe).post(publish))
        .at("/", get(http::page))
        .at("/healthz", get(http::healthz))
        .at("/metrics", get(http::metrics))
        .around(http::guard)
        .data(feed)
}

fn stream(
    request: &Request,
    open: impl FnOnce(&Feed, &str, Option<&[u8]>) -> StreamResponse,
) -> Result<Response, Refused> {
    let feed = http::feed(request);
    // SSE: where to resume: the browser sends the last id it saw when it reconnects (HTML 9.2.4).
    let opened = open(feed, http::query(request), http::last_event_id(request));
    respond(feed, http::connection(request), opened)
}

#[handler]
fn subscribe(Path(topic): Path<String>, request: &Request) -> Result<Response, Refused> {
    stream(request, move |feed, query, id| feed.subscribe(&topic, query, id))
}

#[handler]
async fn publish(
    Data(feed): Data<&Arc<Feed>>,
    Path(topic): Path<String>,
    request: &Request,
    body: Body,
) -> Result<Response, Refused> {
    // SSE: authorise before reading the body, so that no client can make the server buffer it for a
    // 401 (RFC 9110 15.5.2).
    let key = feed.may_publish(&topic, &http::publisher(request))?;
    // SSE: answer when the bus has the message, and no sooner: with a broker that is a while.
    let json = feed.publish(&topic, key, http::read_message(body).await?).await?;
    let json = json.with_content_type("application/json");
    Ok(json.with_status(StatusCode::CREATED).into_response())
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
    let mut response = match feed.settings.encoding {
        Encoding::Shared => {
            // SSE: send the headers now, before the first event; then write each batch of ready
            // events at once (do not buffer).
            let frames = connection.streaming(stream.frames()).map(Ok::<_, io::Error>);
            Body::from_bytes_stream(frames).with_content_type(EVENT_STREAM).into_response()
        }
        Encoding::Native => {
            let events = connection.streaming(stream.events()).map(to_event);
            // SSE: a comment after 15 s of silence keeps proxies from closing the connection (HTML
            // 9.2.7); feed's frames have it.
            // poem: its comments come at fixed times, silence or not.
            SSE::new(events).keep_alive(feed.settings.keep_alive()).into_response()
        }
    };
    // SSE: a browser takes text/event-stream only (HTML 9.2.3); caches must not replay it
    // (no-cache, RFC 9111 5.2.2.4), nginx must not hold it back (X-Accel-Buffering: no).
    for (name, value) in STREAM_HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

fn to_event(event: feed::Event) -> Event {
    // poem: a CR or LF in `id` or `event` starts a new field, so does a CR in data; empty data is
    // never dispatched, a last LF is lost, an empty id resets nothing. There is no comment, and no
    // retry with data.
    if let (Some(retry), None) = (event.retry, &event.data) {
        return Event::retry(u64::try_from(retry.as_millis()).unwrap_or(u64::MAX));
    }
    let native = Event::message(event.data.unwrap_or_default());
    let native = with(native, event.id, Event::id);
    with(native, event.event, Event::event_type)
}
