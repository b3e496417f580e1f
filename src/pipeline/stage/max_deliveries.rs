//! Messages that were delivered as often as they may be and never acked, such as one that
//! ends the process each time, and those that were always delivered together with it. The
//! server's advisories name them.
//!
//! Each is tried once more by itself: read from the stream, and handed on as a delivery whose lease
//! is that of the advisory. What is a good signal lands; what is not
//! becomes a letter with its own reason; and what ends the process again becomes one when its
//! advisory has been delivered too often too.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use claims::{Instance, Standing};
use jetstream::AckPolicy;
use jetstream::advisories::{Advisory, LOST_REMEDY};
use jetstream::stored::{StoredError, StoredMessage};
use jetstream::topology::TopologyError;
use tokio::sync::mpsc::Sender;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::pipeline::crossing::ack_subject::AckSubject;
use crate::pipeline::crossing::delivery::{Delivery, DeliveryChunk};
use crate::pipeline::crossing::in_flight::{InFlight, Lease, Reservation};
use crate::pipeline::crossing::reason::Reason;
use crate::pipeline::crossing::settled::NoLetterNeeded;
use crate::pipeline::crossing::settled::Settled;
use crate::pipeline::crossing::source::CurrentSource;
use crate::pipeline::liveness::heartbeat::Heartbeat;
use crate::pipeline::log_lines::{
    ADVISORIES_LOST, EXHAUSTED_ALONE, EXHAUSTED_GONE, EXHAUSTED_STORED,
};
use crate::pipeline::port::advisories::Advisories;
use crate::pipeline::port::claims_log::ClaimsLog;
use crate::settings::Settings;
use clock::Backoff;
use clock::unix_nanos;

/// Longest time that a pull waits for an advisory, and time between two looks for one.
const EXPIRES: Duration = Duration::from_secs(5);
/// Bytes of a message besides headers and body: its subject.
const MESSAGE_OVERHEAD_BYTES: usize = 8 * 1024;
/// Tries of a message alone before it becomes a letter: more than one, since another message,
/// which comes by the ordinary way meanwhile, may be what ends the process.
const TRIES: u64 = 3;
/// Between two looks for messages without an advisory.
const LOOK_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Reason for which advisories could not be read or judged; it is tried again.
#[derive(Debug, thiserror::Error)]
enum MaxDeliveriesError {
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error(transparent)]
    Stored(#[from] StoredError),
    #[error("the stream of advisories is gone")]
    StreamGone,
    #[error("cannot pull from the stream of advisories: {0}")]
    Pull(async_nats::Error),
}

/// The stage that reads advisories.
pub struct MaxDeliveries<A> {
    pub advisories: A,
    pub process: Arc<dyn ClaimsLog>,
    pub settings: Arc<Settings>,
    pub source: CurrentSource,
    pub in_flight: &'static InFlight,
    pub deliveries: Sender<DeliveryChunk>,
    pub settled: Sender<Settled>,
    pub backoff: Backoff,
    pub shutdown: CancellationToken,
    pub heartbeat: Heartbeat,
}

impl<A: Advisories> MaxDeliveries<A> {
    /// Reads advisories until shutdown. What it holds then is delivered again.
    pub async fn run(self) {
        let all = async {
            let mut backoff = self.backoff.clone();
            let turns = Arc::new(Mutex::new(()));
            loop {
                let Err(error) = self.session(&turns, &mut backoff).await;
                let pause = backoff.pause();
                warn!(%error, retry_in_ms = pause.as_millis() as u64, "Messages that were delivered too often cannot be looked after; it is tried again");
                self.heartbeat.waiting(sleep(pause)).await;
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
    ) -> Result<std::convert::Infallible, MaxDeliveriesError> {
        let consumer = self.advisories.ensure().await?;
        loop {
            // The next message has its turn when the one before is settled: one that ends the
            // process takes no other with it. What waits is not held.
            let turn = self.heartbeat.waiting(Arc::clone(turns).lock_owned()).await;
            let left = self.advisories.left().await?;
            if left.ok_or(MaxDeliveriesError::StreamGone)? == 0 {
                backoff.reset();
                self.heartbeat.waiting(sleep(EXPIRES)).await;
                continue;
            }
            // Room first: a delivery counts as a try.
            let room = self.in_flight.reserve(1, self.room());
            let room = self.heartbeat.waiting(room).await;
            let pulled = self.advisories.next(&consumer, EXPIRES).await;
            if let Some(message) = pulled.map_err(MaxDeliveriesError::Pull)? {
                self.take(message, room, turn).await?;
            }
            backoff.reset();
        }
    }

    /// The bytes of the largest message there may be.
    fn room(&self) -> usize {
        let largest = self.advisories.max_payload() + MESSAGE_OVERHEAD_BYTES;
        largest.min(self.settings.consumer.max_in_flight_bytes)
    }

    /// Judges one advisory, and hands it on with its lease.
    async fn take(
        &self,
        message: Message,
        mut room: Reservation,
        turn: OwnedMutexGuard<()>,
    ) -> Result<(), MaxDeliveriesError> {
        let Some(reply) = message.reply.clone() else {
            return Ok(());
        };
        let reply = reply.as_bytes();
        let Some(delivered) = AckSubject::parse(reply).map(|ack| ack.delivered) else {
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
                    "{EXHAUSTED_GONE}"
                );
                self.no_letter(lease).await
            }
        }
    }

    /// Hands a message on: to its ack when it has landed, to another try, or, where the tries
    /// are used up, to the dead letters. `delivered` is how often its advisory was delivered.
    async fn judge(
        &self,
        mut delivery: Delivery,
        delivered: u64,
    ) -> Result<(), MaxDeliveriesError> {
        let (stream_seq, deliveries) = (delivery.position.stream_seq, delivery.attempt);
        let position = delivery.position;
        let standing = |instance: &mut Instance| instance.standing(position);
        if self.process.with(standing) == Standing::Done {
            info!(stream_seq, deliveries, "{EXHAUSTED_STORED}");
            return self.no_letter(delivery.lease).await;
        }
        if delivered <= TRIES {
            info!(
                stream_seq,
                deliveries,
                try_number = delivered,
                "{EXHAUSTED_ALONE}"
            );
        } else {
            delivery.given_up = Some(Box::new(Reason::MaxDeliveries {
                deliveries,
                tries: TRIES,
            }));
        }
        // The receiver ends after this stage; if it is gone all the same, the advisory is
        // delivered again.
        let _ = self
            .deliveries
            .send(DeliveryChunk::now(vec![delivery]))
            .await;
        Ok(())
    }

    /// Logs the count of messages that have no advisory, at each rise. Never ends.
    async fn look_for_lost(&self) {
        let mut known = 0;
        loop {
            match self.advisories.lost().await {
                Ok(lost) if lost > known => {
                    warn!(count = lost, what_to_do = LOST_REMEDY, "{ADVISORIES_LOST}");
                    known = lost;
                }
                Ok(lost) => known = lost,
                Err(error) => debug!(%error, "Lost advisories were not looked for"),
            }
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// The message of an advisory, and the creation of its stream. `None` when it is gone, or when
    /// a newer consumer will deliver it as if for the first time.
    async fn find(
        &self,
        advisory: &Advisory,
    ) -> Result<Option<(i64, StoredMessage)>, MaxDeliveriesError> {
        let Some(created) = self.advisories.created().await? else {
            return Ok(None);
        };
        let is_after = |created| created > advisory.timestamp;
        if created.consumer.is_none_or(is_after) || is_after(created.stream) {
            return Ok(None);
        }
        let original = self.advisories.message(advisory.stream_seq).await?;
        Ok(original.map(|original| (unix_nanos(created.stream), original)))
    }

    async fn no_letter(&self, lease: Lease) -> Result<(), MaxDeliveriesError> {
        if let Some(settled) = NoLetterNeeded::of(lease) {
            // The ack stage ends last; without it the advisory is delivered again.
            let _ = self.settled.send(Settled::NoLetterNeeded(settled)).await;
        }
        Ok(())
    }

    /// The server no longer waits for an ack of such a message, but counts its deliveries
    /// until it gets one. The subject is made up, as the message's own is not known, and the
    /// server looks at nothing but the sequence in the stream. Where an ack covers all before
    /// it, that is not so, and the floor's acks cover the message too.
    fn ack_of(&self, sequence: u64) -> Option<String> {
        let is_explicit = self.source.ack_policy() == AckPolicy::Explicit;
        let Settings {
            stream, consumer, ..
        } = self.settings.as_ref();
        is_explicit.then(|| {
            let (stream, consumer) = (&stream.name, &consumer.name);
            format!("$JS.ACK.{stream}.{consumer}.1.{sequence}.0.0.0")
        })
    }
}

#[cfg(test)]
mod tests;
