//! Up to where everything is settled, where an ack stands for all messages before its own
//! (`consumer.ack_policy` is `all`). Pure: it is told what the server says.
//!
//! Such an ack must not cover a message that is neither committed nor a dead letter, whoever
//! holds it. The server counts as pending what it delivered and has no ack for. The same set is
//! kept here, in two parts: what is open, and what is settled and not acked yet. An ack goes to
//! a settled message before the first open one, and only while both parts together are known
//! to be all that is pending:
//!
//! - The server numbers its deliveries. When a number is missing, another instance has that
//!   delivery, or it was lost on its way. It may be any message, so nothing is acked then.
//! - What is pending and not known comes to this instance after its ack wait, since the server
//!   delivers to one instance only. Once the server counts as many pending messages as are
//!   known, while none is on its way, all are known.
//! - Where it counts fewer, it has given up on some or forgot them, and what is known is worth
//!   nothing. What is pending comes again, is found in the table, and settled again.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_nats::Subject;
use rangemap::RangeInclusiveSet;
use tokio::sync::Notify;

use super::delivery::AckSubject;

/// What is known of the pending messages, shared by the pull, which sees them come, and the
/// ack stage, which sees them settled.
#[derive(Debug, Default)]
pub(super) struct AckFloor {
    known: Mutex<Known>,
    /// Woken when an ack may be due though no message was settled.
    pub may_be_due: Notify,
}

/// What the server says of a consumer while no delivery is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pending {
    /// Messages delivered and not acked.
    pub messages: u64,
    /// The number of the last delivery.
    pub last_consumer_seq: u64,
}

/// All by their sequences in the stream.
#[derive(Debug, Default)]
struct Known {
    /// Delivered here and not settled.
    open: RangeInclusiveSet<u64>,
    /// Settled and not acked.
    settled: RangeInclusiveSet<u64>,
    /// Where the acks of some settled messages go: of the last one of each group.
    acks: BTreeMap<u64, Subject>,
    /// Those that were delivered as often as they may be: the server may have given up on them.
    last_tries: BTreeSet<u64>,
    /// Whether this is all that is pending.
    is_complete: bool,
    /// The number of the last delivery.
    last_consumer_seq: u64,
}

impl AckFloor {
    /// Messages have come, in the order in which the server sent them. `max_deliver` is how
    /// often it delivers one; 0 is no bound.
    pub fn delivered(&self, deliveries: &[AckSubject], max_deliver: u32) {
        let mut known = self.lock();
        for delivery in deliveries {
            if delivery.consumer_seq != known.last_consumer_seq + 1 {
                known.is_complete = false;
            }
            known.last_consumer_seq = delivery.consumer_seq;
            if max_deliver > 0 && delivery.delivered >= u64::from(max_deliver) {
                known.last_tries.insert(delivery.stream_seq);
            }
        }
        for run in deliveries.chunk_by(|one, next| one.stream_seq + 1 == next.stream_seq) {
            if let (Some(first), Some(last)) = (run.first(), run.last()) {
                known.opened(first.stream_seq..=last.stream_seq);
            }
        }
    }

    /// Messages are settled, each with where its ack goes. Returns where the ack goes that is
    /// due now.
    pub fn settled(&self, acks: &[(AckSubject, Subject)]) -> Option<Subject> {
        let mut known = self.lock();
        // One that the server has given up on is pending no more; its subject is made here.
        let is_given_up = |ack: &AckSubject| ack.consumer_seq == 0;
        for (ack, _) in acks.iter().filter(|(ack, _)| is_given_up(ack)) {
            known.open.remove(ack.stream_seq..=ack.stream_seq);
        }
        let follows = |one: &(AckSubject, _), next: &(AckSubject, _)| {
            one.0.stream_seq + 1 == next.0.stream_seq && is_given_up(&one.0) == is_given_up(&next.0)
        };
        for run in acks.chunk_by(follows) {
            match run {
                [(first, _), ..] if !is_given_up(first) => known.settled(first.stream_seq, run),
                _ => {}
            }
        }
        known.due()
    }

    /// Where the ack goes that is due now.
    pub fn due(&self) -> Option<Subject> {
        self.lock().due()
    }

    /// Compares what is known with what the server says.
    pub fn compare(&self, pending: Pending) {
        let mut known = self.lock();
        if pending.messages < known.count() {
            known.forget();
        }
        let is_same = pending.messages == known.count() && known.last_tries.is_empty();
        if is_same && !known.is_complete {
            known.is_complete = true;
            known.last_consumer_seq = pending.last_consumer_seq;
        }
        drop(known);
        self.may_be_due.notify_one();
    }

    /// The server may have forgotten what it delivered.
    pub fn forget(&self) {
        self.lock().forget();
    }

    /// Whether all that is pending is known.
    pub fn is_complete(&self) -> bool {
        self.lock().is_complete
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // No code panics while it holds the lock; the state is whole in any case.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// A settled message that is delivered again stays settled.
    fn opened(&mut self, run: RangeInclusive<u64>) {
        let new: Vec<_> = self.settled.gaps(&run).collect();
        self.open.extend(new);
    }

    /// What is not open was forgotten, and comes again.
    fn settled(&mut self, first: u64, run: &[(AckSubject, Subject)]) {
        let end = first + run.len() as u64 - 1;
        let open = self.open.overlapping(first..=end);
        let open: Vec<_> = open
            .map(|range| *range.start().max(&first)..=*range.end().min(&end))
            .collect();
        let Some(last) = open.last().map(|range| *range.end()) else {
            return;
        };
        for range in open {
            self.open.remove(range.clone());
            self.settled.insert(range);
        }
        let ack = usize::try_from(last - first)
            .ok()
            .and_then(|at| run.get(at));
        self.acks.extend(ack.map(|(_, ack)| (last, ack.clone())));
    }

    fn count(&self) -> u64 {
        let ranges = self.open.iter().chain(self.settled.iter());
        ranges.map(|range| range.end() - range.start() + 1).sum()
    }

    /// Takes the ack of the last settled message with one before which nothing is open.
    fn due(&mut self) -> Option<Subject> {
        if !self.is_complete {
            return None;
        }
        let first_open = self.open.first().map_or(u64::MAX, |range| *range.start());
        let (&sequence, _) = self.acks.range(..first_open).next_back()?;
        let later = self.acks.split_off(&(sequence + 1));
        let ack = std::mem::replace(&mut self.acks, later).remove(&sequence);
        self.settled.remove(0..=sequence);
        self.last_tries = self.last_tries.split_off(&(sequence + 1));
        ack
    }

    fn forget(&mut self) {
        *self = Self {
            last_consumer_seq: self.last_consumer_seq,
            ..Self::default()
        };
    }
}

#[cfg(test)]
mod tests;
