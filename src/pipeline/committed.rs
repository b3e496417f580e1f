//! The proof that rows are in ClickHouse, without which nothing is acked.

use std::time::Duration;

use crate::cache::Feed;
use crate::store::Receipt;
use crate::telemetry::traces::BatchTrace;

use super::batch::{CloseReason, ClosedBatch};
use super::found::Found;
use super::in_flight::Lease;

/// Messages whose rows are in ClickHouse. Made only of a [`Proof`] or of a look-up.
#[derive(Debug)]
pub(super) struct CommittedBatch {
    leases: Vec<Lease>,
    answer: Answer,
    trace: BatchTrace,
}

/// Proves that the rows of one batch are in the table: a receipt that is enough by itself, or one
/// whose rows a look-up has counted.
#[derive(Debug)]
pub(super) struct Proof(Receipt);

impl Proof {
    /// A receipt is proof by itself for the only try under its token: ClickHouse may have kept the
    /// token of an earlier one without its rows.
    ///
    /// # Errors
    /// The receipt, when the rows must be counted.
    pub fn of_only_try(batch: &ClosedBatch, receipt: Receipt) -> Result<Self, Receipt> {
        let is_only = batch.tries().none() && receipt.token() == batch.block().token();
        if is_only && receipt.is_exact() {
            Ok(Self(receipt))
        } else {
            Err(receipt)
        }
    }

    /// Any receipt is, once a look-up has found every row. Otherwise there is none.
    pub fn counted(batch: &ClosedBatch, receipt: Receipt, found: &Found) -> Option<Self> {
        let is_theirs = receipt.token() == batch.block().token();
        (is_theirs && found.has_all(batch)).then_some(Self(receipt))
    }

    /// ClickHouse's answer.
    pub fn receipt(&self) -> &Receipt {
        &self.0
    }
}

/// Size and duration of an insert, for the log and the metrics.
#[derive(Debug)]
pub(super) struct Figures {
    pub rows: usize,
    /// Before compression.
    pub bytes: usize,
    pub duration: Duration,
}

/// The way in which the rows came into the table.
#[derive(Debug)]
pub(super) enum Answer {
    /// The insert is committed.
    Inserted {
        /// The insert's figures.
        receipt: Figures,
        /// Why the batch had closed.
        close_reason: CloseReason,
        /// When JetStream stored its oldest message: milliseconds since the epoch.
        oldest_published_ms: i64,
    },
    /// The rows were there, from an insert whose acks were lost.
    AlreadyStored,
}

impl CommittedBatch {
    /// A batch that was inserted. The cache gets its rows.
    pub fn inserted(batch: ClosedBatch, proof: Proof, cache: Option<&Feed>) -> Self {
        let published = batch
            .deliveries()
            .iter()
            .map(|delivery| delivery.published_at_ms);
        let Proof(receipt) = proof;
        let answer = Answer::Inserted {
            receipt: Figures {
                rows: receipt.rows(),
                bytes: receipt.bytes(),
                duration: receipt.duration(),
            },
            close_reason: batch.close_reason(),
            oldest_published_ms: published.min().unwrap_or_default(),
        };
        Self::new(batch, answer, cache)
    }

    /// The part of a batch that a look-up found in the table, and the rest. The cache may lack them.
    pub fn found(
        batch: ClosedBatch,
        found: &Found,
        cache: Option<&Feed>,
    ) -> (Option<Self>, Option<ClosedBatch>) {
        let (known, rest) = batch.split(|_, delivery| found.has(delivery));
        let known = known.map(|known| Self::new(known, Answer::AlreadyStored, cache));
        (known, rest)
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

    /// The way in which the rows came into the table.
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
