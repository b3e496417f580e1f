//! Entries of the other servers, which the log is compared with after each connect.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use claims::{Position, StoredEntry};

/// Reason for which a server does not answer.
pub type HoldingsError = Box<dyn std::error::Error + Send + Sync>;

/// A page of stored entries.
#[derive(Debug, Clone, Default)]
pub struct HoldingsPage {
    /// Rows and dead letters.
    pub stored: Vec<StoredEntry>,
    /// Sequence from which more may follow; `None` after the last page.
    pub next: Option<u64>,
}

/// Bounds of the fences of unknown claims, in ClickHouse's seconds.
#[derive(Debug, Clone, Copy)]
pub struct Fences {
    /// Longest fence that any process gives a claim.
    pub longest: i64,
    /// Longest time between ClickHouse's check of a fence and a commit, plus the largest tolerated
    /// step back of its clock.
    pub late: i64,
}

/// The stream of signals, the table and the dead letters, from the log's point of view.
pub trait Holdings: Send + Sync {
    /// Returns the creation time of the stream of signals: nanoseconds since the epoch.
    fn stream(&self) -> impl Future<Output = Result<i64, HoldingsError>> + Send;

    /// Reports whether each message is in the stream with its publish time, or deleted from it.
    fn are_as_claimed(
        &self,
        messages: &BTreeSet<Position>,
    ) -> impl Future<Output = Result<bool, HoldingsError>> + Send;

    /// Returns rows of the table within ranges of sequences, the lowest first, and the newest dead
    /// letters within them.
    fn stored(
        &self,
        stream_created_ns: i64,
        ranges: &[RangeInclusive<u64>],
    ) -> impl Future<Output = Result<HoldingsPage, HoldingsError>> + Send;

    /// Returns the last message of the stream with a row or a dead letter.
    fn last_stored(
        &self,
        stream_created_ns: i64,
    ) -> impl Future<Output = Result<Option<Position>, HoldingsError>> + Send;

    /// Returns the bounds of the fences of any process's claims.
    fn fences(&self) -> impl Future<Output = Result<Fences, HoldingsError>> + Send;

    /// Returns ClickHouse's time in seconds since the epoch, the lowest of all live replicas.
    fn clock(&self) -> impl Future<Output = Result<i64, HoldingsError>> + Send;
}
