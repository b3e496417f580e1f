//! Committed batches and stored dead letters, for the log, the metrics and the page.

use std::time::Duration;

/// A batch that ClickHouse has committed.
#[derive(Debug, Clone, Copy)]
pub struct Inserted {
    /// Its rows.
    pub count: usize,
    /// Rows committed since the start, this batch included.
    pub total: u64,
    /// Encoded bytes, before compression.
    pub bytes: usize,
    /// From the first byte sent to the answer.
    pub duration: Duration,
    /// Time at which JetStream stored its oldest message: milliseconds since the epoch.
    pub oldest_published_ms: i64,
    /// Reason for which it closed.
    pub close_reason: &'static str,
}

/// A message that its dead letter has replaced.
#[derive(Debug, Clone)]
pub struct DeadLetteredEvent {
    /// The reason's code.
    pub reason: &'static str,
    /// The reason in words.
    pub error: String,
    /// The subject it was published on.
    pub subject: String,
    /// Its sequence in the stream of signals.
    pub stream_seq: u64,
    /// The letter's sequence in the stream of dead letters.
    pub dead_letter_seq: u64,
}
