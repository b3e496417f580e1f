//! One batch into the table: the same rows and the same token at every try.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::post::Timeouts;
use super::receipt::{Receipt, Sent};
use super::row::COLUMNS;
use super::{Block, Rows, Store, StoreError};
use crate::fault_point::Point;

/// The text of the exception for a block outside its fence.
/// `migrations/0005_store_claims.sql` has it too.
pub(super) const FENCE_OVER: &str = "risksignal: the fence of this claim is over";

/// Bytes handed to the connection, and compressed, at a time.
const CHUNK_BYTES: usize = 256 * 1024;
/// Rows below which ClickHouse makes no skip indexes for the new part. It has one granule
/// then (`index_granularity` of the table), which they cannot divide, and they are made when
/// it is merged. Measured: a third of the time of an insert of five rows.
const SKIP_INDEX_ROWS_MIN: usize = 2048;
/// Part of the time-out after which ClickHouse gives up by itself, so that its answer comes in
/// time to say so.
const LIMIT_PART: f64 = 0.9;
/// Zero would mean no limit.
const LIMIT_MIN: Duration = Duration::from_millis(100);
const DOING: &str = "insert a batch into";

impl Store {
    /// Inserts a block and waits for ClickHouse's complete answer. ClickHouse refuses the block
    /// when it has it in full only at `fence` or later, in its own seconds since the epoch: the
    /// table's default for `ingested_at` is evaluated then.
    ///
    /// # Errors
    /// When sending stalls, the answer does not come in time, or it is not ClickHouse's OK. The
    /// rows may be committed all the same, so only the same block may be sent again.
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

    /// Inserts no rows, to see that the answers to inserts come through as ClickHouse gives them.
    ///
    /// # Errors
    /// When they do not, or the user may not insert with the settings that inserts have.
    pub async fn probe_insert(&self) -> Result<(), StoreError> {
        self.pins.forget();
        let fence = self.clickhouse_seconds(self.end_timeout);
        let nothing = Block::new(Uuid::new_v4(), Rows::default());
        self.insert(&nothing, fence).await?;
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
            // A server that is still at work when the client has given up could commit late.
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
        // A `DateTime` ends in 2106. 0 would be no fence; a fence that cannot be is over.
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
        let sent = Sent {
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
