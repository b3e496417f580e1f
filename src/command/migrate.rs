//! `risksignal migrate`: creates or upgrades the ClickHouse schema.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytesize::ByteSize;
use indicatif::HumanCount;
use serde::Serialize;
use store::effect::{Effect, Ingest, Pending, PendingStatement, PendingStep};
use store::migrations::Migrated;
use store::schema::SchemaError;
use store::{Store, migrations};
use tokio::time::sleep;

use crate::cli::MigrateArgs;
use crate::command::output;
use crate::settings::Settings;

/// Pauses between checks of an unfit table.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// Brings the schema up to date, or prints the statements that would do so.
///
/// # Errors
/// Fails when ClickHouse fails, or the table does not fit afterwards.
pub async fn migrate(args: &MigrateArgs, settings: &Settings) -> Result<()> {
    let url = &settings.clickhouse.url;
    let at_clickhouse = || {
        format!(
            "failed at ClickHouse on {url} (clickhouse.url); `risksignal check` shows what is wrong"
        )
    };
    let store = Store::new(&settings.clickhouse).with_context(at_clickhouse)?;
    let store = store.with_tokens(settings.tokens_needed());
    if args.dry_run {
        let pending = store.pending().await.with_context(at_clickhouse)?;
        return print_pending(args, &pending);
    }
    let migrated = store.migrate().await.with_context(at_clickhouse)?;
    let newer_version = store.newer_version().await.with_context(at_clickhouse)?;
    let report = Report::new(&migrated, newer_version);
    if args.json {
        output::print_json(&report)?;
    } else {
        output::print(&report)?;
    }
    // Another process may be applying the same migrations.
    for pause in PAUSES {
        match store.verify().await {
            Err(SchemaError::Mismatch { .. }) => sleep(pause).await,
            verified => return verified.with_context(at_clickhouse),
        }
    }
    store.verify().await.with_context(at_clickhouse)
}

/// Changes of a run.
#[derive(Debug, Serialize)]
struct Report<'a> {
    applied: Vec<Change<'a>>,
    /// Changes besides migrations, such as settings of the table.
    changed: Vec<Change<'a>>,
    /// Version of a schema that a newer release has migrated.
    newer_version: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Change<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    name: &'a str,
    statements: Vec<&'a str>,
}

impl<'a> Report<'a> {
    fn new(migrated: &'a Migrated, newer_version: Option<u32>) -> Self {
        let applied = migrated.migrations.iter().map(|migration| Change {
            version: Some(migration.version),
            name: &migration.name,
            statements: migration.statements.iter().map(String::as_str).collect(),
        });
        let changed = migrated.adjustments.iter().map(|adjustment| Change {
            version: None,
            name: adjustment.name,
            statements: vec![&adjustment.sql],
        });
        Self {
            applied: applied.collect(),
            changed: changed.collect(),
            newer_version,
        }
    }
}

impl Display for Report<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let applied = self.applied.iter();
        let mut lines: Vec<String> = applied
            .map(|Change { version, name, .. }| {
                format!("applied {}: {name}", version.unwrap_or_default())
            })
            .collect();
        let changed = self.changed.iter();
        lines.extend(changed.map(
            |Change {
                 name, statements, ..
             }| format!("{name}: {}", statements.join("; ")),
        ));
        if lines.is_empty() {
            lines.push("nothing to apply: the schema is up to date".to_owned());
        }
        lines.extend(self.newer_version.map(|version| {
            format!(
                "the schema is at version {version}: a newer release has migrated it, this release knows {}",
                migrations::NEWEST
            )
        }));
        f.write_str(&lines.join("\n"))
    }
}

/// Prints SQL with its costs as comments; nothing if nothing is pending.
fn print_pending(args: &MigrateArgs, pending: &Pending) -> Result<()> {
    if args.json {
        output::print_json(pending)?;
    } else if !pending.steps.is_empty() {
        output::print(Statements(pending))?;
    }
    Ok(())
}

struct Statements<'a>(&'a Pending);

impl Display for Statements<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Pending {
            table,
            size,
            disk_bytes_free,
            steps,
        } = self.0;
        writeln!(
            f,
            "-- {table} has {} rows in {} parts, {} on disk; {} are free on ClickHouse's disk\n",
            HumanCount(size.rows),
            HumanCount(size.parts),
            ByteSize(size.bytes),
            ByteSize(*disk_bytes_free)
        )?;
        for step in steps {
            write_step(f, step, self.0)?;
        }
        Ok(())
    }
}

fn write_step(f: &mut Formatter<'_>, step: &PendingStep, pending: &Pending) -> fmt::Result {
    match step.version {
        Some(version) => writeln!(f, "-- migration {version}: {}", step.name)?,
        None => writeln!(f, "-- {}", step.name)?,
    }
    let ingest = match step.ingest {
        Ingest::Continues => "ingest continues",
        Ingest::StopsOlderReleases => {
            "ingest continues, but ClickHouse refuses the inserts of daemons of older releases from then on: they halt, and lose nothing"
        }
    };
    writeln!(f, "-- {ingest}")?;
    for statement in &step.statements {
        writeln!(f, "-- {}", cost(statement, pending))?;
        writeln!(f, "{};\n", statement.sql.trim_end())?;
    }
    Ok(())
}

/// Describes the cost of a statement.
fn cost(statement: &PendingStatement, pending: &Pending) -> String {
    let needed = statement.disk_bytes_needed;
    match statement.effect {
        Effect::Metadata => "metadata only: rewrites no row, needs no disk space".to_owned(),
        Effect::Relink => format!(
            "a mutation that links the files of {} parts: rewrites no row, needs no disk space",
            HumanCount(pending.size.parts)
        ),
        Effect::Rewrite => format!(
            "a mutation that rewrites {} rows, {}; needs {} of free disk space at most{}",
            HumanCount(statement.rows_rewritten),
            ByteSize(statement.bytes_rewritten),
            ByteSize(needed),
            match needed > pending.disk_bytes_free {
                true => ", MORE THAN IS FREE",
                false => "",
            }
        ),
    }
}
