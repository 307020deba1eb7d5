//! The load loop finds what is known to be there.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod floor;
