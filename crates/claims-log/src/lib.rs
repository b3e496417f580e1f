//! The claims log on JetStream: its stream, and one process that appends and follows.
//!
//! The rules are in the crate `claims`; here is their I/O. After each connect the log is held
//! against the stream, the table and the dead letters ([`Holdings`]) before anything is published
//! or sent; a log that lost records is rebuilt out of them ([`rebuild`]). A record is a message. A snapshot
//! is published with `Nats-Rollup: all`, so that one publish appends it and purges all before
//! it.

mod error;
mod follow;
mod holdings;
mod process;
mod rebuild;
mod refusals;
mod stream;
mod timing;

pub use error::ClaimsLogError;
pub use holdings::{Fences, Holdings, HoldingsError, Page};
pub use process::Process;
pub use rebuild::rebuild;
pub use stream::{LogStream, Storage, stream_name};
pub use timing::Timing;
