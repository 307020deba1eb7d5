//! Needs of a case about a server, which are the offers of a server.

use std::fmt;

use serde::{Deserialize, Serialize};

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
