//! Runs cases and judges what they find.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Case, Deviations, Fault, Finding, Level, Need, Target, cases};

/// The judgement on one case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The claim holds.
    Pass,
    /// A recommendation is missed; conforming all the same.
    NonStrict,
    /// A requirement is missed.
    Fail,
    /// Nothing was demanded; a fact was recorded.
    Info,
    /// The server does not offer what the case needs, or the stream does not show it.
    Skip,
    /// The server no longer answers, so the case says nothing.
    Blocked,
    /// The harness could not do its part.
    Error,
}

impl Verdict {
    /// The word for it in reports.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Pass => "PASS",
            Verdict::NonStrict => "NON-STRICT",
            Verdict::Fail => "FAIL",
            Verdict::Info => "INFO",
            Verdict::Skip => "SKIP",
            Verdict::Blocked => "BLOCKED",
            Verdict::Error => "ERROR",
        }
    }
}

/// What came of one case, complete in itself: a report needs nothing else.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CaseResult {
    /// `S6.01`.
    pub id: String,
    /// `resume-next`.
    pub slug: String,
    /// What a miss means.
    pub level: Level,
    /// The text that demands it.
    pub source: String,
    /// One sentence that is true of a conforming server.
    pub claim: String,
    /// The judgement.
    pub verdict: Verdict,
    /// For a miss: what was expected.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expected: Option<String>,
    /// For a miss: what the server did. Otherwise a fact, or the reason for a skip.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub actual: Option<String>,
    /// For a miss: the bytes of the dialogue with their times, an excerpt.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dialogue: Option<String>,
    /// The reason why a miss is expected of this server, from its `deviations.toml`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deviation: Option<String>,
    /// How long it took, milliseconds.
    pub took_ms: f64,
}

impl CaseResult {
    /// Id and slug.
    pub fn name(&self) -> String {
        format!("{}-{}", self.id, self.slug)
    }

    /// Whether the claim was missed, a recommendation included.
    pub fn is_miss(&self) -> bool {
        matches!(self.verdict, Verdict::Fail | Verdict::NonStrict)
    }

    /// Whether a deviation is listed for a case that holds: the list is out of date.
    pub fn is_stale(&self) -> bool {
        self.deviation.is_some() && matches!(self.verdict, Verdict::Pass | Verdict::Info)
    }

    /// Whether a run with this result must not end well.
    pub fn is_unexpected(&self, strict: bool) -> bool {
        match self.verdict {
            Verdict::Fail => self.deviation.is_none(),
            Verdict::NonStrict => strict && self.deviation.is_none(),
            Verdict::Pass | Verdict::Info => self.is_stale(),
            Verdict::Skip => false,
            Verdict::Blocked | Verdict::Error => true,
        }
    }
}

/// Which cases to run: by id, by category, by slug.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    only: Vec<String>,
    skip: Vec<String>,
}

impl Selection {
    /// Cases that match one of `only` (all if it is empty) and none of `skip`.
    ///
    /// `S3` is a category, `S9.10` a case, `empty-data` a slug.
    ///
    /// # Errors
    /// One line with advice, if a word matches no case.
    pub fn new(only: &[String], skip: &[String]) -> Result<Selection, String> {
        for word in only.iter().chain(skip) {
            if !cases().any(|case| matches(case, word)) {
                return Err(format!(
                    "no case matches {word:?}; write S3, S9.10 or a slug (sse-bench list cases)"
                ));
            }
        }
        Ok(Selection { only: only.to_vec(), skip: skip.to_vec() })
    }

    /// Whether a case is selected.
    pub fn has(&self, case: &Case) -> bool {
        (self.only.is_empty() || self.only.iter().any(|word| matches(case, word)))
            && !self.skip.iter().any(|word| matches(case, word))
    }
}

/// How many cases came to which judgement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Cases that hold.
    pub passed: usize,
    /// Recommendations missed.
    pub non_strict: usize,
    /// Requirements missed.
    pub failed: usize,
    /// Of the missed ones, those listed in `deviations.toml`.
    pub deviations: usize,
    /// Facts recorded.
    pub info: usize,
    /// Cases that could not be judged: skipped, blocked, harness errors.
    pub not_judged: usize,
    /// Results that must not be there.
    pub unexpected: usize,
}

impl Summary {
    /// Counts results; `strict` makes a missed recommendation an unexpected result.
    pub fn of(results: &[CaseResult], strict: bool) -> Summary {
        let count =
            |wanted: fn(&CaseResult) -> bool| results.iter().filter(|it| wanted(it)).count();
        Summary {
            passed: count(|it| it.verdict == Verdict::Pass),
            non_strict: count(|it| it.verdict == Verdict::NonStrict),
            failed: count(|it| it.verdict == Verdict::Fail),
            deviations: count(|it| it.is_miss() && it.deviation.is_some()),
            info: count(|it| it.verdict == Verdict::Info),
            not_judged: count(|it| {
                matches!(it.verdict, Verdict::Skip | Verdict::Blocked | Verdict::Error)
            }),
            unexpected: results.iter().filter(|it| it.is_unexpected(strict)).count(),
        }
    }
}

/// Runs every case; results in the order of the ids.
pub fn check(target: &Target) -> Vec<CaseResult> {
    check_each(target, &Selection::default(), &Deviations::default(), &|_| {})
}

/// Runs the selected cases, several at a time, and tells of each in the order of the ids.
///
/// `deviations` are those for the encoding at hand. Cases that stop processes run after all others.
pub fn check_each(
    target: &Target,
    selection: &Selection,
    deviations: &Deviations,
    ended: &(dyn Fn(&CaseResult) + Sync),
) -> Vec<CaseResult> {
    let selected = cases().filter(|case| selection.has(case));
    let (with_process, others): (Vec<_>, Vec<_>) =
        selected.partition(|case| case.needs.contains(&Need::Process));
    let mut results = Vec::new();
    for group in [others, with_process] {
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Done { slots: group.iter().map(|_| None).collect(), told: 0 });
        thread::scope(|scope| {
            for _ in 0..target.parallel().min(group.len()) {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(case) = group.get(index) else { break };
                        let result = run_case(case, target, deviations);
                        let mut done = done.lock().expect("cases' panics are caught");
                        done.slots[index] = Some(result);
                        done.tell(ended);
                    }
                });
            }
        });
        let done = done.into_inner().expect("cases' panics are caught");
        results.extend(done.slots.into_iter().flatten());
    }
    results
}

/// Results by position; those before `told` have been told of.
struct Done {
    slots: Vec<Option<CaseResult>>,
    told: usize,
}

impl Done {
    fn tell(&mut self, ended: &(dyn Fn(&CaseResult) + Sync)) {
        while let Some(Some(result)) = self.slots.get(self.told) {
            ended(result);
            self.told += 1;
        }
    }
}

/// Runs one case and judges it.
pub(super) fn run_case(case: &Case, target: &Target, deviations: &Deviations) -> CaseResult {
    let start = Instant::now();
    let target = target.for_case();
    let missing: Vec<_> =
        case.needs.iter().filter(|need| !target.capabilities().contains(need)).collect();
    let outcome = if missing.is_empty() {
        // A bug of a case must not be blamed on the server, nor end the run.
        catch_unwind(AssertUnwindSafe(|| (case.run)(&target)))
            .unwrap_or_else(|panic| Err(Fault::Harness(words_of(panic.as_ref()))))
    } else {
        let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
        Err(Fault::Skip(format!("the server does not offer: {}", missing.join(", "))))
    };
    let mut result = CaseResult {
        id: case.id.to_owned(),
        slug: case.slug.to_owned(),
        level: case.level,
        source: case.source.to_owned(),
        claim: case.claim.to_owned(),
        verdict: Verdict::Pass,
        expected: None,
        actual: None,
        dialogue: None,
        deviation: deviations.reason_for(case.id).map(str::to_owned),
        took_ms: 0.0,
    };
    match outcome {
        Ok(finding) => {
            if case.level == Level::Info {
                result.verdict = Verdict::Info;
            }
            if let Finding::Fact(fact) = finding {
                result.actual = Some(fact);
            }
        }
        Err(fault) => {
            result.verdict = verdict_of(&fault, case.level);
            match fault {
                Fault::Miss { expected, actual, .. } => {
                    result.expected = Some(expected);
                    result.actual = Some(actual);
                    result.dialogue = Some(target.log().render());
                }
                Fault::Skip(reason) | Fault::Unreachable(reason) | Fault::Harness(reason) => {
                    result.actual = Some(reason);
                }
            }
        }
    }
    result.took_ms = milliseconds(start.elapsed());
    result
}

fn verdict_of(fault: &Fault, level: Level) -> Verdict {
    match fault {
        Fault::Miss { lenient, .. } => match level {
            Level::Info => Verdict::Info,
            Level::Should => Verdict::NonStrict,
            _ if *lenient => Verdict::NonStrict,
            Level::Must | Level::MustContract => Verdict::Fail,
        },
        Fault::Skip(_) => Verdict::Skip,
        Fault::Unreachable(_) => Verdict::Blocked,
        Fault::Harness(_) => Verdict::Error,
    }
}

fn matches(case: &Case, word: &str) -> bool {
    let category = case.id.split('.').next().unwrap_or_default();
    [case.id, category, case.slug].iter().any(|it| it.eq_ignore_ascii_case(word))
        || case.name().eq_ignore_ascii_case(word)
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no words");
    format!("the case panicked: {text}")
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e4).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections_match_ids_categories_and_slugs() {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let names = |only: &[&str], skip: &[&str]| {
            let selection = Selection::new(&words(only), &words(skip)).unwrap();
            cases().filter(|case| selection.has(case)).map(|case| case.id).collect::<Vec<_>>()
        };
        assert_eq!(names(&["S1.02", "empty-data"], &[]), ["S1.02", "S4.06"]);
        assert!(
            names(&["S1"], &["S1.01"]).iter().all(|id| id.starts_with("S1.") && *id != "S1.01")
        );
        assert!(Selection::new(&words(&["S99"]), &[]).unwrap_err().contains("\"S99\""));
    }

    #[test]
    fn levels_turn_misses_into_verdicts() {
        let miss =
            |lenient| Fault::Miss { expected: String::new(), actual: String::new(), lenient };
        assert_eq!(verdict_of(&miss(false), Level::Must), Verdict::Fail);
        assert_eq!(verdict_of(&miss(true), Level::Must), Verdict::NonStrict);
        assert_eq!(verdict_of(&miss(false), Level::Should), Verdict::NonStrict);
        assert_eq!(verdict_of(&miss(false), Level::Info), Verdict::Info);
    }

    #[test]
    fn a_listed_miss_is_expected_and_a_listed_pass_is_not() {
        let listed = Some("known".to_owned());
        let judged = |verdict, deviation: &Option<String>, strict| {
            let case = cases().next().expect("there are cases");
            let target = Target::contract(([127, 0, 0, 1], 1).into(), None);
            let passing = Case { run: |_| Ok(Finding::Pass), ..*case };
            let result = run_case(&passing, &target, &Deviations::default());
            let result = CaseResult { verdict, deviation: deviation.clone(), ..result };
            result.is_unexpected(strict)
        };
        assert!(judged(Verdict::Fail, &None, false) && !judged(Verdict::Fail, &listed, true));
        assert!(judged(Verdict::Pass, &listed, false) && !judged(Verdict::Pass, &None, true));
        assert!(!judged(Verdict::NonStrict, &None, false));
        assert!(judged(Verdict::NonStrict, &None, true));
        assert!(!judged(Verdict::NonStrict, &listed, true));
        assert!(!judged(Verdict::Skip, &listed, true));
    }

    #[test]
    fn a_server_that_is_gone_blocks_and_a_case_that_panics_is_an_error() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let target = Target::contract(address, None);
        let case = cases().next().unwrap();
        let result = run_case(case, &target, &Deviations::default());
        assert_eq!(result.verdict, Verdict::Blocked, "{result:?}");
        let case = Case { run: |_| panic!("a bug"), ..*case };
        let result = run_case(&case, &target, &Deviations::default());
        assert_eq!(result.verdict, Verdict::Error);
        assert!(result.actual.as_deref().unwrap().contains("a bug"), "{result:?}");
        assert!(result.is_unexpected(false));
    }
}
