//! How a client under test gets its instructions, and how it reports events.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use wire::{Log, Side};

use super::Fault;
use super::reports::{ClientReport, Inbox, TimedReport};

/// The most that is read from one client, bytes: several times the demand of the largest case.
const READ_BYTES: usize = 256 * 1024 * 1024;
/// The most bytes of a report that comes by HTTP: 10 MiB of data as JSON, twice over.
pub(super) const REPORT_BYTES: usize = 24 * 1024 * 1024;
/// Entries of the log of what a client said; a flood of events would hide the rest.
const LOGGED: usize = 200;

/// A capability that a case needs of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Capability {
    /// It reconnects by itself.
    R,
    /// It reports `readyState`.
    St,
    /// It reports comments.
    Cm,
    /// It sends headers of the caller's.
    Hd,
    /// It sends another method and a body.
    Bd,
    /// It has a read timeout.
    To,
    /// It can begin with a last event id.
    Id,
    /// It is a browser.
    Br,
    /// It has a limit for the size of an event.
    Lm,
    /// It asks for gzip.
    Gz,
    /// It can be closed from within an event's handler.
    Ch,
    /// It reports that a stream is open; every client does that is driven by a command or a page.
    Op,
}

impl Capability {
    /// Its description, in words.
    pub fn meaning(self) -> &'static str {
        match self {
            Capability::R => "reconnects by itself",
            Capability::St => "reports readyState",
            Capability::Cm => "reports comments",
            Capability::Hd => "sends headers of the caller's",
            Capability::Bd => "sends another method and a body",
            Capability::To => "has a read timeout",
            Capability::Id => "begins with a last event id",
            Capability::Br => "is a browser",
            Capability::Lm => "has a limit for the size of an event",
            Capability::Gz => "asks for gzip",
            Capability::Ch => "can be closed from within a handler",
            Capability::Op => "reports that a stream is open",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::str::FromStr for Capability {
    type Err = String;

    fn from_str(text: &str) -> Result<Capability, String> {
        let text = text.trim();
        serde_json::from_value(text.into()).map_err(|_| {
            format!("{text:?} is no capability; R, St, Cm, Hd, Bd, To, Id, Br, Lm, Gz and Ch are")
        })
    }
}

/// Options of a client that differ from the default: `SSE_CASE_OPTIONS`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Options {
    /// Types of events that a client with listeners by type has to listen to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) event_types: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) initial_delay_ms: Option<u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_event_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) read_timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_event_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) close_after_events: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) with_credentials: Option<bool>,
    /// The origin that a browser's page should stand on; without it that of the URL will do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) page_origin: Option<String>,
    /// A cookie that the page sets before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cookie: Option<String>,
}

/// A way to start clients.
pub(super) trait Driver: Send + Sync {
    /// The capabilities of the client.
    fn capabilities(&self) -> &[Capability];

    /// How many clients may run at a time.
    fn parallel(&self) -> usize;

    /// Whether the process that is started is the client: its memory is the client's then.
    fn is_one_process(&self) -> bool {
        true
    }

    /// Starts a client on this URL; what it sees goes into the inbox.
    fn start(
        &self,
        case: &str,
        url: &str,
        options: &Options,
        inbox: &Arc<Inbox>,
    ) -> Result<Box<dyn Handle>, Fault>;
}

/// A client that runs; dropping it ends it.
pub(super) trait Handle: Send {
    /// Asks it to close its stream.
    fn close(&mut self);

    /// The most memory it has had so far, KiB, where that can be known.
    fn peak_kib(&self) -> Option<u64>;

    /// The CPU time that it has used so far, where that can be known.
    fn cpu(&self) -> Option<Duration> {
        None
    }

    /// Its last words on stderr, where it has one; this ends it.
    fn last_words(&mut self) -> Option<String> {
        None
    }

    /// Lets it know that the case is over, and that it should end by itself.
    fn end(&mut self) {}
}

/// A client that runs, as a case sees it.
pub(super) struct Client {
    handle: Box<dyn Handle>,
    inbox: Arc<Inbox>,
    log: Log,
    read_bytes: usize,
    logged: usize,
    memory_is_its_own: bool,
    /// How it has ended, if it has.
    pub(super) ended: Option<String>,
}

impl Client {
    pub(super) fn start(
        driver: &dyn Driver,
        case: &str,
        url: &str,
        options: &Options,
        log: &Log,
    ) -> Result<Client, Fault> {
        let inbox = Arc::new(Inbox::default());
        let handle = driver.start(case, url, options, &inbox)?;
        let log = log.clone();
        let memory_is_its_own = driver.is_one_process();
        let (read_bytes, logged, ended) = (0, 0, None);
        Ok(Client { handle, inbox, log, read_bytes, logged, memory_is_its_own, ended })
    }

    /// Its next report; `None` if nothing comes before the deadline, or it has ended.
    pub(super) fn next(&mut self, deadline: Instant) -> Result<Option<TimedReport>, Fault> {
        if self.ended.is_some() {
            return Ok(None);
        }
        let Some(timed) = self.inbox.next(deadline) else { return Ok(None) };
        if let ClientReport::Event(it) = &timed.report {
            self.read_bytes += it.data.len() + it.event.len() + it.id.len();
        }
        self.read_bytes += 32;
        if self.logged < LOGGED {
            self.logged += 1;
            self.log.add(0, Side::Note, format!("client: {}", timed.report.shown()).as_bytes());
        }
        if self.read_bytes > READ_BYTES {
            return Err(Fault::Adapter(format!("it floods: more than {READ_BYTES} bytes")));
        }
        if let ClientReport::Exit(how) = &timed.report {
            self.ended = Some(how.clone());
        }
        Ok(Some(timed))
    }

    /// Asks it to close its stream.
    pub(super) fn close(&mut self) {
        self.log.add(0, Side::Note, b"the client is asked to close");
        self.handle.close();
    }

    /// The most memory it has had so far, KiB.
    pub(super) fn peak_kib(&self) -> Option<u64> {
        self.memory_is_its_own.then(|| self.handle.peak_kib()).flatten()
    }

    /// The CPU time that it has used so far.
    pub(super) fn cpu(&self) -> Option<Duration> {
        self.memory_is_its_own.then(|| self.handle.cpu()).flatten()
    }

    /// Its last words on stderr; this ends it.
    pub(super) fn last_words(&mut self) -> Option<String> {
        self.handle.last_words()
    }

    /// Lets it know that it should end by itself.
    pub(super) fn end(&mut self) {
        self.handle.end();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Before the handle goes, which waits for the thread that fills the inbox.
        self.inbox.close();
    }
}
