//! The harness against known truths, before it says anything about a server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use fleet::{Launch, Server};
use load::Shape;
use load::bare;
use load::generator::Outcome;
use load::plan::Stop;
use load::shape::{Broadcast, Counted, Ticks};
use load::stats::{CONFIDENCE, Ratio, Spread};
use load::timer::{MILLISECOND_NS, SECOND_NS};
use load::truths::{self, Check};

use super::gate::{self, Gate};
use super::window::{self, Cores};
use crate::report::BareLoop;

/// One event in this many is dropped, or doubled.
const ONE_IN: u64 = 10_000;

/// Streams and events of the counting checks: three of each stream's events are hit.
const STREAMS: u64 = 10;
const EVENTS: u64 = 30_000;

/// The delay of every second message, and how exactly it must be found.
const DELAY_NS: u64 = MILLISECOND_NS;
const DELAY_WITHIN: f64 = 0.02;

/// Messages of the check on delay: half are late.
const DELAY_MESSAGES: u64 = 640;

/// A try counts if messages that are equally late differ by no more than this: half of the tolerance.
const DELAY_NOISE_NS: f64 = DELAY_NS as f64 * DELAY_WITHIN / 2.0;

/// The first try that counts is the result; counts of events are exact whatever the host does.
const TRIES: u32 = 12;

/// A run of counted streams ends with its last stream; one that takes so long hangs.
const HANG_NS: u64 = 100 * SECOND_NS;

/// The server that does nothing for this long, and must not hide it.
const STALL_MS: u64 = 200;

/// The generator's CPU time for an event may be this much of a bare loop's.
const BARE_LIMIT: f64 = 1.25;

/// Pairs of the generator and the bare loop.
const BARE_PAIRS: usize = 5;

/// The floor that lies, and its place.
struct Liar<'l> {
    floor: Launch,
    cores: &'l Cores,
    again: &'l dyn Fn(&str),
}

impl Liar<'_> {
    /// Says that a try is followed by another one.
    fn repeats(&self, tried: u32, why: &str) {
        if tried < TRIES {
            (self.again)(&truths::repeated(tried, TRIES, why));
        }
    }
}

/// Every check, in order; `again` gets in words that one is repeated, and why.
///
/// # Errors
/// When the floor does not start or stop.
pub(super) fn run(floor: &Launch, cores: &Cores, again: &dyn Fn(&str)) -> Result<Vec<Check>> {
    let liar = Liar { floor: Launch { core: cores.server, ..floor.clone() }, cores, again };
    Ok(vec![
        delayed(&liar)?,
        dropped(&liar)?,
        doubled(&liar)?,
        swapped(&liar)?,
        stalled(&liar)?,
        stamped_late(&liar)?,
        starved(&liar)?,
    ])
}

fn outcome(liar: &Liar<'_>, faults: &[&str], shape: Shape) -> Result<Outcome> {
    let server = Server::start(&liar.floor.clone().with_args(faults.iter().copied()))?;
    let addr = server.addr();
    let plan = move |now_ns| {
        let mut plan = shape.plan(addr, now_ns);
        if matches!(shape, Shape::Counted(_)) {
            plan.stop = Stop::WhenComplete { at_latest_ns: now_ns + HANG_NS };
        }
        // A virtual core that slept for the delay, too, takes tens of µs more to wake.
        plan.stays_awake = matches!(shape, Shape::Broadcast(_));
        plan
    };
    let (outcome, _) = window::generate(plan, &server, false, liar.cores)?;
    server.stop()?;
    Ok(outcome)
}

/// The same, tried again while the host opens a stream too late: such a run ends at once, and says nothing.
/// The words are why none counts.
fn opened(
    liar: &Liar<'_>,
    faults: &[&str],
    shape: &Shape,
) -> Result<std::result::Result<Outcome, String>> {
    let mut why = String::new();
    for tried in 1..=TRIES {
        let found = outcome(liar, faults, shape.clone())?;
        if found.not_up == 0 {
            return Ok(Ok(found));
        }
        why = format!("{} streams were not open in time", found.not_up);
        liar.repeats(tried, &why);
    }
    Ok(Err(format!("not judged: {why}")))
}

fn delayed(liar: &Liar<'_>) -> Result<Check> {
    let unfound = Check {
        what: "every second message is sent 1 ms later".into(),
        truth: format!("+{} µs, within 2 %", DELAY_NS / 1000),
        found: String::new(),
        passed: false,
    };
    let faults = ["--fault-delay-us", "1000", "--fault-delay-each", "2"];
    let shape = Shape::Broadcast(Broadcast {
        subscribers: 1,
        interval_us: 3000,
        messages: DELAY_MESSAGES,
        ..Broadcast::default()
    });
    let mut why = "no message arrived".to_owned();
    for tried in 1..=TRIES {
        if tried > 1 {
            liar.repeats(tried - 1, &why);
        }
        let before = quiet(liar.cores);
        let outcome = outcome(liar, &faults, shape.clone())?;
        if let Some(busy) = before.or_else(|| quiet(liar.cores)) {
            why = format!("the host is busy ({busy})");
            continue;
        }
        // Numbers begin at 1: the prompt messages are at the even places. Half of them are compared
        // with the other half, and the late ones likewise: where the same differs from the same,
        // the host was busy, and the try says nothing.
        let [prompt, late] = [[0, 2], [1, 3]].map(|places| places.map(|at| quick(&outcome, at)));
        let ([Some(a), Some(b)], [Some(c), Some(d)]) = (prompt, late) else { continue };
        let noise_ns = (a - b).abs().max((c - d).abs());
        if noise_ns > DELAY_NOISE_NS {
            why = format!("the same differs by {:.1} µs", noise_ns / 1e3);
            continue;
        }
        let delay_ns = (c + d - a - b) / 2.0;
        return Ok(Check {
            found: format!("{:+.1} µs", delay_ns / 1e3),
            passed: (delay_ns / DELAY_NS as f64 - 1.0).abs() <= DELAY_WITHIN,
            ..unfound
        });
    }
    Ok(Check { found: format!("not judged: {why}"), ..unfound })
}

/// The latency, in nanoseconds, of the quickest tenth of every fourth message from this one on: what
/// is slower is the host's doing.
fn quick(outcome: &Outcome, from: usize) -> Option<f64> {
    let mine = outcome.messages.iter().skip(from).step_by(4).filter(|it| it.count > 0);
    let mut all: Vec<u64> = mine.map(|it| it.first_ns - it.scheduled_ns).collect();
    all.sort_unstable();
    all.get(all.len() / 10).map(|it| *it as f64)
}

fn counted(what: &str, truth: [u64; 3], outcome: std::result::Result<Outcome, String>) -> Check {
    let words = |[lost, doubled, moved]: [u64; 3]| {
        format!("{lost} lost, {doubled} doubled, {moved} out of order")
    };
    let found = |it: &Outcome| [it.gaps, it.duplicates, it.out_of_order];
    let is_it = |it: &Outcome| found(it) == truth && it.delivered == it.expected - truth[0];
    Check {
        what: what.into(),
        truth: words(truth),
        passed: outcome.as_ref().is_ok_and(is_it),
        found: outcome.map_or_else(|why| why, |it| words(found(&it))),
    }
}

fn unpaced() -> Shape {
    Shape::Counted(Counted { subscribers: STREAMS, events: EVENTS })
}

fn dropped(liar: &Liar<'_>) -> Result<Check> {
    let found = opened(liar, &["--fault-drop-each", "10000"], &unpaced())?;
    let truth = [STREAMS * EVENTS / ONE_IN, 0, 0];
    Ok(counted("one event in 10 000 is not sent", truth, found))
}

fn doubled(liar: &Liar<'_>) -> Result<Check> {
    let found = opened(liar, &["--fault-duplicate-each", "10000"], &unpaced())?;
    let truth = [0, STREAMS * EVENTS / ONE_IN, 0];
    Ok(counted("one event in 10 000 is sent twice", truth, found))
}

fn swapped(liar: &Liar<'_>) -> Result<Check> {
    let shape = Shape::Counted(Counted { subscribers: 1, events: ONE_IN });
    let found = opened(liar, &["--fault-swap-each", "7001"], &shape)?;
    Ok(counted("one pair of 10 000 events is swapped", [0, 0, 1], found))
}

fn ticks() -> Shape {
    Shape::Ticks(Ticks { subscribers: 10, interval_ms: 25, warm_up: 2, events: 16, aligned: false })
}

fn stalled(liar: &Liar<'_>) -> Result<Check> {
    let faults = ["--fault-stall-at", "16", "--fault-stall-ms", "200"];
    let found = opened(liar, &faults, &ticks())?;
    let max_ms = found.map(|it| it.latency_ns.max() / MILLISECOND_NS);
    Ok(Check {
        what: format!("the server does nothing for {STALL_MS} ms, with honest stamps"),
        truth: format!("a latency of {STALL_MS} ms or more"),
        // The histogram rounds by a thousandth.
        passed: max_ms.as_ref().is_ok_and(|it| *it >= STALL_MS * 99 / 100),
        found: max_ms.map_or_else(|why| why, |it| format!("the longest: {it} ms")),
    })
}

fn stamped_late(liar: &Liar<'_>) -> Result<Check> {
    let faults = ["--fault-stall-at", "16", "--fault-stall-ms", "200", "--fault-restamp"];
    let found = opened(liar, &faults, &ticks())?;
    Ok(Check {
        what: format!("the server does nothing for {STALL_MS} ms, and stamps as if on time"),
        truth: "stamps off the schedule".into(),
        passed: found.as_ref().is_ok_and(|it| it.off_schedule > 0 && it.fault().is_some()),
        found: found
            .map_or_else(|why| why, |it| format!("{} stamps off the schedule", it.off_schedule)),
    })
}

fn starved(liar: &Liar<'_>) -> Result<Check> {
    let stop = AtomicBool::new(false);
    let why = thread::scope(|scope| -> Result<Option<String>> {
        for _ in 0..3 {
            scope.spawn(|| {
                if let Some(core) = liar.cores.generator {
                    // Without pinning no thread is starved, and the check fails as it should.
                    let _ = fleet::pin_current_thread(core);
                }
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let shape = Shape::Broadcast(Broadcast {
            subscribers: 200,
            interval_us: 10_000,
            warm_up: 2,
            messages: 20,
            ..Broadcast::default()
        });
        let window = window::measure(&liar.floor, None, &shape, liar.cores).window;
        stop.store(true, Ordering::Relaxed);
        Ok(window.poisoned.or(window.fault))
    })?;
    Ok(Check {
        what: "three spinning threads share the generator's core".into(),
        truth: "the window is poisoned".into(),
        found: why.clone().unwrap_or_else(|| "nothing".into()),
        passed: why.is_some(),
    })
}

/// Whether the host was quiet just now, in words if not.
pub(super) fn quiet(cores: &Cores) -> Option<String> {
    let mut gate = Gate::open(&cores.both());
    gate.start();
    let host = gate.close(Some(0), 0, &cores.both());
    gate::poisoned(&host, &crate::report::Generator::default())
}

/// The generator beside a bare receive loop, under the same broadcast of the same floor.
///
/// # Errors
/// When the floor does not start, or a byte is lost.
pub(super) fn bare_loop(floor: &Launch, cores: &Cores) -> Result<BareLoop> {
    let floor = Launch { core: cores.server, ..floor.clone() };
    let broadcast = Broadcast {
        subscribers: 1000,
        interval_us: 20_000,
        warm_up: 4,
        messages: 24,
        ..Broadcast::default()
    };
    let (mut ours, mut bares, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let mut failure = None;
    for _ in 0..BARE_PAIRS {
        // On a busy host one of them may be late; the others still compare.
        match pair(&floor, cores, &broadcast) {
            Ok((our_ns, bare_ns)) => {
                ours.push(our_ns);
                bares.push(bare_ns);
                ratios.push(our_ns / bare_ns);
            }
            Err(error) => failure = Some(error),
        }
    }
    if ratios.len() < 2 {
        let failure = failure.map_or(String::new(), |it| format!(": {it:#}"));
        anyhow::bail!("the generator was not compared with a bare loop{failure}");
    }
    let median = |values: Vec<f64>| Spread::of(values).map_or(f64::NAN, |it| it.median);
    Ok(BareLoop {
        generator_ns: median(ours),
        bare_ns: median(bares),
        ratio: Ratio::of(ratios, CONFIDENCE).context("the bare loop took no time")?,
        limit: BARE_LIMIT,
    })
}

/// CPU time for an event, nanoseconds: the generator's, then the bare loop's.
fn pair(floor: &Launch, cores: &Cores, broadcast: &Broadcast) -> Result<(f64, f64)> {
    let server = Server::start(floor)?;
    let addr = server.addr();
    let plan = |now_ns| Shape::Broadcast(broadcast.clone()).plan(addr, now_ns);
    let (outcome, readings) = window::generate(plan, &server, false, cores)?;
    if let Some(fault) = outcome.fault() {
        anyhow::bail!("{fault}");
    }
    let (first, last) = readings.first().zip(readings.last()).context("no mark was met")?;
    let events = last.events - first.events;
    let our_ns = (last.generator_cpu_ns - first.generator_cpu_ns) as f64 / events as f64;
    server.stop()?;
    let server = Server::start(floor)?;
    let addr = server.addr();
    let every = Duration::from_micros(broadcast.interval_us);
    let measure = || bare::measure(addr, broadcast.subscribers, every, broadcast.messages);
    let bare = fleet::on_core(cores.generator, measure)?;
    server.stop()?;
    Ok((our_ns, bare.cpu_ns_per_event))
}
