#![doc = include_str!("../README.md")]
#![allow(
    clippy::needless_pass_by_value,
    reason = "warp hands over by value what its filters extract"
)]

mod http;
mod listen;

use std::convert::Infallible;
use std::sync::Arc;

use feed::contract::{EVENT_STREAM, PROMETHEUS, STREAM_HEADERS, unrouted};
use feed::settings::Encoding;
use feed::{Failure, Feed, Opened, page};
use futures_util::{Stream, StreamExt};
use tokio::net::TcpListener;
use warp::http::StatusCode;
use warp::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap};
use warp::path::FullPath;
use warp::reply::{Response, with_header, with_status};
use warp::sse::Event;
use warp::{Buf, Filter, Reply};

use crate::http::{StreamRequest, Topic};

fn main() -> Result<(), Failure> {
    let settings = feed::settings!();
    // SSE: backlog, TCP_NODELAY and write timeout are the listener's; connections inherit them.
    let listener = listen::bind(&settings)?;
    // warp: tokio takes only a listener that does not block.
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let feed = Feed::until_signal(settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(feed.settings.workers.into())
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        let routes = routes(Arc::clone(&feed));
        // warp: `warp::serve(routes)` has no place for a check that needs the version of HTTP.
        let service = http::guard(Arc::clone(&feed), routes);
        listen::announce(address);
        // SSE: every stream ends itself on shutdown, so that the graceful stop has an end.
        // warp: without that it waits for ever for a response that never ends (hyper#2787).
        let shutdown = async move { feed.shutdown.begun().await };
        listen::serve(listener, service, shutdown).await;
        Ok(())
    })
}

fn routes(feed: Arc<Feed>) -> impl Filter<Extract = (impl Reply,), Error = Infallible> + Clone {
    let feed = warp::any().map(move || Arc::clone(&feed));
    // warp: `warp::get()` refuses HEAD, and `path!` takes a slash at the end.
    let (get, stream) = (http::get(), http::stream_request());
    let routes = (warp::path::end().and(get).map(page))
        .or(warp::path!("ticks").and(get).and(feed.clone()).and(stream).map(ticks))
        .or(warp::path!("time").and(get).and(feed.clone()).and(stream).map(time))
        .or(warp::path!("tasks").and(get).and(feed.clone()).and(stream).map(tasks))
        .or(warp::path!("messages" / Topic).and(get).and(feed.clone()).and(stream).map(subscribe))
        .or(warp::path!("messages" / Topic)
            .and(warp::post())
            .and(feed.clone())
            .and(warp::header::headers_cloned())
            .and(warp::body::stream())
            .then(publish))
        .or(warp::path!("simulation").and(get).and(feed.clone()).and(stream).map(simulation))
        .or(warp::path!("healthz").and(get).map(healthz))
        .or(warp::path!("metrics").and(get).and(feed.clone()).map(metrics))
        .or(warp::path!("script").and(get).and(feed.clone()).and(stream).map(script));
    // warp: rejections become a bare 404, or a 405 without `Allow`; so a last route takes the rest.
    http::no_slash_at_end().and(routes).or(warp::path::full().and(feed).map(not_found))
}

fn page() -> impl Reply {
    let policy = page::CONTENT_SECURITY_POLICY.as_str();
    let html = with_header(page::HTML, CONTENT_TYPE, page::CONTENT_TYPE);
    with_header(html, CONTENT_SECURITY_POLICY, policy)
}

fn ticks(feed: Arc<Feed>, request: StreamRequest) -> Response {
    respond(&feed, feed.ticks(&request.query, request.last_event_id()))
}

fn time(feed: Arc<Feed>, request: StreamRequest) -> Response {
    respond(&feed, feed.time(&request.query, request.last_event_id()))
}

fn tasks(feed: Arc<Feed>, request: StreamRequest) -> Response {
    respond(&feed, feed.tasks(&request.query, request.last_event_id()))
}

fn subscribe(Topic(topic): Topic, feed: Arc<Feed>, request: StreamRequest) -> Response {
    respond(&feed, feed.subscribe(&topic, &request.query, request.last_event_id()))
}

async fn publish<B: Buf>(
    Topic(topic): Topic,
    feed: Arc<Feed>,
    headers: HeaderMap,
    body: impl Stream<Item = Result<B, warp::Error>>,
) -> Response {
    let published = async {
        // SSE: whoever may not publish is told so before the body is read.
        feed.may_publish(&topic, &http::publisher(&headers))?;
        feed.publish(&topic, http::read_message(body).await?).await
    };
    match published.await {
        Ok(json) => {
            let reply = with_header(json, CONTENT_TYPE, "application/json");
            with_status(reply, StatusCode::CREATED).into_response()
        }
        Err(problem) => http::problem(&problem),
    }
}

fn simulation(feed: Arc<Feed>, request: StreamRequest) -> Response {
    respond(&feed, feed.simulation(&request.query, request.last_event_id()))
}

fn healthz() -> impl Reply {
    with_header("ok\n", CONTENT_TYPE, "text/plain")
}

fn metrics(feed: Arc<Feed>) -> impl Reply {
    with_header(feed.metrics(), CONTENT_TYPE, PROMETHEUS)
}

fn script(feed: Arc<Feed>, request: StreamRequest) -> Response {
    // SSE: whoever asks chooses every byte of the answer, so this is for conformance tests only.
    respond(&feed, feed.script(&request.query, request.last_event_id()))
}

fn not_found(path: FullPath, feed: Arc<Feed>) -> Response {
    http::problem(&unrouted(path.as_str(), feed.settings.conformance))
}

fn respond(feed: &Feed, opened: Opened) -> Response {
    let stream = match opened {
        Ok(Some(stream)) => stream,
        // SSE: 204 tells an EventSource not to come back.
        Ok(None) => return StatusCode::NO_CONTENT.into_response(),
        Err(problem) => return http::problem(&problem),
    };
    let response = match feed.settings.encoding {
        Encoding::Shared => {
            // SSE: the head leaves at once; one frame, all that is ready, is one write.
            let frames = stream.frames().map(Ok::<_, Infallible>);
            with_header(warp::reply::stream(frames), CONTENT_TYPE, EVENT_STREAM).into_response()
        }
        Encoding::Native => {
            let events = stream.events().map(|event| Ok::<_, Infallible>(to_event(event)));
            let keep_alive = warp::sse::keep_alive().interval(feed.settings.keep_alive());
            warp::sse::reply(keep_alive.stream(events)).into_response()
        }
    };
    STREAM_HEADERS.into_iter().fold(response, |response, (name, value)| {
        with_header(response, name, value).into_response()
    })
}

fn to_event(event: feed::Event) -> Event {
    // warp: CR and LF in `id`, `event` and comments go out as they are, and so does CR in `data`:
    // whoever controls one of them adds fields and events of his own. No space follows the colon,
    // so a client takes the first space of a value for it.
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
