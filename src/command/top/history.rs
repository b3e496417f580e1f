//! Past figures, and the differences between two readings. Pure.

use std::collections::VecDeque;

use crate::ops::history::Between;
use crate::ops::status::Status;

/// Number of kept readings: the widest chart has one column for each.
const KEPT: usize = 300;

/// Newest status, and earlier figures.
#[derive(Debug)]
pub(super) struct StatusHistory {
    latest: Status,
    rates: VecDeque<u64>,
    between: Option<Between>,
}

impl StatusHistory {
    /// Begins with the first reading.
    pub fn new(status: Status) -> Self {
        Self {
            latest: status,
            rates: VecDeque::with_capacity(KEPT),
            between: None,
        }
    }

    /// Adds the next reading.
    pub fn add(&mut self, status: Status) {
        self.between = Between::of(&self.latest, &status);
        if let Some(between) = &self.between {
            self.rates.truncate(KEPT - 1);
            self.rates.push_front(between.signals_per_second as u64);
        }
        self.latest = status;
    }

    /// Returns the newest reading.
    pub fn latest(&self) -> &Status {
        &self.latest
    }

    /// Returns the difference between the last two.
    pub fn between(&self) -> Option<&Between> {
        self.between.as_ref()
    }

    /// Iterates over signals per second, the newest first.
    pub fn rates(&self) -> impl Iterator<Item = u64> {
        self.rates.iter().copied()
    }
}
