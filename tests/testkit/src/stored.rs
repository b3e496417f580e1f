//! A signal as it is in ClickHouse.

use clickhouse::Row;
use serde::Deserialize;

use crate::clickhouse::ClickHouse;

/// A row, without the times that the servers gave it.
#[derive(Debug, Clone, PartialEq, Row, Deserialize)]
pub struct Stored {
    /// Milliseconds since the epoch.
    pub event_time: i64,
    pub source_id: String,
    pub event_type: String,
    pub payload: String,
    pub severity: u8,
    #[serde(with = "clickhouse::serde::uuid")]
    pub trace_id: uuid::Uuid,
    pub user_id: String,
    pub wallet_address: String,
    pub extra: String,
    pub subject: String,
    pub stream_seq: u64,
}

/// Every row, in the order of the stream.
pub async fn stored(clickhouse: &ClickHouse) -> Vec<Stored> {
    let sql = "SELECT toUnixTimestamp64Milli(event_time) AS event_time, source_id, event_type, \
               payload, severity, trace_id, user_id, wallet_address, extra, \
               toString(subject) AS subject, stream_seq FROM raw_signals ORDER BY stream_seq";
    clickhouse.rows(sql).await
}
