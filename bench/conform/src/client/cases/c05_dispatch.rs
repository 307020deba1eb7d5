//! Category 5: what is reported, when, and what is not.

use std::thread;
use std::time::{Duration, Instant};

use super::CASE;
use crate::client::context::{CaseContext, ClientSession, RETRY_MS, message, same_events};
use crate::client::driver::{Capability, Options};
use crate::client::reports::ClientReport;
use crate::client::scripted_server::{PendingRequest, chunk};
use crate::client::vectors;
use crate::client::{Case, Fault};
use crate::expect::{ensure, equal, fact, miss, pass};
use crate::{Cost, Level, Outcome};

use Capability::{Br, Ch, Op, R, St};

/// How long an answer is withheld to see whether a client says that it is there.
const WITHHELD: Duration = Duration::from_secs(1);
/// How soon the connection has to end when a client is closed.
const CLOSING: Duration = Duration::from_secs(1);
/// Events that are under way when a client is closed: at once, and then one a millisecond.
const BURST: usize = 2000;
const TRICKLE: usize = 10_000;

pub(super) static CASES: &[Case] = &[
    Case {
        id: "C5.01",
        slug: "open",
        level: Level::Must,
        source: "HTML 9.2.3",
        needs: &[Op],
        claim: "The stream is reported open with its head: not before it, and before any event.",
        sends: "Nothing for a while, then a head, and no body yet.",
        fix: "Announce the connection when the head has come.",
        run: |context| {
            let (mut session, mut stream) = context.asked()?;
            let withheld = context.scaled(WITHHELD);
            context.log().watched(withheld);
            let deadline = Instant::now() + withheld;
            while session.next_report(deadline)?.is_some() {}
            let early = session.reports.iter().any(|it| it.report == ClientReport::Open);
            ensure(!early, "nothing reported open before the server has answered", "open")?;
            stream.open();
            // Nothing but the head is there, so it is all that can be meant.
            session.until("open reported, before any event was sent", |report| {
                *report == ClientReport::Open
            })?;
            stream.chunk(b"data: a\n\n");
            session.until_data("a")?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C5.02",
        slug: "open-once",
        level: Level::Must,
        source: "HTML 9.2.3",
        needs: &[Op],
        after: &["C1.01", "C2.01", "C5.01"],
        claim: "Each connection is reported open once.",
        sends: "Many events and comments.",
        fix: "Announce the connection once.",
        run: |context| {
            let (mut session, mut stream) = context.asked()?;
            stream.open();
            for n in 0..20 {
                stream.chunk(format!(": comment\n\nid: {n}\ndata: a\n\n").as_bytes());
            }
            session.events_to_mark(&mut stream)?;
            let opened =
                session.reports.iter().filter(|it| it.report == ClientReport::Open).count();
            ensure(opened == 1, "open reported once", format!("{opened} times"))?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C5.03",
        slug: "states",
        level: Level::Must,
        source: "HTML 9.2.3",
        needs: &[St, R],
        after: &["C1.01", "C2.01", "C6.01", "C7.03"],
        claim: "readyState is 1 when open, 0 while it reconnects, 2 after a failure.",
        sends: "A stream that ends, then 404.",
        fix: "Set 1 with open, 0 before the wait, 2 when it fails.",
        run: |context| {
            let (mut session, mut stream) = context.asked()?;
            stream.stream(format!("retry: {RETRY_MS}\ndata: a\n\n").as_bytes());
            session.request()?.answer("404 Not Found");
            match session.until("readyState 2", |report| *report == ClientReport::State(2)) {
                // It may only be late.
                Err(Fault::Miss { took: Some(took), .. }) => context.log().waited_in_vain(took),
                Ok(_) | Err(Fault::Miss { .. }) => {}
                Err(fault) => return Err(fault),
            }
            let states: Vec<u8> = session
                .reports
                .iter()
                .filter_map(|it| match it.report {
                    ClientReport::State(state) => Some(state),
                    _ => None,
                })
                .collect();
            let mut changes = states.clone();
            changes.dedup();
            // The first 0 is the state it was made with, not a change of it.
            let changes = changes.strip_prefix(&[0]).unwrap_or(&changes);
            ensure(changes == [1, 0, 2], "readyState 1, 0, 2", format!("{states:?}"))?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C5.04",
        slug: "incomplete-eof",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "A block without its blank line is no event, and its id does not count.",
        sends: "A block without its blank line, then the end.",
        fix: "Throw away what is not complete at the end, its id too.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C5.05",
        slug: "partial-line-eof",
        level: Level::Must,
        source: "HTML 9.2.6",
        claim: "A line without its end does not count.",
        sends: "A line without its end, then the end.",
        fix: "Throw away what is not complete at the end.",
        run: vectors::run,
        ..CASE
    },
    Case {
        id: "C5.06",
        slug: "partial-then-reconnect",
        level: Level::Must,
        source: "HTML 9.2.6",
        needs: &[R],
        after: &["C1.01", "C2.01", "C6.01", "C3.04"],
        claim: "Nothing of a block that was cut off mixes into the next connection.",
        sends: "A block that is cut off, and another connection.",
        fix: "Start each connection with empty buffers; keep the last event id only.",
        run: |context| {
            let left: [&[u8]; 3] = [
                b"event: left\nid: 9\ndata: left\n",
                b"event: left\ndata: le",
                b"data: left\ndata: \xe2\x82",
            ];
            // A blank line ends what was left; half a character mixes with the very next byte.
            let pairs =
                left.map(|left| [(left, &b"\ndata: right\n\n"[..]), (left, b"data: right\n\n")]);
            context.each(&pairs.concat(), |(left, right)| {
                let (event_types, options) = (vec!["left".to_owned()], Options::default());
                let (mut session, mut stream) =
                    context.asked_with(&Options { event_types, ..options })?;
                stream.open();
                stream.chunk(format!("retry: {RETRY_MS}\ndata: first\n\n").as_bytes());
                stream.chunk(left);
                drop(stream);
                let mut stream = session.request()?;
                stream.open();
                stream.chunk(right);
                let events = session.events_to_mark(&mut stream)?;
                let same = same_events(&events, &[message("first", ""), message("right", "")]);
                let words = format!("{}, then {}: ", wire::shown(left), wire::shown(right));
                same.map_err(|fault| fault.within("", &words))
            })?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C5.07",
        slug: "close-silent",
        level: Level::Must,
        source: "HTML 9.2.2",
        claim: "Nothing is reported after close, though events are under way.",
        sends: "Events without pause, and close in between.",
        fix: "Look whether it is closed before each event is handed out.",
        run: |context| {
            let (mut session, stream) = context.asked()?;
            let _sending = keep_sending(stream);
            session.until_data("0")?;
            let later = session.close()?;
            let shown: Vec<_> = later.iter().take(3).map(ClientReport::shown).collect();
            ensure(later.is_empty(), "nothing after closed", shown.join(", "))?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C5.08",
        slug: "close-socket",
        level: Level::Should,
        source: "HTML 9.2.9, 9.2.2",
        cost: &[Cost::Timed],
        claim: "The connection ends within a second of close.",
        sends: "One event, then close.",
        fix: "Abort the request with close; do not wait for more of its body.",
        run: |context| {
            let (mut session, mut stream) = context.asked()?;
            stream.open();
            stream.chunk(b"data: a\n\n");
            session.until_data("a")?;
            session.client.close();
            let began = Instant::now();
            let within = context.scaled(CLOSING);
            match stream.gone_within(within) {
                Some(at) => fact(format!("{:.1} ms", at.duration_since(began).as_secs_f64() * 1e3)),
                None => {
                    let fault = miss(format!("its end within {within:?}"), "it is still open");
                    Err(fault.too_slow(within))
                }
            }
        },
        ..CASE
    },
    Case {
        id: "C5.09",
        slug: "close-in-handler",
        level: Level::Should,
        source: "HTML 9.2.2",
        needs: &[Ch],
        cost: &[Cost::Timed],
        claim: "close within an event's handler keeps back the events behind it, and ends the connection.",
        sends: "Four events in one chunk, close in the handler of the second.",
        fix: "Look whether it is closed before each event is handed out.",
        run: |context| {
            let options = Options { close_after_events: Some(2), ..Options::default() };
            let (mut session, mut stream) = context.asked_with(&options)?;
            stream.open();
            stream.chunk(b"data: a\n\ndata: b\n\ndata: c\n\ndata: d\n\n");
            let over = |report: &ClientReport| {
                matches!(report, ClientReport::Closed | ClientReport::Exit(_))
            };
            session.until("closed reported", over)?;
            while session.next_report(Instant::now() + context.ms(300))?.is_some() {}
            same_events(&session.events(), &[message("a", ""), message("b", "")])?;
            let within = context.scaled(CLOSING);
            let gone = stream.gone_within(within);
            let ended = ensure(gone.is_some(), "the connection ended", "it is still open");
            ended.map_err(|fault| fault.too_slow(within))?;
            pass()
        },
        ..CASE
    },
    Case {
        id: "C5.10",
        slug: "origin",
        level: Level::Must,
        source: "HTML 9.2.6",
        needs: &[Br],
        claim: "The origin of an event is that of the URL after redirects.",
        sends: "A redirection to another origin.",
        fix: "Take the origin from the URL of the response.",
        run: origin,
        ..CASE
    },
    Case {
        id: "C5.11",
        slug: "done",
        level: Level::Info,
        source: "HTML 9.2.6; practice: APIs that stream answers",
        since: "2026-11-29",
        claim: "Whether an event with the data [DONE], by which some APIs end an answer, is an event.",
        sends: "An event, one with the data [DONE], and one behind it.",
        fix: "Nothing has to change in a client of such an API; to the standard it is data.",
        run: |context| {
            let (mut session, mut stream) = context.asked()?;
            stream.open();
            stream.chunk(b"data: a\n\ndata: [DONE]\n\ndata: b\n\n");
            stream.end();
            let deadline = Instant::now() + context.patience();
            let is_last = |report: &ClientReport| {
                matches!(report, ClientReport::Event(it) if it.data == "b")
                    || ClientSession::is_over(report)
            };
            while session.next_report(deadline)?.is_some_and(|it| !is_last(&it.report)) {}
            let data: Vec<_> = session.events().into_iter().map(|it| it.data).collect();
            fact(format!("events {data:?}; {}", session.reported()))
        },
        ..CASE
    },
];

/// Sends events until the client reads no more: a burst, so that some are queued, and then a
/// trickle, which leaves a client time for its other work.
fn keep_sending(mut stream: PendingRequest) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        stream.open();
        for n in 0..BURST + TRICKLE {
            stream.send(&chunk(format!("data: {n}\n\n").as_bytes()));
            if stream.is_broken() {
                return;
            }
            if n >= BURST {
                thread::sleep(Duration::from_millis(1));
            }
        }
    })
}

fn origin(context: &CaseContext) -> Outcome {
    let there = context.server()?;
    let (mut session, mut first): (ClientSession<'_>, _) = context.asked()?;
    first.answer(&format!("302 Found\r\nLocation: {}", there.url("/there")));
    let Some(mut stream) = there.request(context.patience()) else {
        let fault = miss("the redirect followed", session.reported());
        return Err(fault.too_slow(context.patience()));
    };
    stream.open();
    stream.chunk(b"data: a\n\n");
    let event = session.until_data("a")?;
    let expected = there.url("");
    equal("origin", event.origin.as_deref().unwrap_or("none"), &expected)?;
    pass()
}
