//! The tools of a case: a client to start, a scripted server for it to ask, and how long things may take.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use wire::Log;

use super::Fault;
use super::cases::PREREQUISITES;
use super::driver::{Capability, Client, Driver, Options};
use super::reports::Event;
use super::scripted_server::{PendingRequest, RefusingPort, ScriptedServer};
pub(super) use super::session::{ClientSession, MARK};
use crate::judge::{self, Subject};

/// Clients that one case has at a time: other cases run beside it.
const VARIANTS: usize = 4;
/// The reconnection time that cases ask for: soon, and above the least that clients wait.
pub(super) const RETRY_MS: u64 = 200;

/// Common to the cases of a run: how long they may take, and a finding that others build on.
pub(super) struct Conditions {
    /// How long a step may take.
    pub(super) patience: Duration,
    /// The factor of every time.
    pub(super) scale: f64,
    /// How long one case may take.
    pub(super) case_limit: Duration,
    /// Set when the run should end.
    pub(super) stopped: Arc<AtomicBool>,
    /// The client hands events out when its stream ends, and not before.
    pub(super) holds_back: AtomicBool,
}

/// A client under test, for one case.
pub struct CaseContext {
    case: &'static str,
    driver: Arc<dyn Driver>,
    pub(super) conditions: Arc<Conditions>,
    deadline: Instant,
    log: Log,
}

impl Subject for CaseContext {
    fn log(&self) -> &Log {
        &self.log
    }
}

impl Conditions {
    pub(super) fn new(
        patience: Duration,
        scale: f64,
        case_limit: Duration,
        stopped: &Arc<AtomicBool>,
    ) -> Arc<Conditions> {
        let (stopped, holds_back) = (Arc::clone(stopped), AtomicBool::new(false));
        Arc::new(Conditions { patience, scale, case_limit, stopped, holds_back })
    }
}

impl CaseContext {
    pub(super) fn new(
        case: &'static str,
        driver: &Arc<dyn Driver>,
        conditions: &Arc<Conditions>,
    ) -> CaseContext {
        let conditions = Arc::clone(conditions);
        if case == "C2.01" {
            // Which finds out anew with each attempt.
            conditions.holds_back.store(false, Ordering::Relaxed);
        }
        let deadline = Instant::now() + conditions.case_limit;
        CaseContext { case, driver: Arc::clone(driver), conditions, deadline, log: Log::new() }
    }

    /// The id of the case at hand.
    pub(super) fn case(&self) -> &'static str {
        self.case
    }

    /// The bytes of the dialogue.
    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    pub(super) fn has(&self, capability: Capability) -> bool {
        self.driver.capabilities().contains(&capability)
    }

    /// How long a step may take.
    pub(super) fn patience(&self) -> Duration {
        self.conditions.patience.mul_f64(self.conditions.scale)
    }

    /// A time of this length, or as much longer as the user asks for.
    pub(super) fn ms(&self, ms: u64) -> Duration {
        Duration::from_millis(ms).mul_f64(self.conditions.scale)
    }

    /// The same for a constant.
    pub(super) fn scaled(&self, time: Duration) -> Duration {
        time.mul_f64(self.conditions.scale)
    }

    /// Whether the case at hand is one that others rest on.
    pub(super) fn is_prerequisite(&self) -> bool {
        PREREQUISITES.contains(&self.case)
    }

    /// An error when the case has to end now.
    pub(super) fn may_go_on(&self) -> Result<(), Fault> {
        if self.conditions.stopped.load(Ordering::Relaxed) {
            return Err(Fault::Harness("the run was stopped".to_owned()));
        }
        if Instant::now() >= self.deadline {
            let limit = self.conditions.case_limit.as_secs();
            return Err(Fault::Harness(format!(
                "the case did not end within {limit} s, its limit (--case-limit-s)"
            )));
        }
        Ok(())
    }

    pub(super) fn server(&self) -> Result<ScriptedServer, Fault> {
        ScriptedServer::open(&self.log)
            .map_err(|error| Fault::Harness(format!("cannot listen: {error}")))
    }

    pub(super) fn refusing_port(&self) -> Result<RefusingPort, Fault> {
        RefusingPort::reserve().map_err(|error| Fault::Harness(format!("cannot bind: {error}")))
    }

    pub(super) fn client(&self, url: &str, options: &Options) -> Result<Client, Fault> {
        Client::start(&*self.driver, self.case, url, options, &self.log)
    }

    /// Starts a client on a separate scripted server.
    pub(super) fn session(&self, options: &Options) -> Result<ClientSession<'_>, Fault> {
        self.session_at("/events", options)
    }

    /// The same at another target.
    pub(super) fn session_at(
        &self,
        target: &str,
        options: &Options,
    ) -> Result<ClientSession<'_>, Fault> {
        let server = self.server()?;
        let client = self.client(&server.url(target), options)?;
        Ok(ClientSession { context: self, server, client, reports: Vec::new() })
    }

    /// A client whose first request has come.
    pub(super) fn asked(&self) -> Result<(ClientSession<'_>, PendingRequest), Fault> {
        self.asked_with(&Options::default())
    }

    /// The same with options.
    pub(super) fn asked_with(
        &self,
        options: &Options,
    ) -> Result<(ClientSession<'_>, PendingRequest), Fault> {
        let mut session = self.session(options)?;
        let pending = session.request()?;
        Ok((session, pending))
    }

    /// Tries each of these with separate clients, up to one that fails: a failure takes the whole
    /// patience, and one says enough.
    pub(super) fn each<V: Sync>(
        &self,
        variants: &[V],
        attempt: impl Fn(&V) -> Result<(), Fault> + Sync,
    ) -> Result<(), Fault> {
        let has_failed = AtomicBool::new(false);
        let tried = |variant: &V| {
            if has_failed.load(Ordering::Relaxed) {
                return Ok(());
            }
            let outcome = attempt(variant);
            has_failed.fetch_or(matches!(outcome, Err(Fault::Miss { .. })), Ordering::Relaxed);
            outcome
        };
        let outcomes = judge::parallel_map(variants, self.driver.parallel().min(VARIANTS), tried);
        // A variant that could not be judged hides no failure of another.
        let (failed, others): (Vec<_>, Vec<_>) =
            outcomes.into_iter().partition(|it| matches!(it, Err(Fault::Miss { .. })));
        failed.into_iter().chain(others).collect()
    }
}

/// It was not judged, because another case has failed.
pub(super) fn because_of(case: &str) -> Fault {
    Fault::Skip(judge::because(case))
}

/// A message with this data and id.
pub(super) fn message(data: &str, id: &str) -> Event {
    event("message", data, id)
}

/// An event.
pub(super) fn event(kind: &str, data: &str, id: &str) -> Event {
    Event { event: kind.to_owned(), data: data.to_owned(), id: id.to_owned(), origin: None }
}

/// Holds if these are the events, wherever they came from.
pub(super) fn same_events(actual: &[Event], expected: &[Event]) -> Result<(), Fault> {
    let short = |events: &[Event]| -> Vec<(String, String, String)> {
        let of = |it: &Event| (it.event.clone(), it.data.clone(), it.id.clone());
        events.iter().map(of).collect()
    };
    super::expect::equal("events (type, data, id)", &short(actual), &short(expected))
}
