//! Category 11: what SIGTERM means for open streams. Each case starts a separate process.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use serde_json::json;
use wire::EventStream;

use super::CASE;
use crate::expect::{ensure, fact, in_time, pass};
use crate::server::grammar::{lines, show};
use crate::server::script::{self, hold};
use crate::server::topic::Topic;
use crate::server::{Case, Ended, Fault, Level, Need, Outcome, OwnProcess, Target};

/// The streams of the cases with traffic.
const STREAMS: usize = 20;
/// The requests of S11.05 and their pace: they go on through the whole time that a server drains.
const LATE_REQUESTS: usize = 10;
const LATE_INTERVAL: Duration = Duration::from_millis(20);

pub(super) static CASES: &[Case] = &[
    Case {
        id: "S11.01",
        slug: "term-exits",
        level: Level::Should,
        source: "practice",
        needs: &[Need::Process],
        claim: "After SIGTERM, with one idle stream open, the server exits in time with code 0.",
        sends: "SIGTERM with one idle stream open.",
        fix: "End open streams when the signal comes; a graceful shutdown that waits for them waits for ever.",
        run: |target| {
            let drained = drain(target, 1, Traffic::Idle)?;
            exited_well(target, &drained.ended)
        },
        ..CASE
    },
    Case {
        id: "S11.02",
        slug: "term-exits-busy",
        level: Level::Should,
        source: "practice",
        needs: &[Need::Process],
        claim: "After SIGTERM, with 20 busy streams open, the server exits in time with code 0.",
        sends: "SIGTERM with 20 busy streams open.",
        fix: "As S11.01; give the shutdown its own deadline.",
        run: |target| {
            let drained = drain(target, STREAMS, Traffic::Busy)?;
            exited_well(target, &drained.ended)
        },
        ..CASE
    },
    Case {
        id: "S11.03",
        slug: "clean-end",
        level: Level::Should,
        source: "RFC 9112 7.1, 8",
        needs: &[Need::Process],
        claim: "After SIGTERM every open stream ends with the last chunk.",
        sends: "As S11.02; the last bytes of each stream.",
        fix: "End each body through the HTTP library, so that its last chunk is written, before the process exits.",
        run: |target| {
            for mut stream in ended(drain(target, STREAMS, Traffic::Busy), "S11.02")?.streams {
                let end = stream.read_to_end();
                end.map_err(|error| Fault::instead_of("the end of the stream, whole", &error))?;
            }
            pass()
        },
        ..CASE
    },
    Case {
        id: "S11.04",
        slug: "whole-events",
        level: Level::Should,
        source: "HTML 9.2.6",
        needs: &[Need::Process],
        claim: "After SIGTERM no stream ends within an event.",
        sends: "As S11.02; the last bytes of each stream.",
        fix: "Write each event in one piece, and let the write finish before the process exits.",
        run: |target| {
            for mut stream in ended(drain(target, STREAMS, Traffic::Busy), "S11.02")?.streams {
                // However it ends: that is the claim of S11.03.
                while let Ok(Some(_)) = stream.next_event() {}
                let (lines, rest) = lines(stream.raw());
                let pending = lines.rsplit(|line| line.is_empty()).next().unwrap_or_default();
                // A comment needs no blank line; rocket's heartbeat may be the last thing said.
                let is_event = |line: &&&[u8]| !line.is_empty() && !line.starts_with(b":");
                let unfinished: Vec<_> =
                    pending.iter().chain([&rest]).filter(is_event).copied().collect();
                let actual = format!("the end {}", show(&unfinished));
                ensure(unfinished.is_empty(), "no event without its blank line", actual)?;
            }
            pass()
        },
        ..CASE
    },
    // A stream that is not read keeps the server busy after the signal.
    Case {
        id: "S11.05",
        slug: "no-new-work",
        level: Level::Should,
        source: "practice: a request during shutdown must not hang",
        needs: &[Need::Process, Need::Script],
        claim: "A request that comes after SIGTERM is refused, gets 503 or is served whole.",
        sends: "Connects while the server shuts down.",
        fix: "Close the listener first, or answer 503: a connection that is accepted and forgotten hangs.",
        run: no_new_work,
        ..CASE
    },
    Case {
        id: "S11.06",
        slug: "resume-after-restart",
        level: Level::Info,
        source: "HTML 9.2.4",
        needs: &[Need::Process, Need::Topics],
        claim: "The answer to a client that resumes after a restart of the server.",
        sends: "Starts the server again and resumes with the last id.",
        fix: "Keep events over a restart, or make old ids recognisable and say that there is a gap.",
        run: |target| {
            let first = OwnProcess::start(target)?;
            let topic = Topic::new(first.target(), "restart");
            let id = topic.publish(["before"])?.remove(0);
            let path = topic.path().to_owned();
            first.stop()?;
            let second = OwnProcess::start(target)?;
            let again = second.target();
            let mut stream = again.open(&again.get(&path).header("Last-Event-ID", &id))?;
            again.head(&again.request("POST", &path).body("after"))?;
            let event = stream.take(1)?.remove(0);
            fact(format!("first event: type {}, data {:.60}", event.event, event.data))
        },
        ..CASE
    },
    Case {
        id: "S11.07",
        slug: "stop-signal",
        level: Level::Info,
        source: "HTML 9.2.1",
        needs: &[Need::Endpoints],
        claim: "The answer to a client that comes back to a finished stream; 204 stops it.",
        sends: "Resumes after the stream has said that it is finished.",
        fix: "Answer 204 to keep an EventSource away; any other end makes it come back.",
        run: |target| {
            // The last id of the tasks.
            let request = target.get("/tasks").header("Last-Event-ID", "25");
            fact(target.head(&request)?.summary())
        },
        ..CASE
    },
];

/// Traffic of the streams when the signal comes.
#[derive(Clone, Copy)]
enum Traffic {
    Idle,
    Busy,
}

struct Drained {
    streams: Vec<EventStream>,
    ended: Ended,
}

/// A process that does not end is the claim of another case, not of the one on how its streams end.
fn ended<T>(outcome: Result<T, Fault>, case: &'static str) -> Result<T, Fault> {
    outcome.map_err(|fault| fault.follows(case))
}

/// Starts a server, opens streams on it and sends it SIGTERM.
fn drain(target: &Target, streams: usize, traffic: Traffic) -> Result<Drained, Fault> {
    let process = OwnProcess::start(target)?;
    let target = process.target();
    let idle = script::target(&[hold()]);
    let is_scripted = target.capabilities().contains(&Need::Script);
    let streams: Result<Vec<_>, Fault> = (0..streams)
        .map(|_| match traffic {
            Traffic::Idle if is_scripted => Ok(target.open(&target.get(&idle))?),
            // As it is: it need not say anything.
            Traffic::Idle => Ok(target.stream()?),
            Traffic::Busy => target.speaking(),
        })
        .collect();
    let streams = streams?;
    // Few bytes come until they end, and the sockets' buffers hold them.
    Ok(Drained { streams, ended: process.stop()? })
}

fn no_new_work(target: &Target) -> Outcome {
    let mut process = OwnProcess::start(target)?;
    let target = process.target().clone();
    // As much as a script may say, so that it does not fit into any buffer.
    let flood = json!({ "data": "x", "times": 65_536, "repeat": 900 });
    let unread = target.script(&[flood, hold()])?;
    process.signal()?;
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..LATE_REQUESTS {
        let words = match target.answer(&target.get(&script::target(&[]))) {
            Ok((head, _)) if head.is_event_stream() => "served whole".to_owned(),
            Ok((head, _)) => {
                ensure(head.status == 503, "503, or the answer as usual", head.summary())?;
                "503".to_owned()
            }
            Err(wire::Error::Connect { .. }) => "refused".to_owned(),
            Err(error) if error.is_end() => "cut off".to_owned(),
            // Only silence is a failure: a client that gets an answer comes back elsewhere.
            Err(error) => return Err(error.into()),
        };
        *seen.entry(words).or_default() += 1;
        thread::sleep(LATE_INTERVAL);
    }
    drop(unread);
    ended(process.wait(), "S11.01")?;
    let words: Vec<_> = seen.iter().map(|(words, count)| format!("{count} {words}")).collect();
    fact(format!("{LATE_REQUESTS} requests after the signal: {}", words.join(", ")))
}

fn exited_well(target: &Target, ended: &Ended) -> Outcome {
    in_time(
        ended.took,
        target.grace(),
        format!("an exit within {} ms", target.grace().as_millis()),
        format!("exit after {} ms", ended.took.as_millis()),
    )?;
    // The exit code is known only of processes that we started.
    if let Some(status) = ended.status {
        ensure(status.success(), "exit code 0", status.to_string())?;
    }
    fact(format!("exit after {} ms", ended.took.as_millis()))
}
