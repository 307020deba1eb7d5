//! The conformance suite: what servers and clients of events must, should and may do, one case a
//! claim.
//!
//! A [`Case`] is one literal: an id that never changes, a level, the text it rests on, one sentence
//! that it claims, when it runs, what it sends, how to fix what it finds, and a function that holds a
//! dialogue over a raw socket. The cases stand by category under `server/cases/` and
//! `client/cases/`; a new case is one literal there, one line in `rules.rs`, and one fault in
//! `bench/tests/conform_server/one_fault` or `bench/tests/conform_client/one_fault` that turns it red. From a case's
//! outcome on (verdicts, deviations, reports) both sides go the same way.

mod case;
mod catalogue;
mod category;
pub mod client;
mod command;
mod deviations;
mod expect;
mod explain;
pub mod host;
mod judge;
mod profile;
pub mod report;
mod requirements;
mod rule;
pub mod server;
mod splice;
mod verdict;

pub use case::{Case, Cost, Fault, Finding, Level, Outcome, Scope};
pub use catalogue::{Described, ListArgs, described, list_cases, list_rules};
pub use category::{Category, Side};
pub use client::{ClientArgs, run_client};
pub use command::{ReportArgs, folder_or_files, merge_reports};
pub use deviations::{
    AttackDeviation, Deviation, Deviations, IsCase, LifecycleDeviation, ParityDeviation,
};
pub use profile::Profile;
pub use requirements::{Requirements, Standing};
pub use rule::{Coverage, Rule};
pub use server::{
    Pace, Selection, ServerArgs, Target, check_each, cluster, conformance_launch, run_server,
    test_binary,
};
pub use splice::splice;
pub use verdict::{CaseResult, Known, Summary, Verdict};

/// The version of the suite, part of every report: results of different versions do not compare.
///
/// It grows with every case that is added or judged differently.
pub const SUITE_VERSION: u32 = 5;
