//! The parts that Rocket leaves to its user: a check of every request, problems as answers, a limit
//! on bodies, a quiet start.

use std::collections::HashSet;
use std::convert::Infallible;
use std::io::Cursor;
use std::sync::Arc;

use feed::contract::{
    self, EVENT_STREAM, MAX_MESSAGE_BYTES, PROMETHEUS, Preflight, RequestFacts, STREAM_HEADERS,
};
use feed::settings::Settings;
use feed::stream::COALESCE_BYTES;
use feed::{Feed, Problem, Publisher};
use rocket::config::{Ident, LogLevel, Shutdown};
use rocket::data::ByteUnit;
use rocket::fairing::{Fairing, Info, Kind};
use rocket::http::uri::Origin;
use rocket::http::{ContentType, Header, HeaderMap, Method, Status};
use rocket::request::{FromRequest, Outcome};
use rocket::response::{self, Responder};
use rocket::route::{self, Handler, Route};
use rocket::{Config, Data, Response, State, uri};

use crate::Answer;

/// Bytes of one chunk of a body at most: those that `feed` gathers for one write, and one more
/// event. Rocket's own 4096 would cut them into pieces. Each stream has a buffer of this size.
const MAX_CHUNK_BYTES: usize = COALESCE_BYTES + 4096;

/// Seconds that connections get to end: more than `feed` gives the whole process, so it decides.
const GRACE_S: u32 = 2;

/// The settings as Rocket's configuration. With a `Config` as its provider Rocket reads no
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

/// The part of a request that handlers take.
#[derive(Clone, Copy)]
pub struct Request<'r> {
    uri: &'r Origin<'r>,
    headers: &'r HeaderMap<'r>,
}

impl<'r> From<&'r rocket::Request<'_>> for Request<'r> {
    fn from(request: &'r rocket::Request<'_>) -> Request<'r> {
        Request { uri: request.uri(), headers: request.headers() }
    }
}

#[rocket::async_trait]
impl<'r> FromRequest<'r> for Request<'r> {
    type Error = Infallible;

    async fn from_request(request: &'r rocket::Request<'_>) -> Outcome<Self, Infallible> {
        Outcome::Success(request.into())
    }
}

/// The query of a request, empty if there is none.
pub fn query<'r>(request: &Request<'r>) -> &'r str {
    request.uri.query().map_or("", |query| query.as_str())
}

/// Where a client wants to resume.
pub fn last_event_id<'r>(request: &Request<'r>) -> Option<&'r [u8]> {
    request.headers.get_one("Last-Event-ID").map(str::as_bytes)
}

/// The header fields that decide whether a request may publish.
pub fn publisher<'r>(request: &Request<'r>) -> Publisher<'r> {
    let field = |name| request.headers.get_one(name).map(str::as_bytes);
    Publisher {
        authorization: field("Authorization"),
        origin: field("Origin"),
        host: field("Host"),
        content_length: field("Content-Length"),
        idempotency_key: field("Idempotency-Key"),
    }
}

type Answering = fn(&Feed, Request<'_>) -> Result<Answer, Refused>;

/// A route for GET; a function of the request makes the answer.
pub fn get(path: &str, answering: Answering) -> [Route; 1] {
    [Route::new(Method::Get, path, Get(answering))]
}

#[derive(Clone)]
struct Get(Answering);

#[rocket::async_trait]
impl Handler for Get {
    async fn handle<'r>(
        &self,
        request: &'r rocket::Request<'_>,
        _: Data<'r>,
    ) -> route::Outcome<'r> {
        let Get(answering) = self;
        route::Outcome::from(request, answering(feed(request), request.into()))
    }
}

#[derive(Responder)]
pub struct Page(&'static str, ContentType, Header<'static>);

#[rocket::get("/")]
pub fn page() -> Page {
    // A handler is also a type, and would hide a module of the same name.
    let policy = feed::page::CONTENT_SECURITY_POLICY.as_str();
    Page(feed::page::HTML, ContentType::HTML, Header::new("Content-Security-Policy", policy))
}

#[rocket::get("/healthz")]
pub fn healthz(
    feed: &State<Arc<Feed>>,
    request: Request<'_>,
) -> Result<(ContentType, &'static str), Refused> {
    // Rocket's `ContentType::Plain` says `charset=utf-8` too.
    Ok((ContentType::new("text", "plain"), feed.healthz(query(&request))?))
}

#[rocket::get("/metrics")]
pub fn metrics(feed: &State<Arc<Feed>>) -> (ContentType, String) {
    (PROMETHEUS.parse().expect("the contract names a media type"), feed.metrics())
}

#[rocket::catch(default)]
pub fn not_found(status: Status, request: &rocket::Request<'_>) -> Result<Preflighted, Refused> {
    match (status, check(request)) {
        // 404 is also a path without this method, and 400 a method that Rocket does not know.
        (Status::NotFound | Status::BadRequest, Err(problem)) => Err(Refused(problem.clone())),
        (Status::NotFound, Ok(Some(preflight))) => Ok(Preflighted(*preflight)),
        (Status::NotFound | Status::BadRequest, Ok(_)) => Err(Refused(no_route(request))),
        _ => Err(Refused(Problem::internal())),
    }
}

/// The state that all handlers share.
fn feed<'r>(request: &'r rocket::Request<'_>) -> &'r Arc<Feed> {
    request.rocket().state().expect("`routes` has it managed")
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

    async fn on_request(&self, request: &mut rocket::Request<'_>, _: &mut Data<'_>) {
        // A fairing cannot answer, but it can send the request where no route is: there the
        // catcher answers. Rocket would take `/ticks/`, `//ticks` and `/%74icks` for `/ticks` too.
        if check(request).is_err() || no_route(request).status == 404 {
            request.set_uri(uri!("/refused"));
        }
    }

    async fn on_response<'r>(&self, request: &'r rocket::Request<'_>, response: &mut Response<'r>) {
        allow_origin(request, response);
    }
}

/// The result of the check. The guard has made it before the catcher asks, unless Rocket does not know
/// the method: then no fairing runs.
fn check<'r>(request: &'r rocket::Request<'_>) -> &'r Result<Option<Preflight>, Problem> {
    request.local_cache(|| feed(request).check(&facts(request)))
}

/// The problem with a request that no route takes.
fn no_route(request: &rocket::Request<'_>) -> Problem {
    contract::no_route(request.uri().path().as_str(), feed(request).settings.conformance)
}

fn allow_origin(request: &rocket::Request<'_>, response: &mut Response<'_>) {
    let origin = request.headers().get_one("Origin").map(str::as_bytes);
    if let Some(origin) = feed(request).allowed_origin(origin) {
        response.set_raw_header("Access-Control-Allow-Origin", origin.to_owned());
        response.set_raw_header("Vary", "Origin");
    }
}

fn facts<'r>(request: &'r rocket::Request<'_>) -> RequestFacts<'r> {
    let (path, query) = (request.uri().path(), request.uri().query());
    let fields = request.headers().iter();
    let field = |name| request.headers().get_one(name).map(str::as_bytes);
    RequestFacts {
        // Rocket does not show the version, so HTTP/1.0 needs a Host here too.
        http_1_1: true,
        method: request.method().as_str(),
        hosts: request.headers().get("Host").count(),
        // Nor the authority of an absolute target.
        host: field("Host"),
        origin: field("Origin"),
        asks_for_method: field("Access-Control-Request-Method").is_some(),
        transfer_encodings: request.headers().get("Transfer-Encoding").count(),
        transfer_encoding: field("Transfer-Encoding"),
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
        Err(_) => Err(Problem::incomplete_body()),
    }
}

/// A problem as an answer.
pub struct Refused(Problem);

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Refused {
        Refused(problem)
    }
}

impl<'r> Responder<'r, 'static> for Refused {
    fn respond_to(self, request: &'r rocket::Request<'_>) -> response::Result<'static> {
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

/// The answer to a preflight.
pub struct Preflighted(Preflight);

impl<'r> Responder<'r, 'static> for Preflighted {
    fn respond_to(self, _: &'r rocket::Request<'_>) -> response::Result<'static> {
        let Preflighted(fields) = self;
        let mut response = Response::build();
        response.status(Status::NoContent);
        for (name, value) in fields {
            response.raw_header(name, value);
        }
        response.ok()
    }
}

/// A stream with the head that every event stream has.
pub struct Streamed<R>(pub R);

impl<'r, 'o: 'r, R: Responder<'r, 'o>> Responder<'r, 'o> for Streamed<R> {
    fn respond_to(self, request: &'r rocket::Request<'_>) -> response::Result<'o> {
        let mut response = Response::build_from(self.0.respond_to(request)?);
        response.max_chunk_size(MAX_CHUNK_BYTES).raw_header("Content-Type", EVENT_STREAM);
        for (name, value) in STREAM_HEADERS {
            response.raw_header(name, value);
        }
        response.ok()
    }
}
