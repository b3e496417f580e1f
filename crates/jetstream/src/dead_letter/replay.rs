//! Message that replays a dead letter.

use async_nats::header::{HeaderMap, NATS_MESSAGE_ID};

use super::history::{DeadLetterHistory, is_ours_on_a_replay, steers_a_publish};
use super::name;
use super::read::DeadLetterHead;

impl DeadLetterHead {
    /// Returns the headers of the message that replays this dead letter: the original ones, the
    /// sequence of the dead letter, and its history. `message_id` is new, since the original id may
    /// still be in the stream's duplicate window.
    pub fn replay_headers(&self, original: &HeaderMap, message_id: &str) -> HeaderMap {
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
        let history = DeadLetterHistory::after_replay(self);
        headers.insert(name::REPLAYED, self.sequence.to_string().as_str());
        if let Some(first_seen) = &history.first_seen {
            headers.insert(name::FIRST_SEEN, first_seen.as_str());
        }
        headers.insert(name::ATTEMPTS, history.attempts.to_string().as_str());
        history.write_replays(&mut headers);
        headers.insert(NATS_MESSAGE_ID, message_id);
        headers
    }
}
