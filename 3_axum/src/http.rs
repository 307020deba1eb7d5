//! The parts that axum leaves to its user: a check of every request, problems as answers, a limit
//! on bodies.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_METHOD, ALLOW, AUTHORIZATION,
    CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue, ORIGIN,
    TRANSFER_ENCODING, VARY,
};
use axum::http::{StatusCode, Uri, Version};
use axum::middleware::Next;
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum::serve::IncomingStream;
use feed::contract::{MAX_MESSAGE_BYTES, PROMETHEUS, RequestFacts, no_route};
use feed::listen::{Connection, RequestDeadline};
use feed::{Feed, Problem, Publisher, page};
use tokio::net::TcpStream;

/// A listener that gives each connection a deadline unless it streams
/// ([axum#2741](https://github.com/tokio-rs/axum/issues/2741)).
pub struct Listener(pub feed::listen::Listener);

impl axum::serve::Listener for Listener {
    type Io = RequestDeadline<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        self.0.accept().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// The connection that a request came from; `main` asks axum to attach it.
#[derive(Clone)]
pub struct Client(Connection);

impl Connected<IncomingStream<'_, Listener>> for Client {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Client {
        Client(stream.io().connection().clone())
    }
}

/// The connection of a request, to report streams and answers to.
pub fn connection(request: &Request) -> Connection {
    let attached = request.extensions().get::<ConnectInfo<Client>>();
    let ConnectInfo(Client(connection)) = attached.expect("`main` has it attached");
    connection.clone()
}

pub async fn page() -> impl IntoResponse {
    let policy = page::CONTENT_SECURITY_POLICY.as_str();
    ([(CONTENT_TYPE, page::CONTENT_TYPE), (CONTENT_SECURITY_POLICY, policy)], page::HTML)
}

pub async fn healthz(
    State(feed): State<Arc<Feed>>,
    request: Request,
) -> Result<impl IntoResponse, Refused> {
    Ok(([(CONTENT_TYPE, "text/plain")], feed.healthz(query(&request))?))
}

pub async fn metrics(State(feed): State<Arc<Feed>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, PROMETHEUS)], feed.metrics())
}

/// The answer where no route takes the path, or the method.
pub async fn not_found(State(feed): State<Arc<Feed>>, uri: Uri) -> Refused {
    Refused(no_route(uri.path(), feed.settings.conformance))
}

/// The query of a request, empty if there is none.
pub fn query(request: &Request) -> &str {
    request.uri().query().unwrap_or_default()
}

/// Where a client wants to resume.
pub fn last_event_id(request: &Request) -> Option<&[u8]> {
    request.headers().get("last-event-id").map(HeaderValue::as_bytes)
}

/// Checks every request before its handler sees it, answers preflights, and lets allowed origins read
/// the answer.
///
/// hyper takes a missing or a doubled Host
/// ([hyper#3777](https://github.com/hyperium/hyper/issues/3777)), longer targets and larger headers
/// than the contract.
pub async fn guard(State(feed): State<Arc<Feed>>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(ORIGIN).cloned();
    let version = request.version();
    let connection = connection(&request);
    let mut response = match feed.check(&facts(&request)) {
        Ok(None) => next.run(request).await,
        Ok(Some(preflight)) => (StatusCode::NO_CONTENT, preflight).into_response(),
        Err(problem) => Refused(problem).into_response(),
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
    connection.answered();
    response
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

/// A message, read no further than its limit, which is the `DefaultBodyLimit` of the routes.
pub async fn read_message(request: Request) -> Result<Vec<u8>, Problem> {
    use FailedToBufferBody::LengthLimitError;
    match Bytes::from_request(request, &()).await {
        Ok(message) => Ok(message.into()),
        Err(BytesRejection::FailedToBufferBody(LengthLimitError(_))) => {
            Err(Problem::body_too_large(MAX_MESSAGE_BYTES))
        }
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

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Refused(problem) = self;
        let status = StatusCode::from_u16(problem.status);
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, AppendHeaders(problem.headers()), Body::from(problem.json())).into_response()
    }
}
