//! The share of this claims log in the table's window of tokens.
//!
//! A log counts only its own tokens, and several logs may write to one table: each may use its
//! share of half of the window. ClickHouse's ledger names the logs. A log stays in the ledger as
//! long as its claims can land, so that the others get its share only afterwards. It claims nothing
//! before the others had the time to see its name.
//!
//! The sum holds while the number of logs changes. With `n` logs and a joining one, the tokens
//! inserted while one of them may be needed are at most those in use when it was inserted, plus
//! those in use at the end: `n / 2n + (n + 1) / 2(n + 1)` of the window, the whole window.

use std::time::Duration;

use claims_log::Process;
use clock::unix_nanos;
use store::{LedgerEntry, Store, StoreError};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::claiming::log_lines::WINDOW_SHARED;

use super::error::ClaimingError;
use super::servers::Servers;

/// Interval of reading the ledger.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Time that a log waits when it joins others, until they have read the ledger.
const JOIN_WAIT: Duration = Duration::from_secs(2 * LOOK_INTERVAL.as_secs());
/// Time beyond its claims that a log counts if it cannot renew its entry.
const MARGIN: Duration = Duration::from_secs(60);

/// Entry of a log in the ledger, and the store with the ledger.
#[derive(Clone)]
pub(super) struct Share {
    store: Store,
    entry: LedgerEntry,
}

impl Share {
    /// Creates the entry of the servers' log, which exists.
    ///
    /// # Errors
    /// Fails when JetStream fails, or the log was removed.
    pub async fn new(servers: &Servers) -> Result<Self, ClaimingError> {
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

    /// Records the log before it claims anything, and returns the number of logs that share the
    /// window.
    ///
    /// # Errors
    /// Fails when ClickHouse fails.
    pub async fn join(&self) -> Result<usize, StoreError> {
        let before = self.store.live_logs().await?;
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
            "{WINDOW_SHARED}"
        );
        sleep(JOIN_WAIT).await;
        self.look().await
    }

    /// Renews the entry, and returns the number of logs that share the window.
    async fn look(&self) -> Result<usize, StoreError> {
        self.store.record_log(&self.entry).await?;
        self.store.name_ledger().await?;
        Ok(self.store.live_logs().await?.len())
    }

    /// Renews the entry, and updates the share of a process, until `end`.
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
                            "The number of claims logs that write to this table changed, and with it this log's share of the table's window"
                        );
                    }
                    (logs, is_failing) = (now, false);
                }
                Err(error) if is_failing => {
                    tracing::debug!(%error, "The ledger of claims logs fails")
                }
                Err(error) => {
                    is_failing = true;
                    warn!(%error, "The ledger of claims logs cannot be read or written; assuming the last number of logs");
                }
            }
        }
    }
}
