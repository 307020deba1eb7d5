//! One load run as a page: its text, and two charts.

use hdrhistogram::Histogram;
use load::Page;
use load::stats::Distribution;
use maud::{Markup, html};

use super::plot::{self, Axis, Scale, Series};

/// The time of a step of the timeline, seconds.
const STEP_S: f64 = load::ledger::STEP_NS as f64 / 1e9;

/// The page of a load run; text of the server in it is never markup.
pub fn load_page(run: &Page<'_>) -> String {
    let body = html! {
        h1 { "Load" }
        p class="soft" { code { (run.url) } }
        pre class="wide" { (run.text) }
        div class="charts" {
            @for (title, caption, drawing) in [waits(run), timeline(run)].into_iter().flatten() {
                figure {
                    h3 { (title) }
                    (drawing)
                    figcaption class="soft" { (caption) }
                }
            }
        }
    };
    super::html::page(&format!("Load of {}", run.url), &body)
}

/// Title, caption and drawing.
type Chart = (String, &'static str, Markup);

/// A line for each wait: its length by the share of waits that are no longer.
fn waits(run: &Page<'_>) -> Option<Chart> {
    let (outcome, waits) = (run.outcome, &run.outcome.waits);
    let series: Vec<Series> = [
        ("headers", &outcome.headers_ns),
        ("first event", &outcome.first_event_ns),
        ("second event", &waits.second_event_ns),
        ("gap", &waits.gap_ns),
        ("duration", &waits.duration_ns),
        ("latency", &outcome.latency_ns),
    ]
    .into_iter()
    .enumerate()
    .filter_map(|(colour, (name, times))| curve(name, colour, times))
    .collect();
    if series.is_empty() {
        return None;
    }
    let first = &outcome.first_event_ns;
    let [half, last] = [first.value_at_quantile(0.5), first.max()];
    // As the text above has them.
    let [half, last] = [half, last].map(load::time);
    let title =
        format!("Half of the streams had their first event after {half}, the last after {last}");
    let mut x = Axis::new("percentile", Scale::Log);
    x.ticks =
        [(2.0, "50"), (10.0, "90"), (100.0, "99"), (1e3, "99.9"), (1e4, "99.99"), (1e5, "99.999")]
            .map(|(at, text)| (at, format!("{text} %")))
            .into();
    let y = Axis::new("wait, ms", Scale::Log);
    let caption = "Each line ends where fewer than ten waits are beyond.";
    let drawing = plot::lines(&title, &x, &y, &series);
    Some((title, caption, drawing))
}

fn curve(name: &str, colour: usize, times: &Histogram<u64>) -> Option<Series> {
    let curve = Distribution::with_curve(times)?.curve;
    let points: Vec<(f64, f64)> = curve
        .iter()
        // Two events of one read have no place on this axis.
        .filter(|(_, ns)| *ns > 0)
        .map(|(quantile, ns)| (1.0 / (1.0 - quantile), *ns as f64 / 1e6))
        .collect();
    let name = name.to_owned();
    let series = Series { name, colour: Some(colour), dashed: false, points, marked: false };
    (series.points.len() > 1).then_some(series)
}

/// Events a second over the window.
fn timeline(run: &Page<'_>) -> Option<Chart> {
    let steps = &run.outcome.timeline;
    if steps.len() < 2 {
        return None;
    }
    let at = |(index, step): (usize, &load::ledger::Step)| {
        (index as f64 * STEP_S, step.events as f64 / STEP_S)
    };
    let points = steps.iter().enumerate().map(at).collect();
    let series =
        Series { name: "events".into(), colour: Some(0), dashed: false, points, marked: false };
    let title = format!("{} events in {:.1} s", run.outcome.delivered, run.seconds);
    let mut x = Axis::new("seconds in the window", Scale::Linear);
    x.from_zero = true;
    let mut y = Axis::new("events a second, in steps of 100 ms", Scale::Linear);
    y.from_zero = true;
    let caption = "A valley in it is the server, the network between, or a host that was busy.";
    let drawing = plot::lines(&title, &x, &y, &[series]);
    Some((title, caption, drawing))
}
