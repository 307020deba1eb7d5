//! A case and its possible outcomes, the same for servers and clients.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Category;

/// The day of the first catalogue.
const FIRST_CATALOGUE: &str = "2026-11-20";

/// One claim about a server or a client, with the dialogue that tests it: all that there is to know
/// of the case but the rule that it follows from (`rules.rs`).
///
/// `T` is what it is tried on, `N` what that must offer.
#[derive(Debug)]
pub struct Case<T: 'static, N: 'static> {
    /// `S<category>.<number>` of a server, `C….…` of a client; never renumbered, never used again.
    pub id: &'static str,
    /// The claim in a few words, for people and for filters.
    pub slug: &'static str,
    /// The meaning of a failure.
    pub level: Level,
    /// The text that demands it: `HTML 9.2.3`, `RFC 9112 6.1`, or a practice.
    pub source: &'static str,
    /// Whether it is about Server-Sent Events or about the HTTP below them.
    pub scope: Scope,
    /// The day on which the case was added, `2026-11-20`.
    pub since: &'static str,
    /// Needs beyond the URL of a stream, or a client that reads one; empty for most.
    pub needs: &'static [N],
    /// Costs beyond a few requests, and limits on other cases beside it; empty for nearly all.
    pub cost: &'static [Cost],
    /// It sends bytes that no client sends by accident: broken framing, too much, too slowly, from
    /// too many connections.
    pub hostile: bool,
    /// The cases that must hold for this one to say anything.
    pub after: &'static [&'static str],
    /// One sentence that is true of every server, or client, that conforms.
    pub claim: &'static str,
    /// Requests and actions of the suite.
    pub sends: &'static str,
    /// The fix for a server, or client, that fails it.
    pub fix: &'static str,
    /// Holds the dialogue.
    pub run: fn(&T) -> Outcome,
}

impl<T, N> Case<T, N> {
    /// Common fields of most cases, for the constants of the two sides.
    pub(super) const COMMON: Case<T, N> = Case {
        id: "",
        slug: "",
        level: Level::Must,
        source: "",
        scope: Scope::Sse,
        since: FIRST_CATALOGUE,
        needs: &[],
        cost: &[],
        hostile: false,
        after: &[],
        claim: "",
        sends: "",
        fix: "",
        run: |_| Err(Fault::Harness(String::new())),
    };

    /// Id and slug, the name in reports and test filters: `S6.01-resume-next`.
    pub fn name(&self) -> String {
        format!("{}-{}", self.id, self.slug)
    }

    /// Whether a word of a user means it: an id, a slug, both, or its category (`S6`, `resume`).
    pub fn matches(&self, word: &str) -> bool {
        let category = self.id.split('.').next().unwrap_or_default();
        [self.id, category, self.slug, self.category().name()]
            .iter()
            .any(|it| it.eq_ignore_ascii_case(word))
            || self.name().eq_ignore_ascii_case(word)
    }

    /// Which category it belongs to.
    pub fn category(&self) -> Category {
        Category::of(self.id)
    }
}

/// Whether a case is among those that match one of `only` (all if it is empty) and none of `skip`.
pub(super) fn is_selected(
    only: &[String],
    skip: &[String],
    matches: impl Fn(&str) -> bool,
) -> bool {
    (only.is_empty() || only.iter().any(|word| matches(word)))
        && !skip.iter().any(|word| matches(word))
}

/// The subject of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// The event stream: what a handler decides, or the code that encodes and sends events.
    Sse,
    /// HTTP/1.1 below it: what the library decides, and a handler seldom can.
    Http,
}

/// The meaning of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// A standard demands it.
    Must,
    /// The contract of this workspace demands it; no standard does.
    MustContract,
    /// A standard recommends it, or well-established practice does.
    Should,
    /// No standard demands it; the case records a fact.
    Info,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Level::Must => "MUST",
            Level::MustContract => "MUST*",
            Level::Should => "SHOULD",
            Level::Info => "INFO",
        })
    }
}

/// Costs of a case beyond a few requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cost {
    /// It takes more than 10 s.
    Long,
    /// It measures times of a client: few others may run at the time.
    Timed,
    /// It waits out the keep-alive: long, unless that is known to be short.
    KeepAlive,
    /// Hundreds of connections or many megabytes; only for a server that the user owns.
    Flood,
    /// It measures what others that run at the same time would spoil: what a server holds open,
    /// or how long something takes. A server's case starts a separate process where it can, and
    /// then others do not matter.
    Alone,
}

/// The finding of a case that held: nothing to add, or a fact to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The claim is true.
    Pass,
    /// The claim is true, or there was none; this was seen.
    Fact(String),
}

/// Why a case did not hold.
#[derive(Debug)]
pub enum Fault {
    /// The server or client did something else.
    Miss {
        /// The demand of the claim, concretely.
        expected: String,
        /// The behaviour that was seen.
        actual: String,
        /// Only a recommendation failed, in a case whose level is higher.
        lenient: bool,
        /// It was too slow: the time that it took. A busy host looks the same.
        took: Option<Duration>,
    },
    /// The attempt says nothing about the claim, but another one may: its own baseline was disturbed,
    /// or a condition that the case waits for did not occur.
    Unjudged(String),
    /// The stream or client at hand does not show what the case is about.
    Skip(String),
    /// No server answered, or the client sent no request: the claim could not be tested.
    Unreachable(String),
    /// The harness could not do its part.
    Harness(String),
}

impl Fault {
    /// The same; if it is a failure, the reason is that it took so long.
    pub(super) fn too_slow(mut self, time: Duration) -> Fault {
        if let Fault::Miss { took, .. } = &mut self {
            *took = Some(time);
        }
        self
    }

    /// The same; if it is a failure, with these words before the expected and the actual result.
    pub(super) fn within(mut self, of_expected: &str, of_actual: &str) -> Fault {
        if let Fault::Miss { expected, actual, .. } = &mut self {
            expected.insert_str(0, of_expected);
            actual.insert_str(0, of_actual);
        }
        self
    }
}

/// The result of a case's function.
pub type Outcome = Result<Finding, Fault>;

impl From<wire::Error> for Fault {
    fn from(error: wire::Error) -> Fault {
        match error {
            _ if error.is_unreachable() => return Fault::Unreachable(error.to_string()),
            // A limit of ours, not a rule: a server that sends more than we read breaks none.
            wire::Error::TooLong { .. } | wire::Error::Parse(_) => {
                return Fault::Skip(format!("{error}, and the suite reads no further"));
            }
            _ => {}
        }
        let took = match error {
            wire::Error::Timeout { patience, .. } => Some(patience),
            _ => None,
        };
        let (expected, actual) = (error.awaited().to_owned(), error.to_string());
        Fault::Miss { expected, actual, lenient: false, took }
    }
}
