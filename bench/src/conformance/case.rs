//! What a case is and what it may find.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Target;
use crate::wire;

/// One claim about a server, with the dialogue that tests it.
#[derive(Debug)]
pub struct Case {
    /// `S<category>.<number>`; never renumbered, never used again.
    pub id: &'static str,
    /// The claim in a few words, for people and for filters.
    pub slug: &'static str,
    /// What a miss means.
    pub level: Level,
    /// The text that demands it: `HTML 9.2.3`, `RFC 9112 6.1`, or a practice.
    pub source: &'static str,
    /// What the server must offer beyond a URL; empty for any server in any language.
    pub needs: &'static [Need],
    /// What it costs beyond a few requests; empty for nearly all.
    pub cost: &'static [Cost],
    /// One sentence that is true of a conforming server.
    pub claim: &'static str,
    /// Holds the dialogue.
    pub run: fn(&Target) -> Outcome,
}

impl Case {
    /// Id and slug, the name in reports and test filters: `S6.01-resume-next`.
    pub fn name(&self) -> String {
        format!("{}-{}", self.id, self.slug)
    }

    /// Whether a word of a user means it: an id, a slug, both, or its category (`S6`, `resume`).
    pub fn matches(&self, word: &str) -> bool {
        let category = self.id.split('.').next().unwrap_or_default();
        [self.id, category, self.slug, category_name(self.category())]
            .iter()
            .any(|it| it.eq_ignore_ascii_case(word))
            || self.name().eq_ignore_ascii_case(word)
    }

    /// Whether it takes more than 10 s against this target: a case for the full profile.
    pub fn is_long(&self, target: &Target) -> bool {
        self.cost.iter().any(|cost| match cost {
            Cost::Long => true,
            Cost::KeepAlive => target.keep_alive().is_none(),
            Cost::Flood | Cost::Alone => false,
        })
    }

    /// Whether it sends so much that a server of somebody else would feel it.
    pub fn is_flood(&self) -> bool {
        self.cost.contains(&Cost::Flood)
    }

    /// Whether other cases that run at the same time would spoil what it counts.
    pub fn is_alone(&self) -> bool {
        self.cost.contains(&Cost::Alone)
    }

    /// Whether it measures time, so that a busy machine can spoil it.
    pub fn is_timed(&self) -> bool {
        const TIMED: &[&str] = &["S7.05", "S7.06", "S8.01", "S8.02", "S11.01", "S11.02"];
        self.category() == 5 || TIMED.contains(&self.id)
    }

    /// The cases that must hold for this one to say anything.
    ///
    /// Nothing can be said of a stream that does not open; the cases of category 9 are about other
    /// requests and stand for themselves.
    pub fn depends_on(&self) -> Vec<&'static str> {
        let mut ids = match self.id {
            "S1.01" => vec![],
            "S1.02" => vec!["S1.01"],
            _ if self.category() == 9 => vec![],
            _ => vec!["S1.01", "S1.02"],
        };
        ids.extend(match self.category() {
            // What a server makes of a hard event is no news if it garbles an easy one.
            4 | 10 if self.needs.contains(&Need::Script) && self.id != "S4.01" => Some("S4.01"),
            6 if self.needs.contains(&Need::Topics) && self.id != "S6.01" => Some("S6.01"),
            7 if self.id != "S7.01" => Some("S7.01"),
            _ => None,
        });
        ids
    }

    /// The number of the category: 6 for `S6.01`.
    pub fn category(&self) -> u32 {
        let digits = self.id.trim_start_matches('S').split('.').next().unwrap_or_default();
        digits.parse().expect("a test checks the form of every id")
    }
}

/// The name of a category: `resume` for 6.
pub fn category_name(number: u32) -> &'static str {
    match number {
        1 => "handshake",
        2 => "framing",
        3 => "grammar",
        4 => "fidelity",
        5 => "timing",
        6 => "resume",
        7 => "broadcast",
        8 => "disconnect",
        9 => "http",
        10 => "injection",
        11 => "shutdown",
        _ => "other",
    }
}

/// What a miss means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// A standard demands it.
    Must,
    /// The contract of this workspace demands it; no standard does.
    MustContract,
    /// A standard recommends it, or well-established practice does.
    Should,
    /// Nobody demands it; the case records a fact.
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

/// What a case costs beyond a few requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cost {
    /// It takes more than 10 s.
    Long,
    /// It waits out the keep-alive: long, unless that is known to be short.
    KeepAlive,
    /// Hundreds of connections or many megabytes; only for a server of one's own.
    Flood,
    /// It counts what the server holds open, so no other case may run beside it. It starts a
    /// process of its own where it can, and then others do not matter.
    Alone,
}

/// What a case needs of a server beyond the URL of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// `GET /script?events=…`: events of the harness's choice through the normal encoder.
    Script,
    /// `GET` and `POST /messages/{topic}`: publish, subscribe, resume.
    Topics,
    /// `GET /metrics`: how many streams are open.
    Metrics,
    /// `GET /ticks`, `/time`, `/tasks`, `/simulation`: the other streams of the contract.
    Endpoints,
    /// The time between its keep-alive comments is known, and `--keep-alive-ms` sets it.
    KeepAlive,
    /// The process: it can be started and told to stop.
    Process,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Need::Script => "script",
            Need::Topics => "topics",
            Need::Metrics => "metrics",
            Need::Endpoints => "endpoints",
            Need::KeepAlive => "keep-alive",
            Need::Process => "process",
        })
    }
}

/// What a case that held found: nothing to add, or a fact to record.
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
    /// The server did something else.
    Miss {
        /// What the claim demands, concretely.
        expected: String,
        /// What the server did.
        actual: String,
        /// Only a recommendation was missed, in a case whose level is higher.
        lenient: bool,
    },
    /// The stream at hand does not show what the case is about.
    Skip(String),
    /// Nobody answers: it says nothing about the claim.
    Unreachable(String),
    /// The harness could not do its part.
    Harness(String),
}

/// The result of a case's function.
pub type Outcome = Result<Finding, Fault>;

impl From<wire::Error> for Fault {
    fn from(error: wire::Error) -> Fault {
        match error {
            _ if error.is_unreachable() => return Fault::Unreachable(error.to_string()),
            // A limit of ours, not a rule: whoever sends more than we read breaks none by that.
            wire::Error::TooLong { .. } | wire::Error::Parse(_) => {
                return Fault::Skip(format!("{error}, and the suite reads no further"));
            }
            _ => {}
        }
        Fault::Miss {
            expected: error.awaited().to_owned(),
            actual: error.to_string(),
            lenient: false,
        }
    }
}
