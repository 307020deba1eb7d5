//! Rules for the whole workspace: what its documents say, what its commands have in common, how its parts lie.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod command_line;
mod guide;
mod servers;
mod tidy;
