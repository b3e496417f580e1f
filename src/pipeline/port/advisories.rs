//! Advisories on messages that were delivered too often, as their stage sees them.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{Consumer, pull};
use futures_util::StreamExt;
use jetstream::stored::{self, StoredError, StoredMessage};
use jetstream::topology::{self, TopologyError};
use jetstream::{advisories, consumer};
use time::OffsetDateTime;

use crate::settings::Settings;

/// Creation of the stream of signals and of its consumer.
#[derive(Debug, Clone, Copy)]
pub struct Created {
    /// Creation of the stream.
    pub stream: OffsetDateTime,
    /// Creation of the consumer; `None` when there is none.
    pub consumer: Option<OffsetDateTime>,
}

/// The stream of advisories, and the messages that they are about.
pub trait Advisories: Send + Sync {
    /// The consumer of the stream of advisories.
    type Consumer: Send + Sync;

    /// Makes sure of the stream and its consumer.
    fn ensure(&self) -> impl Future<Output = Result<Self::Consumer, TopologyError>> + Send;

    /// The number of advisories without an ack; `None` when their stream is gone.
    fn left(&self) -> impl Future<Output = Result<Option<u64>, TopologyError>> + Send;

    /// Pulls one advisory; `None` when none comes within `expires`.
    fn next(
        &self,
        consumer: &Self::Consumer,
        expires: Duration,
    ) -> impl Future<Output = Result<Option<Message>, async_nats::Error>> + Send;

    /// The number of messages that were delivered too often and have no advisory.
    fn lost(&self) -> impl Future<Output = Result<u64, TopologyError>> + Send;

    /// Looks up the stream of signals; `None` when it is gone.
    fn created(&self) -> impl Future<Output = Result<Option<Created>, TopologyError>> + Send;

    /// Reads a message of the stream of signals; `None` when it is gone.
    fn message(
        &self,
        stream_seq: u64,
    ) -> impl Future<Output = Result<Option<StoredMessage>, StoredError>> + Send;

    /// Bytes of the largest message that the server takes.
    fn max_payload(&self) -> usize;
}

/// The advisories in JetStream.
#[derive(Debug, Clone)]
pub struct JetStreamAdvisories {
    pub context: Context,
    pub settings: Arc<Settings>,
}

impl Advisories for JetStreamAdvisories {
    type Consumer = Consumer<pull::Config>;

    async fn ensure(&self) -> Result<Self::Consumer, TopologyError> {
        advisories::ensure(&self.context, self.settings.plan()).await
    }

    async fn left(&self) -> Result<Option<u64>, TopologyError> {
        advisories::pending_count(&self.context, self.settings.plan()).await
    }

    async fn next(
        &self,
        consumer: &Self::Consumer,
        expires: Duration,
    ) -> Result<Option<Message>, async_nats::Error> {
        let pull = consumer.batch().max_messages(1).expires(expires);
        let mut pulled = pull.messages().await?;
        let message = pulled.next().await.transpose()?;
        Ok(message.map(|message| message.message))
    }

    async fn lost(&self) -> Result<u64, TopologyError> {
        advisories::lost_count(&self.context, self.settings.plan()).await
    }

    async fn created(&self) -> Result<Option<Created>, TopologyError> {
        let name = &self.settings.stream.name;
        let Some(stream) = topology::find_stream(&self.context, name).await? else {
            return Ok(None);
        };
        let consumer = consumer::find(&self.context, name, &self.settings.consumer.name).await?;
        Ok(Some(Created {
            stream: stream.created,
            consumer: consumer.map(|consumer| consumer.created),
        }))
    }

    async fn message(&self, stream_seq: u64) -> Result<Option<StoredMessage>, StoredError> {
        stored::message(&self.context, &self.settings.stream.name, stream_seq).await
    }

    fn max_payload(&self) -> usize {
        self.context.client().max_payload()
    }
}
