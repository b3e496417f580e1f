//! HTTP listeners of the daemon, and its HTTP clients' connectors.

mod acceptor;
mod address;
pub mod client;
mod headers;
mod listener;
mod metrics;
mod noted;
mod room;
mod turn;

pub use acceptor::Acceptor;
pub use address::{ListenError, lookup};
pub use headers::{Reached, names_loopback, repeated};
pub use listener::{Listener, ListenerBounds};
pub use metrics::ListenerMetrics;
pub use noted::{BodyProgress, ObservedBody};
