//! A client that runs against its scripted server: the steps of a case.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Fault;
use super::context::{CaseContext, because_of};
use super::driver::{Capability, Client};
use super::expect::miss;
use super::reports::{ClientReport, Event, TimedReport};
use super::scripted_server::{PendingRequest, ScriptedServer};

/// The data of the event that ends a case's stream: all before it has been reported by then.
pub(super) const MARK: &str = "the end of this case";
/// How long the answer to a failure is watched for a second request.
const AFTERWARDS: Duration = Duration::from_secs(3);
/// How long a client may take to close.
const CLOSING: Duration = Duration::from_secs(2);
/// Things that a client may report in one case; those with more do not keep them.
const SEEN: usize = 200_000;
/// The last reports that a failure shows; equal ones in a row count as one.
const SHOWN: usize = 6;
/// How many times the patience a client has for its first request: its process starts meanwhile.
const START: u32 = 3;
/// Between two looks whether the run should stop.
const LOOK: Duration = Duration::from_millis(100);

/// A client that runs, and the scripted server that it asks.
pub(super) struct ClientSession<'t> {
    pub(super) context: &'t CaseContext,
    pub(super) server: ScriptedServer,
    pub(super) client: Client,
    /// All that the client has reported so far.
    pub(super) reports: Vec<TimedReport>,
}

impl ClientSession<'_> {
    /// The next request.
    pub(super) fn request(&mut self) -> Result<PendingRequest, Fault> {
        self.request_within(self.context.patience())
    }

    /// The next request, if it comes within this time.
    ///
    /// A client that has not asked for anything yet fails nothing: it may still be starting.
    pub(super) fn request_within(&mut self, within: Duration) -> Result<PendingRequest, Fault> {
        if self.server.count() > 0 {
            return self.later_request_within(within);
        }
        let within = within * START;
        self.later_request_within(within).map_err(|fault| match (fault, &self.client.ended) {
            (Fault::Miss { .. }, Some(how)) => {
                Fault::Adapter(format!("it made no request, and ended: {how}"))
            }
            (Fault::Miss { .. }, None) => Fault::Harness(format!(
                "the client made no request within {within:?}; {}; one that starts slowly needs a \
                 larger --patience-ms",
                self.reported()
            )),
            (fault, _) => fault,
        })
    }

    /// The same for a client that is known to have started.
    pub(super) fn later_request_within(
        &mut self,
        within: Duration,
    ) -> Result<PendingRequest, Fault> {
        let deadline = Instant::now() + within;
        let expected = format!("request {} within {within:?}", self.server.count() + 1);
        // In steps, so that the end of the client is noticed.
        loop {
            self.context.may_go_on()?;
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
                return Err(self.ended(miss(expected, format!("none; {}", self.reported()))));
            }
            if Instant::now() >= deadline {
                let fault = miss(expected, format!("none; {}", self.reported()));
                return Err(fault.too_slow(within));
            }
        }
    }

    /// Holds if no request comes within this time; at once if the client has ended.
    pub(super) fn no_request(&mut self, within: Duration) -> Result<(), Fault> {
        self.context.log().watched(within);
        self.stays_away(within)
    }

    /// The same where the time is a pace of the case, and no silence that proves something.
    pub(super) fn stays_away(&mut self, within: Duration) -> Result<(), Fault> {
        match self.further_request(within)? {
            None => Ok(()),
            Some(pending) => Err(self.unwanted(&pending, within)),
        }
    }

    /// The failure that this request is.
    pub(super) fn unwanted(&self, pending: &PendingRequest, within: Duration) -> Fault {
        let it = &pending.request;
        miss(
            format!("no further request within {within:?}"),
            format!("{} {}; {}", it.method, it.target, self.reported()),
        )
    }

    /// The request that comes within this time, if one does; none of a client that has ended.
    pub(super) fn further_request(
        &mut self,
        within: Duration,
    ) -> Result<Option<PendingRequest>, Fault> {
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            self.context.may_go_on()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if let Some(pending) = self.server.request(left.min(Duration::from_millis(20))) {
                return Ok(Some(pending));
            }
            while Instant::now() < deadline && self.next_report(Instant::now())?.is_some() {}
            if self.client.ended.is_some() {
                break;
            }
        }
        Ok(None)
    }

    /// The next report of the client.
    pub(super) fn next_report(&mut self, deadline: Instant) -> Result<Option<TimedReport>, Fault> {
        let Some(timed) = self.next_unkept(deadline)? else { return Ok(None) };
        self.reports.push(timed.clone());
        if self.reports.len() > SEEN {
            return Err(Fault::Adapter(format!("it floods: more than {SEEN} lines")));
        }
        Ok(Some(timed))
    }

    /// The same where there are too many of them to be kept.
    pub(super) fn next_unkept(&mut self, deadline: Instant) -> Result<Option<TimedReport>, Fault> {
        loop {
            self.context.may_go_on()?;
            let timed = self.client.next(deadline.min(Instant::now() + LOOK))?;
            if let Some(ClientReport::Garbage(words)) = timed.as_ref().map(|it| &it.report) {
                let words = format!("it printed a line that is not of the protocol: {words}");
                return Err(Fault::Adapter(self.with_last_words(words)));
            }
            if timed.is_some() || self.client.ended.is_some() || Instant::now() >= deadline {
                return Ok(timed);
            }
        }
    }

    fn with_last_words(&mut self, words: String) -> String {
        match self.client.last_words() {
            Some(last) => format!("{words}; its stderr: {last}"),
            None => words,
        }
    }

    /// A failure of a client that has ended. In a case that others rest on it is the adapter's, if it
    /// crashed; in the others the adapter has shown by then that it does its part.
    fn ended(&self, fault: Fault) -> Fault {
        match &self.client.ended {
            Some(how) if self.context.is_prerequisite() && is_crash(how) => {
                Fault::Adapter(format!("it ended: {how}"))
            }
            _ => fault,
        }
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
        Err(if self.client.ended.is_some() { self.ended(fault) } else { fault.too_slow(within) })
    }

    /// Waits until the client reads its stream: what is slow from then on is not its start.
    pub(super) fn until_reading(&mut self, stream: &mut PendingRequest) -> Result<(), Fault> {
        stream.chunk(b"data: first\n\n");
        self.until_data("first").map(|_| ())
    }

    /// Waits for one event with this data, while its stream goes on.
    pub(super) fn until_data(&mut self, data: &str) -> Result<Event, Fault> {
        let event = self.until_prompt_data(data);
        if event.is_err() && self.context.conditions.holds_back.load(Ordering::Relaxed) {
            return Err(because_of("C2.08"));
        }
        event
    }

    /// The same for a case whose claim is that it comes before the stream ends.
    pub(super) fn until_prompt_data(&mut self, data: &str) -> Result<Event, Fault> {
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
    ///
    /// Where the mark does not come the stream ends, too: that a client hands events out late is another
    /// case's claim (C2.08).
    pub(super) fn events_to_mark(
        &mut self,
        stream: &mut PendingRequest,
    ) -> Result<Vec<Event>, Fault> {
        let is_mark =
            |report: &ClientReport| matches!(report, ClientReport::Event(it) if it.data == MARK);
        let what = "an event behind the others";
        let holds_back = &self.context.conditions.holds_back;
        stream.chunk(format!("data: {MARK}\n\n").as_bytes());
        if holds_back.load(Ordering::Relaxed) {
            stream.end();
        }
        let mut marked = self.until(what, is_mark);
        if let Err(Fault::Miss { .. }) = marked
            && self.client.ended.is_none()
            && !holds_back.load(Ordering::Relaxed)
        {
            stream.end();
            if let Ok(mark) = self.until(what, is_mark) {
                // A busy host looks the same.
                self.context.log().watched(self.context.patience());
                holds_back.fetch_or(self.context.is_prerequisite(), Ordering::Relaxed);
                marked = Ok(mark);
            }
        }
        // The events that came instead say more than the missing mark.
        let mut events = self.events();
        match marked {
            Err(Fault::Miss { .. }) if self.client.ended.is_none() && !events.is_empty() => {
                // The missing events may only be late.
                self.context.log().waited_in_vain(self.context.patience());
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

    /// Holds if the client gives up for good after an answer that was sent at this time: says so, makes
    /// no event of it, asks no second time.
    pub(super) fn gives_up(&mut self, answered: Instant) -> Result<(), Fault> {
        let from = self.reports.len();
        // A client behind the REST protocol does not say that it has given up.
        if self.context.has(Capability::Op) {
            self.until("an error, and the end", Self::is_over)?;
        }
        self.no_request(self.context.scaled(AFTERWARDS))?;
        // `open` before there was an answer is not about this one: C5.01 looks at it.
        let wrong = self.reports[from..].iter().find(|it| match it.report {
            ClientReport::Open => it.at > answered,
            ClientReport::Event(_) => true,
            _ => false,
        });
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
        let length = self.context.scaled(CLOSING).min(self.context.ms(500));
        self.context.log().watched(length);
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
        let runs: Vec<_> = self.reports.chunk_by(|a, b| a.report == b.report).collect();
        let words = |run: &&[TimedReport]| match run {
            [one] => one.report.shown(),
            run => format!("{} ({} times)", run[0].report.shown(), run.len()),
        };
        let last = &runs[runs.len().saturating_sub(SHOWN)..];
        let words: Vec<_> = last.iter().map(words).collect();
        match words.as_slice() {
            [] => "the client reported nothing".to_owned(),
            words => {
                let more = if runs.len() > SHOWN { "…, " } else { "" };
                format!("the client reported {more}{}", words.join(", "))
            }
        }
    }
}

/// Whether a client that ended this way did not mean to.
fn is_crash(how: &str) -> bool {
    how.starts_with("killed") || how.starts_with("exit code") && !how.starts_with("exit code 0")
}
