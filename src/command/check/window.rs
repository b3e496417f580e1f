//! The table's window of tokens, which several claims logs may share.

use std::collections::BTreeSet;

/// The share of each claims log in a window of so many tokens; `None` where one has it alone. The
/// error says that the window is too small for what the settings need of each.
pub(super) fn shares(
    tokens: u64,
    needed: u64,
    logs: &BTreeSet<(String, i64)>,
) -> Option<Result<String, String>> {
    let count = logs.len() as u64;
    if count < 2 {
        return None;
    }
    let names: Vec<&str> = logs.iter().map(|(log, _)| log.as_str()).collect();
    let told = format!(
        "{count} claims logs share the table's window, so that each may have {} tokens in use: {}",
        tokens / 2 / count,
        names.join(", ")
    );
    let all = needed.saturating_mul(count);
    Some(if tokens < all {
        Err(format!(
            "{told}; at the full batch.max_inserts_per_second claims wait: have the table keep {all} tokens"
        ))
    } else {
        Ok(told)
    })
}
