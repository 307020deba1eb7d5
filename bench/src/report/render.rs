//! A report as text and as Markdown.

use load::stats::{CONFIDENCE, Ratio, Spread};
use load::{Shape, Workload};

use super::figure::{CPU, LATENCY_MAX, LATENCY_P50, LATENCY_P99, MEMORY};
use super::table::Table;
use super::{Cell, FIGURES, Figure, Generator, Measure, Report, Row, Unit, Window, significant};

/// The workload whose figures stand in the summary.
pub(super) const HEADLINE: &str = "broadcast-1000";

/// The share of a window waited for a core from which a reader is warned; a quiet host stays below
/// 3 %.
const BUSY_SHARE: f64 = 0.05;

/// In place of a figure that was not measured.
pub(super) const NOTHING: &str = "–";

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

/// The report for a terminal.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    for (title, table) in tables(report) {
        out.push_str(&format!("\n{title}\n\n{}", table.text()));
    }
    out.push('\n');
    for line in remarks(report) {
        out.push_str(&format!("{line}\n"));
    }
    out
}

/// The report as a Markdown document.
pub fn markdown(report: &Report) -> String {
    let mut out = format!(
        "# SSE servers measured\n\n{}, profile `{}`, `{}`.\n",
        report.began, report.profile, report.command
    );
    for (title, table) in tables(report) {
        out.push_str(&format!("\n## {title}\n\n{}", table.markdown()));
    }
    out.push_str("\n## Remarks\n\n");
    for line in remarks(report) {
        out.push_str(&format!("- {line}\n"));
    }
    out.push_str("\n## Known truths\n\n");
    for it in &report.self_check {
        let passed = if it.passed { "found" } else { "NOT FOUND" };
        out.push_str(&format!("- {}: {} in truth, {passed}: {}\n", it.what, it.truth, it.found));
    }
    out.push_str("\n## Failed cases\n\n");
    for row in &report.rows {
        if let Some(it) = row.conformance.as_ref().filter(|it| !it.missed.is_empty()) {
            out.push_str(&format!("- {}: {}\n", name(row).join(" "), it.missed.join(", ")));
        }
    }
    out.push_str("\n## Limits of the numbers\n\n");
    for line in LIMITS {
        out.push_str(&format!("- {line}\n"));
    }
    out.push_str("\n## Where\n\n");
    for (what, value) in environment(report) {
        out.push_str(&format!("- {what}: {value}\n"));
    }
    out
}

/// Why the summary proves nothing, if so.
pub(super) fn doubt(report: &Report) -> String {
    let why = report.trust.cannot_tell.iter().map(|it| format!("**This run cannot tell: {it}.** "));
    why.collect()
}

/// Every table: the summary first.
pub(super) fn tables(report: &Report) -> Vec<(String, Table)> {
    let mut tables = vec![summary(report)];
    // Of an interrupted run, only what it came to.
    let measured = |it: &&Workload| {
        report.rows.iter().filter_map(|row| row.cell(&it.name)).any(|it| !it.windows.is_empty())
    };
    let measured = report.workloads.iter().filter(measured);
    tables.extend(measured.map(|workload| figures(report, workload)));
    tables
}

pub(super) fn summary(report: &Report) -> (String, Table) {
    let header = [
        "server",
        "encoding",
        "passed/failed",
        "delivered",
        "gaps",
        "doubled",
        "p50 ms",
        "p99 ms",
        "max ms",
        "CPU ns/event",
        "KiB/stream",
        "writes/event",
    ];
    let mut table = Table::new(2, &header);
    for row in report.rows.iter().filter(|it| it.twin_of.is_none()) {
        let mut cells = name(row);
        cells.push(match &row.conformance {
            Some(it) => format!("{}/{}", it.passed, it.failed),
            None => NOTHING.into(),
        });
        if let Some(fault) = row.fault() {
            table.error(cells, &format!("error: {fault}"));
            continue;
        }
        let sum = |of: fn(&Window) -> u64| -> u64 {
            row.cells.iter().flat_map(|it| super::used(&it.windows)).map(of).sum()
        };
        cells.push(format!("{}/{}", sum(|it| it.delivered), sum(|it| it.expected)));
        cells.push(sum(|it| it.gaps).to_string());
        cells.push(sum(|it| it.duplicates).to_string());
        let headline = row.cell(HEADLINE).and_then(|it| it.summary.as_ref());
        let of = |figure: &Figure| headline.and_then(|it| it.get(figure));
        cells.push(brief(of(&LATENCY_P50), &LATENCY_P50));
        cells.push(brief(of(&LATENCY_P99), &LATENCY_P99));
        cells.push(slowest(of(&LATENCY_MAX)));
        cells.push(brief(of(&CPU), &CPU));
        cells.push(memory(row));
        cells.push(row.write_calls_per_event.map_or(NOTHING.into(), significant));
        table.row(cells);
    }
    let title = broadcast(report).map_or("Summary".into(), |broadcast| {
        format!(
            "Summary: conformance; deliveries of all workloads; latency and CPU of {broadcast}; \
             memory of an idle stream; calls that write"
        )
    });
    (title, table)
}

/// The workload of the headlines in words, if it was measured.
pub(super) fn broadcast(report: &Report) -> Option<String> {
    let headline = report.workloads.iter().find(|it| it.name == HEADLINE)?;
    let Shape::Broadcast(it) = &headline.shape else { return None };
    Some(format!("a broadcast to {} streams each {} ms", it.subscribers, it.interval_us / 1000))
}

/// The memory of an idle stream, KiB, from the workload that measures it.
pub(super) fn memory(row: &Row) -> String {
    let memory = row.cells.iter().find_map(|it| it.summary.as_ref()?.get(&MEMORY));
    memory.map_or(NOTHING.into(), |it| Unit::Kibibytes.write(it.value.median))
}

/// The results of each server under one workload.
fn figures(report: &Report, workload: &Workload) -> (String, Table) {
    let shown: Vec<_> = FIGURES
        .iter()
        .filter(|figure| {
            let mut cells = cells_of(report, &workload.name);
            cells.any(|(_, it)| it.summary.as_ref().is_some_and(|it| it.get(figure).is_some()))
        })
        .collect();
    let mut header = vec!["server", "encoding"];
    for figure in &shown {
        header.push(figure.title);
        if figure.is_headline() {
            header.push("× floor [95 %]");
        }
    }
    header.push("rounds, n");
    let mut table = Table::new(2, &header);
    for (mut cells, cell) in cells_of(report, &workload.name) {
        let Some(summary) = &cell.summary else {
            table.error(cells, &error_of(cell));
            continue;
        };
        for figure in &shown {
            let measure = summary.get(figure);
            cells.push(if figure.name == LATENCY_MAX.name {
                slowest(measure)
            } else {
                ranged(measure, figure.unit)
            });
            if figure.is_headline() {
                cells.push(ratio(measure));
            }
        }
        let n = cell.latency.as_ref().map_or(summary.delivered, |it| it.n);
        let disturbed = match summary.poisoned {
            0 => String::new(),
            it => format!(", {it} disturbed"),
        };
        let bound = if summary.generator_bound { ", generator-bound" } else { "" };
        cells.push(format!("{}, n {n}{disturbed}{bound}", summary.rounds));
        table.row(cells);
    }
    (format!("{}: {}", workload.name, workload.question), table)
}

pub(super) fn cells_of<'r>(
    report: &'r Report,
    workload: &'r str,
) -> impl Iterator<Item = (Vec<String>, &'r Cell)> {
    report.rows.iter().filter_map(move |row| Some((name(row), row.cell(workload)?)))
}

fn error_of(cell: &Cell) -> String {
    format!("error: {}", cell.fault().unwrap_or_else(|| "not measured".into()))
}

pub(super) fn name(row: &Row) -> Vec<String> {
    let server = match &row.encoding {
        Some(_) => format!("{} {}", row.framework, row.framework_version),
        None => row.server.clone(),
    };
    vec![server, row.encoding.clone().unwrap_or_else(|| NOTHING.into())]
}

pub(super) fn remarks(report: &Report) -> Vec<String> {
    let mut lines = report.notes.clone();
    if report.partial {
        lines.insert(0, "This run was interrupted: it shows what was measured until then.".into());
    }
    for row in &report.rows {
        if let Some(it) = row.conformance.as_ref().filter(|it| !it.unexpected.is_empty()) {
            lines.push(format!(
                "Unexpected: {}: {}. Look closer: sse-bench conform server {}",
                name(row).join(" "),
                it.unexpected.join(", "),
                row.server
            ));
        }
    }
    lines.extend(trust(report));
    lines.push(format!(
        "× is the multiple of the floor: a bare one-thread server, measured in the same rounds; in \
         square brackets its {:.0} % interval over rounds, with the noise of all servers in them. \
         Medians over rounds; in round brackets \
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
                "The host was busy: in the worst window the generator waited {:.0} % of the time \
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
        "The generator used at most {:.0} % of its core (at 90 % it would be the bottleneck), took \
         at most {:.2} events a read, and its publisher was at most {} ms late (p99 of the worst \
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
                name(row).join(" "),
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
    for why in &trust.cannot_tell {
        lines.push(format!("THIS RUN CANNOT TELL: {why}."));
    }
    for why in &trust.doubts {
        lines.push(format!("Doubtful: {why}."));
    }
    if let Some(twin_of) = &trust.twin_of {
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
        "{} windows; the host was disturbed in {}, {} were measured again.",
        trust.windows, trust.poisoned, trust.repeated
    ));
    if let Some(it) = &report.bare_loop {
        let fine = if it.ratio.estimate <= it.limit { "within" } else { "ABOVE" };
        lines.push(format!(
            "The generator takes {:.0} ns of CPU for an event, a bare receive loop {:.0} ns: {} \
             times as much, {fine} the limit of {}.",
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
        ("Load average at the start", it.load_average.clone()),
        ("Compiler", it.rustc.clone()),
        ("Commit", it.commit.clone()),
        ("Order", format!("random, seed {}", report.seed)),
        ("Took", format!("{:.0} s", report.took_s)),
    ]
}

/// `1.93 ×1.40 [1.22–1.49]`
fn brief(measure: Option<&Measure>, figure: &Figure) -> String {
    let Some(measure) = measure else { return NOTHING.into() };
    let value = figure.unit.write(measure.value.median);
    measure.ratio.map_or(value.clone(), |ratio| format!("{value} ×{}", interval(ratio)))
}

/// `1.93 (1.88–2.04)`
fn ranged(measure: Option<&Measure>, unit: Unit) -> String {
    let Some(Spread { median, min, max, n }) = measure.map(|it| it.value) else {
        return NOTHING.into();
    };
    if n == 1 {
        return unit.write(median);
    }
    format!("{} ({}–{})", unit.write(median), unit.write(min), unit.write(max))
}

/// `1.40 [1.22–1.49]`
pub(super) fn ratio(measure: Option<&Measure>) -> String {
    measure.and_then(|it| it.ratio).map_or(NOTHING.into(), interval)
}

pub(super) fn interval(Ratio { estimate, low, high, n, .. }: Ratio) -> String {
    // One round has no interval, and the floor is once the floor.
    if n == 1 || low == high {
        return significant(estimate);
    }
    format!("{} [{}–{}]", significant(estimate), significant(low), significant(high))
}

fn slowest(measure: Option<&Measure>) -> String {
    measure.map_or(NOTHING.into(), |it| milliseconds(it.value.max))
}

fn milliseconds(ns: f64) -> String {
    significant(ns / 1e6)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::summary::tests::window;
    use super::super::{Conformance, SCHEMA, Trust, headline_markdown};
    use super::*;
    use crate::report::Environment;

    fn row(server: &str, encoding: Option<&str>, windows: Vec<Window>) -> Row {
        Row {
            server: server.into(),
            framework: server.into(),
            framework_version: "1.2.3".into(),
            encoding: encoding.map(str::to_owned),
            twin_of: None,
            conformance: encoding.map(|_| Conformance {
                suite_version: 1,
                passed: 40,
                failed: 1,
                missed: vec!["S4.06-empty-data".into()],
                unexpected: Vec::new(),
                took_s: 1.0,
            }),
            write_calls_per_event: encoding.map(|_| 1.0),
            error: None,
            cells: vec![Cell { workload: HEADLINE.into(), windows, latency: None, summary: None }],
        }
    }

    pub(in crate::report) fn report() -> Report {
        let mut lost = window(1, 300_000, 20.0);
        lost.fault = Some("3 events lost".into());
        lost.gaps = 3;
        let mut report = Report {
            schema: SCHEMA,
            began: "2026-11-20T12:00:00Z".into(),
            took_s: 1.0,
            command: "sse-bench".into(),
            profile: "quick".into(),
            seed: 1,
            partial: false,
            environment: Environment::default(),
            self_check: Vec::new(),
            bare_loop: None,
            trust: Trust::default(),
            workloads: vec![Workload::broadcast(1000, 40, 20, 1)],
            rows: vec![
                row("floor", None, vec![window(1, 100_000, 10.0)]),
                row("good", Some("shared"), vec![window(1, 200_000, 20.0)]),
                row("lossy", Some("native"), vec![lost]),
            ],
            notes: Vec::new(),
        };
        report.summarise();
        report
    }

    #[test]
    fn a_server_that_loses_an_event_gets_an_error_and_no_number() {
        let report = report();
        assert!(!report.is_as_expected());
        let in_table = |line: &&str| line.contains("lossy") && !line.starts_with("- ");
        for rendered in [text(&report), markdown(&report), headline_markdown(&report, &[])] {
            let lines: Vec<_> = rendered.lines().filter(in_table).collect();
            assert!(!lines.is_empty());
            for line in lines {
                assert!(line.contains("3 events lost (round 1)"), "{line}");
                assert!(!line.contains("0.30"), "{line}");
            }
        }
    }

    #[test]
    fn a_row_shows_values_and_multiples_of_the_floor() {
        let text = text(&report());
        let line = text.lines().find(|it| it.contains("good 1.2.3")).unwrap();
        let words: Vec<_> = line.split_whitespace().collect();
        let expected = [
            "good", "1.2.3", "shared", "40/1", "100/100", "0", "0", "0.20", "×2.00", "0.40",
            "×2.00", "0.60", "20", "×2.00", "–", "1.00",
        ];
        assert_eq!(words, expected);
    }

    #[test]
    fn a_saved_report_is_read_back_and_another_schema_refused() {
        let folder = std::env::temp_dir().join(format!("sse-bench-test-{}", std::process::id()));
        let report = report();
        report.save(&folder).unwrap();
        let read = Report::load(&folder).unwrap();
        assert_eq!(markdown(&read), markdown(&report));
        let json = folder.join("report.json");
        let text = std::fs::read_to_string(&json).unwrap();
        let windows = report.rows.iter().flat_map(|row| &row.cells).flat_map(|it| &it.windows);
        let lines = text.lines().filter(|line| line.starts_with("{\"round\":"));
        assert_eq!(lines.count(), windows.count());
        let ours = format!("\"schema\":{}", super::super::SCHEMA);
        assert!(text.contains(&ours));
        std::fs::write(&json, text.replace(&ours, "\"schema\":9")).unwrap();
        let error = Report::load(&folder).unwrap_err().to_string();
        assert!(error.contains("schema 9"), "{error}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
