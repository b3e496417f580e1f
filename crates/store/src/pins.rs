//! Settings in the URL of an insert, so that no profile changes the meaning of its answer.

use std::sync::{Arc, Mutex, PoisonError};

/// Above the size of any block.
const ROWS_MAX: &str = "1000000000";
const BYTES_MAX: &str = "1000000000000";

/// Settings that every supported version knows.
pub(super) const ALWAYS: [(&str, &str); 14] = [
    // The answer must mean committed: ClickHouse 26.3 and later turn async inserts on by default,
    // and may otherwise answer a query before it has ended.
    ("async_insert", "0"),
    ("wait_end_of_query", "1"),
    // With `break`, ClickHouse answers an insert that takes too long with 200, counts all of its
    // rows, and stores none.
    ("timeout_overflow_mode", "throw"),
    ("insert_deduplicate", "1"),
    // A view whose target keeps tokens then drops a repeated block, as the table does.
    ("deduplicate_blocks_in_dependent_materialized_views", "1"),
    // The rows of one batch become one block, so that the token covers all of them.
    ("min_insert_block_size_rows", ROWS_MAX),
    ("min_insert_block_size_bytes", BYTES_MAX),
    ("max_insert_threads", "1"),
    // A batch of old and new messages may span any number of months.
    ("max_partitions_per_insert_block", "0"),
    // Otherwise ClickHouse skips the table's default for `ingested_at`, which rejects late blocks.
    ("input_format_defaults_for_omitted_fields", "1"),
    ("input_format_with_names_use_header", "1"),
    ("input_format_with_types_use_header", "1"),
    ("input_format_allow_errors_num", "0"),
    // Otherwise the answer to a long insert has many headers before its summary.
    ("send_progress_in_http_headers", "0"),
];

/// Settings that some versions lack.
pub(super) const WHERE_KNOWN: [(&str, &str); 3] = [
    // Replaces `insert_deduplicate` from 26.1 on.
    ("deduplicate_insert", "enable"),
    ("input_format_max_block_size_bytes", "0"),
    ("max_insert_block_size_bytes", "0"),
];

/// Settings of the second list that the server knows; unknown until queried.
#[derive(Debug, Clone, Default)]
pub(super) struct Pins(Arc<Mutex<Option<KnownSettings>>>);

/// Settings and their values.
pub(super) type KnownSettings = Arc<[(&'static str, &'static str)]>;

impl Pins {
    pub fn get(&self) -> Option<KnownSettings> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub fn set(&self, known: Option<KnownSettings>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// Forgets them, since another version may answer next.
    pub fn forget(&self) {
        self.set(None);
    }
}
