#![doc = include_str!("../README.md")]

mod http;
mod listen;
mod timeout;

use std::sync::Arc;

use feed::contract::PROMETHEUS;
use feed::settings::Encoding;
use feed::stream::{Events, Frames};
use feed::{Failure, Feed, Opened, Problem};
use rocket::futures::StreamExt;
use rocket::futures::stream::Map;
use rocket::http::{ContentType, Header, Status};
use rocket::response::status::NoContent;
use rocket::response::stream::{ByteStream, Event, EventStream};
use rocket::shield::Shield;
use rocket::{Build, Data, Request, Responder, Rocket, State, catch, catchers, get, post, routes};

use crate::http::{Guard, Publisher, Refused, StreamRequest, Streamed};
use crate::listen::Liftoff;
use crate::timeout::RequestTimeout;

type SharedFeed = Arc<Feed>;

fn main() -> Result<(), Failure> {
    let settings = feed::settings!();
    // SSE: backlog, TCP_NODELAY and write timeout are the listener's; connections inherit them.
    // rocket: it binds by itself. This listener only proves that it can; `Liftoff` mends Rocket's.
    drop(feed::listen::bind(&settings)?);
    let feed = Feed::until_signal(settings)?;
    // rocket: `#[launch]` would take the number of threads from `Rocket.toml`.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(feed.settings.workers.into())
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let rocket = routes(Arc::clone(&feed)).ignite().await?;
        // SSE: every stream ends itself on shutdown, so that the graceful stop has an end.
        // rocket: without that it cuts them, and `launch` ends in an error that panics unread.
        let shutdown = rocket.shutdown();
        let ended = async {
            feed.shutdown.begun().await;
            shutdown.notify();
            listen::drained().await;
        };
        tokio::select! {
            launched = rocket.launch() => drop(launched?),
            () = ended => (),
        }
        Ok(())
    })
}

fn routes(feed: SharedFeed) -> Rocket<Build> {
    // rocket: a GET route answers HEAD too, without the body.
    rocket::custom(http::config(&feed.settings))
        .manage(feed)
        // rocket: without this one it attaches a Shield that adds header fields to every answer.
        .attach(Shield::new())
        .attach(Guard)
        // rocket: it waits for ever for a request that does not end.
        .attach(RequestTimeout::default())
        .attach(Liftoff)
        .mount("/", routes![page, ticks, time, tasks, subscribe, publish])
        .mount("/", routes![simulation, healthz, metrics, script])
        .register("/", catchers![not_found])
}

#[derive(Responder)]
struct Page(&'static str, ContentType, Header<'static>);

#[get("/")]
fn page() -> Page {
    let policy = feed::page::CONTENT_SECURITY_POLICY.as_str();
    Page(feed::page::HTML, ContentType::HTML, Header::new("Content-Security-Policy", policy))
}

#[get("/ticks")]
fn ticks(feed: &State<SharedFeed>, request: StreamRequest<'_>) -> Answer {
    respond(feed, feed.ticks(request.query, request.last_event_id()))
}

#[get("/time")]
fn time(feed: &State<SharedFeed>, request: StreamRequest<'_>) -> Answer {
    respond(feed, feed.time(request.query, request.last_event_id()))
}

#[get("/tasks")]
fn tasks(feed: &State<SharedFeed>, request: StreamRequest<'_>) -> Answer {
    respond(feed, feed.tasks(request.query, request.last_event_id()))
}

#[get("/messages/<topic>")]
fn subscribe(feed: &State<SharedFeed>, topic: &str, request: StreamRequest<'_>) -> Answer {
    respond(feed, feed.subscribe(topic, request.query, request.last_event_id()))
}

#[post("/messages/<topic>", data = "<body>")]
async fn publish(
    feed: &State<SharedFeed>,
    topic: &str,
    publisher: Publisher<'_>,
    body: Data<'_>,
) -> Result<(Status, (ContentType, String)), Refused> {
    // SSE: whoever may not publish is told so before the body is read.
    // rocket: but it waits for the first 14 bytes before it asks anyone.
    feed.may_publish(topic, &publisher.0)?;
    let json = feed.publish(topic, http::read_message(body).await?).await?;
    Ok((Status::Created, (ContentType::JSON, json)))
}

#[get("/simulation")]
fn simulation(feed: &State<SharedFeed>, request: StreamRequest<'_>) -> Answer {
    respond(feed, feed.simulation(request.query, request.last_event_id()))
}

#[get("/healthz")]
fn healthz() -> (ContentType, &'static str) {
    // rocket: its `ContentType::Plain` says `charset=utf-8` too.
    (ContentType::new("text", "plain"), "ok\n")
}

#[get("/metrics")]
fn metrics(feed: &State<SharedFeed>) -> (ContentType, String) {
    (PROMETHEUS.parse().expect("the contract names a media type"), feed.metrics())
}

#[get("/script")]
fn script(feed: &State<SharedFeed>, request: StreamRequest<'_>) -> Answer {
    // SSE: whoever asks chooses every byte of the answer, so this is for conformance tests only.
    respond(feed, feed.script(request.query, request.last_event_id()))
}

#[catch(default)]
fn not_found(status: Status, request: &Request<'_>) -> Refused {
    Refused(match status {
        // rocket: 404 is also a path without this method, and 400 a method that it does not know.
        Status::NotFound | Status::BadRequest => http::refusal(request),
        _ => Problem::internal(),
    })
}

// rocket: its derive finds the lifetime of a streamed answer only if the types are left open.
#[derive(Responder)]
enum Reply<S, N> {
    Shared(Streamed<S>),
    Native(Streamed<N>),
    Ended(NoContent),
    Refused(Refused),
}

type Answer = Reply<ByteStream<Frames>, EventStream<Map<Events, fn(feed::Event) -> Event>>>;

fn respond(feed: &Feed, opened: Opened) -> Answer {
    let stream = match opened {
        Ok(Some(stream)) => stream,
        // SSE: 204 tells an EventSource not to come back.
        Ok(None) => return Answer::Ended(NoContent),
        Err(problem) => return Answer::Refused(Refused(problem)),
    };
    match feed.settings.encoding {
        Encoding::Shared => {
            // SSE: the head leaves at once; one frame, all that is ready, is one write.
            // rocket: it copies the frame, and cuts the one in two that meets its buffer's end.
            Answer::Shared(Streamed(ByteStream(stream.frames())))
        }
        Encoding::Native => {
            let events = stream.events().map(to_event as fn(_) -> _);
            // rocket: its comment is a lone `:` line, sent each period whether events flow or not.
            let events = EventStream::from(events).heartbeat(feed.settings.keep_alive());
            Answer::Native(Streamed(events))
        }
    }
}

fn to_event(event: feed::Event) -> Event {
    // rocket: CR and LF in `id` and `event` become spaces. Its lines have no space after the colon,
    // so a client takes one from data that begins with it.
    let mut native = match (event.data, event.retry) {
        (Some(data), _) => Event::data(data),
        (None, Some(retry)) => Event::retry(retry),
        // rocket: its `Event::empty` has data, the empty one, and so a client would dispatch it.
        (None, None) => Event::comment(""),
    };
    if let Some(comment) = event.comment {
        native = native.with_comment(comment);
    }
    if let Some(id) = event.id {
        native = native.id(id);
    }
    if let Some(kind) = event.event {
        native = native.event(kind);
    }
    if let Some(retry) = event.retry {
        native = native.with_retry(retry);
    }
    native
}
