//! `conform client`, as its users meet it: with a browser, with adapters that are right or nearly, and with
//! commands that are no clients.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod adapters;
#[path = "../conform_server/bounded.rs"]
mod bounded;
mod browser;
mod hostile;
