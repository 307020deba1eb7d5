//! From what a case found to a verdict, whichever side the case is about.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::{Case, CaseResult, Deviations, Fault, Finding, Level, Verdict};

/// How often a case that measures time is tried.
const ATTEMPTS: usize = 3;

/// The most characters of what was expected or seen: some ten lines.
const TEXT_CHARS: usize = 1000;

/// Tries a case on its subject, and judges what it found; `unmet` is why it cannot be tried.
pub(super) fn judged<T, N: fmt::Display>(
    case: &Case<T, N>,
    subject: &T,
    deviations: &Deviations,
    unmet: Option<Fault>,
) -> CaseResult {
    let start = Instant::now();
    let mut result = blank(case, deviations);
    let outcome = match unmet {
        Some(fault) => Err(fault),
        // A bug of a case must not be blamed on the subject, nor end the run.
        None => catch_unwind(AssertUnwindSafe(|| (case.run)(subject)))
            .unwrap_or_else(|panic| Err(Fault::Harness(words_of(panic.as_ref())))),
    };
    match outcome {
        Ok(finding) => {
            result.verdict = if case.level == Level::Info { Verdict::Info } else { Verdict::Pass };
            if let Finding::Fact(text) = finding {
                result.actual = Some(shown(&text));
            }
        }
        Err(fault) => {
            result.verdict = verdict_of(&fault, case.level);
            match fault {
                Fault::Miss { expected, actual, .. } => {
                    result.expected = Some(shown(&expected));
                    result.actual = Some(shown(&actual));
                }
                Fault::Skip(reason) | Fault::Unreachable(reason) | Fault::Harness(reason) => {
                    result.actual = Some(shown(&reason));
                }
            }
        }
    }
    result.took_ms = milliseconds(start.elapsed());
    result
}

/// Tries a case that measures time again if it is missed: another process may have been in the way.
///
/// Who is too slow is too slow each time.
pub(super) fn patiently(mut attempt: impl FnMut() -> CaseResult) -> CaseResult {
    let mut result = attempt();
    for number in 2..=ATTEMPTS {
        if !result.is_miss() {
            break;
        }
        let before = std::mem::replace(&mut result, attempt());
        result.took_ms += before.took_ms;
        if !result.is_miss() {
            let seen = before.actual.unwrap_or_default();
            let now = result.actual.take().map(|now| format!("{now}; ")).unwrap_or_default();
            result.actual = Some(format!("{now}held at attempt {number}, before: {seen}"));
        }
    }
    result
}

/// Does this with each item, several at a time; what comes of them in the order of the items.
pub(super) fn each<T: Sync, R: Send>(
    items: &[T],
    parallel: usize,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let slots: Mutex<Vec<Option<R>>> = Mutex::new(items.iter().map(|_| None).collect());
    thread::scope(|scope| {
        for _ in 0..parallel.clamp(1, items.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    let result = work(item);
                    slots.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(result);
                }
            });
        }
    });
    slots.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect()
}

/// Sorts results in the order of the catalogue.
pub(super) fn in_order(results: &mut [CaseResult]) {
    results.sort_by(|a, b| (a.category(), &a.id).cmp(&(b.category(), &b.id)));
}

/// The result of a case before it is judged.
pub(super) fn blank<T, N: fmt::Display>(case: &Case<T, N>, deviations: &Deviations) -> CaseResult {
    CaseResult {
        id: case.id.to_owned(),
        slug: case.slug.to_owned(),
        level: case.level,
        source: case.source.to_owned(),
        claim: case.claim.to_owned(),
        needs: case.needs.iter().map(ToString::to_string).collect(),
        verdict: Verdict::Error,
        expected: None,
        actual: None,
        dialogue: None,
        reproduce: None,
        deviation: deviations.known(case.id),
        took_ms: 0.0,
    }
}

/// What a fault means in a case of this level.
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

/// Text as a report may hold it: a server has had its hands in it.
fn shown(text: &str) -> String {
    let mut out = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == TEXT_CHARS {
            out.push('…');
            break;
        }
        match character {
            _ if character.is_control() => out.extend(character.escape_default()),
            _ => out.push(character),
        }
    }
    out
}

fn words_of(panic: &(dyn Any + Send)) -> String {
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
    fn levels_turn_misses_into_verdicts() {
        let miss =
            |lenient| Fault::Miss { expected: String::new(), actual: String::new(), lenient };
        assert_eq!(verdict_of(&miss(false), Level::Must), Verdict::Fail);
        assert_eq!(verdict_of(&miss(true), Level::Must), Verdict::NonStrict);
        assert_eq!(verdict_of(&miss(false), Level::Should), Verdict::NonStrict);
        assert_eq!(verdict_of(&miss(false), Level::Info), Verdict::Info);
    }
}
