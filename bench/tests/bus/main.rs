//! The six servers as nodes on a real nats-server: the same ids at all of them, and what readers and
//! publishers see on bad days of the broker.
//!
//! The servers are built with the feature `nats`. `./test.sh` builds them beforehand and names their
//! folder in `SSE_NATS_SERVERS`; without it the first test builds them, over the default builds in
//! `target/debug`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bad_days;
mod broker;
mod cluster;
mod credentials;
mod ids;
mod lag;
mod link;
mod losses;
mod node;
mod refusals;
#[path = "../workspace/servers.rs"]
mod servers;
