//! The load loop finds what is known to be there.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod any_request;
#[path = "../conform_server/chat.rs"]
mod chat;
mod floor;
mod mistakes;
mod peers;
mod waits;
