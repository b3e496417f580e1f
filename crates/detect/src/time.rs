//! Time as the engine sees it: from the signals, never from a clock.

use serde::{Deserialize, Serialize};

/// Microseconds of a second.
pub const SECOND_US: i64 = 1_000_000;
/// Microseconds of a day.
pub const DAY_US: i64 = 86_400 * SECOND_US;

/// Latest time that is read: the year 2262, so that no sum of two times overflows.
const TIME_US_MAX: i64 = i64::MAX / 1_000;

/// Share that is left after `elapsed_us`, where 1/e is left after `tau_us`. From 0 to 1.
pub fn remaining(elapsed_us: i64, tau_us: i64) -> f64 {
    if elapsed_us <= 0 {
        return 1.0;
    }
    libm::exp(-(elapsed_us as f64) / (tau_us.max(1) as f64))
}

/// Days as microseconds.
pub fn days_us(days: f64) -> i64 {
    (days * DAY_US as f64) as i64
}

/// Seconds as microseconds.
pub fn seconds_us(seconds: f64) -> i64 {
    (seconds * SECOND_US as f64) as i64
}

/// Time of a signal, with its standing in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Time that the signal counts at, in microseconds since the epoch.
    pub at_us: i64,
    /// The signal is late: it counts for amounts, not for rates, gaps and silences.
    pub is_late: bool,
}

/// Newest time of the stream so far.
///
/// A signal counts at its event time, with two exceptions. An event time from the future, more than
/// `skew_us` after JetStream stored the signal, is replaced by the stored time. A signal whose time
/// is more than `lateness_us` before the newest is late.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Watermark {
    first_us: Option<i64>,
    newest_us: i64,
}

impl Watermark {
    /// Takes the times of a signal.
    pub fn advance(&mut self, event_us: i64, stored_us: i64, skew_us: i64, late_us: i64) -> Moment {
        let from_future = event_us > stored_us.saturating_add(skew_us);
        let at_us = if from_future { stored_us } else { event_us };
        let at_us = at_us.clamp(0, TIME_US_MAX);
        self.first_us.get_or_insert(at_us);
        self.newest_us = self.newest_us.max(at_us);
        Moment {
            at_us,
            is_late: at_us < self.newest_us - late_us,
        }
    }

    /// Newest time, in microseconds since the epoch.
    pub fn newest_us(&self) -> i64 {
        self.newest_us
    }

    /// Time from the first signal to the newest, in microseconds.
    pub fn span_us(&self) -> i64 {
        self.newest_us - self.first_us.unwrap_or(self.newest_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_from_the_future_is_replaced_by_the_stored_one() {
        let mut mark = Watermark::default();
        let moment = mark.advance(500 * SECOND_US, 100 * SECOND_US, SECOND_US, SECOND_US);
        assert_eq!(moment.at_us, 100 * SECOND_US);
        assert_eq!(mark.newest_us(), 100 * SECOND_US);
    }

    #[test]
    fn a_signal_far_behind_is_late() {
        let mut mark = Watermark::default();
        let stored = 1_000 * SECOND_US;
        let mut late = |seconds: i64| {
            let event = seconds * SECOND_US;
            mark.advance(event, stored, 0, 60 * SECOND_US).is_late
        };
        assert_eq!(
            [900, 850, 839, 900].map(&mut late),
            [false, false, true, false]
        );
    }

    #[test]
    fn extreme_times_do_not_overflow() {
        let mut mark = Watermark::default();
        for event in [i64::MIN, i64::MAX, 0, -1] {
            for stored in [i64::MIN, i64::MAX, 0] {
                mark.advance(event, stored, DAY_US, DAY_US);
                assert!(mark.span_us() >= 0);
            }
        }
    }
}
