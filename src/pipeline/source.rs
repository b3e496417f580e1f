//! The stream and the consumer as they were found, and what that says of their messages.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::Context;
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::jetstream::consumer;
use crate::jetstream::epoch::{self, Epoch};
use crate::jetstream::topology::{self, TopologyError};
use crate::settings::Settings;
use crate::store::{Store, StoreError};

/// The stream and the consumer that messages come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// When the stream was created: nanoseconds since the epoch.
    pub(super) stream_created_ns: i64,
    /// Messages up to this sequence may have been delivered in a way that the server knows
    /// nothing of: to a consumer that is gone, or before a crash of the server, which writes
    /// down late what it delivered. Their rows may be in ClickHouse.
    pub(super) may_be_stored_to_seq: u64,
    /// Until when another instance may still insert what it was delivered before the epoch;
    /// `None` when that is over.
    pub(super) unsettled_until: Option<Instant>,
    /// Since when the server remembers what it delivered.
    pub(super) epoch: Epoch,
    /// How often the client had connected before all this was asked.
    pub(super) connects: u64,
    /// Whether no pull has failed since.
    pub(super) is_current: bool,
}

impl Source {
    /// Makes sure of the stream and the consumer, and asks ClickHouse whether it holds
    /// anything of that stream.
    ///
    /// # Errors
    /// When they are not as the settings have them, or a server fails.
    pub async fn find(
        context: &Context,
        store: &Store,
        settings: &Settings,
    ) -> Result<Self, SourceError> {
        let mut source = Self::ensure(context, settings, None).await?;
        if !store.holds_stream(source.stream_created_ns).await? {
            source.may_be_stored_to_seq = 0;
            source.unsettled_until = None;
        }
        Ok(source)
    }

    /// Makes sure of the stream and the consumer. Where the server may have forgotten what it
    /// delivered since it was asked `before`, what is in the stream may be in ClickHouse.
    pub(super) async fn ensure(
        context: &Context,
        settings: &Settings,
        before: Option<Self>,
    ) -> Result<Self, TopologyError> {
        let Settings {
            stream, consumer, ..
        } = settings;
        let connects = connect_count(&context.client());
        let created = topology::ensure_stream(context, stream).await?.created;
        consumer::ensure(context, &stream.name, consumer).await?;
        let (epoch, age) = epoch::current(context, stream, &stream.name, &consumer.name).await?;
        let stream_created_ns = unix_nanos(created);
        if let Some(before) = before
            && before.epoch == epoch
            && before.stream_created_ns == stream_created_ns
        {
            return Ok(Self {
                connects,
                is_current: true,
                ..before
            });
        }
        // Asked after the epoch began: what was delivered before it is not beyond this.
        let last = topology::ensure_stream(context, stream).await?;
        Ok(Self {
            stream_created_ns,
            may_be_stored_to_seq: last.state.last_sequence,
            unsettled_until: unsettled(age, consumer.ack_wait).map(|left| Instant::now() + left),
            epoch,
            connects,
            is_current: true,
        })
    }
}

/// How much longer a lease of the epoch before may last, when this one has the age.
pub(super) fn unsettled(age: Duration, ack_wait: Duration) -> Option<Duration> {
    ack_wait.checked_sub(age).filter(|left| !left.is_zero())
}

/// Why the source is not ready.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The stream or the consumer is not as it should be.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// ClickHouse cannot be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How often the client has connected.
pub(super) fn connect_count(client: &Client) -> u64 {
    client.statistics().connects.load(Ordering::Relaxed)
}

/// Nanoseconds since the epoch.
pub(super) fn unix_nanos(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos()).unwrap_or(i64::MAX)
}
