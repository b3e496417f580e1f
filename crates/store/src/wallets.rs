//! Rows of wallets in the table. Addresses go to ClickHouse as bound parameters, never as a part of
//! the statement.

use std::collections::HashMap;
use std::time::Duration;

use clickhouse::Row;
use clickhouse::query::Query;
use futures_util::try_join;
use serde::Deserialize;

use super::{PageCursor, ReadLimits, Store, StoreError, StoredSignal};
use crate::wallet::{
    Counted, LAST_SIGNALS, LONGEST_PAYLOAD, LONGEST_SNAPSHOT, SNAPSHOT, SignalCount, WINDOWS,
    WalletRows, horizon_ms,
};

/// Settings of background look-ups: one core, since inserts come first.
const BACKGROUND: [(&str, &str); 2] = [("max_threads", "1"), ("priority", "10")];

#[derive(Debug, Row, Deserialize)]
struct Seen {
    wallet_address: String,
    first_ms: i64,
    last_ms: i64,
    counted: Vec<(i64, i64, u64, u8, String)>,
}

#[derive(Debug, Row, Deserialize)]
struct Counts {
    kind: String,
    severity: u8,
    in_shorter: u64,
    in_longer: u64,
}

/// Purpose of a query, which limits its cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryPurpose {
    /// A client that waits this long for the answer.
    Client(Duration),
    /// The cache, which waits this long and must not delay inserts.
    Cache(Duration),
}

impl QueryPurpose {
    fn timeout(self) -> Duration {
        match self {
            Self::Client(timeout) | Self::Cache(timeout) => timeout,
        }
    }
}

impl Store {
    /// Returns the rows of each wallet in the table, with at most `counted_max` signals of its
    /// longest window. Rows committed meanwhile may appear in one part of the answer and not in
    /// another.
    ///
    /// # Errors
    /// Fails when ClickHouse fails, or does not answer in time.
    /// When ClickHouse fails, or does not answer in time.
    pub async fn wallets(
        &self,
        wallets: &[&str],
        now_ms: i64,
        counted_max: usize,
        asks: QueryPurpose,
    ) -> Result<HashMap<String, WalletRows>, StoreError> {
        let seen = self.seen(wallets, now_ms, counted_max, asks);
        let last = self.newest(wallets, None, LAST_SIGNALS, LONGEST_PAYLOAD, asks);
        let snapshots = self.newest(wallets, Some(SNAPSHOT), 1, LONGEST_SNAPSHOT, asks);
        let (seen, last, snapshots) = match asks {
            QueryPurpose::Client(_) => try_join!(seen, last, snapshots)?,
            // One after the other, to use one core only.
            QueryPurpose::Cache(_) => (seen.await?, last.await?, snapshots.await?),
        };
        let mut found: HashMap<String, WalletRows> = HashMap::new();
        for seen in seen {
            let rows = found.entry(seen.wallet_address).or_default();
            rows.first_seen_ms = seen.first_ms;
            rows.last_seen_ms = seen.last_ms;
            let counted = seen.counted.into_iter();
            rows.counted = counted
                .map(
                    |(event_time_ms, stream_created_ns, stream_seq, severity, event_type)| {
                        Counted {
                            place: PageCursor {
                                event_time_ms,
                                stream_created_ns,
                                stream_seq,
                            },
                            severity,
                            event_type,
                        }
                    },
                )
                .collect();
        }
        for signal in last {
            let rows = found.entry(signal.wallet_address.clone()).or_default();
            rows.include(signal.event_time_ms);
            rows.last.push(signal);
        }
        for signal in snapshots {
            let rows = found.entry(signal.wallet_address.clone()).or_default();
            rows.include(signal.event_time_ms);
            rows.snapshot = Some(signal);
        }
        Ok(found)
    }

    /// Returns the counts of a wallet, over any number of signals.
    ///
    /// # Errors
    /// Fails as [`Self::wallets`] does.
    pub async fn wallet_counts(
        &self,
        wallet: &str,
        now_ms: i64,
        timeout: Duration,
    ) -> Result<Vec<SignalCount>, StoreError> {
        let [shorter, _] = WINDOWS;
        let sql = format!(
            "SELECT CAST(event_type, 'String') AS kind, severity,
                countIf(event_time >= fromUnixTimestamp64Milli({{since:Int64}}, 'UTC')) AS in_shorter,
                count() AS in_longer
            FROM {}
            WHERE wallet_address = {{wallet:String}}
                AND event_time >= fromUnixTimestamp64Milli({{horizon:Int64}}, 'UTC')
            GROUP BY kind, severity ORDER BY kind, severity",
            self.table()
        );
        let query = self
            .client
            .query_raw(&sql)
            .param("wallet", wallet)
            .param("since", shorter.since_ms(now_ms))
            .param("horizon", horizon_ms(now_ms));
        let counts: Vec<Counts> = self.read(query, timeout).await?;
        Ok(counts
            .into_iter()
            .map(|count| SignalCount {
                event_type: count.kind,
                severity: count.severity,
                signals: [count.in_shorter, count.in_longer],
            })
            .collect())
    }

    /// Returns wallets with a signal since then, in milliseconds since the epoch, in the order of
    /// their newest signals, the newest first.
    ///
    /// # Errors
    /// Fails when ClickHouse fails, or does not answer in time.
    pub async fn wallets_since(
        &self,
        since_ms: i64,
        limit: usize,
        timeout: Duration,
    ) -> Result<Vec<String>, StoreError> {
        let sql = format!(
            "SELECT wallet_address FROM {}
            WHERE event_time >= fromUnixTimestamp64Milli({{since:Int64}}, 'UTC')
                AND wallet_address != ''
            GROUP BY wallet_address ORDER BY max(event_time) DESC LIMIT {{limit:UInt64}}",
            self.table()
        );
        let query = self
            .client
            .query_raw(&sql)
            .param("since", since_ms)
            .param("limit", limit);
        self.read(in_background(query), timeout).await
    }

    async fn seen(
        &self,
        wallets: &[&str],
        now_ms: i64,
        counted_max: usize,
        asks: QueryPurpose,
    ) -> Result<Vec<Seen>, StoreError> {
        let sql = format!(
            "SELECT wallet_address,
                toUnixTimestamp64Milli(min(event_time)) AS first_ms,
                toUnixTimestamp64Milli(max(event_time)) AS last_ms,
                groupArrayIf({counted_max})(
                    (toUnixTimestamp64Milli(event_time), toUnixTimestamp64Nano(stream_created_at),
                        stream_seq, severity, CAST(event_type, 'String')),
                    event_time >= fromUnixTimestamp64Milli({{horizon:Int64}}, 'UTC')) AS counted
            FROM {} WHERE wallet_address IN {{wallets:Array(String)}}
            GROUP BY wallet_address",
            self.table()
        );
        let query = self
            .client
            .query_raw(&sql)
            .param("wallets", wallets)
            .param("horizon", horizon_ms(now_ms));
        self.read(asks.bounds(query), asks.timeout()).await
    }

    /// Returns the newest signals of each wallet, of `event_type` if given, the newest first.
    async fn newest(
        &self,
        wallets: &[&str],
        event_type: Option<&str>,
        count: usize,
        longest_payload: usize,
        asks: QueryPurpose,
    ) -> Result<Vec<StoredSignal>, StoreError> {
        let limits = ReadLimits {
            timeout: asks.timeout(),
            longest_payload,
        };
        let mut condition = "wallet_address IN {wallets:Array(String)}".to_owned();
        if event_type.is_some() {
            condition += " AND event_type = {type:String}";
        }
        // ClickHouse reads fewer payloads for a `LIMIT` than for a `LIMIT BY`.
        let limit = match wallets {
            [_] => "{limit:UInt64}",
            _ => "{limit:UInt64} BY wallet_address",
        };
        let mut query = self
            .signals(&condition, limit, limits)
            .param("wallets", wallets)
            .param("limit", count);
        if let Some(event_type) = event_type {
            query = query.param("type", event_type);
        }
        self.read(asks.bounds(query), asks.timeout()).await
    }
}

impl QueryPurpose {
    fn bounds(self, query: Query) -> Query {
        match self {
            Self::Client(_) => query,
            Self::Cache(_) => in_background(query),
        }
    }
}

fn in_background(query: Query) -> Query {
    let settings = BACKGROUND.into_iter();
    settings.fold(query, |query, (name, value)| {
        query.with_setting(name, value)
    })
}
