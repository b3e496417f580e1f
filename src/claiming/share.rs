//! The share of this claims log in the table's window of tokens.
//!
//! A log counts its own tokens alone, and several may write to one table: each may have its share of
//! half of the window in use. ClickHouse's ledger names the logs. A log is named for as long as its
//! claims can land, so that the others get its share only afterwards; and it claims nothing before
//! the others had the time to see its name.
//!
//! The sum holds while the number of logs changes. With `n` logs and one that joins, the tokens that
//! are inserted while one of them may be needed are at most those in use when it was inserted, and
//! those in use at the end: `n / 2n + (n + 1) / 2(n + 1)` of the window, which is all of it.

use std::time::Duration;

use claims_log::Process;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{ClaimingError, Servers};
use crate::pipeline::unix_nanos;
use crate::store::{LedgerEntry, Store, StoreError};

/// Between two looks at the ledger.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// A log that joins others waits so long, until they have looked.
const JOIN_WAIT: Duration = Duration::from_secs(2 * LOOK_INTERVAL.as_secs());
/// A log is counted so long beyond its claims, when it cannot renew its entry.
const MARGIN: Duration = Duration::from_secs(60);

/// The entry of a log in the ledger, and the store that has it.
#[derive(Clone)]
pub(super) struct Share {
    store: Store,
    entry: LedgerEntry,
}

impl Share {
    /// That of the servers' log, which exists.
    ///
    /// # Errors
    /// When JetStream fails, or the log was removed.
    pub async fn of(servers: &Servers) -> Result<Self, ClaimingError> {
        let (log, clickhouse) = (servers.log(), &servers.settings.clickhouse);
        let Some(info) = log.find().await? else {
            return Err(ClaimingError::NoLog(log.name().to_owned()));
        };
        Ok(Self {
            store: servers.store.clone(),
            entry: LedgerEntry {
                log: log.name().to_owned(),
                created_ns: unix_nanos(info.created),
                fence: clickhouse.fence,
                alive: clickhouse.fence + clickhouse.late_commit + MARGIN,
            },
        })
    }

    /// Records the log before it claims anything, and returns how many share the window.
    ///
    /// # Errors
    /// When ClickHouse fails.
    pub async fn join(&self) -> Result<usize, StoreError> {
        let before = self.store.logs().await?;
        let logs = self.look().await?;
        let is_known = before
            .iter()
            .any(|(log, created)| *log == self.entry.log && *created == self.entry.created_ns);
        if is_known || before.is_empty() {
            return Ok(logs);
        }
        info!(
            logs,
            wait_ms = JOIN_WAIT.as_millis() as u64,
            "Another claims log writes to this table; waiting until its daemons leave this one its share of the table's window"
        );
        sleep(JOIN_WAIT).await;
        self.look().await
    }

    /// Renews the entry, and returns how many logs share the window.
    async fn look(&self) -> Result<usize, StoreError> {
        self.store.record_log(&self.entry).await?;
        Ok(self.store.logs().await?.len())
    }

    /// Keeps the entry, and the share of a process, until `end`.
    pub async fn keep(self, process: Process, mut logs: usize, end: CancellationToken) {
        let mut ticks = interval_at(Instant::now() + LOOK_INTERVAL, LOOK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_failing = false;
        while end.run_until_cancelled(ticks.tick()).await.is_some() {
            match self.look().await {
                Ok(now) => {
                    process.with(|instance| instance.share_window(now));
                    if now != logs {
                        info!(
                            logs = now,
                            before = logs,
                            "The number of claims logs that write to this table changed, and so did this one's share of the table's window"
                        );
                    }
                    (logs, is_failing) = (now, false);
                }
                Err(error) if is_failing => tracing::debug!(%error, "The ledger fails"),
                Err(error) => {
                    is_failing = true;
                    warn!(%error, "The ledger of claims logs cannot be read or written; the last number of logs is counted on");
                }
            }
        }
    }
}
