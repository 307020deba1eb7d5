//! The same server as a stranger's: known by the URL of a stream, or by that and a way to publish.
//!
//! Each case that can be judged in this way passes here, and fails under a fault that is seen in this
//! way. No other of them fails with it.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use conform::server::{Control, Need, Selection, Target, check_each};
use conform::{CaseResult, Deviations, Verdict};
use fleet::Server;
use libtest_mimic::{Failed, Trial};
use wire::publish::PublishArgs;

use crate::{LONG_SCALE, launch, text, words};

/// The options that the stranger gave.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// A stream that ticks; the parameters of `/ticks`.
    Ticks(&'static str),
    /// The same over HTTP/2, too.
    Http2(&'static str),
    /// A silent room.
    AtRest,
    /// A stream that ticks, and the process.
    Started,
    /// A room whose texts are data as they are, and how to publish there.
    Text,
    /// A room whose texts come in JSON both ways.
    Json,
    /// A room by a command.
    Command,
}

const TICKS: Way = Way::Ticks("interval_ms=50&gz=1");
const LATE: Way = Way::Ticks("interval_ms=700&wait_ms=700");
const FINITE: Way = Way::Ticks("interval_ms=0&count=3");
const HTTP2: Way = Way::Http2("interval_ms=50");
const HTTP2_FINITE: Way = Way::Http2("interval_ms=0&count=3");

/// Which case fails in which way under which fault, and what else may.
#[rustfmt::skip]
const FAULTS: &[(&str, Way, &str, &[&str])] = &[
    ("S2.05", FINITE, "S2.05", &[]),
    ("S2.06", TICKS, "S2.06", &[]),
    ("S2.08", TICKS, "S2.08", &[]),
    ("S2.11", TICKS, "S2.11", &[]),
    ("S3.12", FINITE, "S3.12", &[]),
    ("S3.13", TICKS, "S3.13", &[]),
    ("S3.13", TICKS, "S3.13-open", &[]),
    ("S3.14", TICKS, "S3.14", &[]),
    ("S5.01", LATE, "S5.01", &[]),
    ("S5.04", TICKS, "S5.04-held", &[]),
    ("S5.05", Way::AtRest, "S5.05", &[]),
    ("S5.08", Way::AtRest, "S5.08", &[]),
    ("S6.01", TICKS, "S6.01-forgetful", &[]),
    ("S6.02", TICKS, "S6.02-again", &[]),
    ("S6.03", TICKS, "S6.03-ticks", &[]),
    ("S6.07", TICKS, "S6.07", &[]),
    ("S11.01", Way::Started, "S11.01", &[]),
    ("S12.05", HTTP2, "S12.05", &[]),
    ("S12.06", HTTP2_FINITE, "S12.06", &[]),
    ("S12.06", HTTP2_FINITE, "S12.06-open", &[]),
    ("S12.07", HTTP2, "S12.07", &[]),
    ("S12.08", HTTP2, "S12.08", &[]),
    ("S12.10", HTTP2, "S12.10", &[]),
    ("S12.14", HTTP2, "S12.14", &[]),
    ("S4.02", Way::Text, "S4.02-raw", &["S4.11", "S10.03"]),
    ("S4.03", Way::Text, "S4.03", &[]),
    ("S4.04", Way::Text, "S4.04", &["S10.03"]),
    ("S4.05", Way::Text, "S4.05-one", &[]),
    ("S4.06", Way::Text, "S4.06-block", &[]),
    ("S4.07", Way::Text, "S4.07", &["S4.13"]),
    ("S4.08", Way::Text, "S4.08", &[]),
    ("S4.09", Way::Text, "S4.09-lines", &[]),
    ("S4.10", Way::Text, "S4.10-cut", &[]),
    ("S4.11", Way::Text, "S4.11-cut", &[]),
    ("S4.13", Way::Text, "S4.07", &["S4.07"]),
    ("S5.02", Way::Text, "S5.02-room", &[]),
    ("S5.02", Way::Json, "S5.02-clumps", &[]),
    ("S5.03", Way::Json, "S5.03-room", &[]),
    ("S5.04", Way::Text, "S5.04-held", &[]),
    ("S5.08", Way::Text, "S5.08", &[]),
    ("S6.01", Way::Json, "S6.01", &[]),
    ("S6.02", Way::Text, "S6.02", &[]),
    ("S6.03", Way::Text, "S6.03", &["S6.02"]),
    ("S6.07", Way::Text, "S6.07", &[]),
    ("S7.01", Way::Text, "S7.01-room", &[]),
    ("S7.04", Way::Text, "S7.04-room", &["S6.03"]),
    ("S7.05", Way::Text, "S7.05-room", &[]),
    ("S7.06", Way::Text, "S7.06", &[]),
    ("S7.07", Way::Text, "S7.07", &[]),
    ("S7.08", Way::Text, "S7.08", &[]),
    ("S8.05", Way::Text, "S8.05", &[]),
    ("S10.03", Way::Text, "S10.03", &["S4.04"]),
    ("S10.06", Way::Text, "S10.06", &["S4.04"]),
    ("S10.06", Way::Command, "S10.06", &["S4.04"]),
    ("S10.06", Way::Text, "S10.06-500", &[]),
];

/// Cases that take long, or the whole machine: alone.
const ALONE: &[&str] = &["S5.05", "S5.08", "S7.01", "S7.05", "S7.06", "S8.05", "S11.01"];
const PATIENCE: Duration = Duration::from_millis(3000);

pub fn trials() -> Vec<Trial> {
    let mut trials: Vec<Trial> = Vec::new();
    for (case, way, fault, also) in FAULTS {
        let name = format!("{case}-{fault}-{way}");
        trials.push(Trial::test(name, move || turns_red(case, *way, fault, also)));
    }
    for way in [TICKS, LATE, FINITE, HTTP2, HTTP2_FINITE, Way::Text, Way::Json, Way::Command] {
        trials.push(Trial::test(format!("no-fault-{way}"), move || is_green(way)));
    }
    for case in ALONE {
        let ways = FAULTS.iter().filter(|(other, ..)| other == case).map(|(_, way, ..)| *way);
        for way in ways {
            let name = format!("no-fault-{case}-{way}");
            trials.push(Trial::test(name, move || passes(case, way)));
        }
    }
    trials
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            _ if *self == LATE => "by-url-late",
            _ if *self == FINITE => "by-url-finite",
            Way::Ticks(_) => "by-url",
            _ if *self == HTTP2_FINITE => "http2-finite",
            Way::Http2(_) => "http2",
            Way::AtRest => "by-url-at-rest",
            Way::Started => "started",
            Way::Text => "published",
            Way::Json => "published-json",
            Way::Command => "published-by-command",
        })
    }
}

/// The cases that can be judged in this way: those that have a fault in it.
fn cases_of(way: Way) -> Vec<&'static str> {
    let like = |other: &Way| match way {
        Way::Json | Way::Command => matches!(other, Way::Text | Way::Json | Way::Command),
        way => *other == way || (way == Way::Text && *other == Way::Json),
    };
    let found: BTreeSet<_> =
        FAULTS.iter().filter(|(_, way, ..)| like(way)).map(|it| it.0).collect();
    found.into_iter().filter(|case| !ALONE.contains(case)).collect()
}

fn turns_red(case: &str, way: Way, fault: &str, also: &[&str]) -> Result<(), Failed> {
    // Each text of a room that speaks each 1.2 s takes that long: the case alone is slow enough.
    let is_slow = ALONE.contains(&case) || fault == "S5.02-clumps";
    let mut ids = if is_slow { Vec::new() } else { cases_of(way) };
    ids.retain(|id| *id != case);
    ids.push(case);
    let results = check(way, fault, &ids)?;
    let red: Vec<_> = results.iter().filter(|it| it.is_miss()).collect();
    let others = red.iter().filter(|it| it.id != case && !also.contains(&it.id.as_str()));
    let others: Vec<_> = others.map(|it| text(it)).collect();
    let own = results.iter().find(|it| it.id == case).ok_or("no result")?;
    // The bytes that it rests on are part of the report.
    let has_bytes = own.dialogue.as_ref().is_some_and(|it| !it.is_empty());
    if own.is_miss() && others.is_empty() && has_bytes {
        return Ok(());
    }
    Err(format!("under {fault}: {}; others red {others:?}", text(own)).into())
}

/// Without a fault each case that can be judged in this way is, and holds.
fn is_green(way: Way) -> Result<(), Failed> {
    let ids = cases_of(way);
    assert!(!ids.is_empty(), "all cases of {way} are alone");
    let results = check(way, "none", &ids)?;
    // JSON hides what the encoder does to a space or an empty line; a command, what it does itself.
    let may_skip = |it: &CaseResult| {
        let is_hidden = match way {
            Way::Json => it.id == "S4.06",
            // An argument has at most 128 KiB, and the requests of a command are its own.
            Way::Command => ["S4.10", "S7.07", "S7.08"].contains(&it.id.as_str()),
            _ => false,
        };
        is_hidden && it.verdict == Verdict::Skip
    };
    let bad: Vec<_> = results
        .iter()
        .filter(|it| it.verdict != Verdict::Pass && !may_skip(it))
        .map(text)
        .collect();
    if bad.is_empty() { Ok(()) } else { Err(format!("{bad:#?}").into()) }
}

fn passes(case: &str, way: Way) -> Result<(), Failed> {
    let results = check(way, "none", &[case])?;
    let is_pass = results.iter().all(|it| it.verdict == Verdict::Pass);
    if is_pass { Ok(()) } else { Err(text(&results[0]).into()) }
}

fn check(way: Way, fault: &str, ids: &[&str]) -> Result<Vec<CaseResult>, Failed> {
    let mut launch = launch(fault)?;
    launch.args.push("--stranger".to_owned());
    if let (Way::Ticks(_) | Way::Http2(_), Some(keep_alive)) = (way, launch.args.get_mut(4)) {
        // On a busy host a comment would come between, whose blank line ends an event.
        *keep_alive = "60000".to_owned();
    }
    let server = Server::start(&launch).map_err(|error| words(&error))?;
    let room = match way {
        Way::Json => "room-json",
        _ => "room",
    };
    let room = format!("http://{}/messages/{room}?gz=1", server.addr());
    let url = match way {
        Way::Ticks(query) | Way::Http2(query) => format!("http://{}/ticks?{query}", server.addr()),
        Way::Started => format!("http://{}/ticks", server.addr()),
        _ => room.clone(),
    };
    let publishing = PublishArgs {
        publish: Some(room.clone()),
        publish_method: "POST".to_owned(),
        publish_body: if way == Way::Json { "{\"text\":{json}}" } else { "{text}" }.to_owned(),
        ..PublishArgs::default()
    };
    let publishing = match way {
        Way::Ticks(_) | Way::Http2(_) | Way::AtRest | Way::Started => PublishArgs::default(),
        Way::Text | Way::Json => publishing,
        Way::Command => PublishArgs {
            publish_cmd: Some(format!("curl -fsS --data-raw {{text}} {room}")),
            ..PublishArgs::default()
        },
    };
    let mut target = Target::url(&url, PATIENCE)?;
    if ids == ["S5.05"] {
        target = target.with_scale(LONG_SCALE).with_patience(PATIENCE);
    }
    if ids == ["S7.05"] || ids == ["S8.05"] {
        // A busy host takes long to open so many streams; a text that is lost need not be waited for as long.
        target = target.with_scale(10.0).with_patience(2 * PATIENCE);
    }
    if ids == ["S5.08"] {
        target = target.with_keep_alive(Duration::from_millis(200));
    }
    if let Some(publication) = publishing.publication(&wire::Trust::default())? {
        target = target.with_publication(publication);
    }
    if way == Way::Started {
        target = target.with_control(Control::Launch(launch));
    }
    let target = target.with_prior_knowledge(matches!(way, Way::Http2(_)));
    let target = target.probe(&[Need::Text, Need::Publish, Need::Http2, Need::Process])?;
    let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
    let selection = Selection::new(&ids, &[])?;
    Ok(check_each(&target, &selection, &Deviations::default(), &|_| {}))
}
