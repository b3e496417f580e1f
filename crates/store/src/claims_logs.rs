//! Ledger of claims logs: the logs with claims on the table, and the length of their fences.
//!
//! Logs share the table's window of tokens. A claims log that is gone, or that lost records, cannot
//! report its claims. The ledger is on the other server: it shows that the log existed, and how far
//! ahead the fence of any claim may be.
//!
//! A random entry names the ledger, and a claims log holds the name of the ledger that it was
//! created for. So no log is mistaken for that of a table of the same name in another ClickHouse. A
//! restored backup keeps the name.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use uuid::Uuid;

use super::lookup::created_at;
use super::sql::quoted;
use super::{Store, StoreError};

/// Prefix of the entry that names the ledger.
const NAME: &str = "ledger ";
const READ: &str = "read the ledger of claims logs of";
const RECORD: &str = "record the claims log in the ledger of";

/// A claims log, and the fence of a process that claims through it.
#[derive(Debug, Clone)]
pub struct LedgerEntry {
    /// Name of the log's stream.
    pub log: String,
    /// Creation time of that stream, in nanoseconds since the epoch, which distinguishes logs of
    /// one name on two NATS servers.
    pub created_ns: i64,
    /// Time from a claim to its fence.
    pub fence: Duration,
    /// Time from now on in which its claims may land.
    pub alive: Duration,
}

impl Store {
    /// Records a log. A process claims nothing before this succeeds.
    ///
    /// # Errors
    /// Fails when ClickHouse fails, the ledger is missing (`risksignal migrate` creates it), the
    /// user may not use it, or it does not keep the entry.
    pub async fn record_log(&self, entry: &LedgerEntry) -> Result<(), StoreError> {
        let (log, created) = (quoted(&entry.log), created_at(entry.created_ns));
        let fence = seconds(entry.fence);
        self.execute(RECORD, &self.record(entry)).await?;
        let from = self.logs_where(&format!(
            "log = {log} AND created_at = {created} AND fence = {fence} AND until > now()"
        ));
        if self.query::<u64>(READ, "count()", &from).await? > 0 {
            return Ok(());
        }
        Err(StoreError::unexpected(
            "the ledger of claims logs lacks the row that was just inserted",
        ))
    }

    /// Inserts no row, to check that a log could be recorded.
    ///
    /// # Errors
    /// Fails when ClickHouse fails, the ledger is missing, or the user may not insert into it.
    pub async fn probe_record(&self) -> Result<(), StoreError> {
        let nothing = LedgerEntry {
            log: String::new(),
            created_ns: 0,
            fence: Duration::ZERO,
            alive: Duration::ZERO,
        };
        let insert = format!("{} WHERE 0", self.record(&nothing));
        self.execute(RECORD, &insert).await
    }

    fn record(&self, entry: &LedgerEntry) -> String {
        format!(
            "INSERT INTO {} (log, created_at, fence, until) SELECT {}, {}, {}, now() + toIntervalSecond({})",
            self.claims_logs(),
            quoted(&entry.log),
            created_at(entry.created_ns),
            seconds(entry.fence),
            seconds(entry.alive),
        )
    }

    /// Returns the names of the ledger that [`Self::learn_ledger`] read. Several exist if instances
    /// named it at once.
    pub fn ledger_names(&self) -> Option<BTreeSet<String>> {
        let names = self.ledger.lock();
        names.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the names of the ledger.
    ///
    /// # Errors
    /// Fails as [`Self::record_log`] does.
    pub async fn learn_ledger(&self) -> Result<(), StoreError> {
        let from = self.logs_where(&format!("startsWith(log, '{NAME}')"));
        let names: Vec<String> = self.query(READ, "groupUniqArray(log)", &from).await?;
        let mut known = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some(names.into_iter().collect());
        Ok(())
    }

    /// Like [`Self::learn_ledger`], but first names a ledger without a name.
    ///
    /// # Errors
    /// Fails as [`Self::record_log`] does.
    pub async fn name_ledger(&self) -> Result<(), StoreError> {
        let known = self.ledger_names().unwrap_or_default();
        self.learn_ledger().await?;
        if self.ledger_names().is_some_and(|names| !names.is_empty()) {
            return Ok(());
        }
        // An emptied ledger gets its names back.
        let mut names: Vec<String> = known.iter().map(|name| quoted(name)).collect();
        if names.is_empty() {
            names.push(quoted(&format!("{NAME}{}", Uuid::new_v4())));
        }
        let insert = format!(
            "INSERT INTO {} (log, created_at, fence, until) SELECT arrayJoin([{}]), {}, 0, toDateTime(0, 'UTC')",
            self.claims_logs(),
            names.join(", "),
            created_at(0),
        );
        self.execute("name the ledger of claims logs of", &insert)
            .await?;
        self.learn_ledger().await
    }

    /// Returns the claims logs whose tokens may be in use, by name and creation time.
    ///
    /// # Errors
    /// Fails as [`Self::record_log`] does.
    pub async fn live_logs(&self) -> Result<BTreeSet<(String, i64)>, StoreError> {
        let select = "groupUniqArray((log, toUnixTimestamp64Nano(created_at)))";
        let from = self.logs_where("until > now()");
        let logs: Vec<(String, i64)> = self.query(READ, select, &from).await?;
        Ok(logs.into_iter().collect())
    }

    /// Reports whether a log of this name has, or had, claims on the table.
    ///
    /// # Errors
    /// Fails as [`Self::record_log`] does.
    pub async fn has_log(&self, log: &str) -> Result<bool, StoreError> {
        let from = self.logs_where(&format!("log = {}", quoted(log)));
        Ok(self.query::<u64>(READ, "count()", &from).await? > 0)
    }

    /// Returns the longest time, in seconds, from any process's claim on the table to its fence.
    /// `mine` counts too.
    ///
    /// # Errors
    /// Fails as [`Self::record_log`] does.
    pub async fn longest_fence(&self, mine: Duration) -> Result<i64, StoreError> {
        let longest: u64 = self
            .query(READ, "toUInt64(max(fence))", &self.logs_where("1"))
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

/// Returns whole seconds, rounded up.
fn seconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis().div_ceil(1000)).unwrap_or(u64::MAX)
}
