//! Batches into ClickHouse, several at once, each until it is committed.

use std::sync::Arc;

use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::{Mutex, watch};
use tokio::time::sleep;
use tracing::{error, warn};

use crate::backoff::Backoff;
use crate::store::{Receipt, Remedy, Store};

use super::ack::Settled;
use super::batch::{CloseReason, ClosedBatch};
use super::in_flight::Lease;

/// A batch that ClickHouse has answered for. Made only where that answer arrives, so that
/// nothing else can be acked.
#[derive(Debug)]
pub(super) struct CommittedBatch {
    leases: Vec<Lease>,
    receipt: Receipt,
    close_reason: CloseReason,
    oldest_published_ms: i64,
}

impl CommittedBatch {
    /// What the answer said.
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// Why the batch had closed.
    pub fn close_reason(&self) -> CloseReason {
        self.close_reason
    }

    /// When JetStream stored its oldest message: milliseconds since the epoch.
    pub fn oldest_published_ms(&self) -> i64 {
        self.oldest_published_ms
    }

    /// The leases, to be settled.
    pub fn into_leases(self) -> Vec<Lease> {
        self.leases
    }
}

/// Why pulling is stopped; `None` while it goes on.
pub(super) type Halt = Option<Arc<str>>;

/// One of the workers that insert side by side, so that a slow batch stops no other.
pub(super) struct Insert {
    pub store: Store,
    pub batches: Arc<Mutex<Receiver<ClosedBatch>>>,
    pub settled: Sender<Settled>,
    pub halt: watch::Sender<Halt>,
    pub backoff: Backoff,
}

impl Insert {
    /// Inserts until no batch will come.
    pub async fn run(mut self) {
        loop {
            let batch = self.batches.lock().await.recv().await;
            let Some(batch) = batch else { return };
            let committed = self.commit(batch).await;
            // The ack stage ends last; without it the messages are delivered again.
            let _ = self.settled.send(Settled::Committed(committed)).await;
        }
    }

    /// Sends the same bytes until ClickHouse has taken them. Ends early only by being
    /// dropped: then nothing is acked.
    async fn commit(&mut self, batch: ClosedBatch) -> CommittedBatch {
        self.backoff.reset();
        let receipt = loop {
            let error = match self.store.insert(&batch.block).await {
                Ok(receipt) => break receipt,
                Err(error) => error,
            };
            let pause = match error.remedy() {
                Remedy::Wait => {
                    let pause = self.backoff.pause();
                    warn!(count = batch.block.rows(), retry_in_ms = ms(pause), %error, "Insert failed; the same batch is sent again");
                    pause
                }
                Remedy::Halt => {
                    let pause = self.backoff.longest();
                    error!(count = batch.block.rows(), retry_in_ms = ms(pause), %error, "Insert refused; pulling stops until this is mended, nothing is acked");
                    self.halt.send_replace(Some(error.to_string().into()));
                    pause
                }
            };
            sleep(pause).await;
        };
        self.halt.send_if_modified(|halt| halt.take().is_some());
        CommittedBatch {
            receipt,
            close_reason: batch.close_reason,
            oldest_published_ms: batch
                .deliveries
                .iter()
                .map(|delivery| delivery.published_at_ms)
                .min()
                .unwrap_or_default(),
            leases: batch
                .deliveries
                .into_iter()
                .map(|delivery| delivery.lease)
                .collect(),
        }
    }
}

fn ms(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
