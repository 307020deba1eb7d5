//! The state of a server and the work of its endpoints.

use std::io;
use std::str;
use std::sync::Arc;

use serde_json::json;

use crate::bus::{Bus, IdempotencyKey};
use crate::clock::{self, Now};
use crate::contract::{
    self, MAX_MESSAGE_BYTES, Preflight, Query, RequestFacts, check_key, check_topic,
};
use crate::problem::Problem;
use crate::settings::Settings;
use crate::shutdown::Shutdown;
use crate::source::{LatestPrices, Script, Simulation, Source, Tasks, Ticks, Time};
use crate::stats::Stats;
use crate::stream::EventStream;
use crate::wire_log::WireLog;

/// A stream to answer with; `None` is 204: there is nothing to resume, and an EventSource stops
/// (HTML
/// [9.2.1](https://html.spec.whatwg.org/multipage/server-sent-events.html#server-sent-events-intro)).
pub type StreamResponse = Result<Option<EventStream>, Problem>;

/// The header fields that decide whether a request may publish.
#[derive(Debug, Clone, Copy, Default)]
pub struct Publisher<'a> {
    /// `Authorization`.
    pub authorization: Option<&'a [u8]>,
    /// `Origin`.
    pub origin: Option<&'a [u8]>,
    /// The host that the request is for, as in [`RequestFacts`].
    pub host: Option<&'a [u8]>,
    /// `Content-Length`.
    pub content_length: Option<&'a [u8]>,
    /// `Idempotency-Key`.
    pub idempotency_key: Option<&'a [u8]>,
}

/// One server's state. A server makes one and shares it among its handlers.
///
/// A method that opens a stream takes the query and the `Last-Event-ID` field as they were sent,
/// and fails with 400 if they are not within their bounds, or with 503 when the server is full.
#[derive(Debug)]
pub struct Feed {
    /// The command line.
    pub settings: Settings,
    /// When it begins, all streams end.
    pub shutdown: Shutdown,
    stats: Arc<Stats>,
    bus: Bus,
    latest_prices: LatestPrices,
    log: WireLog,
}

impl Feed {
    /// The state of a server with these settings.
    ///
    /// # Errors
    /// As [`Bus::open`].
    pub fn new(settings: Settings) -> io::Result<Feed> {
        Feed::with_shutdown(settings, Shutdown::default())
    }

    /// The state of a server that ends with the first SIGTERM or Ctrl-C.
    ///
    /// # Errors
    /// If the signals cannot be hooked; as [`Bus::open`].
    pub fn until_signal(settings: Settings) -> io::Result<Arc<Feed>> {
        Ok(Arc::new(Feed::with_shutdown(settings, Shutdown::on_signals()?)?))
    }

    fn with_shutdown(settings: Settings, shutdown: Shutdown) -> io::Result<Feed> {
        Ok(Feed {
            bus: Bus::open(&settings)?,
            log: WireLog::new(settings.wire_log),
            stats: Arc::default(),
            latest_prices: LatestPrices::default(),
            settings,
            shutdown,
        })
    }

    /// Checks a request before a route takes it. The answer to a preflight of an allowed origin, if
    /// this is one: without it no page of that origin could send a token.
    ///
    /// # Errors
    /// 400, 414, 421, 431.
    pub fn check(&self, request: &RequestFacts<'_>) -> Result<Option<Preflight>, Problem> {
        request.validate(&self.settings.allow_host)?;
        let is_preflight = request.method == "OPTIONS"
            && request.asks_for_method
            && self.allowed_origin(request.origin).is_some();
        let answer = || contract::preflight(request.path, self.settings.conformance);
        Ok(is_preflight.then(answer).flatten())
    }

    /// `GET /ticks`.
    ///
    /// # Errors
    /// 400, 503.
    pub fn ticks(&self, query: &str, last_event_id: Option<&[u8]>) -> StreamResponse {
        self.open("/ticks", query, last_event_id, |query, id, now| {
            let rules = query.ticks(self.settings.tick_interval_ms)?;
            Ok(Some(Box::new(Ticks::new(rules, id, now))))
        })
    }

    /// `GET /time`.
    ///
    /// # Errors
    /// 400, 503.
    pub fn time(&self, query: &str, last_event_id: Option<&[u8]>) -> StreamResponse {
        self.open("/time", query, last_event_id, |_, id, now| {
            Ok(Some(Box::new(Time::new(id, self.settings.retain.into(), now))))
        })
    }

    /// `GET /tasks`.
    ///
    /// # Errors
    /// 400, 503.
    pub fn tasks(&self, query: &str, last_event_id: Option<&[u8]>) -> StreamResponse {
        self.open("/tasks", query, last_event_id, |query, id, now| {
            let tasks = Tasks::new(query.step_ms()?, id, now);
            Ok(tasks.map(|tasks| Box::new(tasks) as Box<dyn Source>))
        })
    }

    /// `GET /messages/{topic}`; the topic percent-decoded.
    ///
    /// # Errors
    /// 400, 503.
    pub fn subscribe(
        &self,
        topic: &str,
        query: &str,
        last_event_id: Option<&[u8]>,
    ) -> StreamResponse {
        check_topic(topic)?;
        self.open(&format!("/messages/{topic}"), query, last_event_id, |_, id, now| {
            Ok(Some(self.bus.subscribe(topic, id, now.monotonic)?))
        })
    }

    /// May this request publish to this topic? Asked before its body is read. The key of its message,
    /// if it has one.
    ///
    /// # Errors
    /// 400 for the topic or the key, 401 without a token, 403 for a wrong one or a page of another site, 413 for
    /// a body that is announced as too large.
    pub fn may_publish(
        &self,
        topic: &str,
        publisher: &Publisher<'_>,
    ) -> Result<Option<IdempotencyKey>, Problem> {
        self.admit(topic, publisher).inspect_err(|problem| {
            self.log.exchange(format_args!("POST /messages/{topic}"), problem);
        })
    }

    fn admit(
        &self,
        topic: &str,
        publisher: &Publisher<'_>,
    ) -> Result<Option<IdempotencyKey>, Problem> {
        check_topic(topic)?;
        if let Some(origin) = publisher.origin {
            let own = publisher.host.is_some_and(|host| is_origin_of(origin, host));
            if !own && self.allowed_origin(Some(origin)).is_none() {
                return Err(Problem::cross_site(&String::from_utf8_lossy(origin)));
            }
        }
        match (&self.settings.publish_token, publisher.authorization.and_then(bearer)) {
            (None, _) => {}
            (Some(_), None) => return Err(Problem::unauthorized()),
            (Some(token), Some(given)) if constant_time_eq(token.as_bytes(), given) => {}
            (Some(_), Some(_)) => return Err(Problem::wrong_token()),
        }
        // A length that is no number is the HTTP parser's to refuse.
        let announced =
            publisher.content_length.and_then(|it| str::from_utf8(it).ok()?.parse().ok());
        if announced.is_some_and(|bytes: u64| bytes > MAX_MESSAGE_BYTES as u64) {
            return Err(Problem::body_too_large(MAX_MESSAGE_BYTES));
        }
        publisher.idempotency_key.map(check_key).transpose()
    }

    /// `POST /messages/{topic}` with a body that was let in, and the key that
    /// [`may_publish`](Self::may_publish) found; the JSON to answer with, under 201.
    ///
    /// A future, because a broker answers later. With `--bus memory` it is ready at the first poll.
    ///
    /// # Errors
    /// 400 if the body is not UTF-8, 413, 503.
    pub async fn publish(
        &self,
        topic: &str,
        key: Option<IdempotencyKey>,
        body: Vec<u8>,
    ) -> Result<String, Problem> {
        check_topic(topic)?;
        let bytes = body.len();
        if bytes > MAX_MESSAGE_BYTES {
            return Err(Problem::body_too_large(MAX_MESSAGE_BYTES));
        }
        let message = String::from_utf8(body).map_err(|e| {
            let at = format!("byte {}", e.utf8_error().valid_up_to());
            Problem::bad_value("body", &at, "UTF-8")
        })?;
        let id = self.bus.publish(topic, message, key, clock::now().monotonic).await?;
        self.log.exchange(
            format_args!("POST /messages/{topic}, {bytes} bytes"),
            format_args!("201, id {id}"),
        );
        Ok(json!({ "id": id }).to_string())
    }

    /// `GET /simulation`.
    ///
    /// # Errors
    /// 400, 503.
    pub fn simulation(&self, query: &str, last_event_id: Option<&[u8]>) -> StreamResponse {
        self.open("/simulation", query, last_event_id, |_, id, now| {
            let (latest, retain) = (self.latest_prices.clone(), self.settings.retain.into());
            Ok(Some(Box::new(Simulation::new(latest, id, retain, now))))
        })
    }

    /// `GET /healthz`: alive, and whether it is ready. With `?ready` in the query, an error if it is
    /// not: a load balancer then sends new clients elsewhere, while the open streams stay.
    ///
    /// # Errors
    /// 503.
    pub fn healthz(&self, query: &str) -> Result<&'static str, Problem> {
        let asks = query.split('&').any(|pair| pair == "ready" || pair.starts_with("ready="));
        match self.bus.ready() {
            Ok(()) => Ok("ok\n"),
            Err(problem) if asks => Err(problem),
            Err(_) => Ok("alive, not ready: the bus is away\n"),
        }
    }

    /// `GET /metrics`: the Prometheus text.
    pub fn metrics(&self) -> String {
        let Settings { server, encoding, .. } = self.settings;
        let encoding = encoding.name();
        let counters = self.stats.prometheus(self.bus.retained_bytes());
        format!(
            "# HELP sse_server_info Which server this is, and how its events get onto the wire.\n\
             # TYPE sse_server_info gauge\n\
             sse_server_info{{server=\"{server}\",encoding=\"{encoding}\"}} 1\n{counters}{bus}",
            bus = self.bus.prometheus(),
        )
    }

    /// `GET /script`.
    ///
    /// # Errors
    /// 404 without `--conformance`, 400, 503.
    pub fn script(&self, query: &str, last_event_id: Option<&[u8]>) -> StreamResponse {
        if !self.settings.conformance {
            return Err(Problem::not_found());
        }
        self.open("/script", query, last_event_id, |query, _, now| {
            let events = query.text("events")?.unwrap_or("");
            let script = Script::parse(events, now)
                .map_err(|bounds| Problem::bad_value("events", events, bounds))?;
            Ok(Some(Box::new(script)))
        })
    }

    /// The origin to allow in the answer to a request from this one, if it may read us.
    ///
    /// Source: Fetch, [CORS protocol](https://fetch.spec.whatwg.org/#http-cors-protocol).
    pub fn allowed_origin<'a>(&self, origin: Option<&'a [u8]>) -> Option<&'a str> {
        let origin = str::from_utf8(origin?).ok()?;
        let allowed = &self.settings.allow_origin;
        allowed.iter().any(|one| one == "*" || one == origin).then_some(origin)
    }

    fn open(
        &self,
        path: &str,
        query: &str,
        last_event_id: Option<&[u8]>,
        source: impl FnOnce(&Query, Option<&str>, Now) -> Result<Option<Box<dyn Source>>, Problem>,
    ) -> StreamResponse {
        let question = if query.is_empty() { "" } else { "?" };
        let request = format_args!("GET {path}{question}{query}");
        let opened = || {
            let parsed = Query::parse(query);
            let id = parsed.last_event_id(last_event_id)?;
            let now = clock::now();
            let Some(source) = source(&parsed, id.as_deref(), now)? else {
                self.log.exchange(request, "204");
                return Ok(None);
            };
            let max = self.settings.max_streams;
            let open = self.stats.open_stream(max).ok_or_else(|| Problem::full("streams", max))?;
            let log = self.log.stream(request, id.as_deref());
            let (keep_alive, shutdown) = (self.settings.keep_alive(), self.shutdown.watch());
            Ok(Some(EventStream::new(source, keep_alive, now, shutdown, open, log)))
        };
        opened().inspect_err(|problem: &Problem| self.log.exchange(request, problem))
    }
}

/// True if a page of this origin was served under this host: `http://a:1` and `a:1`.
fn is_origin_of(origin: &[u8], host: &[u8]) -> bool {
    let authority = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

/// The token in `Bearer <token>`; the scheme in any case ([RFC 9110
/// 11.1](https://www.rfc-editor.org/rfc/rfc9110.html#section-11.1)).
fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Compares in a time that does not depend on how many bytes are right.
fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::settings::Encoding;

    fn feed(change: impl FnOnce(&mut Settings)) -> Feed {
        let mut settings = Settings::for_tests();
        change(&mut settings);
        Feed::new(settings).expect("the bus in memory opens")
    }

    #[test]
    fn a_full_server_says_so_and_takes_more_when_one_leaves() {
        let feed = feed(|settings| settings.max_streams = 1);
        let first = feed.ticks("", None).expect("room");
        assert_eq!(feed.ticks("", None).expect_err("full").status, 503);
        drop(first);
        assert!(feed.ticks("", None).is_ok());
    }

    #[test]
    fn finished_tasks_are_no_stream() {
        let feed = feed(|_| ());
        assert!(feed.tasks("", Some(b"25")).expect("answered").is_none());
    }

    #[test]
    fn metrics_name_the_server_and_its_encoding() {
        let feed = feed(|settings| {
            settings.server = "sse-newcomer";
            settings.encoding = Encoding::Native;
        });
        let info = "\nsse_server_info{server=\"sse-newcomer\",encoding=\"native\"} 1\n";
        assert!(feed.metrics().contains(info), "{}", feed.metrics());
    }

    #[test]
    fn scripts_are_for_conformance_only() {
        assert_eq!(feed(|_| ()).script("events=W10", None).expect_err("off").status, 404);
        let on = feed(|settings| settings.conformance = true);
        assert!(on.script("events=W10", None).is_ok());
        assert_eq!(on.script("events=*", None).expect_err("no script").status, 400);
        assert_eq!(on.script("", None).expect_err("no script").status, 400);
    }

    #[test]
    fn publishing_needs_the_token_when_there_is_one() {
        let status = |feed: &Feed, authorization: Option<&'static [u8]>| {
            let publisher = Publisher { authorization, ..Publisher::default() };
            feed.may_publish("t", &publisher).err().map(|problem| problem.status)
        };
        assert_eq!(status(&feed(|_| ()), None), None);
        let guarded = feed(|settings| settings.publish_token = Some("secret".into()));
        assert_eq!(status(&guarded, None), Some(401));
        assert_eq!(status(&guarded, Some(b"Basic secret")), Some(401));
        assert_eq!(status(&guarded, Some(b"Bearer secres")), Some(403));
        assert_eq!(status(&guarded, Some(b"bearer secret")), None);
    }

    #[test]
    fn a_body_that_is_announced_as_too_large_is_refused_before_it_is_read() {
        let status = |feed: &Feed, length: &'static str| {
            let content_length = Some(length.as_bytes());
            let publisher = Publisher { content_length, ..Publisher::default() };
            feed.may_publish("t", &publisher).err().map(|problem| problem.status)
        };
        let open = feed(|_| ());
        assert_eq!(status(&open, "65536"), None);
        assert_eq!(status(&open, "65537"), Some(413));
        assert_eq!(status(&open, "18446744073709551615"), Some(413));
        // The size of a message is no concern of a client without the token.
        let guarded = feed(|settings| settings.publish_token = Some("secret".into()));
        assert_eq!(status(&guarded, "65537"), Some(401));
    }

    #[test]
    fn pages_of_another_site_may_not_publish_unless_allowed() {
        let status = |feed: &Feed, origin: &'static str| {
            let host = Some(b"127.0.0.1:8003".as_slice());
            let publisher =
                Publisher { origin: Some(origin.as_bytes()), host, ..Publisher::default() };
            feed.may_publish("t", &publisher).err().map(|problem| problem.status)
        };
        let closed = feed(|_| ());
        assert_eq!(status(&closed, "http://127.0.0.1:8003"), None);
        assert_eq!(status(&closed, "http://evil.example"), Some(403));
        assert_eq!(status(&closed, "null"), Some(403));
        let open = feed(|settings| settings.allow_origin = vec!["https://a.example".into()]);
        assert_eq!(status(&open, "https://a.example"), None);
        assert_eq!(status(&open, "https://b.example"), Some(403));
    }

    #[test]
    fn a_preflight_of_an_allowed_origin_is_answered() {
        let feed = feed(|settings| settings.allow_origin = vec!["https://a.example".into()]);
        let preflight = RequestFacts {
            http_1_1: true,
            method: "OPTIONS",
            hosts: 1,
            host: Some(b"127.0.0.1:8003"),
            origin: Some(b"https://a.example"),
            asks_for_method: true,
            transfer_encodings: 0,
            transfer_encoding: None,
            path: "/messages/t",
            target_bytes: 11,
            header_bytes: 100,
        };
        let answer = |facts| feed.check(&facts).map_err(|problem| problem.status);
        let fields = answer(preflight).expect("fine").expect("an answer");
        assert_eq!(fields[0], ("Access-Control-Allow-Methods", "GET, HEAD, POST"));
        assert!(fields[1].1.contains("Authorization") && fields[1].1.contains("Last-Event-ID"));
        for none in [
            RequestFacts { method: "GET", ..preflight },
            RequestFacts { asks_for_method: false, ..preflight },
            RequestFacts { origin: None, ..preflight },
            RequestFacts { origin: Some(b"https://b.example"), ..preflight },
            RequestFacts { path: "/nope", ..preflight },
        ] {
            assert_eq!(answer(none), Ok(None), "{none:?}");
        }
        assert_eq!(answer(RequestFacts { host: Some(b"a.example"), ..preflight }), Err(421));
    }

    #[test]
    fn a_message_is_text_within_its_limit() {
        let feed = feed(|_| ());
        let publish = |body| feed.publish("t", None, body).now_or_never().expect("ready at once");
        assert!(publish(vec![b'x'; MAX_MESSAGE_BYTES]).is_ok());
        let status = |body| publish(body).expect_err("bad").status;
        assert_eq!(status(vec![b'x'; MAX_MESSAGE_BYTES + 1]), 413);
        assert_eq!(status(vec![0xff]), 400);
    }
}
