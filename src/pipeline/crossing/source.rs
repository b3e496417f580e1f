//! The stream and the consumer as they were found, and which of them is there now.

use std::sync::{Arc, Mutex, PoisonError};

use async_nats::jetstream::Context;
use jetstream::AckPolicy;
use jetstream::consumer;
use jetstream::topology::{self, TopologyError};
use tracing::warn;

use crate::pipeline::log_lines::ACK_POLICY_KEPT;
use crate::pipeline::port::connection::Connection;
use crate::settings::Settings;
use clock::unix_nanos;

/// The stream and the consumer that messages come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalSource {
    /// Creation of the stream: nanoseconds since the epoch.
    pub stream_created_ns: i64,
    /// Creation of the consumer: nanoseconds since the epoch.
    pub consumer_created_ns: i64,
    /// Meaning of an ack, by the consumer and not by the settings.
    pub ack_policy: AckPolicy,
    /// Connects before the server was asked.
    pub connects: u64,
}

impl SignalSource {
    /// Makes sure of the stream and the consumer, after so many connects.
    ///
    /// # Errors
    /// When they conflict with the settings, or JetStream fails.
    pub async fn ensure(
        connects: u64,
        context: &Context,
        settings: &Settings,
    ) -> Result<Self, TopologyError> {
        let Settings {
            stream, consumer, ..
        } = settings;
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
                "{ACK_POLICY_KEPT}"
            );
        }
    }

    #[cfg(test)]
    /// A source for tests.
    pub fn test(connects: u64, ack_policy: AckPolicy) -> Self {
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
pub struct CurrentSource {
    connection: Arc<dyn Connection>,
    found: Arc<Mutex<SignalSource>>,
}

impl CurrentSource {
    /// A source that was just found.
    pub fn new(connection: Arc<dyn Connection>, found: SignalSource) -> Self {
        Self {
            connection,
            found: Arc::new(Mutex::new(found)),
        }
    }

    /// Replaces the source with one that was just found.
    pub fn set(&self, found: SignalSource) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }

    /// Meaning of an ack.
    pub fn ack_policy(&self) -> AckPolicy {
        self.found().ack_policy
    }

    /// The source, unless the connection is lost or another one: then the server may have another
    /// stream, such as one from a backup, or have forgotten what it delivered.
    pub fn get(&self) -> Option<SignalSource> {
        let found = self.found();
        let (is_connected, connects) = (self.connection.is_connected(), self.connection.connects());
        (is_connected && found.connects == connects).then_some(found)
    }

    fn found(&self) -> SignalSource {
        // No code panics while it holds the lock.
        *self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
