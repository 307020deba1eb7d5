//! The code that the six servers share.
//!
//! Code is here only if it would be the same text in all servers that can use it: what events say
//! ([`source`], [`topic`]), how they look on the wire ([`wire`]), when they flow ([`stream`]), what
//! requests mean ([`contract`], [`problem`]), how a server is configured, listens and ends
//! ([`mod@settings`], [`listen`], [`shutdown`], [`Failure`]). The feature `tokio` adds code for
//! servers on tokio: streams as `Stream`s, a deadline for requests. The crate knows no HTTP type and
//! no framework. [`Feed`] ties it together; a server's handlers call its methods.

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
