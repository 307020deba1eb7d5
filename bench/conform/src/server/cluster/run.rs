//! Runs the cases about nodes, one after the other: each of them speaks in the same room.

use std::collections::HashMap;

use super::{Case, Cluster, Means, cases};
use crate::case::{check_words, is_selected};
use crate::judge::{self, Attempt, Beside};
use crate::server::RULES;
use crate::{CaseResult, Cost, Deviations, Fault, Verdict, host};

/// Which cases to run.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    only: Vec<String>,
    skip: Vec<String>,
}

impl Choice {
    /// Cases that match one of `only` (all if it is empty) and none of `skip`.
    ///
    /// # Errors
    /// One line with advice, if a word matches no case.
    pub fn new(only: &[String], skip: &[String]) -> Result<Choice, String> {
        check_words(only.iter().chain(skip), "nodes", cases, RULES)?;
        Ok(Choice { only: only.to_vec(), skip: skip.to_vec() })
    }

    /// The cases, in the order of their ids.
    pub fn cases(&self) -> Vec<&'static Case> {
        cases()
            .filter(|case| is_selected(&self.only, &self.skip, |word| case.matches(word)))
            .collect()
    }
}

/// Runs the chosen cases; results in the order of the ids.
pub fn check(cluster: &Cluster, choice: &Choice, deviations: &Deviations) -> Vec<CaseResult> {
    check_each(cluster, choice, deviations, &|_| {}, &|_| {})
}

/// The same; `begins` gets each case, `ended` its result.
pub(super) fn check_each(
    cluster: &Cluster,
    choice: &Choice,
    deviations: &Deviations,
    begins: &dyn Fn(&Case),
    ended: &dyn Fn(&CaseResult),
) -> Vec<CaseResult> {
    let _watch = host::Watch::start();
    let means = cluster.means();
    let mut broken: HashMap<String, String> = HashMap::new();
    let mut results = Vec::new();
    for case in choice.cases() {
        begins(case);
        let because = case.after.iter().find_map(|id| broken.get(*id).cloned());
        let attempt = || attempt(case, cluster, deviations, &means, because.as_deref());
        let result = judge::settled(attempt(), attempt);
        if result.is_miss() || matches!(result.verdict, Verdict::Blocked | Verdict::Error) {
            let root = result.because.clone().unwrap_or_else(|| case.id.to_owned());
            broken.insert(case.id.to_owned(), root);
        }
        ended(&result);
        results.push(result);
    }
    // A run of some cases may not have the one that a failure follows from.
    super::super::run::rest_on_failures(&mut results);
    results
}

fn attempt(
    case: &Case,
    cluster: &Cluster,
    deviations: &Deviations,
    means: &[Means],
    because: Option<&str>,
) -> Attempt {
    if let Some(id) = because {
        let mut result = judge::blank(case, deviations);
        (result.verdict, result.actual) = (Verdict::Blocked, Some(judge::because(id)));
        result.because = Some(id.to_owned());
        return Attempt::counts(result);
    }
    let cluster = cluster.for_case();
    let mut attempt =
        judge::attempt(case, &cluster, deviations, unmet(case, &cluster, means), Beside::Nothing);
    let result = &mut attempt.result;
    let log = crate::judge::Subject::log(&cluster);
    let cut = match log.too_many() {
        _ if log.is_spent() => Some("the requests that may be sent are spent (--max-requests)"),
        Some(_) => Some("a node has had too many requests (429)"),
        None => None,
    };
    if let Some(words) = cut {
        // A dialogue that was not held to its end says nothing.
        (result.verdict, result.actual) = (Verdict::Skip, Some(words.to_owned()));
        attempt.doubt = None;
        return attempt;
    }
    if result.is_miss() {
        result.dialogue = Some(log.render());
    }
    attempt
}

/// Why a case cannot be tried.
fn unmet(case: &Case, cluster: &Cluster, means: &[Means]) -> Option<Fault> {
    if cluster.is_broken() {
        let words = "a node did not come back when it was started again";
        return Some(Fault::Harness(words.to_owned()));
    }
    let missing = case.needs.iter().find(|need| !means.contains(need));
    if let Some(need) = missing {
        return Some(Fault::Skip(need.advice().to_owned()));
    }
    let is_rough = case.needs.contains(&Means::Kill)
        || case.needs.contains(&Means::Restart)
        || case.cost.contains(&Cost::Flood);
    let is_at_home = cluster.nodes().iter().all(|node| node.target().is_at_home());
    (is_rough && !is_at_home).then(|| {
        Fault::Skip("floods and kills are for nodes of one's own: --i-own-this-server".to_owned())
    })
}
