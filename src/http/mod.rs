//! What the daemon's listeners share, and what its clients of HTTP servers do.

mod acceptor;
pub mod client;
mod headers;
mod listener;
mod noted;
mod room;
mod turn;

pub(crate) use acceptor::Acceptor;
pub(crate) use headers::{Reached, names_loopback, repeated};
pub use listener::ListenError;
pub(crate) use listener::{Bounds, Listener};
pub(crate) use noted::{Noted, Progress};
