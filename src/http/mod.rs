//! What every listener of the daemon shares.

mod listener;

pub use listener::ListenError;
pub(crate) use listener::{Acceptor, Bounds, Listener};
