//! A run that its user ends: what was found so far is shown and written.

use std::process::exit;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::{EXIT_UNEXPECTED, Outputs, print};
use crate::report::{Document, Paint, Run, complain, run_text};
use crate::{CaseResult, Summary, Verdict};

/// The reason of a case that had no time.
const NO_TIME: &str = "the run was ended before this case";

/// The runs of a command as far as they have come.
#[derive(Debug, Default)]
pub struct Kept {
    /// Each with the time at which it began.
    runs: Mutex<Vec<(Run, Instant)>>,
}

impl Kept {
    /// From now on Ctrl-C and SIGTERM show and write what is here, and end the process.
    ///
    /// Servers that were started end with it.
    pub fn on_signals(outputs: &Outputs, verbose: bool, paint: Paint) -> Result<Arc<Kept>> {
        let kept = Arc::new(Kept::default());
        let (theirs, outputs) = (Arc::clone(&kept), outputs.clone());
        let mut signals =
            Signals::new([SIGINT, SIGTERM]).context("signals cannot be handled here")?;
        thread::spawn(move || {
            if signals.forever().next().is_none() {
                return;
            }
            // A second signal does not wait for a disk.
            thread::spawn(move || {
                signals.forever().next().map(|_| exit(i32::from(EXIT_UNEXPECTED)))
            });
            let runs: Vec<Run> = theirs.lock().iter().map(|(run, _)| run.clone()).collect();
            eprintln!();
            for run in &runs {
                let _ = print(&run_text(run, verbose, paint));
            }
            let is_judged = |it: &CaseResult| it.actual.as_deref() != Some(NO_TIME);
            let is_any = runs.iter().flat_map(|run| &run.results).any(is_judged);
            complain(match is_any {
                true => "ended before the end; this is what was found until then",
                false => "ended before the end; nothing was judged until then",
            });
            if let Err(error) = outputs.write(&Document::new(runs)) {
                complain(&format!("{error:#}"));
            }
            exit(i32::from(EXIT_UNEXPECTED));
        });
        Ok(kept)
    }

    /// A run begins: its results, none of them judged yet. Its number, for [`Kept::add`].
    pub fn begin(&self, mut run: Run) -> usize {
        for result in &mut run.results {
            result.verdict = Verdict::Skip;
            result.actual = Some(NO_TIME.to_owned());
        }
        let mut runs = self.lock();
        runs.push((run, Instant::now()));
        runs.len() - 1
    }

    /// A case of this run is judged.
    pub fn add(&self, number: usize, result: &CaseResult) {
        let mut runs = self.lock();
        let (run, began) = &mut runs[number];
        if let Some(slot) = run.results.iter_mut().find(|it| it.id == result.id) {
            *slot = result.clone();
        }
        run.summary = Summary::of(&run.results, run.strict);
        run.took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    }

    /// This run has come to its end: another may still go on.
    pub fn end(&self, number: usize, run: &Run) {
        self.lock()[number].0 = run.clone();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Run, Instant)>> {
        // Nothing here panics half way.
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
