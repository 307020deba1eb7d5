//! The parts that poem leaves to its user: a check of every request, problems as answers, a limit
//! on bodies.

use std::sync::Arc;

use feed::contract::{MAX_MESSAGE_BYTES, PROMETHEUS, RequestFacts, no_route};
use feed::listen::Connection;
use feed::{Feed, Problem, Publisher};
use poem::error::{MethodNotAllowedError, NotFoundError, ReadBodyError};
use poem::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, CONTENT_LENGTH,
    CONTENT_SECURITY_POLICY, HOST, HeaderValue, ORIGIN, TRANSFER_ENCODING, VARY,
};
use poem::http::{StatusCode, Version};
use poem::web::Data;
use poem::{
    Body, Endpoint, IntoEndpoint, IntoResponse, Request, Response, ResponseBuilder, Result,
    RouteMethod, handler,
};

use crate::acceptor::Connections;

#[handler]
pub fn page() -> Response {
    // A handler is a type, and would hide a module of the same name.
    let policy = feed::page::CONTENT_SECURITY_POLICY.as_str();
    let html = feed::page::HTML.with_content_type(feed::page::CONTENT_TYPE);
    html.with_header(CONTENT_SECURITY_POLICY, policy).into_response()
}

#[handler]
pub fn healthz(Data(feed): Data<&Arc<Feed>>, request: &Request) -> Result<Response, Refused> {
    Ok(feed.healthz(query(request))?.with_content_type("text/plain").into_response())
}

#[handler]
pub fn metrics(Data(feed): Data<&Arc<Feed>>) -> Response {
    feed.metrics().with_content_type(PROMETHEUS).into_response()
}

/// The state that all handlers share.
pub fn feed(request: &Request) -> &Arc<Feed> {
    request.data().expect("`routes` adds it to each request")
}

/// The connection of a request, to report streams and answers to.
pub fn connection(request: &Request) -> &Connection {
    request.data().expect("`guard` adds it to each request")
}

/// The query of a request, empty if there is none.
pub fn query(request: &Request) -> &str {
    request.uri().query().unwrap_or_default()
}

/// Where a client wants to resume.
pub fn last_event_id(request: &Request) -> Option<&[u8]> {
    request.headers().get("last-event-id").map(HeaderValue::as_bytes)
}

/// A route for GET and HEAD.
///
/// [`poem::get`] answers HEAD too, but with an empty body, and so without the Content-Length of GET
/// ([RFC 9110 9.3.2](https://www.rfc-editor.org/rfc/rfc9110.html#section-9.3.2)). hyper does it
/// right: it sends the length and leaves the body out.
pub fn get(endpoint: impl IntoEndpoint<Endpoint: 'static>) -> RouteMethod {
    let endpoint = Arc::new(endpoint.into_endpoint());
    RouteMethod::new().get(Arc::clone(&endpoint)).head(endpoint)
}

/// Checks every request before its handler sees it, answers preflights, and lets allowed origins read
/// the answer.
///
/// hyper takes a missing or a doubled Host
/// ([hyper#3777](https://github.com/hyperium/hyper/issues/3777)), longer targets and larger headers
/// than the contract.
pub async fn guard<E: Endpoint>(routes: Arc<E>, mut request: Request) -> Result<Response> {
    let (feed, uri) = (Arc::clone(feed(&request)), request.uri().clone());
    let (version, origin) = (request.version(), request.headers().get(ORIGIN).cloned());
    if version == Version::HTTP_2 {
        // Its connection is not reported as answered either, so it ends at its first deadline.
        return Ok(Refused(Problem::version_not_supported()).into_response());
    }
    let open: &Connections = request.data().expect("`main` adds it to each request");
    let Some(connection) = open.of(&request) else {
        // The client has left, and has come and left again from the same port.
        return Ok(Refused(Problem::internal()).into_response());
    };
    request.set_data(connection.clone());
    let mut response = match feed.check(&facts(&request)) {
        Ok(Some(preflight)) => {
            let response = Response::builder().status(StatusCode::NO_CONTENT);
            let with = |response: ResponseBuilder, (name, value)| response.header(name, value);
            preflight.into_iter().fold(response, with).finish()
        }
        Ok(None) => match routes.call(request).await {
            // 404 and 405 are errors of the router, and the 405 does not say what is allowed.
            Err(error) if error.is::<NotFoundError>() || error.is::<MethodNotAllowedError>() => {
                Refused(no_route(uri.path(), feed.settings.conformance)).into_response()
            }
            Err(error) => error.into_response(),
            Ok(answer) => answer.into_response(),
        },
        Err(problem) => Refused(problem).into_response(),
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
    connection.answered();
    Ok(response)
}

fn facts(request: &Request) -> RequestFacts<'_> {
    let (uri, headers) = (request.uri(), request.headers());
    RequestFacts {
        http_1_1: request.version() == Version::HTTP_11,
        method: request.method().as_str(),
        hosts: headers.get_all(HOST).iter().count(),
        host: host(request),
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
    let field = |name| request.headers().get(name).map(HeaderValue::as_bytes);
    Publisher {
        authorization: field(AUTHORIZATION),
        origin: field(ORIGIN),
        host: host(request),
        content_length: field(CONTENT_LENGTH),
        idempotency_key: request.headers().get("idempotency-key").map(HeaderValue::as_bytes),
    }
}

/// The host that a request is for: the authority of its target outranks the field (RFC 9112 3.2.2).
fn host(request: &Request) -> Option<&[u8]> {
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    authority.or_else(|| request.headers().get(HOST).map(HeaderValue::as_bytes))
}

/// A message, read no further than its limit.
pub async fn read_message(body: Body) -> Result<Vec<u8>, Problem> {
    match body.into_bytes_limit(MAX_MESSAGE_BYTES).await {
        Ok(message) => Ok(message.into()),
        Err(ReadBodyError::PayloadTooLarge) => Err(Problem::body_too_large(MAX_MESSAGE_BYTES)),
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

impl From<Refused> for poem::Error {
    fn from(refused: Refused) -> poem::Error {
        poem::Error::from_response(refused.into_response())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Refused(problem) = self;
        let status = StatusCode::from_u16(problem.status);
        let response =
            Response::builder().status(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
        let headers = problem.headers();
        let response =
            headers.fold(response, |response, (name, value)| response.header(name, value));
        response.body(problem.json())
    }
}
