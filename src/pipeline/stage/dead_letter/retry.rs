//! Dead letters that could not be stored, until their next try, and what the log says of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jetstream::dead_letter::NotStored;
use tokio::time::Instant;
use tracing::{info, warn};

use super::attempt::DeadLetterAttempt;
use crate::pipeline::log_lines::{LETTER_NOT_PUBLISHED, LETTERS_NOT_PUBLISHED, LETTERS_PUBLISHED};

/// Dead letters that have a line of their own when they fail for the first time, until all are
/// stored again.
const OWN_LINES: usize = 10;
/// From the first failure to the first line that sums up, and from that to the next one; it
/// doubles each time.
const SUMMARY_MIN: Duration = Duration::from_secs(1);
/// The longest time between two such lines.
const SUMMARY_MAX: Duration = Duration::from_secs(600);
/// Sequences that such a line names.
const NAMED: usize = 10;
/// Characters of a subject in the log.
const SUBJECT_CHARS_MAX: usize = 200;

/// Letters that wait for another try. They take no place from letters that are published for the
/// first time, and hold no more than their messages.
#[derive(Debug)]
pub struct Retries {
    due: BTreeMap<(Instant, u64), DeadLetterAttempt>,
    /// Number of the attempt, for attempts that are due at one instant.
    pushed: u64,
    /// Sequences in the stream of signals of what failed and is not stored yet.
    failing: BTreeSet<u64>,
    next_summary: Instant,
    summary_interval: Duration,
}

impl Retries {
    /// Nothing waits.
    pub fn new() -> Self {
        Self {
            due: BTreeMap::new(),
            pushed: 0,
            failing: BTreeSet::new(),
            next_summary: Instant::now(),
            summary_interval: SUMMARY_MIN,
        }
    }

    /// Reports whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    /// Time of the next try; `None` where nothing waits.
    pub fn next(&self) -> Option<Instant> {
        self.due.keys().next().map(|(due, _)| *due)
    }

    /// The next attempt, where it is due and its claim is open.
    pub fn take_due(&mut self) -> Option<DeadLetterAttempt> {
        let entry = self.due.first_entry()?;
        let attempt = (entry.key().0 <= Instant::now()).then(|| entry.remove())?;
        if attempt.letters.are_over() {
            self.stored(attempt.rejected.delivery.position.stream_seq);
            return None;
        }
        Some(attempt)
    }

    /// Keeps an attempt that failed until its next try.
    pub fn failed(&mut self, mut attempt: DeadLetterAttempt, error: &NotStored) {
        attempt.trace.failed(error);
        // Only what ends the process before its verdict has to be alone.
        attempt.rejected.delivery.lease.end_turn();
        let pause = attempt.backoff.pause();
        self.report(&attempt, error, pause);
        self.pushed += 1;
        let due = (Instant::now() + pause, self.pushed);
        self.due.insert(due, attempt);
    }

    /// Counts a letter as stored.
    pub fn stored(&mut self, stream_seq: u64) {
        if self.failing.remove(&stream_seq) && self.failing.is_empty() {
            info!("{LETTERS_PUBLISHED}");
        }
    }

    /// Has a line for each of the first few, and then one now and then for all of them.
    fn report(&mut self, attempt: &DeadLetterAttempt, error: &NotStored, pause: Duration) {
        let now = Instant::now();
        if self.failing.is_empty() {
            self.summary_interval = SUMMARY_MIN;
            self.next_summary = now + SUMMARY_MIN;
        }
        let delivery = &attempt.rejected.delivery;
        let stream_seq = delivery.position.stream_seq;
        let is_first = self.failing.insert(stream_seq);
        if is_first && self.failing.len() <= OWN_LINES {
            let subject: String = delivery.subject().chars().take(SUBJECT_CHARS_MAX).collect();
            warn!(stream_seq, %subject, %error, retry_in_ms = pause.as_millis() as u64, "{LETTER_NOT_PUBLISHED}");
        } else if now >= self.next_summary {
            self.summary_interval = (self.summary_interval * 2).min(SUMMARY_MAX);
            self.next_summary = now + self.summary_interval;
            let stream_seqs: Vec<_> = self.failing.iter().take(NAMED).collect();
            warn!(waiting = self.failing.len(), oldest_stream_seqs = ?stream_seqs, %error, "{LETTERS_NOT_PUBLISHED}");
        }
    }
}
