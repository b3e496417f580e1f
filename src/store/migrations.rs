//! Versioned migrations, and the ledger of those that a table has.
//!
//! A migration is a file in `migrations/`, named by its number and what it does. A file that was
//! released never changes: tables exist that it made. What has to be different is a new file. Its
//! statements may run twice, since two instances may run them at once.
//!
//! The views of migration 4 read the table when a query asks them. So they cost an insert nothing,
//! and have each signal as often as the table does: once. A materialized view is filled by a second
//! insert behind the first; when that one fails, the rows are in the table, and no retry fills the view.
//! Their statements quote integers beyond 64 bits in a payload, because ClickHouse's JSON functions refuse
//! the whole text otherwise.

use std::collections::BTreeSet;
use std::time::Duration;

use super::schema::SchemaError;
use super::{Store, StoreError};

/// The table's default name. Its views have no prefix.
const USUAL_TABLE: &str = "raw_signals";
/// Statement separator within a file.
const END_OF_STATEMENT: &str = ";\n";

/// Name and text of each file, in the order of their numbers. The number is the first word.
const FILES: [(&str, &str); 6] = [
    (
        "0001_create_the_table_of_signals",
        include_str!("migrations/0001_create_the_table_of_signals.sql"),
    ),
    (
        "0002_reject_late_inserts",
        include_str!("migrations/0002_reject_late_inserts.sql"),
    ),
    (
        "0003_record_payload_faults",
        include_str!("migrations/0003_record_payload_faults.sql"),
    ),
    (
        "0004_create_views_of_each_kind_of_event",
        include_str!("migrations/0004_create_views_of_each_kind_of_event.sql"),
    ),
    (
        "0005_store_claims",
        include_str!("migrations/0005_store_claims.sql"),
    ),
    (
        "0006_record_claims_logs",
        include_str!("migrations/0006_record_claims_logs.sql"),
    ),
];

/// A step from one version of the schema to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// Counts from 1. The ledger knows a migration by it.
    pub version: u32,
    /// Description, for people.
    pub name: String,
    /// ClickHouse SQL, in order.
    pub statements: Vec<String>,
}

/// The version since which rows carry claims.
const CLAIMS_SINCE: u32 = 5;

/// Newest version of the schema that this program knows.
pub const NEWEST: u32 = FILES.len() as u32;

impl Store {
    fn migrations(&self) -> Vec<Migration> {
        let prefix = match self.table.as_str() {
            USUAL_TABLE => String::new(),
            table => format!("{table}_"),
        };
        let statement = |sql: &str| {
            sql.replace("{database}", &self.database)
                .replace("{table}", &self.table)
                .replace("{prefix}", &prefix)
        };
        (1..)
            .zip(FILES)
            .map(|(version, (file, text))| Migration {
                version,
                name: file.split('_').skip(1).collect::<Vec<_>>().join(" "),
                statements: text
                    .split_terminator(END_OF_STATEMENT)
                    .map(|sql| statement(sql.trim()))
                    .collect(),
            })
            .collect()
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
        statements.extend(self.window_statement().await?);
        statements.extend(self.retention_statement().await?);
        Ok(statements)
    }

    /// Brings the schema up to date and returns the migrations that were applied. Safe to run
    /// again, and from several instances at once.
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
        let mut done = Vec::new();
        for migration in self.migrations() {
            // Read each time: a later migration takes back what an earlier one set, so one that
            // another instance has applied meanwhile must not be run again behind it.
            if self.applied().await?.contains(&migration.version) {
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
        if let Some(statement) = self.window_statement().await? {
            self.execute("set the deduplication window in", &statement)
                .await?;
        }
        if let Some(statement) = self.retention_statement().await? {
            self.execute("set the retention in", &statement).await?;
        }
        Ok(done)
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

    /// The newest recorded version, when this program does not know it: a newer release has
    /// migrated the table. That is no fault. A migration that an older release must not work with
    /// makes the table unfit for it, which [`Store::verify`] reports; with any other, a rolling
    /// upgrade and a rollback go on.
    ///
    /// # Errors
    /// When ClickHouse fails.
    pub async fn newer_version(&self) -> Result<Option<u32>, SchemaError> {
        let version = self.schema_version().await?;
        Ok(version.filter(|version| *version > NEWEST))
    }

    /// Seconds since the table takes claims and refuses inserts without them, by ClickHouse's clock.
    /// Very many where the ledger does not say it.
    ///
    /// # Errors
    /// When ClickHouse fails.
    pub async fn claims_age(&self) -> Result<i64, StoreError> {
        let from = format!(
            "FROM {} WHERE table_name = '{}' AND version = {CLAIMS_SINCE}",
            self.ledger(),
            self.table
        );
        let select = "toInt64(toUnixTimestamp(now())) - toInt64(toUnixTimestamp(min(applied_at)))";
        self.ask("read the migrations from", select, &from).await
    }

    async fn ledger_exists(&self) -> Result<bool, StoreError> {
        let from = format!(
            "FROM system.tables WHERE database = '{}' AND name = 'schema_migrations'",
            self.database
        );
        let count: u64 = self
            .ask("look for the migrations in", "count()", &from)
            .await?;
        Ok(count > 0)
    }

    async fn applied(&self) -> Result<BTreeSet<u32>, StoreError> {
        let from = format!("FROM {} WHERE table_name = '{}'", self.ledger(), self.table);
        let select = "groupUniqArray(version)";
        let versions = self.ask::<Vec<u32>>("read the migrations from", select, &from);
        Ok(versions.await?.into_iter().collect())
    }

    /// Sets the table's TTL to the retention; zero leaves the table as it is.
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
            .ask("read the table's TTL from", &select, &from)
            .await?;
        if has_it > 0 {
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sha2::{Digest, Sha256};

    use super::*;
    use crate::settings::Settings;

    /// SHA-256 of each file as it was released. A new file adds a line; no line ever changes.
    const FROZEN: [&str; FILES.len()] = [
        "12cbccc407a1f20046fb64383ae433bc75f7d0737c737a10b0e3ee42b0f8ca09",
        "7760c08b1c39755ad33aac4024d0bc3d2b7b5a338a95d09de752da35aa5af4ad",
        "2faab443b2d1109a0fcbcab0f55b25a61ba0dd298a7abf2e5bc266ce94d66532",
        "46204927694976c66624be6bb5cc836e288b183bcddca65c1ba14a74cdd93efa",
        "638fe67ae938512b163cfa1198958a35e3ee53ddf3ee8cb025bae3092ac33056",
        "c3d1983c22615b7b84857b959271d6a730a304de693aeeee5639dfb38a5c06a9",
    ];

    #[test]
    fn no_file_changes_once_it_is_released() {
        let hashes = FILES.map(|(_, text)| {
            let hash = Sha256::digest(text);
            hash.iter().map(|byte| format!("{byte:02x}")).collect()
        });
        let hashes: [String; FILES.len()] = hashes;
        assert_eq!(hashes, FROZEN, "write a new migration instead");
    }

    #[test]
    fn every_file_is_known_and_numbered_without_gaps() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/migrations");
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let known = FILES.map(|(name, _)| format!("{name}.sql"));
        assert_eq!(names, known);
        for (number, name) in (1..).zip(names) {
            assert!(name.starts_with(&format!("{number:04}_")), "{name}");
        }
    }

    #[test]
    fn statements_name_the_table_of_the_settings_and_end_nowhere_else() {
        for (table, view) in [
            ("raw_signals", "risksignal.transactions"),
            ("staging", "risksignal.staging_transactions"),
        ] {
            let mut settings = Settings::default();
            settings.clickhouse.table = table.to_owned();
            let store = Store::new(&settings.clickhouse).unwrap();
            let statements: Vec<String> = store
                .migrations()
                .into_iter()
                .flat_map(|migration| migration.statements)
                .collect();
            assert_eq!(statements.len(), 10);
            for statement in &statements {
                assert!(
                    statement.starts_with("CREATE ") || statement.starts_with("ALTER "),
                    "{statement}"
                );
                assert!(statement.contains(&format!("risksignal.{table}")));
                for placeholder in ["{database}", "{table}", "{prefix}", "{view}", "{payload}"] {
                    assert!(!statement.contains(placeholder), "{statement}");
                }
                assert!(!statement.ends_with(';'), "{statement}");
            }
            assert!(statements[3].starts_with(&format!("CREATE VIEW IF NOT EXISTS {view}\n")));
        }
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
