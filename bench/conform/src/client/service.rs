//! Clients behind the REST protocol of launchdarkly/sse-contract-tests.
//!
//! A test service is an HTTP server that wraps a client library: `GET /` says what it can do,
//! `POST /` makes it read a stream, `DELETE` of that ends it. It posts what it sees to a callback
//! URL of ours, numbered, since callbacks can overtake each other. Their documentation:
//! <https://github.com/launchdarkly/sse-contract-tests/blob/main/docs/service_spec.md>.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wire::server::{Answer, serve};
use wire::{Connection, Head, Log, Request, base_url};

use super::Fault;
use super::driver::{Capability, Driver, Handle, Options, REPORT_BYTES};
use super::reports::{ClientReport, Event, Inbox};

/// How long the service may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many clients of it run at a time, unless the command says. Their own harness runs one after
/// the other, and there are adapters that need it: to end a client, that for Rust ends the one
/// before.
const PARALLEL: usize = 1;
/// Callbacks that came too early; a counter that skips more is broken.
const EARLY: usize = 10_000;

/// Their names for what a client offers, and ours.
const NAMES: &[(&str, Capability)] = &[
    ("comments", Capability::Cm),
    ("headers", Capability::Hd),
    ("post", Capability::Bd),
    ("read-timeout", Capability::To),
    ("last-event-id", Capability::Id),
];

/// A service that starts clients.
pub(super) struct Service {
    /// `host:port`.
    address: String,
    path: String,
    name: String,
    capabilities: Vec<Capability>,
    parallel: usize,
    /// It reports only the types that it was asked to listen to.
    listens: bool,
    callbacks: Callbacks,
}

/// Our end for the callbacks of all clients.
struct Callbacks {
    address: String,
    streams: Arc<Mutex<BTreeMap<u64, Arc<Stream>>>>,
    next: AtomicU64,
}

/// The callbacks of one client, put in order.
struct Stream {
    inbox: Arc<Inbox>,
    order: Mutex<Order>,
}

struct Order {
    next: u64,
    early: BTreeMap<u64, Vec<ClientReport>>,
}

impl Service {
    /// Asks the service at this URL what it offers; `parallel` clients of it run at a time.
    pub(super) fn find(url: &str, parallel: Option<u16>) -> Result<Service> {
        let (address, _, path) = base_url(url).map_err(anyhow::Error::msg)?;
        let (head, body) =
            ask(&address, "GET", &path, None).context("no answer; is the test service running?")?;
        let status = head.status;
        ensure!((200..300).contains(&status), "GET / answered {status}; is it a test service?");
        let description: Value = serde_json::from_slice(&body).unwrap_or_default();
        let theirs: Vec<&str> = description["capabilities"]
            .as_array()
            .map(|it| it.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        // Reconnecting is what every client of theirs does; it is not named.
        let mut capabilities = vec![Capability::R];
        let named = NAMES.iter().filter(|(name, _)| theirs.contains(name));
        capabilities.extend(named.map(|(_, capability)| *capability));
        let name = description["name"].as_str().unwrap_or("service").to_owned();
        let listens = theirs.contains(&"event-type-listeners");
        let callbacks = Callbacks::listen().context("cannot listen for callbacks")?;
        let parallel = parallel.map_or(PARALLEL, usize::from);
        Ok(Service { address, path, name, capabilities, parallel, listens, callbacks })
    }

    /// Its name for itself.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Driver for Service {
    fn capabilities(&self) -> &[Capability] {
        &self.capabilities
    }

    fn parallel(&self) -> usize {
        self.parallel
    }

    fn start(
        &self,
        case: &str,
        url: &str,
        options: &Options,
        inbox: &Arc<Inbox>,
    ) -> Result<Box<dyn Handle>, Fault> {
        let (number, callback) = self.callbacks.open(inbox);
        let mut wanted = json!({ "streamUrl": url, "callbackUrl": callback, "tag": case });
        let given = serde_json::to_value(options).expect("text and numbers only");
        // The same names, as far as they know them.
        for key in ["headers", "method", "body", "lastEventId", "initialDelayMs", "readTimeoutMs"] {
            if let Some(value) = given.get(key) {
                wanted[key] = value.clone();
            }
        }
        let fault = |error: anyhow::Error| {
            Fault::Harness(format!("the test service at {}: {error:#}", self.address))
        };
        let (head, _) = ask(&self.address, "POST", &self.path, Some(&wanted)).map_err(fault)?;
        let location = head.value("Location").filter(|_| (200..300).contains(&head.status));
        let Some(location) = location else {
            let words = format!("POST answered {} without a Location", head.status);
            return Err(fault(anyhow::Error::msg(words)));
        };
        let path = match base_url(&location) {
            Ok((_, _, path)) => path,
            Err(_) => location,
        };
        let streams = Arc::clone(&self.callbacks.streams);
        let handle =
            Handled { address: self.address.clone(), path, number, streams, is_closed: false };
        if self.listens {
            for kind in &options.event_types {
                let command = json!({ "command": "listen", "listen": { "type": kind } });
                ask(&handle.address, "POST", &handle.path, Some(&command)).map_err(fault)?;
            }
        }
        Ok(Box::new(handle))
    }
}

/// A client of the service.
struct Handled {
    address: String,
    path: String,
    number: u64,
    streams: Arc<Mutex<BTreeMap<u64, Arc<Stream>>>>,
    is_closed: bool,
}

impl Handle for Handled {
    fn close(&mut self) {
        if std::mem::replace(&mut self.is_closed, true) {
            return;
        }
        // A service that does not answer leaves its client to itself.
        let closed = ask(&self.address, "DELETE", &self.path, None).is_ok();
        let stream = lock(&self.streams).get(&self.number).cloned();
        if let (true, Some(stream)) = (closed, stream) {
            stream.inbox.put(ClientReport::Closed);
        }
    }

    fn peak_kib(&self) -> Option<u64> {
        None
    }
}

impl Drop for Handled {
    fn drop(&mut self) {
        self.close();
        lock(&self.streams).remove(&self.number);
    }
}

impl Callbacks {
    fn listen() -> std::io::Result<Callbacks> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let streams = Arc::new(Mutex::new(BTreeMap::new()));
        let theirs = Arc::clone(&streams);
        serve(listener, REPORT_BYTES, move |request| {
            take(&theirs, &request.target, &request.body);
            Answer { status: "202 Accepted", ..Answer::default() }
        });
        Ok(Callbacks { address, streams, next: AtomicU64::new(1) })
    }

    fn open(&self, inbox: &Arc<Inbox>) -> (u64, String) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let order = Mutex::new(Order { next: 1, early: BTreeMap::new() });
        let stream = Stream { inbox: Arc::clone(inbox), order };
        lock(&self.streams).insert(number, Arc::new(stream));
        (number, format!("http://{}/{number}", self.address))
    }
}

/// Takes a callback: `/<client>/<count>`.
fn take(streams: &Mutex<BTreeMap<u64, Arc<Stream>>>, target: &str, body: &[u8]) {
    let mut parts = target.trim_start_matches('/').split('/');
    let mut number = || parts.next().and_then(|it| it.parse::<u64>().ok());
    let (Some(client), Some(count)) = (number(), number()) else { return };
    let Some(stream) = lock(streams).get(&client).cloned() else { return };
    let mut order = lock(&stream.order);
    if order.early.len() >= EARLY {
        let words = format!("callback {count} where {} was next", order.next);
        stream.inbox.put(ClientReport::Garbage(words));
        return;
    }
    // Their harness takes what is behind at once, too: their adapter for Rust counts from 0.
    let mut ready = if count < order.next {
        Some(reports_in(body))
    } else {
        order.early.insert(count, reports_in(body));
        order.take()
    };
    while let Some(reports) = ready {
        for report in reports {
            stream.inbox.put(report);
        }
        ready = order.take();
    }
}

impl Order {
    /// The reports of the next callback, if it is there.
    fn take(&mut self) -> Option<Vec<ClientReport>> {
        let reports = self.early.remove(&self.next)?;
        self.next += 1;
        Some(reports)
    }
}

/// The reports in a callback.
fn reports_in(body: &[u8]) -> Vec<ClientReport> {
    let garbage = |words: String| vec![ClientReport::Garbage(words)];
    let value: Value = match serde_json::from_slice(body) {
        Ok(value) => value,
        Err(error) => return garbage(format!("a callback that is no JSON: {error}")),
    };
    match value["kind"].as_str().unwrap_or_default() {
        "event" => match serde_json::from_value::<Event>(value["event"].clone()) {
            Ok(mut event) => {
                // Some leave the type empty where the stream names none.
                if event.event.is_empty() {
                    event.event = "message".to_owned();
                }
                vec![ClientReport::Event(event)]
            }
            Err(error) => garbage(format!("a callback without an event: {error}")),
        },
        "comment" => {
            vec![ClientReport::Comment(value["comment"].as_str().unwrap_or_default().to_owned())]
        }
        "error" => vec![ClientReport::Error { fatal: false }],
        // A greeting, or what later versions add.
        _ => Vec::new(),
    }
}

/// A request of ours to the service: head and body of the answer.
fn ask(address: &str, method: &str, path: &str, json: Option<&Value>) -> Result<(Head, Vec<u8>)> {
    let mut request = Request::new(method, path).header("Host", address);
    if let Some(json) = json {
        request = request.header("Content-Type", "application/json").body(json.to_string());
    }
    let mut connection = Connection::open(address, PATIENCE, &Log::new())?;
    let (head, mut body) = connection.ask(&request)?;
    let body = connection.read_body_to_end(&mut body)?;
    Ok((head, body))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in a critical section panics half way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn callbacks_that_overtake_each_other_are_put_in_order() {
        let callbacks = Callbacks::listen().unwrap();
        let inbox = Arc::new(Inbox::default());
        let (number, _) = callbacks.open(&inbox);
        let event = |data: &str| json!({ "kind": "event", "event": { "data": data } }).to_string();
        for (count, data) in [(0, "a"), (2, "c"), (3, "d"), (1, "b")] {
            take(&callbacks.streams, &format!("/{number}/{count}"), event(data).as_bytes());
        }
        let mut data = Vec::new();
        while let Some(timed) = inbox.next(Instant::now()) {
            let ClientReport::Event(event) = timed.report else { panic!("{timed:?}") };
            assert_eq!(event.event, "message");
            data.push(event.data);
        }
        assert_eq!(data, ["a", "b", "c", "d"]);
        take(&callbacks.streams, "/nonsense", b"{}");
        assert_eq!(reports_in(b"{\"kind\":\"hello\"}"), []);
        assert!(matches!(reports_in(b"nonsense")[..], [ClientReport::Garbage(_)]));
        // As Python's adapter writes an event without an id.
        let nothing = reports_in(br#"{"kind":"event","event":{"type":null,"data":"a","id":null}}"#);
        let [ClientReport::Event(event)] = &nothing[..] else { panic!("{nothing:?}") };
        assert_eq!((&*event.event, &*event.data, &*event.id), ("message", "a", ""));
    }
}
