//! The load harness: workloads as data, and the one loop that carries them out.
//!
//! Expected counts are part of a workload, so that loss is a wrong result and not a better number.

pub mod arrivals;
pub mod bare;
mod command;
mod condition;
pub mod floor;
pub mod generator;
pub mod ledger;
pub mod plan;
pub mod publisher;
pub mod shape;
pub mod slo;
pub mod stamp;
pub mod stats;
mod subscriber;
pub mod timer;
pub mod truths;
pub mod waits;
mod workloads;

pub use self::command::{Args, Page, Untrue, run, time};
pub use self::shape::{Room, Shape};
pub use self::workloads::Workload;
