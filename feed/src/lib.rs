//! The code that the six servers share.
//!
//! It has the events ([`source`], [`topic`]), their form on the wire ([`wire`]), the open stream
//! that sends them ([`stream`]), the meaning of requests ([`contract`], [`problem`]), and the
//! configuration, listening and end of a server ([`mod@settings`], [`listen`], [`shutdown`],
//! [`Failure`]). [`Feed`] ties it together; a server's handlers call its methods. The feature
//! `tokio` adds code for servers on tokio: streams as `Stream`s, a deadline for requests.
//!
//! Code is here only if it would be the same text in all servers that can use it: so all servers
//! keep the contract in the same way, and differ only in their framework. The crate knows no HTTP
//! type and no framework.

pub mod bus;
pub mod clock;
pub mod contract;
pub mod event;
mod failure;
mod feed;
pub mod listen;
pub mod page;
pub mod problem;
pub mod settings;
pub mod shutdown;
pub mod source;
pub mod stats;
pub mod stream;
pub mod topic;
mod wakers;
pub mod wire;
mod wire_log;

pub use self::event::Event;
pub use self::failure::Failure;
pub use self::feed::{Feed, Publisher, StreamResponse};
pub use self::problem::Problem;
