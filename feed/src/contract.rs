//! The contract of every server: names, limits and the meaning of a request, without any HTTP type.
//!
//! A limit has its reason beside it. All six servers call the same functions here, so they refuse
//! the same requests in the same words.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str;

use percent_encoding::percent_decode_str;

use crate::bus::IdempotencyKey;
use crate::problem::Problem;
use crate::source::TickRules;

/// The media type of an event stream.
pub const EVENT_STREAM: &str = "text/event-stream";

/// The header fields of an event stream, beside its type: caches must not keep it ([RFC 9111
/// 5.2](https://www.rfc-editor.org/rfc/rfc9111.html#section-5.2)), nginx must not hold it back.
pub const STREAM_HEADERS: [(&str, &str); 2] =
    [("Cache-Control", "no-cache"), ("X-Accel-Buffering", "no")];

/// The media type of `/metrics`.
pub const PROMETHEUS: &str = "text/plain; version=0.0.4";

/// Bytes of a request target. RFC 9112 asks for 8000 at least.
pub const MAX_TARGET_BYTES: usize = 8 * 1024;

/// Bytes of all header fields together: more than browsers with many cookies send, too few to fill
/// memory.
pub const MAX_HEADER_BYTES: usize = 32 * 1024;

/// Bytes of a last event id: ours have at most 50.
pub const MAX_LAST_EVENT_ID_BYTES: usize = 256;

/// Bytes of a published message.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// Bytes of the key of a message: a UUID has 36.
pub const MAX_KEY_BYTES: usize = 128;

/// Characters of a topic's name.
pub const MAX_TOPIC_CHARS: usize = 64;

/// Milliseconds between two ticks or two steps of a task.
pub const MAX_INTERVAL_MS: u64 = 60_000;

/// Ticks that a client may ask for.
pub const MAX_COUNT: u64 = 1_000_000;

/// Filler bytes in a tick.
pub const MAX_PAD_BYTES: u64 = 64 * 1024;

/// Milliseconds between two steps of a task, unless the client asks for others.
const STEP_MS: u64 = 500;

const TOPIC_BOUNDS: &str = "1 to 64 letters, digits, dots, dashes or underscores (ASCII)";

/// The fields of an answer with status 204 to a preflight.
pub type Preflight = [(&'static str, &'static str); 3];

/// The request fields that a page of another origin may set: the token, the type of a message, and
/// those that clients of event streams set ([HTML
/// 9.2.2](https://html.spec.whatwg.org/multipage/server-sent-events.html#the-eventsource-interface)).
const PREFLIGHT_HEADERS: &str =
    "Authorization, Cache-Control, Content-Type, Idempotency-Key, Last-Event-ID";

/// Seconds for which a browser may remember the answer to a preflight: Chromium's maximum.
const PREFLIGHT_MAX_AGE_S: &str = "7200";

/// The facts about a request that a server knows before it chooses a route.
#[derive(Debug, Clone, Copy)]
pub struct RequestFacts<'a> {
    /// The request is HTTP/1.1: it needs a `Host`.
    pub http_1_1: bool,
    /// The method.
    pub method: &'a str,
    /// `Host` fields.
    pub hosts: usize,
    /// The host that the request is for: the authority of its target, or else the `Host` field
    /// ([RFC 9112 3.2.2](https://www.rfc-editor.org/rfc/rfc9112.html#section-3.2.2)).
    pub host: Option<&'a [u8]>,
    /// `Origin`.
    pub origin: Option<&'a [u8]>,
    /// There is an `Access-Control-Request-Method`.
    pub asks_for_method: bool,
    /// `Transfer-Encoding` fields.
    pub transfer_encodings: usize,
    /// The first of them.
    pub transfer_encoding: Option<&'a [u8]>,
    /// The path, as it was sent.
    pub path: &'a str,
    /// Bytes of the request target.
    pub target_bytes: usize,
    /// Bytes of all header names and values.
    pub header_bytes: usize,
}

impl RequestFacts<'_> {
    /// Refuses a request that no endpoint should have to deal with.
    ///
    /// # Errors
    /// 400 for a missing, doubled or malformed Host ([RFC 9112
    /// 3.2](https://www.rfc-editor.org/rfc/rfc9112.html#section-3.2)) or a path that is not UTF-8,
    /// 414, 421 for a host that is not ours, 431; 400 or 501 as [`check_transfer_encoding`].
    pub(crate) fn validate(&self, allow_host: &[String]) -> Result<(), Problem> {
        if self.target_bytes > MAX_TARGET_BYTES {
            return Err(Problem::target_too_long(self.target_bytes, MAX_TARGET_BYTES));
        }
        if self.header_bytes > MAX_HEADER_BYTES {
            return Err(Problem::headers_too_large(self.header_bytes, MAX_HEADER_BYTES));
        }
        if self.hosts > 1 || (self.http_1_1 && self.hosts == 0) {
            let hosts = format!("{} times", self.hosts);
            return Err(Problem::bad_value("Host", &hosts, "given exactly once"));
        }
        if let Some(host) = self.host.filter(|host| !host.iter().all(is_host)) {
            let host = String::from_utf8_lossy(host);
            return Err(Problem::bad_value("Host", &host, "a host and an optional port"));
        }
        if let Some(host) = self.host.filter(|host| !is_ours(host, allow_host)) {
            return Err(Problem::misdirected(&String::from_utf8_lossy(host)));
        }
        if let Some(first) = self.transfer_encoding {
            check_transfer_encoding(self.transfer_encodings, first)?;
        }
        if percent_decode_str(self.path).decode_utf8().is_err() {
            return Err(Problem::bad_value("path", self.path, "UTF-8 when percent-decoded"));
        }
        Ok(())
    }
}

/// A byte that a host and its port may have
/// ([RFC 3986 3.2.2](https://www.rfc-editor.org/rfc/rfc3986.html#section-3.2.2)).
pub fn is_host(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%:[]".contains(byte)
}

/// Refuses a body that is coded in another way than as chunks, once: it would be published as it is
/// on the wire, and a proxy might find its end elsewhere.
///
/// # Errors
/// 400, 501 ([RFC 9112 6.1](https://www.rfc-editor.org/rfc/rfc9112.html#section-6.1)).
pub fn check_transfer_encoding(fields: usize, first: &[u8]) -> Result<(), Problem> {
    let codings = first.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    if !codings.clone().all(|coding| coding.eq_ignore_ascii_case(b"chunked")) {
        return Err(Problem::unknown_transfer_coding());
    }
    if fields.max(codings.count()) > 1 {
        let first = String::from_utf8_lossy(first);
        return Err(Problem::bad_value("Transfer-Encoding", &first, "chunked, once"));
    }
    Ok(())
}

/// False for a name that may be of another site.
///
/// By DNS rebinding, a page of that site reaches this server under the site's own name, and the
/// browser takes both for one origin. An address and `localhost` cannot be rebound; an operator
/// allows other names, or all with `*`.
fn is_ours(host: &[u8], allow_host: &[String]) -> bool {
    let Ok(host) = str::from_utf8(host) else { return false };
    let port = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    let name = host.rsplit_once(':').filter(|it| port(it.1)).map_or(host, |it| it.0);
    let in_brackets = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let is_address = in_brackets.map_or_else(
        || name.parse::<Ipv4Addr>().is_ok(),
        |address| address.parse::<Ipv6Addr>().is_ok(),
    );
    // A name with a dot at its end is the same name, spelled in full.
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_allowed = |it: &String| it == "*" || name.eq_ignore_ascii_case(it);
    is_address || name.eq_ignore_ascii_case("localhost") || allow_host.iter().any(is_allowed)
}

/// The problem with a request that no route takes: 404, or 405 with the methods of the path.
pub fn no_route(path: &str, conformance: bool) -> Problem {
    methods(path, conformance).map_or_else(Problem::not_found, Problem::method_not_allowed)
}

/// The answer to a preflight for this path.
///
/// Source: Fetch, [CORS-preflight request](https://fetch.spec.whatwg.org/#cors-preflight-request).
pub(crate) fn preflight(path: &str, conformance: bool) -> Option<Preflight> {
    Some([
        ("Access-Control-Allow-Methods", methods(path, conformance)?),
        ("Access-Control-Allow-Headers", PREFLIGHT_HEADERS),
        ("Access-Control-Max-Age", PREFLIGHT_MAX_AGE_S),
    ])
}

/// The methods of a path, if there is something at it.
fn methods(path: &str, conformance: bool) -> Option<&'static str> {
    match path {
        "/" | "/ticks" | "/time" | "/tasks" | "/simulation" | "/healthz" | "/metrics" => {
            Some("GET, HEAD")
        }
        "/script" => conformance.then_some("GET, HEAD"),
        _ => {
            let topic = path.strip_prefix("/messages/")?;
            (!topic.is_empty() && !topic.contains('/')).then_some("GET, HEAD, POST")
        }
    }
}

/// Checks the key of a message: short and visible, so that it fits a broker's header as it is.
///
/// # Errors
/// 400.
pub fn check_key(key: &[u8]) -> Result<IdempotencyKey, Problem> {
    let text = str::from_utf8(key).ok().filter(|key| key.bytes().all(|b| b.is_ascii_graphic()));
    let text = text.filter(|key| (1..=MAX_KEY_BYTES).contains(&key.len()));
    text.map(Into::into).ok_or_else(|| {
        let bounds = format!("1 to {MAX_KEY_BYTES} visible ASCII characters");
        Problem::bad_value("Idempotency-Key", &String::from_utf8_lossy(key), bounds)
    })
}

/// Checks a topic's name: short and plain, so that it fits a URL and a log as it is.
///
/// # Errors
/// 400.
pub fn check_topic(topic: &str) -> Result<(), Problem> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if (1..=MAX_TOPIC_CHARS).contains(&topic.len()) && topic.bytes().all(plain) {
        Ok(())
    } else {
        Err(Problem::bad_value("topic", topic, TOPIC_BOUNDS))
    }
}

/// A request's query, decoded.
#[derive(Debug)]
pub(crate) struct Query {
    pairs: Vec<(String, Result<String, String>)>,
}

impl Query {
    /// Never fails: parameters that no endpoint knows may be anything.
    pub(crate) fn parse(query: &str) -> Query {
        let decode = |text: &str| {
            let plus = text.replace('+', " ");
            match percent_decode_str(&plus).decode_utf8() {
                Ok(decoded) => Ok(decoded.into_owned()),
                Err(_) => Err(text.to_owned()),
            }
        };
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name).unwrap_or_default(), decode(value))
        });
        Query { pairs: pairs.collect() }
    }

    /// The value of a parameter that may be given once.
    pub(crate) fn text(&self, name: &'static str) -> Result<Option<&str>, Problem> {
        let mut values = self.pairs.iter().filter(|(n, _)| n == name).map(|(_, value)| value);
        let value = match values.next() {
            None => return Ok(None),
            Some(Ok(value)) => value,
            Some(Err(raw)) => {
                return Err(Problem::bad_value(name, raw, "UTF-8 when percent-decoded"));
            }
        };
        match values.next() {
            None => Ok(Some(value)),
            Some(_) => Err(Problem::bad_value(name, value, "given once")),
        }
    }

    /// A whole number within bounds.
    fn number(
        &self,
        name: &'static str,
        bounds: std::ops::RangeInclusive<u64>,
    ) -> Result<Option<u64>, Problem> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        // `parse` would take a sign too.
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits && bounds.contains(&number) => Ok(Some(number)),
            _ => {
                let (min, max) = bounds.into_inner();
                let bounds = format!("a whole number from {min} to {max}");
                Err(Problem::bad_value(name, text, bounds))
            }
        }
    }

    fn switch(&self, name: &'static str) -> Result<bool, Problem> {
        Ok(self.number(name, 0..=1)? == Some(1))
    }

    pub(crate) fn ticks(&self, interval_ms: u64) -> Result<TickRules, Problem> {
        let pad = self.number("pad", 0..=MAX_PAD_BYTES)?.unwrap_or(0);
        Ok(TickRules {
            interval_ms: self.number("interval_ms", 0..=MAX_INTERVAL_MS)?.unwrap_or(interval_ms),
            count: self.number("count", 1..=MAX_COUNT)?,
            pad: usize::try_from(pad).expect("its bound fits"),
            stamp: self.switch("stamp")?,
            align: self.switch("align")?,
        })
    }

    pub(crate) fn step_ms(&self) -> Result<u64, Problem> {
        Ok(self.number("step_ms", 0..=MAX_INTERVAL_MS)?.unwrap_or(STEP_MS))
    }

    /// Where to resume: the header, or else the parameter, because a browser cannot set the header
    /// on its first connection. Empty is absent (HTML
    /// [9.2.4](https://html.spec.whatwg.org/multipage/server-sent-events.html#the-last-event-id-header)).
    pub(crate) fn last_event_id(&self, header: Option<&[u8]>) -> Result<Option<String>, Problem> {
        let (name, id) = match header.filter(|id| !id.is_empty()) {
            Some(id) => ("Last-Event-ID", str::from_utf8(id)),
            None => ("last_event_id", Ok(self.text("last_event_id")?.unwrap_or(""))),
        };
        match id {
            Ok(id) if id.len() <= MAX_LAST_EVENT_ID_BYTES => {
                Ok((!id.is_empty()).then(|| id.to_owned()))
            }
            Ok(id) => {
                let bounds = format!("at most {MAX_LAST_EVENT_ID_BYTES} bytes");
                Err(Problem::bad_value(name, id, bounds))
            }
            Err(_) => Err(Problem::bad_value(name, "", "UTF-8")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: RequestFacts<'_> = RequestFacts {
        http_1_1: true,
        method: "GET",
        hosts: 1,
        host: Some(b"localhost"),
        origin: None,
        asks_for_method: false,
        transfer_encodings: 0,
        transfer_encoding: None,
        path: "/",
        target_bytes: 1,
        header_bytes: 100,
    };

    #[test]
    fn a_request_needs_one_host_and_sane_sizes() {
        assert_eq!(FACTS.validate(&[]), Ok(()));
        let old = RequestFacts { hosts: 0, host: None, http_1_1: false, ..FACTS };
        assert_eq!(old.validate(&[]), Ok(()));
        let status = |facts: RequestFacts<'_>| facts.validate(&[]).expect_err("bad").status;
        assert_eq!(status(RequestFacts { hosts: 0, ..FACTS }), 400);
        assert_eq!(status(RequestFacts { hosts: 2, ..FACTS }), 400);
        assert_eq!(status(RequestFacts { path: "/messages/%ff", ..FACTS }), 400);
        assert_eq!(status(RequestFacts { target_bytes: MAX_TARGET_BYTES + 1, ..FACTS }), 414);
        assert_eq!(status(RequestFacts { header_bytes: MAX_HEADER_BYTES + 1, ..FACTS }), 431);
    }

    #[test]
    fn a_name_that_may_be_of_another_site_needs_to_be_allowed() {
        let status = |host: &str, allow: &[&str]| {
            let facts = RequestFacts { host: Some(host.as_bytes()), ..FACTS };
            let allow: Vec<String> = allow.iter().map(|&name| name.into()).collect();
            facts.validate(&allow).err().map(|problem| problem.status)
        };
        for ours in [
            "127.0.0.1",
            "127.0.0.1:8003",
            "192.0.2.7:80",
            "[::1]",
            "[2001:db8::1]:8003",
            "localhost",
            "LocalHost:8003",
            "localhost.",
        ] {
            assert_eq!(status(ours, &[]), None, "{ours}");
        }
        for foreign in [
            "evil.example",
            "evil.example:8003",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "[::1].evil.example",
            "[::1]evil.example:80",
            "evil.example:x",
            "127.1",
            "2130706433",
            "::1",
            "*",
            "",
            ":8003",
        ] {
            assert_eq!(status(foreign, &["app.example"]), Some(421), "{foreign}");
        }
        for allowed in ["app.example", "App.Example:443", "app.example."] {
            assert_eq!(status(allowed, &["b.example", "app.example"]), None, "{allowed}");
        }
        assert_eq!(status("any.example", &["*"]), None);
        for malformed in ["a b", "127.0.0.1@evil.example", "a/b", "\u{e9}"] {
            assert_eq!(status(malformed, &["*"]), Some(400), "{malformed}");
        }
    }

    #[test]
    fn chunked_once_is_the_only_transfer_coding() {
        let status = |fields, first: &str| {
            check_transfer_encoding(fields, first.as_bytes()).err().map(|problem| problem.status)
        };
        for known in ["chunked", "CHUNKED", " chunked\t"] {
            assert_eq!(status(1, known), None, "{known}");
        }
        for unknown in ["gzip, chunked", "chunked, identity", "xchunked", ""] {
            assert_eq!(status(1, unknown), Some(501), "{unknown}");
        }
        assert_eq!(status(1, "chunked, chunked"), Some(400));
        assert_eq!(status(2, "chunked"), Some(400));
        let facts =
            RequestFacts { transfer_encodings: 2, transfer_encoding: Some(b"gzip"), ..FACTS };
        assert_eq!(facts.validate(&[]).map_err(|problem| problem.status), Err(501));
    }

    #[test]
    fn what_no_route_takes_is_404_or_405() {
        assert_eq!(no_route("/ticks", false).status, 405);
        assert_eq!(no_route("/messages/a", false).status, 405);
        for path in ["/tick", "/messages", "/messages/", "/messages/a/b", "/script"] {
            assert_eq!(no_route(path, false).status, 404, "{path}");
        }
        assert_eq!(no_route("/script", true).status, 405);
    }

    #[test]
    fn topics_are_short_and_plain() {
        for good in ["a", "A.b-c_9", &"x".repeat(64)] {
            assert_eq!(check_topic(good), Ok(()), "{good}");
        }
        for bad in ["", "a b", "ä", "a/b", &"x".repeat(65)] {
            assert!(check_topic(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_are_whole_and_within_bounds() {
        let rules = Query::parse("interval_ms=0&count=1000000&pad=65536&stamp=1&x=%ff")
            .ticks(1000)
            .expect("all at their bounds");
        assert_eq!((rules.interval_ms, rules.count, rules.pad), (0, Some(1_000_000), 65_536));
        assert!(rules.stamp && !rules.align);
        for bad in [
            "interval_ms=60001",
            "interval_ms=-1",
            "interval_ms=+1",
            "interval_ms=",
            "interval_ms=1&interval_ms=1",
            "interval_ms=%ff",
            "count=0",
            "pad=65537",
            "stamp=yes",
        ] {
            let problem = Query::parse(bad).ticks(1000).expect_err(bad);
            assert_eq!(problem.status, 400, "{bad}");
        }
    }

    #[test]
    fn the_last_event_id_comes_from_the_header_or_the_query() {
        let id = |query: &str, header: Option<&[u8]>| Query::parse(query).last_event_id(header);
        assert_eq!(id("", None), Ok(None));
        assert_eq!(id("last_event_id=7", None), Ok(Some("7".into())));
        assert_eq!(id("last_event_id=7", Some(b"8")), Ok(Some("8".into())));
        assert_eq!(id("last_event_id=7", Some(b"")), Ok(Some("7".into())));
        assert_eq!(id("last_event_id=", Some(b"")), Ok(None));
        assert_eq!(id("last_event_id=a%2Bb+c", None), Ok(Some("a+b c".into())));
        assert!(id("", Some(&[b'x'; 257])).is_err());
        assert!(id("", Some(b"\xff")).is_err());
    }
}
