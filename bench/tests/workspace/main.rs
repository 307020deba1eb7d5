//! Rules for the whole workspace: what its documents say, what its commands have in common, how its parts lie.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod action;
#[path = "../conform_server/chat.rs"]
mod chat;
mod command_line;
mod elsewhere;
mod empty_root;
mod foreign;
mod guide;
mod help;
mod servers;
mod tidy;
