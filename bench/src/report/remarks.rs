//! Remarks beside the numbers: how far they can be believed, where they come from.

use load::stats::CONFIDENCE;

use super::figure::LATENCY_P50;
use super::render::{interval, milliseconds, title};
use super::{Cell, Figure, Generator, Report};

/// The share of a window waited for a core from which a reader is warned; a quiet host stays below
/// 3 %.
const BUSY_SHARE: f64 = 0.05;

/// Limits of the numbers; the same in every report.
pub(super) const LIMITS: &[&str] = &[
    "One host: server and generator talk over loopback, so there is no network in the latency, and \
     the server's CPU time includes the receiving half of TCP.",
    "Two cores, shared with the rest of the host (one for the server, one for the generator). A \
     server that would use eight cores well does not show it here.",
    "Latency counts from the time an event was scheduled for. In a broadcast it is mostly the time \
     to write to the subscribers before: read it as a multiple of the floor.",
    "Paced loads are far below saturation. In the firehose the generator shares the work and may \
     set the pace: where it did, the report says so, and the number is a lower bound.",
    "CPU time for an event includes what the server does while it waits, divided by the events of \
     this rate.",
    "The range in round brackets is the smallest and largest round, not a confidence interval. \
     The interval in square brackets is of the ratio to the floor; two servers whose intervals \
     overlap are not shown to differ.",
    "Memory is the slope over open idle streams: resident memory of the server, and slabs of the \
     kernel for both ends of the connection, on a host where others use slabs too.",
    "The user and system split of CPU time is sampled by the kernel's tick: approximate.",
    "No TLS, no HTTP/2, no proxy.",
    "Made and published by the authors of these servers; no one else has reviewed it.",
];

/// The first things to know: that the run cannot tell, or is not whole.
pub(super) fn warnings(report: &Report) -> Vec<String> {
    let cannot_tell = report.trust.cannot_tell.iter();
    let mut lines: Vec<String> =
        cannot_tell.map(|why| format!("This run cannot tell: {why}.")).collect();
    if report.partial {
        lines.push("This run was interrupted: it shows what was measured until then.".into());
    }
    lines
}

/// Everything else about this run.
pub(super) fn remarks(report: &Report) -> Vec<String> {
    let mut lines = report.notes.clone();
    for row in &report.rows {
        if let Some(it) = row.conformance.as_ref().filter(|it| !it.unexpected.is_empty()) {
            lines.push(format!(
                "Unexpected: {}: {}. Look closer: sse-bench conform server {}",
                title(row),
                it.unexpected.join(", "),
                row.server
            ));
        }
    }
    if report.rows.iter().any(|it| it.conformance.is_some()) {
        lines.push(
            "Passed and failed are of the cases that take less than a minute; \
             sse-bench conform server ours has all of them."
                .into(),
        );
    }
    for row in &report.rows {
        let faults = row.cells.iter().filter_map(|it| Some((&it.workload, it.fault()?)));
        lines.extend(
            faults.map(|(workload, fault)| {
                format!("No number: {}, {workload}: {fault}.", title(row))
            }),
        );
    }
    lines.extend(trust(report));
    lines.push(format!(
        "× is the multiple of the floor, a bare one-thread server: taken within each round, then averaged over \
         rounds as logarithms, so it is no quotient of two medians. In square brackets its {:.0} % interval, with \
         the noise of all servers in it. Other values are medians over rounds; in round brackets \
         the smallest and the largest round; max is the slowest of all rounds.",
        100.0 * CONFIDENCE
    ));
    lines.push(
        "In ticks the timers of the floor, as those of most servers, wake on whole milliseconds, \
         once for all events of it: half a millisecond of the latency is that choice. One that \
         wakes for each event alone is earlier than the floor and takes more CPU."
            .into(),
    );
    lines.extend(generator(report));
    if let Some(share) = busy(report) {
        lines.insert(
            0,
            format!(
                "The host was busy: in the worst window with latencies the generator waited {:.0} % of the time \
                 for its core, and latencies are wide for that reason. Measure again when it is \
                 quiet.",
                100.0 * share
            ),
        );
    }
    lines
}

/// The most of one of the generator's own figures, in the windows that count and have latencies.
fn most(report: &Report, of: fn(&Generator) -> f64) -> f64 {
    let cells = report.rows.iter().flat_map(|it| &it.cells);
    cells
        .filter(|it| it.summary.as_ref().is_some_and(|it| it.get(&LATENCY_P50).is_some()))
        .flat_map(|it| super::used(&it.windows))
        .map(|it| of(&it.generator))
        .max_by(f64::total_cmp)
        .unwrap_or(0.0)
}

/// The share of time that the generator waited for its core, if the reader has to know.
fn busy(report: &Report) -> Option<f64> {
    Some(most(report, |it| it.waited_share)).filter(|share| *share > BUSY_SHARE)
}

/// The harness's own share in the numbers.
fn generator(report: &Report) -> Vec<String> {
    let mut lines = vec![format!(
        "Where latency is measured, the generator used at most {:.0} % of its core (at 90 % it would be the \
         bottleneck), took at most {:.2} events a read, and its publisher was at most {} ms late (p99 of the worst \
         window): the harness's own share in the latencies.",
        100.0 * most(report, |it| it.cpu_share),
        most(report, |it| it.events_per_read),
        milliseconds(most(report, |it| it.publish_lateness_p99_ns as f64)),
    )];
    for row in &report.rows {
        let bound = |it: &&Cell| it.summary.as_ref().is_some_and(|it| it.generator_bound);
        for cell in row.cells.iter().filter(bound) {
            lines.push(format!(
                "Generator-bound: {}, {}. Its rate and latency are a bound, not the server's own; \
                 compare its CPU time.",
                title(row),
                cell.workload
            ));
        }
    }
    lines
}

/// How far the run can be believed, in words.
pub(super) fn trust(report: &Report) -> Vec<String> {
    let trust = &report.trust;
    let mut lines = Vec::new();
    for why in &trust.doubts {
        lines.push(format!("Doubtful: {why}."));
    }
    // Of few rounds there is no interval.
    if let Some(twin_of) = trust.twin_of.as_ref().filter(|_| !trust.twin.is_empty()) {
        let within = trust.twin.iter().filter(|it| it.ratio.contains_one()).count();
        let found: Vec<String> = trust
            .twin
            .iter()
            .map(|it| {
                let title = Figure::find(&it.figure).map_or(it.figure.as_str(), |it| it.title);
                format!("{title} {}, n {}", interval(it.ratio), it.ratio.n)
            })
            .collect();
        lines.push(format!(
            "Two copies of {twin_of} under two names, over all rounds of all workloads: {}: \
             {within} of {} intervals ({:.1} % each) contain 1.",
            found.join("; "),
            trust.twin.len(),
            100.0 * trust.twin_confidence
        ));
    }
    lines.push(format!(
        "{} windows; the host was disturbed in {}, {} measured again.",
        trust.windows, trust.poisoned, trust.repeated
    ));
    if let Some(it) = &report.bare_loop {
        let fine = if it.ratio.estimate <= it.limit { "within" } else { "ABOVE" };
        lines.push(format!(
            "The generator takes {:.0} ns of CPU for an event, a bare receive loop {:.0} ns: {} \
             times as much; the value is {fine} the limit of {}.",
            it.generator_ns,
            it.bare_ns,
            interval(it.ratio),
            it.limit
        ));
    }
    let passed = report.self_check.iter().filter(|it| it.passed).count();
    lines.push(format!(
        "Self-check: {passed} of {} known truths were found.",
        report.self_check.len()
    ));
    lines
}

pub(super) fn environment(report: &Report) -> Vec<(&'static str, String)> {
    let it = &report.environment;
    let core = |core: Option<usize>| core.map_or("not pinned".into(), |it| format!("core {it}"));
    let machine = if it.virtual_machine { ", virtual machine" } else { "" };
    vec![
        ("CPU", format!("{}, {} cores{machine}", it.cpu, it.cores)),
        ("Memory", format!("{:.1} GiB", it.memory_bytes as f64 / f64::from(1 << 30))),
        ("System", format!("{}, Linux {}, clock {}", it.system, it.kernel, it.clock_source)),
        ("Limits", format!("{} open files, somaxconn {}", it.open_files, it.somaxconn)),
        ("Server", core(it.server_core)),
        ("Generator", core(it.generator_core)),
        ("Load average at the start", it.load()),
        ("Compiler", it.rustc.clone()),
        ("Commit", it.commit.clone()),
        ("Order", format!("random, seed {}", report.seed)),
        ("Took", format!("{:.0} s", report.took_s)),
    ]
}

#[cfg(test)]
mod tests {
    use load::stats::Ratio;

    use super::super::BareLoop;
    use super::super::render::tests::report;
    use super::*;

    #[test]
    fn a_row_without_an_encoding_has_its_name_alone() {
        let mut report = report();
        report.rows[0].cells[0].summary.as_mut().unwrap().generator_bound = true;
        let lines = remarks(&report).join("\n");
        assert!(lines.contains("Generator-bound: floor, broadcast-1000. "), "{lines}");
        assert!(lines.contains("Where latency is measured, the generator used at most"), "{lines}");
    }

    #[test]
    fn the_value_and_not_its_interval_is_within_the_limit() {
        let mut report = report();
        let ratio = Ratio {
            estimate: 1.08,
            low: 0.88,
            high: 1.33,
            ..Ratio::of(vec![1.0, 1.1], 0.95).unwrap()
        };
        report.bare_loop = Some(BareLoop { generator_ns: 4.0, bare_ns: 3.0, ratio, limit: 1.25 });
        let lines = trust(&report).join("\n");
        let words = "1.08 [0.88–1.33] times as much; the value is within the limit of 1.25.";
        assert!(lines.contains(words), "{lines}");
    }
}
