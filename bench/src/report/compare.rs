//! `sse-bench compare`: two reports, or a trend over more.
//!
//! Cells are aligned by server, encoding and workload (the same shape, not only the same name).
//! Across unlike hosts there is no ratio: the command refuses. Where both reports have a floor,
//! what is compared is the multiple of the floor in the same round, which takes out how fast the
//! host was that day.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use conform::report::Paint;
use conform::report::table::{Column, Table, Tone};
use load::stats::{EQUIVALENT, Ratio, Verdict};
use maud::{Markup, html};

use super::plot::{self, Axis, Dot, Scale};
use super::render::{self, interval};
use super::summary::{ratios, used};
use super::{Environment, FIGURES, Figure, Report, Row};

/// The confidence of each interval: many are judged at once, and one in a hundred is wrong by
/// chance.
const CONFIDENCE: f64 = 0.99;

/// Memory of two hosts may differ by this share and the hosts still be alike: what the kernel takes
/// for itself varies.
const MEMORY_WITHIN: f64 = 0.05;

/// Which reports.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  sse-bench compare target/sse-bench/before target/sse-bench/after
  sse-bench compare monday tuesday wednesday --html trend.html

Exit codes:
  0  nothing is worse
  1  something is worse
  2  the reports cannot be compared")]
pub struct Args {
    /// The folders that runs wrote, the oldest first: two to compare, more for a trend
    #[arg(required = true, num_args = 2.., value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// Write a page for a browser to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print every column of the tables, however narrow the terminal is
    #[arg(long)]
    wide: bool,
}

/// One figure of one server under one workload, in both reports.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// Server and encoding.
    pub server: String,
    /// The workload.
    pub workload: String,
    /// The figure.
    pub figure: &'static Figure,
    /// The later value divided by the earlier.
    pub ratio: Ratio,
    /// The judgement of the ratio.
    pub verdict: Verdict,
}

/// Compares the reports and prints the result.
///
/// # Errors
/// When a report cannot be read, or the hosts are unlike.
pub fn run(args: &Args) -> Result<ExitCode> {
    let reports: Vec<Report> =
        args.folders.iter().map(|it| Report::load(it)).collect::<Result<_>>()?;
    let (first, last) = (&reports[0], &reports[reports.len() - 1]);
    for report in &reports[1..] {
        if let Some(why) = unlike(&first.environment, &report.environment) {
            bail!(
                "unlike hosts, so there is no ratio: {why}; measure both on one host, or read the \
                 reports side by side"
            );
        }
    }
    let found = compare(first, last);
    if found.is_empty() {
        bail!("the reports have no workload of a server in common; compare runs of one profile");
    }
    let paint = Paint::for_stdout();
    let of_tables = if args.wide { paint.unlimited() } else { paint };
    let mut text = heading(&reports);
    let _ = write!(text, "\n{}", paint.paragraph(&sum(&found)));
    if reports.len() > 2 {
        let _ =
            write!(text, "\n{}\n{}", paint.bold("Trend, medians"), trend(&reports).text(of_tables));
    }
    let _ = write!(text, "\n{}", table(&found).text(of_tables));
    write!(io::stdout(), "{text}")?;
    if let Some(path) = &args.html {
        let page = html(&reports, &found);
        std::fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let worse = found.iter().any(|it| it.verdict == Verdict::Worse);
    Ok(ExitCode::from(u8::from(worse)))
}

/// Why two hosts are not alike, or nothing.
pub fn unlike(a: &Environment, b: &Environment) -> Option<String> {
    let differ = |what: &str, a: &str, b: &str| (a != b).then(|| format!("{what} {a} and {b}"));
    let memory = |it: &Environment| it.memory_bytes as f64;
    let memories = (memory(a) - memory(b)).abs() > MEMORY_WITHIN * memory(a).max(memory(b));
    differ("CPU", &a.cpu, &b.cpu)
        .or_else(|| differ("cores", &a.cores.to_string(), &b.cores.to_string()))
        .or_else(|| differ("clock", &a.clock_source, &b.clock_source))
        .or_else(|| {
            let kind = |it: &Environment| if it.virtual_machine { "virtual" } else { "bare" };
            differ("machine", kind(a), kind(b))
        })
        .or_else(|| {
            let pinned = |it: &Environment| format!("{:?}", (it.server_core, it.generator_core));
            differ("placement", &pinned(a), &pinned(b))
        })
        .or_else(|| memories.then(|| "memory of different size".to_owned()))
}

/// Every figure that both reports have.
pub fn compare(a: &Report, b: &Report) -> Vec<Comparison> {
    let shaky = [a, b].iter().any(|it| !it.trust.cannot_tell.is_empty());
    let disturbed = |row: &Row, workload: &str| {
        let summary = row.cell(workload).and_then(|it| it.summary.as_ref());
        summary.is_some_and(|it| it.poisoned > 0)
    };
    let mut found = Vec::new();
    for workload in &b.workloads {
        if !a.workloads.iter().any(|it| it.name == workload.name && it.shape == workload.shape) {
            continue;
        }
        for row in b.rows.iter().filter(|it| it.twin_of.is_none() && !it.is_floor()) {
            let Some(before) = a.rows.iter().find(|it| it.key() == row.key()) else { continue };
            let shaky = shaky || [before, row].iter().any(|it| disturbed(it, &workload.name));
            for figure in FIGURES {
                let of = |report: &Report, row: &Row| values(report, row, &workload.name, figure);
                let (Some((old, old_is_ratio)), Some((new, new_is_ratio))) =
                    (of(a, before), of(b, row))
                else {
                    continue;
                };
                if old_is_ratio != new_is_ratio {
                    continue;
                }
                let Some(ratio) = Ratio::between(&new, &old, CONFIDENCE) else { continue };
                let judged = if figure.higher_is_better { ratio.inverted() } else { ratio };
                let verdict = if shaky { Verdict::Inconclusive } else { judged.verdict() };
                let (server, workload) = (row.key(), workload.name.clone());
                found.push(Comparison { server, workload, figure, ratio, verdict });
            }
        }
    }
    found
}

/// A figure round by round, as multiples of the floor if there is one.
fn values(report: &Report, row: &Row, workload: &str, figure: &Figure) -> Option<(Vec<f64>, bool)> {
    let cell = row.cell(workload)?;
    let measure = cell.summary.as_ref()?.get(figure)?;
    let floor = report.rows.iter().find(|it| it.is_floor()).and_then(|it| it.cell(workload));
    if let Some(floor) = floor.filter(|_| figure.of_the_host) {
        let multiples = ratios(&used(&cell.windows), &used(&floor.windows), figure);
        if !multiples.is_empty() {
            return Some((multiples, true));
        }
    }
    Some((measure.rounds.clone(), false))
}

fn heading(reports: &[Report]) -> String {
    let mut out = String::new();
    for (index, it) in reports.iter().enumerate() {
        let letter = char::from(b'A' + (index % 26) as u8);
        let _ = writeln!(
            out,
            "{letter}  {}  commit {}  {}  profile {}",
            it.began, it.environment.commit, it.environment.rustc, it.profile
        );
        for why in &it.trust.cannot_tell {
            let _ = writeln!(out, "   cannot tell: {why}");
        }
    }
    let kernels: std::collections::BTreeSet<_> =
        reports.iter().map(|it| it.environment.kernel.as_str()).collect();
    if kernels.len() > 1 {
        let _ = writeln!(out, "   kernels differ: {kernels:?}");
    }
    out
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Better => "better",
        Verdict::Worse => "WORSE",
        Verdict::Equivalent => "equivalent",
        Verdict::Inconclusive => "inconclusive",
    }
}

fn table(found: &[Comparison]) -> Table {
    let header = ["server", "workload", "figure", "verdict", "later ÷ earlier [99\u{a0}%]"];
    let mut table = Table::new(4, header);
    for it in found {
        let tone = match it.verdict {
            Verdict::Better => Tone::Good,
            Verdict::Worse => Tone::Bad,
            Verdict::Equivalent | Verdict::Inconclusive => Tone::Plain,
        };
        table.row_in(
            tone,
            vec![
                it.server.clone(),
                it.workload.clone(),
                it.figure.name.into(),
                word(it.verdict).into(),
                interval(it.ratio),
            ],
        );
    }
    table
}

fn sum(found: &[Comparison]) -> String {
    let count = |wanted| found.iter().filter(|it| it.verdict == wanted).count();
    format!(
        "{} better, {} worse, {} equivalent (within ±{:.0} %), {} inconclusive. Each interval \
         covers {:.0} %: of {} figures about {:.0} would lie outside by chance.",
        count(Verdict::Better),
        count(Verdict::Worse),
        count(Verdict::Equivalent),
        100.0 * EQUIVALENT,
        count(Verdict::Inconclusive),
        100.0 * CONFIDENCE,
        found.len(),
        (1.0 - CONFIDENCE) * found.len() as f64
    )
}

/// The medians of the headlines in every report.
fn trend(reports: &[Report]) -> Table {
    const LETTERS: [&str; 8] = ["A", "B", "C", "D", "E", "F", "G", "H"];
    let shown = &reports[reports.len().saturating_sub(LETTERS.len())..];
    let mut header: Vec<Column> = ["server", "workload", "figure"].map(Column::from).into();
    // The first and the last say most; of those between, the latest.
    let rank = |at: usize| if at == 0 || at + 1 == shown.len() { 0 } else { shown.len() - at };
    header.extend(
        LETTERS.into_iter().take(shown.len()).zip(0..).map(|(it, at)| Column::ranked(it, rank(at))),
    );
    let mut table = Table::new(3, header);
    let last = &reports[reports.len() - 1];
    for row in last.rows.iter().filter(|it| it.twin_of.is_none()) {
        for cell in &row.cells {
            for figure in FIGURES.iter().filter(|it| it.is_headline()) {
                let values: Vec<String> = shown
                    .iter()
                    .map(|report| {
                        let same = report.rows.iter().find(|it| it.key() == row.key());
                        same.and_then(|it| it.cell(&cell.workload)?.summary.as_ref()?.get(figure))
                            .map_or(render::NOTHING.into(), |it| figure.unit.write(it.value.median))
                    })
                    .collect();
                if values.iter().all(|it| it == render::NOTHING) {
                    continue;
                }
                let lead = [row.key(), cell.workload.clone(), figure.title.to_owned()];
                table.row(lead.into_iter().chain(values).collect());
            }
        }
    }
    table
}

fn html(reports: &[Report], found: &[Comparison]) -> String {
    let body = html! {
        h1 { "SSE servers compared" }
        pre { (heading(reports)) }
        p { (sum(found)) }
        div class="charts" {
            @for figure in super::HEADLINES {
                @if let Some((title, drawing)) = chart(&figure, found) {
                    figure { h3 { (title) } (drawing) }
                }
            }
        }
        @if reports.len() > 2 {
            h2 { "Trend, medians" }
            (trend(reports).html())
        }
        h2 { "Every figure" }
        (table(found).html())
    };
    super::html::page("SSE servers compared", &body)
}

/// One figure of every server under every workload, and how many of them are worse.
fn chart(figure: &Figure, found: &[Comparison]) -> Option<(String, Markup)> {
    let mine: Vec<&Comparison> = found.iter().filter(|it| it.figure.name == figure.name).collect();
    let dot = |it: &&Comparison| Dot {
        name: format!("{} {}", it.server, it.workload),
        colour: Some(match it.verdict {
            Verdict::Better => 2,
            Verdict::Worse => 1,
            _ => 6,
        }),
        low: it.ratio.low,
        value: it.ratio.estimate,
        high: it.ratio.high,
        label: word(it.verdict).into(),
    };
    let rows: Vec<Dot> = mine.iter().map(dot).collect();
    let worse = mine.iter().filter(|it| it.verdict == Verdict::Worse).count();
    let title = format!("{}: {worse} of {} are worse", figure.name, rows.len());
    let x = Axis::new("later ÷ earlier, 99 % interval", Scale::Log);
    let band = Some((1.0 - EQUIVALENT, 1.0 + EQUIVALENT));
    let drawing = plot::dots(&title, &x, &rows, Some(1.0), band);
    (!rows.is_empty()).then_some((title, drawing))
}

#[cfg(test)]
mod tests {
    use super::super::Window;
    use super::super::figure::CPU;
    use super::super::render::tests::report;
    use super::super::summary::tests::window;
    use super::*;

    /// The report with `good` this many times as expensive, over five rounds.
    fn with(cpu: f64, noise: f64) -> Report {
        let mut report = report();
        let rounds = |factor: f64| -> Vec<Window> {
            (1..=5)
                .map(|it| window(it, 200_000, factor * (1.0 + noise * (f64::from(it) - 3.0))))
                .collect()
        };
        report.rows[0].cells[0].windows = rounds(10.0);
        report.rows[1].cells[0].windows = rounds(20.0 * cpu);
        // The floor must not carry the same noise, or the ratio has none.
        for window in &mut report.rows[0].cells[0].windows {
            window.figures.cpu_ns_per_event = Some(10.0);
        }
        report.summarise();
        report
    }

    fn verdict(a: &Report, b: &Report) -> Verdict {
        let found = compare(a, b);
        found.iter().find(|it| it.figure.name == CPU.name).unwrap().verdict
    }

    #[test]
    fn verdicts_are_better_worse_equivalent_or_inconclusive() {
        let base = with(1.0, 0.002);
        assert_eq!(verdict(&base, &with(1.5, 0.002)), Verdict::Worse);
        assert_eq!(verdict(&base, &with(0.6, 0.002)), Verdict::Better);
        assert_eq!(verdict(&base, &with(1.01, 0.002)), Verdict::Equivalent);
        assert_eq!(verdict(&base, &with(1.1, 0.15)), Verdict::Inconclusive);
    }

    #[test]
    fn a_run_that_cannot_tell_proves_nothing() {
        let mut shaky = with(2.0, 0.002);
        shaky.trust.cannot_tell.push("the host was busy".into());
        assert_eq!(verdict(&with(1.0, 0.002), &shaky), Verdict::Inconclusive);
    }

    #[test]
    fn another_shape_of_the_same_name_is_not_compared() {
        let (a, mut b) = (with(1.0, 0.002), with(2.0, 0.002));
        b.workloads[0] = load::Workload::broadcast(1000, 99, 20, 1);
        assert!(compare(&a, &b).is_empty());
    }

    #[test]
    fn hosts_must_be_alike() {
        let a =
            Environment { cpu: "x".into(), cores: 2, memory_bytes: 100, ..Environment::default() };
        assert_eq!(
            unlike(&a, &Environment { memory_bytes: 102, kernel: "6".into(), ..a.clone() }),
            None
        );
        let other = Environment { cpu: "y".into(), ..a.clone() };
        assert_eq!(unlike(&a, &other).unwrap(), "CPU x and y");
        assert!(unlike(&a, &Environment { cores: 4, ..a.clone() }).is_some());
        assert!(unlike(&a, &Environment { memory_bytes: 200, ..a.clone() }).is_some());
    }

    #[test]
    fn the_page_stands_alone() {
        let reports = [with(1.0, 0.002), with(1.2, 0.002), with(1.5, 0.002)];
        let page = html(&reports, &compare(&reports[0], &reports[2]));
        assert!(page.contains("1 of 1 are worse") && page.contains("Trend"));
        assert!(!page.contains("src=") && !page.split("<script>").next().unwrap().contains("NaN"));
    }

    #[test]
    fn no_line_is_wider_than_a_narrow_terminal() {
        let reports = [with(1.0, 0.002), with(1.2, 0.002), with(1.5, 0.002)];
        let paint = Paint::plain().of_columns(80);
        let text =
            table(&compare(&reports[0], &reports[2])).text(paint) + &trend(&reports).text(paint);
        assert!(
            text.contains("WORSE") && text.lines().all(|it| it.chars().count() <= 80),
            "{text}"
        );
    }
}
