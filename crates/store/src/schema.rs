//! Check that the table fits the rows.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use clickhouse::error::Error;

use super::failure::FENCE_OVER;
use super::profile::ProfileError;
use super::row::COLUMNS;
use super::{Remedy, Store, StoreError};

/// Reason for which the schema does not fit the daemon.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// ClickHouse failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Settings or policies of the user do not fit.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The table is absent, or the daemon may not fill it.
    #[error(
        "table {table} does not fit: {}; nothing is inserted until it does",
        .faults.join("; ")
    )]
    Mismatch {
        /// Full name of the table.
        table: String,
        /// Faults, one for each difference.
        faults: Vec<String>,
    },
}

impl SchemaError {
    /// Reports whether the table is at fault, rather than the server or the user.
    pub fn concerns_schema(&self) -> bool {
        match self {
            Self::Store(error) | Self::Profile(ProfileError::Store(error)) => {
                error.concerns_schema()
            }
            Self::Profile(_) => false,
            Self::Mismatch { .. } => true,
        }
    }

    /// Returns the action to take, if the server's answer suggests one; it is also part of the
    /// text.
    pub fn advice(&self) -> Option<&str> {
        match self {
            Self::Store(error) | Self::Profile(ProfileError::Store(error)) => error.advice(),
            Self::Profile(_) => Some("ask an administrator to change the user's profile or policy"),
            Self::Mismatch { .. } => None,
        }
    }

    /// Returns the remedy.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Store(error) | Self::Profile(ProfileError::Store(error)) => error.remedy(),
            Self::Profile(_) | Self::Mismatch { .. } => Remedy::Halt,
        }
    }

    /// Reports whether ClickHouse gave no verdict.
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Profile(ProfileError::Store(_)))
    }
}

impl Store {
    /// Checks that inserts into the table keep every signal once. The table must have every
    /// inserted column with its type, reject late inserts, and have an engine that keeps rows and
    /// enough tokens. The user must see all of its rows and may set the daemon's settings. Until a
    /// later check finds no fault, the store rejects inserts.
    ///
    /// # Errors
    /// Returns [`SchemaError::Mismatch`] with every difference, or [`SchemaError::Profile`].
    pub async fn verify(&self) -> Result<(), SchemaError> {
        let verified = self.fits().await;
        match &verified {
            Ok(()) => self.unfit.store(false, Ordering::Relaxed),
            Err(error) if error.is_failure() => {}
            Err(_) => self.unfit.store(true, Ordering::Relaxed),
        }
        verified
    }

    /// Rejects an insert if the newest check found a fault and another check still does.
    pub(super) async fn refuse_if_unfit(&self) -> Result<(), StoreError> {
        if !self.unfit.load(Ordering::Relaxed) {
            return Ok(());
        }
        let reason = match self.verify().await {
            Ok(()) => return Ok(()),
            Err(SchemaError::Store(error) | SchemaError::Profile(ProfileError::Store(error))) => {
                return Err(error);
            }
            Err(error @ SchemaError::Mismatch { .. }) => Error::SchemaMismatch(error.to_string()),
            Err(error @ SchemaError::Profile(_)) => Error::Unsupported(error.to_string()),
        };
        Err(self.failed("insert a batch into", reason))
    }

    async fn fits(&self) -> Result<(), SchemaError> {
        self.check_profile().await?;
        let from = format!(
            "FROM system.columns WHERE database = '{}' AND table = '{}'",
            self.database, self.table
        );
        let select = "groupArray((name, type, default_expression))";
        let columns: Vec<(String, String, String)> = self
            .query("read the table's columns from", select, &from)
            .await?;
        let found: HashMap<String, Found> = columns
            .into_iter()
            .map(|(name, r#type, default_expression)| {
                let column = Found {
                    r#type,
                    default_expression,
                };
                (name, column)
            })
            .collect();
        let engine = self.engine(&self.database, &self.table).await?;
        let faults = match engine {
            Some(engine) if !found.is_empty() => {
                let needed = self.window_min.load(Ordering::Relaxed);
                match engine.fault(&self.table(), needed, self.tokens_for.as_secs()) {
                    // An object that is no suitable table need not have the columns.
                    Some(fault) => vec![fault],
                    None => differences(&found),
                }
            }
            _ => vec![
                "it does not exist, or the user may not see it (`risksignal migrate` creates it)"
                    .to_owned(),
            ],
        };
        if !faults.is_empty() {
            return Err(SchemaError::Mismatch {
                table: self.table(),
                faults,
            });
        }
        self.check_row_policies().await?;
        self.read_identity().await?;
        Ok(())
    }
}

/// A column in `system.columns`.
#[derive(Debug, Clone)]
struct Found {
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
    let refuses_late = |column: &Found| column.default_expression.contains(FENCE_OVER);
    if !found.get("ingested_at").is_some_and(refuses_late) {
        differences.push(
            "the default of column ingested_at does not reject a late insert (`risksignal migrate` sets it)"
                .to_owned(),
        );
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_reported() {
        let column = |name: &str, r#type: &str, default_expression: &str| {
            let found = Found {
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
            column("ingested_at", "DateTime64(3, 'UTC')", FENCE_OVER),
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
                "the default of column ingested_at does not reject a late insert (`risksignal migrate` sets it)"
            ]
        );
    }
}
