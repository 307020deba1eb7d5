//! What actix leaves to its user: one check of every request, HEAD, HTTP/1.0, problems as answers.

use std::convert::Infallible;
use std::future::{Ready, ready};

use actix_web::body::{self, BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN,
    UPGRADE, VARY,
};
use actix_web::http::{ConnectionType, Method, StatusCode, Version};
use actix_web::middleware::Next;
use actix_web::web::{self, Data};
use actix_web::{FromRequest, HttpRequest, HttpResponse, Route, guard};
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

impl FromRequest for StreamRequest {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let query = request.query_string().to_owned();
        let last_event_id = request.headers().get(LAST_EVENT_ID).cloned();
        ready(Ok(StreamRequest { query, last_event_id }))
    }
}

/// A route for GET and for HEAD, which [`guard()`] then answers without the body.
pub fn get_or_head() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// Checks every request before its handler sees it, lets allowed origins read the answer, and sends
/// a stream only in a form that the request can take.
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
    let checked = head(&request).check();
    let mut response = match checked {
        Ok(()) => next.call(request).await?,
        Err(refused) => request.into_response(problem(&refused)),
    };
    let origin = origin.filter(|o| feed.allowed_origin(Some(o.as_bytes())).is_some());
    if let Some(origin) = origin {
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        response.headers_mut().insert(VARY, HeaderValue::from_static("Origin"));
    }
    if response.response().body().size() == BodySize::Stream {
        if no_body {
            // actix-http would pull events for ever and throw them away.
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

fn head(request: &ServiceRequest) -> Head<'_> {
    let (uri, headers) = (request.uri(), request.headers());
    Head {
        http_1_1: request.version() == Version::HTTP_11,
        hosts: headers.get_all(HOST).count(),
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

/// Who wants to publish.
pub fn publisher(headers: &HeaderMap) -> Publisher<'_> {
    let field = |name| headers.get(name).map(HeaderValue::as_bytes);
    Publisher { authorization: field(AUTHORIZATION), origin: field(ORIGIN), host: field(HOST) }
}

/// A message, read no further than its limit.
pub async fn read_message(body: web::Payload) -> Result<Vec<u8>, Problem> {
    match body.to_bytes_limited(MAX_MESSAGE_BYTES).await {
        Ok(Ok(message)) => Ok(message.into()),
        Ok(Err(_)) => Err(Problem::torn_body()),
        Err(_) => Err(Problem::body_too_large(MAX_MESSAGE_BYTES)),
    }
}

/// A problem as an answer.
pub fn problem(problem: &Problem) -> HttpResponse {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    for header in problem.headers() {
        response.insert_header(header);
    }
    response.body(problem.json())
}
