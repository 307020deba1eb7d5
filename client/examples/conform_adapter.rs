//! Our event source behind the protocol of `sse-bench conform client`.
//!
//! `conform_adapter URL` reads the stream at the URL and prints its events and states, a JSON
//! object a line; `{"cmd":"close"}` on stdin closes it. `SSE_CASE_OPTIONS` holds options as JSON,
//! `--describe` says which of them are understood. It ends when stdin does.
//! `bench/clients/README.md` describes the protocol.

use std::collections::BTreeMap;
use std::io::{BufRead, BufWriter, Write};
use std::time::Duration;

use anyhow::Context;
use client::event_source::State;
use client::{EventSource, Limits, Update};
use futures_util::{FutureExt, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

const CAPABILITIES: &[&str] = &["R", "St", "Cm", "Hd", "Bd", "To", "Id", "Lm", "Ch"];

/// Options of a case; those that a native client has no use for are ignored.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Options {
    headers: BTreeMap<String, String>,
    body: Option<String>,
    last_event_id: Option<String>,
    initial_delay_ms: Option<u64>,
    read_timeout_ms: Option<u64>,
    max_event_bytes: Option<usize>,
    close_after_events: Option<u64>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let url = std::env::args().nth(1).context("which URL? give it as the argument")?;
    if url == "--describe" {
        let (name, version) = ("sse", env!("CARGO_PKG_VERSION"));
        println!("{}", json!({ "name": name, "version": version, "capabilities": CAPABILITIES }));
        return Ok(());
    }
    let options = std::env::var("SSE_CASE_OPTIONS").unwrap_or_else(|_| "{}".to_owned());
    let options: Options = serde_json::from_str(&options).context("SSE_CASE_OPTIONS")?;
    let close_after = options.close_after_events;
    let mut source = event_source(&url, options)?;
    let mut out = Output { out: BufWriter::new(std::io::stdout()), state: None };
    let mut commands = commands();
    let mut events = 0;
    out.state(source.state())?;
    loop {
        // The reader of our output sees everything as soon as there is nothing more to write for
        // now.
        let update = match source.next().now_or_never() {
            Some(update) => update,
            None => {
                out.out.flush()?;
                tokio::select! {
                    update = source.next() => update,
                    _ = commands.recv() => None,
                }
            }
        };
        if commands.try_recv() != Err(mpsc::error::TryRecvError::Empty) {
            break;
        }
        match update {
            None => break,
            Some(Ok(Update::Open(_))) => {
                out.state(source.state())?;
                out.line(&json!({ "k": "open" }))?;
            }
            Some(Ok(Update::Event(it))) => {
                let (kind, data, id) = (it.event, it.data, it.last_event_id);
                out.line(&json!({ "k": "event", "type": kind, "data": data, "id": id }))?;
                events += 1;
                if close_after == Some(events) {
                    source.close();
                }
            }
            Some(Ok(Update::Comment(text))) => {
                out.line(&json!({ "k": "comment", "text": text }))?;
            }
            Some(Ok(Update::Reconnecting { reason, .. })) => {
                eprintln!("{reason}");
                out.state(source.state())?;
                out.line(&json!({ "k": "error", "fatal": false }))?;
            }
            Some(Ok(Update::Closed)) => out.line(&json!({ "k": "error", "fatal": true }))?,
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                eprintln!("{error}");
                out.line(&json!({ "k": "error", "fatal": true }))?;
            }
        }
    }
    source.close();
    out.state(State::Closed)?;
    out.line(&json!({ "k": "closed" }))?;
    out.out.flush()?;
    // Whether a closed event source asks again can be seen only while it lives.
    while commands.recv().await.is_some() {}
    drop(source);
    Ok(())
}

fn event_source(url: &str, options: Options) -> anyhow::Result<EventSource> {
    let mut builder = EventSource::builder(url);
    for (name, value) in &options.headers {
        builder = builder.header(name.parse()?, value.parse()?);
    }
    if let Some(body) = options.body {
        // The cases ask whether a POST keeps its body when it is repeated.
        builder = builder.post(body).repeat(true);
    }
    if let Some(id) = options.last_event_id {
        builder = builder.last_event_id(id);
    }
    if let Some(delay_ms) = options.initial_delay_ms {
        builder = builder.retry(Duration::from_millis(delay_ms));
    }
    if let Some(timeout_ms) = options.read_timeout_ms {
        builder = builder.read_timeout(Duration::from_millis(timeout_ms));
    }
    if let Some(max_event_bytes) = options.max_event_bytes {
        builder = builder.limits(Limits { max_event_bytes });
    }
    Ok(builder.build()?)
}

/// Reports each command on stdin, and ends with it; there is only one command, to close.
fn commands() -> mpsc::UnboundedReceiver<()> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for _ in std::io::stdin().lock().lines().map_while(Result::ok) {
            let _ = sender.send(());
        }
    });
    receiver
}

struct Output {
    out: BufWriter<std::io::Stdout>,
    state: Option<State>,
}

impl Output {
    fn line(&mut self, value: &Value) -> std::io::Result<()> {
        writeln!(self.out, "{value}")
    }

    /// Reports a changed `readyState`.
    fn state(&mut self, state: State) -> std::io::Result<()> {
        if self.state.replace(state) == Some(state) {
            return Ok(());
        }
        self.line(&json!({ "k": "state", "v": state as u8 }))
    }
}
