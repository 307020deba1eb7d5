//! Charts as inline SVG: lines, dots with ranges, axes, and nothing else.
//!
//! Colours come from the page's custom properties, so that one chart is right in light and dark.
//! The series differ in colour, in dashes and in a marker's shape, and are named in a
//! legend, so that no chart needs colours to be read.

use std::fmt::Write;

/// Size of a chart in its own units; the page scales it to its width. Small enough that its text
/// can be read on a phone, where a unit is three quarters of a pixel.
const WIDTH: f64 = 480.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;
const PLOT_HEIGHT: f64 = 230.0;

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
}

impl Axis {
    pub(super) fn new(label: &str, scale: Scale) -> Axis {
        Axis { label: label.into(), scale, ticks: Vec::new(), from_zero: false }
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

/// Makes text safe in HTML and SVG.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
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
pub(super) fn lines(describes: &str, x: &Axis, y: &Axis, series: &[Series]) -> String {
    let points = || series.iter().flat_map(|it| &it.points);
    let bottom = TOP + PLOT_HEIGHT;
    let across = Map::of(points().map(|it| it.0), x, LEFT, WIDTH - RIGHT);
    let up = Map::of(points().map(|it| it.1), y, bottom, TOP);
    let height = bottom + BOTTOM;
    let mut svg = open(describes, height);
    let ticks = if x.ticks.is_empty() { across.ticks() } else { x.ticks.clone() };
    for (value, text) in ticks {
        if value < across.from || value > across.to {
            continue;
        }
        let at = across.at(value);
        put(
            &mut svg,
            format_args!(
                "<path class='grid' d='M{at:.1} {TOP}V{bottom}'/>\
             <text x='{at:.1}' y='{:.1}' text-anchor='middle'>{}</text>",
                bottom + 16.0,
                escape(&text)
            ),
        );
    }
    for (value, text) in up.ticks() {
        let at = up.at(value);
        put(
            &mut svg,
            format_args!(
                "<path class='grid' d='M{LEFT} {at:.1}H{:.1}'/>\
             <text x='{:.1}' y='{:.1}' text-anchor='end'>{text}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0
            ),
        );
    }
    put(
        &mut svg,
        format_args!(
            "<text x='{:.1}' y='{:.1}' text-anchor='middle' class='label'>{}</text>\
         <text transform='translate(13 {:.1}) rotate(-90)' text-anchor='middle' class='label'>{}</text>",
            f64::midpoint(LEFT, WIDTH - RIGHT),
            bottom + 36.0,
            escape(&x.label),
            f64::midpoint(TOP, bottom),
            escape(&y.label)
        ),
    );
    // The floor first: it lies below the others.
    let mut ordered: Vec<&Series> = series.iter().collect();
    ordered.sort_by_key(|it| it.colour.is_some());
    for it in ordered {
        let mut path = String::new();
        for (index, (a, b)) in it.points.iter().enumerate() {
            let command = if index == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{command}{:.1} {:.1}", across.at(*a), up.at(*b));
        }
        let dashes = if it.dashed { " stroke-dasharray='5 3'" } else { "" };
        let width = if it.colour.is_none() { 4 } else { 2 };
        put(
            &mut svg,
            format_args!(
                "<path d='{path}' fill='none' stroke='{}' stroke-width='{width}'{dashes}><title>{}</title></path>",
                colour(it.colour),
                escape(&it.name)
            ),
        );
        for (a, b) in it.points.iter().filter(|_| it.marked) {
            put(
                &mut svg,
                format_args!(
                    "<circle cx='{:.1}' cy='{:.1}' r='4' fill='{}'/>",
                    across.at(*a),
                    up.at(*b),
                    colour(it.colour)
                ),
            );
        }
    }
    svg.push_str("</svg>");
    svg.push_str(&legend(series));
    svg
}

/// Values with ranges, a row each; `reference` is drawn as a line, `band` as an area around it.
pub(super) fn dots(
    describes: &str,
    x: &Axis,
    rows: &[Dot],
    reference: Option<f64>,
    band: Option<(f64, f64)>,
) -> String {
    const ROW: f64 = 20.0;
    const NAMES: f64 = 164.0;
    const LABELS: f64 = 106.0;
    let bottom = TOP + ROW * rows.len() as f64 + 4.0;
    let values = rows.iter().flat_map(|it| [it.low, it.value, it.high]).chain(reference);
    let across = Map::of(values, x, NAMES, WIDTH - LABELS);
    let mut svg = open(describes, bottom + BOTTOM);
    if let Some((low, high)) = band {
        let (a, b) = (across.at(low).max(NAMES), across.at(high).min(WIDTH - LABELS));
        put(
            &mut svg,
            format_args!("<path class='band' d='M{a:.1} {TOP}H{b:.1}V{bottom:.1}H{a:.1}Z'/>"),
        );
    }
    for (value, text) in across.ticks() {
        let at = across.at(value);
        put(
            &mut svg,
            format_args!(
                "<path class='grid' d='M{at:.1} {TOP}V{bottom:.1}'/>\
             <text x='{at:.1}' y='{:.1}' text-anchor='middle'>{text}</text>",
                bottom + 16.0
            ),
        );
    }
    if let Some(value) = reference {
        let at = across.at(value);
        put(&mut svg, format_args!("<path class='one' d='M{at:.1} {TOP}V{bottom:.1}'/>"));
    }
    for (index, row) in rows.iter().enumerate() {
        let middle = TOP + ROW * (index as f64 + 0.5);
        let (low, at, high) = (across.at(row.low), across.at(row.value), across.at(row.high));
        put(
            &mut svg,
            format_args!(
                "<text x='{:.1}' y='{:.1}' text-anchor='end' class='name'>{}</text>\
             <path d='M{low:.1} {middle:.1}H{high:.1}' stroke='{c}' stroke-width='3'/>\
             <circle cx='{at:.1}' cy='{middle:.1}' r='5' fill='{c}'/>\
             <text x='{:.1}' y='{:.1}'>{}</text>",
                NAMES - 8.0,
                middle + 4.0,
                escape(&row.name),
                WIDTH - LABELS + 8.0,
                middle + 4.0,
                escape(&row.label),
                c = colour(row.colour)
            ),
        );
    }
    put(
        &mut svg,
        format_args!(
            "<text x='{:.1}' y='{:.1}' text-anchor='middle' class='label'>{}</text></svg>",
            WIDTH / 2.0,
            bottom + 36.0,
            escape(&x.label)
        ),
    );
    svg
}

fn open(describes: &str, height: f64) -> String {
    let describes = escape(describes);
    format!(
        "<svg viewBox='0 0 {WIDTH} {height:.0}' role='img' aria-label=\"{describes}\">\
         <title>{describes}</title>"
    )
}

fn legend(series: &[Series]) -> String {
    let mut out = String::from("<ul class='legend'>");
    for it in series {
        let style = if it.dashed { "dashed" } else { "solid" };
        let _ = write!(
            out,
            "<li><i style='border-top:3px {style} {}'></i>{}</li>",
            colour(it.colour),
            escape(&it.name)
        );
    }
    out.push_str("</ul>");
    out
}

/// Writing to a String cannot fail.
fn put(out: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(what);
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
        let svg = lines("it rises", &x, &y, &[series]);
        assert!(svg.contains("latency, ms") && svg.contains("a&lt;b") && svg.contains("it rises"));
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        // Up is down in SVG: the higher value has the smaller y.
        let y_of = |n: usize| -> f64 {
            let circle = svg.split("cy='").nth(n).unwrap();
            circle.split('\'').next().unwrap().parse().unwrap()
        };
        assert!(y_of(1) > y_of(2));
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
            let svg = dots("d", &axis, &rows, Some(1.0), Some((0.95, 1.05)));
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
