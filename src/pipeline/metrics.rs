//! Metrics of the pipeline.

use std::time::Duration;

use metric_kit::{Histogram, IntCounter, IntCounterVec, IntGauge, SECONDS, metrics};
use store::Remedy;

use super::kinds::KindTally;

metrics! {
    /// Messages on their way to ClickHouse.
    pub struct PipelineMetrics {
        /// Messages that JetStream delivered, again or for the first time.
        signals_received_total: IntCounter;
        /// Bytes of these messages: subject, headers and body.
        signals_received_bytes_total: IntCounter;
        /// Messages that JetStream had delivered before.
        signals_redelivered_total: IntCounter;
        /// Signals that keep the rules, by type and severity; beyond 16 types, other.
        signals_valid_total: IntCounterVec, label "event_type", label "severity";
        /// Signals of these whose payload breaks its type's contract (validation.payload = warn),
        /// by type.
        signals_payload_faulty_total: IntCounterVec, label "event_type";
        /// To judge and encode the messages that arrived together, at most 512.
        decode_duration_seconds: Histogram, buckets SECONDS;
        /// From JetStream storing a signal to ClickHouse committing its row.
        end_to_end_latency_seconds: Histogram, buckets SECONDS;
        /// Messages between pull and ack in this instance, as of the last half second.
        in_flight_messages: IntGauge;
        /// Bytes of these messages.
        in_flight_bytes: IntGauge;
        /// Failed tries of an insert, by what helps: wait, halt (the operator), bisect (a refused
        /// value), late (it came outside its fence; its claim is settled), halve (less at a time).
        insert_retries_total: IntCounterVec, label "remedy" in &Remedy::NAMES;
        /// Inserts whose rows are in the table, but that a materialized view on it refused; the
        /// view lacks them.
        view_refusals_total: IntCounter;
        /// 1 while only one insert at a time tries whether ClickHouse is back.
        circuit_open: IntGauge;
        /// 1 while no signals are pulled, since ClickHouse needs the operator.
        pulling_halted: IntGauge;
    }
}

metrics! {
    /// The claims log.
    pub struct ClaimMetrics {
        /// Claims of all instances that are not done, as of the last half second.
        claims_open: IntGauge;
        /// Claims of other processes that this one has completed or tried to.
        claims_taken_over_total: IntCounter;
        /// Claims that were closed after their fence, by what the table has; the rest was claimed
        /// again.
        claims_settled_total: IntCounter;
        /// Claims that were divided, since ClickHouse refused the block or found it too large.
        claims_split_total: IntCounter;
        /// Messages in the claims log that no daemon published; they are skipped, and something
        /// else may publish to the log.
        claims_foreign_total: IntCounter;
        /// Deduplication tokens that must stay in the table's window, over all instances.
        claims_tokens: IntGauge;
        /// Tokens at which nothing more is claimed: half of the table's deduplication window,
        /// shared by the claims logs that write to the table.
        claims_tokens_limit: IntGauge;
        /// Messages that are lost: gone from the stream, and in neither table nor dead letters.
        /// They were claimed and not stored, or left the stream before they were claimed, by its
        /// max_age, at one of its bounds, or by hand.
        messages_lost_total: IntCounter;
    }
}

metrics! {
    /// The consumer.
    pub struct ConsumerMetrics {
        /// Messages delivered and not acked over all instances, as of the last seconds.
        consumer_ack_pending_messages: IntGauge;
        /// Messages in the stream that were not delivered yet, as of the last seconds.
        consumer_pending_messages: IntGauge;
        /// Age of the oldest message that is not acked; 0 when there is none.
        consumer_oldest_age_seconds: IntGauge;
        /// 1 while the daemon's consumer is paused and delivers nothing (nats consumer pause).
        consumer_paused: IntGauge;
    }
}

impl PipelineMetrics {
    /// Counts messages that were delivered together.
    pub fn received(&self, messages: u64, bytes: u64, redelivered: u64) {
        self.signals_received_total.inc_by(messages);
        self.signals_received_bytes_total.inc_by(bytes);
        self.signals_redelivered_total.inc_by(redelivered);
    }

    /// Counts a failed try of an insert.
    pub fn insert_failed(&self, remedy: Remedy) {
        self.insert_retries_total
            .with_label_values(&[remedy.name()])
            .inc();
    }

    /// Counts the latencies of a batch that was committed at `now_ms`: `published_ms` is when
    /// JetStream stored each of its signals. They are added up first, so that a signal costs no
    /// atomic operation.
    pub fn committed(&self, published_ms: impl Iterator<Item = i64>, now_ms: i64) {
        let latencies = self.end_to_end_latency_seconds.local();
        for published_ms in published_ms {
            // A clock that is behind NATS' gives no negative time.
            let latency_ms = now_ms.saturating_sub(published_ms).max(0);
            latencies.observe(latency_ms as f64 / 1000.0);
        }
        latencies.flush();
    }

    /// Counts a chunk of messages that was judged and encoded: its time, and its types and
    /// severities.
    pub fn decoded(&self, took: Duration, tally: &mut KindTally) {
        self.decode_duration_seconds.observe(took.as_secs_f64());
        tally.drain(
            |event_type, severity, count| {
                self.signals_valid_total
                    .with_label_values(&[event_type, severity])
                    .inc_by(count);
            },
            |event_type, count| {
                self.signals_payload_faulty_total
                    .with_label_values(&[event_type])
                    .inc_by(count);
            },
        );
    }
}
