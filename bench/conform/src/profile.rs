//! The parts of a server that a run may use; which cases these are stands in `server/selection.rs`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How much of a server a run may use.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// The cases for any URL of a stream; nothing else is even asked for
    Generic,
    /// Also the script endpoint, topics and metrics, as far as the server has them
    Contract,
    /// Also the cases that stop the process, and those that take longer than ten seconds
    #[default]
    Full,
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Profile::Generic => "generic",
            Profile::Contract => "contract",
            Profile::Full => "full",
        })
    }
}
