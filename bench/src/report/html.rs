//! A report as one page that needs nothing else: no script, no font, no image from elsewhere.

use std::collections::BTreeMap;

use load::stats::EQUIVALENT;
use maud::{DOCTYPE, Markup, PreEscaped, Render, html};

use super::figure::{CPU, FIRST_EVENT_P99, LATENCY_P50, LATENCY_P99, MEMORY, SKEW_P50};
use super::plot::{self, Axis, Dot, Scale, Series};
use super::render::{self, LIMITS};
use super::{Figure, Measure, Report, Row, Unit, significant};

/// The page's style. The colours are Okabe and Ito's, darker on light and lighter on dark ground.
const STYLE: &str = "\
:root{color-scheme:light dark;--page:#fff;--ink:#1b1f24;--soft:#59636e;--line:#d5dae0;\
--floor:#9aa3ad;--c0:#0072b2;--c1:#d55e00;--c2:#00845f;--c3:#aa4489;--c4:#a87400;--c5:#1b1f24;\
--c6:#3b8fc4;--bad:#b3261e;--band:#0072b218}\
@media(prefers-color-scheme:dark){:root{--page:#14171b;--ink:#e7eaee;--soft:#a3adb8;--line:#343b44;\
--floor:#6b7480;--c0:#56a8e0;--c1:#ff8a3d;--c2:#2fc79b;--c3:#e08cc4;--c4:#f0b429;--c5:#e7eaee;\
--c6:#8fd0ff;--bad:#ff8a80;--band:#56a8e022}}\
*{box-sizing:border-box}body{margin:0 auto;max-width:1320px;padding:1rem;background:var(--page);\
color:var(--ink);font:16px/1.5 system-ui,sans-serif}h1{line-height:1.2}h2{margin-top:2.5rem;\
border-bottom:1px solid var(--line)}h3{margin:1.5rem 0 .3rem;line-height:1.3}p{max-width:75ch}\
.soft{color:var(--soft)}.bad{color:var(--bad);font-weight:600}.wide{overflow-x:auto}\
table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums}\
th,td{padding:.25rem .6rem;border-bottom:1px solid var(--line);text-align:left;white-space:nowrap}\
.n{text-align:right}td.bad,td.words{white-space:normal;min-width:20rem}\
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,430px),1fr));gap:1rem 2rem}\
figure{margin:0;min-width:0;max-width:600px}svg{width:100%;height:auto;display:block}\
svg text{fill:var(--soft);font-size:12px}svg .label,svg .name{fill:var(--ink)}\
.grid{stroke:var(--line);fill:none}.one{stroke:var(--ink);stroke-dasharray:2 3}.band{fill:var(--band)}\
.legend{display:flex;flex-wrap:wrap;gap:.1rem 1rem;padding:0;margin:.2rem 0;list-style:none;\
font-size:.8rem}.legend i{display:inline-block;width:1.6rem;margin-right:.35rem;vertical-align:middle}\
summary{cursor:pointer}ul.plain{padding-left:1.2rem;max-width:85ch}";

/// When the largest value of a chart is this many times the smallest, its axis is logarithmic.
const LINEAR_UP_TO: f64 = 20.0;

/// A chart, and what it shows in words.
struct Chart {
    /// The finding.
    title: String,
    caption: &'static str,
    drawing: Markup,
}

/// The whole page.
pub fn html(report: &Report) -> String {
    let body = html! {
        h1 { "SSE servers measured" }
        p class="soft" {
            (report.began) ", profile " (report.profile) ", " code { (report.command) }
            "; one host, loopback, unreviewed."
        }
        @if report.partial {
            p class="bad" { "Partial: this run was interrupted." }
        }
        @for why in &report.trust.cannot_tell {
            p class="bad" { "This run cannot tell: " (why) "." }
        }
        (summary(report))
        h2 { "Charts" }
        div class="charts" {
            @for Chart { title, caption, drawing } in charts(report) {
                figure {
                    h3 { (title) }
                    (drawing)
                    figcaption class="soft" { (caption) }
                }
            }
        }
        (belief(report))
        h2 { "Limits of the numbers" }
        (list(LIMITS))
        h2 { "Every workload" }
        @for (title, table) in render::tables(report).into_iter().skip(1) {
            h3 { (title) }
            (table.html())
        }
        (conformance(report))
        h2 { "Where" }
        div class="wide" { table { tbody {
            @for (what, value) in render::environment(report) {
                tr { th { (what) } td { (value) } }
            }
        } } }
    };
    page(&format!("SSE servers measured, {}", report.began), &body)
}

/// A page with this title and body.
pub(super) fn page(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { (body) }
        }
    };
    page.into_string() + "\n"
}

fn summary(report: &Report) -> Markup {
    let (title, table) = render::summary(report);
    html! {
        h2 { "Summary" }
        p { "Columns: " (title.strip_prefix("Summary: ").unwrap_or(&title)) "." }
        (table.html())
        p class="soft" {
            "× is the multiple of the floor, a bare one-thread server in the same rounds."
        }
    }
}

fn list(lines: &[impl Render]) -> Markup {
    html! { ul class="plain" { @for line in lines { li { (line) } } } }
}

fn belief(report: &Report) -> Markup {
    html! {
        h2 { "How far it can be believed" }
        (list(&render::remarks(report)))
        h3 { "Known truths, found before anything was measured" }
        div class="wide" { table {
            thead { tr { th { "what was done" } th { "truth" } th { "found" } } }
            tbody {
                @for it in &report.self_check {
                    @let class = if it.passed { "words" } else { "bad" };
                    tr { td { (it.what) } td { (it.truth) } td class=(class) { (it.found) } }
                }
            }
        } }
    }
}

fn conformance(report: &Report) -> Markup {
    let checked: Vec<_> =
        report.rows.iter().filter_map(|row| Some((row, row.conformance.as_ref()?))).collect();
    html! { @if !checked.is_empty() {
        h2 { "Conformance" }
        div class="wide" { table {
            thead { tr {
                th { "server" } th class="n" { "passed" } th class="n" { "failed" }
                th { "failed cases" }
            } }
            tbody {
                @for (row, it) in checked {
                    tr {
                        td { (render::name(row).join(" ")) }
                        td class="n" { (it.passed) }
                        td class="n" { (it.failed) }
                        td class="words" { (it.missed.join(", ")) }
                    }
                }
            }
        } }
    } }
}

/// Every chart that the report has data for.
fn charts(report: &Report) -> Vec<Chart> {
    let looks = looks(report);
    let mut charts = Vec::new();
    for workload in &report.workloads {
        charts.extend(latency(report, &workload.name, &looks));
    }
    for name in ["broadcast-1000", "ticks", "firehose"] {
        charts.extend(bars(
            report,
            &looks,
            name,
            &CPU,
            "CPU time of the server for a delivered event, ns",
            "takes the least CPU for an event",
        ));
    }
    charts.extend(forest(report, &looks));
    charts.extend(fan_out(report, &looks));
    charts.extend(bars(
        report,
        &looks,
        "broadcast-1000",
        &SKEW_P50,
        "from the first subscriber to the last, ms (median message)",
        "spreads a message fastest",
    ));
    charts.extend(memory(report, &looks));
    charts.extend(timeline(report, &looks));
    charts.extend(bars(
        report,
        &looks,
        "connect-storm",
        &FIRST_EVENT_P99,
        "first event after the request, p99, ms",
        "gives everyone a first event soonest",
    ));
    charts
}

/// How a server is drawn everywhere: its framework's colour, dashed for the native encoding.
struct Look {
    colour: Option<usize>,
    dashed: bool,
}

fn looks(report: &Report) -> BTreeMap<String, Look> {
    let mut colours: Vec<&str> = Vec::new();
    let mut looks = BTreeMap::new();
    for row in &report.rows {
        let colour = (!row.is_floor()).then(|| {
            // The twin is the same server.
            let server = row.server.trim_end_matches(super::TWIN);
            colours.iter().position(|it| *it == server).unwrap_or_else(|| {
                colours.push(server);
                colours.len() - 1
            })
        });
        let dashed = row.encoding.as_deref() == Some("native");
        looks.insert(row.key(), Look { colour, dashed });
    }
    looks
}

/// The rows that are drawn: all but the twin.
fn drawn(report: &Report) -> impl Iterator<Item = &Row> {
    report.rows.iter().filter(|it| it.twin_of.is_none())
}

fn measure<'r>(row: &'r Row, workload: &str, figure: &Figure) -> Option<&'r Measure> {
    row.cell(workload)?.summary.as_ref()?.get(figure)
}

fn line(row: &Row, looks: &BTreeMap<String, Look>, points: Vec<(f64, f64)>) -> Series {
    let look = &looks[&row.key()];
    Series { name: row.key(), colour: look.colour, dashed: look.dashed, points, marked: false }
}

/// The server with the lowest of these values, floor apart.
fn lowest(values: &[(String, f64)]) -> Option<(&str, f64)> {
    let servers = values.iter().filter(|it| it.0 != "floor");
    servers.min_by(|a, b| a.1.total_cmp(&b.1)).map(|it| (it.0.as_str(), it.1))
}

fn latency(report: &Report, workload: &str, looks: &BTreeMap<String, Look>) -> Option<Chart> {
    // The workloads whose tail is a separate question.
    let wanted = ["broadcast-1000", "ticks", "ticks-aligned", "broadcast-1", "broadcast-5000"];
    if !wanted.contains(&workload) {
        return None;
    }
    // Of few deliveries there is no 99th percentile.
    let has_p99 = drawn(report).any(|row| measure(row, workload, &LATENCY_P99).is_some());
    let (figure, words) = if has_p99 { (&LATENCY_P99, "p99") } else { (&LATENCY_P50, "median") };
    let mut ranked = Vec::new();
    let mut most: f64 = 10.0;
    let series: Vec<Series> = drawn(report)
        .filter_map(|row| {
            let latency = row.cell(workload)?.latency.as_ref()?;
            let rounds = measure(row, workload, figure)?.value;
            let merged = if has_p99 { latency.p99_ns } else { latency.p50_ns };
            ranked.push((row.key(), merged as f64, rounds));
            let points: Vec<_> =
                latency.curve.iter().map(|(q, ns)| (1.0 / (1.0 - q), *ns as f64 / 1e6)).collect();
            most = most.max(points.last().map_or(0.0, |it| it.0));
            Some(line(row, looks, points))
        })
        .collect();
    ranked.retain(|it| it.0 != "floor");
    ranked.sort_by(|a, b| a.1.total_cmp(&b.1));
    let (best, value, rounds) = ranked.first()?;
    // Ranges that overlap show no order.
    let shared = match ranked.get(1) {
        Some((next, _, its)) if its.min <= rounds.max => format!("; {next} is within its range"),
        _ => String::new(),
    };
    let mut x = Axis::new("percentile of deliveries", Scale::Log);
    x.ticks =
        [(2.0, "50"), (10.0, "90"), (100.0, "99"), (1e3, "99.9"), (1e4, "99.99"), (1e5, "99.999")]
            .map(|(at, text)| (at, format!("{text} %")))
            .into();
    let y = Axis::new("latency from the schedule, ms", Scale::Log);
    let value = significant(value / 1e6);
    let title = format!("{workload}: {best} has the lowest {words}, {value} ms{shared}");
    let caption = "All rounds merged; ends where fewer than ten deliveries are beyond. Grey: the \
                   floor, what the kernel alone takes.";
    let drawing = plot::lines(&title, &x, &y, &series);
    Some(Chart { title, caption, drawing })
}

fn bars(
    report: &Report,
    looks: &BTreeMap<String, Look>,
    workload: &str,
    figure: &Figure,
    label: &str,
    finding: &str,
) -> Option<Chart> {
    let unit = figure.unit;
    let scale = if unit == Unit::Milliseconds { 1e6 } else { 1.0 };
    let mut values = Vec::new();
    let mut one_round = true;
    let mut rows: Vec<Dot> = drawn(report)
        .filter_map(|row| {
            let it = measure(row, workload, figure)?.value;
            values.push((row.key(), it.median));
            one_round &= it.n == 1;
            Some(Dot {
                name: row.key(),
                colour: looks[&row.key()].colour,
                low: it.min / scale,
                value: it.median / scale,
                high: it.max / scale,
                label: unit.write(it.median),
            })
        })
        .collect();
    rows.sort_by(|a, b| a.value.total_cmp(&b.value));
    let (best, value) = lowest(&values)?;
    let mut servers = rows.iter().filter(|it| it.colour.is_some());
    let (first, next) = (servers.next(), servers.next());
    // Ranges that overlap show no order.
    let shared = match (first, next) {
        (Some(first), Some(next)) if next.low <= first.high => {
            format!("; {} is within its range", next.name)
        }
        _ => String::new(),
    };
    let mut x = Axis::new(label, Scale::Linear);
    x.from_zero = true;
    let (least, most) = (rows.first()?.low, rows.last()?.value);
    if least > 0.0 && most / least > LINEAR_UP_TO {
        x = Axis::new(&format!("{label}, logarithmic"), Scale::Log);
    }
    let suffix = unit.suffix();
    let title = if one_round {
        let words = label.split(',').next().unwrap_or_default();
        let slowest = values.iter().map(|it| it.1).fold(value, f64::max);
        let (best, worst) = (unit.write(value), unit.write(slowest));
        format!("{workload}: {best} to {worst}{suffix} {words}; one round is not a ranking")
    } else {
        format!("{workload}: {best} {finding}, {}{suffix}{shared}", unit.write(value))
    };
    let caption = "Dot: median of the rounds; line: smallest to largest round.";
    let drawing = plot::dots(&title, &x, &rows, None, None);
    Some(Chart { title, caption, drawing })
}

fn forest(report: &Report, looks: &BTreeMap<String, Look>) -> Vec<Chart> {
    let mut charts = Vec::new();
    for (workload, figure, words) in [
        ("broadcast-1000", &CPU, "CPU for an event"),
        ("broadcast-1000", &LATENCY_P50, "median latency"),
        ("ticks", &LATENCY_P50, "median latency"),
    ] {
        let mut rows = Vec::new();
        // The twin too: how far apart two equals lie is what to judge the others by.
        for row in &report.rows {
            let Some(ratio) = measure(row, workload, figure).and_then(|it| it.ratio) else {
                continue;
            };
            if row.is_floor() {
                continue;
            }
            rows.push(Dot {
                name: row.key(),
                colour: looks[&row.key()].colour,
                low: ratio.low,
                value: ratio.estimate,
                high: ratio.high,
                label: render::interval(ratio),
            });
        }
        rows.sort_by(|a, b| a.value.total_cmp(&b.value));
        let mut servers = rows.iter().filter(|it| !it.name.contains(super::TWIN));
        let (Some(first), Some(last)) = (servers.next(), rows.last()) else { continue };
        let title = format!(
            "{workload}: {words} is {} to {} times the floor's",
            significant(first.value),
            significant(last.value)
        );
        let x = Axis::new("multiple of the floor in the same round, 95 % interval", Scale::Log);
        let band = Some((1.0 - EQUIVALENT, 1.0 + EQUIVALENT));
        let drawing = plot::dots(&title, &x, &rows, Some(1.0), band);
        let caption = "Intervals that overlap show no difference. Shaded: ±5 % of the floor.";
        charts.push(Chart { title, caption, drawing });
    }
    charts
}

fn fan_out(report: &Report, looks: &BTreeMap<String, Look>) -> Option<Chart> {
    let counts: Vec<(f64, &str)> = report
        .workloads
        .iter()
        .filter_map(|it| {
            Some((it.name.strip_prefix("broadcast-")?.parse().ok()?, it.name.as_str()))
        })
        .collect();
    let mut most = Vec::new();
    let mut last_count = 0.0;
    let series: Vec<Series> = drawn(report)
        .filter_map(|row| {
            let mut points: Vec<(f64, f64)> = counts
                .iter()
                .filter_map(|(count, name)| {
                    Some((*count, measure(row, name, &LATENCY_P50)?.value.median / 1e6))
                })
                .collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            let last = points.last().filter(|_| points.len() > 1)?;
            last_count = last.0;
            most.push((row.key(), last.1 * 1e6));
            let mut series = line(row, looks, points);
            series.marked = true;
            Some(series)
        })
        .collect();
    let (best, value) = lowest(&most)?;
    let title = format!(
        "Latency of a broadcast grows with its subscribers: at {last_count}, {best} has the lowest median, {} ms",
        significant(value / 1e6)
    );
    let x = Axis::new("subscribers of one topic", Scale::Log);
    let y = Axis::new("median latency, ms", Scale::Log);
    let caption = "Mostly arithmetic: the subscribers are written to one after the other.";
    let drawing = plot::lines(&title, &x, &y, &series);
    Some(Chart { title, caption, drawing })
}

fn memory(report: &Report, looks: &BTreeMap<String, Look>) -> Option<Chart> {
    let mut slopes = Vec::new();
    let series: Vec<Series> = drawn(report)
        .filter_map(|row| {
            let cell = row.cell("idle")?;
            let slope = cell.summary.as_ref()?.get(&MEMORY)?;
            slopes.push((row.key(), slope.value.median));
            let used = super::used(&cell.windows);
            let window = used.first()?;
            let points: Vec<_> = window
                .memory
                .iter()
                .map(|it| (it.streams as f64, it.resident_bytes as f64 / f64::from(1 << 20)))
                .collect();
            let mut series = line(row, looks, points);
            series.marked = true;
            Some(series)
        })
        .collect();
    let (best, value) = lowest(&slopes)?;
    let title = format!(
        "idle: {best} takes the least memory for a stream, {} KiB",
        Unit::Kibibytes.write(value)
    );
    let mut x = Axis::new("open streams", Scale::Linear);
    x.from_zero = true;
    let mut y = Axis::new("resident memory, MiB", Scale::Linear);
    y.from_zero = true;
    let caption = "The slope is what a stream takes; the start is the server itself.";
    let drawing = plot::lines(&title, &x, &y, &series);
    Some(Chart { title, caption, drawing })
}

fn timeline(report: &Report, looks: &BTreeMap<String, Look>) -> Option<Chart> {
    let workload = "ticks";
    let mut worst: Option<(String, f64)> = None;
    let series: Vec<Series> = drawn(report)
        .filter_map(|row| {
            let cell = row.cell(workload)?;
            let used = super::used(&cell.windows);
            let window = used.last()?;
            let points: Vec<_> = window
                .timeline
                .iter()
                .enumerate()
                .map(|(index, it)| (index as f64 / 10.0, it.max_ns as f64 / 1e6))
                .filter(|it| it.1 > 0.0)
                .collect();
            let most = points.iter().map(|it| it.1).fold(0.0, f64::max);
            if worst.as_ref().is_none_or(|it| it.1 < most) {
                worst = Some((row.key(), most));
            }
            (points.len() > 1).then(|| line(row, looks, points))
        })
        .collect();
    let (who, most) = worst?;
    if series.is_empty() {
        return None;
    }
    let title = format!(
        "{workload} over time, last round: the slowest delivery took {} ms ({who})",
        significant(most)
    );
    let x = Axis::new("seconds in the window", Scale::Linear);
    let y = Axis::new("slowest delivery in 100 ms, ms", Scale::Log);
    let caption = "A spike in one line is the server; a spike in all would be the host.";
    let drawing = plot::lines(&title, &x, &y, &series);
    Some(Chart { title, caption, drawing })
}

#[cfg(test)]
mod tests {
    use super::super::render::tests::report;
    use super::*;

    #[test]
    fn the_page_needs_nothing_else_and_has_the_finding() {
        let page = html(&report());
        for outside in ["<script", "http://", "https://", "url(", "src=", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("prefers-color-scheme:dark"));
        assert!(page.contains("broadcast-1000: 20 to 20 ns CPU time of the server"));
        assert!(page.contains("one round is not a ranking"));
        let mut more = report();
        for cell in more.rows.iter_mut().flat_map(|row| &mut row.cells) {
            let again = super::super::Window { round: 2, ..cell.windows[0].clone() };
            cell.windows.push(again);
        }
        more.summarise();
        let finding = "broadcast-1000: good shared takes the least CPU for an event, 20 ns";
        assert!(html(&more).contains(finding));
        assert!(page.len() < 400_000);
        assert!(!page.contains("NaN"));
    }
}
