//! The parts that warp leaves to its user: a check of every request, problems as answers, a limit
//! on bodies.

use std::convert::Infallible;
use std::pin::pin;
use std::str::{FromStr, Utf8Error};
use std::sync::Arc;

use feed::contract::{MAX_MESSAGE_BYTES, PROMETHEUS, RequestFacts, no_route};
use feed::listen::Connection;
use feed::{Feed, Problem, Publisher, page};
use futures_util::{Stream, StreamExt};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::service::TowerToHyperService;
use percent_encoding::percent_decode_str;
use warp::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, CONTENT_LENGTH,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, ORIGIN, TRANSFER_ENCODING,
    VARY,
};
use warp::http::uri::Authority;
use warp::http::{StatusCode, Version};
use warp::path::FullPath;
use warp::reply::{Response, with_header, with_status};
use warp::{Buf, Filter, Rejection, Reply};

/// The part of a request that handlers take.
pub struct Request {
    query: String,
    headers: HeaderMap,
    connection: Option<Connection>,
    /// Of an absolute target; [`guard`] puts it where a filter finds it.
    authority: Option<Authority>,
}

/// Reads a [`Request`]; never rejects.
///
/// `warp::sse::last_event_id()` would reject an id that is not ASCII, and `warp::query::raw()` a
/// request without a query. A rejection here would end as 405, far from its cause.
pub fn request() -> impl Filter<Extract = (Request,), Error = Infallible> + Copy {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    let headers = warp::header::headers_cloned();
    let parts = query.and(headers).and(warp::ext::optional()).and(warp::ext::optional());
    parts.map(|query, headers, connection, authority| Request {
        query,
        headers,
        connection,
        authority,
    })
}

/// The connection of a request, to report streams to.
pub fn connection(request: &Request) -> &Connection {
    request.connection.as_ref().expect("`serve` attaches it to each request")
}

/// The query of a request, empty if there is none.
pub fn query(request: &Request) -> &str {
    &request.query
}

/// Where a client wants to resume.
pub fn last_event_id(request: &Request) -> Option<&[u8]> {
    request.headers.get("last-event-id").map(HeaderValue::as_bytes)
}

pub fn page() -> impl Reply {
    let policy = page::CONTENT_SECURITY_POLICY.as_str();
    let html = with_header(page::HTML, CONTENT_TYPE, page::CONTENT_TYPE);
    with_header(html, CONTENT_SECURITY_POLICY, policy)
}

pub fn healthz(feed: Arc<Feed>, request: Request) -> Result<impl Reply, Refused> {
    Ok(with_header(feed.healthz(query(&request))?, CONTENT_TYPE, "text/plain"))
}

pub fn metrics(feed: Arc<Feed>) -> impl Reply {
    with_header(feed.metrics(), CONTENT_TYPE, PROMETHEUS)
}

/// The answer where no route takes the path, or the method.
pub fn not_found(path: FullPath, feed: Arc<Feed>) -> Refused {
    Refused(no_route(path.as_str(), feed.settings.conformance))
}

/// GET, and HEAD: `warp::get()` alone refuses it, and hyper leaves out the body by itself.
pub fn get() -> impl Filter<Extract = (), Error = Rejection> + Copy {
    warp::get().or(warp::head()).unify()
}

/// A path without a slash at its end: `path!("ticks")` would take `/ticks/` too.
pub fn no_slash_at_end() -> impl Filter<Extract = (), Error = Rejection> + Copy {
    let check = |path: FullPath| async move {
        let slash = path.as_str().len() > 1 && path.as_str().ends_with('/');
        if slash { Err(warp::reject::not_found()) } else { Ok(()) }
    };
    warp::path::full().and_then(check).untuple_one()
}

/// A topic in a path: `path!` hands out a segment as it was sent, percent-encoded.
pub struct Topic(pub String);

impl FromStr for Topic {
    type Err = Utf8Error;

    fn from_str(segment: &str) -> Result<Topic, Utf8Error> {
        Ok(Topic(percent_decode_str(segment).decode_utf8()?.into_owned()))
    }
}

/// Checks every request before the routes see it, answers preflights, and lets allowed origins read the
/// answer.
///
/// hyper takes a missing or a doubled Host ([hyper#3777]), longer targets and larger headers than
/// the contract. A service and not a filter, because a filter cannot see the version of HTTP, and
/// only 1.1 needs a Host.
///
/// [hyper#3777]: https://github.com/hyperium/hyper/issues/3777
pub fn guard<F, R>(
    feed: Arc<Feed>,
    routes: F,
) -> impl Service<hyper::Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Clone
where
    F: Filter<Extract = (R,), Error = Infallible> + Clone + Send + Sync + 'static,
    R: Reply + 'static,
{
    let routes = TowerToHyperService::new(warp::service(routes));
    service_fn(move |mut request: hyper::Request<Incoming>| {
        let origin = request.headers().get(ORIGIN).cloned();
        let origin = origin.filter(|o| feed.allowed_origin(Some(o.as_bytes())).is_some());
        let version = request.version();
        let connection = request.extensions().get::<Connection>().cloned();
        let connection = connection.expect("`serve` attaches it to each request");
        let routed = match feed.check(&facts(&request)) {
            Err(problem) => Err(Refused(problem).into_response()),
            Ok(Some(preflight)) => {
                Err(with_fields(StatusCode::NO_CONTENT.into_response(), preflight))
            }
            // `CONNECT host:port` has no path, and without one `warp::path::full()` panics:
            // <https://github.com/seanmonstar/warp/issues/1166>
            Ok(None) if request.uri().path_and_query().is_none() => {
                Err(Refused(Problem::not_found()).into_response())
            }
            Ok(None) => {
                if let Some(authority) = request.uri().authority().cloned() {
                    request.extensions_mut().insert(authority);
                }
                Ok(routes.call(request))
            }
        };
        async move {
            let mut response = match routed {
                Ok(routed) => routed.await?,
                Err(answer) => answer,
            };
            // Without this, hyper promises keep-alive to an HTTP/1.0 client that asks for it, even
            // for a body that only the end of the connection ends.
            *response.version_mut() = version;
            if let Some(origin) = origin {
                response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                response.headers_mut().insert(VARY, HeaderValue::from_static("Origin"));
            }
            connection.answered();
            Ok(response)
        }
    })
}

fn facts(request: &hyper::Request<Incoming>) -> RequestFacts<'_> {
    let (uri, headers) = (request.uri(), request.headers());
    RequestFacts {
        http_1_1: request.version() == Version::HTTP_11,
        method: request.method().as_str(),
        hosts: headers.get_all(HOST).iter().count(),
        host: host(uri.authority(), headers),
        origin: headers.get(ORIGIN).map(HeaderValue::as_bytes),
        asks_for_method: headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD),
        transfer_encodings: headers.get_all(TRANSFER_ENCODING).iter().count(),
        transfer_encoding: headers.get(TRANSFER_ENCODING).map(HeaderValue::as_bytes),
        path: uri.path(),
        target_bytes: uri.path_and_query().map_or(0, |target| target.as_str().len()),
        header_bytes: headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum(),
    }
}

/// The header fields that decide whether a request may publish.
pub fn publisher(request: &Request) -> Publisher<'_> {
    let field = |name| request.headers.get(name).map(HeaderValue::as_bytes);
    Publisher {
        authorization: field(AUTHORIZATION),
        origin: field(ORIGIN),
        host: host(request.authority.as_ref(), &request.headers),
        content_length: field(CONTENT_LENGTH),
        idempotency_key: request.headers.get("idempotency-key").map(HeaderValue::as_bytes),
    }
}

/// The host that a request is for: the authority of its target outranks the field (RFC 9112 3.2.2).
fn host<'a>(authority: Option<&'a Authority>, headers: &'a HeaderMap) -> Option<&'a [u8]> {
    let authority = authority.map(|authority| authority.as_str().as_bytes());
    authority.or_else(|| headers.get(HOST).map(HeaderValue::as_bytes))
}

/// A message, read no further than its limit.
///
/// `warp::body::content_length_limit()` would refuse a chunked body (411), and `bytes()` beside it
/// has no limit.
pub async fn read_message(
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Result<Vec<u8>, Problem> {
    let mut body = pin!(body);
    let mut message = Vec::new();
    while let Some(part) = body.next().await {
        let mut part = part.map_err(|_| Problem::incomplete_body())?;
        if message.len() + part.remaining() > MAX_MESSAGE_BYTES {
            return Err(Problem::body_too_large(MAX_MESSAGE_BYTES));
        }
        while part.has_remaining() {
            let chunk = part.chunk();
            message.extend_from_slice(chunk);
            let read = chunk.len();
            part.advance(read);
        }
    }
    Ok(message)
}

/// A problem as an answer.
pub struct Refused(Problem);

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Refused {
        Refused(problem)
    }
}

impl Reply for Refused {
    fn into_response(self) -> Response {
        let Refused(problem) = self;
        let status = StatusCode::from_u16(problem.status);
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        with_fields(with_status(problem.json(), status).into_response(), problem.headers())
    }
}

fn with_fields(
    response: Response,
    fields: impl IntoIterator<Item = (&'static str, &'static str)>,
) -> Response {
    let with = |response, (name, value)| with_header(response, name, value).into_response();
    fields.into_iter().fold(response, with)
}
