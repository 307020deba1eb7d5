//! Browsers: a page that starts event sources on command, and posts what they see.
//!
//! The page asks for commands with `fetch`, which waits while there are none, and posts in order
//! what was seen. It does not use what is under test.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fleet::eventually;
use serde::Deserialize;
use serde_json::{Value, json};
use wire::server::{Answer, ReceivedRequest, serve};

use super::Fault;
use super::driver::{Capability, Driver, Handle, Options, REPORT_BYTES};
use super::reports::{ClientReport, Inbox};

/// The page: one file, which needs no other.
const HTML: &str = include_str!("page.html");
/// How long the page waits for commands before it asks again.
const POLL: Duration = Duration::from_secs(5);
/// How long after its last question the page counts as gone.
const GONE: Duration = Duration::from_secs(10);
/// Event sources at a time: browsers allow six connections to a host, and a few hundred in all.
const PARALLEL: usize = 6;
/// The capabilities of a browser's event source.
const CAPABILITIES: &[Capability] =
    &[Capability::R, Capability::St, Capability::Br, Capability::Ch, Capability::Op];

/// A page that waits for a browser, or is open in one.
pub(super) struct Page {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// The browser that opened the page.
#[derive(Clone, Debug)]
pub(super) struct Browser {
    pub(super) name: String,
    pub(super) version: Option<String>,
    /// Its `User-Agent`.
    pub(super) agent: String,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    browser: Option<Browser>,
    commands: Vec<Value>,
    /// When the page last asked, or was answered.
    asked: Option<Instant>,
    clients: BTreeMap<u64, Arc<Inbox>>,
    next: u64,
}

impl Page {
    /// Serves the page at this address.
    pub(super) fn serve(address: SocketAddr) -> Result<Page> {
        let listener = TcpListener::bind(address).with_context(|| {
            format!("cannot listen on {address}; choose another: --serve 127.0.0.1:0")
        })?;
        let address = listener.local_addr().context("cannot read the address")?;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        serve(listener, REPORT_BYTES, move |request| {
            let (status, kind, body) = respond(request, &theirs);
            let lines = format!("Content-Type: {kind}\r\nCache-Control: no-store\r\n");
            Answer { status, lines, body }
        });
        Ok(Page { address, shared })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Waits until a browser has opened it.
    pub(super) fn wait(&self) -> Browser {
        let mut state = self.shared.lock();
        loop {
            if let Some(browser) = &state.browser {
                return browser.clone();
            }
            let woken = self.shared.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Driver for Page {
    fn capabilities(&self) -> &[Capability] {
        CAPABILITIES
    }

    fn parallel(&self) -> usize {
        PARALLEL
    }

    fn start(
        &self,
        case: &str,
        url: &str,
        options: &Options,
        inbox: &Arc<Inbox>,
    ) -> Result<Box<dyn Handle>, Fault> {
        let mut state = self.shared.lock();
        if state.asked.is_none_or(|it| it.elapsed() > GONE) {
            return Err(Fault::Unreachable("the page is closed".to_owned()));
        }
        state.next += 1;
        let client = state.next;
        state.clients.insert(client, Arc::clone(inbox));
        state.commands.push(
            json!({ "do": "start", "client": client, "case": case, "url": url, "options": options }),
        );
        self.shared.changed.notify_all();
        Ok(Box::new(Opened { client, shared: Arc::clone(&self.shared) }))
    }
}

/// An event source of the page.
struct Opened {
    client: u64,
    shared: Arc<Shared>,
}

impl Opened {
    fn tell(&self, what: &str) {
        self.shared.lock().commands.push(json!({ "do": what, "client": self.client }));
        self.shared.changed.notify_all();
    }
}

impl Handle for Opened {
    fn close(&mut self) {
        self.tell("close");
    }

    fn peak_kib(&self) -> Option<u64> {
        None
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.tell("forget");
        self.shared.lock().clients.remove(&self.client);
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.shared.lock().commands.push(json!({ "do": "end" }));
        self.shared.changed.notify_all();
        // The page hears of it if it asks in time; if not, it notices that no server answers.
        let has_heard = || self.shared.lock().commands.is_empty().then_some(()).ok_or(());
        let _ = eventually(Duration::from_millis(500), Duration::from_millis(10), has_heard);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in a critical section panics half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next commands for the page; waits a while if there are none.
    fn commands(&self) -> Vec<Value> {
        let mut state = self.lock();
        state.asked = Some(Instant::now());
        let deadline = Instant::now() + POLL;
        while state.commands.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let woken = self.changed.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.asked = Some(Instant::now());
        std::mem::take(&mut state.commands)
    }

    /// Takes what the page has seen, in order.
    fn seen(&self, body: &[u8]) {
        #[derive(Deserialize)]
        struct Line {
            client: u64,
            line: Value,
        }
        let Ok(lines) = serde_json::from_slice::<Vec<Line>>(body) else { return };
        for line in lines {
            let inbox = self.lock().clients.get(&line.client).cloned();
            if let Some(inbox) = inbox {
                let line = line.line.to_string();
                if let Some(shape) = ClientReport::shape_in(line.as_bytes()) {
                    inbox.put(shape);
                }
                inbox.put(ClientReport::from_line(line.as_bytes()));
            }
        }
    }
}

fn respond(request: &ReceivedRequest, shared: &Shared) -> (&'static str, &'static str, String) {
    const JSON: &str = "application/json";
    match (request.method.as_str(), request.target.as_str()) {
        ("GET", "/") => ("200 OK", "text/html; charset=utf-8", HTML.to_owned()),
        ("POST", "/hello") => {
            let agent = request.header("User-Agent").unwrap_or_default();
            let browser = browser(&String::from_utf8_lossy(agent));
            let mut state = shared.lock();
            state.asked = Some(Instant::now());
            state.browser.get_or_insert(browser);
            shared.changed.notify_all();
            ("200 OK", JSON, "{}".to_owned())
        }
        ("GET", "/commands") => ("200 OK", JSON, Value::from(shared.commands()).to_string()),
        ("POST", "/seen") => {
            shared.seen(&request.body);
            ("200 OK", JSON, "{}".to_owned())
        }
        _ => ("404 Not Found", "text/plain", "not here\n".to_owned()),
    }
}

/// Name and version as the `User-Agent` has them; it is a long story.
fn browser(agent: &str) -> Browser {
    // The first that is there: Edge calls itself Chrome too, and everybody Safari.
    const MARKS: &[(&str, &str)] = &[
        ("Edg/", "Edge"),
        ("Firefox/", "Firefox"),
        ("HeadlessChrome/", "Chromium"),
        ("Chrome/", "Chrome"),
        ("Version/", "Safari"),
    ];
    let found = MARKS.iter().find_map(|(mark, name)| {
        let (_, version) = agent.split_once(mark)?;
        Some((*name, version.split(' ').next().unwrap_or_default()))
    });
    let (name, version) = found.unwrap_or(("browser", ""));
    let version = Some(version.to_owned()).filter(|it| !it.is_empty());
    Browser { name: name.to_owned(), version, agent: agent.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_told_by_their_agents() {
        let told = |agent| {
            let browser = browser(agent);
            (browser.name, browser.version.unwrap_or_default())
        };
        let agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
                     HeadlessChrome/143.0.0.0 Safari/537.36";
        assert_eq!(told(agent), ("Chromium".into(), "143.0.0.0".into()));
        let agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
        assert_eq!(told(agent), ("Firefox".into(), "140.0".into()));
        assert_eq!(told("curl/8"), ("browser".into(), String::new()));
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        for bad in ["http://", "https://", "src=", "<link", "@import"] {
            assert!(!HTML.contains(bad), "{bad}");
        }
    }

    #[test]
    fn what_the_page_posts_reaches_its_case() {
        let shared = Shared::default();
        let inbox = Arc::new(Inbox::default());
        shared.lock().clients.insert(7, Arc::clone(&inbox));
        shared.seen(br#"[{"client":7,"line":{"k":"open"}},{"client":8,"line":{"k":"open"}}]"#);
        shared.seen(b"nonsense");
        assert_eq!(inbox.next(Instant::now()).unwrap().report, ClientReport::Open);
        assert!(inbox.next(Instant::now()).is_none());
    }
}
