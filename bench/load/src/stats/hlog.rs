//! Raw latencies as HdrHistogram logs, which other tools read and merge.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

/// One log with an interval of `seconds` for each histogram, tagged with its name.
///
/// # Errors
/// When a histogram cannot be encoded.
pub fn of(histograms: &[(String, &Histogram<u64>)], seconds: f64) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let now = SystemTime::now();
    let mut writer = IntervalLogWriterBuilder::new()
        .add_comment("sse-bench: nanoseconds from scheduled to received; max in milliseconds")
        .with_start_time(now)
        .with_base_time(now)
        // Values are nanoseconds, the column of maxima is milliseconds.
        .with_max_value_divisor(1_000_000.0)
        .begin_log_with(&mut out, &mut serializer)
        .context("cannot begin a histogram log")?;
    for (name, histogram) in histograms {
        // A tag ends at a comma or a space.
        let name = name.replace([',', ' ', '\n', '\r'], "-");
        writer
            .write_histogram(
                histogram,
                Duration::ZERO,
                Duration::from_secs_f64(seconds),
                Tag::new(&name),
            )
            .map_err(|error| anyhow::anyhow!("cannot write a histogram: {error:?}"))?;
    }
    drop(writer);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    #[test]
    fn a_log_is_read_back_with_its_tag_and_counts() {
        let mut histogram = crate::ledger::new_histogram();
        for value in [1000, 2000, 2000, 50_000_000] {
            histogram.record(value).unwrap();
        }
        let log = of(&[("axum shared".into(), &histogram)], 1.5).unwrap();
        let mut seen = 0;
        for entry in IntervalLogIterator::new(&log) {
            let LogEntry::Interval(it) = entry.unwrap() else { continue };
            assert_eq!(it.tag().unwrap().as_str(), "axum-shared");
            let bytes = base64::Engine::decode(
                &base64::engine::general_purpose::STANDARD,
                it.encoded_histogram(),
            )
            .unwrap();
            let read: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
            assert_eq!(
                (read.len(), read.value_at_quantile(0.5)),
                (4, histogram.value_at_quantile(0.5))
            );
            seen += 1;
        }
        assert_eq!(seen, 1);
    }
}
