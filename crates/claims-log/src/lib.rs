//! The claims log on JetStream: its stream, and one process that appends and follows.
//!
//! The rules are in the crate `claims`; here is their I/O. A record is a message. A snapshot
//! is published with `Nats-Rollup: all`, so that one publish appends it and purges all before
//! it.

mod error;
mod follow;
mod process;
mod stream;

pub use error::ClaimsLogError;
pub use process::Process;
pub use stream::{LogStream, Storage};
