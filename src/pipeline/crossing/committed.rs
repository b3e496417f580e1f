//! The proof that rows are in ClickHouse and the log says so, without which nothing is acked.

use std::time::Duration;

use claims::Standing;
use store::{Receipt, Rows};

use crate::pipeline::crossing::batch::{CloseReason, ClosedBatch};
use crate::pipeline::crossing::in_flight::Lease;
use crate::pipeline::port::claims_log::ClaimsLog;
use telemetry::traces::BatchTrace;

/// Messages whose rows are in ClickHouse, by the log. Made only where the log was asked.
#[derive(Debug)]
pub struct CommittedBatch {
    leases: Vec<Lease>,
    figures: InsertFigures,
    trace: BatchTrace,
}

/// Figures of an insert.
#[derive(Debug)]
pub struct InsertFigures {
    /// Rows.
    pub rows: usize,
    /// Bytes before compression.
    pub bytes: usize,
    /// From the first byte sent to the answer.
    pub duration: Duration,
    /// Reason for which the batch had closed.
    pub close_reason: CloseReason,
    /// Time at which JetStream stored its oldest message: milliseconds since the epoch.
    pub oldest_published_ms: i64,
}

impl CommittedBatch {
    /// Divides a batch after ClickHouse's receipt, by the log: the part with rows that is done,
    /// with its rows, and the rest.
    pub fn logged(
        process: &dyn ClaimsLog,
        batch: ClosedBatch,
        receipt: &Receipt,
    ) -> (Option<(Self, Rows)>, ClosedBatch) {
        let (done, rest) = process
            .with(|instance| batch.split(|one| instance.standing(one.position) == Standing::Done));
        if done.rows.is_empty() {
            return (None, if done.is_empty() { rest } else { done });
        }
        let published = done.deliveries.iter().map(|one| one.published_at_ms());
        let figures = InsertFigures {
            rows: done.rows.len(),
            bytes: receipt.bytes(),
            duration: receipt.duration(),
            close_reason: done.close_reason,
            oldest_published_ms: published.min().unwrap_or_default(),
        };
        debug_assert_eq!(
            done.rows.len(),
            done.deliveries.len(),
            "a row for each message"
        );
        debug_assert!(done.rows.len() <= receipt.rows(), "no more than were sent");
        let committed = Self {
            leases: done.deliveries.into_iter().map(|one| one.lease).collect(),
            figures,
            trace: done.trace,
        };
        (Some((committed, done.rows)), rest)
    }

    /// Figures of the insert.
    pub fn figures(&self) -> &InsertFigures {
        &self.figures
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
