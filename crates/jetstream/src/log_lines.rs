//! Log lines that tests and people wait for.

#![allow(missing_docs)] // A line says itself what it is for.

pub const DENIED: &str = "NATS denies this user a subject that the daemon needs; add it to the \
    user's permissions (infra/nats/least-privilege.conf)";
pub const RECONNECTED: &str = "Reconnected to NATS";
pub const CONNECT_FAILED: &str = "Cannot reconnect to NATS yet";
pub const LEAVING: &str = "NATS server shuts down; its connections move to other servers";
pub const DISCONNECTED: &str = "Connection to NATS lost; reconnecting";
