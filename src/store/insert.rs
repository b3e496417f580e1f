//! One batch into the table: the same bytes and the same token at every try.

use std::time::{Duration, Instant};

use bytes::Bytes;
use uuid::Uuid;

use super::row::COLUMNS;
use super::{Store, StoreError};

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
    /// Inserts a block and waits for ClickHouse's complete answer.
    ///
    /// # Errors
    /// When sending stalls, the answer does not come in time, or it is an exception. The
    /// rows may be committed all the same, so only the same block may be sent again.
    pub async fn insert(&self, block: &Block) -> Result<Receipt, StoreError> {
        let started = Instant::now();
        self.send(block)
            .await
            .map_err(|source| StoreError::new("insert a batch into", source))?;
        Ok(Receipt {
            rows: block.rows,
            bytes: block.bytes(),
            duration: started.elapsed(),
        })
    }

    async fn send(&self, block: &Block) -> clickhouse::error::Result<()> {
        let columns = COLUMNS.map(|column| column.name).join(", ");
        let table = self.table();
        let mut insert = self
            .client
            .insert_formatted_with(format!(
                "INSERT INTO {table} ({columns}) FORMAT RowBinaryWithNamesAndTypes"
            ))
            // The answer must mean committed: ClickHouse 26.3 and later turn async inserts on
            // by default, and a query may otherwise be answered before it has ended.
            .with_setting("async_insert", "0")
            .with_setting("wait_end_of_query", "1")
            .with_setting("insert_deduplicate", "1")
            .with_setting("insert_deduplication_token", block.token.to_string())
            // A server that is still at work when the client has given up could commit late.
            .with_setting("max_execution_time", seconds(self.end_timeout))
            // A batch of old and new signals may span any number of months.
            .with_setting("max_partitions_per_insert_block", "0")
            // The rows of one batch are one block, so that the token stands for all of them.
            .with_setting("max_insert_block_size", block.rows.max(1).to_string())
            .with_timeouts(Some(self.send_timeout), Some(self.end_timeout));
        let mut rest = block.encoded.clone();
        while !rest.is_empty() {
            insert
                .send(rest.split_to(rest.len().min(CHUNK_BYTES)))
                .await?;
        }
        insert.end().await
    }
}

/// At least one second, since zero means no limit.
fn seconds(duration: Duration) -> String {
    duration.as_secs().max(1).to_string()
}
