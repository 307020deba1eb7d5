#![doc = include_str!("../README.md")]

mod http;
mod launch;

use std::sync::Arc;

use feed::event::with;
use feed::settings::Encoding;
use feed::stream::{Events, Frames};
use feed::{Failure, Feed, StreamResponse, listen};
use rocket::futures::StreamExt;
use rocket::futures::stream::Map;
use rocket::http::{ContentType, Status};
use rocket::response::status::NoContent;
use rocket::response::stream::{ByteStream, Event, EventStream};
use rocket::shield::Shield;
use rocket::{Build, Data, Either, Rocket, State, catchers, get, post, routes};

use crate::http::{Guard, Refused, Request, Streamed};

/// 204, or a stream in one of the encodings.
type Answer = Either<NoContent, Streamed<Either<ByteStream<Frames>, EventStream<NativeEvents>>>>;
type NativeEvents = Map<Events, fn(feed::Event) -> Event>;

fn main() -> Result<(), Failure> {
    let settings = feed::settings!();
    // SSE: set backlog, TCP_NODELAY, TCP_USER_TIMEOUT and TCP_NOTSENT_LOWAT on the listener;
    // accepted sockets inherit them (Linux, tcp(7)).
    // rocket: it binds by itself: its backlog is 128, a write has neither timeout nor bound,
    // TCP_NODELAY is on.
    listen::raise_open_files();
    let feed = Feed::until_signal(settings)?;
    // rocket: `#[launch]` would take the number of threads from `Rocket.toml`.
    feed.settings.runtime()?.block_on(async {
        let rocket = routes(Arc::clone(&feed)).ignite().await?;
        // SSE: an event stream never ends by itself: feed ends each one on shutdown, or the
        // graceful stop would wait forever.
        // rocket: it would cut them, and `launch` would end in an error that panics unread.
        let shutdown = rocket.shutdown();
        let ended = async {
            feed.shutdown.begun().await;
            shutdown.notify();
            launch::drained().await;
        };
        tokio::select! {
            launched = rocket.launch() => launch::ended(launched, &feed.settings),
            () = ended => Ok(()),
        }
    })
}

fn routes(feed: Arc<Feed>) -> Rocket<Build> {
    // rocket: a GET route answers HEAD too, without the body.
    rocket::custom(http::config(&feed.settings))
        .manage(feed)
        // rocket: without this one it attaches a Shield that adds header fields to every answer.
        .attach(Shield::new())
        .attach(Guard)
        .attach(launch::announcement())
        // rocket: an attribute takes no closure, so these routes are made by hand.
        .mount("/", http::get("/ticks", |f, r| stream(f, r, Feed::ticks)))
        .mount("/", http::get("/time", |f, r| stream(f, r, Feed::time)))
        .mount("/", http::get("/tasks", |f, r| stream(f, r, Feed::tasks)))
        .mount("/", http::get("/simulation", |f, r| stream(f, r, Feed::simulation)))
        // SSE: test endpoint: the client chooses the events; 404 unless --conformance.
        .mount("/", http::get("/script", |f, r| stream(f, r, Feed::script)))
        .mount("/", routes![subscribe, publish])
        .mount("/", routes![http::page, http::healthz, http::metrics])
        .register("/", catchers![http::not_found])
}

fn stream(
    feed: &Feed,
    request: Request<'_>,
    open: impl FnOnce(&Feed, &str, Option<&[u8]>) -> StreamResponse,
) -> Result<Answer, Refused> {
    // SSE: where to resume: the browser sends the last id it saw when it reconnects (HTML 9.2.4).
    respond(feed, open(feed, http::query(&request), http::last_event_id(&request)))
}

#[get("/messages/<topic>")]
fn subscribe(
    feed: &State<Arc<Feed>>,
    topic: &str,
    request: Request<'_>,
) -> Result<Answer, Refused> {
    stream(feed, request, move |feed, query, id| feed.subscribe(topic, query, id))
}

#[post("/messages/<topic>", data = "<body>")]
async fn publish(
    feed: &State<Arc<Feed>>,
    topic: &str,
    request: Request<'_>,
    body: Data<'_>,
) -> Result<(Status, (ContentType, String)), Refused> {
    // SSE: authorise before reading the body, so that no client can make the server buffer it for a
    // 401 (RFC 9110 15.5.2).
    // rocket: but it waits for the first 14 bytes before it calls any guard.
    let key = feed.may_publish(topic, &http::publisher(&request))?;
    // SSE: answer when the bus has the message, and no sooner: with a broker that is a while.
    let json = feed.publish(topic, key, http::read_message(body).await?).await?;
    Ok((Status::Created, (ContentType::JSON, json)))
}

fn respond(feed: &Feed, opened: StreamResponse) -> Result<Answer, Refused> {
    let Some(stream) = opened? else {
        // SSE: 204 No Content makes a browser's EventSource stop reconnecting (HTML 9.2.1).
        return Ok(Either::Left(NoContent));
    };
    // SSE: a connection has a deadline unless it streams, or silent clients would take all
    // connections; only the handler knows when it streams.
    // rocket: none has one, and nothing from outside can give it one.
    let response = match feed.settings.encoding {
        Encoding::Shared => {
            // SSE: send the headers now, before the first event; then write each batch of ready
            // events at once (do not buffer).
            // rocket: it copies each frame, and cuts a frame in two at the end of its buffer.
            Either::Left(ByteStream(stream.frames()))
        }
        Encoding::Native => {
            let events = stream.events().map(to_event as fn(_) -> _);
            // SSE: a comment after 15 s of silence keeps proxies from closing the connection (HTML
            // 9.2.7); feed's frames have it.
            // rocket: its comment is a lone `:` line, sent each period whether events flow or not.
            Either::Right(EventStream::from(events).heartbeat(feed.settings.keep_alive()))
        }
    };
    // SSE: a browser takes text/event-stream only (HTML 9.2.3); caches must not replay it
    // (no-cache, RFC 9111 5.2.2.4), nginx must not hold it back (X-Accel-Buffering: no).
    Ok(Either::Right(Streamed(response)))
}

fn to_event(event: feed::Event) -> Event {
    // rocket: CR and LF in `id` and `event` become spaces. Its lines have no space after the colon,
    // so a client takes one from data that begins with it.
    let native = match (event.data, event.retry) {
        (Some(data), _) => Event::data(data),
        (None, Some(retry)) => Event::retry(retry),
        // rocket: its `Event::empty` has data, the empty one, and so a client would dispatch it.
        (None, None) => Event::comment(""),
    };
    let native = with(native, event.comment, Event::with_comment);
    let native = with(native, event.id, Event::id);
    let native = with(native, event.event, Event::event);
    with(native, event.retry, Event::with_retry)
}
