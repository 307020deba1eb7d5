//! `conform server`, as its users meet it: its verdicts, its reports, its patience with any target.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bounded;
mod differential;
mod hostile;
mod report;
mod schema;
#[path = "../workspace/servers.rs"]
mod servers;
mod target;
