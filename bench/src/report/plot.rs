//! Charts as inline SVG: lines, dots with ranges, axes, and nothing else.
//!
//! Colours come from the page's custom properties, so that one chart is right in light and dark.
//! The series differ in colour, in dashes and in a marker's shape, and are named in a
//! legend, so that no chart needs colours to be read.

use maud::{Markup, html};

/// Size of a chart in its own units; the page scales it to its width. Small enough that its text
/// can be read on a phone, where a unit is three quarters of a pixel.
const WIDTH: f64 = 480.0;
/// Room for the ticks and the label below a chart.
const BOTTOM: f64 = 44.0;

/// The most that a character of a chart takes: a digit of a wide font.
const CHARACTER: f64 = 8.0;
/// Between a text and what it stands beside.
const GAP: f64 = 8.0;

/// More lines than these hide each other: then each server has a small chart, with the same axes.
const TOGETHER: usize = 5;

/// The area between the axes.
#[derive(Debug, Clone, Copy)]
struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

const LARGE: Frame = Frame { left: 52.0, right: WIDTH - 12.0, top: 12.0, bottom: 242.0 };

/// Two stand side by side on a phone, without a label at their axes; on the left there is room for `100k`.
const SMALL: Frame = Frame { left: 40.0, right: 176.0, top: 24.0, bottom: 124.0 };
const SMALL_WIDTH: f64 = 184.0;
const SMALL_BOTTOM: f64 = 22.0;

/// Colours that there are; Okabe and Ito's, which colour-blind people can distinguish.
pub(super) const COLOURS: usize = 7;

/// How values lie on an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    Log,
}

/// An axis.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    pub(super) label: String,
    pub(super) scale: Scale,
    /// Where to put ticks and what to write there; empty = round numbers.
    pub(super) ticks: Vec<(f64, String)>,
    /// Begin at zero.
    pub(super) from_zero: bool,
    /// A value of it in words.
    pub(super) words: fn(f64) -> String,
}

impl Axis {
    pub(super) fn new(label: &str, scale: Scale) -> Axis {
        Axis { label: label.into(), scale, ticks: Vec::new(), from_zero: false, words: number }
    }
}

/// One line.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) name: String,
    /// Below [`COLOURS`]; `None` = the floor's grey.
    pub(super) colour: Option<usize>,
    pub(super) dashed: bool,
    pub(super) points: Vec<(f64, f64)>,
    /// Draw a marker at each point.
    pub(super) marked: bool,
}

/// A value with a range, in a separate row.
#[derive(Debug, Clone)]
pub(super) struct Dot {
    pub(super) name: String,
    pub(super) colour: Option<usize>,
    pub(super) low: f64,
    pub(super) value: f64,
    pub(super) high: f64,
    /// The value in words, at the right.
    pub(super) label: String,
}

/// A map from values to places.
struct Map {
    scale: Scale,
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Map {
    fn of(values: impl Iterator<Item = f64>, axis: &Axis, start: f64, end: f64) -> Map {
        let usable = |it: &f64| it.is_finite() && (axis.scale == Scale::Linear || *it > 0.0);
        let (mut from, mut to) = values
            .filter(usable)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), it| (a.min(it), b.max(it)));
        if from > to {
            (from, to) = (1.0, 2.0);
        }
        if axis.from_zero {
            from = 0.0;
        }
        if from == to {
            to = if from == 0.0 { 1.0 } else { from * 1.5 };
        }
        if axis.scale == Scale::Log {
            (from, to) = (from * 0.93, to * 1.08);
        } else {
            to += (to - from) * 0.04;
        }
        Map { scale: axis.scale, from, to, start, end }
    }

    fn at(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (value - self.from) / (self.to - self.from),
            Scale::Log => (value.max(self.from) / self.from).ln() / (self.to / self.from).ln(),
        };
        self.start + share * (self.end - self.start)
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        match self.scale {
            Scale::Linear => {
                let raw = (self.to - self.from) / 4.0;
                let power = 10_f64.powf(raw.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].map(|it| it * power);
                let step = step.into_iter().find(|it| *it >= raw).unwrap_or(raw);
                let first = (self.from / step).ceil() as i64;
                let last = (self.to / step).floor() as i64;
                (first..=last).map(|it| (it as f64 * step, number(it as f64 * step))).collect()
            }
            Scale::Log => {
                let decades = (self.to / self.from).log10();
                let parts: &[f64] = if decades > 3.0 {
                    &[1.0]
                } else if decades > 1.2 {
                    &[1.0, 3.0]
                } else {
                    &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0]
                };
                let mut found = Vec::new();
                for power in (self.from.log10().floor() as i32)..=(self.to.log10().ceil() as i32) {
                    for part in parts {
                        let value = part * 10_f64.powi(power);
                        if value >= self.from && value <= self.to {
                            found.push((value, number(value)));
                        }
                    }
                }
                found
            }
        }
    }
}

/// A short number: `0.05`, `12`, `1.5k`, `2M`.
fn number(value: f64) -> String {
    let short = |value: f64| {
        let text = format!("{value:.3}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match value.abs() {
        it if it >= 1e6 => format!("{}M", short(value / 1e6)),
        it if it >= 1e4 => format!("{}k", short(value / 1e3)),
        _ => short(value),
    }
}

fn colour(index: Option<usize>) -> String {
    index.map_or("var(--floor)".into(), |it| format!("var(--c{})", it % COLOURS))
}

/// Lines over two axes, with a legend below.
pub(super) fn lines(describes: &str, x: &Axis, y: &Axis, series: &[Series]) -> Markup {
    let drawn = series.iter().enumerate().filter(|(_, it)| !it.points.is_empty());
    let mut drawn: Vec<(usize, &Series)> = drawn.collect();
    // The floor first: it lies below the others.
    drawn.sort_by_key(|(_, it)| it.colour.is_some());
    let is_small = drawn.len() > TOGETHER;
    let frame = if is_small { SMALL } else { LARGE };
    let points = || drawn.iter().flat_map(|(_, it)| &it.points);
    let across = Map::of(points().map(|it| it.0), x, frame.left, frame.right);
    let up = Map::of(points().map(|it| it.1), y, frame.bottom, frame.top);
    // The floor is in each small chart; its values are written once.
    let plot = |lines: &[(usize, &Series)], is_first: bool| {
        html! {
            (x_axis(x, &across, &frame))
            (y_axis(y, &up, &frame))
            @for (number, it) in lines {
                (line(*number, it, (x, &across), (y, &up), is_first || it.colour.is_some()))
            }
        }
    };
    html! {
        div class="lines" role="group" aria-label=(format!("{describes}; arrow keys show the values"))
            data-span=(format!("{:.0} {:.0}", frame.top, frame.bottom)) {
            @if is_small {
                div class="small" {
                    @for (index, (name, lines)) in servers(&drawn).into_iter().enumerate() {
                        (svg(&name, SMALL_WIDTH, frame.bottom + SMALL_BOTTOM, &html! {
                            (text(frame.left, 14.0, "start", "name", &name))
                            (plot(&lines, index == 0))
                        }))
                    }
                }
                p class="axes soft" {
                    "Across: " (x.label) ". Up: " (y.label) ". All have the same axes."
                }
            } @else {
                (svg(describes, WIDTH, frame.bottom + BOTTOM, &html! {
                    (plot(&drawn, true))
                    (axis_labels(x, y, &frame))
                }))
            }
            p class="at soft" {}
            (legend(series))
        }
    }
}

/// The lines of each server, which have one colour, under its name, each with the floor below them.
fn servers<'s>(drawn: &[(usize, &'s Series)]) -> Vec<(String, Vec<(usize, &'s Series)>)> {
    let mut colours: Vec<usize> = Vec::new();
    for (_, it) in drawn {
        colours.extend(it.colour.filter(|it| !colours.contains(it)));
    }
    let of = |colour| {
        let own = drawn.iter().filter(move |(_, it)| it.colour == Some(colour));
        let floor = drawn.iter().filter(|(_, it)| it.colour.is_none());
        let first = own.clone().next().map_or("", |it| it.1.name.as_str());
        let mut words: Vec<&str> = first.split(' ').collect();
        for (_, it) in own.clone() {
            let same = words.iter().zip(it.name.split(' ')).take_while(|(a, b)| **a == *b).count();
            words.truncate(same);
        }
        (words.join(" "), floor.chain(own).copied().collect())
    };
    colours.into_iter().map(of).collect()
}

/// Values with ranges, a row each; `reference` is drawn as a line, `band` as an area around it.
pub(super) fn dots(
    describes: &str,
    x: &Axis,
    rows: &[Dot],
    reference: Option<f64>,
    band: Option<(f64, f64)>,
) -> Markup {
    const ROW: f64 = 20.0;
    // Names and labels end beside the axis, whatever they are.
    let room = |of: fn(&Dot) -> &str| GAP + rows.iter().map(|it| width(of(it))).fold(0.0, f64::max);
    let (start, end) = (room(|it| &it.name), WIDTH - room(|it| &it.label));
    let top = LARGE.top;
    let bottom = top + ROW * rows.len() as f64 + 4.0;
    let frame = Frame { left: start, right: end, top, bottom };
    let values = rows.iter().flat_map(|it| [it.low, it.value, it.high]).chain(reference);
    let across = Map::of(values, x, start, end);
    let band = band.map(|(low, high)| (across.at(low).max(start), across.at(high).min(end)));
    let drawing = html! {
        @if let Some((a, b)) = band {
            path class="band" d=(format!("M{a:.1} {top}H{b:.1}V{bottom:.1}H{a:.1}Z")) {}
        }
        (x_axis(x, &across, &frame))
        (text(WIDTH / 2.0, bottom + 36.0, "middle", "label", &x.label))
        @if let Some(value) = reference {
            path class="one" d=(format!("M{:.1} {top}V{bottom:.1}", across.at(value))) {}
        }
        @for (index, row) in rows.iter().enumerate() {
            @let middle = top + ROW * (index as f64 + 0.5);
            @let (low, high) = (across.at(row.low), across.at(row.high));
            @let colour = colour(row.colour);
            (text(start - 8.0, middle + 4.0, "end", "name", &row.name))
            path d=(format!("M{low:.1} {middle:.1}H{high:.1}")) stroke=(colour) stroke-width="3" {}
            (circle(across.at(row.value), middle, 5, &colour))
            (text(end + 8.0, middle + 4.0, "start", "", &row.label))
        }
    };
    svg(describes, WIDTH, bottom + BOTTOM, &drawing)
}

fn svg(describes: &str, width: f64, height: f64, drawing: &Markup) -> Markup {
    html! {
        svg viewBox=(format!("0 0 {width} {height:.0}")) role="img" aria-label=(describes) {
            title { (describes) }
            (drawing)
        }
    }
}

fn text(x: f64, y: f64, anchor: &str, class: &str, words: &str) -> Markup {
    let (x, y) = (format!("{x:.1}"), format!("{y:.1}"));
    let class = Some(class).filter(|it| !it.is_empty());
    html! { text x=(x) y=(y) text-anchor=(anchor) class=[class] { (words) } }
}

/// The room that a text takes.
fn width(text: &str) -> f64 {
    text.chars().count() as f64 * CHARACTER
}

fn circle(x: f64, y: f64, radius: u32, fill: &str) -> Markup {
    let (x, y) = (format!("{x:.1}"), format!("{y:.1}"));
    html! { circle cx=(x) cy=(y) r=(radius) fill=(fill) {} }
}

/// The grid, and the ticks below it that have room.
fn x_axis(axis: &Axis, across: &Map, frame: &Frame) -> Markup {
    let Frame { top, bottom, .. } = frame;
    let mut ticks = if axis.ticks.is_empty() { across.ticks() } else { axis.ticks.clone() };
    ticks.retain(|(value, _)| (across.from..=across.to).contains(value));
    // The words of the last one end at the edge of the drawing.
    let middle = |(value, words): &(f64, String)| {
        across.at(*value).min(frame.right + GAP - width(words) / 2.0)
    };
    let mut end = f64::NEG_INFINITY;
    ticks.retain(|tick| {
        let half = width(&tick.1) / 2.0;
        let has_room = middle(tick) - half > end + CHARACTER;
        if has_room {
            end = middle(tick) + half;
        }
        has_room
    });
    html! {
        @for tick in ticks {
            path class="grid" d=(format!("M{:.1} {top}V{bottom:.1}", across.at(tick.0))) {}
            (text(middle(&tick), bottom + 16.0, "middle", "", &tick.1))
        }
    }
}

/// The grid, and the ticks beside it that have room.
fn y_axis(axis: &Axis, up: &Map, frame: &Frame) -> Markup {
    const LINE: f64 = 13.0;
    let mut last = f64::INFINITY;
    let mut ticks = if axis.ticks.is_empty() { up.ticks() } else { axis.ticks.clone() };
    ticks.retain(|(value, _)| {
        let has_room = last - up.at(*value) > LINE;
        if has_room {
            last = up.at(*value);
        }
        has_room
    });
    html! {
        @for (value, words) in ticks {
            @let at = up.at(value);
            path class="grid" d=(format!("M{} {at:.1}H{:.1}", frame.left, frame.right)) {}
            (text(frame.left - 6.0, at + 4.0, "end", "", &words))
        }
    }
}

/// The label below, and the one beside, upright.
fn axis_labels(x: &Axis, y: &Axis, frame: &Frame) -> Markup {
    let across = f64::midpoint(frame.left, frame.right);
    let middle = f64::midpoint(frame.top, frame.bottom);
    html! {
        (text(across, frame.bottom + 36.0, "middle", "label", &x.label))
        text transform=(format!("translate(13 {middle:.1}) rotate(-90)"))
            text-anchor="middle" class="label" { (y.label) }
    }
}

/// One line, `with_values` in words for the page's script.
fn line(
    number: usize,
    series: &Series,
    x: (&Axis, &Map),
    y: (&Axis, &Map),
    with_values: bool,
) -> Markup {
    let places: Vec<(f64, f64)> =
        series.points.iter().map(|it| (x.1.at(it.0), y.1.at(it.1))).collect();
    let steps: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
    let words = |axis: &Axis, of: fn(&(f64, f64)) -> f64| -> Option<String> {
        let all: Vec<String> = series.points.iter().map(|it| (axis.words)(of(it))).collect();
        with_values.then(|| all.join(";"))
    };
    let colour = colour(series.colour);
    let width = if series.colour.is_none() { 4 } else { 2 };
    html! {
        path d=(format!("M{}", steps.join("L"))) fill="none" stroke=(colour)
            stroke-width=(width) stroke-dasharray=[series.dashed.then_some("5 3")]
            data-line=(number) data-x=[words(x.0, |it| it.0)] data-y=[words(y.0, |it| it.1)] {
            title { (series.name) }
        }
        @if series.marked {
            @for (x, y) in places {
                circle cx=(format!("{x:.1}")) cy=(format!("{y:.1}")) r="4" fill=(colour) data-line=(number) {}
            }
        }
    }
}

fn legend(series: &[Series]) -> Markup {
    html! {
        ul class="legend" {
            @for (number, it) in series.iter().enumerate() {
                @let style = if it.dashed { "dashed" } else { "solid" };
                li data-line=(number) {
                    i style=(format!("border-top:3px {style} {}", colour(it.colour))) {}
                    (it.name)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_holds_its_points_names_and_units() {
        let series = Series {
            name: "a<b".into(),
            colour: Some(1),
            dashed: true,
            points: vec![(1.0, 10.0), (100.0, 1000.0)],
            marked: true,
        };
        let (x, y) = (Axis::new("streams", Scale::Log), Axis::new("latency, ms", Scale::Log));
        let svg = lines("it rises", &x, &y, &[series]).into_string();
        assert!(svg.contains("latency, ms") && svg.contains("a&lt;b") && svg.contains("it rises"));
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(svg.contains("data-x=\"1;100\" data-y=\"10;1000\""), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        // Up is down in SVG: the higher value has the smaller y.
        let y_of = |n: usize| -> f64 {
            let circle = svg.split("cy=\"").nth(n).unwrap();
            circle.split('"').next().unwrap().parse().unwrap()
        };
        assert!(y_of(1) > y_of(2));
    }

    #[test]
    fn lines_that_would_hide_each_other_have_a_small_chart_for_each_server() {
        let line = |name: &str, colour, dashed| Series {
            name: name.into(),
            colour,
            dashed,
            points: vec![(1.0, 10.0), (100.0, 1000.0)],
            marked: false,
        };
        let mut all = vec![line("floor", None, false)];
        for (colour, server) in ["std sockets", "axum"].into_iter().enumerate() {
            for encoding in ["shared", "native"] {
                all.push(line(&format!("{server} {encoding}"), Some(colour), encoding == "native"));
            }
        }
        let axis = Axis::new("x", Scale::Log);
        let svgs =
            |all: &[Series]| lines("many", &axis, &axis, all).into_string().matches("<svg").count();
        assert_eq!(svgs(&all), 1, "five have room in one chart");
        all.push(line("poem shared", Some(2), false));
        assert_eq!(svgs(&all), 3);
        let page = lines("many", &axis, &axis, &all).into_string();
        for name in ["std sockets", "axum", "poem shared"] {
            assert!(page.contains(&format!("aria-label=\"{name}\"")), "{name}: {page}");
        }
        // Each has the floor.
        assert_eq!(page.matches("<path d").count(), all.len() + 2, "{page}");
        assert_eq!(page.matches("data-x").count(), all.len(), "{page}");
    }

    #[test]
    fn empty_and_single_values_draw_without_nonsense() {
        let axis = Axis::new("x", Scale::Linear);
        for rows in [
            vec![],
            vec![Dot {
                name: "a".into(),
                colour: None,
                low: 1.0,
                value: 1.0,
                high: 1.0,
                label: "1".into(),
            }],
        ] {
            let svg = dots("d", &axis, &rows, Some(1.0), Some((0.95, 1.05))).into_string();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
