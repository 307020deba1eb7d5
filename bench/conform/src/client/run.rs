//! Runs the cases on a client.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::context::CaseContext;
use super::driver::{Capability, Driver};
use super::exec::Exec;
use super::{Case, cases};
use crate::case::is_selected;
use crate::host;
use crate::judge::{self, Attempt, Beside, in_order, parallel_map, settled};
use crate::{CaseResult, Cost, Deviations, Fault, Verdict};

/// Clients that run at a time by default: they wait more than they compute.
pub(super) const PARALLEL: usize = 8;
/// Cases that measure time and run side by side: they wait, and a busy machine would spoil them.
const PARALLEL_TIMED: usize = 4;

/// Which cases to run, and how.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) only: Vec<String>,
    pub(super) skip: Vec<String>,
    pub(super) patience: Duration,
    pub(super) scale: f64,
    /// The command line that checks this client again, without `--only`.
    pub(super) again: String,
}

impl Plan {
    /// Checks that the words mean cases.
    pub(super) fn checked(self) -> Result<Plan, String> {
        for word in self.only.iter().chain(&self.skip) {
            if !cases().any(|case| case.matches(word)) {
                return Err(format!(
                    "no case matches {word:?}; write C3, C2.07 or a slug (sse-bench list cases)"
                ));
            }
        }
        Ok(self)
    }

    /// The cases to run, in the order of their ids.
    pub(super) fn cases(&self) -> Vec<&'static Case> {
        cases()
            .filter(|case| is_selected(&self.only, &self.skip, |word| case.matches(word)))
            .collect()
    }
}

/// The verdicts on the cases that others depend on.
type Verdicts = HashMap<&'static str, Verdict>;

/// Runs the cases of the plan; results in the order of the ids. `ended` gets each.
pub(super) fn check(
    driver: &Arc<dyn Driver>,
    plan: &Plan,
    deviations: &Deviations,
    ended: &(dyn Fn() + Sync),
) -> Vec<CaseResult> {
    let _watch = host::Watch::start();
    let run = Run { driver, plan, deviations };
    let selected = plan.cases();
    let (mut verdicts, mut results) = (Verdicts::new(), Vec::new());
    for case in selected.iter().copied().filter(|case| rank_of(case) == Rank::Root) {
        let result = run.alone(case, &verdicts);
        ended();
        verdicts.insert(case.id, result.verdict);
        results.push(result);
    }
    let parallel = driver.parallel();
    let group = |rank: Rank, at_a_time: usize| -> Vec<(&'static Case, Attempt)> {
        let cases: Vec<_> = selected.iter().copied().filter(|it| rank_of(it) == rank).collect();
        parallel_map(&cases, at_a_time, |case| {
            let is_alone = parallel == 1 || selected.len() == 1 || rank == Rank::Alone;
            let beside = if is_alone { Beside::Nothing } else { Beside::Programs };
            let attempt = run.attempt(case, &verdicts, beside);
            ended();
            (*case, attempt)
        })
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
    results.extend(attempts.into_iter().map(|(case, first)| {
        // By now nothing else runs.
        settled(first, || run.attempt(case, &verdicts, Beside::Nothing))
    }));
    in_order(&mut results);
    results
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
    let (only, skip, again) = (only.to_vec(), Vec::new(), command.join(" "));
    let plan = Plan { only, skip, patience, scale, again }.checked()?;
    Ok(check(&driver, &plan, &Deviations::default(), &|| ()))
}

/// When a case runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rank {
    /// First, before all that depends on it.
    Root,
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
        _ if cases().any(|other| other.after.contains(&case.id)) => Rank::Root,
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
}

impl Run<'_> {
    /// The result of a case beside which nothing runs.
    fn alone(&self, case: &'static Case, verdicts: &Verdicts) -> CaseResult {
        let attempt = || self.attempt(case, verdicts, Beside::Nothing);
        settled(attempt(), attempt)
    }

    fn attempt(&self, case: &'static Case, verdicts: &Verdicts, beside: Beside) -> Attempt {
        let missing = case.needs.iter().find(|it| !self.driver.capabilities().contains(it));
        let broken = case.after.iter().find_map(|id| {
            let verdict = verdicts.get(*id)?;
            let says_nothing = matches!(verdict, Verdict::Fail | Verdict::Blocked | Verdict::Error);
            says_nothing.then(|| format!("{id}, which it depends on, is {}", verdict.word()))
        });
        let unmet = match (missing, broken) {
            (Some(need), _) => {
                Some(Fault::Skip(format!("the client does not offer: {need}, {}", need.meaning())))
            }
            (None, Some(words)) => Some(Fault::Unreachable(words)),
            (None, None) => None,
        };
        let context = self.context(case);
        let mut attempt = judge::attempt(case, &context, self.deviations, unmet, beside);
        if attempt.result.is_miss() {
            attempt.result.dialogue = Some(context.log().render());
            attempt.result.reproduce = Some(format!("{} --only {}", self.plan.again, case.id));
        }
        attempt
    }

    fn context(&self, case: &Case) -> CaseContext {
        CaseContext::new(case.id, self.driver, self.plan.patience, self.plan.scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_case_depends_on_runs_before_it() {
        for case in cases() {
            for id in case.after {
                let root = cases().find(|it| it.id == *id).unwrap();
                assert!(rank_of(root) == Rank::Root, "{} rests on {id}", case.id);
            }
        }
    }
}
