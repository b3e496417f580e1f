//! The last batches and dead letters, for `/statusz` and the live page.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::serde::rfc3339;

use super::excerpt::cut;
use super::faulty::Faulty;
use super::happened;

/// Number of each that is kept.
const KEPT: usize = 10;

/// A batch that ClickHouse has committed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecentBatch {
    /// Time at which it was reported.
    #[serde(with = "rfc3339")]
    pub at: OffsetDateTime,
    /// Its rows.
    pub rows: usize,
    /// Encoded bytes, before compression.
    pub bytes: usize,
    /// From the first byte sent to the answer.
    pub insert_seconds: f64,
    /// Reason for which it closed.
    pub closed_by: String,
}

/// A message that its dead letter has replaced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecentDeadLetter {
    /// Time at which it was reported.
    #[serde(with = "rfc3339")]
    pub at: OffsetDateTime,
    /// The reason's code.
    pub reason: String,
    /// The beginning of the reason in words.
    pub error: String,
    /// The beginning of the subject it was published on.
    pub subject: String,
    /// Its sequence in the stream of signals.
    pub stream_seq: u64,
    /// The letter's sequence in the stream of dead letters.
    pub dead_letter_seq: u64,
}

/// The newest few, newest first.
#[derive(Debug, Default)]
pub struct Recent {
    /// Signals whose payloads break their contracts.
    pub faulty: Faulty,
    inner: Mutex<Lists>,
}

#[derive(Debug, Default)]
struct Lists {
    batches: VecDeque<RecentBatch>,
    dead_letters: VecDeque<RecentDeadLetter>,
}

impl Recent {
    /// Keeps a batch.
    pub fn inserted(&self, batch: &happened::Inserted) {
        let batch = RecentBatch {
            at: OffsetDateTime::now_utc(),
            rows: batch.count,
            bytes: batch.bytes,
            insert_seconds: batch.duration.as_secs_f64(),
            closed_by: batch.close_reason.to_owned(),
        };
        keep(&mut self.lock().batches, batch);
    }

    /// Keeps a dead letter.
    pub fn dead_lettered(&self, letter: &happened::DeadLetteredEvent) {
        let letter = RecentDeadLetter {
            at: OffsetDateTime::now_utc(),
            reason: letter.reason.to_owned(),
            error: cut(&letter.error),
            subject: cut(&letter.subject),
            stream_seq: letter.stream_seq,
            dead_letter_seq: letter.dead_letter_seq,
        };
        keep(&mut self.lock().dead_letters, letter);
    }

    /// Both lists.
    pub fn snapshot(&self) -> (Vec<RecentBatch>, Vec<RecentDeadLetter>) {
        let lists = self.lock();
        (
            lists.batches.iter().cloned().collect(),
            lists.dead_letters.iter().cloned().collect(),
        )
    }

    fn lock(&self) -> MutexGuard<'_, Lists> {
        // No code panics while it holds the lock; the state is whole in any case.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keep<T>(list: &mut VecDeque<T>, item: T) {
    list.truncate(KEPT - 1);
    list.push_front(item);
}
