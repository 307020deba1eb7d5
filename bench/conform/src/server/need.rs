//! Needs of a case about a server, which are the offers of a server.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The page with complete adapters for `/script`.
const SCRIPT_PAGE: &str = "bench/servers/README.md";

/// A need of a case beyond the URL of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// `GET /script?events=…`: events of the harness's choice through the normal encoder.
    Script,
    /// `GET` and `POST /messages/{topic}`: publish, subscribe, resume.
    Topics,
    /// A text of the harness's choice becomes an event: by `/script`, or by `--publish`.
    Text,
    /// Texts can be published while streams are open: to topics, or by `--publish`.
    Publish,
    /// `GET /metrics`: how many streams are open.
    Metrics,
    /// `GET /ticks`, `/time`, `/tasks`, `/simulation`: the other streams of the contract.
    Endpoints,
    /// The time between its keep-alive comments is known, and `--keep-alive-ms` sets it.
    KeepAlive,
    /// It speaks HTTP/2.
    Http2,
    /// The process: it can be started and stopped.
    Process,
}

impl Need {
    /// Why a case is skipped for it, and how to offer it.
    pub(super) fn advice(self) -> String {
        match self {
            Need::Script => format!("needs GET /script: twenty lines, see {SCRIPT_PAGE}"),
            Need::Text => format!(
                "needs a text of the suite in an event: give --publish or --publish-cmd, or offer \
                 GET /script, see {SCRIPT_PAGE}"
            ),
            Need::Publish => {
                "needs to publish: give --publish URL, or --publish-cmd 'redis-cli PUBLISH room {text}'"
                    .to_owned()
            }
            Need::Topics => {
                "needs /messages/{topic} of this workspace's contract, with its ids".to_owned()
            }
            Need::Metrics => {
                "needs GET /metrics with sse_open_streams: how many streams are open".to_owned()
            }
            Need::Endpoints => "needs /time and /tasks of this workspace's contract".to_owned(),
            Need::KeepAlive => "the time between keep-alives is not known: give --keep-alive-ms".to_owned(),
            Need::Http2 => "no HTTP/2: give the https:// URL of a server that offers it, or --http2 where it is \
                            spoken without TLS"
                .to_owned(),
            Need::Process => "no process to stop: give --start-cmd or --pid".to_owned(),
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Need::Script => "script",
            Need::Topics => "topics",
            Need::Text => "text",
            Need::Publish => "publish",
            Need::Metrics => "metrics",
            Need::Endpoints => "endpoints",
            Need::KeepAlive => "keep-alive",
            Need::Http2 => "http2",
            Need::Process => "process",
        })
    }
}
