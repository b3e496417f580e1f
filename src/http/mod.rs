//! What the daemon's listeners share, and what its clients of HTTP servers do.

pub mod client;
mod listener;

pub use listener::ListenError;
pub(crate) use listener::{Acceptor, Bounds, Listener};
