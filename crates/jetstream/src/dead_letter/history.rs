//! History of a dead letter, kept from dead letter to replay to dead letter.

use async_nats::HeaderMap;

use super::fields::{number, reasons, text};
use super::{DeadLetterHead, name, strip_prefix_ignoring_case};

/// Most earlier reasons that are kept; the oldest are dropped first.
const EARLIER_REASONS_MAX: usize = 20;

/// Earlier deaths and replays of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetterHistory {
    /// Time of its first death (RFC 3339); `None` if this is the first.
    pub first_seen: Option<String>,
    /// Number of deliveries before the last replay.
    pub attempts: u64,
    /// Number of replays.
    pub replays: u64,
    /// Reasons of its earlier dead letters, oldest first.
    pub earlier_reasons: Vec<String>,
}

impl DeadLetterHistory {
    /// Returns the history in a replayed message's headers; an empty one for any other message.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        if !is_replayed(headers) {
            return Self::default();
        }
        Self {
            first_seen: text(headers, name::FIRST_SEEN),
            attempts: number(headers, name::ATTEMPTS),
            replays: number(headers, name::REPLAYS),
            earlier_reasons: reasons(headers),
        }
    }

    /// Returns the history after the replay of a dead letter.
    pub fn after_replay(head: &DeadLetterHead) -> Self {
        let mut earlier_reasons = head.earlier_reasons.clone();
        earlier_reasons.push(head.reason.clone());
        let forgotten = earlier_reasons.len().saturating_sub(EARLIER_REASONS_MAX);
        Self {
            first_seen: Some(head.first_seen.clone()).filter(|time| !time.is_empty()),
            attempts: head.attempts,
            replays: head.replays.saturating_add(1),
            earlier_reasons: earlier_reasons.split_off(forgotten),
        }
    }

    /// Writes the history, except the time of the first death and the attempts.
    pub(super) fn write_replays(&self, headers: &mut HeaderMap) {
        if self.replays > 0 {
            headers.insert(name::REPLAYS, self.replays.to_string().as_str());
            let reasons = self.earlier_reasons.join(",");
            headers.insert(name::EARLIER_REASONS, reasons.as_str());
        }
    }
}

/// Reports whether the headers are those of a replayed message.
fn is_replayed(headers: &HeaderMap) -> bool {
    number(headers, name::REPLAYED) > 0
}

/// Returns the application's headers of a message, without those of a replay.
pub(super) fn application_headers(headers: &HeaderMap) -> HeaderMap {
    if !is_replayed(headers) {
        return headers.clone();
    }
    let mut original = HeaderMap::new();
    for (name, values) in headers.iter() {
        let name = name.to_string();
        let name = match strip_prefix_ignoring_case(&name, name::KEPT_PREFIX) {
            Some(kept) if !kept.is_empty() => kept,
            _ if is_ours_on_a_replay(&name) || steers_a_publish(&name) => continue,
            _ => &name,
        };
        for value in values {
            original.append(name, value.as_str());
        }
    }
    original
}

/// Reports whether JetStream acts on this header of a published message. Acting on it again could
/// reject the message, drop it as a duplicate, or even drop others.
pub(super) fn steers_a_publish(name: &str) -> bool {
    const NAMES: [&str; 5] = [
        "Nats-Msg-Id",
        "Nats-Rollup",
        "Nats-TTL",
        "Nats-Incr",
        "Nats-Required-Api-Level",
    ];
    const PREFIXES: [&str; 4] = [
        "Nats-Expected-",
        "Nats-Schedule",
        "Nats-Batch-",
        "Nats-Trace-",
    ];
    NAMES.iter().any(|other| other.eq_ignore_ascii_case(name))
        || PREFIXES
            .iter()
            .any(|prefix| strip_prefix_ignoring_case(name, prefix).is_some())
}

pub(super) fn is_ours_on_a_replay(name: &str) -> bool {
    const NAMES: [&str; 5] = [
        name::REPLAYED,
        name::FIRST_SEEN,
        name::ATTEMPTS,
        name::REPLAYS,
        name::EARLIER_REASONS,
    ];
    NAMES.iter().any(|other| other.eq_ignore_ascii_case(name))
        || strip_prefix_ignoring_case(name, name::KEPT_PREFIX).is_some()
}
