//! NATS and JetStream: the connection, and the streams and the consumer that the daemon needs.

pub mod advisories;
mod answer;
mod connect;
pub mod consumer;
pub mod dead_letter;
mod header_block;
pub mod log_lines;
mod metrics;
mod options;
mod publisher;
mod reader;
pub mod stored;
pub mod subject;
mod tickets;
pub mod topology;

pub use answer::PublishAnswer;
pub use connect::{
    ConnectError, Denials, connect, connect_in_background, connect_noting_denials,
    connect_trusting_subjects, context,
};
pub use header_block::HeaderBlock;
pub use metrics::ConnectionMetrics;
#[cfg(feature = "testing")]
pub use nats_reader::Incoming;
pub use nats_reader::{
    BLOCK_BYTES, Inbox, Message as PulledMessage, NotConnected, Reader, Status, Subjects,
};
pub use options::{
    AckPolicy, ConsumerOptions, DeadLettersOptions, Keep, KeepBounds, NatsOptions, Plan, Storage,
    StreamOptions, Tls,
};
pub use publisher::{Message, NotPublished, Outcome, Publisher};
pub use reader::connect_reader;
pub use tickets::{Ticket, Tickets};
