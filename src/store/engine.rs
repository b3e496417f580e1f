//! Engines that keep every row once, and those that do not.

use std::sync::atomic::Ordering;

use super::{Store, StoreError};

/// Places for tokens in a view's target, in the advice.
const TARGET_WINDOW: u64 = 10_000;
/// Places for tokens that a migration gives the table; measured, they cost an insert nothing.
const TABLE_WINDOW: u64 = 100_000;
/// ClickHouse's number for a query that its user has no grant for.
pub(super) const ACCESS_DENIED: u32 = 497;

/// A table's engine as `system.tables` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Engine {
    /// Such as `ReplicatedMergeTree`.
    pub name: String,
    /// With its clauses and settings.
    pub full: String,
    /// What the server has for the setting of [`Engine::window_setting`]; `None` when the user may not
    /// see it, or the table has its own.
    pub default_window: Option<u64>,
}

impl Store {
    /// The engine of a table; `None` when it does not exist or the user may not see it.
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
            self.ask::<Vec<(String, String)>>("read the table's engine from", select, &from);
        let Some((name, full)) = found.await?.pop() else {
            return Ok(None);
        };
        let mut engine = Engine {
            name,
            full,
            default_window: None,
        };
        if engine.is_merge_tree() && engine.own_window().is_none() {
            engine.default_window = self.default_window(&engine).await?;
        }
        Ok(Some(engine))
    }

    /// The tokens that the table keeps. From now on a table that keeps fewer does not fit, as the
    /// caller counts on them.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked, or there is no such table.
    pub async fn window(&self) -> Result<u64, StoreError> {
        let engine = self.engine(&self.database, &self.table).await?;
        let window = engine.and_then(|engine| engine.window());
        let window = window.ok_or_else(|| {
            StoreError::unexpected("the table's deduplication window is not known")
        })?;
        self.window_min.fetch_max(window, Ordering::Relaxed);
        Ok(window)
    }

    /// The statement that has the table keep the tokens that are needed; `None` where it does.
    pub(super) async fn window_statement(&self) -> Result<Option<String>, StoreError> {
        let needed = self.window_min.load(Ordering::Relaxed);
        let engine = self.engine(&self.database, &self.table).await?;
        let engine = engine.unwrap_or_else(Engine::of_migrations);
        if engine.window().is_some_and(|window| window >= needed) {
            return Ok(None);
        }
        Ok(engine.remedy(&self.table(), needed.max(TABLE_WINDOW)))
    }

    async fn default_window(&self, engine: &Engine) -> Result<Option<u64>, StoreError> {
        let settings = match engine.is_replicated() {
            true => "replicated_merge_tree_settings",
            false => "merge_tree_settings",
        };
        let from = format!(
            "FROM system.{settings} WHERE name = '{}'",
            engine.window_setting()
        );
        let select = "groupArray(toUInt64OrZero(value))";
        match self
            .ask::<Vec<u64>>("read a default of", select, &from)
            .await
        {
            Ok(mut values) => Ok(values.pop()),
            Err(error) if error.code() == Some(ACCESS_DENIED) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Engine {
    /// That of the table that the first migration creates, before it does.
    fn of_migrations() -> Self {
        Self {
            name: "MergeTree".to_owned(),
            full: String::new(),
            default_window: None,
        }
    }

    pub(super) fn is_replicated(&self) -> bool {
        self.name.starts_with("Replicated") || self.name.starts_with("Shared")
    }

    /// The engine without the way in which it is replicated.
    fn family(&self) -> &str {
        let name = self.name.strip_prefix("Replicated");
        let name = name.or_else(|| self.name.strip_prefix("Shared"));
        name.unwrap_or(&self.name)
    }

    fn is_merge_tree(&self) -> bool {
        self.family().ends_with("MergeTree")
    }

    /// The setting that says how many tokens it keeps.
    pub fn window_setting(&self) -> &'static str {
        match self.is_replicated() {
            true => "replicated_deduplication_window",
            false => "non_replicated_deduplication_window",
        }
    }

    fn own_window(&self) -> Option<u64> {
        // With the space: the name of the one setting ends as the other's.
        let setting = format!(" {} = ", self.window_setting());
        let value = self.full.split_once(&setting)?.1;
        let end = value.find(|c: char| !c.is_ascii_digit());
        value[..end.unwrap_or(value.len())].parse().ok()
    }

    /// The tokens that it keeps; `None` where the user may not see the server's default.
    pub fn window(&self) -> Option<u64> {
        self.own_window().or(self.default_window)
    }

    /// Whether a block that is sent again is dropped. Where nothing is known of a default, it is
    /// ClickHouse's own: none for a plain MergeTree, some for a replicated one.
    pub fn keeps_tokens(&self) -> bool {
        let window = self.window();
        self.is_merge_tree() && window.map_or(self.is_replicated(), |window| window > 0)
    }

    /// The statement that has a view's target keep tokens; `None` when only another engine helps.
    pub fn target_remedy(&self, target: &str) -> Option<String> {
        self.remedy(target, TARGET_WINDOW)
    }

    fn remedy(&self, table: &str, window: u64) -> Option<String> {
        let setting = self.window_setting();
        self.is_merge_tree()
            .then(|| format!("ALTER TABLE {table} MODIFY SETTING {setting} = {window}"))
    }

    /// Why signals would be lost or repeated in such a table, of which `needed` tokens are expected.
    pub fn fault(&self, table: &str, needed: u64) -> Option<String> {
        let (name, setting) = (&self.name, self.window_setting());
        let because = match self.family() {
            "MergeTree" => {
                let remedy = self.remedy(table, needed.max(TABLE_WINDOW))?;
                let fault = match self.window() {
                    Some(window) if window >= needed => return None,
                    Some(0) => format!(
                        "its setting {setting} is 0, so that an insert that is sent again repeats its rows"
                    ),
                    Some(window) => format!(
                        "its setting {setting} is {window}, and the daemon counts on {needed} (10000; twice batch.max_inserts_per_second times the seconds of clickhouse.fence and clickhouse.late_commit; or as many as there were when it started)"
                    ),
                    None => format!(
                        "it has no {setting}, and the user may not see whether the server has (system.merge_tree_settings), so that an insert that is sent again may repeat its rows"
                    ),
                };
                return Some(format!("{fault} ({remedy})"));
            }
            // Rows of one key are not always one signal: a stream that was made again counts from one.
            _ if self.is_merge_tree() => {
                "which merges or drops rows of one sorting key: copy them into a table with ENGINE = MergeTree"
            }
            "Null" => {
                "which stores nothing: make it with ENGINE = MergeTree (`risksignal migrate`)"
            }
            "Buffer" | "Distributed" => {
                "which answers before rows are stored: set clickhouse.table to the table behind it"
            }
            "View" | "MaterializedView" => {
                "which is no table: set clickhouse.table to the table behind it"
            }
            _ => {
                "which keeps no tokens, so that an insert that is sent again repeats its rows: make it with ENGINE = MergeTree (`risksignal migrate`)"
            }
        };
        Some(format!("its engine is {name}, {because}"))
    }
}

/// A text as SQL has it. Names come from ClickHouse.
pub(super) fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('\'', "\\'");
    format!("'{escaped}'")
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
            assert_eq!(engine.fault("d.t", 10_000), None, "{full}");
            assert!(engine.keeps_tokens());
        }
        let zero = "MODIFY SETTING non_replicated_deduplication_window = 100000";
        let replicated = "MODIFY SETTING replicated_deduplication_window = 100000";
        for (full, default_window, words) in [
            ("MergeTree ORDER BY a", Some(0), zero),
            ("MergeTree ORDER BY a", None, zero),
            ("MergeTree ORDER BY a", Some(9_999), zero),
            ("MergeTree ORDER BY a", Some(9_999), "is 9999, and"),
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
            // The setting of the other kind of engine is none.
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
            let fault = engine(full, default_window).fault("d.t", 10_000).unwrap();
            assert!(fault.contains(words), "{full}: {fault}");
        }
    }

    #[test]
    fn a_name_cannot_end_its_quotes() {
        assert_eq!(quoted(r"a'b\"), r"'a\'b\\'");
    }
}
