//! The proof that rows are in ClickHouse, without which nothing is acked.

use crate::cache::Feed;
use crate::store::Receipt;
use crate::telemetry::traces::BatchTrace;

use super::batch::{CloseReason, ClosedBatch};
use super::in_flight::Lease;

/// Messages whose rows ClickHouse has answered for. Made only by the insert stage, where that
/// answer arrives.
#[derive(Debug)]
pub(super) struct CommittedBatch {
    leases: Vec<Lease>,
    answer: Answer,
    trace: BatchTrace,
}

/// What ClickHouse answered.
#[derive(Debug)]
pub(super) enum Answer {
    /// The insert is committed.
    Inserted {
        /// What the answer said.
        receipt: Receipt,
        /// Why the batch had closed.
        close_reason: CloseReason,
        /// When JetStream stored its oldest message: milliseconds since the epoch.
        oldest_published_ms: i64,
    },
    /// The rows were there, from an insert whose acks were lost.
    AlreadyStored,
}

impl CommittedBatch {
    /// A batch that was inserted, with ClickHouse's receipt. The cache is told.
    pub fn inserted(batch: ClosedBatch, receipt: Receipt, cache: Option<&Feed>) -> Self {
        let published = batch
            .deliveries()
            .iter()
            .map(|delivery| delivery.published_at_ms);
        let answer = Answer::Inserted {
            receipt,
            close_reason: batch.close_reason(),
            oldest_published_ms: published.min().unwrap_or_default(),
        };
        Self::new(batch, answer, cache)
    }

    /// A batch that a look-up found in the table. The cache may not have been told.
    pub fn already_stored(batch: ClosedBatch, cache: Option<&Feed>) -> Self {
        Self::new(batch, Answer::AlreadyStored, cache)
    }

    fn new(batch: ClosedBatch, answer: Answer, cache: Option<&Feed>) -> Self {
        let trace = batch.trace().clone();
        let (rows, deliveries) = batch.into_parts();
        if let Some(cache) = cache {
            cache.offer(rows);
        }
        let deliveries = deliveries.into_iter();
        Self {
            trace,
            leases: deliveries.map(|delivery| delivery.lease).collect(),
            answer,
        }
    }

    /// What ClickHouse answered.
    pub fn answer(&self) -> &Answer {
        &self.answer
    }

    /// Its spans.
    pub fn trace(&self) -> &BatchTrace {
        &self.trace
    }

    /// Rows, always at least one.
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// The leases, to be settled.
    pub fn into_leases(self) -> Vec<Lease> {
        self.leases
    }
}
