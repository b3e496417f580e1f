//! Messages that were delivered as often as they may be and never acked, such as one that
//! ends the process each time. They are told by the server's advisories.
//!
//! An advisory takes the way of a signal: it holds a lease, which is acked once the stream of
//! dead letters has the message's letter.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subject};
use futures_util::StreamExt;
use tokio::sync::mpsc::Sender;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::jetstream::HeaderBlock;
use crate::jetstream::advisories::{self, Advisory};
use crate::jetstream::stored::{self, StoredError, StoredMessage};
use crate::jetstream::topology::{self, TopologyError};
use crate::settings::Settings;

use super::Ends;
use super::ack::Settled;
use super::dead_letter::{Reason, Rejected};
use super::delivery::{Delivery, Position};
use super::in_flight::{InFlight, Lease};
use super::source::unix_nanos;

/// How long a pull waits for an advisory.
const EXPIRES: Duration = Duration::from_secs(5);
/// What a message has besides headers and body: its subject.
const MESSAGE_OVERHEAD_BYTES: usize = 8 * 1024;

/// Why advisories could not be read or judged; it is tried again.
#[derive(Debug, thiserror::Error)]
enum ExhaustedError {
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error(transparent)]
    Stored(#[from] StoredError),
    #[error("cannot pull from the stream of advisories: {0}")]
    Pull(async_nats::Error),
}

/// What the advisory tells of the message, beyond the message itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GivenUp {
    /// How often it was delivered.
    pub deliveries: u64,
    /// Its headers, where no client library reads them.
    pub unreadable_headers: Option<HeaderBlock>,
    /// Where an ack makes the consumer forget its deliveries.
    pub ack: Subject,
}

/// An advisory that needs no letter: the message has landed after all, or is gone. Made only
/// where ClickHouse or JetStream has said so.
#[derive(Debug)]
pub(super) struct NoLetterNeeded {
    lease: Lease,
    ack: Option<Subject>,
}

impl NoLetterNeeded {
    /// The advisory's lease, and where the message itself is acked.
    pub fn into_parts(self) -> (Lease, Option<Subject>) {
        (self.lease, self.ack)
    }
}

/// The stage that reads advisories.
pub(super) struct Exhausted {
    pub ends: Ends,
    pub settings: Arc<Settings>,
    pub in_flight: Arc<InFlight>,
    pub rejects: Sender<Rejected>,
    pub settled: Sender<Settled>,
    pub backoff: Backoff,
    pub shutdown: CancellationToken,
}

impl Exhausted {
    /// Reads advisories until shutdown. What it holds then is delivered again.
    pub async fn run(self) {
        let mut backoff = self.backoff.clone();
        let all = async {
            loop {
                let Err(error) = self.session(&mut backoff).await;
                let pause = backoff.pause();
                warn!(%error, retry_in_ms = pause.as_millis() as u64, "Messages that were delivered too often cannot be looked after; it is tried again");
                sleep(pause).await;
            }
        };
        tokio::select! {
            () = all => {}
            () = self.shutdown.cancelled() => {}
        }
    }

    async fn session(
        &self,
        backoff: &mut Backoff,
    ) -> Result<std::convert::Infallible, ExhaustedError> {
        let consumer = advisories::ensure(&self.ends.context, &self.settings).await?;
        loop {
            // One at a time: while one waits for ClickHouse, the others are not held.
            let pull = consumer.batch().max_messages(1).expires(EXPIRES);
            let pulled = pull.messages().await;
            let mut pulled = pulled.map_err(|error| ExhaustedError::Pull(error.into()))?;
            while let Some(message) = pulled.next().await {
                self.take(message.map_err(ExhaustedError::Pull)?.message)
                    .await?;
            }
            backoff.reset();
        }
    }

    /// Judges one advisory, and hands it on with its lease.
    async fn take(&self, message: Message) -> Result<(), ExhaustedError> {
        let Some(reply) = message.reply.clone() else {
            return Ok(());
        };
        let room = self.ends.client.max_payload() + MESSAGE_OVERHEAD_BYTES;
        let room = room.min(self.settings.consumer.max_in_flight_bytes);
        // Without room in time the advisory is delivered again.
        let reserved = self.in_flight.reserve(1, room);
        let Ok(mut reservation) = timeout(self.settings.consumer.ack_wait / 2, reserved).await
        else {
            return Ok(());
        };
        let advisory: Advisory = match serde_json::from_slice(&message.payload) {
            Ok(advisory) => advisory,
            Err(error) => {
                warn!(%error, "Advisory that cannot be read; nothing is done about it");
                let lease = reservation.lease(reply, room);
                return self.no_letter(lease, None).await;
            }
        };
        let ack = self.ack_of(advisory.stream_seq);
        let found = self.find(&advisory).await?;
        let lease = reservation.lease(reply, room);
        match found {
            Some((stream_created_ns, _))
                if self.is_stored(stream_created_ns, advisory.stream_seq).await =>
            {
                info!(
                    stream_seq = advisory.stream_seq,
                    deliveries = advisory.deliveries,
                    "Message was delivered too often, but is in ClickHouse"
                );
                self.no_letter(lease, Some(ack)).await
            }
            Some((stream_created_ns, original)) => {
                let rejected = rejected(&advisory, stream_created_ns, original, lease, ack);
                // The receiver ends after this stage; if it is gone all the same, the
                // advisory is delivered again.
                let _ = self.rejects.send(rejected).await;
                Ok(())
            }
            None => {
                warn!(
                    stream_seq = advisory.stream_seq,
                    deliveries = advisory.deliveries,
                    "Message was delivered too often, but is not in the stream any more, or delivered anew by a new consumer; it gets no dead letter"
                );
                self.no_letter(lease, Some(ack)).await
            }
        }
    }

    /// The message of an advisory, and when its stream was created. `None` when it is gone,
    /// or when a consumer made since will deliver it as if for the first time.
    async fn find(
        &self,
        advisory: &Advisory,
    ) -> Result<Option<(i64, StoredMessage)>, ExhaustedError> {
        let name = &self.settings.stream.name;
        let Some(stream) = topology::find_stream(&self.ends.context, name).await? else {
            return Ok(None);
        };
        let consumer = &self.settings.consumer.name;
        let consumer = topology::find_consumer(&self.ends.context, name, consumer).await?;
        let is_anew = consumer.is_none_or(|consumer| consumer.created > advisory.timestamp);
        if is_anew || stream.created > advisory.timestamp {
            return Ok(None);
        }
        let original = stored::message(&self.ends.context, name, advisory.stream_seq).await?;
        Ok(original.map(|original| (unix_nanos(stream.created), original)))
    }

    /// Whether the row is in ClickHouse; waits for as long as ClickHouse cannot tell.
    ///
    /// The server gives up on a message only after its last lease, and no insert outlives a
    /// lease, so what is not there now will not come.
    async fn is_stored(&self, stream_created_ns: i64, sequence: u64) -> bool {
        let mut backoff = self.backoff.clone();
        loop {
            match self.ends.store.stored(stream_created_ns, &[sequence]).await {
                Ok(stored) => return stored.contains(&sequence),
                Err(error) => {
                    let pause = backoff.pause();
                    warn!(%error, stream_seq = sequence, retry_in_ms = pause.as_millis() as u64, "ClickHouse cannot tell whether a message that was delivered too often has landed; it is asked again");
                    sleep(pause).await;
                }
            }
        }
    }

    async fn no_letter(&self, lease: Lease, ack: Option<Subject>) -> Result<(), ExhaustedError> {
        let settled = NoLetterNeeded { lease, ack };
        // The ack stage ends last; without it the advisory is delivered again.
        let _ = self.settled.send(Settled::NoLetterNeeded(settled)).await;
        Ok(())
    }

    /// The server no longer waits for an ack of such a message, but counts its deliveries
    /// until it gets one.
    fn ack_of(&self, sequence: u64) -> Subject {
        let Settings {
            stream, consumer, ..
        } = self.settings.as_ref();
        format!(
            "$JS.ACK.{}.{}.1.{sequence}.0.0.0",
            stream.name, consumer.name
        )
        .into()
    }
}

fn rejected(
    advisory: &Advisory,
    stream_created_ns: i64,
    original: StoredMessage,
    lease: Lease,
    ack: Subject,
) -> Rejected {
    let headers = original.headers.as_ref().map(HeaderBlock::headers);
    let unreadable = matches!(headers, Some(None));
    Rejected {
        delivery: Delivery {
            position: Position {
                stream_created_ns,
                stream_seq: advisory.stream_seq,
            },
            published_at_ms: unix_nanos(original.time) / 1_000_000,
            attempt: advisory.deliveries,
            may_be_stored: false,
            lease,
            message: Message {
                length: original.body.len(),
                subject: original.subject.into(),
                reply: None,
                payload: original.body,
                headers: headers.flatten(),
                status: None,
                description: None,
            },
        },
        reason: Reason::MaxDeliveries(Box::new(GivenUp {
            deliveries: advisory.deliveries,
            unreadable_headers: original.headers.filter(|_| unreadable),
            ack,
        })),
    }
}
