//! Pulls from the consumer, as their stage sees them. Generic and no object, since every signal
//! comes this way.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use async_nats::jetstream::Context;
use bytes::Bytes;
use jetstream::topology::TopologyError;
use jetstream::{Inbox, NotConnected, PulledMessage, Reader, Subjects};
use tokio::time::timeout;
use tracing::debug;

use super::connection::{Connection, NotConfirmed, Replies};
use crate::pipeline::crossing::source::SignalSource;
use crate::settings::Settings;

/// Reason for which a pull failed; the next one has a new subscription.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error(transparent)]
    NotConnected(#[from] NotConnected),
    #[error("the server sent no heartbeat for {}", humantime::format_duration(*.0))]
    Silent(Duration),
    #[error("the server ended the pull: {0}")]
    Ended(String),
    #[error("the subscription was closed")]
    Closed,
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error("the stream or the consumer was recreated")]
    SourceChanged,
    #[error("the client has connected again")]
    Reconnected,
}

/// Messages that come to one inbox.
pub trait Subscription: Send {
    /// Subject of the inbox.
    fn inbox(&self) -> &str;

    /// Waits for messages, and adds those that are there to `chunk`, until it has `max`; `None`
    /// when none will come. Cancelled, it loses none.
    fn receive(
        &mut self,
        chunk: &mut Vec<PulledMessage>,
        max: usize,
    ) -> impl Future<Output = Option<()>> + Send;

    /// Takes the messages that are there.
    fn take_received(&mut self) -> Vec<PulledMessage>;

    /// Unsubscribes; what the server has sent still comes.
    fn drain(&mut self) -> Result<(), NotConnected>;
}

/// The consumer, and the connection to it.
pub trait Pulls: Connection + Replies {
    /// Messages to an inbox.
    type Subscription: Subscription;

    /// Makes sure of the stream and the consumer.
    fn find_source(&self) -> impl Future<Output = Result<SignalSource, TopologyError>> + Send;

    /// Subscribes to a new inbox.
    fn subscribe(&self) -> Result<Self::Subscription, NotConnected>;

    /// Asks the consumer to send messages to an inbox.
    fn request(
        &self,
        inbox: &str,
        request: Bytes,
    ) -> impl Future<Output = Result<(), NotConnected>> + Send;

    /// Asks the server for an answer to an inbox, which comes behind the messages that it has sent.
    fn ask(&self, inbox: &str) -> impl Future<Output = Result<(), NotConnected>> + Send;
}

/// The consumer in JetStream: the reader for its messages and their acks, and the client for all
/// else. Both must be up, and a connect of either makes the source be looked up again.
#[derive(Debug, Clone)]
pub struct JetStreamPulls {
    /// Connection of the messages and their acks.
    pub reader: Reader,
    /// Connection of all else.
    pub client: Client,
    /// JetStream over the client's connection.
    pub context: Context,
    /// Names and bounds of stream and consumer.
    pub settings: Arc<Settings>,
}

impl JetStreamPulls {
    /// Returns the reconnects so far: one of both at once counts once.
    pub fn reconnects(&self) -> u64 {
        let connects = self.reader.connects().max(self.client_connects());
        connects.saturating_sub(1)
    }

    fn client_connects(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }

    fn subject(&self, request: &str) -> String {
        let (stream, consumer) = (&self.settings.stream.name, &self.settings.consumer.name);
        format!("$JS.API.CONSUMER.{request}.{stream}.{consumer}")
    }
}

impl Connection for JetStreamPulls {
    fn is_connected(&self) -> bool {
        self.reader.is_connected() && self.client.connection_state() == State::Connected
    }

    fn connects(&self) -> u64 {
        self.reader.connects() + self.client_connects()
    }
}

impl Replies for JetStreamPulls {
    async fn send(&self, replies: Subjects, payload: &'static [u8], connects: Option<u64>) {
        // After a connect of the client this is another number than that of the reader.
        let of_reader = connects.map(|all| all.saturating_sub(self.client_connects()));
        if let Err(error) = self.reader.send(replies.iter(), payload, of_reader).await {
            debug!(%error, "Replies not sent; their messages are delivered again");
        }
    }

    async fn confirmed(&self) -> Result<(), NotConfirmed> {
        // The server handles a connection's messages in order, so that the answer to a question
        // behind the replies proves them.
        let mut inbox = self.subscribe()?;
        self.ask(inbox.inbox()).await?;
        let mut answer = Vec::new();
        let answered = Subscription::receive(&mut inbox, &mut answer, 1);
        match timeout(self.settings.nats.request_timeout, answered).await {
            Ok(Some(())) => Ok(()),
            _ => Err(NotConfirmed::TimedOut),
        }
    }
}

impl Pulls for JetStreamPulls {
    type Subscription = Inbox;

    async fn find_source(&self) -> Result<SignalSource, TopologyError> {
        SignalSource::ensure(self.connects(), &self.context, &self.settings).await
    }

    fn subscribe(&self) -> Result<Inbox, NotConnected> {
        self.reader.subscribe()
    }

    async fn request(&self, inbox: &str, request: Bytes) -> Result<(), NotConnected> {
        let subject = self.subject("MSG.NEXT");
        self.reader.publish(&subject, Some(inbox), &request).await
    }

    async fn ask(&self, inbox: &str) -> Result<(), NotConnected> {
        let subject = self.subject("INFO");
        self.reader.publish(&subject, Some(inbox), b"").await
    }
}

impl Subscription for Inbox {
    fn inbox(&self) -> &str {
        self.subject()
    }

    async fn receive(&mut self, chunk: &mut Vec<PulledMessage>, max: usize) -> Option<()> {
        Self::receive(self, chunk, max).await
    }

    fn take_received(&mut self) -> Vec<PulledMessage> {
        Self::take_received(self)
    }

    fn drain(&mut self) -> Result<(), NotConnected> {
        Self::drain(self)
    }
}
