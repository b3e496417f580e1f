//! The proof that rows are in ClickHouse and the log says so, without which nothing is acked.

use std::time::Duration;

use claims::Standing;
use claims_log::Process;

use crate::cache::Feed;
use crate::store::Receipt;
use crate::telemetry::traces::BatchTrace;

use super::batch::{CloseReason, ClosedBatch};
use super::in_flight::Lease;

/// Messages whose rows are in ClickHouse, by the log. Made only where the log was asked.
#[derive(Debug)]
pub(super) struct CommittedBatch {
    leases: Vec<Lease>,
    figures: Figures,
    trace: BatchTrace,
}

/// Figures of an insert.
#[derive(Debug)]
pub(super) struct Figures {
    /// Rows.
    pub rows: usize,
    /// Bytes before compression.
    pub bytes: usize,
    /// From the first byte sent to the answer.
    pub duration: Duration,
    /// Why the batch had closed.
    pub close_reason: CloseReason,
    /// When JetStream stored its oldest message: milliseconds since the epoch.
    pub oldest_published_ms: i64,
}

impl CommittedBatch {
    /// The part of a batch with rows that the log says is done, after ClickHouse's receipt, and
    /// the rest. The cache gets the rows.
    pub fn logged(
        process: &Process,
        batch: ClosedBatch,
        receipt: &Receipt,
        cache: Option<&Feed>,
    ) -> (Option<Self>, ClosedBatch) {
        let (done, rest) = process
            .with(|instance| batch.split(|one| instance.standing(one.position) == Standing::Done));
        if done.rows.is_empty() {
            return (None, if done.is_empty() { rest } else { done });
        }
        let published = done.deliveries.iter().map(|one| one.published_at_ms());
        let figures = Figures {
            rows: done.rows.len(),
            bytes: receipt.bytes(),
            duration: receipt.duration(),
            close_reason: done.close_reason,
            oldest_published_ms: published.min().unwrap_or_default(),
        };
        if let Some(cache) = cache {
            cache.offer(done.rows);
        }
        let committed = Self {
            leases: done.deliveries.into_iter().map(|one| one.lease).collect(),
            figures,
            trace: done.trace,
        };
        (Some(committed), rest)
    }

    /// Figures of the insert.
    pub fn figures(&self) -> &Figures {
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
