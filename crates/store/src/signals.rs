//! Reading of signals. Clients' values go to ClickHouse as bound parameters, never as a part of the
//! statement.

use std::time::Duration;

use clickhouse::Row;
use clickhouse::query::Query;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::{Store, StoreError, StoredRow};

/// Format of times: RFC 3339 in UTC with milliseconds, the table's precision.
const TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
/// Time by which ClickHouse gives up before the client does.
const MARGIN: Duration = Duration::from_secs(1);
/// Error code of ClickHouse for a query that took too long:
/// <https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp>.
const TIMEOUT_EXCEEDED: u32 = 159;
/// Columns of [`StoredSignal`]. A long payload is left out.
const COLUMNS: &str = "toUnixTimestamp64Milli(event_time) AS event_time_ms,
    toUnixTimestamp64Nano(stream_created_at) AS stream_created_ns,
    stream_seq,
    CAST(event_type, 'String') AS kind,
    CAST(source_id, 'String') AS source,
    severity,
    toString(trace_id) AS trace,
    user_id,
    wallet_address,
    if(length(payload) <= {longest:UInt64}, payload, '') AS shown,
    length(payload) AS payload_bytes,
    extra,
    payload_faults,
    toUnixTimestamp64Milli(published_at) AS published_at_ms";
/// Newest event time first; the position orders signals of one millisecond.
const NEWEST_FIRST: &str = "ORDER BY event_time DESC, stream_created_at DESC, stream_seq DESC";
/// Number of rows, bound as a parameter.
const LIMIT: &str = "{limit:UInt64}";

/// A signal of the table. It serializes to the JSON that applications read.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct StoredSignal {
    /// Time of the event: milliseconds since the epoch.
    pub event_time_ms: i64,
    /// Creation time of its stream: nanoseconds since the epoch. With `stream_seq` it is the
    /// position.
    pub stream_created_ns: i64,
    /// Sequence in that stream.
    pub stream_seq: u64,
    /// Event type.
    #[serde(rename = "kind")]
    pub event_type: String,
    /// Name of the sender.
    #[serde(rename = "source")]
    pub source_id: String,
    /// Severity, 0 to 5.
    pub severity: u8,
    /// UUID with hyphens.
    #[serde(rename = "trace")]
    pub trace_id: String,
    /// User; empty if none is given.
    pub user_id: String,
    /// Wallet; empty if none is given.
    pub wallet_address: String,
    /// JSON object, byte for byte as received; empty if it exceeds the requested length.
    #[serde(rename = "shown")]
    pub payload: String,
    /// Size of the whole payload in bytes.
    pub payload_bytes: u64,
    /// Unknown top-level fields as a JSON object; empty if there are none.
    pub extra: String,
    /// Faults of the payload under its contract; empty if none is known.
    pub payload_faults: String,
    /// Time at which JetStream stored it: milliseconds since the epoch.
    pub published_at_ms: i64,
}

/// End of a page of signals: the position of its last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageCursor {
    /// Time of the signal's event: milliseconds since the epoch.
    pub event_time_ms: i64,
    /// Creation time of its stream: nanoseconds since the epoch.
    pub stream_created_ns: i64,
    /// Sequence in that stream.
    pub stream_seq: u64,
}

/// Selection of a wallet's signals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalletQuery<'a> {
    /// Address of the wallet, as in signals.
    pub address: &'a str,
    /// Earliest event time, inclusive: milliseconds since the epoch.
    pub from_ms: Option<i64>,
    /// Latest event time, exclusive.
    pub to_ms: Option<i64>,
    /// Event type.
    pub event_type: Option<&'a str>,
    /// End of the previous page.
    pub after: Option<PageCursor>,
    /// Most signals to return.
    pub limit: usize,
}

/// Limits of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// Longest time that the query may take.
    pub timeout: Duration,
    /// Longest payload to return, in bytes.
    pub longest_payload: usize,
}

impl StoredSignal {
    /// Converts a row of the table. Leaves out a longer payload.
    pub fn from_row(row: &StoredRow<'_>, longest_payload: usize) -> Self {
        let is_shown = row.payload.len() <= longest_payload;
        Self {
            event_time_ms: row.event_time_ms,
            stream_created_ns: row.stream_created_ns,
            stream_seq: row.stream_seq,
            event_type: row.event_type.to_owned(),
            source_id: row.source_id.to_owned(),
            severity: row.severity,
            trace_id: row.trace_id.to_string(),
            user_id: row.user_id.to_owned(),
            wallet_address: row.wallet_address.to_owned(),
            payload: if is_shown { row.payload } else { "" }.to_owned(),
            payload_bytes: row.payload.len() as u64,
            extra: row.extra.to_owned(),
            payload_faults: row.payload_faults.to_owned(),
            published_at_ms: row.published_at_ms,
        }
    }

    /// Returns its position.
    pub fn place(&self) -> PageCursor {
        PageCursor {
            event_time_ms: self.event_time_ms,
            stream_created_ns: self.stream_created_ns,
            stream_seq: self.stream_seq,
        }
    }
}

impl StoredRow<'_> {
    /// Returns its position.
    pub fn place(&self) -> PageCursor {
        PageCursor {
            event_time_ms: self.event_time_ms,
            stream_created_ns: self.stream_created_ns,
            stream_seq: self.stream_seq,
        }
    }
}

impl Store {
    /// Returns signals of a wallet, the newest first.
    ///
    /// # Errors
    /// Fails when ClickHouse fails, or does not answer in time.
    pub async fn signals_of_wallet(
        &self,
        asked: &WalletQuery<'_>,
        limits: ReadLimits,
    ) -> Result<Vec<StoredSignal>, StoreError> {
        let mut conditions = vec!["wallet_address = {wallet:String}"];
        let mut parameters: Vec<(&str, i64)> = Vec::new();
        if let Some(ms) = asked.from_ms {
            conditions.push("event_time >= fromUnixTimestamp64Milli({from:Int64}, 'UTC')");
            parameters.push(("from", ms));
        }
        if let Some(ms) = asked.to_ms {
            conditions.push("event_time < fromUnixTimestamp64Milli({to:Int64}, 'UTC')");
            parameters.push(("to", ms));
        }
        if asked.event_type.is_some() {
            conditions.push("event_type = {type:String}");
        }
        if let Some(place) = asked.after {
            // The first condition is implied by the second, but can use the index of times.
            conditions.push("event_time <= fromUnixTimestamp64Milli({at:Int64}, 'UTC')");
            conditions.push("(event_time, stream_created_at, stream_seq) < (fromUnixTimestamp64Milli({at:Int64}, 'UTC'), fromUnixTimestamp64Nano({created:Int64}, 'UTC'), {seq:UInt64})");
            parameters.push(("at", place.event_time_ms));
            parameters.push(("created", place.stream_created_ns));
        }
        let conditions = conditions.join(" AND ");
        let mut query = self
            .signals(&conditions, LIMIT, limits)
            .param("wallet", asked.address)
            .param("limit", asked.limit);
        for (name, value) in parameters {
            query = query.param(name, value);
        }
        if let Some(event_type) = asked.event_type {
            query = query.param("type", event_type);
        }
        if let Some(place) = asked.after {
            query = query.param("seq", place.stream_seq);
        }
        self.read(query, limits.timeout).await
    }

    /// Returns signals with a trace id, the newest first, at most `limit`.
    ///
    /// # Errors
    /// Fails when ClickHouse fails, or does not answer in time.
    pub async fn signals_of_trace(
        &self,
        trace_id: uuid::Uuid,
        limit: usize,
        limits: ReadLimits,
    ) -> Result<Vec<StoredSignal>, StoreError> {
        let query = self
            .signals("trace_id = {trace:UUID}", LIMIT, limits)
            .param("trace", trace_id.to_string())
            .param("limit", limit);
        self.read(query, limits.timeout).await
    }

    pub(super) fn signals(&self, conditions: &str, limit: &str, limits: ReadLimits) -> Query {
        let sql = format!(
            "SELECT {COLUMNS} FROM {} WHERE {conditions} {NEWEST_FIRST} LIMIT {limit}",
            self.table()
        );
        self.client
            .query_raw(&sql)
            .param("longest", limits.longest_payload)
    }

    /// Runs a query for a client, with a time limit. The query ends with its connection.
    pub(super) async fn read<T>(
        &self,
        query: Query,
        timeout: Duration,
    ) -> Result<Vec<T>, StoreError>
    where
        T: clickhouse::RowOwned + clickhouse::RowRead,
    {
        let query = query
            .with_setting("max_execution_time", timeout.as_secs_f64().to_string())
            .with_setting("cancel_http_readonly_queries_on_client_close", "1");
        tokio::time::timeout(timeout + MARGIN, query.fetch_all())
            .await
            .unwrap_or(Err(clickhouse::error::Error::TimedOut))
            .map_err(|failure| self.failed("read from", failure))
    }
}

impl StoreError {
    /// Reports whether ClickHouse answered, but the query exceeded its time limit.
    pub fn took_too_long(&self) -> bool {
        self.code() == Some(TIMEOUT_EXCEEDED)
    }
}

impl Serialize for StoredSignal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("stream_seq", &self.stream_seq)?;
        map.serialize_entry("event_time", &rfc3339(self.event_time_ms))?;
        map.serialize_entry("event_type", &self.event_type)?;
        map.serialize_entry("source_id", &self.source_id)?;
        map.serialize_entry("severity", &self.severity)?;
        map.serialize_entry("trace_id", &self.trace_id)?;
        for (name, value) in [
            ("user_id", &self.user_id),
            ("wallet_address", &self.wallet_address),
        ] {
            if !value.is_empty() {
                map.serialize_entry(name, value)?;
            }
        }
        if self.payload.is_empty() {
            map.serialize_entry("payload_bytes", &self.payload_bytes)?;
        } else {
            map.serialize_entry("payload", &raw(&self.payload)?)?;
        }
        if !self.extra.is_empty() {
            map.serialize_entry("extra", &raw(&self.extra)?)?;
        }
        if !self.payload_faults.is_empty() {
            map.serialize_entry("payload_faults", &self.payload_faults)?;
        }
        map.serialize_entry("published_at", &rfc3339(self.published_at_ms))?;
        map.end()
    }
}

/// Passes JSON on unchanged. Checks it, since other programs may write to the table.
fn raw<E: serde::ser::Error>(json: &str) -> Result<&RawValue, E> {
    serde_json::from_str(json).map_err(|error| {
        E::custom(format_args!(
            "a row of the table holds invalid JSON: {error}"
        ))
    })
}

/// Formats a time.
pub fn rfc3339(ms: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000)
        .ok()
        .and_then(|time| time.format(TIME).ok())
        // Beyond the year 9999, which the table cannot hold.
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> StoredSignal {
        StoredSignal {
            event_time_ms: 1_764_140_645_007,
            stream_created_ns: 1,
            stream_seq: 7,
            event_type: "transaction".to_owned(),
            source_id: "a \"b\"".to_owned(),
            severity: 3,
            trace_id: "5f64a4a6-3a2c-4b6e-9a53-0a6a3b2d6a11".to_owned(),
            user_id: String::new(),
            wallet_address: "0xab".to_owned(),
            payload: r#"{ "wei":115792089237316195423570985008687907853269984665640564039457, "a":1.50 }"#
                .to_owned(),
            payload_bytes: 81,
            extra: String::new(),
            payload_faults: String::new(),
            published_at_ms: -1,
        }
    }

    #[test]
    fn a_payload_is_returned_byte_for_byte() {
        assert_eq!(
            serde_json::to_string(&stored()).unwrap(),
            r#"{"stream_seq":7,"event_time":"2025-11-26T07:04:05.007Z","event_type":"transaction","source_id":"a \"b\"","severity":3,"trace_id":"5f64a4a6-3a2c-4b6e-9a53-0a6a3b2d6a11","wallet_address":"0xab","payload":{ "wei":115792089237316195423570985008687907853269984665640564039457, "a":1.50 },"published_at":"1969-12-31T23:59:59.999Z"}"#
        );
    }

    #[test]
    fn left_out_and_unknown_fields_are_reported() {
        let signal = StoredSignal {
            payload: String::new(),
            user_id: "usr_1".to_owned(),
            extra: r#"{"more":1}"#.to_owned(),
            payload_faults: "payload/score: is above 1".to_owned(),
            ..stored()
        };
        let json = serde_json::to_value(&signal).unwrap();
        assert_eq!(json["payload_bytes"], 81);
        assert!(json.get("payload").is_none());
        assert_eq!(json["user_id"], "usr_1");
        assert_eq!(json["extra"]["more"], 1);
        assert_eq!(json["payload_faults"], "payload/score: is above 1");
    }

    #[test]
    fn a_row_that_holds_no_json_is_an_error() {
        let signal = StoredSignal {
            payload: "{".to_owned(),
            ..stored()
        };
        let error = serde_json::to_string(&signal).unwrap_err().to_string();
        assert!(error.contains("holds invalid JSON"), "{error}");
    }
}
