//! `risksignal migrate`: the ClickHouse schema, created or upgraded.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::cli::MigrateArgs;
use crate::settings::Settings;
use crate::store::schema::SchemaError;
use crate::store::{Store, migrations};

/// Between two looks at a table that does not fit.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// Brings the schema up to date, or prints what that would run.
///
/// # Errors
/// When ClickHouse fails, or the table does not fit afterwards.
pub async fn migrate(args: &MigrateArgs, settings: &Settings) -> Result<()> {
    let mut stdout = io::stdout();
    let store = Store::new(&settings.clickhouse)?.with_tokens(settings.tokens_needed());
    if args.dry_run {
        for statement in store.pending().await? {
            writeln!(stdout, "{};\n", statement.trim_end())?;
        }
        return Ok(());
    }
    let applied = store.migrate().await?;
    for migration in &applied {
        writeln!(stdout, "applied {}: {}", migration.version, migration.name)?;
    }
    if applied.is_empty() {
        writeln!(stdout, "nothing to apply: the schema is up to date")?;
    }
    if let Some(version) = store.newer_version().await? {
        writeln!(
            stdout,
            "the schema is at version {version}: a newer release has migrated it, this one knows {}",
            migrations::NEWEST
        )?;
    }
    // Another process may be amid the same migrations.
    for pause in PAUSES {
        match store.verify().await {
            Err(SchemaError::Mismatch { .. }) => sleep(pause).await,
            verified => return Ok(verified?),
        }
    }
    Ok(store.verify().await?)
}
