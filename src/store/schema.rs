//! The check that the table fits the rows.

use std::collections::HashMap;

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

impl Store {
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
}
