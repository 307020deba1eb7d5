//! A server on the bus, its publishers and readers.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fleet::{Launch, Package, Server, eventually};
use rustix::process::Signal;
use serde_json::Value;
use wire::{Connection, Event, EventStream, Log, Request};

use crate::servers;

/// No step takes so long; debug builds on a busy machine take their time.
pub const PATIENCE: Duration = Duration::from_secs(40);
pub const LOOK: Duration = Duration::from_millis(20);

/// The program of a server, with the feature.
pub fn binary(package: &Package) -> PathBuf {
    static BUILDING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    match std::env::var_os("SSE_NATS_SERVERS") {
        Some(folder) => PathBuf::from(folder).join(&package.name),
        None => fleet::build_with(package, &["nats"], false).unwrap(),
    }
}

/// One server as a node.
pub struct Node {
    pub server: Server,
    address: String,
}

impl Node {
    /// Starts a server of the workspace on this bus, by its place among them. It need not be ready.
    pub fn start(server: usize, bus: &str, more: &[&str]) -> Node {
        Node::try_start(server, bus, more).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same; what it says if it ends instead.
    pub fn try_start(server: usize, bus: &str, more: &[&str]) -> Result<Node, String> {
        Node::try_start_with(None, server, bus, more)
    }

    /// The same, with a variable of the environment as `NAME=value`.
    pub fn try_start_with(
        variable: Option<&str>,
        server: usize,
        bus: &str,
        more: &[&str],
    ) -> Result<Node, String> {
        let packages = servers::packages();
        let package = &packages[server % packages.len()];
        let mut launch: Launch = package
            .launch(&binary(package), "shared")
            .with_args(["--bus", bus, "--keep-alive-ms", "250", "--workers", "2"])
            .with_args(more.iter().copied());
        if let Some(variable) = variable {
            let binary = std::mem::replace(&mut launch.binary, "/usr/bin/env".into());
            let binary = binary.into_os_string().into_string().unwrap();
            launch.args.splice(0..0, [variable.to_owned(), binary]);
        }
        let server = Server::start(&launch);
        let server = server.map_err(|error| format!("{}: {error:#}", package.name))?;
        let address = server.addr().to_string();
        Ok(Node { server, address })
    }

    /// The same, and it is up to date with the stream.
    pub fn ready(server: usize, bus: &str, more: &[&str]) -> Node {
        let node = Node::start(server, bus, more);
        node.until_ready();
        node
    }

    pub fn until_ready(&self) {
        self.until("ready", |node| node.get("/healthz?ready").0 == 200);
    }

    pub fn until(&self, what: &str, is_so: impl Fn(&Node) -> bool) {
        let look = || if is_so(self) { Ok(()) } else { Err(()) };
        let seen = eventually(PATIENCE, LOOK, look);
        assert!(seen.is_ok(), "{} is not {what}: {}", self.address, self.server.stderr());
    }

    pub fn get(&self, target: &str) -> (u16, String) {
        let (status, _, body) = self.ask(Request::new("GET", target));
        (status, body)
    }

    fn ask(&self, request: Request) -> (u16, Option<String>, String) {
        let mut connection = Connection::open(&self.address, PATIENCE, &Log::new()).unwrap();
        let request = request.header("Host", &self.address).header("Connection", "close");
        let (head, mut body) = connection.ask(&request).unwrap();
        let body = connection.read_body_to_end(&mut body).unwrap();
        (head.status, head.value("Retry-After"), String::from_utf8(body).unwrap())
    }

    /// The id, or the status and `Retry-After` of a refusal.
    pub fn try_publish(
        &self,
        topic: &str,
        text: &str,
        key: Option<&str>,
    ) -> Result<String, (u16, Option<String>)> {
        let request = Request::new("POST", &format!("/messages/{topic}")).body(text);
        let request = match key {
            Some(key) => request.header("Idempotency-Key", key),
            None => request,
        };
        let (status, retry_after, body) = self.ask(request);
        if status != 201 {
            return Err((status, retry_after));
        }
        let answer: Value = serde_json::from_str(&body).unwrap();
        Ok(answer["id"].as_str().unwrap().to_owned())
    }

    pub fn publish(&self, topic: &str, text: &str) -> String {
        let published = self.try_publish(topic, text, None);
        published.unwrap_or_else(|refused| panic!("{refused:?}: {}", self.server.stderr()))
    }

    /// As a client that does not give up: it repeats the message with its key until it is in.
    pub fn publish_once(&self, topic: &str, text: &str, key: &str) -> String {
        let publish = || self.try_publish(topic, text, Some(key));
        eventually(PATIENCE, LOOK, publish).unwrap()
    }

    /// A reader of a topic, from now on or behind an id.
    pub fn read(&self, topic: &str, last_event_id: Option<&str>) -> EventStream {
        let connection = Connection::open(&self.address, PATIENCE, &Log::new()).unwrap();
        let request =
            Request::new("GET", &format!("/messages/{topic}")).header("Host", &self.address);
        let request = match last_event_id {
            Some(id) => request.header("Last-Event-ID", id),
            None => request,
        };
        EventStream::open(connection, &request).unwrap()
    }

    /// A counter of its metrics.
    pub fn metric(&self, name: &str) -> u64 {
        let metrics = self.get("/metrics").1;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
    }

    pub fn hang(&self) {
        self.server.signal(Signal::STOP).unwrap();
    }

    pub fn go_on(&self) {
        self.server.signal(Signal::CONT).unwrap();
    }
}

/// The next `count` events, as `id text` or `gap data`.
pub fn take(reader: &mut EventStream, count: usize) -> Vec<String> {
    reader.take(count).unwrap().iter().map(shown).collect()
}

/// An event as `id text`, or `gap data`.
pub fn shown(event: &Event) -> String {
    match event.event.as_str() {
        "message" => format!("{} {}", event.id, event.data),
        kind => format!("{kind} {}", event.data),
    }
}

/// Waits until the stream has got another keep-alive.
pub fn until_comment(reader: &mut EventStream) {
    let before = reader.comments();
    while reader.comments() == before {
        reader.next_piece().unwrap().expect("the stream stays open");
    }
}

/// The epoch of an id.
pub fn epoch(id: &str) -> &str {
    id.rsplit_once('-').unwrap().0
}
