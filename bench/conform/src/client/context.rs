//! The tools of a case: a client to start, a scripted server for it to ask, and its reports.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wire::Log;

use super::Fault;
use super::driver::{Capability, Client, Driver, Options};
use super::expect::miss;
use super::reports::{ClientReport, Event, TimedReport};
use super::scripted_server::{PendingRequest, RefusingPort, ScriptedServer};
use crate::judge::{self, Subject};

/// The data of the event that ends a case's stream: all before it has been reported by then.
pub(super) const MARK: &str = "the end of this case";
/// How long the answer to a failure is watched for a second request.
const AFTERWARDS: Duration = Duration::from_secs(3);
/// How long a client may take to close.
const CLOSING: Duration = Duration::from_secs(2);
/// Things that a client may report in one case; those with more do not keep them.
const SEEN: usize = 200_000;
/// Clients that one case has at a time: other cases run beside it.
const VARIANTS: usize = 4;
/// The last reports that a failure shows.
const SHOWN: usize = 6;
/// The reconnection time that cases ask for: soon, and above the least that clients wait.
pub(super) const RETRY_MS: u64 = 200;

/// A client under test, for one case.
pub struct CaseContext {
    case: &'static str,
    driver: Arc<dyn Driver>,
    patience: Duration,
    scale: f64,
    log: Log,
}

impl Subject for CaseContext {
    fn log(&self) -> &Log {
        &self.log
    }
}

/// A client that runs, and the scripted server that it asks.
pub(super) struct ClientSession<'t> {
    pub(super) context: &'t CaseContext,
    pub(super) server: ScriptedServer,
    pub(super) client: Client,
    /// All that the client has reported so far.
    pub(super) reports: Vec<TimedReport>,
}

impl CaseContext {
    pub(super) fn new(
        case: &'static str,
        driver: &Arc<dyn Driver>,
        patience: Duration,
        scale: f64,
    ) -> CaseContext {
        CaseContext { case, driver: Arc::clone(driver), patience, scale, log: Log::new() }
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
        self.patience.mul_f64(self.scale)
    }

    /// A time of this length, or as much longer as the user asks for.
    pub(super) fn ms(&self, ms: u64) -> Duration {
        Duration::from_millis(ms).mul_f64(self.scale)
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

    /// Tries each of these with separate clients; the first that fails counts.
    pub(super) fn each<V: Sync>(
        &self,
        variants: &[V],
        attempt: impl Fn(&V) -> Result<(), Fault> + Sync,
    ) -> Result<(), Fault> {
        let outcomes = judge::parallel_map(variants, self.driver.parallel().min(VARIANTS), attempt);
        outcomes.into_iter().collect()
    }
}

impl ClientSession<'_> {
    /// The next request.
    pub(super) fn request(&mut self) -> Result<PendingRequest, Fault> {
        self.request_within(self.context.patience())
    }

    /// The next request, if it comes within this time.
    pub(super) fn request_within(&mut self, within: Duration) -> Result<PendingRequest, Fault> {
        let deadline = Instant::now() + within;
        let expected = format!("request {} within {within:?}", self.server.count() + 1);
        // In steps, so that the end of the client is noticed.
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if let Some(pending) = self.server.request(left.min(Duration::from_millis(20))) {
                return Ok(pending);
            }
            while Instant::now() < deadline && self.next_report(Instant::now())?.is_some() {}
            if self.client.ended.is_some() {
                // It may have asked in its last moment.
                if let Some(pending) = self.server.request(Duration::from_millis(50)) {
                    return Ok(pending);
                }
            }
            if self.client.ended.is_some() {
                return Err(miss(expected, format!("none; {}", self.reported())));
            }
            if Instant::now() >= deadline {
                let fault = miss(expected, format!("none; {}", self.reported()));
                return Err(fault.too_slow(within));
            }
        }
    }

    /// Holds if no request comes within this time; at once if the client has ended.
    pub(super) fn no_request(&mut self, within: Duration) -> Result<(), Fault> {
        self.context.log.watched(within);
        self.stays_away(within)
    }

    /// The same where the time is a pace of the case, and no silence that proves something.
    pub(super) fn stays_away(&mut self, within: Duration) -> Result<(), Fault> {
        let deadline = Instant::now() + within;
        let expected = format!("no further request within {within:?}");
        while Instant::now() < deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            if let Some(pending) = self.server.request(left.min(Duration::from_millis(20))) {
                let it = &pending.request;
                return Err(miss(
                    expected,
                    format!("{} {}; {}", it.method, it.target, self.reported()),
                ));
            }
            while Instant::now() < deadline && self.next_report(Instant::now())?.is_some() {}
            if self.client.ended.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// The next report of the client.
    pub(super) fn next_report(&mut self, deadline: Instant) -> Result<Option<TimedReport>, Fault> {
        let Some(timed) = self.client.next(deadline)? else { return Ok(None) };
        self.reports.push(timed.clone());
        if self.reports.len() > SEEN {
            let words = format!("it floods: more than {SEEN} things");
            return Err(miss("a client that reports what it saw", words));
        }
        if let ClientReport::Garbage(words) = &timed.report {
            return Err(miss("lines of the protocol on stdout", words));
        }
        Ok(Some(timed))
    }

    /// Waits until the client reports this; what it reports before is kept.
    pub(super) fn until(
        &mut self,
        what: &str,
        is_it: impl Fn(&ClientReport) -> bool,
    ) -> Result<TimedReport, Fault> {
        self.until_within(self.context.patience(), what, is_it)
    }

    /// The same within a given time.
    pub(super) fn until_within(
        &mut self,
        within: Duration,
        what: &str,
        is_it: impl Fn(&ClientReport) -> bool,
    ) -> Result<TimedReport, Fault> {
        let deadline = Instant::now() + within;
        while let Some(timed) = self.next_report(deadline)? {
            if is_it(&timed.report) {
                return Ok(timed);
            }
        }
        let fault = miss(what, self.reported());
        Err(if self.client.ended.is_some() { fault } else { fault.too_slow(within) })
    }

    /// Waits until the client reports that the stream is open, if it reports such things.
    pub(super) fn until_open(&mut self) -> Result<(), Fault> {
        if self.context.has(Capability::Op) {
            self.until("open reported", |report| *report == ClientReport::Open)?;
        }
        Ok(())
    }

    /// Waits for one event with this data.
    pub(super) fn until_data(&mut self, data: &str) -> Result<Event, Fault> {
        let what = format!("an event with the data {data:?}");
        match self
            .until(&what, |report| matches!(report, ClientReport::Event(it) if it.data == data))?
            .report
        {
            ClientReport::Event(event) => Ok(event),
            _ => unreachable!("it was asked for an event"),
        }
    }

    /// Ends the case's stream with a mark, and takes what was reported before it.
    pub(super) fn events_to_mark(
        &mut self,
        stream: &mut PendingRequest,
    ) -> Result<Vec<Event>, Fault> {
        stream.chunk(format!("data: {MARK}\n\n").as_bytes());
        let marked = self.until(
            "an event behind the others",
            |report| matches!(report, ClientReport::Event(it) if it.data == MARK),
        );
        // The events that came instead say more than the missing mark.
        let mut events = self.events();
        match marked {
            Err(_) if self.client.ended.is_none() && !events.is_empty() => {
                // The missing events may only be late.
                self.context.log.waited_in_vain(self.context.patience());
                return Ok(events);
            }
            outcome => outcome?,
        };
        events.pop();
        Ok(events)
    }

    /// Whether the client has said that its stream is over: an error, closed, its own end.
    pub(super) fn is_over(report: &ClientReport) -> bool {
        matches!(
            report,
            ClientReport::Error { .. }
                | ClientReport::Closed
                | ClientReport::Exit(_)
                | ClientReport::State(2)
        )
    }

    /// Holds if the client gives up for good: says so, makes no event of it, asks no second time.
    ///
    /// `requests` is how many there were up to now.
    pub(super) fn gives_up(&mut self) -> Result<(), Fault> {
        let from = self.reports.len();
        let over = |report: &ClientReport| {
            matches!(
                report,
                ClientReport::Error { .. }
                    | ClientReport::Closed
                    | ClientReport::Exit(_)
                    | ClientReport::State(2)
            )
        };
        // A client behind the REST protocol does not say that it has given up.
        if self.context.has(Capability::Op) {
            self.until("an error, and the end", over)?;
        }
        self.no_request(AFTERWARDS.mul_f64(self.context.scale))?;
        let wrong = self.reports[from..]
            .iter()
            .find(|it| matches!(it.report, ClientReport::Open | ClientReport::Event(_)));
        match wrong {
            Some(timed) => Err(miss("an error, and no stream", timed.report.shown())),
            None => Ok(()),
        }
    }

    /// Asks the client to close and waits until it has; what it reports afterwards.
    pub(super) fn close(&mut self) -> Result<Vec<ClientReport>, Fault> {
        self.client.close();
        let over =
            |report: &ClientReport| matches!(report, ClientReport::Closed | ClientReport::Exit(_));
        self.until("closed reported", over)?;
        let at = self.reports.len();
        let length = CLOSING.mul_f64(self.context.scale).min(self.context.ms(500));
        self.context.log.watched(length);
        let deadline = Instant::now() + length;
        while self.next_report(deadline)?.is_some() {}
        let later = self.reports[at..].iter().map(|it| it.report.clone());
        Ok(later
            .filter(|report| !matches!(report, ClientReport::Exit(_) | ClientReport::State(2)))
            .collect())
    }

    /// The events so far.
    pub(super) fn events(&self) -> Vec<Event> {
        let events = self.reports.iter().filter_map(|it| match &it.report {
            ClientReport::Event(event) => Some(event.clone()),
            _ => None,
        });
        events.collect()
    }

    /// The last things that it reported, in words.
    pub(super) fn reported(&self) -> String {
        let last: Vec<_> =
            self.reports.iter().rev().take(SHOWN).map(|it| it.report.shown()).collect();
        match last.as_slice() {
            [] => "the client reported nothing".to_owned(),
            last => {
                let more = if self.reports.len() > SHOWN { "…, " } else { "" };
                let words: Vec<_> = last.iter().rev().cloned().collect();
                format!("the client reported {more}{}", words.join(", "))
            }
        }
    }
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
