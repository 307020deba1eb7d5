//! What axum leaves to its user: one check of every request, problems as answers, a limit on
//! bodies.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName,
    HeaderValue, ORIGIN, VARY,
};
use axum::http::request::Parts;
use axum::http::{StatusCode, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use feed::contract::{Head, MAX_MESSAGE_BYTES};
use feed::{Feed, Problem, Publisher};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What a request for a stream says: its query and where to resume.
pub struct StreamRequest {
    pub query: String,
    last_event_id: Option<HeaderValue>,
}

impl StreamRequest {
    pub fn last_event_id(&self) -> Option<&[u8]> {
        self.last_event_id.as_ref().map(HeaderValue::as_bytes)
    }
}

impl<S: Sync> FromRequestParts<S> for StreamRequest {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let query = parts.uri.query().unwrap_or_default().to_owned();
        Ok(StreamRequest { query, last_event_id: parts.headers.get(LAST_EVENT_ID).cloned() })
    }
}

/// Checks every request before its handler sees it, and lets allowed origins read the answer.
///
/// hyper takes a missing or a doubled Host
/// ([hyper#3777](https://github.com/hyperium/hyper/issues/3777)), longer targets and larger headers
/// than the contract.
pub async fn guard(State(feed): State<Arc<Feed>>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(ORIGIN).cloned();
    let version = request.version();
    let mut response = match head(&request).check() {
        Ok(()) => next.run(request).await,
        Err(refused) => problem(&refused),
    };
    if version == Version::HTTP_10 {
        // A body without a length ends with the connection, but for HTTP/1.0 hyper would promise to
        // keep the connection, unless the answer is HTTP/1.0 too.
        *response.version_mut() = version;
    }
    if response.status() != StatusCode::METHOD_NOT_ALLOWED {
        // The routing adds it wherever a method has no route, also to a 404.
        response.headers_mut().remove(ALLOW);
    }
    if response.status() == StatusCode::NO_CONTENT {
        // The routing adds a length of 0, which a 204 must not have (RFC 9110 8.6).
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    let origin = origin.filter(|o| feed.allowed_origin(Some(o.as_bytes())).is_some());
    if let Some(origin) = origin {
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        response.headers_mut().insert(VARY, HeaderValue::from_static("Origin"));
    }
    response
}

fn head(request: &Request) -> Head<'_> {
    let (uri, headers) = (request.uri(), request.headers());
    Head {
        http_1_1: request.version() == Version::HTTP_11,
        hosts: headers.get_all(HOST).iter().count(),
        path: uri.path(),
        target_bytes: uri.path_and_query().map_or(0, |target| target.as_str().len()),
        header_bytes: headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum(),
    }
}

/// Who wants to publish.
pub fn publisher(headers: &HeaderMap) -> Publisher<'_> {
    let field = |name| headers.get(name).map(HeaderValue::as_bytes);
    Publisher { authorization: field(AUTHORIZATION), origin: field(ORIGIN), host: field(HOST) }
}

/// A message, read no further than its limit, which is the `DefaultBodyLimit` of the routes.
pub async fn read_message(request: Request) -> Result<Vec<u8>, Problem> {
    use FailedToBufferBody::LengthLimitError;
    match Bytes::from_request(request, &()).await {
        Ok(message) => Ok(message.into()),
        Err(BytesRejection::FailedToBufferBody(LengthLimitError(_))) => {
            Err(Problem::body_too_large(MAX_MESSAGE_BYTES))
        }
        Err(_) => Err(Problem::torn_body()),
    }
}

/// A problem as an answer.
pub fn problem(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, problem.json()).into_response();
    for (name, value) in problem.headers() {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a problem's fields are known");
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
