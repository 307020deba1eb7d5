//! The counters of a server, and their Prometheus text.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters of one server. They decide nothing but the limit of open streams.
#[derive(Debug, Default)]
pub struct Stats {
    open_streams: AtomicU64,
    producers: AtomicU64,
    events_sent: AtomicU64,
    lagged: AtomicU64,
}

impl Stats {
    /// Counts one more open stream, if there are fewer than `max`.
    pub fn open_stream(self: &Arc<Stats>, max: u64) -> Option<OpenStream> {
        let next = |open| (open < max).then_some(open + 1);
        self.open_streams.fetch_update(Relaxed, Relaxed, next).ok()?;
        self.producers.fetch_add(1, Relaxed);
        Some(OpenStream { stats: Arc::clone(self), producing: true })
    }

    /// The counters in the Prometheus text format, and the memory of retained events.
    pub fn prometheus(&self, retained_bytes: usize) -> String {
        let mut text = String::with_capacity(1024);
        let mut metric = |name: &str, kind: &str, help: &str, value: u64| {
            text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"));
        };
        let (gauge, counter) = ("gauge", "counter");
        metric(
            "sse_open_streams",
            gauge,
            "Event streams open now.",
            self.open_streams.load(Relaxed),
        );
        metric(
            "sse_producers",
            gauge,
            "Sources that feed a stream now.",
            self.producers.load(Relaxed),
        );
        metric(
            "sse_events_sent_total",
            counter,
            "Events handed to a connection, gaps among them, comments not.",
            self.events_sent.load(Relaxed),
        );
        metric(
            "sse_lagged_total",
            counter,
            "Gap events sent: the next event of a stream was no longer retained.",
            self.lagged.load(Relaxed),
        );
        metric(
            "sse_retained_bytes",
            gauge,
            "Memory of the events that can be resumed, of all topics.",
            retained_bytes as u64,
        );
        metric(
            "process_resident_memory_bytes",
            gauge,
            "Resident memory of this process.",
            resident_bytes().unwrap_or(0),
        );
        text
    }
}

/// One open stream in the counts, for as long as this lives.
#[derive(Debug)]
pub struct OpenStream {
    stats: Arc<Stats>,
    producing: bool,
}

impl OpenStream {
    pub(crate) fn sent(&self) {
        self.stats.events_sent.fetch_add(1, Relaxed);
    }

    pub(crate) fn lagged(&self) {
        self.stats.lagged.fetch_add(1, Relaxed);
    }

    /// The source is gone, though the stream may still be on its way out. False if it was gone
    /// before.
    pub(crate) fn source_ended(&mut self) -> bool {
        let ended = std::mem::take(&mut self.producing);
        if ended {
            self.stats.producers.fetch_sub(1, Relaxed);
        }
        ended
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.source_ended();
        self.stats.open_streams.fetch_sub(1, Relaxed);
    }
}

/// Resident memory: on Linux the second number of `/proc/self/statm`, in pages.
fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_counts_until_it_is_dropped_and_no_more_than_the_limit_open() {
        let stats = Arc::new(Stats::default());
        let first = stats.open_stream(1).expect("room for one");
        assert!(stats.open_stream(1).is_none());
        assert!(stats.prometheus(0).contains("\nsse_open_streams 1\n"));
        assert!(stats.prometheus(0).contains("\nsse_producers 1\n"));
        drop(first);
        assert!(stats.prometheus(0).contains("\nsse_open_streams 0\n"));
        assert!(stats.prometheus(0).contains("\nsse_producers 0\n"));
    }

    #[test]
    fn resident_memory_is_measured() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 100_000));
    }
}
