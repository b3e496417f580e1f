//! Messages that were delivered as often as they may be and never acked, such as one that
//! ends the process each time, and those that were always delivered together with it. They
//! are told by the server's advisories.
//!
//! Each is tried once more by itself: read from the stream without its headers, and handed on
//! as a delivery whose lease is that of the advisory. What is a good signal lands; what is not
//! becomes a letter with its own reason; and what ends the process again becomes one when its
//! advisory has been delivered too often too.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subject};
use claims::{Instance, Standing};
use futures_util::StreamExt;
use tokio::sync::mpsc::Sender;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::backoff::Backoff;
use crate::jetstream::advisories::{self, Advisory};
use crate::jetstream::consumer;
use crate::jetstream::stored::{self, StoredError, StoredMessage};
use crate::jetstream::topology::{self, TopologyError};
use crate::settings::{AckPolicy, Settings};

use super::Ends;
use super::ack::Settled;
use super::dead_letter::Reason;
use super::delivery::{AckSubject, Arrived, Delivery};
use super::in_flight::{InFlight, Lease, Room};
use super::pulse::Pulse;
use super::source::{CurrentSource, unix_nanos};

/// How long a pull waits for an advisory at most, and how often it is asked whether there is
/// one.
const EXPIRES: Duration = Duration::from_secs(5);
/// What a message has besides headers and body: its subject.
const MESSAGE_OVERHEAD_BYTES: usize = 8 * 1024;
/// How often a message is tried alone before it becomes a letter: more than once, since what
/// ends the process may be another message that comes by the ordinary way meanwhile.
const TRIES: u64 = 3;
/// Between two looks for messages without an advisory.
const LOOK_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Why advisories could not be read or judged; it is tried again.
#[derive(Debug, thiserror::Error)]
enum ExhaustedError {
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error(transparent)]
    Stored(#[from] StoredError),
    #[error("the stream of advisories is gone")]
    StreamGone,
    #[error("cannot pull from the stream of advisories: {0}")]
    Pull(async_nats::Error),
}

/// An advisory that needs neither a try nor a letter: the message has landed after all, or is
/// gone. Made only where ClickHouse or JetStream has said so.
#[derive(Debug)]
pub(super) struct NoLetterNeeded {
    lease: Lease,
}

impl NoLetterNeeded {
    /// The advisory's lease, to be settled.
    pub fn into_lease(self) -> Lease {
        self.lease
    }
}

/// The stage that reads advisories.
pub(super) struct Exhausted {
    pub ends: Ends,
    pub settings: Arc<Settings>,
    pub source: CurrentSource,
    pub in_flight: Arc<InFlight>,
    pub deliveries: Sender<Arrived>,
    pub settled: Sender<Settled>,
    pub backoff: Backoff,
    pub shutdown: CancellationToken,
    pub pulse: Pulse,
}

impl Exhausted {
    /// Reads advisories until shutdown. What it holds then is delivered again.
    pub async fn run(self) {
        let all = async {
            let mut backoff = self.backoff.clone();
            let turns = Arc::new(Mutex::new(()));
            loop {
                let Err(error) = self.session(&turns, &mut backoff).await;
                let pause = backoff.pause();
                warn!(%error, retry_in_ms = pause.as_millis() as u64, "Messages that were delivered too often cannot be looked after; it is tried again");
                self.pulse.waiting(sleep(pause)).await;
            }
        };
        tokio::select! {
            () = all => {}
            () = self.look_for_lost() => {}
            () = self.shutdown.cancelled() => {}
        }
    }

    async fn session(
        &self,
        turns: &Arc<Mutex<()>>,
        backoff: &mut Backoff,
    ) -> Result<std::convert::Infallible, ExhaustedError> {
        let consumer = advisories::ensure(&self.ends.context, &self.settings).await?;
        loop {
            // The next message has its turn when the one before is settled: one that ends the
            // process takes no other with it. What waits is not held.
            let turn = self.pulse.waiting(Arc::clone(turns).lock_owned()).await;
            let left = advisories::left(&self.ends.context, &self.settings).await?;
            if left.ok_or(ExhaustedError::StreamGone)? == 0 {
                backoff.reset();
                self.pulse.waiting(sleep(EXPIRES)).await;
                continue;
            }
            // Room first: a delivery counts as a try.
            let room = self.in_flight.reserve(1, self.room());
            let room = self.pulse.waiting(room).await;
            let pull = consumer.batch().max_messages(1).expires(EXPIRES);
            let pulled = pull.messages().await;
            let mut pulled = pulled.map_err(|error| ExhaustedError::Pull(error.into()))?;
            if let Some(message) = pulled.next().await {
                let message = message.map_err(ExhaustedError::Pull)?.message;
                self.take(message, room, turn).await?;
            }
            backoff.reset();
        }
    }

    /// The bytes of the largest message there may be.
    fn room(&self) -> usize {
        let largest = self.ends.client.max_payload() + MESSAGE_OVERHEAD_BYTES;
        largest.min(self.settings.consumer.max_in_flight_bytes)
    }

    /// Judges one advisory, and hands it on with its lease.
    async fn take(
        &self,
        message: Message,
        mut room: Room,
        turn: OwnedMutexGuard<()>,
    ) -> Result<(), ExhaustedError> {
        let Some(reply) = message.reply.clone() else {
            return Ok(());
        };
        let Some(delivered) = AckSubject::parse(&reply).map(|ack| ack.delivered) else {
            return Ok(());
        };
        let lease = room.advisory(reply, self.room());
        let advisory: Advisory = match serde_json::from_slice(&message.payload) {
            Ok(advisory) => advisory,
            Err(error) => {
                warn!(%error, "Advisory that cannot be read; nothing is done about it");
                return self.no_letter(lease).await;
            }
        };
        let lease = lease.with_exhausted(self.ack_of(advisory.stream_seq), turn);
        match self.find(&advisory).await? {
            Some((stream_created_ns, original)) => {
                let delivery =
                    Delivery::of_stored(original, stream_created_ns, advisory.deliveries, lease);
                self.judge(delivery, delivered).await
            }
            None => {
                warn!(
                    stream_seq = advisory.stream_seq,
                    deliveries = advisory.deliveries,
                    "Message was delivered too often, but is not in the stream any more, or delivered anew by a new consumer; it gets no dead letter"
                );
                self.no_letter(lease).await
            }
        }
    }

    /// Hands a message on: to its ack when it has landed, to another try, or, where the tries
    /// are used up, to the dead letters. `delivered` is how often its advisory was delivered.
    async fn judge(&self, mut delivery: Delivery, delivered: u64) -> Result<(), ExhaustedError> {
        let (stream_seq, deliveries) = (delivery.position.stream_seq, delivery.attempt);
        let position = delivery.position;
        let standing = |instance: &mut Instance| instance.standing(position);
        if self.ends.process.with(standing) == Standing::Done {
            info!(
                stream_seq,
                deliveries, "Message was delivered too often, but is in ClickHouse"
            );
            return self.no_letter(delivery.lease).await;
        }
        if delivered <= TRIES {
            info!(
                stream_seq,
                deliveries,
                try_number = delivered,
                "Message was delivered too often; it is tried alone"
            );
        } else {
            delivery.given_up = Some(Box::new(Reason::MaxDeliveries {
                deliveries,
                tries: TRIES,
            }));
        }
        // The receiver ends after this stage; if it is gone all the same, the advisory is
        // delivered again.
        let _ = self.deliveries.send(Arrived::now(vec![delivery])).await;
        Ok(())
    }

    /// Tells, once a change, of messages that have no advisory. Ends never.
    async fn look_for_lost(&self) {
        let mut told = 0;
        loop {
            match advisories::lost(&self.ends.context, &self.settings).await {
                Ok(lost) if lost > told => {
                    warn!(
                        count = lost,
                        what_to_do = advisories::LOST_REMEDY,
                        "Messages were delivered too often, and the advisories on them are lost; they may have neither row nor dead letter"
                    );
                    told = lost;
                }
                Ok(lost) => told = lost,
                Err(error) => debug!(%error, "Lost advisories were not looked for"),
            }
            sleep(LOOK_INTERVAL).await;
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
        let consumer = consumer::find(&self.ends.context, name, consumer).await?;
        let is_anew = consumer.is_none_or(|consumer| consumer.created > advisory.timestamp);
        if is_anew || stream.created > advisory.timestamp {
            return Ok(None);
        }
        let original = stored::message(&self.ends.context, name, advisory.stream_seq).await?;
        Ok(original.map(|original| (unix_nanos(stream.created), original)))
    }

    async fn no_letter(&self, lease: Lease) -> Result<(), ExhaustedError> {
        let settled = NoLetterNeeded { lease };
        // The ack stage ends last; without it the advisory is delivered again.
        let _ = self.settled.send(Settled::NoLetterNeeded(settled)).await;
        Ok(())
    }

    /// The server no longer waits for an ack of such a message, but counts its deliveries
    /// until it gets one. The subject is made up, as the message's own is not known, and the
    /// server looks at nothing but the sequence in the stream. Where an ack stands for all before
    /// it, that is not so, and the floor's acks cover the message too.
    fn ack_of(&self, sequence: u64) -> Option<Subject> {
        let is_explicit = self.source.ack_policy() == AckPolicy::Explicit;
        let Settings {
            stream, consumer, ..
        } = self.settings.as_ref();
        is_explicit.then(|| {
            let (stream, consumer) = (&stream.name, &consumer.name);
            format!("$JS.ACK.{stream}.{consumer}.1.{sequence}.0.0.0").into()
        })
    }
}
