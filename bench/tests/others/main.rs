//! Servers of others, with the libraries that people run: each is judged (`conform`), loaded (`load`) and
//! followed (`sse tail`).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../conform_server/bounded.rs"]
mod bounded;
mod caddy;
mod commands;
mod http2;
mod models;
mod nginx;
#[path = "../workspace/servers.rs"]
mod servers;
