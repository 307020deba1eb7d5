//! The options of an event source.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Method, RequestBuilder, Url};

use super::delay::Backoff;
use super::update::Error;
use super::{EventSource, MAX_REDIRECTS, Phase};
use crate::parser::{Limits, Parser};

/// The reconnection time until the server sets one: 3 s, as in Chromium.
const DEFAULT_RETRY: Duration = Duration::from_secs(3);

/// The longest wait that backoff grows to: a server that is back is noticed within this time.
const DEFAULT_MAX_BACKOFF: Duration = Duration::from_secs(30);

/// The time limit for a TCP or TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// The time limit for the head of an answer: twice as long as Firefox and Node's `fetch` wait, as a
/// server may take its time. It is what ends interim answers (1xx) without end.
const DEFAULT_ANSWER_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// TCP keep-alive probes find a peer that vanished without a FIN, even without a read timeout.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);

/// Options of an [`EventSource`]. Without any, it follows the standard.
///
/// ```
/// use std::time::Duration;
///
/// # fn main() -> Result<(), client::Error> {
/// let source = client::EventSource::builder("https://example.org/ticks")
///     .last_event_id("41")
///     .read_timeout(Duration::from_secs(45))
///     .build()?;
/// assert_eq!(source.last_event_id(), "41");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Builder {
    url: String,
    client: Option<Client>,
    method: Method,
    headers: HeaderMap,
    body: Option<Bytes>,
    repeat: bool,
    last_event_id: String,
    limits: Limits,
    pub(super) retry: Duration,
    pub(super) max_backoff: Duration,
    pub(super) answer_timeout: Duration,
    pub(super) read_timeout: Option<Duration>,
    pub(super) retry_unavailable: bool,
}

impl Builder {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            client: None,
            method: Method::GET,
            headers: HeaderMap::new(),
            body: None,
            repeat: false,
            last_event_id: String::new(),
            limits: Limits::default(),
            retry: DEFAULT_RETRY,
            max_backoff: DEFAULT_MAX_BACKOFF,
            answer_timeout: DEFAULT_ANSWER_TIMEOUT,
            read_timeout: None,
            retry_unavailable: false,
        }
    }

    /// Sends a header field with every request. It takes the place of ours of the same name.
    ///
    /// A redirect to another origin drops `Authorization` and `Cookie`.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sends this method, and this body if there is one; set its `Content-Type` yourself. GET if not set.
    ///
    /// A method other than GET and HEAD is sent once, as [`post`](Self::post) is.
    #[must_use]
    pub fn request(mut self, method: Method, body: Option<Bytes>) -> Self {
        self.method = method;
        self.body = body;
        self
    }

    /// Sends POST with this body instead of GET; set its `Content-Type` yourself.
    ///
    /// Browsers cannot do this; streams of language models ask for it. It is sent once: when its
    /// stream ends, that is the end ([`Update::Closed`](super::Update::Closed)); when it breaks, an
    /// error. Only a request that found no connection is tried again. See [`repeat`](Self::repeat).
    #[must_use]
    pub fn post(self, body: impl Into<Bytes>) -> Self {
        self.request(Method::POST, Some(body.into()))
    }

    /// Sends a POST again whenever its stream ends or breaks, as a GET is. Not if not set.
    ///
    /// Each request may be one more order, or one more answer of a model to pay for: only the caller
    /// knows whether it may be repeated ([RFC 9110, section 9.2.2][rfc]).
    ///
    /// [rfc]: https://www.rfc-editor.org/rfc/rfc9110.html#section-9.2.2
    #[must_use]
    pub fn repeat(mut self, repeat: bool) -> Self {
        self.repeat = repeat;
        self
    }

    /// Resumes after this event: sent as `Last-Event-ID` from the first request on.
    #[must_use]
    pub fn last_event_id(mut self, id: impl Into<String>) -> Self {
        self.last_event_id = id.into();
        self
    }

    /// The reconnection time until the server sets one with `retry`. 3 s if not set.
    #[must_use]
    pub fn retry(mut self, retry: Duration) -> Self {
        self.retry = retry;
        self
    }

    /// The most that the wait between attempts that come to nothing grows to. 30 s if not set.
    ///
    /// To nothing: no server, or a stream that ends without an event before the reconnection time is
    /// over.
    #[must_use]
    pub fn max_backoff(mut self, max: Duration) -> Self {
        self.max_backoff = max;
        self
    }

    /// Reconnects when an answer has no head within this time. 10 minutes if not set.
    ///
    /// Interim answers (1xx) do not prolong it.
    #[must_use]
    pub fn answer_timeout(mut self, timeout: Duration) -> Self {
        self.answer_timeout = timeout;
        self
    }

    /// Reconnects after this time without a byte, not even a comment. No timeout if not set.
    ///
    /// A good value is three times the server's keep-alive interval.
    #[must_use]
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.read_timeout = Some(timeout);
        self
    }

    /// Reconnects after 429, 502, 503 and 504 too, no earlier than `Retry-After` says.
    ///
    /// A deviation of choice: the standard has these fail for good, as browsers do. For a POST it
    /// needs [`repeat`](Self::repeat) too.
    #[must_use]
    pub fn retry_unavailable(mut self, retry: bool) -> Self {
        self.retry_unavailable = retry;
        self
    }

    /// How large an event may be.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Uses this HTTP client, with its redirects, timeouts, proxies and certificates.
    #[must_use]
    pub fn client(mut self, client: Client) -> Self {
        self.client = Some(client);
        self
    }

    /// The event source. It sends its first request when it is polled.
    ///
    /// # Errors
    ///
    /// [`Error::Url`], and [`Error::Client`] if TLS cannot be set up.
    pub fn build(self) -> Result<EventSource, Error> {
        let url = parse_url(&self.url)?;
        let client = match &self.client {
            Some(client) => client.clone(),
            None => http_client(&url).map_err(Error::Client)?,
        };
        let mut parser = Parser::with_limits(self.limits);
        parser.set_last_event_id(&self.last_event_id);
        Ok(EventSource {
            builder: self,
            client,
            url,
            parser,
            phase: Phase::Idle,
            backoff: Backoff::default(),
            silence: None,
        })
    }

    /// Whether the request may be sent again, though a server may have acted on it.
    pub(super) fn is_repeatable(&self) -> bool {
        self.repeat || matches!(self.method, Method::GET | Method::HEAD)
    }

    pub(super) fn request_to(&self, client: &Client, url: &Url) -> RequestBuilder {
        let mut headers = HeaderMap::with_capacity(self.headers.len() + 3);
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        // Without it a server may choose any coding.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.extend(self.headers.clone());
        let request = client.request(self.method.clone(), url.clone()).headers(headers);
        match &self.body {
            Some(body) => request.body(body.clone()),
            None => request,
        }
    }
}

/// An absolute URL with a scheme that can carry an event stream.
///
/// # Errors
///
/// [`Error::Url`] says what is wrong with it.
pub fn parse_url(text: &str) -> Result<Url, Error> {
    let error = |why: &str| Error::Url { url: text.to_owned(), why: why.to_owned() };
    let url = Url::parse(text).map_err(|why| error(&why.to_string()))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        scheme => Err(error(&format!("its scheme is {scheme}"))),
    }
}

/// The HTTP client of an event source at this URL: rustls with ring, HTTP/2 where the server has it,
/// the environment's proxies except on the way to this machine, [`MAX_REDIRECTS`].
///
/// # Errors
///
/// If TLS cannot be set up, for instance for lack of root certificates.
pub fn http_client(url: &Url) -> reqwest::Result<Client> {
    match http_client_builder(url).build() {
        // Without root certificates (small containers) plain HTTP works still.
        Err(_) if url.scheme() == "http" => http_client_builder(url).tls_certs_only([]).build(),
        result => result,
    }
}

/// The options of [`http_client`], for one that differs in others.
pub fn http_client_builder(url: &Url) -> ClientBuilder {
    // An error says that the program has chosen a provider before us, which is its right.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder()
        .redirect(Policy::limited(MAX_REDIRECTS))
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_keepalive(TCP_KEEPALIVE);
    // A proxy cannot reach the loopback interface of this machine.
    if is_loopback(url) { builder.no_proxy() } else { builder }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_http_urls_are_taken() {
        assert!(parse_url("http://127.0.0.1:8003/ticks").is_ok());
        assert!(parse_url("HTTPS://example.org").is_ok());
        let message = |text| parse_url(text).unwrap_err().to_string();
        assert_eq!(
            message("/ticks"),
            r#""/ticks" is not an http or https URL: relative URL without a base"#
        );
        assert_eq!(
            message("ftp://example.org"),
            r#""ftp://example.org" is not an http or https URL: its scheme is ftp"#
        );
        // Without a scheme, the host reads as one.
        assert!(message("localhost:8003/ticks").ends_with("its scheme is localhost"));
    }

    #[test]
    fn loopback_needs_no_proxy() {
        let check = |url| is_loopback(&Url::parse(url).unwrap());
        assert!(check("http://localhost:1/"));
        assert!(check("http://127.0.0.1/"));
        assert!(check("http://127.9.9.9/"));
        assert!(check("http://[::1]:80/"));
        assert!(!check("http://example.org/"));
        assert!(!check("http://10.0.0.1/"));
    }
}
