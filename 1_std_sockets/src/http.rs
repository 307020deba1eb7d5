//! HTTP/1.1 from scratch: requests and responses as bytes. No I/O happens here; a connection brings
//! the bytes and takes them away.
//!
//! Strict where leniency lets two readers of one message disagree about where it ends: that is how
//! requests are smuggled past a proxy. Source: [RFC
//! 9112](https://www.rfc-editor.org/rfc/rfc9112.html).

mod body;
mod request;
mod response;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use feed::Feed;

pub use self::body::{Framing, Input, read_body};
pub use self::request::{End, HeadDecoder, Request};
pub use self::response::{Body, LAST_CHUNK, Response};

/// Checks every request before its handler sees it, answers preflights, and lets allowed origins read
/// the answer.
pub async fn guard<B>(
    feed: Arc<Feed>,
    request: Request,
    body: B,
    routes: impl AsyncFn(&Feed, &Request, B) -> Response,
) -> Response {
    let mut response = match feed.check(&request.facts()) {
        Ok(None) => routes(&feed, &request, body).await,
        Ok(Some(preflight)) => {
            preflight.into_iter().fold(Response::new(204, Body::None), |response, (name, value)| {
                response.with(name, value)
            })
        }
        Err(problem) => Response::from(&problem),
    };
    if let Some(origin) = feed.allowed_origin(request.field("origin")) {
        let allowed = ("Access-Control-Allow-Origin", origin.to_owned().into());
        response.fields.extend([allowed, ("Vary", "Origin".into())]);
    }
    response
}
