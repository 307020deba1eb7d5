#![doc = include_str!("../README.md")]

mod http;
mod listen;

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;

use actix_web::dev::Server;
use actix_web::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use actix_web::middleware::from_fn;
use actix_web::web::{self, Data};
use actix_web::{App, Either, HttpRequest, HttpResponse, Responder};
use actix_web_lab::sse::{self, Sse};
use feed::contract::{EVENT_STREAM, PROMETHEUS, STREAM_HEADERS, unrouted};
use feed::settings::Encoding;
use feed::{Failure, Feed, Opened, page};
use futures_util::StreamExt;

use crate::http::StreamRequest;

#[actix_web::main]
async fn main() -> Result<(), Failure> {
    let settings = feed::settings!();
    // SSE: backlog, TCP_NODELAY and write timeout are the listener's; connections inherit them.
    let listener = listen::bind(&settings)?;
    let address = listener.local_addr()?;
    let feed = Feed::until_signal(settings)?;
    let shared = Data::from(Arc::clone(&feed));
    // actix: each worker is a thread with a runtime and an `App` of its own; they share `Data`.
    let app =
        move || App::new().app_data(shared.clone()).configure(routes).wrap(from_fn(http::guard));
    // actix: `HttpServer` would do the same, but answer the longest targets in its own words.
    let server = Server::build()
        .workers(feed.settings.workers.into())
        // actix: all beyond 25 600 connections of a worker would wait; --max-streams says 503.
        .max_concurrent_connections(usize::MAX)
        // SSE: every stream ends itself on shutdown, so that the graceful stop has an end.
        // actix: it would cut them off after 30 s; workers look each second whether they are done.
        .shutdown_signal(async move { feed.shutdown.begun().await });
    let server = listen::serve(server, listener, app)?;
    listen::announce(address);
    server.await?;
    Ok(())
}

fn routes(app: &mut web::ServiceConfig) {
    // actix: a GET route takes no HEAD, and each resource answers other methods in its own words.
    let at = |path| web::resource(path).default_service(web::to(not_found));
    let get = http::get_or_head;
    app.service(at("/").route(get().to(page)))
        .service(at("/ticks").route(get().to(ticks)))
        .service(at("/time").route(get().to(time)))
        .service(at("/tasks").route(get().to(tasks)))
        .service(at("/messages/{topic}").route(get().to(subscribe)).post(publish))
        .service(at("/simulation").route(get().to(simulation)))
        .service(at("/healthz").route(get().to(healthz)))
        .service(at("/metrics").route(get().to(metrics)))
        .service(at("/script").route(get().to(script)))
        .default_service(web::to(not_found));
}

async fn page() -> HttpResponse {
    let policy = page::CONTENT_SECURITY_POLICY.as_str();
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, page::CONTENT_TYPE))
        .insert_header((CONTENT_SECURITY_POLICY, policy))
        .body(page::HTML)
}

async fn ticks(feed: Data<Feed>, request: StreamRequest) -> impl Responder {
    respond(&feed, feed.ticks(&request.query, request.last_event_id()))
}

async fn time(feed: Data<Feed>, request: StreamRequest) -> impl Responder {
    respond(&feed, feed.time(&request.query, request.last_event_id()))
}

async fn tasks(feed: Data<Feed>, request: StreamRequest) -> impl Responder {
    respond(&feed, feed.tasks(&request.query, request.last_event_id()))
}

async fn subscribe(
    feed: Data<Feed>,
    topic: web::Path<String>,
    request: StreamRequest,
) -> impl Responder {
    respond(&feed, feed.subscribe(&topic, &request.query, request.last_event_id()))
}

async fn publish(
    feed: Data<Feed>,
    topic: web::Path<String>,
    request: HttpRequest,
    body: web::Payload,
) -> HttpResponse {
    let published = async {
        // SSE: whoever may not publish is told so before the body is read.
        feed.may_publish(&topic, &http::publisher(request.headers()))?;
        feed.publish(&topic, http::read_message(body).await?).await
    };
    match published.await {
        Ok(json) => HttpResponse::Created().content_type("application/json").body(json),
        Err(problem) => http::problem(&problem),
    }
}

async fn simulation(feed: Data<Feed>, request: StreamRequest) -> impl Responder {
    respond(&feed, feed.simulation(&request.query, request.last_event_id()))
}

async fn healthz() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain").body("ok\n")
}

async fn metrics(feed: Data<Feed>) -> HttpResponse {
    HttpResponse::Ok().content_type(PROMETHEUS).body(feed.metrics())
}

async fn script(feed: Data<Feed>, request: StreamRequest) -> impl Responder {
    // SSE: whoever asks chooses every byte of the answer, so this is for conformance tests only.
    respond(&feed, feed.script(&request.query, request.last_event_id()))
}

async fn not_found(feed: Data<Feed>, request: HttpRequest) -> HttpResponse {
    http::problem(&unrouted(request.uri().path(), feed.settings.conformance))
}

fn respond(feed: &Feed, opened: Opened) -> impl Responder + use<> {
    let stream = match opened {
        Ok(Some(stream)) => stream,
        // SSE: 204 tells an EventSource not to come back.
        Ok(None) => return Either::Left(HttpResponse::NoContent().finish()),
        Err(problem) => return Either::Left(http::problem(&problem)),
    };
    match feed.settings.encoding {
        Encoding::Shared => {
            // SSE: the head leaves at once; one frame, all that is ready, is one write.
            let mut response = HttpResponse::Ok();
            for header in STREAM_HEADERS {
                response.insert_header(header);
            }
            let frames = stream.frames().map(Ok::<_, Infallible>);
            Either::Left(response.content_type(EVENT_STREAM).streaming(frames))
        }
        Encoding::Native => {
            let events = stream.events().filter_map(|event| ready(to_event(event)));
            let mut response = Sse::from_infallible_stream(events)
                .with_keep_alive(feed.settings.keep_alive())
                .customize();
            for header in STREAM_HEADERS {
                response = response.insert_header(header);
            }
            Either::Right(response)
        }
    }
}

fn to_event(event: feed::Event) -> Option<sse::Event> {
    // actix: an event is data or a comment, with no `retry`: what shutdown says last is lost.
    let Some(data) = event.data else {
        return event.comment.map(|comment| sse::Event::Comment(comment.into()));
    };
    // actix: CR or LF in `id` or `event` and NUL in `id` are errors, and cut the connection off.
    let mut native = sse::Data::new(data);
    if let Some(id) = event.id {
        native.set_id(id);
    }
    if let Some(kind) = event.event {
        native.set_event(kind.into_owned());
    }
    Some(native.into())
}
