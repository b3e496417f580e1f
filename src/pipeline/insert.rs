//! Batches into ClickHouse, several at once, each until it is committed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::{Mutex, watch};
use tracing::{error, info, warn};

use crate::cache::Feed;
use crate::fault_point::FaultPoints;
use crate::ops::Ops;
use crate::ops::health::Dependency;
use crate::store::schema::SchemaError;
use crate::store::{Remedy, Store, StoreError};

use super::ack::Settled;
use super::batch::ClosedBatch;
use super::circuit::{Change, Circuit};
use super::commit::{Landed, Refused};
use super::committed::CommittedBatch;
use super::dead_letter::{Reason, Rejected};
use super::decode::Slot;
use super::in_flight::InFlight;
use super::pace::InsertTime;
use super::pulse::Pulse;
use super::suspects::{Judgement, Suspect, Suspects};

/// Why pulling is stopped; `None` while it goes on.
pub(super) type Halt = Option<Arc<str>>;

/// One of the workers that insert side by side, so that a slow batch stops no other.
#[derive(Clone)]
pub(super) struct Insert {
    pub store: Store,
    pub cache: Option<Feed>,
    pub circuit: Arc<Circuit>,
    pub suspects: Arc<Suspects>,
    pub insert_time: Arc<InsertTime>,
    pub ack_wait: Duration,
    pub batches: Arc<Mutex<Receiver<(ClosedBatch, Slot)>>>,
    pub in_flight: Arc<InFlight>,
    pub settled: Sender<Settled>,
    pub rejects: Sender<Rejected>,
    pub halt: watch::Sender<Halt>,
    pub ops: Ops,
    pub faults: FaultPoints,
    pub pulse: Pulse,
}

impl Insert {
    /// Inserts until no batch will come. Ends early only by being dropped: then nothing more
    /// is acked.
    pub async fn run(self) {
        loop {
            let next = async { self.batches.lock().await.recv().await };
            let batch = self.pulse.waiting(next).await;
            let Some((batch, slot)) = batch else { return };
            self.land(batch).await;
            drop(slot);
        }
    }

    /// Commits a batch. Rows that ClickHouse refuses are found by bisecting.
    async fn land(&self, batch: ClosedBatch) {
        let mut taken_before = self.suspects.taken();
        let mut open = vec![batch];
        loop {
            match self.suspects.judge(self.bisect(open).await, taken_before) {
                Judgement::Wait => return,
                Judgement::Rows(rows) => return self.reject(rows).await,
                Judgement::Table(rows) => {
                    if let Some((_, error)) = rows.first() {
                        self.halted(error, Dependency::Schema, rows.len());
                    }
                    taken_before = self.suspects.taken();
                    open = rows.into_iter().map(|(row, _)| row).collect();
                }
            }
        }
    }

    /// Commits what can be, and returns the rows that are refused.
    async fn bisect(&self, mut open: Vec<ClosedBatch>) -> Vec<Suspect> {
        let mut refused = Vec::new();
        while let Some(batch) = open.pop() {
            let Landed::Refused(refusal) = self.commit(batch).await else {
                continue;
            };
            let Refused { batch, error } = *refusal;
            if batch.len() == 1 {
                refused.push((batch, error.to_string()));
                continue;
            }
            info!(
                count = batch.len(),
                "ClickHouse does not take a batch as it is; it is sent in halves"
            );
            let half = batch.len() / 2;
            let (first, second) = batch.split(|index, _| index < half);
            open.extend(second.into_iter().chain(first));
        }
        refused
    }

    pub(super) async fn reject(&self, rows: Vec<Suspect>) {
        for (batch, error) in rows {
            batch.trace().refused(batch.len());
            for delivery in batch.into_deliveries() {
                let reason = Reason::Refused(error.clone());
                // The dead letter stage ends after this one; if it is gone all the same, the
                // message is delivered again.
                let _ = self.rejects.send(Rejected { delivery, reason }).await;
            }
        }
    }

    /// Whether the table is as it should be. When it is not, that is told, and no row is to
    /// blame.
    pub(super) async fn table_fits(&self) -> bool {
        match self.store.verify().await {
            Ok(()) => true,
            Err(SchemaError::Store(_)) => false,
            Err(error) => {
                error!(%error, "The table does not fit");
                false
            }
        }
    }

    pub(super) async fn settle(&self, committed: CommittedBatch) {
        // The ack stage ends last; without it the messages are delivered again.
        let _ = self.settled.send(Settled::Committed(committed)).await;
    }

    pub(super) fn succeeded(&self) {
        if self.circuit.succeeded() == Change::Closed {
            info!("ClickHouse takes inserts again");
        }
        self.resume();
        self.ops.metrics.circuit_open.set(0);
        self.ops.health.up(Dependency::Clickhouse);
        self.ops.health.up(Dependency::Schema);
    }

    /// Lets pulling go on.
    pub(super) fn resume(&self) {
        self.halt.send_if_modified(|halt| halt.take().is_some());
        self.ops.metrics.pulling_halted.set(0);
    }

    pub(super) async fn failed(&self, error: &StoreError, count: usize) {
        self.ops.metrics.insert_failed(error.remedy());
        match error.remedy() {
            // A refused value whose table does not fit is the operator's too.
            Remedy::Halt | Remedy::Bisect => {
                let at_fault = if error.concerns_schema() {
                    Dependency::Schema
                } else {
                    Dependency::Clickhouse
                };
                self.halted(&error.to_string(), at_fault, count);
            }
            // Halves wait too: a server that lacks memory for everybody gets no more inserts than
            // one that is away.
            Remedy::Wait | Remedy::Halve => {
                warn!(count, %error, "Insert failed; the same batch is sent again");
                self.pause(&error.to_string(), false);
            }
            Remedy::Renew => {
                warn!(count, %error, "Insert came too late; it is tried again while its messages are held");
                if let Err(error) = self.store.compare_clocks().await {
                    warn!(%error, "The clocks were not compared");
                }
                self.pause(&error.to_string(), false);
            }
        }
    }

    fn halted(&self, error: &str, at_fault: Dependency, count: usize) {
        error!(count, %error, "Insert refused; pulling stops until this is mended, nothing is acked");
        self.halt.send_replace(Some(error.into()));
        self.ops.metrics.pulling_halted.set(1);
        self.ops.health.down(at_fault, error);
        self.pause(error, true);
    }

    pub(super) fn pause(&self, error: &str, longest: bool) {
        if self.circuit.failed(longest) == Change::Opened {
            self.ops.metrics.circuit_open.set(1);
            self.ops.health.down(Dependency::Clickhouse, error);
            warn!("ClickHouse fails again and again; one insert at a time asks whether it is back");
        }
    }
}
