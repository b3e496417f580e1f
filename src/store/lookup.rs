//! What is in the table already: the question before an insert that might repeat rows.

use std::collections::HashSet;

use super::{Store, StoreError};

/// Sequences asked for at a time: with 20 digits each they stay below ClickHouse's
/// `max_query_size` of 256 KiB.
const SEQUENCES_PER_QUERY: usize = 10_000;

impl Store {
    /// Those of `sequences` whose rows are committed. A sequence counts only within the
    /// stream that was created at `stream_created_ns` (nanoseconds since the epoch).
    ///
    /// # Errors
    /// When ClickHouse fails.
    pub async fn stored(
        &self,
        stream_created_ns: i64,
        sequences: &[u64],
    ) -> Result<HashSet<u64>, StoreError> {
        let mut stored = HashSet::new();
        for sequences in sequences.chunks(SEQUENCES_PER_QUERY) {
            let list: Vec<String> = sequences.iter().map(u64::to_string).collect();
            let from = format!(
                "FROM {} WHERE stream_created_at = {} AND stream_seq IN ({})",
                self.table(),
                created_at(stream_created_ns),
                list.join(", ")
            );
            // Over a column, so that one row has them all.
            let found = self.ask::<Vec<u64>>("look up rows in", "groupArray(stream_seq)", &from);
            stored.extend(found.await?);
        }
        Ok(stored)
    }

    /// Whether the table holds any row of the stream.
    ///
    /// # Errors
    /// When ClickHouse fails.
    pub async fn holds_stream(&self, stream_created_ns: i64) -> Result<bool, StoreError> {
        let from = format!(
            "FROM (SELECT stream_seq FROM {} WHERE stream_created_at = {} LIMIT 1)",
            self.table(),
            created_at(stream_created_ns),
        );
        let found: u64 = self.ask("look for rows in", "count()", &from).await?;
        Ok(found > 0)
    }
}

fn created_at(ns: i64) -> String {
    format!("fromUnixTimestamp64Nano(toInt64({ns}), 'UTC')")
}
