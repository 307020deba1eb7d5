//! Category 11: what SIGTERM means for open streams. Each case starts a process of its own.

use crate::conformance::expect::{ensure, miss, pass};
use crate::conformance::script::hold;
use crate::conformance::{Case, Fault, Level, Need, Outcome, Target, script};
use crate::fleet::{Server, Stopped};
use crate::wire::EventStream;

/// The streams of the cases with traffic.
const STREAMS: usize = 20;

pub(super) static CASES: &[Case] = &[
    Case {
        id: "S11.01",
        slug: "term-exits",
        level: Level::Should,
        source: "practice",
        needs: &[Need::Process, Need::Script],
        claim: "After SIGTERM, with one idle stream open, the server exits in time with code 0.",
        run: |target| {
            let drained = drain(target, 1, Traffic::Idle)?;
            exited_well(target, &drained.stopped)
        },
    },
    Case {
        id: "S11.02",
        slug: "term-exits-busy",
        level: Level::Should,
        source: "practice",
        needs: &[Need::Process],
        claim: "After SIGTERM, with 20 busy streams open, the server exits in time with code 0.",
        run: |target| {
            let drained = drain(target, STREAMS, Traffic::Busy)?;
            exited_well(target, &drained.stopped)
        },
    },
    Case {
        id: "S11.03",
        slug: "clean-end",
        level: Level::Should,
        source: "RFC 9112 7.1, 8",
        needs: &[Need::Process],
        claim: "After SIGTERM every open stream ends with the last chunk.",
        run: |target| {
            for mut stream in drain(target, STREAMS, Traffic::Busy)?.streams {
                let end = stream.read_to_end();
                end.map_err(|error| miss("the end of the stream, whole", error.to_string()))?;
            }
            pass()
        },
    },
    Case {
        id: "S11.04",
        slug: "whole-events",
        level: Level::Should,
        source: "HTML 9.2.6",
        needs: &[Need::Process],
        claim: "After SIGTERM no stream ends within an event.",
        run: |target| {
            for mut stream in drain(target, STREAMS, Traffic::Busy)?.streams {
                // However it ends: that is the claim of S11.03.
                while let Ok(Some(_)) = stream.next_event() {}
                let raw = stream.raw();
                let whole = raw.ends_with(b"\n\n") || raw.ends_with(b"\r\n\r\n");
                let tail = &raw[raw.len().saturating_sub(60)..];
                let actual = format!("the end \"{}\"", tail.escape_ascii());
                ensure(whole, "a blank line at the end", actual)?;
            }
            pass()
        },
    },
];

/// What the streams do when the signal comes.
#[derive(Clone, Copy)]
enum Traffic {
    Idle,
    Busy,
}

struct Drained {
    streams: Vec<EventStream>,
    stopped: Stopped,
}

/// Starts a server, opens streams on it and tells it to stop.
fn drain(target: &Target, streams: usize, traffic: Traffic) -> Result<Drained, Fault> {
    let harness = |error: anyhow::Error| Fault::Harness(format!("{error:#}"));
    let launch = target.launch().ok_or_else(|| Fault::Skip("no process".to_owned()))?;
    let server = Server::start(launch).map_err(harness)?;
    let target = target.at(server.addr());
    let idle = script::target(&[hold()]);
    let streams: Result<Vec<_>, Fault> = (0..streams)
        .map(|_| match traffic {
            Traffic::Idle => Ok(target.open(&target.get(&idle))?),
            Traffic::Busy => {
                let mut stream = target.stream()?;
                stream.take(1)?;
                Ok(stream)
            }
        })
        .collect();
    let streams = streams?;
    // What they say until they end is little, and the sockets' buffers hold it.
    let stopped =
        server.stop().map_err(|error| miss("an exit after SIGTERM", format!("{error:#}")))?;
    Ok(Drained { streams, stopped })
}

fn exited_well(target: &Target, stopped: &Stopped) -> Outcome {
    ensure(
        stopped.took <= target.grace(),
        format!("an exit within {} ms", target.grace().as_millis()),
        format!("exit after {} ms", stopped.took.as_millis()),
    )?;
    ensure(stopped.status.success(), "exit code 0", stopped.status.to_string())?;
    pass()
}
