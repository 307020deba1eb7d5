//! The report of a run, and the site of all that are kept.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod kept;
mod schema;
mod site;
mod version;
