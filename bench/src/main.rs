//! The `sse-bench` command.

fn main() {}
