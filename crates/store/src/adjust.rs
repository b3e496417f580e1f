//! Settings of the table that depend on those of the daemon, and are not in migrations.

use std::time::Duration;

use super::effect::Effect;
use super::{Store, StoreError};

/// A change of a setting of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjustment {
    /// Description, for people.
    pub name: &'static str,
    /// ClickHouse SQL.
    pub sql: String,
    /// Effect on the data.
    pub(super) effect: Effect,
}

const WINDOW: &str = "set the deduplication window";
const MERGES: &str = "set the width of merges";
const RETENTION: &str = "set the retention";

impl Store {
    /// Returns the changes that the table needs now.
    ///
    /// # Errors
    /// Fails when ClickHouse does not answer.
    pub(super) async fn adjustments(&self) -> Result<Vec<Adjustment>, StoreError> {
        let adjustments = [
            (WINDOW, self.window_statement().await?, Effect::Metadata),
            (MERGES, self.merges_statement().await?, Effect::Metadata),
            // ClickHouse materializes a new TTL in all parts.
            (
                RETENTION,
                self.retention_statement().await?,
                Effect::Rewrite,
            ),
        ];
        let adjustments = adjustments.into_iter();
        Ok(adjustments
            .filter_map(|(name, sql, effect)| {
                Some(Adjustment {
                    name,
                    sql: sql?,
                    effect,
                })
            })
            .collect())
    }

    /// Makes the changes that the table needs, and returns those that were made.
    ///
    /// # Errors
    /// Fails when ClickHouse rejects a change that the daemon needs.
    pub(super) async fn adjust(&self) -> Result<Vec<Adjustment>, StoreError> {
        let mut done = Vec::new();
        for adjustment in self.adjustments().await? {
            let is_done = match adjustment.name {
                WINDOW => {
                    let doing = "set the deduplication window in";
                    self.execute(doing, &adjustment.sql).await.map(|()| true)
                }
                MERGES => self.widen_merges(&adjustment.sql).await,
                _ => {
                    let doing = "set the retention in";
                    self.execute(doing, &adjustment.sql).await.map(|()| true)
                }
            };
            if is_done? {
                done.push(adjustment);
            }
        }
        Ok(done)
    }

    /// Returns the statement that sets the table's TTL; none if it is set or the retention is zero.
    async fn retention_statement(&self) -> Result<Option<String>, StoreError> {
        let Some(ttl) = retention_ttl(self.retention) else {
            return Ok(None);
        };
        let select = format!("countIf(position(engine_full, '{ttl}') > 0)");
        let from = format!(
            "FROM system.tables WHERE database = '{}' AND name = '{}'",
            self.database, self.table
        );
        let has_it: u64 = self
            .query("read the table's TTL from", &select, &from)
            .await?;
        if has_it > 0 {
            return Ok(None);
        }
        // The mutation of a large table takes longer than any request may.
        Ok(Some(format!(
            "ALTER TABLE {} MODIFY {ttl} SETTINGS alter_sync = 0",
            self.table()
        )))
    }
}

/// Formats the TTL clause like ClickHouse. It counts from the arrival, not from the event time, so
/// that a backfill of old events is not removed at once.
fn retention_ttl(retention: Duration) -> Option<String> {
    let seconds = retention.as_secs();
    (seconds > 0).then(|| format!("TTL toDateTime(published_at) + toIntervalSecond({seconds})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_retention_is_no_ttl() {
        assert_eq!(retention_ttl(Duration::ZERO), None);
        assert_eq!(
            retention_ttl(Duration::from_secs(86_400)).as_deref(),
            Some("TTL toDateTime(published_at) + toIntervalSecond(86400)")
        );
    }
}
