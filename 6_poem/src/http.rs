//! What poem leaves to its user: a check of every request, problems as answers, a limit on bodies.

use std::sync::Arc;

use feed::contract::{Head, MAX_MESSAGE_BYTES};
use feed::{Feed, Problem, Publisher};
use poem::error::ReadBodyError;
use poem::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN,
    VARY,
};
use poem::http::{StatusCode, Version};
use poem::web::Data;
use poem::{
    Body, Endpoint, FromRequest, IntoEndpoint, Request, RequestBody, Response, Result, RouteMethod,
};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What a request for a stream says: its query and where to resume.
pub struct StreamRequest<'a> {
    pub query: &'a str,
    last_event_id: Option<&'a HeaderValue>,
}

impl<'a> StreamRequest<'a> {
    pub fn last_event_id(&self) -> Option<&'a [u8]> {
        self.last_event_id.map(HeaderValue::as_bytes)
    }
}

impl<'a> FromRequest<'a> for StreamRequest<'a> {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> Result<Self> {
        let query = request.uri().query().unwrap_or_default();
        Ok(StreamRequest { query, last_event_id: request.headers().get(LAST_EVENT_ID) })
    }
}

/// A route for GET and HEAD.
///
/// [`poem::get`] answers HEAD too, but with an empty body, and so without the Content-Length of GET
/// ([RFC 9110 9.3.2](https://www.rfc-editor.org/rfc/rfc9110.html#section-9.3.2)). hyper knows
/// better: it tells the length and leaves the body out.
pub fn get(endpoint: impl IntoEndpoint<Endpoint: 'static>) -> RouteMethod {
    let endpoint = Arc::new(endpoint.into_endpoint());
    RouteMethod::new().get(Arc::clone(&endpoint)).head(endpoint)
}

/// Checks every request before its handler sees it, and lets allowed origins read the answer.
///
/// hyper takes a missing or a doubled Host
/// ([hyper#3777](https://github.com/hyperium/hyper/issues/3777)), longer targets and larger headers
/// than the contract.
pub async fn guard<E: Endpoint>(next: Arc<E>, request: Request) -> Result<Response> {
    let Data(feed) = Data::<&Arc<Feed>>::from_request_without_body(&request).await?;
    let feed = Arc::clone(feed);
    let origin = request.headers().get(ORIGIN).cloned();
    let version = request.version();
    let mut response = match head(&request).check() {
        Ok(()) => next.get_response(request).await,
        Err(refused) => problem(&refused),
    };
    let origin = origin.filter(|o| feed.allowed_origin(Some(o.as_bytes())).is_some());
    if let Some(origin) = origin {
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        response.headers_mut().insert(VARY, HeaderValue::from_static("Origin"));
    }
    if version == Version::HTTP_10 {
        // Asked for keep-alive, hyper would promise it even where only the close ends the body (RFC
        // 9112 9.3), but not in a response that says it is HTTP/1.0 itself.
        response.set_version(version);
    }
    Ok(response)
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

/// A message, read no further than its limit.
pub async fn read_message(body: Body) -> Result<Vec<u8>, Problem> {
    match body.into_bytes_limit(MAX_MESSAGE_BYTES).await {
        Ok(message) => Ok(message.into()),
        Err(ReadBodyError::PayloadTooLarge) => Err(Problem::body_too_large(MAX_MESSAGE_BYTES)),
        Err(_) => Err(Problem::torn_body()),
    }
}

/// A problem as an answer.
pub fn problem(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let response = Response::builder().status(status);
    let response =
        problem.headers().fold(response, |response, (name, value)| response.header(name, value));
    response.body(problem.json())
}
