//! A case and its possible outcomes, the same for servers and clients.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Category, Rule};

/// The day of the first catalogue.
const FIRST_CATALOGUE: &str = "2026-11-20";

/// The case about the time at which the head of a stream comes.
pub(super) const EARLY_HEAD: &str = "S5.01";

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
    /// Of the HTTP below: a handler or a route can fix it all the same, the library need not change.
    pub in_handler: bool,
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
        in_handler: false,
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
        [category, self.category().name()].iter().any(|it| it.eq_ignore_ascii_case(word))
            || self.is_named(word)
    }

    /// Whether a word of a user means this case alone: an id, a slug, both.
    pub fn is_named(&self, word: &str) -> bool {
        [self.id, self.slug, &self.name()].iter().any(|it| it.eq_ignore_ascii_case(word))
    }

    /// Which category it belongs to.
    pub fn category(&self) -> Category {
        Category::of(self.id)
    }
}

/// Checks that each of these words means one of the cases, which are about this subject.
///
/// # Errors
/// One line with the nearest names, or with the cases of the rule that was named.
pub(super) fn check_words<'w, T: 'static, N: 'static, C>(
    words: impl IntoIterator<Item = &'w String>,
    subject: &str,
    cases: impl Fn() -> C,
    rules: &[Rule],
) -> Result<(), String>
where
    C: Iterator<Item = &'static Case<T, N>>,
{
    let is_unknown = |word: &&String| !cases().any(|case| case.matches(word));
    let Some(word) = words.into_iter().find(is_unknown) else { return Ok(()) };
    let rule = rules.iter().find(|it| it.id.eq_ignore_ascii_case(word));
    let hint = match rule.map(Rule::cases) {
        Some(cases @ [_, ..]) => format!(" (a rule; its cases: {})", cases.join(", ")),
        _ => {
            let names = cases().flat_map(|it| [it.id, it.slug, it.category().name()]);
            fleet::did_you_mean(word, names)
        }
    };
    Err(format!(
        "no case about {subject} matches {word:?}{hint}; write an id, a slug or a category (sse-bench list cases)"
    ))
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
    /// The contract of this workspace demands it of the servers that serve it; of others it is a recommendation, for no
    /// standard demands it.
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
    /// It watches one stream for half a minute, unless the keep-alive is known: beside all others.
    Watch,
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
    /// The claim was not judged; this was seen all the same.
    Noted(String),
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
        /// No answer at all came within the patience: no demand of a standard on an answer is seen to be broken.
        unanswered: bool,
        /// It was too slow: the time that it took. A busy host looks the same.
        took: Option<Duration>,
    },
    /// The attempt says nothing about the claim, but another one may: its own baseline was disturbed,
    /// or a condition that the case waits for did not occur.
    Unjudged(String),
    /// The stream or client at hand does not show what the case is about.
    Skip(String),
    /// The observation follows from the failure of another case, which alone reports it.
    Follows {
        /// The id of that case.
        case: &'static str,
        /// The observation.
        seen: String,
        /// The time that it took, if it was too slow.
        took: Option<Duration>,
    },
    /// No server answered, or the client sent no request: the claim could not be tested.
    Unreachable(String),
    /// The adapter of a client did not do its part: it crashed before it asked for anything, or printed
    /// lines that are not of the protocol.
    Adapter(String),
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

    /// The same; only a recommendation failed.
    pub(super) fn recommended(mut self) -> Fault {
        if let Fault::Miss { lenient, .. } = &mut self {
            *lenient = true;
        }
        self
    }

    /// The same; a failure is not judged, because it follows from that of another case.
    pub(super) fn follows(self, case: &'static str) -> Fault {
        match self {
            Fault::Miss { actual, took, .. } => Fault::Follows { case, seen: actual, took },
            other => other,
        }
    }

    /// A failure: this error came instead. If it is a timeout, it is the time that failed.
    pub(super) fn instead_of(expected: impl Into<String>, error: &wire::Error) -> Fault {
        let (expected, actual) = (expected.into(), error.to_string());
        let unanswered = is_unanswered(error);
        Fault::Miss { expected, actual, lenient: false, unanswered, took: waited(error) }
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
            wire::Error::LateHead { is_busy: true, .. } => {
                return Fault::Skip(format!("{error}: the server serves one stream at a time"));
            }
            // When a head comes is the claim of one case; all others need it.
            wire::Error::LateHead { .. } => {
                let (seen, took) = (error.to_string(), None);
                return Fault::Follows { case: EARLY_HEAD, seen, took };
            }
            // A limit of ours, not a rule: a server that sends more than we read breaks none.
            wire::Error::Spent { .. } => return Fault::Skip(error.to_string()),
            wire::Error::TooLong { .. } | wire::Error::Parse(_) => {
                return Fault::Skip(format!("{error}, and the suite reads no further"));
            }
            _ => {}
        }
        Fault::instead_of(error.awaited(), &error)
    }
}

/// Whether the head of an answer was awaited in vain, on a connection that stays open.
pub(super) fn is_unanswered(error: &wire::Error) -> bool {
    matches!(error, wire::Error::Timeout { awaited: wire::RESPONSE_HEAD, .. })
}

/// How long was waited in vain.
fn waited(error: &wire::Error) -> Option<Duration> {
    match error {
        wire::Error::Timeout { patience, .. } => Some(*patience),
        _ => None,
    }
}

/// Checks of a whole catalogue, for the tests of both sides.
#[cfg(test)]
pub(super) mod catalogue {
    use super::Case;

    /// Ids are `S1.01`, `S1.02` and so on, with this letter: none is missing, none stands elsewhere.
    pub fn ids_ascend_without_a_gap<T: 'static, N: 'static>(
        letter: char,
        all: impl Iterator<Item = &'static Case<T, N>>,
    ) {
        let key = |case: &Case<T, N>| {
            let (category, number) = case.id.strip_prefix(letter)?.split_once('.')?;
            let digits = number.len() == 2 && number.bytes().all(|byte| byte.is_ascii_digit());
            digits.then_some((category.parse::<u32>().ok()?, number.parse::<u32>().ok()?))
        };
        let mut last = (0, 0);
        for case in all {
            let this = key(case).expect(case.id);
            // The cases about nodes are a catalogue of their own, which begins with its category.
            let is_first = last == (0, 0) && this.1 == 1;
            let is_next = this == (last.0, last.1 + 1) || this == (last.0 + 1, 1) || is_first;
            let behind = format!("{letter}{}.{:02}", last.0, last.1);
            assert!(is_next, "{} behind {behind}: a new case stands last in its category", case.id);
            assert_eq!(case.category().number, this.0, "{}", case.id);
            last = this;
        }
    }

    /// Texts have their form, and prerequisites exist.
    pub fn texts_read_well<T: 'static, N: 'static>(all: impl Iterator<Item = &'static Case<T, N>>) {
        let all: Vec<_> = all.collect();
        for case in &all {
            let slug_is_fine = case
                .slug
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || b"-0123456789".contains(&byte));
            assert!(slug_is_fine, "{}", case.name());
            assert!(case.claim.ends_with('.') && case.claim.len() < 140, "{}", case.name());
            assert!(!case.source.is_empty(), "{}", case.name());
            assert!(!case.sends.is_empty() && !case.fix.is_empty(), "{}", case.name());
            assert!(case.since.len() == 10 && case.since.starts_with("20"), "{}", case.name());
            assert!(
                case.after.iter().all(|id| all.iter().any(|it| it.id == *id)),
                "{}",
                case.name()
            );
        }
    }
}
