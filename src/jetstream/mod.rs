//! NATS and JetStream: the connection, and the stream and consumer that the daemon needs.

pub mod advisories;
mod answer;
mod connect;
pub mod consumer;
mod header_block;
mod publisher;
pub mod stored;
pub(crate) mod subject;
mod tickets;
pub mod topology;

pub(crate) use answer::Answer;
pub use connect::{
    ConnectError, Denials, connect, connect_in_background, connect_noting_denials,
    connect_trusting_subjects, context,
};
pub use header_block::HeaderBlock;
pub(crate) use publisher::{Message, NotPublished, Outcome, Publisher};
pub(crate) use tickets::{Ticket, Tickets};
