//! An error as a client gets it: `application/problem+json`.
//!
//! Source: [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457.html).

use std::fmt::Display;

use serde::Serialize;

/// The media type of a problem.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// How long a client should wait before it asks again: long enough for others to leave a full server,
/// and for a broker to come back.
const RETRY_AFTER_S: &str = "5";

/// Characters of a bad value that are shown again: enough to recognise it, too few to flood a log.
const SHOWN_CHARS: usize = 64;

/// Why a request is refused. It names the parameter, the value and the bounds.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{status} {title}: {detail}")]
pub struct Problem {
    /// The HTTP status code.
    pub status: u16,
    title: &'static str,
    detail: String,
    at: Option<Box<At>>,
    header: Option<(&'static str, &'static str)>,
}

/// The parameter that is wrong, its value and its bounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct At {
    parameter: &'static str,
    value: String,
    bounds: String,
}

/// The members in the order of the RFC, then ours.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(flatten)]
    at: Option<&'a At>,
}

impl Problem {
    fn new(status: u16, title: &'static str, detail: impl Into<String>) -> Problem {
        Problem { status, title, detail: detail.into(), at: None, header: None }
    }

    fn at(mut self, parameter: &'static str, value: &str, bounds: impl Display) -> Problem {
        let value = value.chars().take(SHOWN_CHARS).collect();
        self.at = Some(Box::new(At { parameter, value, bounds: bounds.to_string() }));
        self
    }

    /// 400: this value of this parameter is not within these bounds.
    pub fn bad_value(parameter: &'static str, value: &str, bounds: impl Display) -> Problem {
        let detail = format!("{parameter} must be {bounds}");
        Problem::new(400, "Bad Request", detail).at(parameter, value, bounds)
    }

    /// 401: publishing needs a token.
    pub fn unauthorized() -> Problem {
        let detail = "publishing needs the header Authorization: Bearer and the publish token";
        let mut problem = Problem::new(401, "Unauthorized", detail);
        problem.header = Some(("WWW-Authenticate", "Bearer"));
        problem
    }

    /// 403: this token is not the one.
    pub fn wrong_token() -> Problem {
        Problem::new(403, "Forbidden", "this bearer token may not publish here")
    }

    /// 403: a page of another site tries to publish.
    pub fn cross_site(origin: &str) -> Problem {
        let detail = "a page of another site may not publish here";
        Problem::new(403, "Forbidden", detail).at(
            "Origin",
            origin,
            "this server's own origin, or one given with --allow-origin",
        )
    }

    /// 404: nothing is here.
    pub fn not_found() -> Problem {
        Problem::new(404, "Not Found", "there is nothing at this path")
    }

    /// 405: something is here, for these methods.
    ///
    /// Source: RFC 9110 [15.5.6](https://www.rfc-editor.org/rfc/rfc9110.html#section-15.5.6).
    pub fn method_not_allowed(allow: &'static str) -> Problem {
        let detail = format!("the methods allowed here are {allow}");
        let mut problem = Problem::new(405, "Method Not Allowed", detail);
        problem.header = Some(("Allow", allow));
        problem
    }

    /// 413: the body is larger than the limit.
    pub fn body_too_large(max_bytes: usize) -> Problem {
        let detail = format!("a message must be at most {max_bytes} bytes");
        Problem::new(413, "Content Too Large", detail).at(
            "body",
            "",
            format_args!("at most {max_bytes} bytes"),
        )
    }

    /// 400: the body broke off, or its framing is wrong.
    pub fn incomplete_body() -> Problem {
        Problem::new(400, "Bad Request", "the body ended before it was whole")
    }

    /// 414: the request target is longer than the limit.
    pub fn target_too_long(bytes: usize, max_bytes: usize) -> Problem {
        let detail = format!("the request target must be at most {max_bytes} bytes");
        Problem::new(414, "URI Too Long", detail).at(
            "target",
            &format!("{bytes} bytes"),
            format_args!("at most {max_bytes} bytes"),
        )
    }

    /// 421: the request is for a name that may be of another site.
    ///
    /// Source: RFC 9110 [15.5.20](https://www.rfc-editor.org/rfc/rfc9110.html#section-15.5.20).
    pub fn misdirected(host: &str) -> Problem {
        let detail = "this server does not answer for this host; --allow-host makes it do so";
        Problem::new(421, "Misdirected Request", detail).at(
            "Host",
            host,
            "an IP address, localhost, or a name given with --allow-host",
        )
    }

    /// 501: the body has a transfer coding that no server here undoes.
    pub fn unknown_transfer_coding() -> Problem {
        let detail = "the only transfer coding that this server knows is chunked";
        Problem::new(501, "Not Implemented", detail)
    }

    /// 431: the header section is larger than the limit.
    pub fn headers_too_large(bytes: usize, max_bytes: usize) -> Problem {
        let detail = format!("the header fields must be at most {max_bytes} bytes together");
        Problem::new(431, "Request Header Fields Too Large", detail).at(
            "headers",
            &format!("{bytes} bytes"),
            format_args!("at most {max_bytes} bytes"),
        )
    }

    /// 500: the server is at fault. The cause goes to its log, not to the client.
    pub fn internal() -> Problem {
        Problem::new(500, "Internal Server Error", "the server failed to answer this request")
    }

    /// 503: the server is full.
    pub fn full(what: &'static str, max: impl Display) -> Problem {
        Problem::unavailable(format!("this server takes at most {max} {what}"))
    }

    /// 503: the bus is away, for now.
    pub fn unavailable(detail: impl Into<String>) -> Problem {
        let mut problem = Problem::new(503, "Service Unavailable", detail);
        problem.header = Some(("Retry-After", RETRY_AFTER_S));
        problem
    }

    /// 505: HTTP/2, where a stream can stall while its connection does not.
    ///
    /// No timeout of the kernel sees such a stall ([RFC 9113
    /// 5.2](https://www.rfc-editor.org/rfc/rfc9113.html#section-5.2)).
    pub fn version_not_supported() -> Problem {
        let detail = "this server speaks HTTP/1.1; a proxy in front of it can speak HTTP/2";
        Problem::new(505, "HTTP Version Not Supported", detail)
    }

    /// The header fields that go with it.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let always = [("Content-Type", CONTENT_TYPE), ("Cache-Control", "no-store")];
        always.into_iter().chain(self.header)
    }

    /// The body.
    pub fn json(&self) -> String {
        let Problem { status, title, detail, at, .. } = self;
        let body = Body { kind: "about:blank", title, status: *status, detail, at: at.as_deref() };
        serde_json::to_string(&body).expect("strings and numbers are JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_value_is_named_with_its_bounds_and_cut() {
        let problem = Problem::bad_value("count", &"9".repeat(100), "a whole number from 1 to 10");
        let body: serde_json::Value = serde_json::from_str(&problem.json()).expect("valid JSON");
        assert_eq!(body["status"], 400);
        assert_eq!(body["parameter"], "count");
        assert_eq!(body["value"], "9".repeat(64));
        assert_eq!(body["bounds"], "a whole number from 1 to 10");
        assert_eq!(body["detail"], "count must be a whole number from 1 to 10");
    }

    #[test]
    fn a_405_says_what_is_allowed() {
        let problem = Problem::method_not_allowed("GET, HEAD");
        assert!(problem.headers().any(|header| header == ("Allow", "GET, HEAD")));
    }
}
