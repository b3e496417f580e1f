//! Metrics of batches and dead letters.

use metric_kit::{Histogram, IntCounter, IntCounterVec, SECONDS, metrics};

use super::happened::Inserted;

/// Rows of a batch.
const ROWS: &[f64] = &[
    1.0, 10.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6,
];
/// Bytes of a batch: powers of 4 from 1 KiB to 256 MiB.
const BYTES: &[f64] = &[
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
];
/// Codes of the reasons for a dead letter.
const REASONS: &[&str] = &[
    "too_large",
    "not_utf8",
    "not_json",
    "breaks_rules",
    "breaks_contract",
    "refused_by_clickhouse",
    "max_deliveries",
];

metrics! {
    /// Committed batches and dead letters.
    pub struct EventMetrics {
        /// Rows that ClickHouse committed.
        signals_inserted_total: IntCounter;
        /// Signals that were acked without an insert, since ClickHouse had them.
        signals_duplicate_total: IntCounter;
        /// Messages that went to the dead letters, by reason.
        signals_dead_lettered_total: IntCounterVec, label "reason" in REASONS;
        /// Batches that ClickHouse committed.
        batches_inserted_total: IntCounter;
        /// Encoded bytes that ClickHouse committed, before compression.
        inserted_bytes_total: IntCounter;
        /// Rows of a committed batch.
        batch_rows: Histogram, buckets ROWS;
        /// Encoded bytes of a committed batch, before compression.
        batch_bytes: Histogram, buckets BYTES;
        /// From the first byte of a batch sent to ClickHouse's answer.
        insert_duration_seconds: Histogram, buckets SECONDS;
    }
}

impl EventMetrics {
    /// Counts a committed batch.
    pub fn inserted(&self, batch: &Inserted) {
        self.signals_inserted_total.inc_by(batch.count as u64);
        self.batches_inserted_total.inc();
        self.inserted_bytes_total.inc_by(batch.bytes as u64);
        self.batch_rows.observe(batch.count as f64);
        self.batch_bytes.observe(batch.bytes as f64);
        self.insert_duration_seconds
            .observe(batch.duration.as_secs_f64());
    }

    /// Counts a message that its dead letter has replaced.
    pub fn dead_lettered(&self, reason: &str) {
        self.signals_dead_lettered_total
            .with_label_values(&[reason])
            .inc();
    }
}
