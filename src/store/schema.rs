//! The schema: versioned migrations, and the check that the table fits the rows.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use clickhouse::Row;
use serde::Deserialize;

use super::insert::DEADLINE_OVER;
use super::row::COLUMNS;
use super::{Remedy, Store, StoreError};

/// Why the schema is not as the daemon needs it.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// ClickHouse failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The table is absent, or its columns are not those that the daemon fills.
    #[error(
        "table {table} does not fit: {}; nothing is inserted until it does",
        .faults.join("; ")
    )]
    Mismatch {
        /// The table's full name.
        table: String,
        /// What is wrong, one for each column.
        faults: Vec<String>,
    },
}

impl SchemaError {
    /// Whether the table is at fault, and not the server or the user.
    pub fn concerns_schema(&self) -> bool {
        match self {
            Self::Store(error) => error.concerns_schema(),
            Self::Mismatch { .. } => true,
        }
    }

    /// What helps.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Store(error) => error.remedy(),
            Self::Mismatch { .. } => Remedy::Halt,
        }
    }
}

/// A step from one version of the schema to the next. Every statement may run again, since
/// two instances may run it at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// Counts from 1.
    pub version: u32,
    /// What it does.
    pub name: &'static str,
    /// ClickHouse SQL, in order.
    pub statements: Vec<String>,
}

impl Store {
    fn migrations(&self) -> Vec<Migration> {
        let for_table = |sql: &str| vec![sql.trim_end().replace("{table}", &self.table())];
        vec![
            Migration {
                version: 1,
                name: "create the table of signals",
                statements: for_table(include_str!("raw_signals.sql")),
            },
            Migration {
                version: 2,
                name: "have the table refuse an insert that comes too late",
                statements: for_table(include_str!("insert_deadline.sql")),
            },
            Migration {
                version: 3,
                name: "have a row tell what of its payload breaks the contract",
                statements: for_table(include_str!("payload_faults.sql")),
            },
            Migration {
                version: 4,
                name: "show each kind of event with its fields in columns",
                statements: self.views(),
            },
        ]
    }

    fn ledger(&self) -> String {
        format!("{}.schema_migrations", self.database)
    }

    /// The statements that make room for the first migration; they change nothing when run
    /// again.
    fn preparation(&self) -> [String; 2] {
        [
            format!("CREATE DATABASE IF NOT EXISTS {}", self.database),
            format!(
                "CREATE TABLE IF NOT EXISTS {} (table_name String, version UInt32, name String, applied_at DateTime64(3, 'UTC')) ENGINE = ReplacingMergeTree(applied_at) ORDER BY (table_name, version)",
                self.ledger()
            ),
        ]
    }

    /// The statements that [`Store::migrate`] would run now, without running any.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked what has been applied.
    pub async fn pending(&self) -> Result<Vec<String>, SchemaError> {
        let mut statements = Vec::new();
        let applied = if self.ledger_exists().await? {
            self.applied().await?
        } else {
            statements.extend(self.preparation());
            BTreeSet::new()
        };
        for migration in self.migrations() {
            if !applied.contains(&migration.version) {
                statements.extend(migration.statements);
            }
        }
        statements.extend(self.retention_statement().await?);
        Ok(statements)
    }

    /// Brings the schema up to date and returns what was applied. Safe to run again, and
    /// from several instances at once.
    ///
    /// # Errors
    /// When ClickHouse fails; what was applied until then stays recorded.
    pub async fn migrate(&self) -> Result<Vec<Migration>, SchemaError> {
        // A user who may only insert and select can run against a schema that is up to date.
        if !self.ledger_exists().await? {
            for statement in self.preparation() {
                self.execute("migrate the schema of", &statement).await?;
            }
        }
        let applied = self.applied().await?;
        let mut done = Vec::new();
        for migration in self.migrations() {
            if applied.contains(&migration.version) {
                continue;
            }
            for statement in &migration.statements {
                self.execute("migrate the schema of", statement).await?;
            }
            let record = format!(
                "INSERT INTO {} SELECT '{}', {}, '{}', now64(3)",
                self.ledger(),
                self.table,
                migration.version,
                migration.name,
            );
            self.execute("record a migration in", &record).await?;
            done.push(migration);
        }
        if let Some(statement) = self.retention_statement().await? {
            self.execute("set the retention in", &statement).await?;
        }
        Ok(done)
    }

    /// Checks that the table has every column that an insert fills, with its type, and that it
    /// refuses late inserts.
    ///
    /// # Errors
    /// [`SchemaError::Mismatch`] with every difference.
    pub async fn verify(&self) -> Result<(), SchemaError> {
        let found: HashMap<String, Found> = self
            .fetch_all::<Found>(
                "read the table's columns from",
                &format!(
                    "SELECT name, type, default_expression FROM system.columns WHERE database = '{}' AND table = '{}'",
                    self.database, self.table
                ),
            )
            .await?
            .into_iter()
            .map(|column| (column.name.clone(), column))
            .collect();
        let faults = if found.is_empty() {
            vec![
                "it does not exist, or the user may not see it (`risksignal migrate` creates it)"
                    .to_owned(),
            ]
        } else {
            differences(&found)
        };
        if faults.is_empty() {
            return Ok(());
        }
        Err(SchemaError::Mismatch {
            table: self.table(),
            faults,
        })
    }

    /// The newest version that is recorded as applied.
    ///
    /// # Errors
    /// When ClickHouse fails.
    pub async fn schema_version(&self) -> Result<Option<u32>, SchemaError> {
        if !self.ledger_exists().await? {
            return Ok(None);
        }
        Ok(self.applied().await?.last().copied())
    }

    async fn ledger_exists(&self) -> Result<bool, StoreError> {
        let count = self
            .fetch_all::<u64>(
                "look for the migrations in",
                &format!(
                    "SELECT count() FROM system.tables WHERE database = '{}' AND name = 'schema_migrations'",
                    self.database
                ),
            )
            .await?;
        Ok(count.first().is_some_and(|count| *count > 0))
    }

    async fn applied(&self) -> Result<BTreeSet<u32>, StoreError> {
        let versions = self
            .fetch_all::<u32>(
                "read the migrations from",
                &format!(
                    "SELECT DISTINCT version FROM {} WHERE table_name = '{}'",
                    self.ledger(),
                    self.table
                ),
            )
            .await?;
        Ok(versions.into_iter().collect())
    }

    /// Sets the table's TTL to the retention; zero leaves the table as it is.
    async fn retention_statement(&self) -> Result<Option<String>, StoreError> {
        let Some(ttl) = retention_ttl(self.retention) else {
            return Ok(None);
        };
        let has_it = self
            .fetch_all::<u8>(
                "read the table's TTL from",
                &format!(
                    "SELECT position(engine_full, '{ttl}') > 0 FROM system.tables WHERE database = '{}' AND name = '{}'",
                    self.database, self.table
                ),
            )
            .await?;
        if has_it.first() == Some(&1) {
            return Ok(None);
        }
        Ok(Some(format!("ALTER TABLE {} MODIFY {ttl}", self.table())))
    }
}

/// The TTL clause as ClickHouse spells it back. Counted from the arrival, not from the event
/// time, so that a backfill of old events is not removed at once.
fn retention_ttl(retention: Duration) -> Option<String> {
    let seconds = retention.as_secs();
    (seconds > 0).then(|| format!("TTL toDateTime(published_at) + toIntervalSecond({seconds})"))
}

/// A column as `system.columns` tells of it.
#[derive(Debug, Clone, Row, Deserialize)]
struct Found {
    name: String,
    r#type: String,
    default_expression: String,
}

fn differences(found: &HashMap<String, Found>) -> Vec<String> {
    let mut differences: Vec<String> = COLUMNS
        .iter()
        .filter_map(|column| match found.get(column.name) {
            None => Some(format!(
                "column {0} {1} is missing (ALTER TABLE … ADD COLUMN {0} {1})",
                column.name, column.data_type
            )),
            Some(Found { r#type, .. }) if r#type != column.data_type => Some(format!(
                "column {} is {type} and must be {}",
                column.name, column.data_type
            )),
            Some(_) => None,
        })
        .collect();
    let refuses_late = |column: &Found| column.default_expression.contains(DEADLINE_OVER);
    if !found.get("ingested_at").is_some_and(refuses_late) {
        differences.push(
            "the default of column ingested_at does not refuse a late insert (`risksignal migrate` sets it)"
                .to_owned(),
        );
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_told() {
        let column = |name: &str, r#type: &str, default_expression: &str| {
            let found = Found {
                name: name.to_owned(),
                r#type: r#type.to_owned(),
                default_expression: default_expression.to_owned(),
            };
            (name.to_owned(), found)
        };
        let mut found: HashMap<String, Found> = COLUMNS
            .iter()
            .map(|wanted| column(wanted.name, wanted.data_type, ""))
            .collect();
        found.extend([
            column("notes", "String", ""),
            column("ingested_at", "DateTime64(3, 'UTC')", DEADLINE_OVER),
        ]);
        assert_eq!(differences(&found), Vec::<String>::new());
        found.remove("trace_id");
        found.extend([
            column("severity", "String", ""),
            column("ingested_at", "DateTime64(3, 'UTC')", "now64(3)"),
        ]);
        assert_eq!(
            differences(&found),
            [
                "column severity is String and must be UInt8",
                "column trace_id UUID is missing (ALTER TABLE … ADD COLUMN trace_id UUID)",
                "the default of column ingested_at does not refuse a late insert (`risksignal migrate` sets it)"
            ]
        );
    }

    #[test]
    fn no_retention_is_no_ttl() {
        assert_eq!(retention_ttl(Duration::ZERO), None);
        assert_eq!(
            retention_ttl(Duration::from_secs(86_400)).as_deref(),
            Some("TTL toDateTime(published_at) + toIntervalSecond(86400)")
        );
    }
}
