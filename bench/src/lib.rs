//! The main job of `sse-bench`: check and measure every server of the workspace, and write a report.
//!
//! A server is seen only through its socket and its process, so the parts work on any server in any language: `wire` says
//! what was on the socket, `fleet` finds and runs programs, `load` measures, `conform` judges.

pub mod attack;
pub mod broker;
pub mod bus;
pub mod chaos;
pub mod cost;
pub mod outputs;
pub mod report;
pub mod run;
pub mod servers;
pub mod site;
pub mod soak;
