//! `conform server`, as its users meet it: its verdicts, its reports, its patience with any target.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod any_request;
mod bounded;
mod chat;
mod differential;
mod ends;
mod hostile;
mod innocent_rooms;
mod innocents;
mod late_head;
mod peers;
mod report;
mod schema;
mod scripts;
#[path = "../workspace/servers.rs"]
mod servers;
mod target;
