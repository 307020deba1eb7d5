//! Runs the cases on a client.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::cases::PREREQUISITES;
use super::context::{CaseContext, Conditions, because_of};
use super::driver::{Capability, Driver};
use super::exec::Exec;
use super::{Case, RULES, cases};
use crate::case::{check_words, is_selected};
use crate::host;
use crate::judge::{self, Attempt, Beside, in_order, parallel_map, settled};
use crate::{CaseResult, Cost, Deviations, Fault, Level, Verdict};

/// Clients that run at a time by default: they wait more than they compute.
pub(super) const PARALLEL: usize = 8;
/// Cases that measure time and run side by side: they wait, and a busy machine would spoil them.
const PARALLEL_TIMED: usize = 4;
/// How long one case may take by default: several times as long as the longest of them takes.
pub(super) const CASE_LIMIT: Duration = Duration::from_secs(300);

/// Which cases to run, and how.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) only: Vec<String>,
    pub(super) skip: Vec<String>,
    pub(super) patience: Duration,
    pub(super) scale: f64,
    /// How long one case may take.
    pub(super) case_limit: Duration,
    /// Set from outside when the run should end: then the cases that have ended are its results.
    pub(super) stopped: Arc<AtomicBool>,
    /// The command line that checks this client again, without `--only`.
    pub(super) again: String,
}

impl Plan {
    /// Checks that the words mean cases.
    pub(super) fn checked(self) -> Result<Plan, String> {
        check_words(self.only.iter().chain(&self.skip), "clients", cases, RULES)?;
        Ok(self)
    }

    /// The cases to run, in the order of their ids.
    pub(super) fn cases(&self) -> Vec<&'static Case> {
        cases()
            .filter(|case| is_selected(&self.only, &self.skip, |word| case.matches(word)))
            .collect()
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

/// The verdicts on the cases that others depend on.
type Verdicts = HashMap<&'static str, Verdict>;

/// Runs the cases of the plan; results in the order of the ids. `ended` gets the first result of each.
pub(super) fn check(
    driver: &Arc<dyn Driver>,
    plan: &Plan,
    deviations: &Deviations,
    ended: &(dyn Fn(&CaseResult) + Sync),
) -> Vec<CaseResult> {
    let _watch = host::Watch::start();
    let conditions = Conditions::new(plan.patience, plan.scale, plan.case_limit, &plan.stopped);
    let run = Run { driver, plan, deviations, conditions };
    let selected = plan.cases();
    let (mut verdicts, mut results) = (Verdicts::new(), Vec::new());
    for case in selected.iter().copied().filter(|case| rank_of(case) == Rank::Prerequisite) {
        let Some(result) = run.alone(case, &verdicts) else { break };
        ended(&result);
        verdicts.insert(case.id, result.verdict);
        results.push(result);
    }
    let parallel = driver.parallel();
    let group = |rank: Rank, at_a_time: usize| -> Vec<(&'static Case, Attempt)> {
        let cases: Vec<_> = selected.iter().copied().filter(|it| rank_of(it) == rank).collect();
        let attempts = parallel_map(&cases, at_a_time, |case| {
            let is_alone = parallel == 1 || selected.len() == 1 || rank == Rank::Alone;
            let beside = if is_alone { Beside::Nothing } else { Beside::Programs };
            let attempt = run.attempt(case, &verdicts, beside)?;
            ended(&attempt.result);
            Some((*case, attempt))
        });
        attempts.into_iter().flatten().collect()
    };
    let mut attempts = Vec::new();
    if parallel == 1 {
        // One at a time is one, not one of each kind.
        attempts.extend(group(Rank::Waits, 1));
    }
    let waiting = thread::scope(|scope| {
        // They wait, and do nothing meanwhile.
        let waiting = scope.spawn(|| match parallel {
            1 => Vec::new(),
            _ => group(Rank::Waits, parallel),
        });
        attempts.extend(group(Rank::Any, parallel));
        attempts.extend(group(Rank::Timed, parallel.min(PARALLEL_TIMED)));
        attempts.extend(group(Rank::Alone, 1));
        waiting.join().expect("cases' panics are caught")
    });
    attempts.extend(waiting);
    // By now nothing else runs.
    results.extend(
        attempts.into_iter().filter_map(|(case, first)| run.settle(case, &verdicts, first)),
    );
    one_finding_a_fault(&mut results);
    in_order(&mut results);
    results
}

/// A failure of a case that rests on another failure is no finding: it was not judged.
fn one_finding_a_fault(results: &mut [CaseResult]) {
    let failed: Vec<String> = results
        .iter()
        // A recommendation within a case of a higher level is not what others rest on.
        .filter(|it| it.verdict == Verdict::Fail || it.is_miss() && it.level == Level::Should)
        .map(|it| it.id.clone())
        .collect();
    for result in results.iter_mut().filter(|it| it.is_miss()) {
        let Some(Fault::Skip(reason)) = cause(&result.id, &failed).map(because_of) else {
            continue;
        };
        *result = CaseResult {
            verdict: Verdict::Skip,
            actual: Some(reason),
            expected: None,
            dialogue: None,
            reproduce: None,
            ..result.clone()
        };
    }
}

/// The failed case that a failure follows from, if there is one: the first in the chain.
fn cause(id: &str, failed: &[String]) -> Option<&'static str> {
    let case = cases().find(|case| case.id == id)?;
    let near = case.after.iter().find(|id| failed.iter().any(|it| it == *id))?;
    Some(cause(near, failed).unwrap_or(near))
}

/// Checks a client that is a command, with these capabilities (`R,St`), on these cases.
///
/// # Errors
/// One line, if a word is no capability or no case, or the command has no words.
pub fn check_command(
    command: &[String],
    capabilities: &str,
    only: &[String],
    patience: Duration,
    scale: f64,
) -> Result<Vec<CaseResult>, String> {
    let capabilities: Result<Vec<Capability>, String> =
        capabilities.split(',').map(str::parse).collect();
    let here = std::env::current_dir().map_err(|error| error.to_string())?;
    let exec = Exec::words(command, here, PARALLEL).map_err(|error| format!("{error:#}"))?;
    let driver: Arc<dyn Driver> = Arc::new(exec.with_capabilities(&capabilities?));
    let plan = Plan {
        only: only.to_vec(),
        skip: Vec::new(),
        patience,
        scale,
        case_limit: CASE_LIMIT,
        stopped: Arc::default(),
        again: command.join(" "),
    };
    Ok(check(&driver, &plan.checked()?, &Deviations::default(), &|_| ()))
}

/// When a case runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rank {
    /// First, before all that depends on it.
    Prerequisite,
    /// From then on, beside the others.
    Waits,
    Any,
    /// When fewer run.
    Timed,
    /// When nothing else runs but what waits.
    Alone,
}

fn rank_of(case: &Case) -> Rank {
    match case.cost {
        _ if PREREQUISITES.contains(&case.id) => Rank::Prerequisite,
        cost if cost.contains(&Cost::Long) => Rank::Waits,
        cost if cost.contains(&Cost::Alone) => Rank::Alone,
        cost if cost.contains(&Cost::Timed) => Rank::Timed,
        _ => Rank::Any,
    }
}

struct Run<'r> {
    driver: &'r Arc<dyn Driver>,
    plan: &'r Plan,
    deviations: &'r Deviations,
    conditions: Arc<Conditions>,
}

impl Run<'_> {
    /// The result of a case beside which nothing runs, unless the run was stopped.
    fn alone(&self, case: &'static Case, verdicts: &Verdicts) -> Option<CaseResult> {
        let mut first = self.attempt(case, verdicts, Beside::Nothing)?;
        if first.result.verdict == Verdict::Error {
            // A client that did not start in time. All others rest on this case, so it is tried again.
            first = self.attempt(case, verdicts, Beside::Nothing)?;
        }
        self.settle(case, verdicts, first)
    }

    /// The result of a first attempt, unless the run was stopped.
    fn settle(
        &self,
        case: &'static Case,
        verdicts: &Verdicts,
        first: Attempt,
    ) -> Option<CaseResult> {
        let mut last = None;
        let result = settled(first, || {
            let attempt = self.attempt(case, verdicts, Beside::Nothing);
            last = Some(attempt.is_none());
            // Of a run that was stopped nothing is kept that was not settled by then.
            attempt.unwrap_or_else(|| Attempt::counts(judge::blank(case, self.deviations)))
        });
        (last != Some(true)).then_some(result)
    }

    /// An attempt at a case; none if the run was stopped before it ended.
    fn attempt(&self, case: &'static Case, verdicts: &Verdicts, beside: Beside) -> Option<Attempt> {
        if self.plan.is_stopped() {
            return None;
        }
        let missing = case.needs.iter().find(|it| !self.driver.capabilities().contains(it));
        let broken = case.after.iter().find(|id| {
            let verdict = verdicts.get(*id);
            verdict
                .is_some_and(|it| !matches!(it, Verdict::Pass | Verdict::Info | Verdict::NonStrict))
        });
        let unmet = match (missing, broken) {
            (Some(need), _) => {
                Some(Fault::Skip(format!("the client does not offer: {need}, {}", need.meaning())))
            }
            (None, Some(id)) => Some(because_of(id)),
            (None, None) => None,
        };
        let context = CaseContext::new(case.id, self.driver, &self.conditions);
        let mut attempt = judge::attempt(case, &context, self.deviations, unmet, beside);
        if self.plan.is_stopped() {
            return None;
        }
        let result = &mut attempt.result;
        if result.is_miss() || result.verdict == Verdict::Adapter {
            result.dialogue = Some(context.log().render());
            result.reproduce = Some(format!("{} --only {}", self.plan.again, case.id));
        }
        Some(attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_case_depends_on_runs_before_it() {
        let rests_only_on =
            |case: &Case, others: &[&str]| case.after.iter().all(|it| others.contains(it));
        for (at, id) in PREREQUISITES.iter().enumerate() {
            let case = cases().find(|it| it.id == *id).unwrap();
            assert!(
                rank_of(case) == Rank::Prerequisite && rests_only_on(case, &PREREQUISITES[..at])
            );
        }
    }

    #[test]
    fn one_fault_is_one_finding() {
        let with = |id: &str, verdict| {
            let case = cases().find(|case| case.id == id).unwrap();
            CaseResult { verdict, ..judge::blank(case, &Deviations::default()) }
        };
        let after = |verdicts: &[(&str, Verdict)]| -> Vec<Verdict> {
            let mut results: Vec<_> =
                verdicts.iter().map(|(id, verdict)| with(id, *verdict)).collect();
            one_finding_a_fault(&mut results);
            results.iter().map(|it| it.verdict).collect()
        };
        use Verdict::{Fail, NonStrict, Pass, Skip};
        assert_eq!(after(&[("C3.04", Fail), ("C3.20", Fail)]), [Fail, Skip]);
        assert_eq!(cause("C3.26", &["C3.04".to_owned(), "C3.22".to_owned()]), Some("C3.04"));
        assert_eq!(after(&[("C3.04", Pass), ("C3.20", Fail)]), [Pass, Fail]);
        // A pass was seen, whatever else failed.
        assert_eq!(after(&[("C3.04", Fail), ("C3.20", Pass)]), [Fail, Pass]);
        // C3.04 is a MUST, in which only a recommendation failed.
        assert_eq!(after(&[("C3.04", NonStrict), ("C3.20", Fail)]), [NonStrict, Fail]);
    }
}
