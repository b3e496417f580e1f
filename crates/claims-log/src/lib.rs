//! The claims log on JetStream: its stream, and one process that appends and follows.
//!
//! The rules are in the crate `claims`; this crate does their I/O. After each connect it compares
//! the log with the stream, the table and the dead letters ([`Holdings`]) before it publishes or
//! sends anything, and rebuilds a log that lost records from them ([`rebuild()`]). A record is a
//! message. A snapshot is published with `Nats-Rollup: all`, so that one publish appends it and
//! purges all records before it.

mod config;
mod error;
mod follow;
mod holdings;
pub mod log_lines;
mod process;
mod public_error;
mod rebuild;
mod refusals;
mod shared;
mod stream;
mod timing;

pub use error::ClaimsLogError;
pub use holdings::{Fences, Holdings, HoldingsError, HoldingsPage};
pub use process::Process;
pub use public_error::{PublicAnswer, PublicError};
pub use rebuild::rebuild;
pub use stream::{LogStorage, LogStream, stream_name};
pub use timing::Timing;
