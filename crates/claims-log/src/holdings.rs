//! What the other servers have, which the log is held against after each connect.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use claims::{Position, Stored};

/// Why a server cannot be asked.
pub type HoldingsError = Box<dyn std::error::Error + Send + Sync>;

/// A part of what is stored.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Rows and dead letters.
    pub stored: Vec<Stored>,
    /// The sequence from which on there may be more; `None` when that is all.
    pub next: Option<u64>,
}

/// Bounds of the fences of claims that nobody remembers. In ClickHouse's seconds.
#[derive(Debug, Clone, Copy)]
pub struct Fences {
    /// The longest fence that any process gives a claim.
    pub longest: i64,
    /// The longest time between ClickHouse's look at a fence and a commit, with the largest step
    /// back of its clock that is tolerated.
    pub late: i64,
}

/// The stream of signals, the table and the dead letters, as far as the log is concerned.
pub trait Holdings: Send + Sync {
    /// Creation of the stream of signals: nanoseconds since the epoch.
    fn stream(&self) -> impl Future<Output = Result<i64, HoldingsError>> + Send;

    /// Reports whether each message is in the stream with its publish time, or deleted from it.
    fn are_as_claimed(
        &self,
        messages: &BTreeSet<Position>,
    ) -> impl Future<Output = Result<bool, HoldingsError>> + Send;

    /// Rows of the table within ranges of sequences, those with the lowest sequences first, and
    /// the newest dead letters within them.
    fn stored(
        &self,
        stream_created_ns: i64,
        ranges: &[RangeInclusive<u64>],
    ) -> impl Future<Output = Result<Page, HoldingsError>> + Send;

    /// The last message of the stream that the table or the dead letters have.
    fn last_stored(
        &self,
        stream_created_ns: i64,
    ) -> impl Future<Output = Result<Option<Position>, HoldingsError>> + Send;

    /// Reads the bounds of the fences of all claims, whichever process published them.
    fn fences(&self) -> impl Future<Output = Result<Fences, HoldingsError>> + Send;

    /// ClickHouse's seconds since the epoch: the lowest time that all live replicas answer.
    fn clock(&self) -> impl Future<Output = Result<i64, HoldingsError>> + Send;
}
