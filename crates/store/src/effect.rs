//! Effects of schema changes on a table that has rows, and their cost.

use serde::Serialize;

use super::schema::SchemaError;
use super::sql::quoted;
use super::{Store, StoreError};

/// Effect of a statement on the data that a table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Changes metadata alone. A new column or index is in parts that are written from then on.
    Metadata,
    /// A mutation that links the files of each part and rewrites none, such as to drop a column or
    /// a projection.
    Relink,
    /// A mutation that rewrites each part with all of its columns.
    Rewrite,
}

/// Effect of a step on running daemons. Those of this release insert during every step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ingest {
    /// Daemons of every release insert meanwhile and afterwards.
    Continues,
    /// ClickHouse refuses the inserts of older releases from then on. They halt, and lose nothing.
    StopsOlderReleases,
}

/// A statement that is not yet run, and its cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PendingStatement {
    /// ClickHouse SQL.
    pub sql: String,
    /// Effect on the data.
    pub effect: Effect,
    /// Rows that a mutation rewrites.
    pub rows_rewritten: u64,
    /// Bytes on disk that a mutation reads and writes.
    pub bytes_rewritten: u64,
    /// Free disk space that it needs, at most: ClickHouse keeps the old parts for minutes.
    pub disk_bytes_needed: u64,
}

/// Statements that belong together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PendingStep {
    /// Version of the migration; `None` for the ledger of migrations and settings of the table.
    pub version: Option<u32>,
    /// Description, for people.
    pub name: String,
    /// Effect on running daemons.
    pub ingest: Ingest,
    /// Statements, in order.
    pub statements: Vec<PendingStatement>,
}

/// Size of the table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct TableSize {
    /// Rows in active parts.
    pub rows: u64,
    /// Bytes of these parts on disk, with indexes and projections.
    pub bytes: u64,
    /// Number of these parts.
    pub parts: u64,
}

/// Everything that [`Store::migrate`] would do, for a table of this size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pending {
    /// Full name of the table.
    pub table: String,
    /// Size of the table.
    #[serde(flatten)]
    pub size: TableSize,
    /// Free bytes on ClickHouse's default disk.
    pub disk_bytes_free: u64,
    /// Steps, in order.
    pub steps: Vec<PendingStep>,
}

impl Effect {
    /// Returns the statement with its cost for a table of this size.
    pub(super) fn cost(self, sql: String, size: TableSize) -> PendingStatement {
        let (rows, bytes) = match self {
            Self::Metadata | Self::Relink => (0, 0),
            Self::Rewrite => (size.rows, size.bytes),
        };
        PendingStatement {
            sql,
            effect: self,
            rows_rewritten: rows,
            bytes_rewritten: bytes,
            disk_bytes_needed: bytes,
        }
    }
}

impl Store {
    /// Returns the statements that [`Store::migrate`] would run now, with their costs. Runs none.
    ///
    /// # Errors
    /// Fails when ClickHouse does not report the applied migrations, or the size of the table.
    pub async fn pending(&self) -> Result<Pending, SchemaError> {
        let size = self.size().await?;
        let (used, capacity) = self.disk().await?;
        let mut steps = self.pending_migrations(size).await?;
        for adjustment in self.adjustments().await? {
            steps.push(PendingStep {
                version: None,
                name: adjustment.name.to_owned(),
                ingest: Ingest::Continues,
                statements: vec![adjustment.effect.cost(adjustment.sql, size)],
            });
        }
        Ok(Pending {
            table: self.table(),
            size,
            disk_bytes_free: capacity.saturating_sub(used),
            steps,
        })
    }

    /// Reads the size of the table; zeros if it does not exist. Requires no grant but one on the
    /// table.
    async fn size(&self) -> Result<TableSize, StoreError> {
        let from = format!(
            "FROM system.parts WHERE active AND database = {} AND table = {}",
            quoted(&self.database),
            quoted(&self.table)
        );
        let select = "[toUInt64(sum(rows)), toUInt64(sum(bytes_on_disk)), toUInt64(count())]";
        let sizes: Vec<u64> = self.query("read the size of", select, &from).await?;
        match sizes.as_slice() {
            [rows, bytes, parts] => Ok(TableSize {
                rows: *rows,
                bytes: *bytes,
                parts: *parts,
            }),
            _ => Err(StoreError::unexpected("three sizes were requested")),
        }
    }
}
