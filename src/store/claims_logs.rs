//! The ledger of claims logs: which logs have claims on the table, and how long their fences are.
//!
//! Logs share the table's window of tokens. And a log that is gone, or lost records, does not say
//! what it had: the ledger is on the other server, and says that there was a log, and how far ahead
//! the fence of any claim may be.

use std::collections::BTreeSet;
use std::time::Duration;

use super::engine::quoted;
use super::lookup::created_at;
use super::{Store, StoreError};

const READ: &str = "read the ledger of claims logs of";

/// A claims log, and the fence of a process that claims by it.
#[derive(Debug, Clone)]
pub struct LedgerEntry {
    /// The stream of the log.
    pub log: String,
    /// Creation of that stream, in nanoseconds since the epoch: logs of one name on two NATS servers
    /// differ by it.
    pub created_ns: i64,
    /// From a claim to its fence.
    pub fence: Duration,
    /// Its claims may land for so long from now on.
    pub alive: Duration,
}

impl Store {
    /// Records a log. A process claims nothing before.
    ///
    /// # Errors
    /// When ClickHouse fails, the ledger is missing (`risksignal migrate` creates it), the user may not
    /// use it, or it does not keep the entry.
    pub async fn record_log(&self, entry: &LedgerEntry) -> Result<(), StoreError> {
        let (log, created) = (quoted(&entry.log), created_at(entry.created_ns));
        let fence = seconds(entry.fence);
        let insert = format!(
            "INSERT INTO {} (log, created_at, fence, until) SELECT {log}, {created}, {fence}, now() + toIntervalSecond({})",
            self.claims_logs(),
            seconds(entry.alive),
        );
        self.execute("record the claims log in the ledger of", &insert)
            .await?;
        let from = self.logs_where(&format!(
            "log = {log} AND created_at = {created} AND fence = {fence} AND until > now()"
        ));
        if self.ask::<u64>(READ, "count()", &from).await? > 0 {
            return Ok(());
        }
        Err(StoreError::unexpected(
            "the ledger of claims logs does not have the row that was just inserted",
        ))
    }

    /// The claims logs whose tokens may be in use: name and creation.
    ///
    /// # Errors
    /// As [`Self::record_log`].
    pub async fn logs(&self) -> Result<BTreeSet<(String, i64)>, StoreError> {
        let select = "groupUniqArray((log, toUnixTimestamp64Nano(created_at)))";
        let from = self.logs_where("until > now()");
        let logs: Vec<(String, i64)> = self.ask(READ, select, &from).await?;
        Ok(logs.into_iter().collect())
    }

    /// Reports whether a log of this name has claims on the table, or had some.
    ///
    /// # Errors
    /// As [`Self::record_log`].
    pub async fn has_log(&self, log: &str) -> Result<bool, StoreError> {
        let from = self.logs_where(&format!("log = {}", quoted(log)));
        Ok(self.ask::<u64>(READ, "count()", &from).await? > 0)
    }

    /// Seconds from a claim on the table to its fence, at most, whichever process published it;
    /// `mine` counts too.
    ///
    /// # Errors
    /// As [`Self::record_log`].
    pub async fn longest_fence(&self, mine: Duration) -> Result<i64, StoreError> {
        let longest: u64 = self
            .ask(READ, "toUInt64(max(fence))", &self.logs_where("1"))
            .await?;
        Ok(i64::try_from(longest.max(seconds(mine))).unwrap_or(i64::MAX))
    }

    fn logs_where(&self, condition: &str) -> String {
        format!("FROM {} WHERE {condition}", self.claims_logs())
    }

    fn claims_logs(&self) -> String {
        format!("{}.{}_claims_logs", self.database, self.table)
    }
}

/// Whole seconds, and one more where there is a rest.
fn seconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis().div_ceil(1000)).unwrap_or(u64::MAX)
}
