//! The figures that are measured: what a window holds, and what tables show of it.

use load::stats::{Distribution, P99_FROM};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Window;

/// The values of one window that are no distribution; nothing where its workload does not ask.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Figures {
    /// CPU time of the server for a delivered event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_ns_per_event: Option<f64>,
    /// The share of it that is not the kernel's, 0 to 1, sampled by the kernel's tick.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_user_share_approximate: Option<f64>,
    /// From one subscriber of a broadcast to the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub us_per_recipient: Option<f64>,
    /// Events between the marks of a firehose, in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_per_s: Option<f64>,
    /// Streams that had their first event, in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streams_per_s: Option<f64>,
    /// Bytes received for an event, framing included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_event: Option<f64>,
    /// The share of the deliveries due that came, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completeness: Option<f64>,
    /// Stalled readers that the server gave up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stalled_closed: Option<u64>,
    /// Resident memory of the server for one more open stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resident_bytes_per_stream: Option<f64>,
    /// How straight that line is, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resident_r_squared: Option<f64>,
    /// Kernel memory for one more open stream, both ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_bytes_per_stream: Option<f64>,
    /// How straight that line is, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_r_squared: Option<f64>,
    /// The 99th percentile with stalled readers as a multiple of that without, in the same round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolation_ratio: Option<f64>,
}

/// The distributions of one window; nothing where its workload does not ask.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Distributions {
    /// Received − scheduled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Distribution>,
    /// Sent − scheduled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emit_lateness: Option<Distribution>,
    /// Received − sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transit: Option<Distribution>,
    /// From connect() to the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_time: Option<Distribution>,
    /// From the request to the whole response head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_to_headers: Option<Distribution>,
    /// From the request to the first byte of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_to_first_byte: Option<Distribution>,
    /// From the request to the first event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_to_first_event: Option<Distribution>,
    /// From the first subscriber that had a message to the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fanout_skew: Option<Distribution>,
}

/// A figure that tables show and comparisons judge.
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
    /// Whether it depends on how fast the host is, so that only its multiple of the floor compares.
    pub of_the_host: bool,
    /// Its value in a window.
    pub of: fn(&Window) -> Option<f64>,
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

const fn lower(
    name: &'static str,
    title: &'static str,
    unit: Unit,
    of: fn(&Window) -> Option<f64>,
) -> Figure {
    Figure { name, title, unit, higher_is_better: false, of_the_host: true, of }
}

const fn higher(figure: Figure) -> Figure {
    Figure { higher_is_better: true, ..figure }
}

const fn absolute(figure: Figure) -> Figure {
    Figure { of_the_host: false, ..figure }
}

pub(super) const LATENCY_P50: Figure =
    lower("latency_p50_ns", "p50 ms", Unit::Milliseconds, |it| p50(&it.distributions.latency));
pub(super) const LATENCY_P99: Figure =
    lower("latency_p99_ns", "p99 ms", Unit::Milliseconds, |it| p99(&it.distributions.latency));
pub(super) const LATENCY_MAX: Figure =
    lower("latency_max_ns", "max ms", Unit::Milliseconds, |it| {
        it.distributions.latency.as_ref().map(|it| it.max_ns as f64)
    });
pub(super) const CPU: Figure =
    lower("cpu_ns_per_event", "CPU ns/event", Unit::Nanoseconds, |it| it.figures.cpu_ns_per_event);
pub(super) const SKEW_P50: Figure =
    lower("fanout_skew_p50_ns", "skew p50 ms", Unit::Milliseconds, |it| {
        p50(&it.distributions.fanout_skew)
    });
pub(super) const FIRST_EVENT_P99: Figure =
    lower("time_to_first_event_p99_ns", "first event p99 ms", Unit::Milliseconds, |it| {
        p99(&it.distributions.time_to_first_event)
    });
pub(super) const MEMORY: Figure =
    lower("resident_bytes_per_stream", "KiB/stream", Unit::Kibibytes, |it| {
        it.figures.resident_bytes_per_stream
    });

/// Every figure, in the order of the tables.
pub const FIGURES: &[Figure] = &[
    LATENCY_P50,
    LATENCY_P99,
    LATENCY_MAX,
    lower("emit_lateness_p99_ns", "emit late p99 ms", Unit::Milliseconds, |it| {
        p99(&it.distributions.emit_lateness)
    }),
    lower("transit_p99_ns", "transit p99 ms", Unit::Milliseconds, |it| {
        p99(&it.distributions.transit)
    }),
    CPU,
    SKEW_P50,
    lower("fanout_skew_p99_ns", "skew p99 ms", Unit::Milliseconds, |it| {
        p99(&it.distributions.fanout_skew)
    }),
    lower("us_per_recipient", "µs/recipient", Unit::Microseconds, |it| {
        it.figures.us_per_recipient
    }),
    higher(lower("events_per_s", "events/s, 1000", Unit::Thousands, |it| it.figures.events_per_s)),
    higher(lower("streams_per_s", "streams/s", Unit::Number, |it| it.figures.streams_per_s)),
    lower("time_to_headers_p99_ns", "headers p99 ms", Unit::Milliseconds, |it| {
        p99(&it.distributions.time_to_headers)
    }),
    lower("time_to_first_byte_p99_ns", "first byte p99 ms", Unit::Milliseconds, |it| {
        p99(&it.distributions.time_to_first_byte)
    }),
    FIRST_EVENT_P99,
    absolute(lower("bytes_per_event", "bytes/event", Unit::Number, |it| {
        it.figures.bytes_per_event
    })),
    MEMORY,
    lower("kernel_bytes_per_stream", "kernel KiB/stream", Unit::Kibibytes, |it| {
        it.figures.kernel_bytes_per_stream
    }),
    absolute(lower("isolation_ratio", "p99 × without", Unit::Number, |it| {
        it.figures.isolation_ratio
    })),
];

/// The figures that the twin must agree in, and that a comparison judges first.
pub const HEADLINES: [Figure; 3] = [CPU, LATENCY_P50, LATENCY_P99];

impl Figure {
    /// The figure of this name.
    pub fn find(name: &str) -> Option<&'static Figure> {
        FIGURES.iter().find(|it| it.name == name)
    }

    /// Whether it is one of the [`HEADLINES`].
    pub fn is_headline(&self) -> bool {
        HEADLINES.iter().any(|it| it.name == self.name)
    }
}

fn p50(of: &Option<Distribution>) -> Option<f64> {
    of.as_ref().map(|it| it.p50_ns as f64)
}

/// Only of many values: of few there is none.
fn p99(of: &Option<Distribution>) -> Option<f64> {
    of.as_ref().filter(|it| it.n >= P99_FROM).map(|it| it.p99_ns as f64)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_a_p99_only_of_many_values() {
        let mut histogram = load::ledger::new_histogram();
        for (count, has_p99) in [(999, false), (1000, true)] {
            histogram.reset();
            histogram.record_n(1000, count).unwrap();
            let latency = Distribution::of(&histogram);
            let distributions = Distributions { latency, ..Distributions::default() };
            let window = Window { distributions, ..Window::default() };
            assert_eq!((LATENCY_P99.of)(&window).is_some(), has_p99);
            assert!((LATENCY_P50.of)(&window).is_some());
        }
    }

    #[test]
    fn every_headline_is_a_figure_and_no_name_is_used_twice() {
        assert!(HEADLINES.iter().all(|it| Figure::find(it.name).is_some()));
        let names: std::collections::BTreeSet<_> = FIGURES.iter().map(|it| it.name).collect();
        assert_eq!(names.len(), FIGURES.len());
    }
}
