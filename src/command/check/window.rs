//! The table's window of tokens, which several claims logs may share.

use std::collections::BTreeSet;

/// Describes the share of each claims log in a window of `tokens` tokens; `None` for a single log.
/// Returns an error if the window is too small for the settings.
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
    let text = format!(
        "{count} claims logs share the table's window, so each may have {} tokens in use: {}",
        tokens / 2 / count,
        names.join(", ")
    );
    let all = needed.saturating_mul(count);
    Some(if tokens < all {
        Err(format!(
            "{text}; at the full batch.max_inserts_per_second claims wait: make the table keep {all} tokens"
        ))
    } else {
        Ok(text)
    })
}
