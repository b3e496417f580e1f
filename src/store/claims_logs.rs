//! The ledger of claims logs: by which logs the table has claims, and how long their fences are.
//!
//! A log that is gone, or lost records, does not say what it had. The ledger is on the other server:
//! it says that there was a log, and how far ahead the fence of any claim may be.

use std::time::Duration;

use super::engine::quoted;
use super::{Store, StoreError};

const READ: &str = "read the claims logs from";

impl Store {
    /// Records a log, with a fence of so many seconds. A process claims nothing before.
    ///
    /// # Errors
    /// When ClickHouse fails, or does not keep what is recorded.
    pub async fn record_log(&self, log: &str, fence: Duration) -> Result<(), StoreError> {
        let seconds = seconds(fence);
        let longer = format!("log = {} AND fence >= {seconds}", quoted(log));
        if self.count_logs(&longer).await? > 0 {
            return Ok(());
        }
        let record = format!(
            "INSERT INTO {} SELECT {}, {}, {seconds}, now64(3)",
            self.claims_logs(),
            quoted(&self.table),
            quoted(log),
        );
        self.execute("record the claims log in", &record).await?;
        if self.count_logs(&longer).await? > 0 {
            return Ok(());
        }
        Err(StoreError::unexpected(
            "claims_logs does not have the row that was just inserted",
        ))
    }

    /// Reports whether a log has claims on the table, or had some.
    ///
    /// # Errors
    /// When ClickHouse fails.
    pub async fn has_log(&self, log: &str) -> Result<bool, StoreError> {
        let log = format!("log = {}", quoted(log));
        Ok(self.count_logs(&log).await? > 0)
    }

    /// Seconds from a claim on the table to its fence, at most, whoever published it; `mine` counts
    /// too.
    ///
    /// # Errors
    /// When ClickHouse fails.
    pub async fn longest_fence(&self, mine: Duration) -> Result<i64, StoreError> {
        let select = "toUInt64(max(fence))";
        let longest: u64 = self.ask(READ, select, &self.logs("1")).await?;
        Ok(i64::try_from(longest.max(seconds(mine))).unwrap_or(i64::MAX))
    }

    async fn count_logs(&self, condition: &str) -> Result<u64, StoreError> {
        self.ask(READ, "count()", &self.logs(condition)).await
    }

    fn logs(&self, condition: &str) -> String {
        format!(
            "FROM {} WHERE table_name = {} AND {condition}",
            self.claims_logs(),
            quoted(&self.table)
        )
    }

    fn claims_logs(&self) -> String {
        format!("{}.claims_logs", self.database)
    }
}

fn seconds(fence: Duration) -> u64 {
    u64::try_from(fence.as_millis().div_ceil(1000)).unwrap_or(u64::MAX)
}
