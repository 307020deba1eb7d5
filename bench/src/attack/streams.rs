//! Many streams stay open: each gets each event, and at the end all descriptors are free again.

use serde_json::json;
use wire::EventStream;

use super::target::broken;
use super::{Failure, Figures, Outcome, Size, Target};

/// In words.
pub(super) fn promise(size: &Size) -> String {
    format!(
        "{} streams get each of {} ticks, one every {} ms; then all descriptors are free again",
        size.streams, size.ticks, size.tick_ms
    )
}

pub(super) fn run(target: &Target) -> Outcome {
    let Size { streams: count, ticks, tick_ms, .. } = target.size;
    let running = target.start(&[])?;
    let path = format!("/ticks?interval_ms={tick_ms}");
    let before = running.usage()?;
    let mut streams = Vec::with_capacity(count);
    for number in 1..=count {
        let place = format!("stream {number}");
        streams.push(running.open(&path).map_err(|error| Failure::from(error).at(&place))?);
    }
    for due in 1..=ticks {
        for (number, stream) in (1..).zip(&mut streams) {
            next_tick(stream, due).map_err(|failure| failure.at(&format!("stream {number}")))?;
        }
    }
    let with_streams = running.usage()?;
    drop(streams);
    running.has_freed_descriptors(before)?;
    running.is_healthy()?;
    let grown = with_streams.rss_bytes.saturating_sub(before.rss_bytes);
    let kib = grown as f64 / 1024.0 / count as f64;
    Ok(Figures {
        headline: format!("{kib:.1} KiB a stream"),
        all: json!({
            "streams": count,
            "events": count as u64 * ticks,
            "kib_per_stream": kib,
            "descriptors_before": before.fds,
            "descriptors_with_streams": with_streams.fds,
        }),
    })
}

/// Ticks have the numbers from 1 for ids, in each stream.
fn next_tick(stream: &mut EventStream, due: u64) -> Result<(), Failure> {
    let event = stream.next_event()?;
    match event {
        Some(event) if event.id == due.to_string() => Ok(()),
        Some(event) => {
            let (kind, id) = (event.event, event.id);
            Err(broken(format!("{kind} {id:?} came where tick {due} was due")))
        }
        None => Err(broken(format!("it ended where tick {due} was due"))),
    }
}
