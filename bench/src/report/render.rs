//! A report as text and as Markdown.

use super::table::Table;
use super::{Cell, Measure, Report, Row, Summary, Window};
use crate::load::{Shape, Workload};
use crate::stats::Spread;

/// The workload whose figures stand in the summary.
const HEADLINE: &str = "broadcast";

/// The share of a window waited for a core from which a reader is warned; a quiet host stays below
/// a tenth of it.
const BUSY_SHARE: f64 = 0.02;

/// In place of what was not measured.
const NOTHING: &str = "–";

/// The share of its core at which the generator, not the server, sets the pace.
const BOUND_SHARE: f64 = 0.9;

/// What the numbers do not mean; the same in every report.
const LIMITS: &[&str] = &[
    "One host: server and generator talk over loopback, so there is no network in the latency, and \
     the server's CPU time includes the receiving half of TCP.",
    "Two cores, shared with the rest of the host (one for the server, one for the generator). A \
     server that would use eight cores well does not show it here.",
    "Latency counts from the time an event was scheduled for. In a broadcast it is mostly the time \
     to write to the subscribers before: read it as a multiple of the floor.",
    "Paced loads, far below saturation: this is not a maximum rate.",
    "CPU time for an event includes what the server does while it waits, divided by the events of \
     this rate.",
    "Few rounds: the range in brackets is the smallest and largest round, not a confidence \
     interval. Ranges that overlap show no difference.",
    "Memory is the slope of resident memory over open idle streams; what the kernel keeps for a \
     socket is not in it.",
    "No TLS, no HTTP/2, no proxy.",
    "Made and published by the authors of these servers; nobody else has reviewed it.",
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
    out.push_str("\n## Cases missed\n\n");
    for row in &report.rows {
        if let Some(it) = row.conformance.as_ref().filter(|it| !it.missed.is_empty()) {
            out.push_str(&format!("- {}: {}\n", name(row).join(" "), it.missed.join(", ")));
        }
    }
    out.push_str("\n## What the numbers do not mean\n\n");
    for line in LIMITS {
        out.push_str(&format!("- {line}\n"));
    }
    out.push_str("\n## Where\n\n");
    for (what, value) in environment(report) {
        out.push_str(&format!("- {what}: {value}\n"));
    }
    out
}

/// The first table and where it was measured: what a README shows.
pub fn summary_markdown(report: &Report) -> String {
    let (title, table) = summary(report);
    let it = &report.environment;
    let machine = if it.virtual_machine { "virtual " } else { "" };
    format!(
        "{title}.\n\n{}\n× is the multiple of the floor, a bare one-thread server in the same \
         rounds. {} on {} {machine}cores of {}, Linux {}, {}, commit {}; loopback, one core for \
         the server and one for the load.\n",
        table.markdown(),
        report.began,
        it.cores,
        it.cpu,
        it.kernel,
        it.rustc,
        it.commit,
    )
}

fn tables(report: &Report) -> Vec<(String, Table)> {
    let mut tables = vec![summary(report)];
    let timed = report.workloads.iter().filter(|it| !matches!(it.shape, Shape::Idle { .. }));
    tables.extend(timed.map(|workload| latency(report, workload)));
    tables.push(cost(report));
    tables
}

fn summary(report: &Report) -> (String, Table) {
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
    ];
    let mut table = Table::new(2, &header);
    for row in &report.rows {
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
            row.cells.iter().flat_map(|it| &it.windows).map(of).sum()
        };
        cells.push(format!("{}/{}", sum(|it| it.delivered), sum(|it| it.expected)));
        cells.push(sum(|it| it.gaps).to_string());
        cells.push(sum(|it| it.duplicates).to_string());
        let headline = row.cell(HEADLINE).and_then(|it| it.summary.as_ref());
        let of = |of: fn(&Summary) -> Option<Measure>| headline.and_then(of);
        cells.push(brief(of(|it| it.p50_ns), milliseconds));
        cells.push(brief(of(|it| it.p99_ns), milliseconds));
        cells.push(slowest(of(|it| it.max_ns)));
        cells.push(brief(of(|it| it.cpu_ns_per_event), whole));
        let memory = row.cells.iter().find_map(|it| it.summary.as_ref()?.bytes_per_stream);
        cells.push(memory.map_or(NOTHING.into(), |it| kibibytes(it.value.median)));
        table.row(cells);
    }
    let headline = report.workloads.iter().find(|it| it.name == HEADLINE);
    let title = match headline.map(|it| &it.shape) {
        Some(Shape::Broadcast { subscribers, interval_ms, .. }) => format!(
            "Summary: conformance; deliveries of all workloads; latency and CPU of a broadcast to \
             {subscribers} streams each {interval_ms} ms; memory of an idle stream"
        ),
        _ => "Summary".into(),
    };
    (title, table)
}

fn latency(report: &Report, workload: &Workload) -> (String, Table) {
    let header =
        ["server", "encoding", "p50 ms", "× floor", "p99 ms", "× floor", "max ms", "rounds × n"];
    let mut table = Table::new(2, &header);
    for (cells, cell) in cells_of(report, &workload.name) {
        let Some(summary) = &cell.summary else {
            table.error(cells, &error_of(cell));
            continue;
        };
        let each = summary.samples / (cell.windows.len() as u64).max(1);
        let rest = [
            ranged(summary.p50_ns, milliseconds),
            ratio(summary.p50_ns),
            ranged(summary.p99_ns, milliseconds),
            ratio(summary.p99_ns),
            slowest(summary.max_ns),
            format!("{} × {each}", cell.windows.len()),
        ];
        table.row(cells.into_iter().chain(rest).collect());
    }
    (format!("Latency, {}: {}", workload.name, workload.question), table)
}

fn cost(report: &Report) -> (String, Table) {
    let header = ["server", "encoding", "workload", "CPU ns/event", "× floor", "KiB/stream", "R²"];
    let mut table = Table::new(3, &header);
    for workload in &report.workloads {
        for (mut cells, cell) in cells_of(report, &workload.name) {
            cells.push(workload.name.clone());
            let Some(summary) = &cell.summary else {
                table.error(cells, &error_of(cell));
                continue;
            };
            let fits = cell.windows.iter().filter_map(|it| it.memory.as_ref());
            let fit = Spread::of(fits.map(|it| it.slope.r_squared));
            let rest = [
                ranged(summary.cpu_ns_per_event, whole),
                ratio(summary.cpu_ns_per_event),
                ranged(summary.bytes_per_stream, kibibytes),
                fit.map_or(NOTHING.into(), |it| format!("{:.3}", it.min)),
            ];
            table.row(cells.into_iter().chain(rest).collect());
        }
    }
    ("Cost: CPU for a delivered event, resident memory for an open stream".into(), table)
}

fn cells_of<'r>(
    report: &'r Report,
    workload: &'r str,
) -> impl Iterator<Item = (Vec<String>, &'r Cell)> {
    report.rows.iter().filter_map(move |row| Some((name(row), row.cell(workload)?)))
}

fn error_of(cell: &Cell) -> String {
    format!("error: {}", cell.fault().unwrap_or_else(|| "not measured".into()))
}

fn name(row: &Row) -> Vec<String> {
    let server = match &row.encoding {
        Some(_) => format!("{} {}", row.framework, row.framework_version),
        None => row.server.clone(),
    };
    vec![server, row.encoding.clone().unwrap_or_else(|| NOTHING.into())]
}

fn remarks(report: &Report) -> Vec<String> {
    let mut lines = report.notes.clone();
    if !report.complete {
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
    lines.push(
        "× is the multiple of the floor: a bare one-thread server, measured in the same rounds. \
         Medians over rounds; in brackets the smallest and the largest round; max is the slowest \
         of all rounds."
            .into(),
    );
    lines.push(
        "In ticks the timers of the floor, as those of most servers, wake on whole milliseconds, \
         once for all events of it: half a millisecond of the latency is that choice. One that \
         wakes for each event alone is earlier than the floor and takes more CPU."
            .into(),
    );
    let generators = || {
        report
            .rows
            .iter()
            .flat_map(|it| &it.cells)
            .flat_map(|it| &it.windows)
            .map(|it| it.generator)
    };
    let most = |of: fn(&super::Generator) -> f64| {
        generators().map(|it| of(&it)).max_by(f64::total_cmp).unwrap_or(0.0)
    };
    lines.push(format!(
        "The generator used at most {:.0} % of its core (at 90 % it would be the bottleneck), took \
         at most {:.2} events a read, and its publisher was at most {} ms late (p99 of the worst \
         window): the harness's own share in the latencies.",
        100.0 * most(|it| it.cpu_share),
        most(|it| it.events_per_read),
        milliseconds(most(|it| it.publish_lateness_p99_ns as f64)),
    ));
    let waited = most(|it| it.waited_share);
    if waited > BUSY_SHARE {
        lines.insert(
            0,
            format!(
                "The host was busy: in the worst window the generator waited {:.0} % of the time \
                 for its core, and latencies are wide for that reason. Measure again when it is \
                 quiet.",
                100.0 * waited
            ),
        );
    }
    for row in &report.rows {
        let bound = |it: &&Cell| it.windows.iter().any(|it| it.generator.cpu_share >= BOUND_SHARE);
        for cell in row.cells.iter().filter(bound) {
            lines.push(format!(
                "Generator-bound: {}, {}. Its numbers are the generator's, not the server's.",
                name(row).join(" "),
                cell.workload
            ));
        }
    }
    lines
}

fn environment(report: &Report) -> Vec<(&'static str, String)> {
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

/// `1.93 ×1.40`
fn brief(measure: Option<Measure>, number: fn(f64) -> String) -> String {
    let Some(measure) = measure else { return NOTHING.into() };
    match measure.ratio {
        Some(ratio) => format!("{} ×{}", number(measure.value.median), significant(ratio.median)),
        None => number(measure.value.median),
    }
}

/// `1.93 (1.88–2.04)`
fn ranged(measure: Option<Measure>, number: fn(f64) -> String) -> String {
    measure.map_or(NOTHING.into(), |it| range(it.value, number))
}

/// `1.40 (1.22–1.49)`
fn ratio(measure: Option<Measure>) -> String {
    measure.and_then(|it| it.ratio).map_or(NOTHING.into(), |it| range(it, significant))
}

fn range(spread: Spread, number: fn(f64) -> String) -> String {
    let Spread { median, min, max, n } = spread;
    if n == 1 {
        return number(median);
    }
    format!("{} ({}–{})", number(median), number(min), number(max))
}

fn slowest(measure: Option<Measure>) -> String {
    measure.map_or(NOTHING.into(), |it| milliseconds(it.value.max))
}

fn milliseconds(ns: f64) -> String {
    significant(ns / 1e6)
}

fn whole(value: f64) -> String {
    format!("{value:.0}")
}

fn kibibytes(bytes: f64) -> String {
    format!("{:.1}", bytes / 1024.0)
}

/// Three digits that count, but whole numbers whole.
fn significant(value: f64) -> String {
    match value.abs() {
        it if it >= 100.0 => format!("{value:.0}"),
        it if it >= 10.0 => format!("{value:.1}"),
        it if it >= 0.1 || it == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::window;
    use super::super::{Conformance, SCHEMA};
    use super::*;
    use crate::report::Environment;

    fn row(server: &str, encoding: Option<&str>, windows: Vec<Window>) -> Row {
        Row {
            server: server.into(),
            framework: server.into(),
            framework_version: "1.2.3".into(),
            encoding: encoding.map(str::to_owned),
            conformance: encoding.map(|_| Conformance {
                suite_version: 1,
                passed: 40,
                failed: 1,
                missed: vec!["S4.06-empty-data".into()],
                unexpected: Vec::new(),
                took_s: 1.0,
            }),
            error: None,
            cells: vec![Cell { workload: HEADLINE.into(), windows, summary: None }],
        }
    }

    fn report() -> Report {
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
            complete: true,
            environment: Environment::default(),
            workloads: vec![Workload::broadcast(20)],
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
        for rendered in [text(&report), markdown(&report), summary_markdown(&report)] {
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
            "×2.00", "0.60", "20", "×2.00", "–",
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
        let other =
            std::fs::read_to_string(&json).unwrap().replace("\"schema\": 1", "\"schema\": 9");
        std::fs::write(&json, other).unwrap();
        let error = Report::load(&folder).unwrap_err().to_string();
        assert!(error.contains("schema 9"), "{error}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
