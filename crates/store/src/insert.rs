//! Insert of one batch: every attempt sends the same rows and the same token.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fault_point::Point;
use uuid::Uuid;

use super::pins::{ALWAYS, KnownSettings, WHERE_KNOWN};
use super::post::Timeouts;
use super::receipt::{Receipt, SentRequest};
use super::row::COLUMNS;
use super::{Block, Rows, Store, StoreError};

/// Bytes that are compressed and passed to the connection at a time.
const CHUNK_BYTES: usize = 256 * 1024;
/// Below this number of rows ClickHouse builds no skip indexes for the new part. Such a part has
/// one granule (`index_granularity` of the table), which skip indexes cannot divide; a merge builds
/// them. Measured: a third of the time of an insert of five rows.
const SKIP_INDEX_ROWS_MIN: usize = 2048;
/// Fraction of the timeout after which ClickHouse gives up by itself, so that its answer arrives
/// before the timeout.
const LIMIT_PART: f64 = 0.9;
/// Shortest limit, since zero would mean none.
const LIMIT_MIN: Duration = Duration::from_millis(100);
const DOING: &str = "insert a batch into";

impl Store {
    /// Inserts a block and waits for ClickHouse's complete answer. ClickHouse rejects a block that
    /// it has completely received only at `fence` or later, in its own seconds since the epoch: it
    /// then evaluates the table's default for `ingested_at`.
    ///
    /// # Errors
    /// Fails when sending stalls, no answer arrives in time, or the answer is not ClickHouse's OK.
    /// The rows may be committed all the same, so the caller may retry only with the same block.
    pub async fn insert(&self, block: &Block, fence: i64) -> Result<Receipt, StoreError> {
        self.refuse_if_unfit().await?;
        let inserted = self.send(block, fence).await;
        if inserted
            .as_ref()
            .is_err_and(StoreError::may_be_another_server)
        {
            self.pins.forget();
        }
        inserted
    }

    /// Inserts no rows, even into an unfit table, to check that the user may insert and that
    /// ClickHouse's answers to inserts arrive unchanged.
    ///
    /// # Errors
    /// Fails when they do not, or the user may not insert with the settings of inserts.
    pub async fn probe_insert(&self) -> Result<(), StoreError> {
        self.pins.forget();
        let fence = self.clickhouse_seconds(self.end_timeout);
        let nothing = Block::new(Uuid::new_v4(), Rows::default());
        self.send(&nothing, fence).await?;
        Ok(())
    }

    async fn send(&self, block: &Block, fence: i64) -> Result<Receipt, StoreError> {
        let pinned = self.pinned().await?;
        let started = Instant::now();
        let end = self.end_timeout;
        let limit = end.mul_f64(LIMIT_PART).max(LIMIT_MIN);
        let (query_id, rows) = (Uuid::new_v4(), block.rows().len());
        let mut parameters = vec![
            ("query", self.insert_statement()),
            ("query_id", query_id.to_string()),
            ("insert_deduplication_token", block.token().to_string()),
            // A server that keeps working after the client gave up could commit late.
            ("max_execution_time", limit.as_secs_f64().to_string()),
            ("max_insert_block_size", rows.max(1).to_string()),
            (
                "materialize_skip_indexes_on_insert",
                u8::from(rows >= SKIP_INDEX_ROWS_MIN).to_string(),
            ),
        ];
        parameters.extend(
            pinned
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        let bytes = block.rows().bytes();
        let timeouts = Timeouts {
            send: self.send_timeout.min(end),
            end,
        };
        // A `DateTime` ends in 2106. 0 would mean no fence; an impossible fence counts as over.
        let fence = u32::try_from(fence).unwrap_or_default().max(1);
        let chunks = block.chunks(fence, CHUNK_BYTES);
        let all_sent = async {
            // A probe is no insert.
            if rows > 0 {
                self.faults.reached(Point::InsertSent).await;
            }
        };
        let answer = self
            .post
            .send(&parameters, chunks, bytes, timeouts, all_sent)
            .await
            .map_err(|failure| self.failed(DOING, failure))?;
        let sent = SentRequest {
            query_id,
            token: block.token(),
            rows,
            bytes,
            duration: started.elapsed(),
            limit,
        };
        Receipt::read(&answer, &sent).map_err(|failure| self.failed(DOING, failure))
    }

    fn insert_statement(&self) -> String {
        let names = COLUMNS.map(|column| column.name).join(", ");
        format!(
            "INSERT INTO {} ({names}) FORMAT RowBinaryWithNamesAndTypes",
            self.table()
        )
    }
}

impl Store {
    /// Returns the settings that all inserts share.
    ///
    /// # Errors
    /// Fails when the server does not report which settings it knows.
    async fn pinned(&self) -> Result<KnownSettings, StoreError> {
        if let Some(known) = self.pins.get() {
            return Ok(known);
        }
        let names = WHERE_KNOWN.map(|(name, _)| format!("'{name}'")).join(", ");
        let sql = format!("SELECT name FROM system.settings WHERE name IN ({names})");
        let found = self.fetch_all::<String>("ask for the settings of", &sql);
        let found = found.await?;
        let is_known = |(name, _): &&(&str, &str)| found.iter().any(|found| found == name);
        let known: KnownSettings = ALWAYS
            .iter()
            .chain(WHERE_KNOWN.iter().filter(is_known))
            .copied()
            .collect();
        self.pins.set(Some(Arc::clone(&known)));
        Ok(known)
    }
}
