//! How large an attack is.

use serde::Serialize;

/// The numbers of all attacks.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Size {
    /// Its name on the command line.
    pub name: &'static str,
    /// `streams`: streams that stay open.
    pub streams: usize,
    /// `streams`: ticks that each of them gets.
    pub ticks: u64,
    /// `streams`: milliseconds between two of them.
    pub tick_ms: u64,
    /// `sigterm`: streams that are open at the signal.
    pub ending: usize,
    /// `broadcast`: readers of the topic.
    pub readers: usize,
    /// `broadcast`: bursts of the publishers.
    pub bursts: usize,
    /// `malformed`: requests.
    pub requests: u64,
    /// `stalled`: readers that do not read.
    pub stalled: usize,
}

impl Size {
    /// All servers in a minute, as debug builds.
    pub const SHORT: Size = Size {
        name: "short",
        streams: 500,
        ticks: 5,
        tick_ms: 200,
        ending: 500,
        readers: 40,
        bursts: 4,
        requests: 3000,
        stalled: 9,
    };

    /// All servers in some minutes.
    pub const MEDIUM: Size = Size {
        name: "medium",
        streams: 4000,
        ticks: 10,
        tick_ms: 1000,
        ending: 4000,
        readers: 100,
        bursts: 20,
        requests: 30_000,
        stalled: 30,
    };

    /// The most that a host with 20 000 open files takes.
    pub const LONG: Size = Size {
        name: "long",
        streams: 15_000,
        ticks: 30,
        tick_ms: 1000,
        ending: 10_000,
        readers: 200,
        bursts: 100,
        requests: 240_000,
        stalled: 99,
    };

    /// The size of this name.
    ///
    /// # Errors
    /// One line that names those that exist.
    pub fn find(name: &str) -> Result<Size, String> {
        let all = [Size::SHORT, Size::MEDIUM, Size::LONG];
        let names = all.map(|it| it.name).join(", ");
        all.into_iter().find(|it| it.name == name).ok_or_else(|| format!("choose one of: {names}"))
    }

    /// The most connections that are open at a time.
    pub(super) fn connections(&self) -> usize {
        [self.streams, self.ending, self.readers, self.stalled].into_iter().max().unwrap_or(0)
    }
}
