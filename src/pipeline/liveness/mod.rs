//! Signs of life: to JetStream for what is held, to the service manager, and to the operator.

pub mod heartbeat;
pub mod keep_alive;
pub mod poller;
pub mod watchdog;
