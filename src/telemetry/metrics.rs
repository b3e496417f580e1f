//! Every figure that the daemon tells, in the conventions of Prometheus:
//! <https://prometheus.io/docs/practices/naming/>. Made once by `run` and passed along.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::stream::State;
use prometheus::{
    Encoder, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    TextEncoder,
};

use crate::store::Remedy;

use super::events::Inserted;
use super::figures::Figures;
use super::kinds::KindTally;
use super::maker::Maker;

/// Seconds: of an insert, of decoding, from publish to commit. From 50 µs to 5 minutes, each
/// about 2.2 times the one before.
const SECONDS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];
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
/// Why a message may be dead, so that each has its series from the start.
const REASONS: [&str; 7] = [
    "too_large",
    "not_utf8",
    "not_json",
    "breaks_rules",
    "breaks_contract",
    "refused_by_clickhouse",
    "max_deliveries",
];

/// Every metric. Each field is the metric of the same name behind `risksignal_`.
#[derive(Debug)]
#[allow(missing_docs)] // The help of each, in `new`, says what it is.
pub struct Metrics {
    registry: Registry,
    pub signals_received_total: IntCounter,
    pub signals_received_bytes_total: IntCounter,
    pub signals_redelivered_total: IntCounter,
    pub signals_inserted_total: IntCounter,
    pub signals_duplicate_total: IntCounter,
    pub signals_dead_lettered_total: IntCounterVec,
    pub signals_valid_total: IntCounterVec,
    pub signals_payload_faulty_total: IntCounterVec,
    pub batches_inserted_total: IntCounter,
    pub inserted_bytes_total: IntCounter,
    pub batch_rows: Histogram,
    pub batch_bytes: Histogram,
    pub insert_duration_seconds: Histogram,
    pub decode_duration_seconds: Histogram,
    pub end_to_end_latency_seconds: Histogram,
    pub insert_retries_total: IntCounterVec,
    pub view_refusals_total: IntCounter,
    pub claims_open: IntGauge,
    pub claims_taken_over_total: IntCounter,
    pub claims_settled_total: IntCounter,
    pub claims_split_total: IntCounter,
    pub claims_foreign_total: IntCounter,
    pub claims_tokens: IntGauge,
    pub claims_tokens_limit: IntGauge,
    pub messages_lost_total: IntCounter,
    pub circuit_open: IntGauge,
    pub pulling_halted: IntGauge,
    pub in_flight_messages: IntGauge,
    pub in_flight_bytes: IntGauge,
    pub consumer_ack_pending_messages: IntGauge,
    pub consumer_pending_messages: IntGauge,
    pub consumer_oldest_age_seconds: IntGauge,
    pub stream_messages: IntGaugeVec,
    pub stream_last_sequence: IntGaugeVec,
    pub stream_bytes: IntGaugeVec,
    pub stream_limit_bytes: IntGaugeVec,
    pub jetstream_bytes: IntGaugeVec,
    pub jetstream_limit_bytes: IntGaugeVec,
    pub storage_level: IntGaugeVec,
    pub storage_full_seconds: IntGaugeVec,
    pub history_purged_messages_total: IntCounter,
    pub history_purged_bytes_total: IntCounter,
    pub history_held: IntGaugeVec,
    pub history_never_purged: IntGauge,
    pub nats_reconnects_total: IntCounter,
    pub spans_exported_total: IntCounter,
    pub spans_dropped_total: IntCounterVec,
    pub ready: IntGauge,
    pub http_requests_total: IntCounterVec,
    pub http_request_duration_seconds: HistogramVec,
    pub http_signals_total: IntCounterVec,
    pub http_unanswered_signals: IntGauge,
    pub connections_cut_total: IntCounterVec,
    pub cache_fresh: IntGauge,
    pub cache_signals_total: IntCounterVec,
    pub cache_wallets_filled_total: IntCounter,
    pub cache_reads_total: IntCounterVec,
}

#[rustfmt::skip]
impl Metrics {
    /// All metrics, at zero.
    ///
    /// # Errors
    /// When two have the same name, or one is malformed: a defect.
    pub fn new() -> prometheus::Result<Arc<Self>> {
        let make = Maker(Registry::new());
        make.process()?;
        let metrics = Self {
            signals_received_total: make.counter("signals_received_total", "Messages that JetStream delivered, again or for the first time")?,
            signals_received_bytes_total: make.counter("signals_received_bytes_total", "Bytes of these messages: subject, headers and body")?,
            signals_redelivered_total: make.counter("signals_redelivered_total", "Messages that JetStream had delivered before")?,
            signals_inserted_total: make.counter("signals_inserted_total", "Rows that ClickHouse committed")?,
            signals_duplicate_total: make.counter("signals_duplicate_total", "Signals that were acked without an insert, since ClickHouse had them")?,
            signals_dead_lettered_total: make.counters("signals_dead_lettered_total", "Messages that went to the dead letters, by reason", &["reason"])?,
            signals_valid_total: make.counters("signals_valid_total", "Signals that keep the rules, by type and severity; beyond 16 types, other", &["event_type", "severity"])?,
            signals_payload_faulty_total: make.counters("signals_payload_faulty_total", "Signals of these whose payload breaks its type's contract (validation.payload = warn), by type", &["event_type"])?,
            batches_inserted_total: make.counter("batches_inserted_total", "Batches that ClickHouse committed")?,
            inserted_bytes_total: make.counter("inserted_bytes_total", "Encoded bytes that ClickHouse committed, before compression")?,
            batch_rows: make.histogram("batch_rows", "Rows of a committed batch", ROWS)?,
            batch_bytes: make.histogram("batch_bytes", "Encoded bytes of a committed batch, before compression", BYTES)?,
            insert_duration_seconds: make.histogram("insert_duration_seconds", "From the first byte of a batch sent to ClickHouse's answer", SECONDS)?,
            decode_duration_seconds: make.histogram("decode_duration_seconds", "To judge and encode the messages that arrived together, at most 512", SECONDS)?,
            end_to_end_latency_seconds: make.histogram("end_to_end_latency_seconds", "From JetStream storing a signal to ClickHouse committing its row", SECONDS)?,
            insert_retries_total: make.counters("insert_retries_total", "Failed tries of an insert, by what helps: wait, halt (the operator), bisect (a refused value), late (it came outside its fence; its claim is settled), halve (less at a time)", &["remedy"])?,
            view_refusals_total: make.counter("view_refusals_total", "Inserts whose rows are in the table, but that a materialized view on it refused; the view lacks them")?,
            claims_open: make.gauge("claims_open", "Claims of all instances that are not done, as of the last half second")?,
            claims_taken_over_total: make.counter("claims_taken_over_total", "Claims of other processes that this one has completed or tried to")?,
            claims_settled_total: make.counter("claims_settled_total", "Claims that were closed after their fence, by what the table has; the rest was claimed again")?,
            claims_split_total: make.counter("claims_split_total", "Claims that were divided, since ClickHouse refused the block or found it too large")?,
            claims_foreign_total: make.counter("claims_foreign_total", "Messages in the claims log that no daemon published; they are skipped, and something else may publish to the log")?,
            claims_tokens: make.gauge("claims_tokens", "Deduplication tokens that must stay in the table's window, over all instances")?,
            claims_tokens_limit: make.gauge("claims_tokens_limit", "Tokens at which nothing more is claimed: half of the table's deduplication window, shared by the claims logs that write to the table")?,
            messages_lost_total: make.counter("messages_lost_total", "Messages that were recorded as lost: claimed, found in neither table nor dead letters, and gone from the stream")?,
            circuit_open: make.gauge("circuit_open", "1 while only one insert at a time tries whether ClickHouse is back")?,
            pulling_halted: make.gauge("pulling_halted", "1 while no signals are pulled, since ClickHouse needs the operator")?,
            in_flight_messages: make.gauge("in_flight_messages", "Messages between pull and ack in this instance, as of the last half second")?,
            in_flight_bytes: make.gauge("in_flight_bytes", "Bytes of these messages")?,
            consumer_ack_pending_messages: make.gauge("consumer_ack_pending_messages", "Messages delivered and not acked over all instances, as of the last seconds")?,
            consumer_pending_messages: make.gauge("consumer_pending_messages", "Messages in the stream that were not delivered yet, as of the last seconds")?,
            consumer_oldest_age_seconds: make.gauge("consumer_oldest_age_seconds", "Age of the oldest message that is not acked; 0 when there is none")?,
            stream_messages: make.gauges("stream_messages", "Messages in the stream of signals, in that of dead letters and in the claims log, as of the last seconds", &["stream"])?,
            stream_last_sequence: make.gauges("stream_last_sequence", "Sequence of the newest message: how many were ever published, as of the last seconds", &["stream"])?,
            stream_bytes: make.gauges("stream_bytes", "Bytes of these messages as JetStream counts them", &["stream"])?,
            stream_limit_bytes: make.gauges("stream_limit_bytes", "Bytes at which the stream refuses more; absent without a bound (max_bytes)", &["stream"])?,
            jetstream_bytes: make.gauges("jetstream_bytes", "Bytes that all streams of the NATS account use, by storage (file or memory), as of the last seconds", &["storage"])?,
            jetstream_limit_bytes: make.gauges("jetstream_limit_bytes", "Bytes at which JetStream refuses more from the account; absent without a bound", &["storage"])?,
            storage_level: make.gauges("storage_level", "Fullness by storage (a stream, the account, nats-server, ClickHouse's disk): 0 has room, 1 is nearly full or full within a day, 2 is full or refuses writes", &["storage"])?,
            storage_full_seconds: make.gauges("storage_full_seconds", "Time until the storage is full at the present growth; absent where it does not grow or has no bound", &["storage"])?,
            history_purged_messages_total: make.counter("history_purged_messages_total", "Committed messages that this instance has purged from the stream of signals (stream.keep)")?,
            history_purged_bytes_total: make.counter("history_purged_bytes_total", "Bytes of these messages")?,
            history_held: make.gauges("history_held", "1 where a durable consumer or a claims log holds back more than half of stream.keep; kind is own, consumer or claims_log", &["stream", "holder", "kind"])?,
            history_never_purged: make.gauge("history_never_purged", "1 while committed history is never purged, since stream.keep is not set and this release did not create the stream")?,
            nats_reconnects_total: make.counter("nats_reconnects_total", "Connections to NATS that were made anew")?,
            spans_exported_total: make.counter("spans_exported_total", "Spans of traces that their receiver has taken")?,
            spans_dropped_total: make.counters("spans_dropped_total", "Spans that it has not, by reason: queue_full (otel.max_queued_spans), not_sent", &["reason"])?,
            ready: make.gauge("ready", "1 while /readyz says so")?,
            http_requests_total: make.counters("http_requests_total", "Requests that were answered on serve.listen, by route (other where there is none) and status", &["route", "status"])?,
            http_request_duration_seconds: make.histograms("http_request_duration_seconds", "From a request's headers to its answer's, by route", &["route"], SECONDS)?,
            http_signals_total: make.counters("http_signals_total", "Signals that came over HTTP, by what became of them: stored, duplicate, refused (for good) or put_off (to be sent again)", &["result"])?,
            http_unanswered_signals: make.gauge("http_unanswered_signals", "Signals that came over HTTP and have no answer of JetStream yet")?,
            connections_cut_total: make.counters("connections_cut_total", "Connections that the daemon closed before their clients were done, by the setting of their listener and by reason: room (another client came, and this one kept the daemon waiting longest), share (its client has as many requests under way as it may have connections), unread (an answer was not read in time)", &["listener", "reason"])?,
            cache_fresh: make.gauge("cache_fresh", "1 while this daemon tells Redis all that it commits, and no other daemon is missed")?,
            cache_signals_total: make.counters("cache_signals_total", "Committed signals with a wallet, by what became of them in Redis: fed, absent (the wallet is brought from ClickHouse), busy (more signals than Redis keeps); and lost, with or without a wallet, while Redis was away or slow", &["result"])?,
            cache_wallets_filled_total: make.counter("cache_wallets_filled_total", "Wallets that were brought to Redis from ClickHouse in the background")?,
            cache_reads_total: make.counters("cache_reads_total", "Wallets that clients asked for, by what Redis knew: hit, or ClickHouse was asked: miss, busy (more signals than Redis keeps), stale, away", &["result"])?,
            registry: make.0,
        };
        metrics.begin_series();
        Ok(Arc::new(metrics))
    }

    /// Begins the series of each label that is known, at zero.
    fn begin_series(&self) {
        let remedies = [Remedy::Wait, Remedy::Halt, Remedy::Bisect, Remedy::Late, Remedy::Halve].map(remedy_name);
        for (counters, labels) in [
            (&self.signals_dead_lettered_total, &REASONS[..]),
            (&self.insert_retries_total, &remedies),
            (&self.spans_dropped_total, &["queue_full", "not_sent"]),
            (&self.cache_signals_total, &["fed", "absent", "busy", "lost"]),
            (&self.cache_reads_total, &["hit", "miss", "busy", "stale", "away"]),
        ] {
            for label in labels {
                counters.with_label_values(&[label]);
            }
        }
        for listener in ["ops.listen", "serve.listen"] {
            for reason in ["room", "share", "unread"] {
                self.connections_cut_total.with_label_values(&[listener, reason]);
            }
        }
    }
}

impl Metrics {
    /// Messages that were delivered together.
    pub fn received(&self, messages: u64, bytes: u64, redelivered: u64) {
        self.signals_received_total.inc_by(messages);
        self.signals_received_bytes_total.inc_by(bytes);
        self.signals_redelivered_total.inc_by(redelivered);
    }

    /// A batch that is committed.
    pub fn inserted(&self, batch: &Inserted) {
        self.signals_inserted_total.inc_by(batch.count as u64);
        self.batches_inserted_total.inc();
        self.inserted_bytes_total.inc_by(batch.bytes as u64);
        self.batch_rows.observe(batch.count as f64);
        self.batch_bytes.observe(batch.bytes as f64);
        self.insert_duration_seconds
            .observe(batch.duration.as_secs_f64());
    }

    /// A message that its dead letter has replaced.
    pub fn dead_lettered(&self, reason: &str) {
        self.signals_dead_lettered_total
            .with_label_values(&[reason])
            .inc();
    }

    /// Spans that are not sent.
    pub fn spans_dropped(&self, count: u64, reason: &str) {
        let dropped = self.spans_dropped_total.with_label_values(&[reason]);
        dropped.inc_by(count);
    }

    /// An insert that failed.
    pub fn insert_failed(&self, remedy: Remedy) {
        self.insert_retries_total
            .with_label_values(&[remedy_name(remedy)])
            .inc();
    }

    /// When JetStream stored the signals of a batch that is committed at `now_ms`. They are
    /// counted aside and added at once, so that a signal costs no atomic operation.
    pub fn committed(&self, published_ms: impl Iterator<Item = i64>, now_ms: i64) {
        let latencies = self.end_to_end_latency_seconds.local();
        for published_ms in published_ms {
            // A clock that is behind NATS' gives no negative time.
            let latency_ms = now_ms.saturating_sub(published_ms).max(0);
            latencies.observe(latency_ms as f64 / 1000.0);
        }
        latencies.flush();
    }

    /// A chunk of messages was judged and encoded: how long that took, and what was counted of
    /// types and severities.
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

    /// A request was answered.
    pub fn http_answered(&self, route: &str, status: &str, took: Duration) {
        self.http_requests_total
            .with_label_values(&[route, status])
            .inc();
        self.http_request_duration_seconds
            .with_label_values(&[route])
            .observe(took.as_secs_f64());
    }

    /// What became of a signal that came over HTTP.
    pub fn http_signal(&self, result: &str) {
        self.http_signals_total.with_label_values(&[result]).inc();
    }

    /// What became of committed signals in Redis.
    pub fn cache_signals(&self, result: &str, count: usize) {
        let signals = self.cache_signals_total.with_label_values(&[result]);
        signals.inc_by(count as u64);
    }

    /// What Redis knew of a wallet.
    pub fn cache_read(&self, result: &str) {
        self.cache_reads_total.with_label_values(&[result]).inc();
    }

    /// Connections to NATS that were made so far.
    pub fn nats_connected(&self, connects: u64) {
        let again = connects.saturating_sub(1);
        let known = self.nats_reconnects_total.get();
        self.nats_reconnects_total
            .inc_by(again.saturating_sub(known));
    }

    /// What a stream holds, and the size at which it refuses more, if it has one.
    pub fn stream(&self, name: &str, state: &State, limit_bytes: Option<i64>) {
        for (gauges, value) in [
            (&self.stream_messages, Some(signed(state.messages))),
            (
                &self.stream_last_sequence,
                Some(signed(state.last_sequence)),
            ),
            (&self.stream_bytes, Some(signed(state.bytes))),
            (&self.stream_limit_bytes, limit_bytes),
        ] {
            set_or_remove(gauges, name, value);
        }
    }

    /// What the streams of an account use of a storage, and its bound, if there is one.
    pub fn jetstream(&self, storage: &str, bytes: u64, limit_bytes: Option<i64>) {
        set_or_remove(&self.jetstream_bytes, storage, Some(signed(bytes)));
        set_or_remove(&self.jetstream_limit_bytes, storage, limit_bytes);
    }

    /// All of it in Prometheus' text format, version 0.0.4.
    ///
    /// # Errors
    /// When a metric has no value to tell: a defect.
    pub fn render(&self) -> prometheus::Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// The same for `/statusz`.
    pub fn snapshot(&self) -> Figures {
        Figures::of(&self.registry.gather())
    }
}

/// Sets the series of one label, or takes it away where there is nothing to tell.
pub(super) fn set_or_remove(gauges: &IntGaugeVec, label: &str, value: Option<i64>) {
    match value {
        Some(value) => gauges.with_label_values(&[label]).set(value),
        // An error means that there is no such series.
        None => drop(gauges.remove_label_values(&[label])),
    }
}

/// A count as a gauge has it.
pub fn signed(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

fn remedy_name(remedy: Remedy) -> &'static str {
    match remedy {
        Remedy::Wait => "wait",
        Remedy::Halt => "halt",
        Remedy::Bisect => "bisect",
        Remedy::Late => "late",
        Remedy::Halve => "halve",
    }
}
