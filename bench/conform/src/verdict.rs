//! The verdict on one case, and the summary of a run.

use serde::{Deserialize, Serialize};

use super::{Category, Level, Scope};

/// The judgement on one case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The claim holds.
    Pass,
    /// A recommendation failed; conforming all the same.
    NonStrict,
    /// A requirement failed.
    Fail,
    /// Nothing was demanded; a fact was recorded.
    Info,
    /// The server or client does not offer what the case needs, the stream does not show it, or the
    /// profile leaves it out.
    Skip,
    /// A case that it depends on failed, or there is no answer any more: it says nothing.
    Blocked,
    /// The adapter of a client crashed or printed rubbish: it says nothing about the client.
    Adapter,
    /// The harness could not do its part.
    Error,
}

impl Verdict {
    /// All of them, the good ones first.
    pub const ALL: [Verdict; 8] = [
        Verdict::Pass,
        Verdict::NonStrict,
        Verdict::Fail,
        Verdict::Info,
        Verdict::Skip,
        Verdict::Blocked,
        Verdict::Adapter,
        Verdict::Error,
    ];

    /// The word for it in reports.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Pass => "PASS",
            Verdict::NonStrict => "NON-STRICT",
            Verdict::Fail => "FAIL",
            Verdict::Info => "INFO",
            Verdict::Skip => "SKIP",
            Verdict::Blocked => "BLOCKED",
            Verdict::Adapter => "ADAPTER",
            Verdict::Error => "ERROR",
        }
    }

    /// One letter for it, where there is no room: no two share one.
    pub fn letter(self) -> char {
        self.word().chars().next().expect("no word is empty")
    }

    /// Its meaning, in one sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Verdict::Pass => "the claim holds",
            Verdict::NonStrict => "a recommendation failed; conforming all the same",
            Verdict::Fail => "a requirement failed",
            Verdict::Info => "no standard demands it; a fact was recorded",
            Verdict::Skip => "a need of the case is not offered, or the case was left out",
            Verdict::Blocked => "a case that it depends on failed, or there was no answer any more",
            Verdict::Adapter => {
                "the client's adapter crashed, or printed what is not of the protocol"
            }
            Verdict::Error => "the harness could not do its part",
        }
    }
}

/// The result of one case, complete in itself: a report needs nothing else.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseResult {
    /// `S6.01`.
    pub id: String,
    /// `resume-next`.
    pub slug: String,
    /// The meaning of a failure.
    pub level: Level,
    /// The text that demands it.
    pub source: String,
    /// Whether it is about the stream or the HTTP below it; reports before suite version 3 do not say.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub scope: Option<Scope>,
    /// Of the HTTP below: a handler or a route can fix it all the same.
    #[serde(skip_serializing_if = "is_false", default)]
    pub in_handler: bool,
    /// One sentence that is true of every server, or client, that conforms.
    pub claim: String,
    /// Requests and actions of the suite.
    #[serde(default)]
    pub sends: String,
    /// The fix for a server, or client, that fails it.
    #[serde(default)]
    pub fix: String,
    /// Capabilities that the server or client must have for it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub needs: Vec<String>,
    /// The judgement.
    pub verdict: Verdict,
    /// Of a blocked case: the id of the case whose failure this one follows from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub because: Option<String>,
    /// A failure is shown and does not fail the run: its scope is not the one that counts.
    #[serde(skip_serializing_if = "is_false", default)]
    pub outside_scope: bool,
    /// For a failure: the expected result.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expected: Option<String>,
    /// For a failure: the actual result. Otherwise a fact, or the reason why it was not judged.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub actual: Option<String>,
    /// For a failure, and for a case that passes if it was asked for: the bytes of the dialogue with their times, an excerpt.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dialogue: Option<String>,
    /// For a failure: how to see it again, a line of shell or the option that runs the case alone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reproduce: Option<String>,
    /// Why a failure is expected, from `deviations.toml`, `client.toml` or a baseline.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deviation: Option<Known>,
    /// How long it took, milliseconds.
    pub took_ms: f64,
}

/// A deviation that is known of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// Why, in a sentence.
    pub reason: String,
    /// Where upstream knows of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub upstream: Option<String>,
    /// The version it was seen with.
    pub version: String,
}

impl CaseResult {
    /// Id and slug.
    pub fn name(&self) -> String {
        format!("{}-{}", self.id, self.slug)
    }

    /// Which category it belongs to.
    pub fn category(&self) -> Category {
        Category::of(&self.id)
    }

    /// Whether the claim failed, a recommendation included.
    pub fn is_miss(&self) -> bool {
        matches!(self.verdict, Verdict::Fail | Verdict::NonStrict)
    }

    /// Whether it failed, as is known.
    pub fn is_known(&self) -> bool {
        (self.is_miss() || self.verdict == Verdict::Adapter) && self.deviation.is_some()
    }

    /// Whether a deviation is listed for a case that holds: the list is out of date.
    pub fn is_stale(&self) -> bool {
        self.deviation.is_some() && matches!(self.verdict, Verdict::Pass | Verdict::Info)
    }

    /// The part of a server, or client, in which a failure is fixed.
    pub fn fixed_in(&self) -> Option<&'static str> {
        if self.id.starts_with('C') {
            return None;
        }
        Some(match (self.scope?, self.in_handler) {
            (Scope::Sse, _) => "the handler, or the code that writes the stream",
            (Scope::Http, true) => "the handler or its route",
            (Scope::Http, false) => "the HTTP library, or a proxy before it; a handler seldom can",
        })
    }

    /// Whether a run with this result must not end well.
    pub fn is_unexpected(&self, strict: bool) -> bool {
        match self.verdict {
            Verdict::Fail | Verdict::NonStrict | Verdict::Pass | Verdict::Info
                if self.outside_scope =>
            {
                false
            }
            Verdict::Fail | Verdict::Adapter => self.deviation.is_none(),
            Verdict::NonStrict => strict && self.deviation.is_none(),
            Verdict::Pass | Verdict::Info => self.is_stale(),
            Verdict::Skip => false,
            // The failure that it follows from is the finding.
            Verdict::Blocked => self.because.is_none(),
            Verdict::Error => true,
        }
    }
}

/// How many cases came to which judgement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Cases that hold.
    pub passed: usize,
    /// Recommendations that failed.
    pub non_strict: usize,
    /// Requirements that failed.
    pub failed: usize,
    /// Of the failed ones, those that are known.
    pub deviations: usize,
    /// Facts recorded.
    pub info: usize,
    /// Cases whose needs are not offered, or that the profile leaves out.
    pub skipped: usize,
    /// Cases that could not be judged: blocked, errors of an adapter or of the harness.
    pub not_judged: usize,
    /// Results that must not be there; all cases that a silent server blocks are one.
    pub unexpected: usize,
}

impl Summary {
    /// The columns that every table has: passed, recommendations failed, failed, known, facts, skipped.
    pub(super) fn columns(&self) -> [usize; 6] {
        [self.passed, self.non_strict, self.failed, self.deviations, self.info, self.skipped]
    }

    /// Counts results; `strict` makes a failed recommendation an unexpected result.
    pub fn of(results: &[CaseResult], strict: bool) -> Summary {
        let count =
            |wanted: fn(&CaseResult) -> bool| results.iter().filter(|it| wanted(it)).count();
        let unexpected: Vec<_> = results.iter().filter(|it| it.is_unexpected(strict)).collect();
        let blocked = unexpected.iter().filter(|it| it.verdict == Verdict::Blocked).count();
        Summary {
            passed: count(|it| it.verdict == Verdict::Pass),
            non_strict: count(|it| it.verdict == Verdict::NonStrict),
            failed: count(|it| it.verdict == Verdict::Fail),
            deviations: count(CaseResult::is_known),
            info: count(|it| it.verdict == Verdict::Info),
            skipped: count(|it| it.verdict == Verdict::Skip),
            not_judged: count(|it| {
                matches!(it.verdict, Verdict::Blocked | Verdict::Adapter | Verdict::Error)
            }),
            unexpected: unexpected.len() - blocked.saturating_sub(1),
        }
    }

    /// Whether no case came to a judgement or recorded a fact.
    pub fn judged_nothing(&self) -> bool {
        self.passed + self.non_strict + self.failed + self.info == 0
    }
}

fn is_false(value: &bool) -> bool {
    !value
}
