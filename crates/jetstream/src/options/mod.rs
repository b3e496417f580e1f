//! Settings of the connection to NATS, the streams and the consumer.

mod consumer;
mod dead_letters;
mod kinds;
mod nats;
mod stream;

pub use consumer::{AckPolicy, ConsumerOptions};
pub use dead_letters::DeadLettersOptions;
pub use nats::{NatsOptions, Tls};
pub use stream::{Keep, KeepBounds, Storage, StreamOptions};

/// Settings of everything that the daemon keeps on JetStream.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// Settings of the stream of signals.
    pub stream: &'a StreamOptions,
    /// Settings of the stream of dead letters.
    pub dead_letters: &'a DeadLettersOptions,
    /// Settings of the durable pull consumer.
    pub consumer: &'a ConsumerOptions,
}
