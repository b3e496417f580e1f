//! The batch rule as a state machine: time and reason of each close. Knows no clock: each call that
//! depends on time gets it.
//!
//! A batch closes at the first of these, and then as soon as there is a permit for its insert:
//!
//! - it is full (`max_rows`, `max_bytes`), and the cap on the rate of inserts allows another one;
//! - it has collected for as long as the traffic makes it worth ([`BatchPace`]), and the time that
//!   an insert takes has passed since the last close, and the cap allows it. Until then it grows;
//! - nothing more will come.

use std::time::{Duration, Instant};

use store::Rows;

use super::open_batch::{BatchBounds, OpenBatch};
use super::pace::BatchPace;
use crate::pipeline::crossing::batch::{CloseReason, ClosedBatch};
use crate::pipeline::crossing::delivery::Delivery;
use crate::pipeline::crossing::reason::Reason;

/// Settings of the rule.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Size of a batch.
    pub bounds: BatchBounds,
    /// Longest time that a batch collects.
    pub max_wait: Duration,
    /// Shortest time between two closes: the cap on the rate of inserts.
    pub interval: Duration,
}

/// The next close of the open batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close {
    /// Reason for which it closes.
    pub reason: CloseReason,
    /// The earliest time.
    pub not_before: Instant,
}

/// The open batch, and the times by which it closes.
#[derive(Debug)]
pub struct Batcher {
    limits: BatchLimits,
    open: OpenBatch,
    pace: BatchPace,
    /// End of the time that the open batch collects.
    collected_at: Instant,
    /// Time of the last close.
    closed_at: Instant,
    /// Nothing more will come.
    is_draining: bool,
}

impl Batcher {
    /// An empty batch, before any traffic.
    pub fn new(limits: BatchLimits, now: Instant) -> Self {
        Self {
            open: OpenBatch::new(limits.bounds),
            limits,
            pace: BatchPace::new(now),
            collected_at: now,
            closed_at: now,
            is_draining: false,
        }
    }

    /// Replaces the limits. The open batch keeps the time that it collects.
    pub fn set_limits(&mut self, limits: BatchLimits) {
        self.limits = limits;
        self.open.set_bounds(limits.bounds);
    }

    /// Counts messages that arrived together, for the pace: see [`BatchPace::count`].
    pub fn count(&mut self, messages: usize, consumer_seq: Option<u64>, now: Instant) {
        self.pace.count(messages, consumer_seq, now);
    }

    /// Reports whether the open batch has no messages. The next one begins it.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Reports whether the open batch takes no further message.
    pub fn is_full(&self) -> bool {
        self.open.full().is_some()
    }

    /// Begins the time that a batch collects, with its first message.
    pub fn begin(&mut self, now: Instant) {
        debug_assert!(self.is_empty(), "a batch begins once");
        self.collected_at = now + self.pace.wait(self.limits.max_wait);
    }

    /// Adds a message: see [`OpenBatch::push`]. The batch was begun, and is not full.
    pub fn push(
        &mut self,
        delivery: Delivery,
        encode: impl FnOnce(&Delivery, &mut Rows) -> Result<(), Reason>,
    ) -> bool {
        self.open.push(delivery, encode)
    }

    /// Takes note that nothing more will come.
    pub fn drain(&mut self) {
        self.is_draining = true;
    }

    /// The next close, as things are now; `None` while the batch is empty. `insert_time` is the
    /// duration of the last insert, by which a slow ClickHouse gets fewer and larger batches.
    pub fn next_close(&self, insert_time: Duration) -> Option<Close> {
        if self.is_empty() {
            return None;
        }
        let capped = self.closed_at + self.limits.interval;
        let (reason, not_before) = match self.open.full() {
            Some(reason) => (reason, capped),
            // The cap spares ClickHouse; one more insert at the end does no harm.
            None if self.is_draining => (CloseReason::Drain, self.closed_at),
            None => {
                let spaced = self.closed_at + insert_time.min(self.limits.max_wait);
                let not_before = self.collected_at.max(spaced).max(capped);
                (CloseReason::Wait, not_before)
            }
        };
        Some(Close { reason, not_before })
    }

    /// Closes the open batch, unless it is empty, and begins the next one.
    pub fn close(&mut self, reason: CloseReason, now: Instant) -> Option<ClosedBatch> {
        self.closed_at = now;
        self.open.close(reason)
    }
}

#[cfg(test)]
mod tests;
