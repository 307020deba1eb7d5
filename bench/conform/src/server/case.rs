//! Needs, costs and preconditions of a case about a server.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Cost, Target};

/// One claim about a server, with the dialogue that tests it.
pub type Case = super::super::Case<Target, Need>;

impl Case {
    /// Whether it takes more than 10 s against this target: a case for the full profile.
    pub fn is_long(&self, target: &Target) -> bool {
        self.cost.iter().any(|cost| match cost {
            Cost::Long => true,
            Cost::KeepAlive => target.keep_alive().is_none(),
            Cost::Flood | Cost::Alone | Cost::Timed => false,
        })
    }

    /// Whether it sends enough to disturb another operator's server.
    pub fn is_flood(&self) -> bool {
        self.cost.contains(&Cost::Flood)
    }

    /// Whether other cases that run at the same time would spoil what it counts.
    pub fn is_alone(&self) -> bool {
        self.cost.contains(&Cost::Alone)
    }
}

/// A need of a case beyond the URL of a stream.
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
    /// The process: it can be started and stopped.
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
