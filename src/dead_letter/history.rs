//! What a letter has been through: kept from letter to replay to letter.

use async_nats::header::{HeaderMap, NATS_MESSAGE_ID};

use super::{Head, name, strip_prefix_ignoring_case};

/// Earlier reasons that are told; older ones are forgotten first.
const EARLIER_REASONS_MAX: usize = 20;

/// What a letter has been through before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// When it was first judged dead (RFC 3339); `None` when this is the first time.
    pub first_seen: Option<String>,
    /// Deliveries before the last replay.
    pub attempts: u64,
    /// How often it was replayed.
    pub replays: u64,
    /// The reasons of its earlier letters, oldest first.
    pub earlier_reasons: Vec<String>,
}

impl History {
    /// The history that a replayed message brought along; an empty one for any other.
    pub fn of_message(headers: &HeaderMap) -> Self {
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

    /// The history after the replay of a letter.
    pub fn after_replay_of(head: &Head) -> Self {
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

    /// Writes what there is of it, except the first time seen and the attempts.
    pub(super) fn write_replays(&self, headers: &mut HeaderMap) {
        if self.replays > 0 {
            headers.insert(name::REPLAYS, self.replays.to_string().as_str());
            let reasons = self.earlier_reasons.join(",");
            headers.insert(name::EARLIER_REASONS, reasons.as_str());
        }
    }
}

/// Whether the headers are those of a replayed message.
fn is_replayed(headers: &HeaderMap) -> bool {
    number(headers, name::REPLAYED) > 0
}

/// The headers of a replayed message: the original ones, the letter it comes from, and the
/// letter's history. `message_id` is new, since the original one might still be within the
/// stream's duplicate window.
pub(super) fn replay_headers(original: &HeaderMap, head: &Head, message_id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, values) in original.iter() {
        let name = name.to_string();
        let name = if steers_a_publish(&name) || is_ours_on_a_replay(&name) {
            format!("{}{name}", name::KEPT_PREFIX)
        } else {
            name
        };
        for value in values {
            headers.append(name.as_str(), value.as_str());
        }
    }
    let history = History::after_replay_of(head);
    headers.insert(name::REPLAYED, head.sequence.to_string().as_str());
    if let Some(first_seen) = &history.first_seen {
        headers.insert(name::FIRST_SEEN, first_seen.as_str());
    }
    headers.insert(name::ATTEMPTS, history.attempts.to_string().as_str());
    history.write_replays(&mut headers);
    headers.insert(NATS_MESSAGE_ID, message_id);
    headers
}

/// The headers that the application gave a message, without those of a replay.
pub(super) fn of_application(headers: &HeaderMap) -> HeaderMap {
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

/// Whether JetStream acts on the header of a message that is published. To act on it again
/// would refuse the message, drop it as a duplicate, or even drop others.
fn steers_a_publish(name: &str) -> bool {
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

fn is_ours_on_a_replay(name: &str) -> bool {
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

/// A header's text.
pub(super) fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| value.as_str().to_owned())
}

/// A header's number; 0 when it has none.
pub(super) fn number(headers: &HeaderMap, name: &str) -> u64 {
    let value = headers.get(name);
    value
        .and_then(|value| value.as_str().parse().ok())
        .unwrap_or_default()
}

/// The reasons of earlier letters.
pub(super) fn reasons(headers: &HeaderMap) -> Vec<String> {
    let list = text(headers, name::EARLIER_REASONS).unwrap_or_default();
    list.split(',')
        .filter(|reason| !reason.is_empty())
        .map(str::to_owned)
        .collect()
}
