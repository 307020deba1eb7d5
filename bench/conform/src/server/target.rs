//! The server under test and how cases talk to it.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fleet::{Launch, eventually};
use wire::{Connection, Event, EventStream, Head, Log, Request, base_url};

use super::{Control, Fault, Need, script};
use crate::judge::Subject;

/// How long a step of a dialogue may take; a conforming server never makes it wait so long.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long cases watch a stream when they look at what it says by itself.
const WINDOW: Duration = Duration::from_millis(600);
/// Cases that run at a time against a server of the workspace: they wait more than they compute.
const PARALLEL: usize = 8;
/// Cases that run at a time against any other server: some accept no more than five connections at
/// once, and its other clients must not feel a check.
const PARALLEL_FOREIGN: usize = 3;
/// The `--keep-alive-ms` of servers that are started for the suite.
pub(super) const CONFORMANCE_KEEP_ALIVE: Duration = Duration::from_millis(500);
/// The receive buffer of a client that does not read: little, so that the server feels it soon.
const NARROW_BYTES: usize = 16 * 1024;
/// How long to wait before asking again a server that does not answer yet.
const RETRY: Duration = Duration::from_millis(100);
/// Time from SIGTERM to the exit that the contract grants.
const GRACE: Duration = Duration::from_secs(2);

/// A server, seen from outside.
///
/// A clone made by [`Target::for_case`] has a log of its own; all connections write to it.
#[derive(Clone, Debug)]
pub struct Target {
    address: String,
    host: String,
    path: String,
    capabilities: Vec<Need>,
    control: Option<Control>,
    /// Header lines of the user's, part of every request: a token, for instance.
    headers: Vec<(String, String)>,
    patience: Duration,
    window: Duration,
    keep_alive: Option<Duration>,
    scale: f64,
    own: bool,
    parallel: usize,
    /// Where the request bytes of failed cases go.
    requests: Option<PathBuf>,
    log: Log,
}

impl Subject for Target {
    fn log(&self) -> &Log {
        &self.log
    }
}

impl Target {
    /// A server that serves the contract of this workspace, with `--conformance`.
    ///
    /// With a launch the cases on shutdown start a process of their own.
    pub fn contract(address: SocketAddr, launch: Option<Launch>) -> Target {
        let mut capabilities =
            vec![Need::Script, Need::Topics, Need::Metrics, Need::Endpoints, Need::KeepAlive];
        capabilities.extend(launch.is_some().then_some(Need::Process));
        Target {
            address: address.to_string(),
            host: address.to_string(),
            path: "/ticks?interval_ms=50".to_owned(),
            capabilities,
            control: launch.map(Control::Launch),
            headers: Vec::new(),
            patience: PATIENCE,
            window: WINDOW,
            keep_alive: Some(CONFORMANCE_KEEP_ALIVE),
            scale: 1.0,
            own: true,
            parallel: PARALLEL,
            requests: None,
            log: Log::new(),
        }
    }

    /// A server of this workspace that serves `/ticks` and nothing else of the contract.
    pub fn only_ticks(address: SocketAddr, launch: Launch) -> Target {
        Target {
            path: "/ticks".to_owned(),
            capabilities: vec![Need::Process],
            keep_alive: None,
            // A tick comes each second.
            window: WINDOW.max(PATIENCE / 2),
            ..Target::contract(address, Some(launch))
        }
    }

    /// Any server at the URL of one of its streams; nothing has been sent yet.
    ///
    /// # Errors
    /// One line with advice: the URL cannot be used.
    pub fn url(url: &str, patience: Duration) -> Result<Target, String> {
        let (address, host, path) = base_url(url)?;
        Ok(Target {
            address,
            host,
            path,
            capabilities: Vec::new(),
            control: None,
            headers: Vec::new(),
            patience,
            window: WINDOW.max(patience / 2),
            keep_alive: None,
            scale: 1.0,
            own: false,
            parallel: PARALLEL_FOREIGN,
            requests: None,
            log: Log::new(),
        })
    }

    /// Checks that the stream is one, and finds by asking what else the server offers.
    ///
    /// Asks only for what is in `wanted`: a probe is a request, too.
    ///
    /// # Errors
    /// One line with advice: there is no answer, or the answer is no event stream.
    pub fn probe(mut self, wanted: &[Need]) -> Result<Target, String> {
        let url = format!("http://{}{}", self.host, self.path);
        let unreachable = |error: wire::Error| format!("{error}; is the server running?");
        self.connect().map_err(unreachable)?;
        let head = self
            .head(&self.get(&self.path))
            .map_err(|error| format!("{url} does not answer: {error}{}", hint(&error)))?;
        if !head.is_event_stream() {
            let advice = match head.value("location") {
                Some(location) if (300..400).contains(&head.status) => {
                    format!("it redirects to {location}; give the URL that answers itself")
                }
                _ if matches!(head.status, 401 | 403) => {
                    "give what it asks for with --header 'Authorization: …'".to_owned()
                }
                _ => "give the URL of a stream, for instance …/ticks".to_owned(),
            };
            return Err(format!("{url} is no event stream ({}); {advice}", head.summary()));
        }
        for &need in wanted {
            let offered = match need {
                Need::Script => self.offers_script(),
                Need::Topics => self.offers_topics(),
                Need::Metrics => self.offers_metrics(),
                Need::Endpoints => self.offers_endpoints(),
                Need::KeepAlive => self.keep_alive.is_some(),
                Need::Process => self.control.is_some(),
            };
            self.capabilities.extend(offered.then_some(need));
        }
        Ok(self)
    }

    /// The same server, whose process the harness may stop.
    #[must_use]
    pub fn with_control(mut self, control: Control) -> Target {
        self.control = Some(control);
        self
    }

    /// The same server, which belongs to the user of the suite: floods and stops may be sent.
    #[must_use]
    pub fn owned(mut self, own: bool) -> Target {
        self.own = own;
        self
    }

    /// The same server; every request has these header lines. `Host` replaces the usual one.
    #[must_use]
    pub fn with_headers(mut self, headers: &[(String, String)]) -> Target {
        for (name, value) in headers {
            if name.eq_ignore_ascii_case("host") {
                self.host.clone_from(value);
            } else {
                self.headers.push((name.clone(), value.clone()));
            }
        }
        self
    }

    /// The same server with another patience; tests of the suite do not want to wait.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Target {
        self.patience = patience;
        self
    }

    /// The same server with all waits and thresholds so many times as long: for slow machines.
    #[must_use]
    pub fn with_scale(mut self, scale: f64) -> Target {
        self.scale *= scale;
        self.patience = self.patience.mul_f64(scale);
        self.window = self.window.mul_f64(scale);
        self
    }

    /// The same server with the time between its keep-alive comments, now known.
    #[must_use]
    pub fn with_keep_alive(mut self, keep_alive: Duration) -> Target {
        self.keep_alive = Some(keep_alive);
        if !self.capabilities.contains(&Need::KeepAlive) {
            self.capabilities.push(Need::KeepAlive);
        }
        self
    }

    /// The same server; the request bytes of failed cases go to files in this folder.
    #[must_use]
    pub fn with_requests(mut self, folder: &Path) -> Target {
        self.requests = Some(folder.to_owned());
        self
    }

    /// The same server with an empty log, for one case.
    #[must_use]
    pub fn for_case(&self) -> Target {
        Target { log: Log::new(), ..self.clone() }
    }

    /// The target (path and query) of the stream under test.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The target with one more query parameter.
    pub fn path_with(&self, parameter: &str) -> String {
        let separator = if self.path.contains('?') { '&' } else { '?' };
        format!("{}{separator}{parameter}", self.path)
    }

    /// The value for `Host`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// `host:port` as dialled.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its offers beyond the URL of a stream, which cases may need.
    pub fn capabilities(&self) -> &[Need] {
        &self.capabilities
    }

    /// Whether the user of the suite says that it is theirs.
    pub fn is_own(&self) -> bool {
        self.own
    }

    /// How to start a process of its kind with other arguments, if that is possible.
    pub fn launch(&self) -> Option<&Launch> {
        match &self.control {
            Some(Control::Launch(launch)) => Some(launch),
            _ => None,
        }
    }

    /// How to get a process of its kind.
    pub fn control(&self) -> Option<&Control> {
        self.control.as_ref()
    }

    /// Whether every address of the server is one of this machine's loopback.
    pub fn is_loopback(&self) -> bool {
        self.address.to_socket_addrs().is_ok_and(|addresses| {
            let mut addresses = addresses.peekable();
            addresses.peek().is_some() && addresses.all(|it| it.ip().to_canonical().is_loopback())
        })
    }

    /// Asks until the server answers with any head.
    ///
    /// # Errors
    /// The words of the last try.
    pub fn answers_within(&self, time: Duration) -> Result<(), String> {
        let asked = || self.head(&self.get(&self.path)).map(|_| ());
        eventually(time, RETRY, asked).map_err(|error| error.to_string())
    }

    /// How long a step may take.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// How long cases watch a stream.
    pub fn window(&self) -> Duration {
        self.window
    }

    /// How many cases may run at a time.
    pub fn parallel(&self) -> usize {
        self.parallel
    }

    /// From SIGTERM to the exit, at most.
    pub fn grace(&self) -> Duration {
        self.scaled(GRACE)
    }

    /// The time between its keep-alive comments, if that is known.
    pub fn keep_alive(&self) -> Option<Duration> {
        self.keep_alive
    }

    /// A wait or a threshold under `--time-scale`.
    pub fn scaled(&self, time: Duration) -> Duration {
        time.mul_f64(self.scale)
    }

    /// The folder for the request bytes of failed cases.
    pub fn requests(&self) -> Option<&Path> {
        self.requests.as_deref()
    }

    /// The log of this case.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The same kind of server at another address, with the same log: for cases that start one.
    #[must_use]
    pub fn at(&self, address: SocketAddr) -> Target {
        let address = address.to_string();
        Target { host: address.clone(), address, ..self.clone() }
    }

    /// A request as a plain client would send it: `Host`, and `Accept` for event streams.
    pub fn get(&self, target: &str) -> Request {
        self.request("GET", target).header("Accept", "text/event-stream")
    }

    /// A request with `Host` and the user's headers only.
    pub fn request(&self, method: &str, target: &str) -> Request {
        let request = Request::new(method, target).header("Host", &self.host);
        self.headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    }

    /// A request written by hand, with the user's headers after its request line.
    pub fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let version = memchr::memmem::find(bytes, b" HTTP/1.");
        let Some(end) = version.and_then(|at| Some(at + memchr::memchr(b'\n', &bytes[at..])? + 1))
        else {
            return bytes.to_vec();
        };
        let lines: String = self.headers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
        [&bytes[..end], lines.as_bytes(), &bytes[end..]].concat()
    }

    /// A new connection.
    ///
    /// # Errors
    /// [`wire::Error::Connect`].
    pub fn connect(&self) -> wire::Result<Connection> {
        Connection::open(&self.address, self.patience, &self.log)
    }

    /// A new connection of a client whose system holds little of what it does not read.
    ///
    /// # Errors
    /// [`wire::Error::Connect`].
    pub fn connect_narrow(&self) -> wire::Result<Connection> {
        Connection::open_narrow(&self.address, self.patience, &self.log, NARROW_BYTES)
    }

    /// Asks on a new connection and keeps only the head: for answers that may never end.
    ///
    /// # Errors
    /// Any of [`wire::Error`].
    pub fn head(&self, request: &Request) -> wire::Result<Head> {
        Ok(self.connect()?.ask(request)?.0)
    }

    /// Sends raw bytes on a new connection and reads one head.
    ///
    /// # Errors
    /// Any of [`wire::Error`].
    pub fn head_of_raw(&self, bytes: &[u8]) -> wire::Result<Head> {
        let mut connection = self.connect()?;
        // A server may refuse before it has read all; what counts is whether its answer arrives.
        let sent = connection.send(&self.raw(bytes));
        connection.read_head().map_err(|error| sent.err().unwrap_or(error))
    }

    /// Asks on a new connection and reads the whole answer.
    ///
    /// # Errors
    /// Any of [`wire::Error`].
    pub fn answer(&self, request: &Request) -> wire::Result<(Head, Vec<u8>)> {
        let mut connection = self.connect()?;
        let (head, mut body) = connection.ask(request)?;
        let bytes = connection.read_body_to_end(&mut body)?;
        Ok((head, bytes))
    }

    /// Opens a stream on a new connection.
    ///
    /// # Errors
    /// Any of [`wire::Error`].
    pub fn open(&self, request: &Request) -> wire::Result<EventStream> {
        EventStream::open(self.connect()?, request)
    }

    /// Opens the stream under test.
    ///
    /// # Errors
    /// Any of [`wire::Error`].
    pub fn stream(&self) -> wire::Result<EventStream> {
        self.open(&self.get(&self.path))
    }

    /// Opens the stream under test and waits until it has said an event; a silent stream cannot be judged on what
    /// follows.
    ///
    /// # Errors
    /// [`Fault::Skip`] if it says none in time.
    pub fn speaking(&self) -> Result<EventStream, Fault> {
        let mut stream = self.stream()?;
        first_event(&mut stream)?;
        Ok(stream)
    }

    /// The bytes that the stream under test sends by itself within the window.
    ///
    /// # Errors
    /// Any of [`wire::Error`].
    pub fn watch(&self) -> wire::Result<wire::Window> {
        self.stream()?.watch(self.window)
    }

    /// Opens the stream of a script.
    ///
    /// # Errors
    /// Any of [`wire::Error`].
    pub fn script(&self, items: &[serde_json::Value]) -> wire::Result<EventStream> {
        self.open(&self.get(&script::target(items)))
    }

    fn offers_script(&self) -> bool {
        let nonce = format!("{:016x}", fastrand::u64(..));
        let events = self.script(&[script::data(&nonce)]).and_then(|mut it| it.take(1));
        events.is_ok_and(|events| events[0].data == nonce)
    }

    /// Any topic can be read, and a name that the contract forbids cannot: nothing is published.
    fn offers_topics(&self) -> bool {
        let status = |topic: &str| {
            let head = self.head(&self.get(&format!("/messages/{topic}")));
            head.ok().map(|head| (head.is_event_stream(), head.status))
        };
        status("conformance-probe") == Some((true, 200))
            && status(&"x".repeat(65)) == Some((false, 400))
    }

    /// `/tasks` that are finished are 204, and `/time` is a stream.
    fn offers_endpoints(&self) -> bool {
        let finished = self.get("/tasks").header("Last-Event-ID", "25");
        self.head(&finished).is_ok_and(|head| head.status == 204)
            && self.head(&self.get("/time")).is_ok_and(|head| head.is_event_stream())
    }

    fn offers_metrics(&self) -> bool {
        let answer = self.answer(&self.request("GET", "/metrics"));
        answer.is_ok_and(|(_, body)| memchr::memmem::find(&body, b"sse_open_streams").is_some())
    }
}

/// The likely meaning of the first bytes of a peer that does not speak HTTP/1.
fn hint(error: &wire::Error) -> &'static str {
    match error {
        wire::Error::Syntax(words) if words.contains("\\x15\\x03") => {
            "; it speaks TLS: put a proxy that ends TLS before it, and give the proxy's http:// URL"
        }
        // A SETTINGS frame begins with its length, 24 bits, and type 4.
        wire::Error::Syntax(words) if words.contains("\"\\x00\\x00") => {
            "; it speaks HTTP/2 only: the suite is for HTTP/1.1"
        }
        wire::Error::Syntax(_) => "; is it an HTTP server?",
        wire::Error::Timeout { .. } => "; a stream sends its head at once (or raise --patience-ms)",
        _ => "; look at the server's log",
    }
}

/// The first event of a stream, `None` if it ends before; a silent stream cannot be judged.
pub(super) fn first_event(stream: &mut EventStream) -> Result<Option<Event>, Fault> {
    stream.next_event().map_err(|error| match error {
        wire::Error::Timeout { patience, .. } => {
            Fault::Skip(format!("the stream said no event for {} ms", patience.as_millis()))
        }
        error => error.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_headers_are_in_every_request() {
        let headers = [("X-A".to_owned(), "1".to_owned()), ("host".to_owned(), "b".to_owned())];
        let target = Target::url("http://127.0.0.1:1/x", PATIENCE).unwrap().with_headers(&headers);
        let expected = "GET /x HTTP/1.1\r\nHost: b\r\nX-A: 1\r\nAccept: text/event-stream\r\n\r\n";
        assert_eq!(target.get("/x").to_bytes(), expected.as_bytes());
        assert_eq!(target.raw(b"GET / HTTP/1.1\r\n\r\n"), b"GET / HTTP/1.1\r\nX-A: 1\r\n\r\n");
        assert_eq!(target.raw(b"no request"), b"no request");
    }

    #[test]
    fn only_this_machine_is_loopback() {
        let is_loopback = |url| Target::url(url, PATIENCE).unwrap().is_loopback();
        assert!(is_loopback("http://127.0.0.1:1/") && is_loopback("http://[::1]:1/"));
        assert!(is_loopback("http://localhost:1/"));
        assert!(!is_loopback("http://192.0.2.1:1/") && !is_loopback("http://0.0.0.0:1/"));
    }
}
