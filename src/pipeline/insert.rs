//! Batches into ClickHouse, several at once, each until it is committed.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::{Mutex, watch};
use tracing::{error, info, warn};

use crate::cache::Feed;
use crate::fault_point::{FaultPoints, Point};
use crate::ops::Ops;
use crate::ops::health::Dependency;
use crate::store::schema::SchemaError;
use crate::store::{Remedy, Store, StoreError};
use crate::telemetry::traces::InsertTrace;
use crate::wall_clock::now_ms;

use super::ack::Settled;
use super::batch::ClosedBatch;
use super::circuit::{Change, Circuit};
use super::committed::CommittedBatch;
use super::dead_letter::{Reason, Rejected};
use super::decode::Slot;
use super::delivery::Delivery;
use super::in_flight::InFlight;
use super::moment::Moment;
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

/// What became of a batch.
enum Landed {
    /// Every row is in ClickHouse, or its message is somebody else's by now.
    Done,
    /// ClickHouse refuses a value of at least one row.
    Refused(ClosedBatch, StoreError),
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
        let mut open = vec![(batch, false)];
        loop {
            match self.suspects.judge(self.bisect(open).await, taken_before) {
                Judgement::Wait => return,
                Judgement::Rows(rows) => return self.reject(rows).await,
                Judgement::Table(rows) => {
                    if let Some((_, error)) = rows.first() {
                        self.halted(error, Dependency::Schema, rows.len());
                    }
                    taken_before = self.suspects.taken();
                    open = rows.into_iter().map(|(row, _)| (row, true)).collect();
                }
            }
        }
    }

    /// Commits what can be, and returns the rows that are refused. The flag says whether a
    /// batch may be there already.
    async fn bisect(&self, mut open: Vec<(ClosedBatch, bool)>) -> Vec<Suspect> {
        let mut refused = Vec::new();
        while let Some((batch, unsure)) = open.pop() {
            let Landed::Refused(batch, error) = self.commit(batch, unsure).await else {
                continue;
            };
            if batch.len() == 1 {
                refused.push((batch, error.to_string()));
                continue;
            }
            let half = batch.len() / 2;
            let (first, second) = batch.split(|index, _| index < half);
            // A batch that spans partitions may have landed in part.
            open.extend(second.into_iter().chain(first).map(|half| (half, true)));
        }
        refused
    }

    async fn reject(&self, rows: Vec<Suspect>) {
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

    /// Tries until the rows are there or refused. What may be there already is looked up
    /// first: rows of messages that were delivered before, and after a failure all, since an
    /// insert may have been committed without an answer.
    async fn commit(&self, mut batch: ClosedBatch, mut unsure: bool) -> Landed {
        let mut trace = batch.trace().insert();
        loop {
            let _permit = self.pulse.waiting(self.circuit.permit()).await;
            let oldest = match self.live(batch) {
                Some((live, oldest)) => {
                    batch = live;
                    oldest
                }
                None => {
                    // Perhaps nothing is left to try, and only new messages can tell whether
                    // what halted the pulling is mended.
                    self.resume();
                    trace.late();
                    return Landed::Done;
                }
            };
            let stored = match self.stored(&batch, unsure, &trace).await {
                Ok(stored) => stored,
                Err(error) => {
                    trace.failed(&error);
                    self.failed(&error, batch.len()).await;
                    continue;
                }
            };
            if !stored.is_empty() {
                let sequence = |delivery: &Delivery| delivery.position.stream_seq;
                let (rest, known) =
                    batch.split(|_, delivery| !stored.contains(&sequence(delivery)));
                if let Some(known) = known {
                    let known = CommittedBatch::already_stored(known, self.cache.as_ref());
                    self.settle(known).await;
                }
                match rest {
                    Some(rest) => batch = rest,
                    None => return Landed::Done,
                }
            }
            // Each chunk has a time-out; how many there are depends on the batch.
            let insert = self.store.insert(batch.block(), self.deadline(oldest));
            match self.pulse.waiting(insert).await {
                Ok(receipt) => {
                    trace.committed(&receipt);
                    self.insert_time.set(receipt.duration);
                    self.faults.reached(Point::InsertAnswered).await;
                    self.succeeded();
                    let published = batch.deliveries().iter().map(|one| one.published_at_ms);
                    self.ops.metrics.committed(published, now_ms());
                    let cache = self.cache.as_ref();
                    self.settle(CommittedBatch::inserted(batch, receipt, cache))
                        .await;
                    self.reject(self.suspects.take()).await;
                    return Landed::Done;
                }
                Err(error) if error.remedy() == Remedy::Bisect && self.table_fits().await => {
                    trace.refused(&error);
                    self.ops.metrics.insert_failed(Remedy::Bisect);
                    return Landed::Refused(batch, error);
                }
                Err(error) => {
                    unsure = true;
                    trace.failed(&error);
                    self.failed(&error, batch.len()).await;
                }
            }
        }
    }

    /// The part of a batch whose messages are still this instance's, and since when the oldest
    /// of them is. The others are delivered again, perhaps to another instance, and must not
    /// be inserted here.
    fn live(&self, batch: ClosedBatch) -> Option<(ClosedBatch, Moment)> {
        if let Some(oldest) = self.oldest(&batch)
            && oldest.age() < self.ack_wait
        {
            return Some((batch, oldest));
        }
        let is_live = |_, delivery: &Delivery| {
            let since = delivery.lease.since();
            since.is_some_and(|since| since.age() < self.ack_wait)
        };
        let (live, late) = batch.split(is_live);
        if let Some(late) = late {
            warn!(
                count = late.len(),
                "The ack wait ran out on messages before their insert; they are delivered again"
            );
        }
        let live = live?;
        let oldest = self.oldest(&live)?;
        Some((live, oldest))
    }

    fn oldest(&self, batch: &ClosedBatch) -> Option<Moment> {
        let leases = batch.deliveries().iter().map(|delivery| &delivery.lease);
        self.in_flight.oldest(leases)
    }

    /// When ClickHouse must have the whole block: an eighth of the ack wait is left for it to
    /// write and commit the block then.
    fn deadline(&self, oldest: Moment) -> SystemTime {
        oldest.time_of_day(self.ack_wait / 8 * 7)
    }

    /// The sequences of the batch that are in the table already.
    async fn stored(
        &self,
        batch: &ClosedBatch,
        all: bool,
        trace: &InsertTrace,
    ) -> Result<HashSet<u64>, StoreError> {
        let began = SystemTime::now();
        let mut stored = HashSet::new();
        let mut asked = batch
            .deliveries()
            .iter()
            .filter(|delivery| all || delivery.may_be_stored);
        let Some(first) = asked.next() else {
            return Ok(stored);
        };
        // All are of one stream, but for the moment in which a stream is made anew.
        let created = first.position.stream_created_ns;
        let (same, other): (Vec<_>, Vec<_>) = std::iter::once(first)
            .chain(asked)
            .map(|delivery| delivery.position)
            .partition(|position| position.stream_created_ns == created);
        let asked = same.len() + other.len();
        for positions in [same, other] {
            let Some(position) = positions.first() else {
                continue;
            };
            let sequences: Vec<u64> = positions
                .iter()
                .map(|position| position.stream_seq)
                .collect();
            stored.extend(
                self.store
                    .stored(position.stream_created_ns, &sequences)
                    .await?,
            );
        }
        trace.looked_up(began, asked, stored.len());
        Ok(stored)
    }

    /// Whether the table is as it should be. When it is not, that is told, and no row is to
    /// blame.
    async fn table_fits(&self) -> bool {
        match self.store.verify().await {
            Ok(()) => true,
            Err(SchemaError::Store(_)) => false,
            Err(error) => {
                error!(%error, "The table does not fit");
                false
            }
        }
    }

    async fn settle(&self, committed: CommittedBatch) {
        // The ack stage ends last; without it the messages are delivered again.
        let _ = self.settled.send(Settled::Committed(committed)).await;
    }

    fn succeeded(&self) {
        if self.circuit.succeeded() == Change::Closed {
            info!("ClickHouse takes inserts again");
        }
        self.resume();
        self.ops.metrics.circuit_open.set(0);
        self.ops.health.up(Dependency::Clickhouse);
        self.ops.health.up(Dependency::Schema);
    }

    /// Lets pulling go on.
    fn resume(&self) {
        self.halt.send_if_modified(|halt| halt.take().is_some());
        self.ops.metrics.pulling_halted.set(0);
    }

    async fn failed(&self, error: &StoreError, count: usize) {
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
            Remedy::Wait => {
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

    fn pause(&self, error: &str, longest: bool) {
        if self.circuit.failed(longest) == Change::Opened {
            self.ops.metrics.circuit_open.set(1);
            self.ops.health.down(Dependency::Clickhouse, error);
            warn!("ClickHouse fails again and again; one insert at a time asks whether it is back");
        }
    }
}
