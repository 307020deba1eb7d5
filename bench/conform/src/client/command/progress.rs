//! The progress of a run: one line that changes on a terminal; elsewhere a line for each category that has
//! ended, and one for each failure as it is found.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::client::Case;
use crate::command;
use crate::{CaseResult, Category, Verdict};

pub(super) struct Progress {
    label: String,
    /// On a terminal, with a clock.
    live: Option<command::Progress>,
    began: Instant,
    total: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    done: usize,
    /// Cases that have not ended yet.
    left: BTreeMap<Category, usize>,
    misses: BTreeMap<Category, usize>,
}

impl Progress {
    pub(super) fn new(label: &str, cases: &[&Case]) -> Progress {
        let mut state = State::default();
        for case in cases {
            *state.left.entry(case.category()).or_default() += 1;
        }
        Progress {
            label: label.to_owned(),
            live: std::io::stderr()
                .is_terminal()
                .then(|| command::Progress::quiet(label, cases.len())),
            began: Instant::now(),
            total: cases.len(),
            state: Mutex::new(state),
        }
    }

    /// A case has ended; its result may change when it is tried again.
    pub(super) fn step(&self, result: &CaseResult) {
        if let Some(live) = &self.live {
            live.ends(&result.name());
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.done += 1;
        let category = result.category();
        let is_miss = result.is_miss() && !result.is_known();
        *state.misses.entry(category).or_default() += usize::from(is_miss);
        let left = state.left.entry(category).or_insert(1);
        *left = left.saturating_sub(1);
        let is_last = *left == 0;
        let (label, seconds) = (&self.label, self.began.elapsed().as_secs());
        if is_miss || matches!(result.verdict, Verdict::Adapter | Verdict::Error) {
            eprintln!("{label}: {} {}, at first", result.verdict.word(), result.name());
        }
        if is_last {
            let misses = state.misses.get(&category).copied().unwrap_or_default();
            let done = format!("{} of {} cases, {seconds} s", state.done, self.total);
            eprintln!("{label}: category {category} has ended, {misses} failures ({done})");
        }
    }

    pub(super) fn end(&self) {
        if let Some(live) = &self.live {
            live.end();
        }
    }
}
