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

    /// The number of the category: 6 for `S6.01`.
    pub fn category(&self) -> u32 {
        let digits = self.id.trim_start_matches('S').split('.').next().unwrap_or_default();
        digits.parse().expect("a test checks the form of every id")
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
    /// The process: it can be started and told to stop.
    Process,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Need::Script => "script",
            Need::Topics => "topics",
            Need::Metrics => "metrics",
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
        if error.is_unreachable() {
            return Fault::Unreachable(error.to_string());
        }
        Fault::Miss {
            expected: error.awaited().to_owned(),
            actual: error.to_string(),
            lenient: false,
        }
    }
}
