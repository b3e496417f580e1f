//! Materialized views that operators attach to the table. The table drops a repeated block; a
//! view's target does so only if it keeps tokens itself.
//!
//! Measured with ClickHouse 26.7, a block of 10 rows sent twice under one token: the target had 20
//! rows unless it had a window of tokens *and* the insert set
//! `deduplicate_blocks_in_dependent_materialized_views`, as every request of the daemon does.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::{self, Display};

use super::engine::Engine;
use super::sql::quoted;
use super::{Store, StoreError};

/// Most tables that the check follows, from view to view.
const TABLES_MAX: usize = 100;
/// Target in a view's statement, as two groups; a view without a target writes to an inner table.
const TARGET: &str =
    "^CREATE MATERIALIZED VIEW [^(]*? TO (`[^`]*`|\\\\w+)\\\\.(`[^`]*`|\\\\w+)(?: |$)";

/// A view that repeats rows after a lost answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepeatingView {
    /// Full name of the view.
    pub view: String,
    why: RepeatReason,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum RepeatReason {
    /// Its target keeps no tokens.
    Target {
        name: String,
        remedy: Option<String>,
    },
    /// The user may not see the view or its target, so the check cannot decide.
    Hidden { grant: String },
}

impl Display for RepeatingView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let view = &self.view;
        match &self.why {
            RepeatReason::Target { name, remedy } => {
                write!(
                    f,
                    "materialized view {view} repeats rows of a repeated insert, since its target {name} keeps no tokens; the table itself stays exact"
                )?;
                match remedy {
                    Some(statement) => write!(f, " ({statement})"),
                    None => write!(
                        f,
                        " (create the target with ENGINE = MergeTree and non_replicated_deduplication_window)"
                    ),
                }
            }
            RepeatReason::Hidden { grant } => write!(
                f,
                "materialized view {view} may repeat rows of a repeated insert: this user cannot see whether its target keeps tokens (non_replicated_deduplication_window; {grant})"
            ),
        }
    }
}

/// Database and name of a table.
type Name = (String, String);

impl Store {
    /// Returns the views on the table, and on their targets, that repeat rows of a repeated insert.
    ///
    /// # Errors
    /// Fails when ClickHouse fails.
    pub async fn repeating_views(&self) -> Result<Vec<RepeatingView>, StoreError> {
        let mut found = Vec::new();
        let mut seen = BTreeSet::new();
        let mut open = VecDeque::from([(self.database.clone(), self.table.clone())]);
        while let Some(table) = open.pop_front() {
            if seen.len() >= TABLES_MAX || !seen.insert(table.clone()) {
                continue;
            }
            for view in self.views_on(&table).await? {
                let full = full_name(&view);
                let Some((kind, target)) = self.target_of(&view).await? else {
                    found.push(self.hidden(full, &view.0));
                    continue;
                };
                if kind != "MaterializedView" {
                    continue;
                }
                match self.engine(&target.0, &target.1).await? {
                    None => found.push(self.hidden(full, &target.0)),
                    Some(engine) if engine.keeps_tokens() => {}
                    Some(engine) => found.push(repeating(full, &target, &engine)),
                }
                open.push_back(target);
            }
        }
        Ok(found)
    }

    /// Returns the views filled from a table, by name.
    async fn views_on(&self, (database, table): &Name) -> Result<Vec<Name>, StoreError> {
        let from = format!(
            "FROM system.tables ARRAY JOIN dependencies_database AS d, dependencies_table AS t WHERE database = {} AND name = {}",
            quoted(database),
            quoted(table)
        );
        let select = "arraySort(groupArray((d, t)))";
        self.query("list the views of", select, &from).await
    }

    /// Returns the engine of a view, and the target that it writes to.
    async fn target_of(
        &self,
        (database, view): &Name,
    ) -> Result<Option<(String, Name)>, StoreError> {
        let from = format!(
            "FROM system.tables WHERE database = {} AND name = {}",
            quoted(database),
            quoted(view)
        );
        let select = format!(
            "groupArray((engine, toString(uuid), extractGroups(create_table_query, '{TARGET}')))"
        );
        let found =
            self.query::<Vec<(String, String, Vec<String>)>>("read a view from", &select, &from);
        let Some((kind, uuid, groups)) = found.await?.pop() else {
            return Ok(None);
        };
        let unquoted = |name: &String| name.trim_matches('`').to_owned();
        let target = match groups.as_slice() {
            [database, table] => (unquoted(database), unquoted(table)),
            _ if uuid.starts_with("00000000-0000-0000-0000") => {
                (database.clone(), format!(".inner.{view}"))
            }
            _ => (database.clone(), format!(".inner_id.{uuid}")),
        };
        Ok(Some((kind, target)))
    }

    fn hidden(&self, view: String, database: &str) -> RepeatingView {
        let grant = format!("GRANT SHOW TABLES ON {database}.* TO {}", self.user);
        let why = RepeatReason::Hidden { grant };
        RepeatingView { view, why }
    }
}

fn repeating(view: String, target: &Name, engine: &Engine) -> RepeatingView {
    let name = full_name(target);
    let remedy = engine.target_remedy(&name);
    let why = RepeatReason::Target { name, remedy };
    RepeatingView { view, why }
}

/// Returns a name that can be copied into a statement.
fn full_name((database, table): &Name) -> String {
    let part = |name: &str| match name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        true => name.to_owned(),
        false => format!("`{name}`"),
    };
    format!("{}.{}", part(database), part(table))
}
