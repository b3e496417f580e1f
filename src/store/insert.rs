//! One batch into the table: the same bytes and the same token at every try.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use uuid::Uuid;

use super::row::COLUMNS;
use super::{Store, StoreError};
use crate::fault_point::Point;

/// The text of the exception for a block that came too late.
pub(super) const DEADLINE_OVER: &str = "risksignal: the deadline of this insert is over";

/// Bytes handed to the connection, and compressed, at a time.
const CHUNK_BYTES: usize = 1024 * 1024;

/// The rows of one batch as ClickHouse takes them, immutable.
#[derive(Debug, Clone)]
pub struct Block {
    token: Uuid,
    rows: usize,
    encoded: Bytes,
}

impl Block {
    /// Seals `rows` rows, encoded behind [the header](super::row::encode_header), under a
    /// token of their own. ClickHouse drops a block whose token it has seen, so a token
    /// never belongs to other rows.
    pub fn new(rows: usize, encoded: Vec<u8>) -> Self {
        Self {
            token: Uuid::new_v4(),
            rows,
            encoded: Bytes::from(encoded),
        }
    }

    /// What ClickHouse knows the block by.
    pub fn token(&self) -> Uuid {
        self.token
    }

    /// The header and the encoded rows.
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// Rows in the block.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of the header and the encoded rows, before compression.
    pub fn bytes(&self) -> usize {
        self.encoded.len()
    }
}

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
    /// block when it has it in full only at `deadline` or later.
    ///
    /// # Errors
    /// When sending stalls, the answer does not come in time, or it is an exception. The
    /// rows may be committed all the same, so only the same block may be sent again.
    pub async fn insert(&self, block: &Block, deadline: SystemTime) -> Result<Receipt, StoreError> {
        let started = Instant::now();
        self.send(block, deadline)
            .await
            .map_err(|source| StoreError::new("insert a batch into", source))?;
        Ok(Receipt {
            rows: block.rows,
            bytes: block.bytes(),
            duration: started.elapsed(),
        })
    }

    async fn send(&self, block: &Block, deadline: SystemTime) -> clickhouse::error::Result<()> {
        let mut insert = self
            .client
            .insert_formatted_with(self.insert_statement(deadline))
            // The answer must mean committed: ClickHouse 26.3 and later turn async inserts on
            // by default, and a query may otherwise be answered before it has ended.
            .with_setting("async_insert", "0")
            .with_setting("wait_end_of_query", "1")
            .with_setting("insert_deduplicate", "1")
            .with_setting("insert_deduplication_token", block.token.to_string())
            // A server that is still at work when the client has given up could commit late.
            .with_setting("max_execution_time", seconds(self.end_timeout))
            // A batch of old and new messages may span any number of months.
            .with_setting("max_partitions_per_insert_block", "0")
            // The rows of one batch are one block, so that the token stands for all of them.
            .with_setting("max_insert_block_size", block.rows.max(1).to_string())
            .with_setting("max_insert_threads", "1")
            .with_timeouts(Some(self.send_timeout), Some(self.end_timeout));
        let mut rest = block.encoded.clone();
        while !rest.is_empty() {
            insert
                .send(rest.split_to(rest.len().min(CHUNK_BYTES)))
                .await?;
        }
        self.faults.reached(Point::InsertSent);
        insert.end().await
    }

    /// The statement. Its condition is evaluated when the block is complete: whatever
    /// stopped this process on the way, a late block does not land beside that of another
    /// instance, which has taken the messages over by then.
    fn insert_statement(&self, deadline: SystemTime) -> String {
        let names = COLUMNS.map(|column| column.name).join(", ");
        let structure = COLUMNS.map(|column| {
            let data_type = column.data_type.replace('\'', "''");
            format!("{} {data_type}", column.name)
        });
        format!(
            "INSERT INTO {} ({names}) SELECT {names} FROM input('{}') \
             WHERE throwIf(nowInBlock() >= toDateTime({}), '{DEADLINE_OVER}') = 0 \
             FORMAT RowBinaryWithNamesAndTypes",
            self.table(),
            structure.join(", "),
            self.clickhouse_seconds(deadline),
        )
    }
}

/// At least one second, since zero means no limit.
fn seconds(duration: Duration) -> String {
    duration.as_secs().max(1).to_string()
}
