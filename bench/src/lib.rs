//! Conformance suite and load harness for Server-Sent Events.
//!
//! A server is seen only through its socket and its process, so both work on any server in any
//! language; [`fleet`] finds, builds and runs the servers of this workspace.

pub mod conformance;
pub mod fleet;
pub mod floor;
pub mod load;
pub mod report;
pub mod run;
pub mod stats;
pub mod timer;
pub mod wire;
