//! A point in time by two clocks, for leases that must not seem younger than they are.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// A point in time. The monotonic clock knows nothing of a machine that was suspended, and
/// the wall clock may be set: whichever has gone further counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    monotonic: Instant,
    wall: SystemTime,
}

impl Moment {
    /// This moment.
    pub fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    /// The earlier of both, by each clock.
    pub fn earliest(self, other: Self) -> Self {
        Self {
            monotonic: self.monotonic.min(other.monotonic),
            wall: self.wall.min(other.wall),
        }
    }

    /// Time since then, by the clock that has gone further.
    pub fn age(self) -> Duration {
        let wall = self.wall.elapsed().unwrap_or_default();
        self.monotonic.elapsed().max(wall)
    }

    /// The time of day, `after` that moment.
    pub fn time_of_day(self, after: Duration) -> SystemTime {
        self.wall + after
    }
}
