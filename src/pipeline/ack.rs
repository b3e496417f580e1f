//! The only place that acks a message: after ClickHouse, or the stream of dead letters, has
//! answered for it.

use std::time::Duration;

use async_nats::{Client, Subject};
use bytes::Bytes;
use tokio::sync::mpsc::Receiver;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, warn};

use crate::telemetry::events::{EventLog, Inserted};

use super::dead_letter::DeadLettered;
use super::in_flight::Lease;
use super::insert::CommittedBatch;

/// What may be acked.
#[derive(Debug)]
pub(super) enum Settled {
    /// The rows are in ClickHouse.
    Committed(CommittedBatch),
    /// The dead letter is in its stream.
    DeadLettered(DeadLettered),
}

/// What one run of the pipeline did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Signals committed to ClickHouse and acked.
    pub inserted: u64,
    /// Messages written to the stream of dead letters and acked.
    pub dead_lettered: u64,
}

/// The last stage.
pub(super) struct Ack {
    pub client: Client,
    pub settled: Receiver<Settled>,
    pub log: EventLog,
    /// How long the last acks may take to reach the server.
    pub flush_timeout: Duration,
}

impl Ack {
    /// Acks until the stages before it have ended, and then until the server has it all.
    pub async fn run(mut self) -> Totals {
        let mut totals = Totals::default();
        let mut summary = interval(self.log.summary_interval());
        summary.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                settled = self.settled.recv() => match settled {
                    Some(settled) => self.settle(settled, &mut totals).await,
                    None => break,
                },
                _ = summary.tick() => self.log.summarize(),
            }
        }
        self.log.summarize();
        match timeout(self.flush_timeout, self.client.flush()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                warn!(%error, "The last acks may be lost; their messages would be delivered again")
            }
            Err(_) => warn!(
                "NATS did not confirm the last acks in time; their messages may be delivered again"
            ),
        }
        totals
    }

    async fn settle(&mut self, settled: Settled, totals: &mut Totals) {
        match settled {
            Settled::Committed(batch) => {
                let receipt = batch.receipt();
                totals.inserted += receipt.rows as u64;
                self.log.inserted(&Inserted {
                    count: receipt.rows,
                    total: totals.inserted,
                    bytes: receipt.bytes,
                    duration: receipt.duration,
                    oldest_published_ms: batch.oldest_published_ms(),
                    close_reason: batch.close_reason().as_str(),
                });
                for lease in batch.into_leases() {
                    self.ack(lease).await;
                }
            }
            Settled::DeadLettered(letter) => {
                totals.dead_lettered += 1;
                self.log.dead_lettered(letter.event());
                self.ack(letter.into_lease()).await;
            }
        }
    }

    /// An ack is a publish without an answer: a lost one means that the message is
    /// delivered again.
    async fn ack(&self, lease: Lease) {
        const ACK: Bytes = Bytes::from_static(b"+ACK");
        let Some(reply): Option<Subject> = lease.settle() else {
            return;
        };
        if let Err(error) = self.client.publish(reply, ACK).await {
            debug!(%error, "Ack not sent; the message is delivered again");
        }
    }
}
