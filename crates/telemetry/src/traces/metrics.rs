//! Metrics of traces.

use metric_kit::{IntCounter, IntCounterVec, metrics};

/// The queue had no room for a span.
pub(super) const QUEUE_FULL: &str = "queue_full";
/// The receiver did not take a span.
pub(super) const NOT_SENT: &str = "not_sent";

metrics! {
    /// Traces.
    pub struct TraceMetrics {
        /// Spans of traces that their receiver has taken.
        spans_exported_total: IntCounter;
        /// Spans that it has not, by reason: queue_full (otel.max_queued_spans), not_sent.
        spans_dropped_total: IntCounterVec, label "reason" in &[QUEUE_FULL, NOT_SENT];
    }
}

impl TraceMetrics {
    /// Counts spans that are not sent.
    pub(super) fn dropped(&self, count: u64, reason: &str) {
        let dropped = self.spans_dropped_total.with_label_values(&[reason]);
        dropped.inc_by(count);
    }
}
