//! The settings that an insert carries in its URL, so that no profile changes what its answer
//! means.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Store, StoreError};

/// Above any block.
const ROWS_MAX: &str = "1000000000";
const BYTES_MAX: &str = "1000000000000";

/// Known to every version that the daemon works with.
pub(super) const ALWAYS: [(&str, &str); 14] = [
    // The answer must mean committed: ClickHouse 26.3 and later turn async inserts on by default,
    // and a query may otherwise be answered before it has ended.
    ("async_insert", "0"),
    ("wait_end_of_query", "1"),
    // With `break` an insert that takes too long is answered with 200, all of its rows counted,
    // and none of them stored.
    ("timeout_overflow_mode", "throw"),
    ("insert_deduplicate", "1"),
    // A view whose target keeps tokens drops a repeated block, as the table does.
    ("deduplicate_blocks_in_dependent_materialized_views", "1"),
    // The rows of one batch are one block, so that the token stands for all of them.
    ("min_insert_block_size_rows", ROWS_MAX),
    ("min_insert_block_size_bytes", BYTES_MAX),
    ("max_insert_threads", "1"),
    // A batch of old and new messages may span any number of months.
    ("max_partitions_per_insert_block", "0"),
    // Without it the table's default for `ingested_at`, which refuses late blocks, is left out.
    ("input_format_defaults_for_omitted_fields", "1"),
    ("input_format_with_names_use_header", "1"),
    ("input_format_with_types_use_header", "1"),
    ("input_format_allow_errors_num", "0"),
    // Else a long insert's answer has many headers before its summary.
    ("send_progress_in_http_headers", "0"),
];

/// Not known to every version.
const WHERE_KNOWN: [(&str, &str); 3] = [
    // In the place of `insert_deduplicate` from 26.1 on.
    ("deduplicate_insert", "enable"),
    ("input_format_max_block_size_bytes", "0"),
    ("max_insert_block_size_bytes", "0"),
];

/// Those of the second list that the server knows; unknown until it was asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Pins(Arc<Mutex<Option<Known>>>);

/// Settings and their values.
type Known = Arc<[(&'static str, &'static str)]>;

impl Pins {
    fn get(&self) -> Option<Known> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, known: Option<Known>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// Forgets what the server knows: another version may answer next.
    pub fn forget(&self) {
        self.set(None);
    }
}

impl Store {
    /// Every setting that all inserts have alike.
    ///
    /// # Errors
    /// The server cannot be asked which settings it knows.
    pub(super) async fn pinned(&self) -> Result<Known, StoreError> {
        if let Some(known) = self.pins.get() {
            return Ok(known);
        }
        let names = WHERE_KNOWN.map(|(name, _)| format!("'{name}'")).join(", ");
        let sql = format!("SELECT name FROM system.settings WHERE name IN ({names})");
        let found = self.fetch_all::<String>("ask for the settings of", &sql);
        let found = found.await?;
        let is_known = |(name, _): &&(&str, &str)| found.iter().any(|found| found == name);
        let known: Known = ALWAYS
            .iter()
            .chain(WHERE_KNOWN.iter().filter(is_known))
            .copied()
            .collect();
        self.pins.set(Some(Arc::clone(&known)));
        Ok(known)
    }
}
