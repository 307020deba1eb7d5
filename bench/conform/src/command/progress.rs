//! The progress of a run, for the user who waits.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};

/// How far a run is: one line that changes on a terminal, otherwise one when it begins.
pub struct Progress {
    label: String,
    done: AtomicUsize,
    total: usize,
    is_live: bool,
}

impl Progress {
    /// Only what changes on a terminal: a run of one server needs no line that it began.
    pub fn on_terminal(label: &str, total: usize) -> Progress {
        let total = if std::io::stderr().is_terminal() { total } else { 0 };
        Progress::new(label, total)
    }

    pub fn new(label: &str, total: usize) -> Progress {
        let is_live = total > 0 && std::io::stderr().is_terminal();
        if total > 0 && !is_live {
            eprintln!("{label}: {total} cases");
        }
        let progress =
            Progress { label: label.to_owned(), done: AtomicUsize::new(0), total, is_live };
        progress.show();
        progress
    }

    pub fn step(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.show();
    }

    fn show(&self) {
        if self.is_live {
            let done = self.done.load(Ordering::Relaxed);
            eprint!("\r{}: {done} of {} cases", self.label, self.total);
            // Nothing is lost if the terminal is gone.
            let _ = std::io::stderr().flush();
        }
    }

    pub fn end(&self) {
        if self.is_live {
            eprint!("\r\x1b[K");
        }
    }
}
