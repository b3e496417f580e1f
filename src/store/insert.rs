//! One batch into the table: the same rows and the same token at every try.

use std::time::{Duration, Instant, SystemTime};

use super::row::COLUMNS;
use super::{Block, Store, StoreError};
use crate::fault_point::Point;

/// The text of the exception for a block that came too late.
/// `migrations/0002_reject_late_inserts.sql` has it too.
pub(super) const DEADLINE_OVER: &str = "risksignal: the deadline of this insert is over";

/// Bytes handed to the connection, and compressed, at a time.
const CHUNK_BYTES: usize = 256 * 1024;
/// Rows below which ClickHouse makes no skip indexes for the new part. It has one granule
/// then (`index_granularity` of the table), which they cannot divide, and they are made when
/// it is merged. Measured: a third of the time of an insert of five rows.
const SKIP_INDEX_ROWS_MIN: usize = 2048;

/// ClickHouse's complete answer to an insert: the rows are committed.
#[derive(Debug)]
pub struct Receipt {
    /// Rows committed.
    pub rows: usize,
    /// Bytes of the header and the encoded rows, before compression.
    pub bytes: usize,
    /// From the first byte sent to the answer.
    pub duration: Duration,
}

impl Store {
    /// Inserts a block and waits for ClickHouse's complete answer. ClickHouse refuses the
    /// block when it has it in full only at `deadline` or later: the table's default for
    /// `ingested_at` is evaluated then. Whatever stopped this process on the way, a late block
    /// does not land beside that of another instance, which has taken the messages over.
    ///
    /// # Errors
    /// When sending stalls, the answer does not come in time, or it is an exception. The
    /// rows may be committed all the same, so only the same block may be sent again.
    pub async fn insert(&self, block: &Block, deadline: SystemTime) -> Result<Receipt, StoreError> {
        self.refuse_if_unfit().await?;
        let started = Instant::now();
        self.send(block, deadline)
            .await
            .map_err(|failure| self.failed("insert a batch into", failure))?;
        Ok(Receipt {
            rows: block.rows().len(),
            bytes: block.rows().bytes(),
            duration: started.elapsed(),
        })
    }

    async fn send(&self, block: &Block, deadline: SystemTime) -> clickhouse::error::Result<()> {
        let rows = block.rows().len();
        // No try outlives the lease, at neither end.
        let left = deadline.duration_since(SystemTime::now());
        let end_timeout = self.end_timeout.min(left.unwrap_or_default());
        let mut insert = self
            .client
            .insert_formatted_with(self.insert_statement())
            // The answer must mean committed: ClickHouse 26.3 and later turn async inserts on
            // by default, and a query may otherwise be answered before it has ended.
            .with_setting("async_insert", "0")
            .with_setting("wait_end_of_query", "1")
            .with_setting("insert_deduplicate", "1")
            .with_setting("insert_deduplication_token", block.token().to_string())
            // A server that is still at work when the client has given up could commit late.
            .with_setting("max_execution_time", seconds(end_timeout))
            // A batch of old and new messages may span any number of months.
            .with_setting("max_partitions_per_insert_block", "0")
            // The rows of one batch are one block, so that the token stands for all of them.
            .with_setting("max_insert_block_size", rows.max(1).to_string())
            .with_setting("max_insert_threads", "1")
            .with_setting(
                "materialize_skip_indexes_on_insert",
                if rows < SKIP_INDEX_ROWS_MIN { "0" } else { "1" },
            )
            .with_timeouts(Some(self.send_timeout.min(end_timeout)), Some(end_timeout));
        // Whole seconds in a `DateTime`, which ends in 2106.
        let deadline = u32::try_from(self.clickhouse_seconds(deadline)).unwrap_or(0);
        for chunk in block.chunks(deadline, CHUNK_BYTES) {
            insert.send(chunk).await?;
        }
        self.faults.reached(Point::InsertSent).await;
        insert.end().await
    }

    fn insert_statement(&self) -> String {
        let names = COLUMNS.map(|column| column.name).join(", ");
        format!(
            "INSERT INTO {} ({names}) FORMAT RowBinaryWithNamesAndTypes",
            self.table()
        )
    }
}

/// At least one second, since zero means no limit.
fn seconds(duration: Duration) -> String {
    duration.as_secs().max(1).to_string()
}
