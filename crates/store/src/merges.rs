//! Width of the table's merges.
//!
//! ClickHouse counts a part of less than 5 MB as one of 5 MB when it selects parts to merge. With
//! its default of 5, every sixth small insert rewrites the newest megabytes of the table, skip
//! indexes included.

use tracing::warn;

use super::log_lines::MERGES_NARROW;
use super::sql::quoted;
use super::{Store, StoreError};

/// Number of equal parts that are merged at a time:
/// <https://clickhouse.com/docs/operations/settings/merge-tree-settings#merge_selector_base>.
const SETTING: &str = "merge_selector_base";
/// Measured at 100 ten-row inserts a second (`make bench`): 0.66 of ClickHouse's CPU time with the
/// default, and at most 24 parts instead of 9. Of ClickHouse's CPU time alone, 12 gives 0.81, 24
/// gives 0.76 and 48 gives 0.74.
const BASE: u32 = 24;

impl Store {
    /// Returns the statement that widens the table's merges. `None` if the table or the server's
    /// configuration has its own value, the server does not know the setting or hides it from the
    /// user, or ClickHouse Cloud merges the table.
    ///
    /// # Errors
    /// Fails when ClickHouse does not answer.
    pub(super) async fn merges_statement(&self) -> Result<Option<String>, StoreError> {
        let table = format!(
            "SELECT countIf(engine NOT IN ('MergeTree', 'ReplicatedMergeTree') OR position(engine_full, ' {SETTING} = ') > 0) FROM system.tables WHERE database = {} AND name = {}",
            quoted(&self.database),
            quoted(&self.table)
        );
        let replicated = format!(
            "SELECT countIf(changed) FROM system.replicated_merge_tree_settings WHERE name = '{SETTING}'"
        );
        let from = format!(
            "FROM system.merge_tree_settings WHERE name = '{SETTING}' AND NOT changed AND NOT readonly AND ({replicated}) = 0 AND ({table}) = 0"
        );
        let is_default = self.query::<u64>("read the merge settings of", "count()", &from);
        match is_default.await {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some(format!(
                "ALTER TABLE {} MODIFY SETTING {SETTING} = {BASE}",
                self.table()
            ))),
            // An answer without the setting, such as a denial, leaves the table as it is.
            Err(error) if error.code().is_some() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Widens the table's merges with the statement of [`Store::merges_statement`]; reports whether
    /// ClickHouse accepted it. They save time at the server alone, so no start ends for a
    /// ClickHouse that rejects them.
    ///
    /// # Errors
    /// Fails when ClickHouse does not answer.
    pub(super) async fn widen_merges(&self, statement: &str) -> Result<bool, StoreError> {
        match self.execute("set the width of merges in", statement).await {
            Err(error) if error.code().is_some() => {
                warn!(%error, statement, "{MERGES_NARROW}");
                Ok(false)
            }
            answer => answer.map(|()| true),
        }
    }
}
