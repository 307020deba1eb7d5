//! `--check-adapter`: whether an adapter keeps to the protocol, whatever the client behind it does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Fault;
use super::context::{CaseContext, ClientSession, Conditions, message, same_events};
use super::driver::{Capability, Driver, Options};
use super::reports::ClientReport;
use super::run::Plan;
use crate::expect::{ensure, miss};

/// How long an adapter may take to end when its stdin does.
const ENDING: Duration = Duration::from_secs(3);
/// How long a closed adapter is watched.
const SILENCE: Duration = Duration::from_millis(500);

/// A demand of the protocol, and what came of it.
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) demand: &'static str,
    pub(super) outcome: Result<(), String>,
}

type Check = fn(&CaseContext) -> Result<(), Fault>;

/// In the order in which a maintainer would fix them.
const STEPS: &[(&str, &str, Check)] = &[
    ("request", "it asks for the URL that stands behind the command", |context| {
        context.asked().map(|_| ())
    }),
    ("event", "it prints open, and then an event with type, data and id", event),
    ("options", "it starts with every option that its capabilities name", options),
    ("close", "after {\"cmd\":\"close\"} it prints closed, and then nothing", close),
    ("stay", "after closed it goes on until its stdin ends", stay),
    ("end", "it exits with 0 when its stdin ends", end),
];

/// Tries each of them.
pub(super) fn steps(driver: &Arc<dyn Driver>, plan: &Plan) -> impl Iterator<Item = Step> {
    let conditions = Conditions::new(plan.patience, plan.scale, plan.case_limit, &plan.stopped);
    STEPS.iter().map(move |(name, demand, check)| {
        let context = CaseContext::new("check-adapter", driver, &conditions);
        let outcome = check(&context).map_err(|fault| match fault {
            Fault::Miss { expected, actual, .. } => format!("expected {expected}, actual {actual}"),
            Fault::Skip(words)
            | Fault::Unreachable(words)
            | Fault::Adapter(words)
            | Fault::Harness(words) => words,
            fault => format!("{fault:?}"),
        });
        Step { name, demand, outcome }
    })
}

fn event(context: &CaseContext) -> Result<(), Fault> {
    let (mut session, mut stream) = context.asked()?;
    stream.open();
    stream.chunk("id: 1\ndata: hello é\n\n".as_bytes());
    session.until_data("hello é").map_err(|fault| with_stderr(&mut session, fault))?;
    let is_open = |report: &ClientReport| *report == ClientReport::Open;
    let opened = session.reports.iter().position(|it| is_open(&it.report));
    ensure(
        opened.is_some() || !context.has(Capability::Op),
        "open before the event",
        session.reported(),
    )?;
    same_events(&session.events(), &[message("hello é", "1")])
}

fn options(context: &CaseContext) -> Result<(), Fault> {
    let has = |capability| context.has(capability);
    let text = |capability, text: &str| has(capability).then(|| text.to_owned());
    let options = Options {
        event_types: vec!["added".to_owned()],
        initial_delay_ms: Some(300),
        headers: has(Capability::Hd)
            .then(|| ("X-Adapter".to_owned(), "1".to_owned()))
            .into_iter()
            .collect(),
        method: text(Capability::Bd, "POST"),
        body: text(Capability::Bd, "body"),
        last_event_id: text(Capability::Id, "7"),
        read_timeout_ms: has(Capability::To).then_some(60_000),
        max_event_bytes: has(Capability::Lm).then_some(100_000),
        close_after_events: has(Capability::Ch).then_some(1000),
        ..Options::default()
    };
    let (mut session, mut stream) = context.asked_with(&options)?;
    let request = stream.request.clone();
    for (capability, is_used, name) in [
        (Capability::Hd, request.header("X-Adapter") == Some(b"1"), "headers"),
        (Capability::Bd, request.method == "POST" && request.body == b"body", "method and body"),
        (Capability::Id, request.header("Last-Event-ID") == Some(b"7"), "lastEventId"),
    ] {
        ensure(
            is_used || !has(capability),
            format!("{name} in the request"),
            "they are not there",
        )?;
    }
    stream.open();
    stream.chunk(b"event: added\ndata: hello\n\n");
    session.until_data("hello").map(|_| ()).map_err(|fault| with_stderr(&mut session, fault))
}

/// A client that has been closed while its stream was open.
fn closed(context: &CaseContext) -> Result<ClientSession<'_>, Fault> {
    let (mut session, mut stream) = context.asked()?;
    stream.open();
    stream.chunk(b"data: hello\n\n");
    session.until_data("hello")?;
    session.client.close();
    let is_closed = |report: &ClientReport| *report == ClientReport::Closed;
    session.until("closed", is_closed).map_err(|fault| with_stderr(&mut session, fault))?;
    Ok(session)
}

fn close(context: &CaseContext) -> Result<(), Fault> {
    let mut session = closed(context)?;
    let from = session.reports.len();
    let deadline = Instant::now() + context.scaled(SILENCE);
    while session.next_report(deadline)?.is_some() {}
    let later = session.reports[from..].iter().map(|it| &it.report);
    let mut later =
        later.filter(|it| !matches!(it, ClientReport::Exit(_) | ClientReport::State(2)));
    match later.next() {
        None => Ok(()),
        Some(report) => Err(miss("nothing after closed", report.shown())),
    }
}

fn stay(context: &CaseContext) -> Result<(), Fault> {
    let mut session = closed(context)?;
    let deadline = Instant::now() + context.scaled(SILENCE);
    while session.next_report(deadline)?.is_some() {}
    match &session.client.ended {
        None => Ok(()),
        Some(how) => Err(miss("a process that stays", format!("it ended: {how}"))),
    }
}

fn end(context: &CaseContext) -> Result<(), Fault> {
    let mut session = closed(context)?;
    session.client.end();
    let is_exit = |report: &ClientReport| matches!(report, ClientReport::Exit(_));
    let exit = session.until_within(context.scaled(ENDING), "its end", is_exit)?;
    match exit.report {
        ClientReport::Exit(how) if how.starts_with("exit code 0") => Ok(()),
        report => Err(miss("exit code 0", report.shown())),
    }
}

fn with_stderr(session: &mut ClientSession<'_>, fault: Fault) -> Fault {
    match (fault, session.client.last_words()) {
        (Fault::Miss { expected, actual, lenient, unanswered, took }, Some(words)) => Fault::Miss {
            expected,
            actual: format!("{actual}; its stderr: {words}"),
            lenient,
            unanswered,
            took,
        },
        (fault, _) => fault,
    }
}
