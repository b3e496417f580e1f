//! The stream and the consumer as they were found, and which of them is there now.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use async_nats::Client;
use async_nats::connection::State;
use async_nats::jetstream::Context;
use time::OffsetDateTime;
use tracing::warn;

use crate::jetstream::consumer;
use crate::jetstream::topology::{self, TopologyError};
use crate::settings::{AckPolicy, Settings};

/// The stream and the consumer that messages come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// When the stream was created: nanoseconds since the epoch.
    pub(super) stream_created_ns: i64,
    /// When the consumer was created: nanoseconds since the epoch.
    pub(super) consumer_created_ns: i64,
    /// Meaning of an ack, by the consumer and not by the settings.
    pub(super) ack_policy: AckPolicy,
    /// The client's connects before the server was asked.
    pub(super) connects: u64,
}

impl Source {
    /// Makes sure of the stream and the consumer.
    ///
    /// # Errors
    /// When they conflict with the settings, or JetStream fails.
    pub async fn ensure(context: &Context, settings: &Settings) -> Result<Self, TopologyError> {
        let Settings {
            stream, consumer, ..
        } = settings;
        let connects = connect_count(&context.client());
        let created = topology::ensure_stream(context, stream).await?.created;
        let found = consumer::ensure(context, &stream.name, consumer).await?;
        Ok(Self {
            stream_created_ns: unix_nanos(created),
            consumer_created_ns: unix_nanos(found.created),
            ack_policy: consumer::check(&stream.name, &found)?,
            connects,
        })
    }

    /// Warns of a consumer whose ack policy is another one than the settings'.
    pub fn warn_of_policy(&self, settings: &Settings) {
        let consumer = &settings.consumer;
        if self.ack_policy != consumer.ack_policy {
            warn!(
                consumer = consumer.name,
                in_force = self.ack_policy.as_str(),
                setting = consumer.ack_policy.as_str(),
                "The consumer keeps its ack policy, which consumer.ack_policy does not change; adapt the setting, or delete the consumer while no daemon runs"
            );
        }
    }

    #[cfg(test)]
    pub(super) fn test(connects: u64, ack_policy: AckPolicy) -> Self {
        Self {
            stream_created_ns: 1,
            consumer_created_ns: 2,
            ack_policy,
            connects,
        }
    }
}

/// The source that was found last, shared by the tasks that pull and the one that acks.
#[derive(Debug, Clone)]
pub(super) struct CurrentSource {
    client: Client,
    found: Arc<Mutex<Source>>,
}

impl CurrentSource {
    /// A source that was just found.
    pub fn new(client: Client, found: Source) -> Self {
        Self {
            client,
            found: Arc::new(Mutex::new(found)),
        }
    }

    /// Replaces the source with one that was just found.
    pub fn set(&self, found: Source) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }

    /// Meaning of an ack.
    pub fn ack_policy(&self) -> AckPolicy {
        self.found().ack_policy
    }

    /// The source, unless the connection is lost or another one: then the server may have another
    /// stream, such as one from a backup, or have forgotten what it delivered.
    pub fn get(&self) -> Option<Source> {
        let found = self.found();
        let is_connected = self.client.connection_state() == State::Connected;
        (is_connected && found.connects == connect_count(&self.client)).then_some(found)
    }

    fn found(&self) -> Source {
        // No code panics while it holds the lock.
        *self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The client's connects so far.
pub(super) fn connect_count(client: &Client) -> u64 {
    client.statistics().connects.load(Ordering::Relaxed)
}

/// Nanoseconds since the epoch.
pub(crate) fn unix_nanos(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos()).unwrap_or(i64::MAX)
}
