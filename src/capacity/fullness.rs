//! Fullness of a storage, and the time until it is full, computed from samples. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Most samples of a trend, which drops every second one when it has more.
const SAMPLES_MAX: usize = 64;
/// Longest window: older samples do not show the present growth.
const WINDOW_MAX: Duration = Duration::from_secs(3600);
/// Shortest window: a shorter one would take a burst for a trend.
const WINDOW_MIN: Duration = Duration::from_secs(60);
/// Share of the limit, in percent, from which a storage counts as filling.
const FILLING_PERCENT: u128 = 80;
/// Share of the limit, in percent, from which a storage counts as full: the largest message may no
/// longer fit.
const FULL_PERCENT: u128 = 99;
/// Time until full, below which a storage counts as filling.
const SOON: Duration = Duration::from_secs(24 * 3600);

/// Urgency of the fullness of a storage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The storage has room.
    #[default]
    Ok,
    /// The storage is nearly full, or soon will be.
    Filling,
    /// The storage accepts nothing more, or hardly anything.
    Full,
}

/// Fullness of one storage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fullness {
    /// Bytes in use.
    pub used_bytes: u64,
    /// Bytes at which it rejects more; `None` if there is no known bound.
    pub limit_bytes: Option<u64>,
    /// Time until it is full at the present growth; `None` if it does not grow or has no bound.
    pub seconds_until_full: Option<u64>,
    /// Urgency by these figures.
    pub level: Level,
}

impl Fullness {
    /// Judges by the bytes in use, the bound, and the growth in bytes per second.
    pub fn judge(used_bytes: u64, limit_bytes: Option<u64>, growth: Option<f64>) -> Self {
        let limit_bytes = limit_bytes.filter(|limit| *limit > 0);
        let seconds_until_full = limit_bytes.zip(growth).and_then(|(limit, growth)| {
            let free = limit.saturating_sub(used_bytes);
            // A conversion of floats saturates.
            (growth > 0.0).then(|| (free as f64 / growth) as u64)
        });
        let is_above = |percent: u128| {
            limit_bytes
                .is_some_and(|limit| u128::from(used_bytes) * 100 >= u128::from(limit) * percent)
        };
        let is_soon = seconds_until_full.is_some_and(|seconds| seconds < SOON.as_secs());
        let level = match () {
            () if is_above(FULL_PERCENT) => Level::Full,
            () if is_above(FILLING_PERCENT) || is_soon => Level::Filling,
            () => Level::Ok,
        };
        Self {
            used_bytes,
            limit_bytes,
            seconds_until_full,
            level,
        }
    }

    /// Returns the share of the bound in percent, if there is one.
    pub fn percent(&self) -> Option<u64> {
        let limit = self.limit_bytes?;
        let percent = u128::from(self.used_bytes) * 100 / u128::from(limit);
        Some(u64::try_from(percent).unwrap_or(u64::MAX))
    }
}

/// Growth of a storage over a window of at most an hour. Memory is bounded.
#[derive(Debug, Default)]
pub struct Trend {
    /// Times since any fixed instant, rising, with the bytes in use.
    samples: VecDeque<(Duration, u64)>,
}

impl Trend {
    /// Adds a sample, unless it is no later than the last one.
    pub fn push(&mut self, at: Duration, used_bytes: u64) {
        if self.samples.back().is_some_and(|(last, _)| at <= *last) {
            return;
        }
        self.samples.push_back((at, used_bytes));
        let is_old = |(first, _): &(Duration, u64)| at.saturating_sub(*first) > WINDOW_MAX;
        while self.samples.len() > 2 && self.samples.front().is_some_and(is_old) {
            self.samples.pop_front();
        }
        if self.samples.len() > SAMPLES_MAX {
            let mut at = 0;
            self.samples.retain(|_| {
                at += 1;
                at % 2 == 1
            });
        }
    }

    /// Returns the growth in bytes per second from the first to the last sample, negative if it
    /// shrinks; `None` while the window is too short.
    pub fn growth(&self) -> Option<f64> {
        let ((first, before), (last, after)) = (self.samples.front()?, self.samples.back()?);
        let window = last.saturating_sub(*first);
        (window >= WINDOW_MIN).then(|| (*after as f64 - *before as f64) / window.as_secs_f64())
    }
}

/// Returns the mean growth in bytes per second of a storage of this age; `None` below a minute.
pub fn average(used_bytes: u64, lifetime: Duration) -> Option<f64> {
    (lifetime >= WINDOW_MIN).then(|| used_bytes as f64 / lifetime.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn trend(samples: impl IntoIterator<Item = (u64, u64)>) -> Trend {
        let mut trend = Trend::default();
        for (seconds, used) in samples {
            trend.push(Duration::from_secs(seconds), used);
        }
        trend
    }

    #[test]
    fn levels_follow_share_and_time() {
        for (used, limit, growth, level, seconds) in [
            (0, Some(100), None, Level::Ok, None),
            (79, Some(100), None, Level::Ok, None),
            (80, Some(100), None, Level::Filling, None),
            (99, Some(100), None, Level::Full, None),
            (200, Some(100), Some(1.0), Level::Full, Some(0)),
            (50, None, Some(9e9), Level::Ok, None),
            (50, Some(0), Some(1.0), Level::Ok, None),
            (50, Some(100), Some(-1.0), Level::Ok, None),
            (0, Some(100_000), Some(1.0), Level::Ok, Some(100_000)),
            (0, Some(80_000), Some(1.0), Level::Filling, Some(80_000)),
        ] {
            let found = Fullness::judge(used, limit, growth);
            assert_eq!((found.level, found.seconds_until_full), (level, seconds));
        }
    }

    #[test]
    fn a_trend_needs_a_minute() {
        assert_eq!(trend([]).growth(), None);
        assert_eq!(trend([(0, 0), (59, 59)]).growth(), None);
        assert_eq!(trend([(0, 0), (60, 120)]).growth(), Some(2.0));
        assert_eq!(trend([(0, 120), (60, 0)]).growth(), Some(-2.0));
        assert_eq!(average(600, Duration::from_secs(60)), Some(10.0));
        assert_eq!(average(600, Duration::from_secs(59)), None);
    }

    #[test]
    fn a_trend_forgets_what_is_older_than_an_hour() {
        let filled = (0..1000).map(|at| (at * 10, at * 1000));
        let purged = (1000..2000).map(|at| (at * 10, 5_000));
        assert_eq!(trend(filled.chain(purged)).growth(), Some(0.0));
    }

    proptest! {
        #[test]
        fn a_steady_growth_is_found_and_memory_stays_bounded(
            rate in 0_u64..1_000_000, steps in proptest::collection::vec(1_u64..120, 60..2000),
        ) {
            let mut trend = Trend::default();
            let mut at = 0;
            for step in steps {
                at += step;
                trend.push(Duration::from_secs(at), at * rate);
                prop_assert!(trend.samples.len() <= SAMPLES_MAX);
            }
            if let Some(growth) = trend.growth() {
                prop_assert!((growth - rate as f64).abs() < 1e-3);
            }
        }

        #[test]
        fn more_in_use_is_never_less_urgent(
            used in 0_u64..=u64::MAX, more in 0_u64..=u64::MAX,
            limit in proptest::option::of(1_u64..=u64::MAX), growth in proptest::option::of(-1e12..1e12),
        ) {
            let before = Fullness::judge(used, limit, growth);
            let after = Fullness::judge(used.saturating_add(more), limit, growth);
            prop_assert!(before.level <= after.level);
            prop_assert!(after.seconds_until_full <= before.seconds_until_full);
            prop_assert_eq!(before.seconds_until_full.is_some(), limit.is_some() && growth.is_some_and(|growth| growth > 0.0));
        }
    }
}
