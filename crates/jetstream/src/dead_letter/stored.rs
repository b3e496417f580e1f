//! Dead letters of given messages.

use std::collections::{BTreeMap, BTreeSet};

use time::OffsetDateTime;

use super::letter::rfc3339_ms;
use super::stream::{DeadLetterStream, DeadLetterStreamError, SequenceRange};

impl DeadLetterStream {
    /// Returns the sequences of those messages of a stream whose dead letters are stored with all
    /// their parts. `messages` has the time of each message, in nanoseconds since the epoch, by
    /// sequence. Dead letters from before `since` do not count.
    ///
    /// Reads the headers of every dead letter, since the subject of a dead letter begins with that
    /// of its message, which is unknown once the message is gone.
    ///
    /// # Errors
    /// Fails when JetStream fails.
    pub async fn stored_sequences(
        &self,
        stream: &str,
        stream_created_ns: i64,
        messages: &BTreeMap<u64, i64>,
        since: Option<OffsetDateTime>,
    ) -> Result<BTreeSet<u64>, DeadLetterStreamError> {
        let created = stream_created_ns.to_string();
        let mut found = BTreeSet::new();
        let mut scan = self.scan(SequenceRange {
            since,
            ..SequenceRange::default()
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
                    Err(
                        DeadLetterStreamError::Incomplete { .. }
                        | DeadLetterStreamError::NoLetter { .. },
                    ) => false,
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

/// Formats a time like a dead letter's header.
fn rfc3339_of(ns: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ns))
        .map(rfc3339_ms)
        .unwrap_or_default()
}
