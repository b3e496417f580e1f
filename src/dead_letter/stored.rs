//! Letters of given messages.

use std::collections::{BTreeMap, BTreeSet};

use time::OffsetDateTime;

use super::letter::rfc3339_ms;
use super::stream::{Letters, LettersError, Range};

impl Letters {
    /// The sequences of those messages of a stream whose letters are stored with all their parts.
    /// `messages` has the time of each message, in nanoseconds since the epoch, by its sequence; no
    /// letter before `since` counts.
    ///
    /// Reads the headers of every letter, since the subject of a letter begins with that of its
    /// message, which nobody knows once the message is gone.
    ///
    /// # Errors
    /// When JetStream fails.
    pub async fn stored(
        &self,
        stream: &str,
        stream_created_ns: i64,
        messages: &BTreeMap<u64, i64>,
        since: Option<OffsetDateTime>,
    ) -> Result<BTreeSet<u64>, LettersError> {
        let created = stream_created_ns.to_string();
        let mut found = BTreeSet::new();
        let mut scan = self.scan(Range {
            since,
            ..Range::default()
        });
        while let Some(scanned) = scan.next().await? {
            let head = scanned.head;
            let published = messages.get(&head.stream_sequence);
            let is_first = head.part.number == 1 && head.replay_of.is_none();
            if !is_first
                || head.stream != stream
                || head.stream_created != created
                || published.is_none_or(|ns| rfc3339_of(*ns) != head.published)
            {
                continue;
            }
            let is_whole = match head.part.of {
                1 => true,
                _ => match self.whole(head.sequence).await {
                    Ok(_) => true,
                    Err(LettersError::Incomplete { .. } | LettersError::NoLetter { .. }) => false,
                    Err(error) => return Err(error),
                },
            };
            if is_whole {
                found.insert(head.stream_sequence);
            }
            if found.len() == messages.len() {
                break;
            }
        }
        scan.close().await;
        Ok(found)
    }
}

/// A time as a letter has it.
fn rfc3339_of(ns: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ns))
        .map(rfc3339_ms)
        .unwrap_or_default()
}
