//! The state of a server at a moment: memory, descriptors and threads as the system says, streams as it says itself.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use fleet::Server;
use serde::Serialize;
use wire::{Connection, Log, Request};

/// A reading of one server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Reading {
    /// Heap and stacks, bytes. Where the system does not tell them from files: all that is resident.
    pub memory_bytes: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
    /// Open streams, as `/metrics` says.
    pub streams: u64,
    /// Sources that feed a stream: what a framework has as a task, as `/metrics` says.
    pub sources: u64,
}

impl Reading {
    /// Asks the system and the server.
    ///
    /// # Errors
    /// When the process has ended, or does not answer in this time.
    pub(super) fn take(server: &Server, patience: Duration) -> Result<Reading> {
        let metrics = metrics(server, patience)?;
        let usage = server.usage()?;
        let value = |name: &str| value(&metrics, name).with_context(|| format!("no {name}"));
        Ok(Reading {
            memory_bytes: usage.anonymous_bytes.unwrap_or(usage.rss_bytes),
            descriptors: usage.fds,
            threads: usage.threads,
            streams: value("sse_open_streams")?,
            sources: value("sse_producers")?,
        })
    }
}

fn metrics(server: &Server, patience: Duration) -> Result<String> {
    let address = server.addr().to_string();
    let mut connection = Connection::open(&address, patience, &Log::new())?;
    let request = Request::new("GET", "/metrics").header("Host", &address);
    let (head, mut body) = connection.ask(&request.header("Connection", "close"))?;
    let text = connection.read_body_to_end(&mut body)?;
    match head.status {
        200 => Ok(String::from_utf8(text)?),
        status => bail!("/metrics says {status}"),
    }
}

/// The value of a metric without labels, in Prometheus text.
fn value(text: &str, name: &str) -> Option<u64> {
    let line = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
    text.lines().find_map(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_found_by_its_whole_name() {
        let text = "# HELP a b\n# TYPE a gauge\na_total 9\na 7\n";
        assert_eq!(
            (value(text, "a"), value(text, "a_total"), value(text, "b")),
            (Some(7), Some(9), None)
        );
    }
}
