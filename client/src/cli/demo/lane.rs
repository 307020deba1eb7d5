//! A server process and the client that reads from it: takes commands, reports events.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use client::event_source::http_client;
use client::{EventSource, Reason, Update};
use futures_util::TryStreamExt;
use reqwest::Url;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::servers::{self, Package};
use super::state::{Message, Saw, Scenario};
use super::tap::{Route, relay};

/// A server says that it listens within this time, or something is wrong with it.
const READY_DEADLINE: Duration = Duration::from_secs(10);

/// The contract gives a server two seconds to end; a debug build on a busy machine gets one more.
const STOP_DEADLINE: Duration = Duration::from_secs(3);

/// How long a restarted server stays away: long enough to watch the client look for it.
const RESTART_PAUSE: Duration = Duration::from_millis(1500);

/// Shorter than the standard's, so that a reconnection is seen without a long wait.
const RETRY: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// One server, one client, and the wire between them.
pub(super) struct Runner {
    lane: usize,
    package: Package,
    messages: mpsc::Sender<Message>,
    route: watch::Sender<Route>,
    url: Url,
    http: reqwest::Client,
    relay: JoinHandle<()>,
    client: Option<JoinHandle<()>>,
    server: Option<(watch::Sender<bool>, JoinHandle<()>)>,
}

impl Runner {
    pub(super) async fn start(
        lane: usize,
        package: Package,
        scenario: Scenario,
        messages: mpsc::Sender<Message>,
    ) -> anyhow::Result<Self> {
        let listener =
            TcpListener::bind("127.0.0.1:0").await.context("cannot listen on 127.0.0.1")?;
        let url = Url::parse(&format!("http://{}", listener.local_addr()?))?;
        let route = watch::Sender::new(Route::default());
        let relay = tokio::spawn(relay(listener, route.subscribe(), lane, messages.clone()));
        let http = http_client(&url)?;
        let mut runner =
            Self { lane, package, messages, route, url, http, relay, client: None, server: None };
        runner.serve(Duration::ZERO);
        runner.open(scenario);
        Ok(runner)
    }

    /// Reads another stream, from its beginning.
    pub(super) fn open(&mut self, scenario: Scenario) {
        if let Some(client) = self.client.take() {
            client.abort();
        }
        let url = format!("{}{}", self.url, &scenario.path()[1..]);
        let (lane, messages, mut route) =
            (self.lane, self.messages.clone(), self.route.subscribe());
        self.client = Some(tokio::spawn(async move {
            // Before the first server listens there is nothing to see but failures.
            if route.wait_for(|route| route.server.is_some()).await.is_ok() {
                read(&url, lane, &messages).await;
            }
        }));
    }

    /// Publishes a message, straight to the server.
    pub(super) fn send(&self, text: &str) {
        let Some(server) = self.route.borrow().server else { return };
        let url = format!("http://{server}{}", Scenario::Messages.path());
        let request = self.http.post(url).body(text.to_owned());
        let (lane, messages, text) = (self.lane, self.messages.clone(), text.to_owned());
        tokio::spawn(async move {
            let _ = messages.send(Message::Saw(lane, Saw::Posting(text))).await;
            let answer = match request.send().await {
                Ok(response) => response.status().to_string(),
                Err(error) => client::event_source::root_cause(&error),
            };
            let _ = messages.send(Message::Saw(lane, Saw::Posted(answer))).await;
        });
    }

    pub(super) fn drop_connection(&self) {
        self.route.send_modify(|route| route.cuts += 1);
    }

    pub(super) fn restart(&mut self) {
        self.serve(RESTART_PAUSE);
    }

    pub(super) fn switch(&mut self, package: Package) {
        self.package = package;
        self.serve(Duration::ZERO);
    }

    pub(super) fn stop(&mut self) {
        if let Some((stop, _)) = &self.server {
            stop.send_replace(true);
        }
    }

    /// Waits until the server has ended.
    pub(super) async fn stopped(mut self) {
        if let Some((_, task)) = self.server.take() {
            let _ = task.await;
        }
    }

    /// Starts the server once the one before has ended.
    fn serve(&mut self, pause: Duration) {
        self.stop();
        let before = self.server.take();
        let (stop, mut stopping) = watch::channel(false);
        let (lane, package, messages, route) =
            (self.lane, self.package.clone(), self.messages.clone(), self.route.clone());
        let task = tokio::spawn(async move {
            let say = |saw| messages.send(Message::Saw(lane, saw));
            if let Some((_, task)) = before {
                let _ = task.await;
                let _ = tokio::time::timeout(pause, asked(&mut stopping)).await;
            }
            let build = async {
                let _ = say(Saw::Building).await;
                // The next line makes good for one that finds no room.
                let progress =
                    |line| drop(messages.try_send(Message::Saw(lane, Saw::Progress(line))));
                servers::build(&package, progress).await
            };
            let binary = tokio::select! {
                binary = build => binary,
                () = asked(&mut stopping) => return,
            };
            let ended = match binary {
                Ok(binary) => run(&binary, lane, &messages, &route, &mut stopping).await,
                Err(error) => Err(error),
            };
            route.send_modify(|route| route.server = None);
            let words = ended.err().map(|error| format!("{error:#}"));
            let _ = say(Saw::Stopped(words)).await;
        });
        self.server = Some((stop, task));
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.relay.abort();
        if let Some(client) = &self.client {
            client.abort();
        }
    }
}

/// Runs the server process to its end.
async fn run(
    binary: &Path,
    lane: usize,
    messages: &mpsc::Sender<Message>,
    route: &watch::Sender<Route>,
    stopping: &mut watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let mut child = Command::new(binary)
        .args(["--port", "0", "--wire-log"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("it does not start")?;
    let stderr = BufReader::new(child.stderr.take().expect("piped above"));
    let log = messages.clone();
    let log = tokio::spawn(async move {
        let mut lines = stderr.lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if log.send(Message::Saw(lane, Saw::Log(line))).await.is_err() {
                break;
            }
        }
    });
    let mut stdout = BufReader::new(child.stdout.take().expect("piped above")).lines();
    let ready = tokio::time::timeout(READY_DEADLINE, stdout.next_line());
    let line = ready.await.context("it does not get ready")??.context("it ended at once")?;
    let address = line.rsplit('/').next().and_then(|address| address.parse().ok());
    let address = address.with_context(|| format!("it says {line:?}"))?;
    route.send_modify(|route| route.server = Some(address));
    let _ = messages.send(Message::Saw(lane, Saw::Listening(address))).await;
    tokio::select! {
        _ = child.wait() => {}
        () = asked(stopping) => terminate(&mut child).await,
    }
    let _ = log.await;
    Ok(())
}

/// Waits for the request to stop the server.
async fn asked(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// Asks the process to end, as an operator would, and insists after a while.
async fn terminate(child: &mut Child) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process(pid, Signal::TERM);
    }
    if tokio::time::timeout(STOP_DEADLINE, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

/// Reads a stream to its end, and says all that happens on it.
async fn read(url: &str, lane: usize, messages: &mpsc::Sender<Message>) {
    let source = EventSource::builder(url).retry(RETRY).max_backoff(MAX_BACKOFF).build();
    let say = |saw| messages.send(Message::Saw(lane, saw));
    let mut source = match source {
        Ok(source) => source,
        Err(error) => return drop(say(Saw::Failed(error.to_string())).await),
    };
    let _ = say(Saw::Connecting).await;
    loop {
        let saw = match source.try_next().await {
            Ok(Some(Update::Open(head))) => Saw::Head(head.status.as_u16()),
            Ok(Some(Update::Event(event))) => Saw::Event(event),
            Ok(Some(Update::Comment(text))) => Saw::Comment(text),
            Ok(Some(Update::Retry(delay))) => Saw::Retry(delay),
            Ok(Some(Update::Reconnecting { reason, after })) => {
                // The cause has no room in half a screen; `sse tail` says it.
                let reason = match reason {
                    Reason::Broken(_) => "the connection broke".to_owned(),
                    reason => reason.to_string(),
                };
                Saw::Lost { reason, after }
            }
            Ok(Some(Update::Closed)) => Saw::Closed,
            Ok(Some(_)) => continue,
            Ok(None) => break,
            Err(error) => Saw::Failed(error.to_string()),
        };
        if say(saw).await.is_err() {
            break;
        }
    }
}
