//! One batch, tried until its rows are in the table or refused.

use std::time::SystemTime;

use tokio::time::sleep;
use tracing::{error, info, warn};

use crate::fault_point::Point;
use crate::store::{Deadline, Receipt, Remedy, StoreError};
use crate::telemetry::traces::InsertTrace;
use crate::wall_clock::now_ms;

use super::batch::ClosedBatch;
use super::committed::{CommittedBatch, Proof};
use super::delivery::Delivery;
use super::found::Found;
use super::insert::Insert;
use super::moment::Moment;

/// Time-outs in a row after which a batch is sent in halves. Before each, ClickHouse has answered
/// a look-up, so it is there.
const TIMEOUTS_TO_HALVE: u32 = 4;

/// The outcome for a batch.
pub(super) enum Landed {
    /// Every row is in ClickHouse, or its message is somebody else's by now.
    Done,
    /// ClickHouse refuses a value of at least one row, or so many rows at once. None of them is in
    /// the table, and no try that could still bring one there is under way.
    Refused(Box<Refused>),
}

/// A batch that ClickHouse does not take, and its exception.
pub(super) struct Refused {
    pub batch: ClosedBatch,
    pub error: StoreError,
}

/// Results of the last try that decide the next step.
#[derive(Default)]
struct Last {
    /// An OK whose rows must be counted.
    receipt: Option<Receipt>,
    error: Option<StoreError>,
    /// The error is a reason to leave rows out, once it is known that none is in the table.
    splits: bool,
    /// Time-outs in a row.
    timeouts: u32,
}

impl Insert {
    /// Tries until the rows are there or refused. What may be there already is looked up
    /// first: rows of messages that were delivered before, and all after any try that did not
    /// prove that its rows are there.
    pub(super) async fn commit(&self, mut batch: ClosedBatch) -> Landed {
        let mut trace = batch.trace().insert();
        let mut last = Last::default();
        loop {
            self.wait_out(&mut batch, last.splits).await;
            let _permit = self.pulse.waiting(self.circuit.permit()).await;
            let Some((live, oldest)) = self.live(batch) else {
                // Perhaps nothing is left to try, and only new messages can tell whether
                // what halted the pulling is mended.
                self.resume();
                trace.late();
                return Landed::Done;
            };
            batch = live;
            let found = match Found::look_up(&self.store, &batch, &trace).await {
                Ok(found) => found,
                Err(error) => {
                    trace.failed(&error);
                    self.failed(&error, batch.len()).await;
                    continue;
                }
            };
            let receipt = last.receipt.take();
            let is_lost = receipt.is_some();
            if let Some(proof) = receipt.and_then(|one| Proof::counted(&batch, one, &found)) {
                self.landed(batch, proof, trace).await;
                return Landed::Done;
            }
            let Some(rest) = self.without_found(batch, &found, &last).await else {
                return Landed::Done;
            };
            batch = if is_lost { self.lost(rest) } else { rest };
            batch.tries_mut().found_none();
            if is_lost || batch.tries().to_wait_out(false).is_some() {
                continue;
            }
            if let (true, Some(error)) = (std::mem::take(&mut last.splits), last.error.take())
                && (error.remedy() == Remedy::Bisect || batch.len() > 1)
            {
                trace.refused(&error);
                return Landed::Refused(Box::new(Refused { batch, error }));
            }
            let deadline = self.deadline(oldest);
            // Each chunk has a time-out; how many there are depends on the batch.
            let insert = self.store.insert(batch.block(), deadline);
            match self.pulse.waiting(insert).await {
                Ok(receipt) => match Proof::of_only_try(&batch, receipt) {
                    Ok(proof) => {
                        self.landed(batch, proof, trace).await;
                        return Landed::Done;
                    }
                    Err(receipt) => {
                        batch.tries_mut().answered();
                        last.receipt = Some(receipt);
                    }
                },
                Err(error) => {
                    batch.tries_mut().failed(deadline, error.is_answer());
                    let timeouts = last.timeouts;
                    last = self.not_taken(&batch, error, timeouts, &mut trace).await;
                }
            }
        }
    }

    /// A try failed, after so many that timed out.
    async fn not_taken(
        &self,
        batch: &ClosedBatch,
        error: StoreError,
        timeouts: u32,
        trace: &mut InsertTrace,
    ) -> Last {
        let timeouts = if error.is_timeout() { timeouts + 1 } else { 0 };
        let is_refused = error.remedy() == Remedy::Bisect && self.table_fits().await;
        if is_refused {
            self.ops.metrics.insert_failed(Remedy::Bisect);
        } else {
            trace.failed(&error);
            self.failed(&error, batch.len()).await;
        }
        let is_too_much = error.remedy() == Remedy::Halve || timeouts >= TIMEOUTS_TO_HALVE;
        Last {
            receipt: None,
            splits: is_refused || (is_too_much && batch.len() > 1),
            error: Some(error),
            timeouts,
        }
    }

    async fn landed(&self, batch: ClosedBatch, proof: Proof, trace: InsertTrace) {
        let receipt = proof.receipt();
        trace.committed(receipt);
        self.insert_time.set(receipt.duration());
        self.faults.reached(Point::InsertAnswered).await;
        self.succeeded();
        let published = batch.deliveries().iter().map(|one| one.published_at_ms);
        self.ops.metrics.committed(published, now_ms());
        let cache = self.cache.as_ref();
        self.settle(CommittedBatch::inserted(batch, proof, cache))
            .await;
        self.reject(self.suspects.take()).await;
    }

    /// ClickHouse knows the token and does not have the rows: it was killed between writing the
    /// two. They go under a new one.
    fn lost(&self, batch: ClosedBatch) -> ClosedBatch {
        error!(
            count = batch.len(),
            "ClickHouse said that it had rows which it does not have; they are sent under a new token"
        );
        self.pause("ClickHouse does not have rows that it said it had", false);
        batch.under_new_token()
    }

    /// Settles what a look-up has found, and returns the rest.
    async fn without_found(
        &self,
        batch: ClosedBatch,
        found: &Found,
        last: &Last,
    ) -> Option<ClosedBatch> {
        if found.is_empty() {
            return Some(batch);
        }
        let is_by_view =
            |error: &&StoreError| error.view().is_some() || error.remedy() == Remedy::Bisect;
        let by_view = last.error.as_ref().filter(is_by_view);
        let (known, rest) = CommittedBatch::found(batch, found, self.cache.as_ref());
        if let Some(known) = known {
            if let Some(error) = by_view {
                self.refused_by_view(error, known.len());
            }
            self.settle(known).await;
        }
        if by_view.is_some() {
            // The table takes rows.
            self.succeeded();
            self.reject(self.suspects.take()).await;
        } else if rest.is_none() {
            self.resume();
        }
        rest
    }

    /// The table has the rows, and ClickHouse says that it refuses them. It commits to the table
    /// first and then to each materialized view.
    fn refused_by_view(&self, error: &StoreError, count: usize) {
        self.ops.metrics.view_refusals_total.inc();
        warn!(
            view = error.view().unwrap_or("unknown"),
            count,
            %error,
            "A materialized view refused rows that the table has; the view lacks them"
        );
    }

    /// Waits until no try under another token can commit, where that matters: by ClickHouse's
    /// clock its deadline is over, and so is the time that a block takes to be committed.
    async fn wait_out(&self, batch: &mut ClosedBatch, changes_token: bool) {
        let Some(deadline) = batch.tries().to_wait_out(changes_token) else {
            return;
        };
        info!(
            count = batch.len(),
            "An insert without an answer may still be committed; its rows wait until it cannot"
        );
        loop {
            let permit = self.pulse.waiting(self.circuit.permit()).await;
            match self.store.left_until(deadline, self.ack_wait / 8).await {
                Ok(None) => break,
                Ok(Some(left)) => {
                    drop(permit);
                    self.pulse.waiting(sleep(left)).await;
                }
                Err(error) => self.failed(&error, batch.len()).await,
            }
        }
        batch.tries_mut().over();
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

    /// The time by which ClickHouse must have the whole block: an eighth of the ack wait is left for it to
    /// write and commit the block then.
    fn deadline(&self, oldest: Moment) -> Deadline {
        let at: SystemTime = oldest.time_of_day(self.ack_wait / 8 * 7);
        self.store.deadline(at)
    }
}
