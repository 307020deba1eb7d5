//! Progress of the harness: one line with a clock that changes on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write, stderr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use conform::report::{shortened, terminal_columns};

/// How often the line on a terminal is written anew: its clock shows seconds.
const TICK: Duration = Duration::from_secs(1);

/// A step that takes longer shows how long it has taken.
const CLOCK_FROM: Duration = Duration::from_secs(2);

/// Writes to stderr, so that stdout holds the report alone.
#[derive(Debug)]
pub(crate) struct Progress {
    shared: Arc<Shared>,
    terminal: bool,
    /// Of the steps to come.
    left: Duration,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The line on a terminal; nothing while it belongs to another program.
    line: Option<Line>,
    is_over: bool,
}

#[derive(Debug)]
struct Line {
    what: String,
    began: Instant,
    /// The time left when it began, if that is known.
    left: Option<Duration>,
}

impl Progress {
    pub(crate) fn new() -> Progress {
        let (shared, terminal) = (Arc::new(Shared::default()), stderr().is_terminal());
        if terminal {
            let theirs = Arc::clone(&shared);
            // A step that waits changes nothing but the clock.
            thread::spawn(move || theirs.tick());
        }
        Progress { shared, terminal, left: Duration::ZERO }
    }

    /// Says how long the steps to come take together.
    pub(crate) fn expect(&mut self, left: Duration) {
        self.left = left;
    }

    /// Says that a step begins which takes about so long.
    pub(crate) fn step(&mut self, what: &str, takes: Duration) {
        self.show(what, Some(self.left));
        self.left = self.left.saturating_sub(takes);
    }

    /// Says that the last step takes place once more, and why.
    pub(crate) fn again(&mut self, what: &str) {
        self.show(what, Some(self.left));
    }

    /// Says what is being done.
    pub(crate) fn say(&self, what: &str) {
        self.show(what, None);
    }

    /// Says what is being done by a program that has the terminal meanwhile.
    pub(crate) fn hand_over(&mut self, what: &str) {
        self.end();
        // The display is optional: continue without it.
        let _ = writeln!(stderr(), "{what}");
    }

    /// Leaves the terminal's line empty.
    pub(crate) fn end(&mut self) {
        self.shared.lock().line = None;
        if self.terminal {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }

    fn show(&self, what: &str, left: Option<Duration>) {
        let line = Line { what: what.to_owned(), began: Instant::now(), left };
        if self.terminal {
            let mut state = self.shared.lock();
            line.write();
            state.line = Some(line);
        } else {
            let _ = writeln!(stderr(), "{}", line.text(Duration::ZERO, usize::MAX));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn tick(&self) {
        let mut state = self.lock();
        while !state.is_over {
            let waited = self.changed.wait_timeout(state, TICK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if let Some(line) = state.line.as_ref().filter(|_| !state.is_over) {
                line.write();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing here panics half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn write(&self) {
        // A line that wraps cannot be taken back.
        let columns = terminal_columns(stderr()).saturating_sub(1);
        let text = self.text(self.began.elapsed(), columns);
        let _ = write!(stderr(), "\r\x1b[K{text}");
    }

    /// `measure round 1/4  ticks  axum shared, 0:04  (3:46 left)`, in so many columns: the clock stays whole.
    fn text(&self, took: Duration, columns: usize) -> String {
        let minutes = |it: Duration| format!("{}:{:02}", it.as_secs() / 60, it.as_secs() % 60);
        let mut clock = String::new();
        if took >= CLOCK_FROM {
            clock += &format!(", {}", minutes(took));
        }
        if let Some(left) = self.left {
            clock += &format!("  ({} left)", minutes(left.saturating_sub(took)));
        }
        shortened(&self.what, columns.saturating_sub(clock.len())) + &clock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_lasts_has_a_clock() {
        let line = |what: &str, left| Line { what: what.into(), began: Instant::now(), left };
        let at = |left, took| line("ticks", left).text(Duration::from_secs(took), 80);
        assert_eq!(at(None, 1), "ticks");
        assert_eq!(at(None, 62), "ticks, 1:02");
        assert_eq!(at(Some(Duration::from_secs(46)), 0), "ticks  (0:46 left)");
        assert_eq!(at(Some(Duration::from_secs(46)), 6), "ticks, 0:06  (0:40 left)");
        assert_eq!(at(Some(Duration::from_secs(3)), 6), "ticks, 0:06  (0:00 left)");
        let long = line(&"word ".repeat(30), Some(Duration::from_secs(46)));
        let text = long.text(Duration::from_secs(6), 79);
        assert!(text.chars().count() == 79 && text.ends_with("…, 0:06  (0:40 left)"), "{text}");
    }
}
