//! Versioned migrations, and the ledger of those applied to a table.
//!
//! A migration is a file in `migrations/`, named by its number and effect. A released file never
//! changes, since tables were created with it; a change needs a new file. Its statements may run
//! twice, since two instances may run them at once.
//!
//! The views of migration 4 read the table at query time. So they cost an insert nothing, and have
//! each signal once, as the table does. A materialized view would be filled by a second insert:
//! when that fails, the rows are in the table, and no retry fills the view. Their statements quote
//! integers beyond 64 bits in a payload, because ClickHouse's JSON functions otherwise reject the
//! whole text.

use std::collections::BTreeSet;

use super::adjust::Adjustment;
use super::effect::{Effect, Ingest, PendingStep, TableSize};
use super::schema::SchemaError;
use super::{Store, StoreError};

/// Default name of the table, whose views have no prefix.
const USUAL_TABLE: &str = "raw_signals";
const RECORD: &str = "record a migration in";
/// Separator of statements within a file.
const END_OF_STATEMENT: &str = ";\n";

/// Name and text of each file, by number, and the effects of its statements on a table with rows.
/// The number is the first word. tests/it/migrate.rs compares the effects with a real server.
const FILES: [(&str, &str, &[Effect]); 6] = [
    (
        "0001_create_the_table_of_signals",
        include_str!("migrations/0001_create_the_table_of_signals.sql"),
        &[Effect::Metadata],
    ),
    (
        "0002_reject_late_inserts",
        include_str!("migrations/0002_reject_late_inserts.sql"),
        &[Effect::Metadata],
    ),
    (
        "0003_record_payload_faults",
        include_str!("migrations/0003_record_payload_faults.sql"),
        &[Effect::Metadata],
    ),
    (
        "0004_create_views_of_each_kind_of_event",
        include_str!("migrations/0004_create_views_of_each_kind_of_event.sql"),
        &[Effect::Metadata; 3],
    ),
    (
        "0005_store_claims",
        include_str!("migrations/0005_store_claims.sql"),
        // The dropped column has no data: it was never stored.
        &[Effect::Metadata, Effect::Metadata, Effect::Relink],
    ),
    (
        "0006_record_claims_logs",
        include_str!("migrations/0006_record_claims_logs.sql"),
        &[Effect::Metadata],
    ),
];

/// A step from one version of the schema to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// Version, from 1, by which the ledger identifies the migration.
    pub version: u32,
    /// Description, for people.
    pub name: String,
    /// ClickHouse SQL statements, in order.
    pub statements: Vec<String>,
    effects: &'static [Effect],
}

/// Changes that [`Store::migrate`] made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Migrated {
    /// Applied migrations.
    pub migrations: Vec<Migration>,
    /// Changed settings of the table.
    pub adjustments: Vec<Adjustment>,
}

/// First version whose rows carry claims.
const CLAIMS_SINCE: u32 = 5;

/// First version with a ledger of claims logs.
const LOGS_SINCE: u32 = 6;

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
            .map(|(version, (file, text, effects))| Migration {
                version,
                name: file.split('_').skip(1).collect::<Vec<_>>().join(" "),
                statements: text
                    .split_terminator(END_OF_STATEMENT)
                    .map(|sql| statement(sql.trim()))
                    .collect(),
                effects,
            })
            .collect()
    }

    fn ledger(&self) -> String {
        format!("{}.schema_migrations", self.database)
    }

    /// Returns the statements before the first migration. Running them again changes nothing.
    fn preparation(&self) -> [String; 2] {
        [
            format!("CREATE DATABASE IF NOT EXISTS {}", self.database),
            format!(
                "CREATE TABLE IF NOT EXISTS {} (table_name String, version UInt32, name String, applied_at DateTime64(3, 'UTC')) ENGINE = ReplacingMergeTree(applied_at) ORDER BY (table_name, version)",
                self.ledger()
            ),
        ]
    }

    /// Returns the migrations that [`Store::migrate`] would apply now, with their costs for a table
    /// of this size.
    ///
    /// # Errors
    /// Fails when ClickHouse does not report the applied migrations.
    pub(super) async fn pending_migrations(
        &self,
        size: TableSize,
    ) -> Result<Vec<PendingStep>, SchemaError> {
        let mut steps = Vec::new();
        let mut applied = BTreeSet::new();
        if self.ledger_exists().await? {
            applied = self.applied().await?;
        } else {
            let statements = self.preparation().into_iter();
            steps.push(PendingStep {
                version: None,
                name: "create the ledger of migrations".to_owned(),
                ingest: Ingest::Continues,
                statements: statements
                    .map(|sql| Effect::Metadata.cost(sql, size))
                    .collect(),
            });
        }
        for migration in self.migrations() {
            if applied.contains(&migration.version) {
                continue;
            }
            let statements = migration.statements.into_iter().zip(migration.effects);
            steps.push(PendingStep {
                version: Some(migration.version),
                name: migration.name,
                ingest: match migration.version {
                    CLAIMS_SINCE => Ingest::StopsOlderReleases,
                    _ => Ingest::Continues,
                },
                statements: statements
                    .map(|(sql, effect)| effect.cost(sql, size))
                    .collect(),
            });
        }
        Ok(steps)
    }

    /// Brings the schema up to date and returns the changes. It is safe to repeat, and to run from
    /// several instances at once.
    ///
    /// # Errors
    /// Fails when ClickHouse fails; the migrations applied so far stay recorded.
    pub async fn migrate(&self) -> Result<Migrated, SchemaError> {
        // A user with insert and select only can run against an up-to-date schema.
        if !self.ledger_exists().await? {
            for statement in self.preparation() {
                self.execute("migrate the schema of", &statement).await?;
            }
        }
        let mut done = Vec::new();
        for migration in self.migrations() {
            // Read each time: a later migration may revert an earlier one, so a migration that
            // another instance has applied meanwhile must not run again after it.
            if self.applied().await?.contains(&migration.version) {
                continue;
            }
            for statement in &migration.statements {
                self.execute("migrate the schema of", statement).await?;
            }
            self.execute(RECORD, &self.record_of(&migration)).await?;
            done.push(migration);
        }
        Ok(Migrated {
            migrations: done,
            adjustments: self.adjust().await?,
        })
    }

    fn record_of(&self, migration: &Migration) -> String {
        format!(
            "INSERT INTO {} SELECT '{}', {}, '{}', now64(3)",
            self.ledger(),
            self.table,
            migration.version,
            migration.name,
        )
    }

    /// Inserts no record, to check that a migration could be recorded. Does nothing if none is
    /// pending, since the daemon then records none.
    ///
    /// # Errors
    /// Fails when ClickHouse fails, or the user may not insert into the ledger.
    pub async fn probe_migrations(&self) -> Result<(), SchemaError> {
        if !self.ledger_exists().await? {
            return Ok(());
        }
        let applied = self.applied().await?;
        let mut migrations = self.migrations().into_iter();
        let next = migrations.find(|migration| !applied.contains(&migration.version));
        if let Some(next) = next {
            let nothing = format!("{} WHERE 0", self.record_of(&next));
            self.execute(RECORD, &nothing).await?;
        }
        Ok(())
    }

    /// Returns the newest version recorded as applied.
    ///
    /// # Errors
    /// Fails when ClickHouse fails.
    pub async fn schema_version(&self) -> Result<Option<u32>, SchemaError> {
        if !self.ledger_exists().await? {
            return Ok(None);
        }
        Ok(self.applied().await?.last().copied())
    }

    /// Returns the newest recorded version if this program does not know it, because a newer
    /// release migrated the table. That is no fault. A migration that excludes older releases makes
    /// the table unfit for them, which [`Store::verify`] reports; any other allows a rolling
    /// upgrade and a rollback.
    ///
    /// # Errors
    /// Fails when ClickHouse fails.
    pub async fn newer_version(&self) -> Result<Option<u32>, SchemaError> {
        let version = self.schema_version().await?;
        Ok(version.filter(|version| *version > NEWEST))
    }

    /// Returns the seconds, by ClickHouse's clock, since the table began to require claims. The
    /// result is very large if the ledger does not record it.
    ///
    /// # Errors
    /// Fails when ClickHouse fails.
    pub async fn claims_age(&self) -> Result<i64, StoreError> {
        let from = format!(
            "FROM {} WHERE table_name = '{}' AND version = {CLAIMS_SINCE}",
            self.ledger(),
            self.table
        );
        let select = "toInt64(toUnixTimestamp(now())) - toInt64(toUnixTimestamp(min(applied_at)))";
        self.query("read the migrations from", select, &from).await
    }

    async fn ledger_exists(&self) -> Result<bool, StoreError> {
        let from = format!(
            "FROM system.tables WHERE database = '{}' AND name = 'schema_migrations'",
            self.database
        );
        let count: u64 = self
            .query("look for the migrations in", "count()", &from)
            .await?;
        Ok(count > 0)
    }

    async fn applied(&self) -> Result<BTreeSet<u32>, StoreError> {
        // Runs migration 6 again if somebody has dropped the ledger of claims logs.
        let from = format!(
            "FROM {} WHERE table_name = '{table}' AND (version != {LOGS_SINCE} OR (SELECT count() FROM system.tables WHERE database = '{}' AND name = '{table}_claims_logs') > 0)",
            self.ledger(),
            self.database,
            table = self.table,
        );
        let select = "groupUniqArray(version)";
        let versions = self.query::<Vec<u32>>("read the migrations from", select, &from);
        Ok(versions.await?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sha2::{Digest, Sha256};

    use super::*;
    use crate::ClickHouseOptions;

    /// SHA-256 of each released file. A new file adds a line; no line ever changes.
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
        let hashes = FILES.map(|(_, text, _)| {
            let hash = Sha256::digest(text);
            hash.iter().map(|byte| format!("{byte:02x}")).collect()
        });
        let hashes: [String; FILES.len()] = hashes;
        assert_eq!(hashes, FROZEN, "write a new migration instead");
    }

    #[test]
    fn every_file_is_known_and_numbered_without_gaps() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/migrations");
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let known = FILES.map(|(name, ..)| format!("{name}.sql"));
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
            let clickhouse = ClickHouseOptions {
                table: table.to_owned(),
                ..ClickHouseOptions::default()
            };
            let store = Store::new(&clickhouse).unwrap();
            let migrations = store.migrations().into_iter();
            let statements: Vec<String> = migrations
                .flat_map(|migration| {
                    assert_eq!(migration.statements.len(), migration.effects.len());
                    migration.statements
                })
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
}
