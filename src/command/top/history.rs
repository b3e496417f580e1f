//! What the figures were, and what came between two looks at them. Pure.

use std::collections::VecDeque;

use crate::ops::status::Status;
use crate::telemetry::figures::Histogram;

/// Looks that are kept: the widest chart has one column for each.
const KEPT: usize = 300;

/// The newest status, and what led to it.
#[derive(Debug)]
pub(super) struct History {
    latest: Status,
    rates: VecDeque<u64>,
    between: Option<Between>,
}

/// What came between the last two looks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Between {
    /// Signals inserted.
    pub signals_per_second: f64,
    pub batches_per_second: f64,
    pub dead_letters_per_second: f64,
    /// Seconds from publish to commit.
    pub latency: Histogram,
    /// Seconds.
    pub insert: Histogram,
    pub batch_rows: Histogram,
}

impl Between {
    /// `None` when there was no time between them, or another process came.
    fn of(earlier: &Status, later: &Status) -> Option<Self> {
        let seconds = later.uptime_seconds - earlier.uptime_seconds;
        if seconds <= 0.0 {
            return None;
        }
        let (old, new) = (&earlier.metrics, &later.metrics);
        let rate = |name: &str| (new.total(name) - old.total(name)).max(0.0) / seconds;
        let histogram = |name: &str| new.histogram(name).since(&old.histogram(name));
        Some(Self {
            signals_per_second: rate("signals_inserted_total"),
            batches_per_second: rate("batches_inserted_total"),
            dead_letters_per_second: rate("signals_dead_lettered_total"),
            latency: histogram("end_to_end_latency_seconds"),
            insert: histogram("insert_duration_seconds"),
            batch_rows: histogram("batch_rows"),
        })
    }
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
