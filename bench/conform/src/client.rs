//! Cases about clients: what a reader of events must, should and may do.
//!
//! A client is driven in one of three ways: it is a command (`exec.rs`), or stands behind the REST
//! protocol of launchdarkly/sse-contract-tests (`service.rs`), or is the browser that opened a page
//! (`browser.rs`). The cases know none of them: they start a client on a URL, answer its requests from a
//! raw socket (`scripted_server.rs`), and compare what it reports.

mod adapter_check;
mod browser;
mod cases;
mod command;
mod context;
mod driver;
mod exec;
mod explain;
mod folder;
mod reports;
mod rules;
mod run;
mod scripted_server;
mod segments;
mod service;
mod session;
mod vectors;

pub use cases::all as cases;
pub use command::{ClientArgs, run_client};
pub use context::CaseContext;
pub use driver::Capability;
pub use rules::RULES;
pub use run::check_command;
pub(super) use vectors::streams_of;

use super::{Fault, Outcome, expect};

/// One claim about a client, with the dialogue that tests it.
pub type Case = super::Case<CaseContext, Capability>;
