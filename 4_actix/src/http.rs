//! The parts that actix leaves to its user: a check of every request, HEAD, HTTP/1.0, problems as
//! answers.

use std::fmt;

use actix_web::body::{self, BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, ORIGIN, UPGRADE, VARY,
};
use actix_web::http::{ConnectionType, Method, StatusCode, Uri, Version};
use actix_web::middleware::Next;
use actix_web::web::{self, Data};
use actix_web::{HttpRequest, HttpResponse, ResponseError, Route, guard};
use feed::contract::{MAX_MESSAGE_BYTES, PROMETHEUS, RequestFacts, no_route};
use feed::{Feed, Problem, Publisher, page};

pub async fn page() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, page::CONTENT_TYPE))
        .insert_header((CONTENT_SECURITY_POLICY, page::CONTENT_SECURITY_POLICY.as_str()))
        .body(page::HTML)
}

pub async fn healthz() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain").body("ok\n")
}

pub async fn metrics(feed: Data<Feed>) -> HttpResponse {
    HttpResponse::Ok().content_type(PROMETHEUS).body(feed.metrics())
}

/// The answer where no route takes the path, or the method.
pub async fn not_found(feed: Data<Feed>, request: HttpRequest) -> HttpResponse {
    Refused(no_route(request.uri().path(), feed.settings.conformance)).error_response()
}

/// The query of a request, empty if there is none.
pub fn query(request: &HttpRequest) -> &str {
    request.query_string()
}

/// Where a client wants to resume.
pub fn last_event_id(request: &HttpRequest) -> Option<&[u8]> {
    request.headers().get("last-event-id").map(HeaderValue::as_bytes)
}

/// A route for GET and for HEAD, which [`guard()`] then answers without the body.
pub fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// Checks every request before its handler sees it, answers preflights, lets allowed origins read the
/// answer, and sends a stream only in a form that the client can read.
///
/// actix-http refuses a missing or a doubled Host by itself, with 400 and no body. It takes longer
/// targets and larger headers than the contract.
pub async fn guard(
    feed: Data<Feed>,
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> actix_web::Result<ServiceResponse> {
    let origin = request.headers().get(ORIGIN).cloned();
    let no_body = request.method() == Method::HEAD;
    let no_chunks = request.version() < Version::HTTP_11 || is_upgrade(request.headers());
    let checked = feed.check(&facts(&request));
    let mut response = match checked {
        Ok(None) => next.call(request).await?,
        Ok(Some(preflight)) => {
            let mut response = HttpResponse::NoContent();
            preflight.into_iter().for_each(|field| {
                response.insert_header(field);
            });
            request.into_response(response.finish())
        }
        Err(problem) => request.into_response(Refused(problem).error_response()),
    };
    let origin = origin.filter(|o| feed.allowed_origin(Some(o.as_bytes())).is_some());
    if let Some(origin) = origin {
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        response.headers_mut().insert(VARY, HeaderValue::from_static("Origin"));
    }
    if response.response().body().size() == BodySize::Stream {
        if no_body {
            // actix-http would poll the stream forever and discard its events.
            response = response.map_body(|_, _| BoxBody::new(body::None::new()));
        } else if no_chunks {
            // actix-http would say `Transfer-Encoding: chunked`, which HTTP/1.0 does not know
            // (RFC 9112 6.1): the end of the connection is the end of the body.
            let head = response.response_mut().head_mut();
            head.no_chunking(true);
            head.set_connection_type(ConnectionType::Close);
        }
    }
    Ok(response)
}

fn facts(request: &ServiceRequest) -> RequestFacts<'_> {
    let (uri, headers) = (request.uri(), request.headers());
    RequestFacts {
        http_1_1: request.version() == Version::HTTP_11,
        method: request.method().as_str(),
        hosts: headers.get_all(HOST).count(),
        host: host(uri, headers),
        origin: headers.get(ORIGIN).map(HeaderValue::as_bytes),
        asks_for_method: headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD),
        path: uri.path(),
        target_bytes: uri.path_and_query().map_or(0, |target| target.as_str().len()),
        header_bytes: headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum(),
    }
}

/// True if actix-http takes the request for the start of a WebSocket: it then announces chunks and
/// sends none ([actix-web#1611](https://github.com/actix/actix-web/issues/1611)).
fn is_upgrade(headers: &HeaderMap) -> bool {
    headers
        .get(UPGRADE)
        .is_some_and(|to| to.as_bytes().trim_ascii().eq_ignore_ascii_case(b"websocket"))
}

/// The header fields that decide whether a request may publish.
pub fn publisher(request: &HttpRequest) -> Publisher<'_> {
    let field = |name| request.headers().get(name).map(HeaderValue::as_bytes);
    Publisher {
        authorization: field(AUTHORIZATION),
        origin: field(ORIGIN),
        host: host(request.uri(), request.headers()),
    }
}

/// The host that a request is for: the authority of its target outranks the field (RFC 9112 3.2.2).
fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a [u8]> {
    let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
    authority.or_else(|| headers.get(HOST).map(HeaderValue::as_bytes))
}

/// A message, read no further than its limit.
pub async fn read_message(body: web::Payload) -> Result<Vec<u8>, Problem> {
    match body.to_bytes_limited(MAX_MESSAGE_BYTES).await {
        Ok(Ok(message)) => Ok(message.into()),
        Ok(Err(_)) => Err(Problem::incomplete_body()),
        Err(_) => Err(Problem::body_too_large(MAX_MESSAGE_BYTES)),
    }
}

/// A problem as an answer.
#[derive(Debug)]
pub struct Refused(Problem);

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Refused {
        Refused(problem)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ResponseError for Refused {
    fn error_response(&self) -> HttpResponse {
        let Refused(problem) = self;
        let status = StatusCode::from_u16(problem.status);
        let mut response = HttpResponse::build(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
        problem.headers().for_each(|header| {
            response.insert_header(header);
        });
        response.body(problem.json())
    }
}
