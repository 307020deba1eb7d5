//! The report of a run.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod schema;
mod version;
