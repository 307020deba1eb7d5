//! A report as text and as Markdown.

use conform::report::Paint;
use conform::report::table::{Column, Table};
use load::stats::{Ratio, Spread};
use load::{Shape, Workload};

use super::charts::findings;
use super::figure::{
    CPU, FIRST_EVENT_P99, LATENCY_MAX, LATENCY_P50, LATENCY_P99, MEMORY, SKEW_P50,
};
use super::remarks::{LIMITS, environment, remarks, warnings};
use super::{Cell, FIGURES, Figure, Measure, Report, Row, Unit, Window, significant};

/// The workload whose figures stand in the summary.
pub(super) const HEADLINE: &str = "broadcast-1000";

/// In place of a figure that was not measured.
pub(super) const NOTHING: &str = "–";

/// The report for a terminal: what it cannot tell, what was found, the tables, the remarks.
///
/// Tables have the columns that there is room for, or with `wide` all.
pub fn text(report: &Report, paint: Paint, wide: bool) -> String {
    let of_tables = if wide { paint.unlimited() } else { paint };
    let mut out = String::new();
    for line in warnings(report) {
        out.push_str(&coloured(&line, paint, Paint::bad));
    }
    out.push_str(&format!("\n{}\n", paint.bold("Findings")));
    for finding in findings(report) {
        out.push_str(&paint.hang("- ", 2, &finding));
    }
    let mut left_out = 0;
    for (title, table) in tables(report) {
        let title = coloured(&title, paint, Paint::bold);
        out.push_str(&format!("\n{title}\n{}", table.text(of_tables)));
        left_out += table.left_out(of_tables);
    }
    out.push('\n');
    if left_out > 0 {
        let columns = paint.columns().unwrap_or_default();
        out.push_str(&paint.paragraph(&format!(
            "Columns that have no room in {columns} are left out; --wide prints them, and report.html has them."
        )));
    }
    for line in remarks(report) {
        out.push_str(&paint.hang("- ", 2, &line));
    }
    out
}

/// A paragraph in a colour.
fn coloured(text: &str, paint: Paint, colour: fn(Paint, &str) -> String) -> String {
    let text = paint.paragraph(text);
    text.lines().map(|line| colour(paint, line) + "\n").collect()
}

/// The report as a Markdown document.
pub fn markdown(report: &Report) -> String {
    let mut out = format!(
        "# SSE servers measured\n\n{}, profile `{}`, `{}`.\n",
        report.began, report.profile, report.command
    );
    for line in warnings(report) {
        out.push_str(&format!("\n**{line}**\n"));
    }
    out.push_str("\n## Findings\n\n");
    for finding in findings(report) {
        out.push_str(&format!("- {finding}\n"));
    }
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
    out.push_str("\n## Failed cases and recommendations\n\n");
    for row in &report.rows {
        if let Some(it) = row.conformance.as_ref().filter(|it| !it.missed.is_empty()) {
            let (failed, recommendations) = (it.failed, it.recommendations());
            out.push_str(&format!(
                "- {}, failed {failed}, recommendations {recommendations}: {}\n",
                title(row),
                it.missed.join(", ")
            ));
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

/// Where a twin first stands.
pub(super) const TWIN_WORDS: &str =
    "(twin): the same server once more, to show how far two equals lie apart.";

/// Every table: the summary first.
pub(super) fn tables(report: &Report) -> Vec<(String, Table)> {
    let mut tables = vec![summary(report)];
    // Of an interrupted run, only what it came to.
    let measured = |it: &&Workload| {
        report.rows.iter().filter_map(|row| row.cell(&it.name)).any(|it| !it.windows.is_empty())
    };
    let measured = report.workloads.iter().filter(measured);
    let mut explained = false;
    for workload in measured {
        let (mut title, table) = figures(report, workload);
        let has_twin = |row: &Row| row.twin_of.is_some() && row.cell(&workload.name).is_some();
        if !explained && report.rows.iter().any(has_twin) {
            explained = true;
            title = format!("{title} {TWIN_WORDS}");
        }
        tables.push((title, table));
    }
    tables
}

/// A row for each server; in the order of importance: how dear it is, how late, how large, how right.
pub(super) fn summary(report: &Report) -> (String, Table) {
    let header = [
        Column::from("server"),
        Column::from("encoding"),
        Column::ranked("passed", 10),
        Column::ranked("failed", 4),
        Column::ranked("CPU ns/event", 5),
        Column::ranked("CPU × floor [95\u{a0}%]", 1),
        Column::ranked("p50 ms", 8),
        Column::ranked("p50 × floor [95\u{a0}%]", 7),
        Column::ranked("p99 ms", 6),
        Column::ranked("p99 × floor [95\u{a0}%]", 2),
        Column::ranked("max ms", 9),
        Column::ranked("KiB/stream", 3),
        Column::ranked("writes/event", 11),
        Column::ranked("delivered", 12),
        Column::ranked("gaps", 13),
        Column::ranked("doubled", 14),
    ];
    let mut table = Table::new(2, header);
    for row in report.rows.iter().filter(|it| it.twin_of.is_none()) {
        let mut cells = name(row);
        let counts = row.conformance.as_ref().map(|it| [it.passed, it.failed]);
        cells.extend(
            counts.map_or([NOTHING; 2].map(str::to_owned), |it| it.map(|it| it.to_string())),
        );
        // As in README: a fault of another workload stands in its table and in the remarks.
        let headline = row.cell(HEADLINE);
        let here = || headline.map_or_else(|| row.fault(), Cell::fault);
        if let Some(fault) = row.error.clone().or_else(here) {
            table.error(cells, &format!("error: {fault}"));
            continue;
        }
        let sum = |of: fn(&Window) -> u64| -> u64 {
            row.cells.iter().flat_map(|it| super::used(&it.windows)).map(of).sum()
        };
        let headline = headline.and_then(|it| it.summary.as_ref());
        let of = |figure: &Figure| headline.and_then(|it| it.get(figure));
        for figure in [&CPU, &LATENCY_P50, &LATENCY_P99] {
            cells.extend([median(of(figure), figure.unit), ratio(of(figure))]);
        }
        cells.push(slowest(of(&LATENCY_MAX)));
        cells.push(memory(row));
        cells.push(row.write_calls_per_event.map_or(NOTHING.into(), significant));
        let (delivered, expected) = (sum(|it| it.delivered), sum(|it| it.expected));
        cells.push(match delivered == expected {
            true => format!("all {expected}"),
            false => format!("{delivered} of {expected}"),
        });
        cells.push(sum(|it| it.gaps).to_string());
        cells.push(sum(|it| it.duplicates).to_string());
        table.row(cells);
    }
    let table = table.without_empty(NOTHING);
    let title = broadcast(report).map_or("Summary".into(), |broadcast| {
        let parts = [
            ("failed", "conformance".to_owned()),
            ("CPU ns/event", format!("CPU and latency of {broadcast}")),
            ("KiB/stream", "memory of an idle stream".to_owned()),
            ("writes/event", "calls that write".to_owned()),
            ("delivered", "deliveries of all workloads".to_owned()),
        ];
        let parts = parts.into_iter().filter(|it| table.has(it.0)).map(|it| it.1);
        format!("Summary: {}", parts.collect::<Vec<_>>().join("; "))
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
    median(memory, MEMORY.unit)
}

/// The title of the multiple of a headline, and how dispensable its column is.
fn multiple(figure: &Figure) -> Column {
    match figure.name {
        name if name == CPU.name => Column::ranked("CPU × floor [95\u{a0}%]", 1),
        name if name == LATENCY_P99.name => Column::ranked("p99 × floor [95\u{a0}%]", 2),
        _ => Column::ranked("p50 × floor [95\u{a0}%]", 3),
    }
}

/// The figures whose columns stay longest, the most important first; the others go first.
const IMPORTANT: [&Figure; 7] =
    [&MEMORY, &FIRST_EVENT_P99, &CPU, &LATENCY_P99, &LATENCY_P50, &LATENCY_MAX, &SKEW_P50];

/// How dispensable the column of a figure is.
fn rank(figure: &Figure) -> usize {
    // Behind the multiples of the floor.
    let first = 4;
    let important = IMPORTANT.iter().position(|it| it.name == figure.name);
    let any = || FIGURES.iter().position(|it| it.name == figure.name).unwrap_or(0);
    important.map_or_else(|| first + IMPORTANT.len() + any(), |at| first + at)
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
    let mut header: Vec<Column> = vec!["server".into(), "encoding".into()];
    for figure in &shown {
        header.push(Column::ranked(figure.title, rank(figure)));
        if figure.is_headline() {
            header.push(multiple(figure));
        }
    }
    header.push(Column::ranked("rounds, n", 4 + IMPORTANT.len()));
    let mut table = Table::new(2, header);
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
        // Where nothing is delivered there is nothing to count.
        let n = if n == 0 { String::new() } else { format!(", n {n}") };
        cells.push(format!("{}{n}{disturbed}{bound}", summary.rounds));
        table.row(cells);
    }
    (format!("{}: {}", workload.name, workload.question), table.without_empty(NOTHING))
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

/// A row in a sentence: its name, and its encoding if it has one.
pub(super) fn title(row: &Row) -> String {
    let mut parts = name(row);
    parts.retain(|it| it != NOTHING);
    parts.join(" ")
}

/// `1.93`
pub(super) fn median(measure: Option<&Measure>, unit: Unit) -> String {
    measure.map_or(NOTHING.into(), |it| unit.write(it.value.median))
}

/// `1.93 (1.88–2.04)`
fn ranged(measure: Option<&Measure>, unit: Unit) -> String {
    let Some(Spread { median, min, max, n }) = measure.map(|it| it.value) else {
        return NOTHING.into();
    };
    let [median, min, max] = [median, min, max].map(|it| unit.write(it));
    if n == 1 || min == max {
        return median;
    }
    format!("{median} ({min}–{max})")
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

pub(super) fn milliseconds(ns: f64) -> String {
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
        let [failure] = &report.failures()[..] else { panic!("{:?}", report.failures()) };
        assert!(failure.contains("lossy") && failure.contains("3 events lost"), "{failure}");
        let in_table = |line: &&str| line.contains("lossy") && !line.starts_with("- ");
        let text = text(&report, Paint::plain(), true);
        for rendered in [text, markdown(&report), headline_markdown(&report, &[])] {
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
        let text = text(&report(), Paint::plain(), true);
        let line = text.lines().find(|it| it.contains("good 1.2.3")).unwrap();
        let words: Vec<_> = line.split_whitespace().collect();
        let expected = [
            "good", "1.2.3", "shared", "40", "1", "20", "2.00", "0.20", "2.00", "0.40", "2.00",
            "0.60", "1.00", "all", "100", "0", "0",
        ];
        assert_eq!(words, expected);
    }

    #[test]
    fn no_table_is_wider_than_the_terminal_and_wide_has_all() {
        let mut report = report();
        report.trust.cannot_tell.push("two copies of one server differ".into());
        let wide = text(&report, Paint::plain().of_columns(80), true);
        for columns in [80, 100, 160] {
            let text = text(&report, Paint::plain().of_columns(columns), false);
            assert!(text.lines().all(|it| it.chars().count() <= columns), "{columns}\n{text}");
            // First that it cannot tell, then the finding, then the first table.
            let at = |words: &str| text.find(words).unwrap_or_else(|| panic!("{words}\n{text}"));
            assert_eq!(at("This run cannot tell: two copies"), 0);
            assert!(at("Findings\n- broadcast-1000: 20 ns CPU") < at("Summary"), "{text}");
            assert!(at("Summary") < at("× is the multiple of the floor"), "{text}");
        }
        let narrow = text(&report, Paint::plain().of_columns(80), false);
        assert!(!narrow.contains("doubled") && narrow.contains("--wide prints them"), "{narrow}");
        assert!(wide.contains("doubled") && !wide.contains("--wide"), "{wide}");
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
