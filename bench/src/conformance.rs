//! The conformance suite: what a server of events must, should and may do, one case a claim.
//!
//! A [`Case`] is a value: an id that never changes, a level, the text it rests on, one sentence
//! that it claims, and a function that holds a dialogue with the server over a raw socket. The
//! cases stand in one file a category under `cases/`; adding one is adding one value there, and one
//! fault in `tests/one_fault` that turns it red.
//!
//! A server is seen only through its socket and, for the cases on shutdown, its process. Cases that
//! need more than a URL say so in `needs`: the script endpoint, topics, metrics, the process.

mod case;
mod cases;
mod command;
mod deviations;
mod expect;
mod explain;
mod grammar;
mod metrics;
mod own;
mod process;
pub mod report;
mod reproduce;
mod rules;
mod run;
mod script;
mod select;
mod target;
mod test_binary;
mod topic;
mod verdict;

pub use case::{Case, Cost, Fault, Finding, Level, Need, Outcome, category_name};
pub use cases::all as cases;
pub use command::{ListArgs, ReportArgs, ServerArgs, list_cases, merge_reports, run_server};
pub use deviations::{Deviation, Deviations, ParityDeviation};
pub use process::{Control, Ended, OwnProcess};
pub use rules::{Coverage, RULES, Rule, rules_of};
pub use run::{check, check_each};
pub use select::{Pace, Profile, Selection};
pub use target::Target;
pub use test_binary::{conformance_launch, test_binary};
pub use verdict::{CaseResult, Known, Summary, Verdict};

/// The version of the suite, part of every report: results of different versions do not compare.
///
/// It grows with every case that is added or judged differently.
pub const SUITE_VERSION: u32 = 2;
