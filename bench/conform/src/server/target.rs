//! The server under test and how cases talk to it.

mod http2;
mod request;

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use client::arguments::Wanted;
use client::problem;
use fleet::{Launch, eventually};
use wire::{
    Budget, Connection, Dial, Event, EventStream, Head, Location, Log, Request, Tls, Trust,
};

use super::care::Gate;
use super::concurrency::Concurrency;
use super::late_head::Heads;
use super::room::Room;
use super::{Control, Fault, Need, script};
use crate::judge::Subject;
use crate::{Profile, host};

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
/// How often a head is asked for that comes late, while this host is busy.
const FIRST_HEAD_TRIES: usize = 4;
/// Time from SIGTERM to the exit that the contract grants.
const GRACE: Duration = Duration::from_secs(2);

/// A server, seen from outside.
///
/// A clone made by [`Target::for_case`] has a log of its own; all connections write to it.
#[derive(Clone, Debug)]
pub struct Target {
    address: String,
    host: String,
    tls: Option<Tls>,
    /// The user says that it speaks HTTP/2.
    knows_http2: bool,
    path: String,
    capabilities: Vec<Need>,
    /// Where the author's code publishes, if the user said how.
    pub(super) room: Option<Arc<Room>>,
    control: Option<Control>,
    /// The request that opens the stream; its header lines are part of every request: a token, for
    /// instance.
    wanted: Wanted,
    budget: Budget,
    gate: Gate,
    patience: Duration,
    window: Duration,
    keep_alive: Option<Duration>,
    scale: f64,
    own: bool,
    parallel: usize,
    concurrency: Concurrency,
    pub(super) heads: Heads,
    /// Whether a plain request for the stream was not answered in time.
    pub(super) is_late: Arc<AtomicBool>,
    /// Where the request bytes of failed cases go.
    requests: Option<PathBuf>,
    /// Whether the bytes of cases that pass are kept, too.
    keeps_bytes: bool,
    log: Log,
}

impl Subject for Target {
    fn log(&self) -> &Log {
        &self.log
    }

    /// It has an endpoint of the contract.
    fn serves_contract(&self) -> bool {
        [Need::Script, Need::Topics, Need::Endpoints]
            .iter()
            .any(|it| self.capabilities.contains(it))
    }
}

impl Target {
    /// A server that serves the contract of this workspace, with `--conformance`.
    ///
    /// With a launch the cases on shutdown start a process of their own.
    pub fn contract(address: SocketAddr, launch: Option<Launch>) -> Target {
        let mut capabilities = Profile::Contract.needs().to_vec();
        // A proxy speaks it for servers of the contract.
        capabilities.retain(|need| *need != Need::Http2);
        capabilities.extend(launch.is_some().then_some(Need::Process));
        Target {
            address: address.to_string(),
            host: address.to_string(),
            tls: None,
            knows_http2: false,
            path: "/ticks?interval_ms=50".to_owned(),
            capabilities,
            room: None,
            control: launch.map(Control::Launch),
            wanted: Wanted::default(),
            budget: Budget::unlimited(),
            gate: Gate::default(),
            patience: PATIENCE,
            window: WINDOW,
            keep_alive: Some(CONFORMANCE_KEEP_ALIVE),
            scale: 1.0,
            own: true,
            parallel: PARALLEL,
            concurrency: Concurrency::Many,
            heads: Heads::Usual,
            is_late: Arc::default(),
            requests: None,
            keeps_bytes: false,
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
        Target::trusting(url, patience, &Trust::default())
    }

    /// The same, with a choice of the certificates to accept.
    ///
    /// # Errors
    /// One line with advice: the URL or the choice cannot be used.
    pub fn trusting(url: &str, patience: Duration, trust: &Trust) -> Result<Target, String> {
        let location = Location::parse(url)?;
        let tls = location.is_tls.then(|| Tls::new(location.name(), trust)).transpose()?;
        Ok(Target {
            address: location.address,
            host: location.host,
            tls,
            knows_http2: false,
            path: location.target,
            capabilities: Vec::new(),
            room: None,
            control: None,
            wanted: Wanted::default(),
            budget: Budget::unlimited(),
            gate: Gate::default(),
            patience,
            window: WINDOW.max(patience / 2),
            keep_alive: None,
            scale: 1.0,
            own: false,
            parallel: PARALLEL_FOREIGN,
            concurrency: Concurrency::Many,
            heads: Heads::Usual,
            is_late: Arc::default(),
            requests: None,
            keeps_bytes: false,
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
        let url = self.absolute(&self.path);
        let unreachable = |error: wire::Error| match error {
            // It has its own advice.
            wire::Error::Handshake { .. } => error.to_string(),
            error => format!("{error}; is the server running?"),
        };
        self.connect().map_err(unreachable)?;
        let is_tls = self.tls.is_some();
        let silent =
            |error: &wire::Error| format!("{url} does not answer: {error}{}", hint(error, is_tls));
        match self.first_head() {
            Ok(head) => self.expect_stream(&head)?,
            Err(error @ wire::Error::LateHead { .. }) => match self.with_late_head() {
                Ok(Some(head)) => self.expect_stream(&head)?,
                Ok(None) => {}
                Err(_) => return Err(silent(&error)),
            },
            Err(error) => return Err(silent(&error)),
        }
        // These two are offered by what the room, the script or the topics are there for.
        let mut wanted = wanted.to_vec();
        for (need, by) in [(Need::Text, Need::Script), (Need::Publish, Need::Topics)] {
            if wanted.contains(&need) && !wanted.contains(&by) {
                wanted.insert(0, by);
            }
        }
        let is_wanted = wanted.contains(&Need::Publish) || wanted.contains(&Need::Text);
        if is_wanted && self.heads != Heads::Awaited {
            self.learn_room()?;
        }
        let asks_with_get = self.asks_with_get();
        for need in wanted {
            let is_endpoint =
                matches!(need, Need::Script | Need::Topics | Need::Metrics | Need::Endpoints);
            // The contract has no stream that answers another method.
            if is_endpoint && !asks_with_get {
                continue;
            }
            let offered = match need {
                Need::Script => self.offers_script(),
                Need::Topics => self.offers_topics(),
                Need::Text => self.room().is_some() || self.capabilities.contains(&Need::Script),
                Need::Publish => self.room().is_some() || self.capabilities.contains(&Need::Topics),
                Need::Metrics => self.offers_metrics(),
                Need::Endpoints => self.offers_endpoints(),
                Need::KeepAlive => self.keep_alive.is_some(),
                Need::Http2 => self.offers_http2()?,
                Need::Process => self.control.is_some(),
            };
            self.capabilities.extend(offered.then_some(need));
        }
        Ok(self)
    }

    /// The head of the stream; once more while this host is too busy to call a head late. A request that may have
    /// its price is sent once.
    fn first_head(&self) -> wire::Result<Head> {
        let _watch = host::Watch::start();
        let mut tries = FIRST_HEAD_TRIES;
        loop {
            let begin = Instant::now();
            let head = self.head(&self.get(&self.path));
            let is_late =
                matches!(head, Err(wire::Error::LateHead { .. } | wire::Error::Timeout { .. }));
            tries -= 1;
            let counts = host::worst_since(begin) < self.patience / 4;
            if !is_late || counts || tries == 0 || !self.asks_with_get() {
                self.is_late.store(is_late, Ordering::Relaxed);
                return head;
            }
        }
    }

    /// The answer opens a stream, or one line says what to try instead.
    fn expect_stream(&self, head: &Head) -> Result<(), String> {
        if !head.is_event_stream() {
            let advice = match head.value("location") {
                Some(location) if (300..400).contains(&head.status) => {
                    format!("it redirects to {location}; give the URL that answers itself")
                }
                _ if head.status == 429 => {
                    let wait = head.value("retry-after");
                    let wait = wait.map_or_else(String::new, |it| format!(" (Retry-After: {it})"));
                    format!("it has had too many requests; try later{wait}")
                }
                _ if head.status == 405 && self.wanted.body.is_none() => {
                    "give the request that opens it, for instance with --data".to_owned()
                }
                _ if matches!(head.status, 401 | 403) => {
                    "give what it asks for with --header 'Authorization: …'".to_owned()
                }
                _ => "give the URL of a stream, for instance …/ticks".to_owned(),
            };
            let url = self.absolute(&self.path);
            let answer = self.problem(head).unwrap_or_else(|| head.summary());
            return Err(format!("{url} is no event stream ({answer}); {advice}"));
        }
        Ok(())
    }

    /// The problem that a refusal says in its body: it is asked for once more, for a head is all that was read.
    fn problem(&self, head: &Head) -> Option<String> {
        let content_type = head.value("content-type").filter(|_| self.asks_with_get())?;
        if !problem::is_problem(&content_type) {
            return None;
        }
        let (head, body) = self.answer(&self.get(&self.path)).ok()?;
        problem::in_words(head.status, &content_type, &String::from_utf8_lossy(&body))
    }

    /// The same server, having learnt whether it serves several streams at a time.
    ///
    /// # Errors
    /// One line: it serves one, and then no other.
    pub fn with_its_concurrency(mut self) -> Result<Target, String> {
        // Where each request has its price, none is spent on this.
        let is_cheap = self.asks_with_get() && self.budget.max() >= Concurrency::LEAST_BUDGET;
        if is_cheap && self.heads != Heads::Awaited {
            self.concurrency = Concurrency::of(&self.for_case())?;
        }
        Ok(self)
    }

    /// A sentence for the user, if the server serves one stream at a time.
    pub fn one_at_a_time(&self) -> Option<String> {
        self.concurrency.words()
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

    /// The same server, which gets no more requests than the budget has.
    #[must_use]
    pub fn with_budget(mut self, budget: Budget) -> Target {
        self.log = Log::within(budget.clone());
        self.budget = budget;
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

    /// The same server; the results of cases that pass have their bytes, too.
    #[must_use]
    pub fn keeping_bytes(mut self, keeps_bytes: bool) -> Target {
        self.keeps_bytes = keeps_bytes;
        self
    }

    /// Whether the bytes of cases that pass are kept, too.
    pub(super) fn keeps_bytes(&self) -> bool {
        self.keeps_bytes
    }

    /// The same server with an empty log, for one case.
    #[must_use]
    pub fn for_case(&self) -> Target {
        Target { log: Log::within(self.budget.clone()), ..self.clone() }
    }

    /// The same server, whose dialogue goes to this log: one case may talk to several.
    #[must_use]
    pub(super) fn logging_to(&self, log: &Log) -> Target {
        Target { log: log.clone(), ..self.clone() }
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

    /// The URL of another target of the same server.
    pub fn absolute(&self, target: &str) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{target}", self.host)
    }

    /// How TLS is spoken, if it is.
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Whether the stream is asked for with GET.
    pub fn asks_with_get(&self) -> bool {
        self.wanted.method == "GET"
    }

    /// The method that the stream is asked for with.
    pub fn method(&self) -> &str {
        &self.wanted.method
    }

    /// How many requests it may get, and has got.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// When it may be asked again.
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
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

    /// Asks until the server answers with any head, or takes a connection if each request has its price.
    ///
    /// # Errors
    /// The words of the last try.
    pub fn answers_within(&self, time: Duration) -> Result<(), String> {
        let asked = || {
            if !self.asks_with_get() {
                return self.connect().map(|_| ());
            }
            if self.has_late_head() {
                return self.answers_elsewhere();
            }
            match self.connect()?.ask(&self.get(&self.path)) {
                Ok(_) | Err(wire::Error::Spent { .. }) => Ok(()),
                Err(wire::Error::Timeout { .. }) => self.answers_elsewhere(),
                Err(error) => Err(error),
            }
        };
        eventually(time, RETRY, asked).map_err(|error: wire::Error| error.to_string())
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
        if self.concurrency == Concurrency::Many { self.parallel } else { 1 }
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

    /// A new connection.
    ///
    /// # Errors
    /// [`wire::Error::Connect`], [`wire::Error::Handshake`].
    pub fn connect(&self) -> wire::Result<Connection> {
        self.concurrency.wait_for_place();
        self.dial(None)
    }

    /// A new connection of a client whose system holds little of what it does not read.
    ///
    /// # Errors
    /// [`wire::Error::Connect`], [`wire::Error::Handshake`].
    pub fn connect_narrow(&self) -> wire::Result<Connection> {
        self.dial(Some(NARROW_BYTES))
    }

    fn dial(&self, receive_buffer: Option<usize>) -> wire::Result<Connection> {
        let dial = Dial { address: &self.address, tls: self.tls.as_ref(), receive_buffer };
        Connection::dial(dial, self.patience, &self.log)
    }

    /// Asks on a new connection and keeps only the head: for answers that may never end.
    ///
    /// # Errors
    /// Any of [`wire::Error`].
    pub fn head(&self, request: &Request) -> wire::Result<Head> {
        let status = |answer: &wire::Result<Head>| Some(answer.as_ref().ok()?.status);
        let ask = || self.asking(request, || Ok(self.connect()?.ask(request)?.0));
        self.concurrency.in_turn(status, ask)
    }

    /// Sends raw bytes on a new connection and reads one head.
    ///
    /// # Errors
    /// Any of [`wire::Error`].
    pub fn head_of_raw(&self, bytes: &[u8]) -> wire::Result<Head> {
        self.asking_raw(bytes, || {
            let mut connection = self.connect()?;
            // A server may refuse before it has read all; what counts is whether its answer arrives.
            let sent = connection.send(&self.raw(bytes));
            connection.read_head().map_err(|error| sent.err().unwrap_or(error))
        })
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
        self.in_turn(|| self.asking(request, || EventStream::open(self.connect()?, request)))
    }

    /// Opens a stream, and again where it is refused as a second one would be.
    pub(super) fn in_turn(
        &self,
        open: impl Fn() -> wire::Result<EventStream>,
    ) -> wire::Result<EventStream> {
        let status = |stream: &wire::Result<EventStream>| match stream {
            Err(wire::Error::NotAStream { status, .. }) => Some(*status),
            _ => None,
        };
        self.concurrency.in_turn(status, open)
    }

    /// How it treats several streams at a time.
    pub(super) fn concurrency(&self) -> Concurrency {
        self.concurrency
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
        stream.set_patience(self.window);
        first_event(&mut stream)?;
        stream.set_patience(self.patience);
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
fn hint(error: &wire::Error, is_tls: bool) -> &'static str {
    match error {
        wire::Error::SpeaksTls => "",
        // A SETTINGS frame begins with its length, 24 bits, and type 4.
        wire::Error::Syntax(words) if words.contains("\"\\x00\\x00") => {
            "; it speaks HTTP/2 only, and most of the suite is about HTTP/1.1"
        }
        wire::Error::Syntax(_) => "; is it an HTTP server?",
        wire::Error::Timeout { .. } | wire::Error::LateHead { .. } => {
            "; a stream sends its head at once (or raise --patience-ms)"
        }
        wire::Error::Closed { .. } if !is_tls => {
            "; if it speaks TLS, try https://, else look at the server's log"
        }
        _ => "; look at the server's log",
    }
}

/// The first event of a stream, `None` if it ends before; a silent stream cannot be judged, and the judgement
/// on one that is cut off is that of S2.04.
pub(super) fn first_event(stream: &mut EventStream) -> Result<Option<Event>, Fault> {
    stream.next_event().map_err(|error| match error {
        error if error.is_end() => Fault::from(error).follows("S2.04"),
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
    fn only_this_machine_is_loopback() {
        let is_loopback = |url| Target::url(url, PATIENCE).unwrap().is_loopback();
        assert!(is_loopback("http://127.0.0.1:1/") && is_loopback("http://[::1]:1/"));
        assert!(is_loopback("http://localhost:1/"));
        assert!(!is_loopback("http://192.0.2.1:1/") && !is_loopback("http://0.0.0.0:1/"));
    }
}
