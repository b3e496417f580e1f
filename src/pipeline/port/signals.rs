//! The stream of signals and its consumer, as the stages read them beside the pulls.

use async_trait::async_trait;
use claims::Position;
use jetstream::stored::{self, StoredError, StoredMessage};
use jetstream::{consumer, topology};

use crate::claiming::{ClaimingError, Servers};
use clock::unix_nanos;

/// State of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamState {
    /// Creation: nanoseconds since the epoch.
    pub created_ns: i64,
    /// The last sequence.
    pub last_seq: u64,
}

/// The stream of signals.
#[async_trait]
pub trait SignalStream: Send + Sync {
    /// Reads the state of the stream.
    ///
    /// # Errors
    /// When there is no stream, or JetStream fails.
    async fn state(&self) -> Result<StreamState, ClaimingError>;

    /// Reads the message at a sequence; `None` when there is none (any more).
    ///
    /// # Errors
    /// When JetStream fails.
    async fn message(&self, stream_seq: u64) -> Result<Option<StoredMessage>, StoredError>;

    /// Finds the first message at a sequence or above: its sequence.
    ///
    /// # Errors
    /// When JetStream fails.
    async fn next(&self, from: u64) -> Result<Option<u64>, StoredError>;

    /// Reads the sequence up to which the consumer has every ack; 0 when there is no consumer.
    ///
    /// # Errors
    /// When JetStream fails.
    async fn ack_floor(&self) -> Result<u64, topology::TopologyError>;

    /// Finds the last message, up to `last`, that stream and table agree on; sequence 0 for none.
    ///
    /// # Errors
    /// When a server fails.
    async fn agreed(&self, stream_created_ns: i64, last: u64) -> Result<Position, ClaimingError>;
}

#[async_trait]
impl SignalStream for Servers {
    async fn state(&self) -> Result<StreamState, ClaimingError> {
        let info = self.stream_info().await?;
        Ok(StreamState {
            created_ns: unix_nanos(info.created),
            last_seq: info.state.last_sequence,
        })
    }

    async fn message(&self, stream_seq: u64) -> Result<Option<StoredMessage>, StoredError> {
        stored::message(self.jetstream(), &self.settings().stream.name, stream_seq).await
    }

    async fn next(&self, from: u64) -> Result<Option<u64>, StoredError> {
        let name = &self.settings().stream.name;
        let next = stored::next_on_subject(self.jetstream(), name, from, ">").await?;
        Ok(next.map(|next| next.sequence))
    }

    async fn ack_floor(&self) -> Result<u64, topology::TopologyError> {
        let (stream, consumer) = (&self.settings().stream, &self.settings().consumer);
        let found = consumer::find(self.jetstream(), &stream.name, &consumer.name).await?;
        Ok(found.map_or(0, |consumer| consumer.ack_floor.stream_sequence))
    }

    async fn agreed(&self, stream_created_ns: i64, last: u64) -> Result<Position, ClaimingError> {
        self.find_agreed(stream_created_ns, last).await
    }
}
