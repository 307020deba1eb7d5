//! Whether the server under test still answers: a failure in the moments in which it falls silent is not judged.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::{CaseResult, Target, Verdict};
use crate::host;

/// How often a server is asked whether it still answers, while the host is busy.
const TRIES: usize = 4;

/// One for a run, also for the cases that only watch.
pub(super) struct Sanity<'t> {
    target: &'t Target,
    /// One case is all there is: what happens to the server is its doing.
    alone: bool,
    /// Why the server counts as gone.
    silent: Mutex<Option<String>>,
}

impl<'t> Sanity<'t> {
    pub(super) fn new(target: &'t Target, cases: usize) -> Sanity<'t> {
        Sanity { target, alone: cases == 1, silent: Mutex::new(None) }
    }

    pub(super) fn target(&self) -> &'t Target {
        self.target
    }

    /// Why the server counts as gone; none while it answers.
    pub(super) fn silent(&self) -> Option<String> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks whether the server still answers; it gets one patience, and more where the host was busy.
    pub(super) fn ask(&self) {
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        let patience = self.target.patience();
        for _ in 0..TRIES {
            if silent.is_some() {
                return;
            }
            let begin = Instant::now();
            let Err(words) = self.target.for_case().answers_within(patience) else { return };
            if host::worst_since(begin) < patience / 4 {
                *silent = Some(words);
            }
        }
        silent.get_or_insert_with(|| "and this host is busy".to_owned());
    }

    /// Takes back the failures among these if the server has fallen silent.
    pub(super) fn doubt(&self, results: &mut [CaseResult]) {
        let Some(words) = self.silent().filter(|_| !self.alone) else { return };
        for result in results.iter_mut().filter(|result| result.is_miss()) {
            result.verdict = Verdict::Blocked;
            let seen = result.actual.take().unwrap_or_default();
            result.actual = Some(format!(
                "{seen}; but the server stopped answering in these moments ({words}); if --only {} \
                 does it again, this case is the cause",
                result.id
            ));
        }
    }
}
