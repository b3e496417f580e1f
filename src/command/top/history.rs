//! What the figures were, and what came between two looks at them. Pure.

use std::collections::VecDeque;

use crate::ops::history::Between;
use crate::ops::status::Status;

/// Looks that are kept: the widest chart has one column for each.
const KEPT: usize = 300;

/// The newest status, and what led to it.
#[derive(Debug)]
pub(super) struct History {
    latest: Status,
    rates: VecDeque<u64>,
    between: Option<Between>,
}

impl History {
    /// Begins with the first look.
    pub fn new(status: Status) -> Self {
        Self {
            latest: status,
            rates: VecDeque::with_capacity(KEPT),
            between: None,
        }
    }

    /// Takes the next look.
    pub fn add(&mut self, status: Status) {
        self.between = Between::of(&self.latest, &status);
        if let Some(between) = &self.between {
            self.rates.truncate(KEPT - 1);
            self.rates.push_front(between.signals_per_second as u64);
        }
        self.latest = status;
    }

    /// The newest look.
    pub fn latest(&self) -> &Status {
        &self.latest
    }

    /// What came between the last two.
    pub fn between(&self) -> Option<&Between> {
        self.between.as_ref()
    }

    /// Signals a second, the newest first.
    pub fn rates(&self) -> impl Iterator<Item = u64> {
        self.rates.iter().copied()
    }
}
