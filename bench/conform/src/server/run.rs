//! Runs cases and judges what they find.

use std::collections::{HashMap, HashSet};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use super::sanity::Sanity;
use super::{
    Case, CaseResult, Deviations, EARLY_HEAD, Fault, HANDSHAKE, Need, Scope, Selection, Target,
    Verdict, care, reproduce, watching,
};
use crate::judge::{self, Attempt, Beside};
use crate::{Profile, host};

/// Cases that wait for minutes and do little meanwhile; all there are may run at a time.
const PARALLEL_LONG: usize = 16;

/// Runs every case; results in the order of the ids.
pub fn check(target: &Target) -> Vec<CaseResult> {
    check_each(target, &Selection::default(), &Deviations::default(), &|_| {})
}

/// The course of a run, for the user who waits.
pub(super) trait Observer: Sync {
    /// A case begins.
    fn begins(&self, case: &Case);
    /// It is judged; a server that then falls silent takes a failure back.
    fn ended(&self, result: &CaseResult);
}

impl<F: Fn(&CaseResult) + Sync> Observer for F {
    fn begins(&self, _: &Case) {}

    fn ended(&self, result: &CaseResult) {
        self(result);
    }
}

/// Runs the selected cases, several at a time; results in the order of the ids.
///
/// `deviations` are those for the encoding at hand. `ended` gets each result as soon as there is one.
/// First runs
/// the handshake, then the other categories, then cases that must be alone, that are long, that stop
/// the process. Before, between and after groups the server is asked whether it still answers. If
/// it does not, the rest is blocked, and so are the failures of the group in which it fell silent:
/// it is not known which of them are the server's.
pub fn check_each(
    target: &Target,
    selection: &Selection,
    deviations: &Deviations,
    ended: &(dyn Fn(&CaseResult) + Sync),
) -> Vec<CaseResult> {
    check_observed(target, selection, deviations, &|result: &CaseResult| ended(result))
}

/// The same, with each beginning.
pub(super) fn check_observed(
    target: &Target,
    selection: &Selection,
    deviations: &Deviations,
    observer: &dyn Observer,
) -> Vec<CaseResult> {
    let _watch = host::Watch::start();
    let sanity = Sanity::new(target, selection.cases(target).len());
    let mut results = watching::beside(&sanity, selection, deviations, observer, || {
        check_in_groups(&sanity, selection, deviations, observer)
    });
    rest_on_failures(&mut results);
    results
}

fn check_in_groups(
    sanity: &Sanity<'_>,
    selection: &Selection,
    deviations: &Deviations,
    observer: &dyn Observer,
) -> Vec<CaseResult> {
    let target = sanity.target();
    let mut selected = selection.cases(target);
    selected.retain(|case| !watching::is_beside(case, target));
    let mut run = Run { target, selection, deviations, observer, sanity, verdicts: HashMap::new() };
    sanity.ask();
    let mut results = Vec::new();
    for group in groups(&selected, target) {
        let begins = results.len();
        for wave in waves(&group.cases) {
            let wave = run.wave(&wave, group.parallel);
            let verdicts = wave.iter().map(|it| (it.id.clone(), (it.verdict, it.because.clone())));
            run.verdicts.extend(verdicts);
            results.extend(wave);
        }
        // A process that a case has stopped answers no more, and should not.
        if !group.stops_it {
            sanity.ask();
            sanity.doubt(&mut results[begins..]);
        }
    }
    judge::in_order(&mut results);
    results
}

/// Whether cases that rest on one with this verdict are not judged.
pub(super) fn stops_those_after(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Fail | Verdict::Blocked | Verdict::Error)
}

/// A case that is not judged because of another one is no finding only if that one is: else the fault would
/// be reported by neither.
pub(super) fn rest_on_failures(results: &mut [CaseResult]) {
    let is_early = results
        .iter()
        .any(|it| it.id == EARLY_HEAD && matches!(it.verdict, Verdict::Pass | Verdict::Info));
    let failed: HashSet<String> = results
        .iter()
        .filter(|it| it.is_miss() || matches!(it.verdict, Verdict::Error))
        .map(|it| it.id.clone())
        .collect();
    for result in results {
        let Some(id) = result.because.as_deref() else { continue };
        let is_late_head = id == EARLY_HEAD;
        if !failed.contains(id) {
            result.because = None;
            if is_late_head && is_early && HANDSHAKE.contains(&result.id.as_str()) {
                // All cases rest on it: a run without it is no success.
                result.verdict = Verdict::Error;
                let seen = result.actual.take().unwrap_or_default();
                result.actual = Some(format!(
                    "{seen}; where {EARLY_HEAD} looked, it was not late: with a larger --patience-ms it is judged"
                ));
            } else if is_late_head {
                // As many streams as a run has open may be more than a server has threads.
                result.verdict = Verdict::Skip;
                let seen = result.actual.take().unwrap_or_default();
                result.actual = Some(format!(
                    "{seen}; where {EARLY_HEAD} looked, it was not late: the server may have been busy"
                ));
            }
        } else if is_late_head && result.id == HANDSHAKE[0] {
            // A recommendation failed, and no stream opened at all: such a run is no success.
            result.because = None;
        }
    }
}

/// First attempts of [`run_case`] run beside each other, and further ones alone.
static BESIDE: RwLock<()> = RwLock::new(());

/// Runs one case, whatever the profile, until it is judged.
pub(super) fn run_case(case: &Case, target: &Target, deviations: &Deviations) -> CaseResult {
    let _watch = host::Watch::start();
    let first = {
        let _others = BESIDE.read().unwrap_or_else(PoisonError::into_inner);
        run_once(case, target, deviations, Beside::Cases)
    };
    judge::settled(first, || {
        let _alone = BESIDE.write().unwrap_or_else(PoisonError::into_inner);
        run_once(case, target, deviations, Beside::Nothing)
    })
}

fn run_once(case: &Case, target: &Target, deviations: &Deviations, beside: Beside) -> Attempt {
    care::tried(target, case.is_flood(), |target, skip| {
        let unmet = unmet(case, target).map(Fault::Skip);
        let mut attempt = judge::attempt(case, target, deviations, unmet.or(skip), beside);
        if target.keeps_bytes() && attempt.result.verdict == Verdict::Pass {
            attempt.result.dialogue = Some(target.log().render());
        }
        if attempt.result.is_miss() {
            attempt.result.dialogue = Some(target.log().render());
            let took = Duration::from_secs_f64(attempt.result.took_ms / 1e3);
            attempt.result.reproduce = reproduce::line(case, target, took);
        }
        attempt
    })
}

/// How to offer what a case needs and the target lacks.
fn unmet(case: &Case, target: &Target) -> Option<String> {
    let missing = case.needs.iter().find(|need| !target.capabilities().contains(need));
    missing.map(|need| need.advice())
}

/// Cases that run together.
struct Group<'c> {
    cases: Vec<&'c Case>,
    parallel: usize,
    stops_it: bool,
}

/// In the order of the run: what others depend on first, what stops the server last.
fn groups<'c>(selected: &[&'c Case], target: &Target) -> Vec<Group<'c>> {
    let parallel = target.parallel();
    let own_process = target.control().is_some_and(super::Control::is_parallel);
    let rank = |case: &Case| {
        let is_root = HANDSHAKE.contains(&case.id);
        match case.category().number {
            // They start separate processes, or stop the one there is.
            _ if case.needs.contains(&Need::Process) => 1003,
            _ if case.is_long(target) => 1002,
            _ if case.is_flood() || (case.is_alone() && !own_process) => 1001,
            _ if is_root => 0,
            // Our own servers take all cases at once; those of others are asked category by category.
            _ if own_process => 1,
            // Requests that may have a price are for the stream first.
            category if case.scope == Scope::Http && !target.asks_with_get() => 100 + category,
            category => category,
        }
    };
    let mut ranks: Vec<u32> = selected.iter().map(|case| rank(case)).collect();
    ranks.sort_unstable();
    ranks.dedup();
    ranks
        .into_iter()
        .map(|group| Group {
            cases: selected.iter().filter(|case| rank(case) == group).copied().collect(),
            parallel: match group {
                1001 => 1,
                1002 => PARALLEL_LONG,
                1003 if !own_process => 1,
                _ => parallel,
            },
            stops_it: group == 1003 && !own_process,
        })
        .collect()
}

/// The cases of a group in steps: what a case depends on runs in a step before it.
fn waves<'c>(group: &[&'c Case]) -> Vec<Vec<&'c Case>> {
    let mut left = group.to_vec();
    let mut waves = Vec::new();
    while !left.is_empty() {
        let waits = |case: &Case| {
            let ids = case.after;
            left.iter().any(|other| ids.contains(&other.id))
        };
        let (later, now): (Vec<_>, Vec<_>) = left.iter().partition(|case| waits(case));
        // A circle would be a mistake in the catalogue; its cases run all the same.
        let (later, now) = if now.is_empty() { (now, later) } else { (later, now) };
        waves.push(now);
        left = later;
    }
    waves
}

struct Run<'r> {
    target: &'r Target,
    selection: &'r Selection,
    deviations: &'r Deviations,
    observer: &'r dyn Observer,
    sanity: &'r Sanity<'r>,
    /// Of a blocked case also the one that it follows from.
    verdicts: HashMap<String, (Verdict, Option<String>)>,
}

impl Run<'_> {
    fn wave(&self, cases: &[&Case], parallel: usize) -> Vec<CaseResult> {
        let beside = if cases.len() > 1 { Beside::Cases } else { Beside::Nothing };
        let attempts = judge::parallel_map(cases, parallel, |case| {
            self.observer.begins(case);
            let attempt = self.attempt(case, beside);
            if attempt.doubt.is_none() {
                self.observer.ended(&attempt.result);
            }
            attempt
        });
        // The only process is stopped once.
        let is_last = matches!(self.target.control(), Some(super::Control::Pid(_)));
        let settled = |(case, first): (&&Case, Attempt)| {
            let is_reported = first.doubt.is_none();
            let result = match case.needs.contains(&Need::Process) {
                true if is_last => judge::settled_at_once(first),
                _ => judge::settled(first, || self.attempt(case, Beside::Nothing)),
            };
            if !is_reported {
                self.observer.ended(&result);
            }
            result
        };
        cases.iter().zip(attempts).map(settled).collect()
    }

    fn attempt(&self, case: &Case, beside: Beside) -> Attempt {
        let other = |verdict, reason: String| {
            let mut result = judge::blank(case, self.deviations);
            (result.verdict, result.actual) = (verdict, Some(reason));
            Attempt::counts(result)
        };
        if let Some(reason) = self.left_out(case) {
            return other(Verdict::Skip, reason);
        }
        if let Some(words) = self.sanity.silent() {
            return other(Verdict::Blocked, format!("the server no longer answers: {words}"));
        }
        let broken = case.after.iter().find_map(|id| {
            let (verdict, because) = self.verdicts.get(*id)?;
            stops_those_after(*verdict).then(|| because.clone().unwrap_or_else(|| (*id).to_owned()))
        });
        if let Some(id) = broken {
            let mut blocked = other(Verdict::Blocked, judge::because(&id));
            blocked.result.because = Some(id);
            return blocked;
        }
        let attempt = run_once(case, self.target, self.deviations, beside);
        let is_suspect = attempt.result.is_miss() || attempt.result.verdict == Verdict::Blocked;
        if is_suspect && !case.needs.contains(&Need::Process) {
            self.sanity.ask();
        }
        let is_late = attempt.result.because.as_deref() == Some(EARLY_HEAD);
        if let Some(words) = self.sanity.silent().filter(|_| is_late) {
            return other(Verdict::Blocked, format!("the server no longer answers: {words}"));
        }
        attempt
    }

    /// Why a case does not run at all.
    fn left_out(&self, case: &Case) -> Option<String> {
        let profile = self.selection.profile();
        let least = Profile::of(case, self.target);
        if least > profile && !self.selection.names(case) {
            return Some(format!("part of --profile {least}, not of {profile}"));
        }
        // A case that could not be asked anyway does not wait for the verdict of another one.
        care::spared(case, self.target).or_else(|| unmet(case, self.target))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Known;
    use super::super::cases;
    use super::*;

    #[test]
    fn a_listed_miss_is_expected_and_a_listed_pass_is_not() {
        let listed = Some(Known { reason: "known".into(), upstream: None, version: "1".into() });
        let judged = |verdict, deviation: &Option<Known>, strict| {
            let case = cases().next().expect("there are cases");
            let result = judge::blank(case, &Deviations::default());
            let result = CaseResult { verdict, deviation: deviation.clone(), ..result };
            result.is_unexpected(strict)
        };
        assert!(judged(Verdict::Fail, &None, false) && !judged(Verdict::Fail, &listed, true));
        assert!(judged(Verdict::Pass, &listed, false) && !judged(Verdict::Pass, &None, true));
        assert!(!judged(Verdict::NonStrict, &None, false));
        assert!(judged(Verdict::NonStrict, &None, true));
        assert!(!judged(Verdict::NonStrict, &listed, true));
        assert!(!judged(Verdict::Skip, &listed, true));
        assert!(judged(Verdict::Blocked, &listed, false));
    }

    #[test]
    fn a_server_that_is_gone_blocks_and_a_case_that_panics_is_an_error() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let target = Target::contract(address, None).with_patience(Duration::from_millis(200));
        let case = cases().next().unwrap();
        let result = run_case(case, &target, &Deviations::default());
        assert_eq!(result.verdict, Verdict::Blocked, "{result:?}");
        let case = Case { run: |_| panic!("a bug"), ..*case };
        let result = run_case(&case, &target, &Deviations::default());
        assert_eq!(result.verdict, Verdict::Error);
        assert!(result.actual.as_deref().unwrap().contains("a bug"), "{result:?}");
        assert!(result.is_unexpected(false));
        let results = check(&target);
        assert_eq!(results.len(), cases().count());
        for result in results {
            assert!(matches!(result.verdict, Verdict::Blocked | Verdict::Skip), "{result:?}");
        }
    }

    #[test]
    fn what_a_case_depends_on_runs_before_it() {
        let all: Vec<_> = cases().collect();
        let target = Target::contract(([127, 0, 0, 1], 1).into(), None);
        let mut seen = Vec::new();
        for group in groups(&all, &target) {
            for wave in waves(&group.cases) {
                for case in &wave {
                    let unmet = case.after.iter().find(|id| !seen.contains(*id));
                    assert_eq!(unmet, None, "{} depends on it", case.id);
                }
                seen.extend(wave.iter().map(|case| case.id));
            }
        }
        assert_eq!(seen.len(), all.len());
    }
}
