//! A real nats-server for a test, with a store in the folder of the tests.

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use bench::broker::Broker;
use serde_json::Value;

/// How long a broker that hangs may hold up a publisher, and a bit.
pub const HUNG: Duration = Duration::from_secs(10);

fn store(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("bus").join(name)
}

/// One broker with an empty store that has this name.
pub fn start(name: &str) -> Broker {
    let mut broker = prepare(name, &[]);
    broker.start_again().unwrap();
    broker
}

/// The same with further options, not yet started.
pub fn prepare(name: &str, more: &[&str]) -> Broker {
    let program = bench::broker::program(None).unwrap();
    Broker::prepare(&program, &store(name), name, more).unwrap()
}

/// Three brokers of one cluster, as GUIDE has them.
pub fn three(name: &str) -> [Broker; 3] {
    let program = bench::broker::program(None).unwrap();
    Broker::start(&program, &store(name), 3).unwrap().try_into().unwrap()
}

/// Silent waits cannot be told from a broker that has another name for a field.
pub fn succeeded(answer: &Value) -> &Value {
    assert!(answer.get("error").is_none(), "{answer}");
    answer
}
