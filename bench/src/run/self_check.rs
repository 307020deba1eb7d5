//! The harness against a known truth, before it says anything about a server.

use anyhow::Result;

use crate::fleet::{Launch, Server};
use crate::load::generator::{self, Outcome};
use crate::load::plan::Stop;
use crate::load::{Shape, Workload};
use crate::timer::{MILLISECOND_NS, unix_ns};

/// Enough to be sure, and few enough to take a second on any host.
const SUBSCRIBERS: u64 = 100;

/// Messages; the faults below hit 3, 2 and 2 of them.
const MESSAGES: u64 = 25;

/// What the floor is told to do: drop 7, 14, 21; double 10, 20; swap 12 and 24 with the next.
const FAULTS: [&str; 8] = [
    "--fault-drop-each",
    "7",
    "--fault-duplicate-each",
    "10",
    "--fault-swap-each",
    "12",
    "--fault-delay-us",
    "20000",
];
const DROPPED: u64 = 3 * SUBSCRIBERS;
const DOUBLED: u64 = 2 * SUBSCRIBERS;
const SWAPPED: u64 = 2 * SUBSCRIBERS;
const DELAY_NS: u64 = 20 * MILLISECOND_NS;

/// What the harness got wrong about a floor that lies, or nothing.
///
/// # Errors
/// When the floor does not start or stop.
pub(super) fn fault(floor: &Launch) -> Result<Option<String>> {
    let server = Server::start(&floor.clone().with_args(FAULTS))?;
    let shape = Shape::Broadcast {
        subscribers: SUBSCRIBERS,
        interval_ms: 10,
        warm_up: 0,
        messages: MESSAGES,
    };
    let workload = Workload { shape, ..Workload::broadcast(MESSAGES) };
    let mut plan = workload.plan(server.addr(), unix_ns());
    // Some events never come, so there is no "complete" to wait for.
    plan.stop = Stop::At(plan.window_ns.end + 10 * DELAY_NS);
    let outcome = generator::run(&plan, unix_ns, |_| {})?;
    server.stop()?;
    Ok(judge(&outcome))
}

fn judge(outcome: &Outcome) -> Option<String> {
    let due = SUBSCRIBERS * MESSAGES;
    [
        ("expected", outcome.expected, due),
        ("delivered", outcome.delivered, due - DROPPED),
        ("lost", outcome.gaps, DROPPED),
        ("doubled", outcome.duplicates, DOUBLED),
        ("out of order", outcome.out_of_order, SWAPPED),
        ("corrupt", outcome.corrupt + outcome.off_schedule + outcome.early, 0),
        // The histogram rounds by a thousandth.
        (
            "latencies below the delay",
            u64::from(outcome.latency_ns.min() < DELAY_NS / 1000 * 999),
            0,
        ),
    ]
    .into_iter()
    .find(|(_, found, truth)| found != truth)
    .map(|(what, found, truth)| {
        let failure = outcome.first_failure.as_deref().unwrap_or("no connection failed");
        format!("{found} {what}, {truth} in truth ({failure})")
    })
}
