//! Progress of the harness: one line that changes on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

/// Writes to stderr, so that stdout holds the report alone.
#[derive(Debug)]
pub(super) struct Progress {
    terminal: bool,
    left: Duration,
}

impl Progress {
    pub(super) fn new() -> Progress {
        Progress { terminal: stderr().is_terminal(), left: Duration::ZERO }
    }

    /// Says how long the steps to come take together.
    pub(super) fn expect(&mut self, left: Duration) {
        self.left = left;
    }

    /// Says that a step begins which takes about so long.
    pub(super) fn step(&mut self, what: &str, takes: Duration) {
        let left = self.left.as_secs();
        self.say(&format!("{what}  ({}:{:02} left)", left / 60, left % 60));
        self.left = self.left.saturating_sub(takes);
    }

    /// Says what is being done.
    pub(super) fn say(&mut self, what: &str) {
        // The display is optional: continue without it.
        let _ = if self.terminal {
            write!(stderr(), "\r\x1b[K{what}")
        } else {
            writeln!(stderr(), "{what}")
        };
    }

    /// Leaves the terminal's line empty.
    pub(super) fn end(&mut self) {
        if self.terminal {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}
