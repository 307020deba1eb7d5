//! The charts, each with its finding in words.

use std::collections::BTreeMap;

use load::Workload;
use load::stats::{EQUIVALENT, Spread};
use maud::Markup;

use super::figure::{CPU, FIRST_EVENT_P99, LATENCY_P50, LATENCY_P99, MEMORY, SKEW_P50};
use super::plot::{self, Axis, Dot, Scale, Series};
use super::ranking::Ranking;
use super::render;
use super::{Figure, Measure, Report, Row, Unit, significant};

/// When the largest value of a chart is this many times the smallest, its axis is logarithmic.
const LINEAR_UP_TO: f64 = 20.0;

/// A chart, and what it shows in words.
pub(super) struct Chart {
    /// The finding.
    pub(super) title: String,
    pub(super) caption: &'static str,
    pub(super) drawing: Markup,
}

/// The findings alone, in the order of the charts.
pub(super) fn findings(report: &Report) -> Vec<String> {
    charts(report).into_iter().map(|it| it.title).collect()
}

/// Every chart that the report has data for.
pub(super) fn charts(report: &Report) -> Vec<Chart> {
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
    charts.extend(growth(report, &looks));
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

/// The charts of a front page: what an event costs, and what an open stream holds.
pub(super) fn front(report: &Report) -> Vec<Chart> {
    let looks = looks(report);
    let words = "CPU time of the server for a delivered event, ns";
    let finding = "takes the least CPU for an event";
    let cpu = bars(report, &looks, render::HEADLINE, &CPU, words, finding);
    let words = "memory of an open stream that is idle, KiB";
    let memory =
        bars(report, &looks, "idle", &MEMORY, words, "takes the least memory for a stream");
    cpu.into_iter().chain(memory).collect()
}

/// How a server is drawn everywhere: its framework's colour, dashed for all but the shared encoding with a usual number of workers.
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
        let dashed = row.encoding.as_deref().is_some_and(|it| it != "shared");
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

/// The ranking of these values, floor apart.
fn ranking(values: Vec<(String, Spread)>, unit: Unit) -> Ranking {
    Ranking::of(values.into_iter().filter(|it| !is_a_floor(&it.0)).collect(), unit)
}

/// Whether a row of that name is a floor, the coalescing one too, and no server.
fn is_a_floor(key: &str) -> bool {
    key.split(' ').next() == Some(super::FLOOR)
}

fn latency(report: &Report, workload: &str, looks: &BTreeMap<String, Look>) -> Option<Chart> {
    // The workloads whose tail is a separate question.
    let wanted = [
        "broadcast-1000",
        "broadcast-1000-busy",
        "ticks",
        "ticks-aligned",
        "broadcast-1",
        "broadcast-5000",
    ];
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
            // The number of the tables: the line below it is of all rounds merged.
            let rounds = measure(row, workload, figure)?.value;
            ranked.push((row.key(), rounds));
            let points: Vec<_> =
                latency.curve.iter().map(|(q, ns)| (1.0 / (1.0 - q), *ns as f64 / 1e6)).collect();
            most = most.max(points.last().map_or(0.0, |it| it.0));
            Some(line(row, looks, points))
        })
        .collect();
    let found = ranking(ranked, figure.unit).words(words, &format!("has the lowest {words}"))?;
    let mut x = Axis::new("percentile of deliveries", Scale::Log);
    x.ticks =
        [(2.0, "50"), (10.0, "90"), (100.0, "99"), (1e3, "99.9"), (1e4, "99.99"), (1e5, "99.999")]
            .map(|(at, text)| (at, format!("{text} %")))
            .into();
    x.words = |it| {
        let words = format!("{:.3}", 100.0 - 100.0 / it);
        format!("{} %", words.trim_end_matches('0').trim_end_matches('.'))
    };
    let mut y = Axis::new("latency from the schedule, ms", Scale::Log);
    y.words = |it| format!("{} ms", significant(it));
    let title = format!("{workload}: {found}");
    let caption = "The number above is the median of the rounds; the lines are of all rounds merged, and end where \
                   fewer than ten deliveries are beyond. Grey: the floor, what the kernel alone takes.";
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
    let scale = match unit {
        Unit::Milliseconds => 1e6,
        Unit::Kibibytes => 1024.0,
        _ => 1.0,
    };
    let mut values = Vec::new();
    let mut rows: Vec<Dot> = drawn(report)
        .filter_map(|row| {
            let it = measure(row, workload, figure)?.value;
            values.push((row.key(), it));
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
    let words = label.split(',').next().unwrap_or_default();
    let found = ranking(values, unit).words(words, finding)?;
    let mut x = Axis::new(label, Scale::Linear);
    x.from_zero = true;
    let (least, most) = (rows.first()?.low, rows.last()?.value);
    if least > 0.0 && most / least > LINEAR_UP_TO {
        x = Axis::new(&format!("{label}, logarithmic"), Scale::Log);
    }
    let title = format!("{workload}: {found}");
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
        let mut servers =
            rows.iter().filter(|it| !it.name.contains(super::TWIN) && !is_a_floor(&it.name));
        let Some(first) = servers.next() else { continue };
        let last = servers.next_back().unwrap_or(first);
        let title = format!(
            "{workload}: {words} is {} to {} times the floor's",
            significant(first.value),
            significant(last.value)
        );
        let x = Axis::new("multiple of the floor in the same round, 95 % interval", Scale::Log);
        let band = Some((1.0 - EQUIVALENT, 1.0 + EQUIVALENT));
        let drawing = plot::dots(&title, &x, &rows, Some(1.0), band);
        let caption = if rows.iter().any(|it| it.name.contains(super::TWIN)) {
            "Intervals that overlap show no difference. Shaded: ±5 % of the floor. (twin): the same server once more, to \
             show how far two equals lie apart."
        } else {
            "Intervals that overlap show no difference. Shaded: ±5 % of the floor."
        };
        charts.push(Chart { title, caption, drawing });
    }
    charts
}

/// The broadcasts to so many subscribers.
fn by_subscribers(name: &str) -> Option<f64> {
    name.strip_prefix("broadcast-")?.parse().ok()
}

/// The broadcasts of so many bytes.
fn by_bytes(name: &str) -> Option<f64> {
    name.strip_prefix(Workload::SIZED)?.parse().ok()
}

/// A figure over a number in the names of workloads, in this unit; the lines, the last number, the values there.
fn over(
    report: &Report,
    looks: &BTreeMap<String, Look>,
    number: fn(&str) -> Option<f64>,
    figure: &Figure,
    scale: f64,
) -> Option<(Vec<Series>, f64, Ranking)> {
    let workloads = report.workloads.iter();
    let numbers: Vec<_> =
        workloads.filter_map(|it| Some((number(&it.name)?, it.name.as_str()))).collect();
    let mut lasts = Vec::new();
    let line_of = |row: &Row| {
        let point =
            |(number, name): &(f64, &str)| Some((*number, measure(row, name, figure)?.value));
        let mut points: Vec<_> = numbers.iter().filter_map(point).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (last, value) = *points.last().filter(|_| points.len() > 1)?;
        lasts.push((last, row.key(), value));
        let points = points.into_iter().map(|(at, it)| (at, it.median / scale)).collect();
        Some(Series { marked: true, ..line(row, looks, points) })
    };
    let series = drawn(report).filter_map(line_of).collect();
    let last = lasts.iter().map(|it| it.0).max_by(f64::total_cmp)?;
    // A server that got less far has no value there.
    lasts.retain(|it| it.0 == last);
    let values = lasts.into_iter().map(|(_, key, value)| (key, value)).collect();
    Some((series, last, ranking(values, figure.unit)))
}

fn fan_out(report: &Report, looks: &BTreeMap<String, Look>) -> Option<Chart> {
    let (series, count, ranking) = over(report, looks, by_subscribers, &LATENCY_P50, 1e6)?;
    let found = ranking.words("median", "has the lowest median")?;
    let title = format!("Latency of a broadcast grows with its subscribers: at {count}, {found}");
    let mut x = Axis::new("subscribers of one topic", Scale::Log);
    x.words = |it| format!("{it:.0} subscribers");
    let mut y = Axis::new("median latency, ms", Scale::Log);
    y.words = |it| format!("{} ms", significant(it));
    let caption = "Mostly arithmetic: the subscribers are written to one after the other.";
    let drawing = plot::lines(&title, &x, &y, &series);
    Some(Chart { title, caption, drawing })
}

/// How the cost of an event grows with subscribers, and with bytes.
fn growth(report: &Report, looks: &BTreeMap<String, Look>) -> Vec<Chart> {
    let mut readers = Axis::new("subscribers of one topic", Scale::Log);
    readers.words = |it| format!("{it:.0} subscribers");
    let mut bytes = Axis::new("bytes of a message, for 100 subscribers", Scale::Log);
    bytes.words = |it| format!("{it:.0} bytes");
    let chart = |number, x: &Axis, caption| {
        let (series, last, ranking) = over(report, looks, number, &CPU, 1.0)?;
        let (at, found) = ((x.words)(last), ranking.words("of CPU", "takes the least")?);
        let title = format!("CPU for an event: at {at}, {found}");
        let mut y = Axis::new("CPU time of the server for a delivered event, ns", Scale::Log);
        y.words = |it| format!("{} ns", significant(it));
        let drawing = plot::lines(&title, x, &y, &series);
        Some(Chart { title, caption, drawing })
    };
    let of_readers =
        "A line that rises: an event costs more where there are more readers than the caches hold.";
    let of_bytes = "Small messages cost the call, large ones the copy into the kernel.";
    [chart(by_subscribers, &readers, of_readers), chart(by_bytes, &bytes, of_bytes)]
        .into_iter()
        .flatten()
        .collect()
}

fn memory(report: &Report, looks: &BTreeMap<String, Look>) -> Option<Chart> {
    let mut slopes = Vec::new();
    let series: Vec<Series> = drawn(report)
        .filter_map(|row| {
            let cell = row.cell("idle")?;
            let slope = cell.summary.as_ref()?.get(&MEMORY)?;
            slopes.push((row.key(), slope.value));
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
    let found = ranking(slopes, MEMORY.unit)
        .words("of memory for a stream", "takes the least memory for a stream")?;
    let title = format!("idle: {found}");
    let mut x = Axis::new("open streams", Scale::Linear);
    x.from_zero = true;
    x.words = |it| format!("{it:.0} streams");
    let mut y = Axis::new("resident memory, MiB", Scale::Linear);
    y.words = |it| format!("{it:.1} MiB");
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
    let mut x = Axis::new("seconds in the window", Scale::Linear);
    x.words = |it| format!("{it:.1} s");
    let mut y = Axis::new("slowest delivery in 100 ms, ms", Scale::Log);
    y.words = |it| format!("{} ms", significant(it));
    let caption = "A spike in one line is the server; a spike in all would be the host.";
    let drawing = plot::lines(&title, &x, &y, &series);
    Some(Chart { title, caption, drawing })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_lies_on_the_axis_that_its_name_has_a_number_for() {
        let of = |it: Workload| (by_subscribers(&it.name), by_bytes(&it.name));
        assert_eq!(of(Workload::broadcast(15_000, 1, 1, 1)), (Some(15_000.0), None));
        assert_eq!(of(Workload::sized(64, 1, 1)), (None, Some(64.0)));
        assert_eq!(of(Workload::busy_broadcast(1, 1)), (None, None));
        assert_eq!(of(Workload::ticks(1, 1)), (None, None));
    }
}
