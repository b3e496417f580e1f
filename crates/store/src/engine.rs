//! Check of the table's engine and its deduplication window.

use std::sync::atomic::Ordering;

use super::codes::ACCESS_DENIED;
use super::sql::quoted;
use super::{Store, StoreError};

/// Recommended number of tokens in a view's target.
const TARGET_WINDOW: u64 = 10_000;
/// Number of tokens that a migration makes the table keep. Measured, it costs an insert nothing.
const TABLE_WINDOW: u64 = 100_000;
/// Setting of the time that a replicated table keeps a token.
const AGE_SETTING: &str = "replicated_deduplication_window_seconds";
/// Recommended value in seconds: the longest life of a claim that the settings' rules allow.
const AGE: u64 = 3_600;

/// Engine of a table, read from `system.tables`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Engine {
    /// Name, such as `ReplicatedMergeTree`.
    pub name: String,
    /// Engine with its clauses and settings.
    pub full: String,
    /// Server's default for the setting [`Engine::window_setting`]; `None` if the user may not see
    /// it, or the table has its own value.
    pub default_window: Option<u64>,
    /// Server's default for [`AGE_SETTING`].
    pub default_age: Option<u64>,
}

impl Store {
    /// Reads the engine of a table; `None` if the table does not exist or the user may not see it.
    pub(super) async fn engine(
        &self,
        database: &str,
        table: &str,
    ) -> Result<Option<Engine>, StoreError> {
        let from = format!(
            "FROM system.tables WHERE database = {} AND name = {}",
            quoted(database),
            quoted(table)
        );
        let select = "groupArray((engine, engine_full))";
        let found =
            self.query::<Vec<(String, String)>>("read the table's engine from", select, &from);
        let Some((name, full)) = found.await?.pop() else {
            return Ok(None);
        };
        let mut engine = Engine {
            name,
            full,
            default_window: None,
            default_age: None,
        };
        if engine.is_merge_tree() && engine.own_window().is_none() {
            let setting = engine.window_setting();
            engine.default_window = self.default_of(&engine, setting).await?;
        }
        if engine.is_replicated() && engine.own(AGE_SETTING).is_none() {
            engine.default_age = self.default_of(&engine, AGE_SETTING).await?;
        }
        Ok(Some(engine))
    }

    /// Returns the number of tokens that the table keeps. From now on the table must keep as many,
    /// since the caller relies on them.
    ///
    /// # Errors
    /// Fails when ClickHouse does not answer, or the table does not exist.
    pub async fn window(&self) -> Result<u64, StoreError> {
        let engine = self.engine(&self.database, &self.table).await?;
        let window = engine.and_then(|engine| engine.window());
        let window = window.ok_or_else(|| {
            StoreError::unexpected("the table's deduplication window is not known")
        })?;
        self.window_min.fetch_max(window, Ordering::Relaxed);
        Ok(window)
    }

    /// Returns the statement that makes the table keep the required tokens; `None` if it does.
    pub(super) async fn window_statement(&self) -> Result<Option<String>, StoreError> {
        let needed = self.window_min.load(Ordering::Relaxed);
        let engine = self.engine(&self.database, &self.table).await?;
        let engine = engine.unwrap_or_else(Engine::migration_default);
        if engine.window().is_some_and(|window| window >= needed) {
            return Ok(None);
        }
        Ok(engine.remedy(&self.table(), needed.max(TABLE_WINDOW)))
    }

    async fn default_of(&self, engine: &Engine, setting: &str) -> Result<Option<u64>, StoreError> {
        let settings = match engine.is_replicated() {
            true => "replicated_merge_tree_settings",
            false => "merge_tree_settings",
        };
        let from = format!("FROM system.{settings} WHERE name = '{setting}'");
        let select = "groupArray(toUInt64OrZero(value))";
        match self
            .query::<Vec<u64>>("read a default of", select, &from)
            .await
        {
            Ok(mut values) => Ok(values.pop()),
            Err(error) if error.code() == Some(ACCESS_DENIED) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Engine {
    /// Returns the engine of the table that the first migration creates.
    fn migration_default() -> Self {
        Self {
            name: "MergeTree".to_owned(),
            full: String::new(),
            default_window: None,
            default_age: None,
        }
    }

    pub(super) fn is_replicated(&self) -> bool {
        self.name.starts_with("Replicated") || self.name.starts_with("Shared")
    }

    /// Returns the engine's name without its kind of replication.
    fn family(&self) -> &str {
        let name = self.name.strip_prefix("Replicated");
        let name = name.or_else(|| self.name.strip_prefix("Shared"));
        name.unwrap_or(&self.name)
    }

    /// Explains the fault if tokens expire from a replicated table too early.
    fn age_fault(&self, table: &str, seconds: u64) -> Option<String> {
        let age = self.own(AGE_SETTING).or(self.default_age);
        let age = age.filter(|age| self.is_replicated() && *age < seconds)?;
        let longer = AGE.max(seconds);
        Some(format!(
            "its setting {AGE_SETTING} is {age}, but a block may be sent again for {seconds} s (clickhouse.fence and clickhouse.late_commit), which would repeat its rows (ALTER TABLE {table} MODIFY SETTING {AGE_SETTING} = {longer})"
        ))
    }

    fn is_merge_tree(&self) -> bool {
        self.family().ends_with("MergeTree")
    }

    /// Returns the setting of the number of kept tokens.
    pub fn window_setting(&self) -> &'static str {
        match self.is_replicated() {
            true => "replicated_deduplication_window",
            false => "non_replicated_deduplication_window",
        }
    }

    fn own_window(&self) -> Option<u64> {
        self.own(self.window_setting())
    }

    /// Returns the table's own value of a setting.
    fn own(&self, setting: &str) -> Option<u64> {
        // With a space, since one setting's name ends with another's.
        let setting = format!(" {setting} = ");
        let value = self.full.split_once(&setting)?.1;
        let end = value.find(|c: char| !c.is_ascii_digit());
        value[..end.unwrap_or(value.len())].parse().ok()
    }

    /// Returns the number of kept tokens; `None` if the user may not see the server's default.
    pub fn window(&self) -> Option<u64> {
        self.own_window().or(self.default_window)
    }

    /// Reports whether the table drops a repeated block. If the default is unknown, assumes
    /// ClickHouse's own: no tokens for a plain MergeTree, some for a replicated one.
    pub fn keeps_tokens(&self) -> bool {
        let window = self.window();
        self.is_merge_tree() && window.map_or(self.is_replicated(), |window| window > 0)
    }

    /// Returns the statement that makes a view's target keep tokens; `None` if it needs another
    /// engine.
    pub fn target_remedy(&self, target: &str) -> Option<String> {
        self.remedy(target, TARGET_WINDOW)
    }

    fn remedy(&self, table: &str, window: u64) -> Option<String> {
        let setting = self.window_setting();
        self.is_merge_tree()
            .then(|| format!("ALTER TABLE {table} MODIFY SETTING {setting} = {window}"))
    }

    /// Explains why such a table would lose or repeat signals, if it must keep `needed` tokens for
    /// `seconds` each.
    pub fn fault(&self, table: &str, needed: u64, seconds: u64) -> Option<String> {
        let (name, setting) = (&self.name, self.window_setting());
        let because = match self.family() {
            "MergeTree" => {
                let remedy = self.remedy(table, needed.max(TABLE_WINDOW))?;
                let fault = match self.window() {
                    Some(window) if window >= needed => return self.age_fault(table, seconds),
                    Some(0) => {
                        format!("its setting {setting} is 0, so a repeated insert repeats its rows")
                    }
                    Some(window) => format!(
                        "its setting {setting} is {window}, but the daemon relies on {needed} (10000; twice batch.max_inserts_per_second times the seconds of clickhouse.fence and clickhouse.late_commit; or as many as the table had at its start)"
                    ),
                    None => format!(
                        "it has no {setting}, and the user may not see whether the server has (system.merge_tree_settings), so a repeated insert may repeat its rows"
                    ),
                };
                return Some(format!("{fault} ({remedy})"));
            }
            // Rows of one key may be different signals: a recreated stream counts from one.
            _ if self.is_merge_tree() => {
                "which merges or drops rows of one sorting key: copy them into a table with ENGINE = MergeTree"
            }
            "Null" => {
                "which stores nothing: create it with ENGINE = MergeTree (`risksignal migrate`)"
            }
            "Buffer" | "Distributed" => {
                "which answers before rows are stored: set clickhouse.table to its underlying table"
            }
            "View" | "MaterializedView" => {
                "which is not a table: set clickhouse.table to its underlying table"
            }
            _ => {
                "which keeps no tokens, so a repeated insert repeats its rows: create it with ENGINE = MergeTree (`risksignal migrate`)"
            }
        };
        Some(format!("its engine is {name}, {because}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(full: &str, default_window: Option<u64>) -> Engine {
        let name = full.split(['(', ' ']).next().unwrap();
        Engine {
            name: name.trim_matches('`').to_owned(),
            full: full.to_owned(),
            default_window,
            default_age: None,
        }
    }

    #[test]
    fn only_a_merge_tree_with_tokens_fits() {
        let own = "MergeTree ORDER BY a SETTINGS index_granularity = 2048, non_replicated_deduplication_window = 10000";
        for (full, default_window) in [
            (own, None),
            ("MergeTree ORDER BY a", Some(10_000)),
            (
                "ReplicatedMergeTree('/x', '{replica}') ORDER BY a",
                Some(10_000),
            ),
            (
                "SharedMergeTree('/x', '{replica}') ORDER BY a SETTINGS replicated_deduplication_window = 20000",
                None,
            ),
        ] {
            let engine = engine(full, default_window);
            assert_eq!(engine.fault("d.t", 10_000, 150), None, "{full}");
            assert!(engine.keeps_tokens());
        }
        let zero = "MODIFY SETTING non_replicated_deduplication_window = 100000";
        let replicated = "MODIFY SETTING replicated_deduplication_window = 100000";
        for (full, default_window, words) in [
            ("MergeTree ORDER BY a", Some(0), zero),
            ("MergeTree ORDER BY a", None, zero),
            ("MergeTree ORDER BY a", Some(9_999), zero),
            ("MergeTree ORDER BY a", Some(9_999), "is 9999, but"),
            (
                "ReplicatedMergeTree('/x', 'r') ORDER BY a",
                None,
                replicated,
            ),
            (
                "MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 0",
                Some(100),
                zero,
            ),
            (
                "ReplicatedMergeTree ORDER BY a SETTINGS replicated_deduplication_window = 0",
                None,
                replicated,
            ),
            // Ignores the setting of the other kind of engine.
            (
                "ReplicatedMergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 5",
                Some(0),
                replicated,
            ),
            ("ReplacingMergeTree ORDER BY a", Some(100), "merges"),
            ("ReplicatedSummingMergeTree ORDER BY a", Some(100), "merges"),
            ("Distributed('c', 'd', 't')", None, "engine is Distributed"),
            ("Buffer('d', 't', 1)", None, "clickhouse.table"),
            ("`Null`", None, "stores nothing"),
            ("Log", None, "engine is Log"),
        ] {
            let fault = engine(full, default_window)
                .fault("d.t", 10_000, 150)
                .unwrap();
            assert!(fault.contains(words), "{full}: {fault}");
        }
    }

    #[test]
    fn a_replicated_table_keeps_tokens_for_as_long_as_a_block_may_be_sent_again() {
        let own = |age| {
            let full = format!(
                "ReplicatedMergeTree ORDER BY a SETTINGS replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = {age}"
            );
            engine(&full, None)
        };
        let by_default = |age| Engine {
            default_age: Some(age),
            ..engine("SharedMergeTree ORDER BY a", Some(10_000))
        };
        let remedy = "MODIFY SETTING replicated_deduplication_window_seconds = 3600";
        for fits in [own(150), by_default(150)] {
            assert_eq!(fits.fault("d.t", 10_000, 150), None, "{fits:?}");
        }
        for short in [own(149), by_default(149), own(0)] {
            let fault = short.fault("d.t", 10_000, 150).unwrap();
            assert!(fault.contains(remedy), "{fault}");
        }
        // A plain table keeps tokens by number only.
        let plain = Engine {
            default_age: Some(1),
            ..engine("MergeTree ORDER BY a", Some(10_000))
        };
        assert_eq!(plain.fault("d.t", 10_000, 150), None);
    }

    #[test]
    fn a_name_cannot_end_its_quotes() {
        assert_eq!(quoted(r"a'b\"), r"'a\'b\\'");
    }
}
