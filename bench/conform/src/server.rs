//! Cases about servers: what a server of events must, should and may do.
//!
//! A server is seen only through its socket and, for the cases on shutdown, its process. Cases that
//! need more than a URL say so in `needs`: the script endpoint, topics, metrics, the process.

mod again;
mod care;
mod case;
mod cases;
pub mod cluster;
mod coded;
mod command;
mod concurrency;
mod control;
mod dedicated_server;
mod deviations;
mod explain;
mod grammar;
mod late_head;
mod metrics;
mod need;
mod process;
mod reproduce;
mod room;
mod rules;
mod run;
mod sanity;
mod script;
mod selection;
mod target;
mod test_binary;
mod topic;
mod watching;

pub use case::Case;
pub use cases::all as cases;
pub use command::{ServerArgs, run_server};
pub use control::Control;
pub use need::Need;
pub use process::{Ended, OwnProcess};
pub use rules::RULES;
pub use run::{check, check_each};
pub use selection::{Pace, Selection};
pub use target::Target;
pub use test_binary::{conformance_launch, test_binary};

use cases::HANDSHAKE;

use super::case::{EARLY_HEAD, is_selected};
use super::{CaseResult, Cost, Deviations, Fault, Level, Outcome, Scope, Verdict, expect, report};
