//! The parts that actix leaves to its user: a check of every request, HEAD, HTTP/1.0, problems as
//! answers.

use std::fmt;
use std::future::ready;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use actix_web::body::{self, BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, CONTENT_LENGTH,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, ORIGIN, TRANSFER_ENCODING,
    UPGRADE, VARY,
};
use actix_web::http::{ConnectionType, Method, StatusCode, Uri, Version};
use actix_web::middleware::Next;
use actix_web::rt::time::sleep;
use actix_web::web::{self, Bytes, Data};
use actix_web::{HttpRequest, HttpResponse, ResponseError, Route, guard};
use feed::contract::{MAX_MESSAGE_BYTES, PROMETHEUS, RequestFacts, no_route};
use feed::listen::Connection;
use feed::{Feed, Problem, Publisher, page};
use futures_util::{StreamExt, stream};

use crate::connections::Client;

/// Time for a client to read the last answer, before the connection is cut behind it.
const LINGER: Duration = Duration::from_secs(1);

pub async fn page() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, page::CONTENT_TYPE))
        .insert_header((CONTENT_SECURITY_POLICY, page::CONTENT_SECURITY_POLICY.as_str()))
        .body(page::HTML)
}

pub async fn healthz(feed: Data<Feed>, request: HttpRequest) -> Result<HttpResponse, Refused> {
    let text = feed.healthz(query(&request))?;
    Ok(HttpResponse::Ok().content_type("text/plain").body(text))
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

/// The connection of a request, to report streams to.
pub fn connection(request: &HttpRequest) -> &Connection {
    &client(request).connection
}

fn client(request: &HttpRequest) -> &Rc<Client> {
    request.conn_data().expect("`main` has each connection watched")
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
    let client = Rc::clone(client(request.request()));
    if client.is_closing() {
        return Ok(hang_up(request).await);
    }
    if request.head().connection_type() == ConnectionType::Close {
        client.close();
    }
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
        } else {
            // actix-http would say `Transfer-Encoding: chunked`, which HTTP/1.0 does not know
            // (RFC 9112 6.1): the end of the connection is the end of the body.
            let head = response.response_mut().head_mut();
            head.no_chunking(no_chunks);
            // A stream must not cost a second descriptor for hours, and without that no further
            // request has a deadline.
            head.set_connection_type(ConnectionType::Close);
            client.stop_deadline();
            client.close();
        }
    }
    client.connection.answered();
    Ok(response)
}

/// Ends a connection behind its last answer.
///
/// actix-http takes further requests after `Connection: close` too, which it must not ([RFC 9112
/// 9.6](https://www.rfc-editor.org/rfc/rfc9112.html#section-9.6)), and answers them all. An error of
/// a body is the one way to end a connection from here; the head before it is not sent.
async fn hang_up(request: ServiceRequest) -> ServiceResponse {
    sleep(LINGER).await;
    let error = io::Error::from(io::ErrorKind::ConnectionAborted);
    let end = stream::once(ready(Err::<Bytes, _>(error)));
    request.into_response(HttpResponse::Ok().streaming(end))
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
        transfer_encodings: headers.get_all(TRANSFER_ENCODING).count(),
        transfer_encoding: headers.get(TRANSFER_ENCODING).map(HeaderValue::as_bytes),
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
        content_length: field(CONTENT_LENGTH),
        idempotency_key: request.headers().get("idempotency-key").map(HeaderValue::as_bytes),
    }
}

/// The host that a request is for: the authority of its target outranks the field (RFC 9112 3.2.2).
fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a [u8]> {
    let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
    authority.or_else(|| headers.get(HOST).map(HeaderValue::as_bytes))
}

/// A message, read no further than its limit.
pub async fn read_message(
    request: &HttpRequest,
    mut body: web::Payload,
) -> Result<Vec<u8>, Problem> {
    let bytes = length_of_upgrade(request.headers());
    let mut message = Vec::new();
    while bytes.is_none_or(|bytes| message.len() < bytes) {
        match body.next().await {
            Some(part) => message.extend(part.map_err(|_| Problem::incomplete_body())?),
            None if bytes.is_none() => break,
            None => return Err(Problem::incomplete_body()),
        }
        if message.len() > MAX_MESSAGE_BYTES {
            return Err(Problem::body_too_large(MAX_MESSAGE_BYTES));
        }
    }
    message.truncate(bytes.unwrap_or(usize::MAX));
    Ok(message)
}

/// The length of a body that actix-http does not end: it takes everything behind a request with
/// `Upgrade: websocket` for its body, unless that has chunks. A server that changes to no other
/// protocol has to ignore the field ([RFC 9110
/// 7.8](https://www.rfc-editor.org/rfc/rfc9110.html#section-7.8)).
fn length_of_upgrade(headers: &HeaderMap) -> Option<usize> {
    if !is_upgrade(headers) || headers.contains_key(TRANSFER_ENCODING) {
        return None;
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    Some(length.unwrap_or(0))
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
