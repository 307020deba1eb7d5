//! Shared by the adapters of Rust crates: the protocol with the harness.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines, Stdin};

/// The stream is to be closed: return.
pub struct Closed;

/// The run of a client, until its stream has ended or the harness closes it.
pub type Outcome = Result<(), Closed>;

/// One case: where the stream is, and how to ask for it.
pub struct Case {
    /// As the harness gave it.
    pub url: String,
    /// A client uses those that its capabilities name.
    pub options: Options,
    events: Cell<u64>,
}

/// The case's options; see the protocol in the README.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Options {
    /// Request headers.
    pub headers: BTreeMap<String, String>,
    /// The id to resume from at first.
    pub last_event_id: Option<String>,
    /// The reconnection time to begin with.
    pub initial_delay_ms: Option<u64>,
    /// GET if absent.
    pub method: Option<String>,
    /// The body of each request.
    pub body: Option<String>,
    /// Silence after which to reconnect.
    pub read_timeout_ms: Option<u64>,
    /// The largest event to take.
    pub max_event_bytes: Option<usize>,
    close_after_events: Option<u64>,
}

/// Runs one case by `client`, or describes the client.
pub async fn run(
    name: &str,
    version: &str,
    capabilities: &[&str],
    client: impl AsyncFnOnce(&Case) -> Outcome,
) {
    let last = std::env::args().next_back().unwrap_or_default();
    if last == "--describe" {
        say(&json!({"name": name, "version": version, "capabilities": capabilities}));
        return;
    }
    // A crate that panics ends the process at once: unwinding would wait for the thread that reads stdin.
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::exit(101);
    }));
    let options = std::env::var("SSE_CASE_OPTIONS").unwrap_or_default();
    let options = if options.is_empty() { "{}" } else { &options };
    let mut options: Options =
        serde_json::from_str(options).expect("the harness writes a JSON object");
    if options.body.is_some() && !options.headers.contains_key("Content-Type") {
        let text = "text/plain; charset=utf-8".to_owned();
        options.headers.insert("Content-Type".to_owned(), text);
    }
    let case = Case { url: last, options, events: Cell::new(0) };
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    // To close a stream, drop the client, as users of these crates do.
    tokio::select! {
        biased;
        () = close_command(&mut commands) => {}
        _ = client(&case) => {}
    }
    say(&json!({"k": "closed"}));
    // The harness has to see that no record follows: a process that has ended proves nothing.
    while let Ok(Some(_)) = commands.next_line().await {}
    // Not by returning: the runtime would wait for the thread that reads stdin.
    std::process::exit(0);
}

async fn close_command(commands: &mut Lines<BufReader<Stdin>>) {
    while let Ok(Some(line)) = commands.next_line().await {
        let command: Value = serde_json::from_str(&line).unwrap_or_default();
        if command["cmd"] == "close" {
            return;
        }
    }
}

impl Case {
    /// A stream was accepted.
    pub fn open(&self) {
        say(&json!({"k": "open"}));
    }

    /// An event came. `id` is the last event id.
    pub fn event(&self, event: &str, data: &str, id: &str) -> Outcome {
        say(&json!({"k": "event", "type": event, "data": data, "id": id}));
        self.events.set(self.events.get() + 1);
        if Some(self.events.get()) == self.options.close_after_events {
            Err(Closed)
        } else {
            Ok(())
        }
    }

    /// A comment came.
    pub fn comment(&self, text: &str) {
        say(&json!({"k": "comment", "text": text}));
    }

    /// An error came; after a fatal one the client does not reconnect. The message is for people.
    pub fn error(&self, fatal: bool, error: impl std::fmt::Display) {
        eprintln!("{error}");
        say(&json!({"k": "error", "fatal": fatal}));
    }

    /// The ready state is (again) `v`.
    pub fn state(&self, v: u8) {
        say(&json!({"k": "state", "v": v}));
    }

    /// The stream itself, for a parser that leaves HTTP to its user: 200 and the right type, or an error.
    pub async fn response(&self) -> Result<reqwest::Response, Closed> {
        let refused = |error: String| {
            self.error(true, error);
            Closed
        };
        let request = reqwest::Client::new().get(&self.url);
        let request =
            request.header("accept", "text/event-stream").header("cache-control", "no-cache");
        let response = request.send().await.map_err(|error| refused(error.to_string()))?;
        let header = response.headers().get("content-type");
        let content_type = header.and_then(|it| it.to_str().ok()).unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if response.status() != 200 {
            return Err(refused(format!("status {}", response.status())));
        }
        if !essence.eq_ignore_ascii_case("text/event-stream") {
            return Err(refused(format!("content type {content_type}")));
        }
        self.open();
        Ok(response)
    }
}

/// One record, one line, written at once.
fn say(record: &Value) {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{record}").and_then(|()| stdout.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(1),
        Err(error) => panic!("stdout: {error}"),
    }
}
