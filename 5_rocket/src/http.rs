//! What Rocket leaves to its user: one check of every request, problems as answers, a limit on
//! bodies, a quiet start.

use std::collections::HashSet;
use std::convert::Infallible;
use std::io::Cursor;

use feed::Problem;
use feed::contract::{EVENT_STREAM, Head, MAX_MESSAGE_BYTES, STREAM_HEADERS, unrouted};
use feed::settings::Settings;
use feed::stream::COALESCE_BYTES;
use rocket::config::{Ident, LogLevel, Shutdown};
use rocket::data::ByteUnit;
use rocket::fairing::{Fairing, Info, Kind};
use rocket::http::Status;
use rocket::request::{FromRequest, Outcome};
use rocket::response::{self, Responder};
use rocket::{Config, Data, Request, Response, uri};

use crate::SharedFeed;

/// Bytes of one chunk of a body at most: what `feed` gathers for one write, and an event more.
/// Rocket's own 4096 would cut that into pieces. Each stream has a buffer of this size.
const MAX_CHUNK_BYTES: usize = COALESCE_BYTES + 4096;

/// Seconds that connections get to end: more than `feed` gives the whole process, so it decides.
const GRACE_S: u32 = 2;

/// What the command line says, in Rocket's terms. With a `Config` for its provider Rocket reads no
/// `Rocket.toml` and no `ROCKET_…` variable.
pub fn config(settings: &Settings) -> Config {
    Config {
        address: settings.host,
        port: settings.port,
        ident: Ident::none(),
        log_level: LogLevel::Off,
        // `feed` handles the signals; its streams end themselves.
        shutdown: Shutdown {
            ctrlc: false,
            signals: HashSet::new(),
            grace: GRACE_S,
            ..Shutdown::default()
        },
        ..Config::release_default()
    }
}

/// What a request for a stream says: its query and where to resume.
#[derive(Clone, Copy)]
pub struct StreamRequest<'r> {
    pub query: &'r str,
    last_event_id: Option<&'r str>,
}

impl StreamRequest<'_> {
    pub fn last_event_id(&self) -> Option<&[u8]> {
        self.last_event_id.map(str::as_bytes)
    }
}

#[rocket::async_trait]
impl<'r> FromRequest<'r> for StreamRequest<'r> {
    type Error = Infallible;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, Infallible> {
        let query = request.uri().query().map_or("", |query| query.as_str());
        let last_event_id = request.headers().get_one("Last-Event-ID");
        Outcome::Success(StreamRequest { query, last_event_id })
    }
}

/// Who wants to publish.
pub struct Publisher<'r>(pub feed::Publisher<'r>);

#[rocket::async_trait]
impl<'r> FromRequest<'r> for Publisher<'r> {
    type Error = Infallible;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, Infallible> {
        let field = |name| request.headers().get_one(name).map(str::as_bytes);
        Outcome::Success(Publisher(feed::Publisher {
            authorization: field("Authorization"),
            origin: field("Origin"),
            host: field("Host"),
        }))
    }
}

/// Checks every request before its handler sees it, and lets allowed origins read the answer.
///
/// hyper takes a missing or a doubled Host
/// ([hyper#3777](https://github.com/hyperium/hyper/issues/3777)), longer targets and larger headers
/// than the contract.
pub struct Guard;

#[rocket::async_trait]
impl Fairing for Guard {
    fn info(&self) -> Info {
        Info { name: "guard", kind: Kind::Request | Kind::Response }
    }

    async fn on_request(&self, request: &mut Request<'_>, _: &mut Data<'_>) {
        let refused = request.local_cache(|| head(request).check().err());
        // A fairing cannot answer, but it can send the request where no route is: there the
        // catcher answers. Rocket would take `/ticks/`, `//ticks` and `/%74icks` for `/ticks` too.
        if refused.is_some() || nowhere(request).status == 404 {
            request.set_uri(uri!("/refused"));
        }
    }

    async fn on_response<'r>(&self, request: &'r Request<'_>, response: &mut Response<'r>) {
        allow_origin(request, response);
    }
}

/// Why this request is refused: because of what it is, or because there is nothing for it here.
pub fn refusal(request: &Request<'_>) -> Problem {
    // The guard has looked already, unless Rocket does not know the method: then no fairing runs.
    let refused = request.local_cache(|| head(request).check().err());
    refused.clone().unwrap_or_else(|| nowhere(request))
}

/// What is wrong if no route takes this request.
fn nowhere(request: &Request<'_>) -> Problem {
    let feed: Option<&SharedFeed> = request.rocket().state();
    let conformance = feed.is_some_and(|feed| feed.settings.conformance);
    unrouted(request.uri().path().as_str(), conformance)
}

fn allow_origin(request: &Request<'_>, response: &mut Response<'_>) {
    let feed: Option<&SharedFeed> = request.rocket().state();
    let origin = request.headers().get_one("Origin").map(str::as_bytes);
    if let Some(origin) = feed.and_then(|feed| feed.allowed_origin(origin)) {
        response.set_raw_header("Access-Control-Allow-Origin", origin.to_owned());
        response.set_raw_header("Vary", "Origin");
    }
}

fn head<'r>(request: &'r Request<'_>) -> Head<'r> {
    let (path, query) = (request.uri().path(), request.uri().query());
    let fields = request.headers().iter();
    Head {
        // Rocket does not tell the version, so HTTP/1.0 needs a Host here too.
        http_1_1: true,
        hosts: request.headers().get("Host").count(),
        path: path.as_str(),
        target_bytes: path.len() + query.map_or(0, |query| 1 + query.len()),
        header_bytes: fields.map(|field| field.name().as_str().len() + field.value().len()).sum(),
    }
}

/// A message, read no further than its limit.
pub async fn read_message(body: Data<'_>) -> Result<Vec<u8>, Problem> {
    match body.open(ByteUnit::from(MAX_MESSAGE_BYTES)).into_bytes().await {
        Ok(message) if message.is_complete() => Ok(message.into_inner()),
        Ok(_) => Err(Problem::body_too_large(MAX_MESSAGE_BYTES)),
        Err(_) => Err(Problem::torn_body()),
    }
}

/// A problem as an answer.
pub struct Refused(pub Problem);

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Refused {
        Refused(problem)
    }
}

impl<'r> Responder<'r, 'static> for Refused {
    fn respond_to(self, request: &'r Request<'_>) -> response::Result<'static> {
        let Refused(problem) = self;
        let json = problem.json();
        let mut response = Response::build();
        response.status(Status::new(problem.status)).sized_body(json.len(), Cursor::new(json));
        for (name, value) in problem.headers() {
            response.raw_header(name, value);
        }
        let mut response = response.finalize();
        // Here too, because of the methods that Rocket does not know.
        allow_origin(request, &mut response);
        Ok(response)
    }
}

/// A stream with the head that every event stream has.
pub struct Streamed<R>(pub R);

impl<'r, 'o: 'r, R: Responder<'r, 'o>> Responder<'r, 'o> for Streamed<R> {
    fn respond_to(self, request: &'r Request<'_>) -> response::Result<'o> {
        let mut response = Response::build_from(self.0.respond_to(request)?);
        response.max_chunk_size(MAX_CHUNK_BYTES).raw_header("Content-Type", EVENT_STREAM);
        for (name, value) in STREAM_HEADERS {
            response.raw_header(name, value);
        }
        response.ok()
    }
}
