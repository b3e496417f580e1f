//! Metrics of streams and storages.

use async_nats::jetstream::stream::State;
use metric_kit::signed;
use metric_kit::{IntGaugeVec, metrics};

use super::StorageFill;

metrics! {
    /// Streams and storage.
    pub struct StorageMetrics {
        /// Messages in the stream of signals, in that of dead letters and in the claims log, as of
        /// the last seconds.
        stream_messages: IntGaugeVec, label "stream";
        /// Sequence of the newest message: how many were ever published, as of the last seconds.
        stream_last_sequence: IntGaugeVec, label "stream";
        /// Bytes of these messages as JetStream counts them.
        stream_bytes: IntGaugeVec, label "stream";
        /// Bytes at which the stream refuses more; absent without a bound (max_bytes).
        stream_limit_bytes: IntGaugeVec, label "stream";
        /// Bytes that all streams of the NATS account use, by storage (file or memory), as of the
        /// last seconds.
        jetstream_bytes: IntGaugeVec, label "storage";
        /// Bytes at which JetStream refuses more from the account; absent without a bound.
        jetstream_limit_bytes: IntGaugeVec, label "storage";
        /// Fullness by storage (a stream, the account, nats-server, ClickHouse's disk): 0 has room,
        /// 1 is nearly full or full within a day, 2 is full or refuses writes.
        storage_level: IntGaugeVec, label "storage";
        /// Time until the storage is full at the present growth; absent where it does not grow or
        /// has no bound.
        storage_full_seconds: IntGaugeVec, label "storage";
    }
}

impl StorageMetrics {
    /// Sets the content of a stream, and the size at which it refuses more, if it has one.
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

    /// Sets what the streams of an account use of a storage, and its bound, if there is one.
    pub fn jetstream(&self, storage: &str, bytes: u64, limit_bytes: Option<i64>) {
        set_or_remove(&self.jetstream_bytes, storage, Some(signed(bytes)));
        set_or_remove(&self.jetstream_limit_bytes, storage, limit_bytes);
    }

    /// Sets the fullness of a storage.
    pub fn storage(&self, storage: &StorageFill) {
        let level = storage.level() as i64;
        set_or_remove(&self.storage_level, &storage.name, Some(level));
        let seconds = storage.fullness.seconds_until_full.map(signed);
        set_or_remove(&self.storage_full_seconds, &storage.name, seconds);
    }
}

/// Sets the series of one label, or removes it where there is no value.
fn set_or_remove(gauges: &IntGaugeVec, label: &str, value: Option<i64>) {
    match value {
        Some(value) => gauges.with_label_values(&[label]).set(value),
        // An error means that there is no such series.
        None => drop(gauges.remove_label_values(&[label])),
    }
}
