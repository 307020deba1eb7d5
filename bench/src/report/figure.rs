//! The figures that are measured: names, units, and which way is better.

use std::collections::BTreeMap;

use load::stats::P99_FROM;

use super::Window;

/// A figure that a report shows.
#[derive(Debug, Clone, Copy)]
pub struct Figure {
    /// Its name in the JSON.
    pub name: &'static str,
    /// In a table's header.
    pub title: &'static str,
    /// How it is written.
    pub unit: Unit,
    /// Whether more of it is better.
    pub higher_is_better: bool,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Kept in nanoseconds, written in milliseconds.
    Milliseconds,
    /// Nanoseconds.
    Nanoseconds,
    /// Microseconds.
    Microseconds,
    /// Kept in bytes, written in KiB.
    Kibibytes,
    /// A plain number.
    Number,
    /// Thousands.
    Thousands,
}

const fn lower(name: &'static str, title: &'static str, unit: Unit) -> Figure {
    Figure { name, title, unit, higher_is_better: false }
}

const fn higher(name: &'static str, title: &'static str, unit: Unit) -> Figure {
    Figure { name, title, unit, higher_is_better: true }
}

/// The figures that tables show and comparisons judge, in their order.
pub const FIGURES: &[Figure] = &[
    lower("latency_p50_ns", "p50 ms", Unit::Milliseconds),
    lower("latency_p99_ns", "p99 ms", Unit::Milliseconds),
    lower("latency_max_ns", "max ms", Unit::Milliseconds),
    lower("emit_lateness_p99_ns", "emit late p99 ms", Unit::Milliseconds),
    lower("transit_p99_ns", "transit p99 ms", Unit::Milliseconds),
    lower("cpu_ns_per_event", "CPU ns/event", Unit::Nanoseconds),
    lower("fanout_skew_p50_ns", "skew p50 ms", Unit::Milliseconds),
    lower("fanout_skew_p99_ns", "skew p99 ms", Unit::Milliseconds),
    lower("us_per_recipient", "µs/recipient", Unit::Microseconds),
    higher("events_per_s", "events/s, 1000", Unit::Thousands),
    higher("streams_per_s", "streams/s", Unit::Number),
    lower("time_to_headers_p99_ns", "headers p99 ms", Unit::Milliseconds),
    lower("time_to_first_byte_p99_ns", "first byte p99 ms", Unit::Milliseconds),
    lower("time_to_first_event_p99_ns", "first event p99 ms", Unit::Milliseconds),
    lower("bytes_per_event", "bytes/event", Unit::Number),
    lower("write_calls_per_event", "writes/event", Unit::Number),
    lower("resident_bytes_per_stream", "KiB/stream", Unit::Kibibytes),
    lower("kernel_bytes_per_stream", "kernel KiB/stream", Unit::Kibibytes),
    lower("isolation_ratio", "p99 × without", Unit::Number),
];

/// The figures that the twin must agree in, and that a comparison judges first.
pub const HEADLINES: [&str; 3] = ["cpu_ns_per_event", "latency_p50_ns", "latency_p99_ns"];

/// The figure of this name.
pub fn figure(name: &str) -> Option<&'static Figure> {
    FIGURES.iter().find(|it| it.name == name)
}

impl Unit {
    /// The unit's name behind a value, with a space.
    pub fn suffix(self) -> &'static str {
        match self {
            Unit::Milliseconds => " ms",
            Unit::Nanoseconds => " ns",
            Unit::Microseconds => " µs",
            Unit::Kibibytes => " KiB",
            Unit::Thousands => " thousand",
            Unit::Number => "",
        }
    }

    /// A value in words of this unit, without its name.
    pub fn write(self, value: f64) -> String {
        match self {
            Unit::Milliseconds => significant(value / 1e6),
            Unit::Nanoseconds => format!("{value:.0}"),
            Unit::Kibibytes => format!("{:.1}", value / 1024.0),
            Unit::Thousands => significant(value / 1e3),
            Unit::Microseconds | Unit::Number => significant(value),
        }
    }
}

/// Three digits that count, but whole numbers whole.
pub fn significant(value: f64) -> String {
    match value.abs() {
        it if it >= 100.0 => format!("{value:.0}"),
        it if it >= 10.0 => format!("{value:.1}"),
        it if it >= 0.1 || it == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Every figure of a window: its own, and the percentiles of its distributions.
pub(super) fn of_window(window: &Window) -> BTreeMap<String, f64> {
    let mut all = window.figures.clone();
    for (name, it) in &window.distributions {
        all.insert(format!("{name}_p50_ns"), it.p50_ns as f64);
        if it.n >= P99_FROM {
            all.insert(format!("{name}_p99_ns"), it.p99_ns as f64);
        }
        all.insert(format!("{name}_max_ns"), it.max_ns as f64);
    }
    all
}

#[cfg(test)]
mod tests {
    use load::stats::Distribution;

    use super::*;

    #[test]
    fn a_window_has_a_p99_only_of_many_values() {
        let mut histogram = load::ledger::new_histogram();
        for (count, has_p99) in [(999, false), (1000, true)] {
            histogram.reset();
            histogram.record_n(1000, count).unwrap();
            let latency = Distribution::of(&histogram).unwrap();
            let distributions = [("latency".to_owned(), latency)].into();
            let all = of_window(&Window { distributions, ..Window::default() });
            assert_eq!(all.contains_key("latency_p99_ns"), has_p99);
            assert!(all.contains_key("latency_p50_ns"));
        }
    }

    #[test]
    fn every_headline_is_a_figure() {
        assert!(HEADLINES.iter().all(|it| figure(it).is_some()));
    }
}
