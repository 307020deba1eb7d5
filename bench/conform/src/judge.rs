//! From what a case found to a verdict, whichever side the case is about.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use wire::Log;

use super::{Case, CaseResult, Deviations, Fault, Finding, Level, Verdict, host};

/// Attempts at a case after the first one.
const MORE_ATTEMPTS: usize = 6;
/// Passes in a row, alone, that settle a case whose first attempt does not count: a fault that shows in
/// every second attempt shows in one of two.
const PASSES: usize = 2;
/// A time counts if the host was late by less than this part of it …
const HOST_SHARE: u32 = 4;
/// … or by this part, if other cases ran at the time: their work is not all of what the host is seen
/// to do.
const HOST_SHARE_BESIDE: u32 = 40;
/// A silence counts if the host was late by less than this part of it: what should have broken it
/// had the rest of the time.
const HOST_SHARE_OF_SILENCE: u32 = 2;
/// A moment is quiet if the host is late by no more than this: a tenth of a flush that a case times.
const QUIET: Duration = Duration::from_millis(20);
/// How long an attempt waits for a quiet moment.
const WAIT_FOR_QUIET: Duration = Duration::from_secs(2);

/// The most characters of what was expected or seen: some ten lines.
const TEXT_CHARS: usize = 1000;

/// Retries run one at a time: what could not be judged beside others is judged alone.
static ALONE: Mutex<()> = Mutex::new(());

/// Other work beside an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beside {
    /// Nothing else of this run.
    Nothing,
    /// Other cases, which wait more than they compute.
    Cases,
    /// Programs that start, and take the CPU time of this one: too slow does not count at all.
    Programs,
}

/// A server or client that cases are tried on.
pub(super) trait Subject {
    /// The log of the dialogue: sent, received, awaited.
    fn log(&self) -> &Log;

    /// Whether it serves the contract of this workspace: then its promises bind it. To others they are good advice.
    fn serves_contract(&self) -> bool {
        true
    }
}

/// One attempt at a case.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) result: CaseResult,
    /// Why it does not count, if it does not.
    pub(super) doubt: Option<String>,
}

impl Attempt {
    /// An attempt that counts.
    pub(super) fn counts(result: CaseResult) -> Attempt {
        Attempt { result, doubt: None }
    }
}

/// Tries a case once on its subject; `unmet` is why it cannot be tried.
///
/// The attempt counts if it found something that no busy host explains: anything but a pass or a skip
/// that rests on a silence, and a failure that rests on a time.
pub(super) fn attempt<T: Subject, N: fmt::Display>(
    case: &Case<T, N>,
    subject: &T,
    deviations: &Deviations,
    unmet: Option<Fault>,
    beside: Beside,
) -> Attempt {
    let start = Instant::now();
    let mut result = blank(case, deviations);
    let outcome = match unmet {
        Some(fault) => Err(fault),
        // A bug of a case must not be blamed on the subject, nor end the run.
        None => catch_unwind(AssertUnwindSafe(|| (case.run)(subject)))
            .unwrap_or_else(|panic| Err(Fault::Harness(words_of(panic.as_ref())))),
    };
    let late = host::worst_since(start);
    let busy = |time: Duration, share: u32| {
        (late > time / share)
            .then(|| format!("this host itself was {:.0} ms late", milliseconds(late)))
    };
    // A case that was not tried has watched no silence.
    let of_silence =
        || subject.log().shortest_watch().and_then(|it| busy(it, HOST_SHARE_OF_SILENCE));
    let mut doubt = None;
    match outcome {
        Ok(finding) => {
            let is_noted = case.level == Level::Info || matches!(finding, Finding::Noted(_));
            result.verdict = if is_noted { Verdict::Info } else { Verdict::Pass };
            doubt = of_silence();
            if let Finding::Fact(text) | Finding::Noted(text) = finding {
                result.actual = Some(shown(&text));
            }
        }
        Err(fault) => {
            let level = match case.level {
                Level::MustContract if !subject.serves_contract() => Level::Should,
                level => level,
            };
            result.verdict = verdict_of(&fault, level);
            match fault {
                Fault::Miss { expected, actual, took, .. } => {
                    let took = took.or(subject.log().vain_wait());
                    doubt = took.and_then(|took| match beside {
                        Beside::Nothing => busy(took, HOST_SHARE),
                        Beside::Cases => busy(took, HOST_SHARE_BESIDE),
                        Beside::Programs => Some("other clients were starting".to_owned()),
                    });
                    result.expected = Some(shown(&expected));
                    result.actual = Some(shown(&actual));
                }
                Fault::Skip(reason) => {
                    // That a precondition did not occur in time may be the host's doing.
                    let is_of_time = subject.log().has_timed_out();
                    let of_time = || busy(start.elapsed(), HOST_SHARE).filter(|_| is_of_time);
                    doubt = of_silence().or_else(of_time);
                    result.actual = Some(shown(&reason));
                }
                Fault::Unjudged(reason) => {
                    doubt = Some(reason.clone());
                    result.actual = Some(shown(&reason));
                }
                Fault::Follows { case, seen, took } => {
                    let took = took.or(subject.log().vain_wait());
                    doubt = took.and_then(|took| busy(took, HOST_SHARE));
                    result.actual = Some(shown(&format!("{}: {seen}", because(case))));
                    result.because = Some(case.to_owned());
                }
                Fault::Unreachable(reason) | Fault::Adapter(reason) | Fault::Harness(reason) => {
                    result.actual = Some(shown(&reason));
                }
            }
        }
    }
    result.took_ms = milliseconds(start.elapsed());
    Attempt { result, doubt }
}

/// Settles a case whose first attempt does not count, by attempts that do.
///
/// One failure that counts is a failure. A pass must come twice in a row, because the first attempt
/// left a suspicion. Without either the case is not judged, which is an error of the harness.
pub(super) fn settled(first: Attempt, mut again: impl FnMut() -> Attempt) -> CaseResult {
    let Attempt { mut result, doubt } = first;
    let Some(mut doubt) = doubt else { return result };
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut suspicion = format!("{}, while {doubt}", summary(&result));
    let (mut passes, mut took_ms) = (0, result.took_ms);
    for _ in 0..MORE_ATTEMPTS {
        host::wait_until_quiet(QUIET, WAIT_FOR_QUIET);
        let attempt = again();
        result = attempt.result;
        took_ms += result.took_ms;
        result.took_ms = took_ms;
        match attempt.doubt {
            Some(reason) => {
                passes = 0;
                suspicion = format!("{}, while {reason}", summary(&result));
                doubt = reason;
            }
            None if matches!(result.verdict, Verdict::Pass | Verdict::Info) => {
                passes += 1;
                if passes == PASSES {
                    let now =
                        result.actual.take().map(|now| format!("{now}; ")).unwrap_or_default();
                    result.actual =
                        Some(format!("{now}the same in two more runs alone; before: {suspicion}"));
                    return result;
                }
            }
            None => return result,
        }
    }
    unjudged(result, MORE_ATTEMPTS + 1, &doubt)
}

/// Settles a case that can be tried only once.
pub(super) fn settled_at_once(only: Attempt) -> CaseResult {
    match only.doubt {
        None => only.result,
        Some(doubt) => unjudged(only.result, 1, &doubt),
    }
}

fn unjudged(result: CaseResult, attempts: usize, doubt: &str) -> CaseResult {
    let words = format!(
        "not judged in {attempts} attempts: {doubt}; run it again on a quieter machine, or with a \
         larger --time-scale"
    );
    CaseResult { verdict: Verdict::Error, actual: Some(words), ..result }
}

fn summary(result: &CaseResult) -> String {
    format!("{} ({})", result.verdict.word(), result.actual.as_deref().unwrap_or("no words"))
}

/// Does this with each item, several at a time; what comes of them in the order of the items.
pub(super) fn parallel_map<T: Sync, R: Send>(
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

/// Holds if this holds for each item, several at a time; the first failure in the order of the items.
pub(super) fn each_holds<T: Sync>(
    items: &[T],
    parallel: usize,
    holds: impl Fn(&T) -> Result<(), Fault> + Sync,
) -> Result<(), Fault> {
    parallel_map(items, parallel, holds).into_iter().collect()
}

/// Why a case is not judged that follows from another one.
pub(super) fn because(case: &str) -> String {
    format!("not judged, because of {case}")
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
        scope: Some(case.scope),
        in_handler: case.in_handler,
        claim: case.claim.to_owned(),
        sends: case.sends.to_owned(),
        fix: case.fix.to_owned(),
        needs: case.needs.iter().map(ToString::to_string).collect(),
        verdict: Verdict::Error,
        because: None,
        outside_scope: false,
        expected: None,
        actual: None,
        dialogue: None,
        reproduce: None,
        deviation: deviations.known(case.id),
        took_ms: 0.0,
    }
}

/// The verdict on a fault in a case of this level.
fn verdict_of(fault: &Fault, level: Level) -> Verdict {
    match fault {
        Fault::Miss { lenient, unanswered, .. } => match level {
            Level::Info => Verdict::Info,
            Level::Should => Verdict::NonStrict,
            _ if *lenient => Verdict::NonStrict,
            // Standards set no time for an answer; the contract of this workspace does.
            Level::Must if *unanswered => Verdict::NonStrict,
            Level::Must | Level::MustContract => Verdict::Fail,
        },
        Fault::Skip(_) => Verdict::Skip,
        Fault::Unreachable(_) | Fault::Follows { .. } => Verdict::Blocked,
        Fault::Adapter(_) => Verdict::Adapter,
        Fault::Harness(_) | Fault::Unjudged(_) => Verdict::Error,
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
            _ if character.is_control() || wire::steers(character) => {
                out.extend(character.escape_default());
            }
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
        let miss = |lenient| Fault::Miss {
            expected: String::new(),
            actual: String::new(),
            lenient,
            unanswered: false,
            took: None,
        };
        let unanswered = Fault::Miss {
            expected: String::new(),
            actual: String::new(),
            lenient: false,
            unanswered: true,
            took: None,
        };
        assert_eq!(verdict_of(&unanswered, Level::Must), Verdict::NonStrict);
        assert_eq!(verdict_of(&unanswered, Level::MustContract), Verdict::Fail);
        assert_eq!(verdict_of(&miss(false), Level::Must), Verdict::Fail);
        assert_eq!(verdict_of(&miss(true), Level::Must), Verdict::NonStrict);
        assert_eq!(verdict_of(&miss(false), Level::Should), Verdict::NonStrict);
        assert_eq!(verdict_of(&miss(false), Level::Info), Verdict::Info);
    }

    #[test]
    fn text_of_a_server_steers_no_terminal() {
        assert_eq!(
            shown("a\r\u{1b}[31m\u{202e}\u{200b}ü\""),
            "a\\r\\u{1b}[31m\\u{202e}\\u{200b}ü\""
        );
    }

    /// The result of [`settled`] for attempts: `p`ass or `m`iss, a capital letter for one that
    /// counts.
    fn settled_of(attempts: &str) -> (Verdict, usize) {
        let _watch = host::Watch::start();
        let case = crate::server::cases().next().unwrap();
        let attempt = |letter: char| {
            let mut result = blank(case, &Deviations::default());
            let is_pass = letter.eq_ignore_ascii_case(&'p');
            result.verdict = if is_pass { Verdict::Pass } else { Verdict::Fail };
            let doubt = letter.is_ascii_lowercase().then(|| "the host was busy".to_owned());
            Attempt { result, doubt }
        };
        let mut left = attempts.chars().map(attempt);
        let first = left.next().unwrap();
        let mut used = 1;
        let result = settled(first, || {
            used += 1;
            left.next().expect("it stops before")
        });
        (result.verdict, used)
    }

    #[test]
    fn an_attempt_that_counts_settles_a_case() {
        assert_eq!(settled_of("P"), (Verdict::Pass, 1));
        assert_eq!(settled_of("M"), (Verdict::Fail, 1));
    }

    #[test]
    fn after_a_doubt_a_pass_must_come_twice_in_a_row_and_a_miss_once() {
        assert_eq!(settled_of("mPP"), (Verdict::Pass, 3));
        assert_eq!(settled_of("pPP"), (Verdict::Pass, 3));
        assert_eq!(settled_of("mPpPP"), (Verdict::Pass, 5));
        assert_eq!(settled_of("pM"), (Verdict::Fail, 2));
        assert_eq!(settled_of("ppppM"), (Verdict::Fail, 5));
    }

    #[test]
    fn a_fault_in_every_second_attempt_is_found_wherever_it_begins() {
        assert_eq!(settled_of("mPM"), (Verdict::Fail, 3));
        assert_eq!(settled_of("pM"), (Verdict::Fail, 2));
        assert_eq!(settled_of("mpmPM"), (Verdict::Fail, 5));
    }

    #[test]
    fn without_an_attempt_that_counts_nothing_is_judged() {
        assert_eq!(settled_of("mmmmmmm"), (Verdict::Error, MORE_ATTEMPTS + 1));
        assert_eq!(settled_of("ppppppp"), (Verdict::Error, MORE_ATTEMPTS + 1));
    }
}
