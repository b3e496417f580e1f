//! NATS and JetStream: the connection, and the stream and consumer that the daemon needs.

mod connect;
pub mod topology;

pub use connect::{ConnectError, connect, context};
