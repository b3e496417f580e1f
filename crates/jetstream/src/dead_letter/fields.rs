//! Values of a dead letter's headers.

use async_nats::HeaderMap;

use super::name;

/// Returns a header's text.
pub(super) fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| value.as_str().to_owned())
}

/// Returns a header's number, or 0 if it has none.
pub(super) fn number(headers: &HeaderMap, name: &str) -> u64 {
    let value = headers.get(name);
    value
        .and_then(|value| value.as_str().parse().ok())
        .unwrap_or_default()
}

/// Returns the reasons of earlier dead letters.
pub(super) fn reasons(headers: &HeaderMap) -> Vec<String> {
    let list = text(headers, name::EARLIER_REASONS).unwrap_or_default();
    list.split(',')
        .filter(|reason| !reason.is_empty())
        .map(str::to_owned)
        .collect()
}
