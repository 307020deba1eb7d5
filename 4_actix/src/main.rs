#![doc = include_str!("../README.md")]

mod connections;
mod http;

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;

use actix_web::middleware::from_fn;
use actix_web::web::{self, Data, Path, Payload};
use actix_web::{App, Either, HttpRequest, HttpResponse, HttpServer, Responder};
use actix_web_lab::sse::{self, Event, Sse};
use feed::contract::{EVENT_STREAM, STREAM_HEADERS};
use feed::event::with;
use feed::listen::Connection;
use feed::settings::Encoding;
use feed::{Failure, Feed, StreamResponse, listen};
use futures_util::StreamExt;

use crate::connections::Connections;
use crate::http::{Refused, get};

#[actix_web::main]
async fn main() -> Result<(), Failure> {
    let settings = feed::settings!();
    // SSE: set backlog, TCP_NODELAY, TCP_USER_TIMEOUT and TCP_NOTSENT_LOWAT on the listener;
    // accepted sockets inherit them (Linux, tcp(7)).
    let listener = listen::bind(&settings)?;
    let address = listener.local_addr()?;
    let feed = Feed::until_signal(settings)?;
    let shared = Data::from(Arc::clone(&feed));
    // actix: each worker is a thread with its own runtime and its own `App`; they share `Data`.
    let app =
        move || App::new().app_data(shared.clone()).configure(routes).wrap(from_fn(http::guard));
    let connections = Connections::new(&feed.settings);
    let server = HttpServer::new(app)
        .workers(feed.settings.workers.into())
        // actix: all beyond 25 600 connections of a worker would wait; --max-streams says 503.
        .max_connections(usize::MAX)
        // actix: these are the only two limits on time that it has.
        .client_request_timeout(feed.settings.request_timeout())
        .keep_alive(feed.settings.request_timeout())
        .on_connect(connections.watch())
        // actix: by default a client that closed its side stays until a write to it fails.
        .h1_allow_half_closed(false)
        // SSE: an event stream never ends by itself: feed ends each one on shutdown, or the
        // graceful stop would wait forever.
        // actix: it would cut them off after 30 s; workers look each second whether they are done.
        .shutdown_signal(async move { feed.shutdown.begun().await })
        .listen(listener)?;
    listen::announce(address);
    let server = server.run();
    actix_web::rt::spawn(connections.limit(server.handle()));
    server.await?;
    Ok(())
}

fn routes(app: &mut web::ServiceConfig) {
    // actix: a GET route takes no HEAD, and each resource answers other methods in its own words.
    let at = |path| web::resource(path).default_service(web::to(http::not_found));
    app.service(at("/ticks").route(get().to(|f, r| stream(f, r, Feed::ticks))))
        .service(at("/time").route(get().to(|f, r| stream(f, r, Feed::time))))
        .service(at("/tasks").route(get().to(|f, r| stream(f, r, Feed::tasks))))
        .service(at("/simulation").route(get().to(|f, r| stream(f, r, Feed::simulation))))
        // SSE: test endpoint: the client chooses the events; 404 unless --conformance.
        .service(at("/script").route(get().to(|f, r| stream(f, r, Feed::script))))
        .service(at("/messages/{topic}").route(get().to(subscribe)).post(publish))
        .service(at("/").route(get().to(http::page)))
        .service(at("/healthz").route(get().to(http::healthz)))
        .service(at("/metrics").route(get().to(http::metrics)))
        .default_service(web::to(http::not_found));
}

async fn stream(
    feed: Data<Feed>,
    request: HttpRequest,
    open: impl FnOnce(&Feed, &str, Option<&[u8]>) -> StreamResponse,
) -> Result<impl Responder, Refused> {
    // SSE: where to resume: the browser sends the last id it saw when it reconnects (HTML 9.2.4).
    let opened = open(&feed, http::query(&request), http::last_event_id(&request));
    respond(&feed, http::connection(&request), opened)
}

async fn subscribe(
    feed: Data<Feed>,
    topic: Path<String>,
    request: HttpRequest,
) -> Result<impl Responder, Refused> {
    stream(feed, request, move |feed, query, id| feed.subscribe(&topic, query, id)).await
}

async fn publish(
    feed: Data<Feed>,
    topic: Path<String>,
    request: HttpRequest,
    body: Payload,
) -> Result<HttpResponse, Refused> {
    // SSE: authorise before reading the body, so that no client can make the server buffer it for a
    // 401 (RFC 9110 15.5.2).
    let key = feed.may_publish(&topic, &http::publisher(&request))?;
    // SSE: answer when the bus has the message, and no sooner: with a broker that is a while.
    let json = feed.publish(&topic, key, http::read_message(&request, body).await?).await?;
    Ok(HttpResponse::Created().content_type("application/json").body(json))
}

fn respond(
    feed: &Feed,
    connection: &Connection,
    opened: StreamResponse,
) -> Result<impl Responder + use<>, Refused> {
    let Some(stream) = opened? else {
        // SSE: 204 No Content makes a browser's EventSource stop reconnecting (HTML 9.2.1).
        return Ok(Either::Left(HttpResponse::NoContent().finish()));
    };
    // SSE: a connection has a deadline unless it streams, or silent clients would take all
    // connections; only the handler knows when it streams.
    let response = match feed.settings.encoding {
        Encoding::Shared => {
            // SSE: send the headers now, before the first event; then write each batch of ready
            // events at once (do not buffer).
            let frames = connection.streaming(stream.frames()).map(Ok::<_, Infallible>);
            Either::Left(HttpResponse::Ok().content_type(EVENT_STREAM).streaming(frames))
        }
        Encoding::Native => {
            let events = connection.streaming(stream.events());
            let events = events.filter_map(|event| ready(to_event(event)));
            // SSE: a comment after 15 s of silence keeps proxies from closing the connection (HTML
            // 9.2.7); feed's frames have it.
            // actix: its comments come at fixed times, silence or not.
            let keep_alive = feed.settings.keep_alive();
            Either::Right(Sse::from_infallible_stream(events).with_keep_alive(keep_alive))
        }
    };
    // SSE: a browser takes text/event-stream only (HTML 9.2.3); caches must not replay it
    // (no-cache, RFC 9111 5.2.2.4), nginx must not hold it back (X-Accel-Buffering: no).
    let response = response.customize();
    let response = STREAM_HEADERS.into_iter().fold(response, |it, header| it.insert_header(header));
    Ok(Either::Right(response))
}

fn to_event(event: feed::Event) -> Option<Event> {
    // actix: an event is data or a comment, with no `retry`: the one at shutdown is lost.
    let Some(data) = event.data else {
        return event.comment.map(|comment| Event::Comment(comment.into()));
    };
    // actix: CR or LF in `id` or `event` and NUL in `id` are errors, and cut the connection off.
    let native = with(sse::Data::new(data), event.id, sse::Data::id);
    Some(with(native, event.event.map(String::from), sse::Data::event).into())
}
