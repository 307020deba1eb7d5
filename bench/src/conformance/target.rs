//! The server under test and how cases talk to it.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Need, script};
use crate::fleet::Launch;
use crate::wire::{self, Connection, EventStream, Head, Log, Request, base_url};

/// How long a step of a dialogue may take; a conforming server never makes it wait so long.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long cases watch a stream when they look at what it says by itself.
const WINDOW: Duration = Duration::from_millis(600);
/// Cases that run at a time against a server of the workspace: they wait more than they compute.
const PARALLEL: usize = 8;
/// Cases that run at a time against any other server: some accept no more than five connections at
/// once, and nobody should feel a check.
const PARALLEL_FOREIGN: usize = 3;
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
    launch: Option<Launch>,
    patience: Duration,
    window: Duration,
    parallel: usize,
    log: Log,
}

impl Target {
    /// A server that serves the contract of this workspace, with `--conformance`.
    ///
    /// With a launch the cases on shutdown start a process of their own.
    pub fn contract(address: SocketAddr, launch: Option<Launch>) -> Target {
        let mut capabilities = vec![Need::Script, Need::Topics, Need::Metrics];
        capabilities.extend(launch.is_some().then_some(Need::Process));
        Target {
            address: address.to_string(),
            host: address.to_string(),
            path: "/ticks?interval_ms=50".to_owned(),
            capabilities,
            launch,
            patience: PATIENCE,
            window: WINDOW,
            parallel: PARALLEL,
            log: Log::new(),
        }
    }

    /// Any server at the URL of one of its streams; what else it offers is found by asking.
    ///
    /// # Errors
    /// One line with advice: the URL cannot be used, or nobody answers there.
    pub fn probe(url: &str, patience: Duration) -> Result<Target, String> {
        let (address, host, path) = base_url(url)?;
        let mut target = Target {
            address,
            host,
            path,
            capabilities: Vec::new(),
            launch: None,
            patience,
            window: WINDOW.max(patience / 2),
            parallel: PARALLEL_FOREIGN,
            log: Log::new(),
        };
        let unreachable = |error: wire::Error| format!("{error}; is the server running?");
        target.connect().map_err(unreachable)?;
        let head = target
            .head(&target.get(&target.path))
            .map_err(|error| format!("{url} does not answer: {error}"))?;
        if !head.is_event_stream() {
            return Err(format!(
                "{url} is no event stream ({}); give the URL of a stream, for instance …/ticks",
                head.summary()
            ));
        }
        for (need, offered) in [
            (Need::Script, target.offers_script()),
            (Need::Topics, target.offers_topics()),
            (Need::Metrics, target.offers_metrics()),
        ] {
            target.capabilities.extend(offered.then_some(need));
        }
        Ok(target)
    }

    /// The same server with another patience; tests of the suite do not want to wait.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Target {
        self.patience = patience;
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

    /// What it offers beyond the URL of a stream: what cases may need.
    pub fn capabilities(&self) -> &[Need] {
        &self.capabilities
    }

    /// How to start a process of its kind.
    pub fn launch(&self) -> Option<&Launch> {
        self.launch.as_ref()
    }

    /// How long a step may take.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// How many cases may run at a time.
    pub fn parallel(&self) -> usize {
        self.parallel
    }

    /// From SIGTERM to the exit, at most.
    pub fn grace(&self) -> Duration {
        GRACE
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

    /// A request with `Host` only.
    pub fn request(&self, method: &str, target: &str) -> Request {
        Request::new(method, target).header("Host", &self.host)
    }

    /// A new connection.
    ///
    /// # Errors
    /// [`wire::Error::Connect`].
    pub fn connect(&self) -> wire::Result<Connection> {
        Connection::open(&self.address, self.patience, &self.log)
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
        let sent = connection.send(bytes);
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

    /// What the stream under test says by itself within the window.
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

    fn offers_metrics(&self) -> bool {
        let answer = self.answer(&self.request("GET", "/metrics"));
        answer.is_ok_and(|(_, body)| memchr::memmem::find(&body, b"sse_open_streams").is_some())
    }
}
