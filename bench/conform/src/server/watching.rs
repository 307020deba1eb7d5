//! Cases that only watch a stream, for half a minute: they run beside all others.

use std::thread;

use super::run::{Observer, run_case};
use super::{Case, CaseResult, Deviations, Selection, Target, Verdict};
use crate::judge;

/// Whether a case runs beside the others: not where a second stream is refused, and not where a case
/// stops the process meanwhile.
pub(super) fn is_beside(case: &Case, target: &Target) -> bool {
    case.is_watch(target) && target.parallel() > 1 && target.control().is_none()
}

/// Runs them and `others` at the same time; all results in the order of the ids.
pub(super) fn beside(
    target: &Target,
    selection: &Selection,
    deviations: &Deviations,
    observer: &dyn Observer,
    others: impl FnOnce() -> Vec<CaseResult>,
) -> Vec<CaseResult> {
    let mut watching = selection.cases(target);
    watching.retain(|case| is_beside(case, target));
    let watch = |case: &&Case| {
        observer.begins(case);
        run_case(case, target, deviations)
    };
    thread::scope(|scope| {
        let watched = scope.spawn(|| judge::parallel_map(&watching, watching.len(), watch));
        let mut results = others();
        let watched = watched.join().expect("cases' panics are caught");
        for (case, mut result) in watching.iter().zip(watched) {
            let broken = results.iter().find(|it| {
                let says_nothing = it.is_miss() || it.verdict == Verdict::Blocked;
                says_nothing && case.after.contains(&it.id.as_str())
            });
            // A case that could not be tried has its own reason.
            if let Some(broken) = broken.filter(|_| result.verdict != Verdict::Skip) {
                result = judge::blank(case, deviations);
                result.verdict = Verdict::Blocked;
                let id = broken.because.clone().unwrap_or_else(|| broken.id.clone());
                result.actual = Some(judge::because(&id));
                result.because = Some(id);
            }
            observer.ended(&result);
            results.push(result);
        }
        judge::in_order(&mut results);
        results
    })
}
