//! Asks JetStream for more time for messages that are held long.

use std::sync::Arc;

use async_nats::RequestError;
use async_nats::jetstream::Context;
use bytes::Bytes;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, warn};

use crate::jetstream::epoch::{self, Epoch};
use crate::jetstream::topology::TopologyError;
use crate::settings::Settings;

use super::delivery::AckSubject;
use super::in_flight::{InFlight, Renewal};
use super::moment::Moment;
use super::pulse::Pulse;

const IN_PROGRESS: Bytes = Bytes::from_static(b"+WPI");

/// Why messages are not held for longer.
#[derive(Debug, thiserror::Error)]
enum RenewError {
    #[error(transparent)]
    Epoch(#[from] TopologyError),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("NATS was restarted meanwhile")]
    Restarted,
}

/// Renews leases.
pub(super) struct KeepAlive {
    pub context: Context,
    pub settings: Arc<Settings>,
    pub in_flight: Arc<InFlight>,
    pub pulse: Pulse,
}

impl KeepAlive {
    /// Renews every lease that is older than half of the ack wait, until it is dropped.
    pub async fn run(self) {
        let ack_wait = self.settings.consumer.ack_wait;
        // A lease is renewed at the latest when five eighths of its time are over.
        let mut ticks = interval(ack_wait / 8);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.pulse.waiting(ticks.tick()).await;
            let mut due = self.in_flight.renewals_due(ack_wait / 2..ack_wait);
            // Signals have one consumer, advisories another.
            due.sort_by(|one, other| names(one).cmp(&names(other)));
            for due in due.chunk_by(|one, other| names(one) == names(other)) {
                if let Err(error) = self.renew(due).await {
                    warn!(
                        count = due.len(),
                        %error,
                        "JetStream did not confirm more time; what is held is delivered again if that lasts"
                    );
                }
            }
        }
    }

    /// Asks for more time for every lease of one consumer. The last one is asked with a reply:
    /// the consumer handles what one connection sends it in order, so its answer stands for
    /// all. Without that proof a lease must not count as renewed, since an instance may insert
    /// only what it holds.
    ///
    /// A lease is renewed only in the epoch in which it was given out: in the next one the
    /// server answers too, but may have given the message to somebody else.
    async fn renew(&self, due: &[Renewal]) -> Result<(), RenewError> {
        let since = Moment::now();
        let Some(names) = due.first().and_then(names) else {
            return Ok(());
        };
        let epoch = self.epoch(names).await?;
        let due: Vec<&Renewal> = due.iter().filter(|due| due.epoch == epoch).collect();
        let Some((last, others)) = due.split_last() else {
            return Ok(());
        };
        debug!(count = due.len(), "Asking JetStream for more time");
        let client = self.context.client();
        for renewal in others {
            if let Err(error) = client.publish(renewal.reply.clone(), IN_PROGRESS).await {
                debug!(%error, "Not sent");
            }
        }
        client.request(last.reply.clone(), IN_PROGRESS).await?;
        if self.epoch(names).await? != epoch {
            return Err(RenewError::Restarted);
        }
        let ack_wait = self.settings.consumer.ack_wait;
        self.in_flight.renewed(due, since, ack_wait);
        Ok(())
    }

    async fn epoch(&self, (stream, consumer): (&str, &str)) -> Result<Epoch, TopologyError> {
        let signals = &self.settings.stream;
        let (epoch, _) = epoch::current(&self.context, signals, stream, consumer).await?;
        Ok(epoch)
    }
}

/// The stream and the consumer.
fn names(renewal: &Renewal) -> Option<(&str, &str)> {
    AckSubject::stream_and_consumer(&renewal.reply)
}
