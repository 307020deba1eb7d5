//! Cases about clients.

use std::process::ExitCode;

use super::server::Advice;

/// One claim about a client.
pub type Case = super::Case<(), Capability>;

/// What a client must offer for a case.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub enum Capability {}

/// Which client to check, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct ClientArgs {}

/// All cases.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    [].into_iter()
}

/// The advice for a case.
pub fn advice(_id: &str) -> Option<Advice> {
    None
}

/// Checks one client.
///
/// # Errors
/// Only for output that cannot be written.
pub fn run_client(_args: &ClientArgs) -> anyhow::Result<ExitCode> {
    super::command::could_not_run("not yet")
}
