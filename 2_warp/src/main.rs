#![doc = include_str!("../README.md")]
#![allow(
    clippy::needless_pass_by_value,
    reason = "warp hands over by value what its filters extract"
)]

mod http;
mod serve;

use std::convert::Infallible;
use std::sync::Arc;

use feed::contract::{EVENT_STREAM, STREAM_HEADERS};
use feed::event::with;
use feed::listen::Connection;
use feed::settings::Encoding;
use feed::{Failure, Feed, StreamResponse, listen};
use futures_util::{Stream, StreamExt};
use warp::http::StatusCode;
use warp::http::header::CONTENT_TYPE;
use warp::reply::{Response, with_header, with_status};
use warp::sse::Event;
use warp::{Buf, Filter, Reply};

use crate::http::{Refused, Request, Topic};

fn main() -> Result<(), Failure> {
    let settings = feed::settings!();
    // SSE: set backlog, TCP_NODELAY, TCP_USER_TIMEOUT and TCP_NOTSENT_LOWAT on the listener;
    // accepted sockets inherit them (Linux, tcp(7)).
    let listener = listen::bind(&settings)?;
    let address = listener.local_addr()?;
    let feed = Feed::until_signal(settings)?;
    feed.settings.runtime()?.block_on(async {
        let listener = listen::Listener::from_std(listener, &feed.settings)?;
        // warp: a filter cannot check what depends on the version of HTTP. Without such a check,
        // `warp::serve(routes).incoming(listener).graceful(shutdown).run()` would do.
        let routes = http::guard(Arc::clone(&feed), routes(Arc::clone(&feed)));
        listen::announce(address);
        // SSE: an event stream never ends by itself: feed ends each one on shutdown, or the
        // graceful stop would wait forever.
        let shutdown = async move { feed.shutdown.begun().await };
        serve::until(shutdown, listener, routes).await;
        Ok(())
    })
}

fn routes(feed: Arc<Feed>) -> impl Filter<Extract = (impl Reply,), Error = Infallible> + Clone {
    let feed = warp::any().map(move || Arc::clone(&feed));
    // warp: `warp::get()` refuses HEAD, and `path!` takes a slash at the end.
    let get = http::get().and(feed.clone()).and(http::request());
    let post = warp::post().and(feed.clone()).and(http::request()).and(warp::body::stream());
    let routes = (warp::path!("ticks").and(get.clone()).map(|f, r| stream(f, r, Feed::ticks)))
        .or(warp::path!("time").and(get.clone()).map(|f, r| stream(f, r, Feed::time)))
        .or(warp::path!("tasks").and(get.clone()).map(|f, r| stream(f, r, Feed::tasks)))
        .or(warp::path!("simulation").and(get.clone()).map(|f, r| stream(f, r, Feed::simulation)))
        // SSE: test endpoint: the client chooses the events; 404 unless --conformance.
        .or(warp::path!("script").and(get.clone()).map(|f, r| stream(f, r, Feed::script)))
        .or(warp::path!("messages" / Topic).and(get.clone()).map(subscribe))
        .or(warp::path!("messages" / Topic).and(post).then(publish))
        .or(warp::path::end().and(http::get()).map(http::page))
        .or(warp::path!("healthz").and(get).map(http::healthz))
        .or(warp::path!("metrics").and(http::get()).and(feed.clone()).map(http::metrics));
    // warp: rejections become a bare 404, or a 405 without `Allow`; so a last route takes the rest.
    http::no_slash_at_end().and(routes).or(warp::path::full().and(feed).map(http::not_found))
}

fn stream(
    feed: Arc<Feed>,
    request: Request,
    open: impl FnOnce(&Feed, &str, Option<&[u8]>) -> StreamResponse,
) -> Result<Response, Refused> {
    // SSE: where to resume: the browser sends the last id it saw when it reconnects (HTML 9.2.4).
    let opened = open(&feed, http::query(&request), http::last_event_id(&request));
    respond(&feed, http::connection(&request), opened)
}

fn subscribe(Topic(topic): Topic, feed: Arc<Feed>, request: Request) -> Result<Response, Refused> {
    stream(feed, request, move |feed, query, id| feed.subscribe(&topic, query, id))
}

async fn publish(
    Topic(topic): Topic,
    feed: Arc<Feed>,
    request: Request,
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Result<impl Reply, Refused> {
    // SSE: authorise before reading the body, so that no client can make the server buffer it for a
    // 401 (RFC 9110 15.5.2).
    let key = feed.may_publish(&topic, &http::publisher(&request))?;
    // SSE: answer when the bus has the message, and no sooner: with a broker that is a while.
    let json = feed.publish(&topic, key, http::read_message(body).await?).await?;
    Ok(with_status(with_header(json, CONTENT_TYPE, "application/json"), StatusCode::CREATED))
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
            with_header(warp::reply::stream(frames), CONTENT_TYPE, EVENT_STREAM).into_response()
        }
        Encoding::Native => {
            let events = connection.streaming(stream.events());
            let events = events.map(|event| Ok::<_, Infallible>(to_event(event)));
            // SSE: a comment after 15 s of silence keeps proxies from closing the connection (HTML
            // 9.2.7); feed's frames have it.
            let keep_alive = warp::sse::keep_alive().interval(feed.settings.keep_alive());
            warp::sse::reply(keep_alive.stream(events)).into_response()
        }
    };
    // SSE: a browser takes text/event-stream only (HTML 9.2.3); caches must not replay it
    // (no-cache, RFC 9111 5.2.2.4), nginx must not hold it back (X-Accel-Buffering: no).
    Ok(STREAM_HEADERS.into_iter().fold(response, |response, (name, value)| {
        with_header(response, name, value).into_response()
    }))
}

fn to_event(event: feed::Event) -> Event {
    // warp: CR and LF in `id`, `event` and comments go out as they are, and so does CR in `data`: a
    // client that controls one of them adds fields and events. No space follows the colon, so a
    // client takes the first space of a value for it.
    let native = with(Event::default(), event.comment, Event::comment);
    let native = with(native, event.id, Event::id);
    let native = with(native, event.event, Event::event);
    let native = with(native, event.retry, Event::retry);
    with(native, event.data, Event::data)
}
