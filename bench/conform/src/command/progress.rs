//! The progress of a run, for the user who waits.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::report::{shortened, terminal_columns};

/// How often the line on a terminal is written anew: its clock shows seconds.
const TICK: Duration = Duration::from_secs(1);
/// Between two lines where they stay: a log wants few.
const LINE: Duration = Duration::from_secs(20);

/// How far a run is: one line that changes on a terminal, otherwise one now and then.
pub struct Progress(Arc<Shown>);

struct Shown {
    label: String,
    total: usize,
    is_live: bool,
    began: Instant,
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    done: usize,
    /// The cases under way, each with its beginning.
    running: Vec<(String, Instant)>,
    is_over: bool,
}

impl Progress {
    /// Without a line that it begins: a run of one server says so itself.
    pub fn quiet(label: &str, total: usize) -> Progress {
        Progress::start(label, total, false)
    }

    pub fn new(label: &str, total: usize) -> Progress {
        Progress::start(label, total, true)
    }

    fn start(label: &str, total: usize, says_that_it_begins: bool) -> Progress {
        let is_live = std::io::stderr().is_terminal();
        if says_that_it_begins && total > 0 && !is_live {
            eprintln!("{label}: {total} cases");
        }
        let shown = Arc::new(Shown {
            label: label.to_owned(),
            total,
            is_live,
            began: Instant::now(),
            state: Mutex::default(),
            ended: Condvar::new(),
        });
        shown.show(&shown.lock());
        let theirs = Arc::clone(&shown);
        // A case that waits changes nothing but the clock.
        thread::spawn(move || theirs.tick());
        Progress(shown)
    }

    /// A case begins.
    pub fn begins(&self, name: &str) {
        let mut state = self.0.lock();
        state.running.push((name.to_owned(), Instant::now()));
        self.0.show(&state);
    }

    /// It has ended.
    pub fn ends(&self, name: &str) {
        let mut state = self.0.lock();
        state.running.retain(|(running, _)| running != name);
        state.done += 1;
        self.0.show(&state);
    }

    /// The line is gone, as it is when this is dropped.
    pub fn end(&self) {
        let mut state = self.0.lock();
        if state.is_over {
            return;
        }
        state.is_over = true;
        self.0.ended.notify_all();
        if self.0.is_live {
            eprint!("\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shown {
    fn tick(&self) {
        let interval = if self.is_live { TICK } else { LINE };
        let mut state = self.lock();
        loop {
            let waited = self.ended.wait_timeout_while(state, interval, |it| !it.is_over);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.is_over {
                return;
            }
            match self.is_live {
                true => self.show(&state),
                false => eprintln!("{}", self.line(&state, usize::MAX)),
            }
        }
    }

    fn show(&self, state: &State) {
        if self.is_live && !state.is_over {
            // A line that wraps cannot be taken back.
            let columns = terminal_columns(std::io::stderr()).saturating_sub(1);
            eprint!("\r\x1b[K{}", self.line(state, columns));
            // Nothing is lost if the terminal is gone.
            let _ = std::io::stderr().flush();
        }
    }

    /// `127.0.0.1:3000: 57 of 75 cases, 0:42, S2.02-chunk-syntax 4 s, 1 more`, in so many columns: the counts and
    /// the clocks stay whole.
    fn line(&self, state: &State, columns: usize) -> String {
        let State { done, running, .. } = state;
        let took = self.began.elapsed().as_secs();
        let clock = format!("{}:{:02}", took / 60, took % 60);
        let mut line = match self.total {
            0 => format!(", {clock}"),
            total => format!(": {done} of {total} cases, {clock}"),
        };
        // The newest shows that it goes on: some cases only watch, beside all others.
        if let Some((name, since)) = running.last() {
            line += &format!(", {name} {} s", since.elapsed().as_secs());
        }
        if running.len() > 1 {
            line += &format!(", {} more", running.len() - 1);
        }
        let label = shortened(&self.label, columns.saturating_sub(line.chars().count()));
        shortened(&(label + &line), columns)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing here panics half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_the_newest_case_and_counts_the_others() {
        let progress = Progress::quiet("here", 3);
        for name in ["S1.01-a", "S1.02-b", "S1.03-c"] {
            progress.begins(name);
        }
        progress.ends("S1.01-a");
        let line = progress.0.line(&progress.0.lock(), 80);
        assert!(line.starts_with("here: 1 of 3 cases, 0:0"), "{line}");
        assert!(line.contains(", S1.03-c 0 s, 1 more"), "{line}");
        progress.end();
    }

    #[test]
    fn a_long_name_leaves_room_for_the_clock() {
        let progress = Progress::quiet(&"a.long.name.".repeat(8), 3);
        progress.begins("S1.01-a");
        let line = progress.0.line(&progress.0.lock(), 79);
        assert!(line.chars().count() == 79 && line.contains("…: 0 of 3 cases, 0:0"), "{line}");
        assert!(line.ends_with(", S1.01-a 0 s"), "{line}");
    }

    #[test]
    fn what_comes_before_the_cases_has_a_clock_too() {
        let progress = Progress::quiet("here: what does it offer", 0);
        let line = progress.0.line(&progress.0.lock(), 80);
        assert!(line.starts_with("here: what does it offer, 0:0"), "{line}");
    }
}
