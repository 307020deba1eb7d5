//! The course of each measure over a run: does it grow?

use std::time::Duration;

use load::stats::{BLOCKS, CONFIDENCE, Trend};
use serde::Serialize;

use super::reading::Reading;

const MIB: f64 = 1024.0 * 1024.0;

/// The share of a run that warms up: rings, caches and pools fill.
const WARM_UP_SHARE: f64 = 0.15;
/// The least time for it, in a run that is long enough.
const WARM_UP: Duration = Duration::from_secs(60);
/// No more of a run than this share.
const WARM_UP_MOST: f64 = 1.0 / 3.0;

/// A slope over a shorter time says nothing of an hour, and a host that stalls bends it: only a rise that no cache
/// explains is judged, from all of the first twentieth to all of the last.
const SHORT: Duration = Duration::from_secs(600);

/// A measure, and how it is judged.
struct Measure {
    name: &'static str,
    unit: &'static str,
    of: fn(&Reading) -> f64,
    /// Growth an hour that is let pass, at least.
    per_hour: f64,
    /// And as a share of the mean.
    share: f64,
    /// The rise in a short time that no cache or pool explains.
    rise: f64,
}

const MEASURES: [Measure; 5] = [
    Measure {
        name: "memory",
        unit: "MiB",
        of: |it| it.memory_bytes as f64 / MIB,
        per_hour: 1.0,
        share: 0.02,
        rise: 6.0,
    },
    count("descriptors", |it| it.descriptors as f64),
    count("threads", |it| it.threads as f64),
    count("streams", |it| it.streams as f64),
    count("sources", |it| it.sources as f64),
];

const fn count(name: &'static str, of: fn(&Reading) -> f64) -> Measure {
    Measure { name, unit: "", of, per_hour: 1.0, share: 0.0, rise: 20.0 }
}

/// The judgement on a measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Growth {
    /// The whole interval is above the bound.
    Grows,
    /// The whole interval is below it.
    Holds,
    /// The interval has the bound in it, or the run is too short.
    CannotTell,
}

/// A measure over a run.
#[derive(Debug, Clone, Serialize)]
pub struct Course {
    /// Its name.
    pub measure: &'static str,
    /// Its unit; empty for counts.
    pub unit: &'static str,
    /// The mean behind the warm-up.
    pub mean: f64,
    /// By how much it rises in an hour.
    pub per_hour: f64,
    /// The lower end of the 95 % interval of that.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// Growth an hour that is let pass.
    pub bound: f64,
    /// The judgement.
    pub growth: Growth,
    /// Twenty means in the order of time: hours from the beginning, and the value.
    pub blocks: Vec<(f64, f64)>,
}

impl Course {
    /// In words: `memory 5.12 MiB, +0.20 MiB/h (-0.10 to +0.50)`.
    pub(super) fn words(&self) -> String {
        let Course { measure, unit, mean, per_hour, low, high, .. } = self;
        let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
        format!("{measure} {mean:.2}{unit}, {per_hour:+.2}{unit}/h ({low:+.2} to {high:+.2})")
    }
}

/// The time of a run that warms up.
pub(super) fn warm_up(lasts: Duration) -> Duration {
    lasts.mul_f64(WARM_UP_SHARE).max(WARM_UP).min(lasts.mul_f64(WARM_UP_MOST))
}

/// The course of each measure behind the warm-up; none if there are too few readings.
pub(super) fn courses(readings: &[(Duration, Reading)], lasts: Duration) -> Vec<Course> {
    let warm = warm_up(lasts);
    let kept: Vec<_> = readings.iter().filter(|it| it.0 >= warm).collect();
    let course = |measure: &Measure| {
        let hours = |it: Duration| it.as_secs_f64() / 3600.0;
        let points: Vec<_> = kept.iter().map(|it| (hours(it.0), (measure.of)(&it.1))).collect();
        let trend = Trend::of(&points, CONFIDENCE)?;
        let measured = kept.last()?.0.saturating_sub(kept.first()?.0);
        Some(judge(measure, trend, measured, certain_rise(&points)))
    };
    MEASURES.iter().filter_map(course).collect()
}

/// From the highest reading of the first block to the lowest of the last.
fn certain_rise(points: &[(f64, f64)]) -> f64 {
    let count = points.len().div_ceil(BLOCKS);
    let highest = points[..count].iter().map(|it| it.1).fold(f64::NEG_INFINITY, f64::max);
    let lowest = points[points.len() - count..].iter().map(|it| it.1).fold(f64::INFINITY, f64::min);
    lowest - highest
}

fn judge(measure: &Measure, trend: Trend, measured: Duration, certain_rise: f64) -> Course {
    let Trend { per_x, low, high, mean, blocks } = trend;
    let bound = measure.per_hour.max(measure.share * mean);
    let growth = if measured < SHORT {
        if certain_rise > measure.rise { Growth::Grows } else { Growth::CannotTell }
    } else if low > bound {
        Growth::Grows
    } else if high < bound {
        Growth::Holds
    } else {
        Growth::CannotTell
    };
    let Measure { name, unit, .. } = *measure;
    Course { measure: name, unit, mean, per_hour: per_x, low, high, bound, growth, blocks }
}

/// Planted courses are judged as they are.
pub(super) fn self_check() -> Result<(), String> {
    let hour = Duration::from_secs(3600);
    let judge = |mib_per_hour: f64, wave: f64, lasts: Duration| {
        let reading = |second: u64| {
            let hours = second as f64 / 3600.0;
            // A wave that is no line, and faster than a block.
            let mib = 10.0 + mib_per_hour * hours + wave * (second % 7) as f64;
            let descriptors = 30 + second % 5;
            let memory_bytes = (mib * MIB) as u64;
            (
                Duration::from_secs(second),
                Reading { memory_bytes, descriptors, ..Reading::default() },
            )
        };
        let readings: Vec<_> = (0..lasts.as_secs()).map(reading).collect();
        courses(&readings, lasts).iter().map(|it| it.growth).collect::<Vec<_>>()
    };
    use Growth::{CannotTell, Grows, Holds};
    for (mib_per_hour, wave, lasts, expected) in [
        (0.0, 0.1, hour, Holds),
        (5.0, 0.1, hour, Grows),
        (1.0, 0.1, hour, CannotTell),
        (5.0, 0.1, hour / 60, CannotTell),
        (7200.0, 0.1, hour / 60, Grows),
    ] {
        let found = judge(mib_per_hour, wave, lasts);
        let others = if lasts == hour { Holds } else { CannotTell };
        if found != [expected, others, others, others, others] {
            return Err(format!(
                "{found:?} at {mib_per_hour} MiB/h in {lasts:?}, not {expected:?}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planted_courses_are_judged_as_they_are() {
        assert_eq!(self_check(), Ok(()));
    }

    /// As a leak looks on a host that stalls: no line, and yet a rise.
    #[test]
    fn a_rise_in_steps_is_one_in_a_short_run_and_a_wave_is_none() {
        let growth = |mib: fn(u64) -> f64| {
            let reading = |at: u64| {
                let memory_bytes = (mib(at) * MIB) as u64;
                (Duration::from_secs(at), Reading { memory_bytes, ..Reading::default() })
            };
            let readings: Vec<_> = (0..60).map(reading).collect();
            courses(&readings, Duration::from_secs(60))[0].growth
        };
        assert_eq!(growth(|at| if at < 25 { 20.0 } else { 53.0 }), Growth::Grows);
        assert_eq!(growth(|at| 20.0 + 30.0 * (at % 2) as f64), Growth::CannotTell);
    }

    #[test]
    fn a_run_warms_up_for_a_minute_or_its_share() {
        let seconds = |it| warm_up(Duration::from_secs(it)).as_secs();
        assert_eq!([30, 120, 180, 600, 3600].map(seconds), [10, 40, 60, 90, 540]);
    }
}
