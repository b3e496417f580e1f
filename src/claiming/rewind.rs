//! Position to which a stream went back.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use claims::Position;
use clock::unix_nanos;
use jetstream::stored;

use super::error::ClaimingError;
use super::servers::Servers;

/// Most messages that are compared around a sequence before it counts as unknown.
const COMPARED: usize = 16;
/// Sequences below a deleted message that are compared instead.
const NEAR: u64 = 64;
/// Most rows of these messages that are read; more would mean many rows for each.
const ROWS: usize = 1_000;

impl Servers {
    /// Finds the last message on which stream and table agree: the table has it with the same
    /// publish time, and no other message at its sequence. `last` is the last sequence that was
    /// ever claimed. Bisects, since a stream that went back has other messages from one sequence
    /// on. If rows are missing the result is an earlier message, which is as safe and costs
    /// look-ups.
    ///
    /// # Errors
    /// Fails when a server fails.
    pub async fn find_agreed(&self, created: i64, last: u64) -> Result<Position, ClaimingError> {
        let state = self.stream_info().await?.state;
        let mut agreed = Position {
            stream_created_ns: created,
            stream_seq: 0,
            published_ns: 0,
        };
        let mut first = state.first_sequence.max(1);
        let mut last = last.min(state.last_sequence);
        while first <= last {
            let middle = first.midpoint(last);
            match self.compare(created, middle..=last).await? {
                Some(found) => {
                    first = found.stream_seq.saturating_add(1);
                    agreed = found;
                }
                None => last = middle - 1,
            }
        }
        Ok(agreed)
    }

    /// Reports whether the stream has another message than the table right below a sequence.
    pub(super) async fn differs_below(
        &self,
        created: i64,
        seq: u64,
    ) -> Result<bool, ClaimingError> {
        let mut first = seq.saturating_sub(NEAR).max(1);
        let mut compared = 0;
        while first <= seq && compared < NEAR {
            let (messages, rows) = self.both(created, first..=seq).await?;
            let Some((last, _)) = messages.last() else {
                return Ok(false);
            };
            first = last.saturating_add(1);
            compared += messages.len() as u64;
            let is_other = |(seq, ns): &(u64, i64)| {
                let times = rows.get(seq);
                times.is_some_and(|times| !times.iter().any(|time| same_times(*ns).contains(time)))
            };
            if messages.iter().any(is_other) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Compares the first messages of a range with the table. Returns the last one before the first
    /// difference, if any is the same.
    async fn compare(
        &self,
        created: i64,
        range: RangeInclusive<u64>,
    ) -> Result<Option<Position>, ClaimingError> {
        let (messages, rows) = self.both(created, range).await?;
        let mut agreed = None;
        for (stream_seq, published_ns) in messages {
            let Some(times) = rows.get(&stream_seq) else {
                continue;
            };
            if !times
                .iter()
                .all(|time| same_times(published_ns).contains(time))
            {
                break;
            }
            agreed = Some(Position {
                stream_created_ns: created,
                stream_seq,
                published_ns,
            });
        }
        Ok(agreed)
    }

    /// Returns the first messages of a range, and the publish times of the rows at their sequences.
    async fn both(
        &self,
        created: i64,
        range: RangeInclusive<u64>,
    ) -> Result<(Vec<(u64, i64)>, BTreeMap<u64, Vec<i64>>), ClaimingError> {
        let mut messages = Vec::new();
        let (mut from, last) = range.into_inner();
        while messages.len() < COMPARED && from <= last {
            let stream = &self.settings.stream.name;
            let next = stored::next_on_subject(&self.context, stream, from, ">").await?;
            let Some(next) = next.filter(|next| next.sequence <= last) else {
                break;
            };
            from = next.sequence.saturating_add(1);
            messages.push((next.sequence, unix_nanos(next.time)));
        }
        let mut rows: BTreeMap<u64, Vec<i64>> = BTreeMap::new();
        if let (Some(first), Some(end)) = (messages.first(), messages.last()) {
            let within = self
                .store
                .rows_in_ranges(created, &[first.0..=end.0], ROWS)
                .await?;
            for (seq, published_ns, _) in within {
                rows.entry(seq).or_default().push(published_ns);
            }
        }
        Ok((messages, rows))
    }
}

/// Returns a publish time in nanoseconds, and truncated to milliseconds, as in rows of a release
/// without claims.
fn same_times(published_ns: i64) -> [i64; 2] {
    [
        published_ns,
        published_ns - published_ns.rem_euclid(1_000_000),
    ]
}
