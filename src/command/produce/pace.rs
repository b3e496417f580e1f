//! Limit on the rate of signals.

use std::time::{Duration, Instant};

/// Credits that a stall may accumulate: no burst is longer than this at the requested rate.
const BURST: Duration = Duration::from_secs(1);

/// Credits that accrue over time, one for a signal.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    /// Rate; `None` means no limit.
    per_second: Option<f64>,
    credits: f64,
    granted_at: Instant,
}

impl RateLimiter {
    /// Creates a limiter; `per_second` 0 means no limit.
    pub(crate) fn new(per_second: u64, now: Instant) -> Self {
        Self {
            per_second: (per_second > 0).then_some(per_second as f64),
            credits: 0.0,
            granted_at: now,
        }
    }

    /// Adds the credits since the last call.
    pub(crate) fn grant(&mut self, now: Instant) {
        if let Some(per_second) = self.per_second {
            let elapsed = now.saturating_duration_since(self.granted_at);
            let most = (per_second * BURST.as_secs_f64()).max(1.0);
            self.credits = (self.credits + elapsed.as_secs_f64() * per_second).min(most);
            self.granted_at = now;
        }
    }

    /// Reports whether one more signal may be sent.
    pub(crate) fn allows(&self) -> bool {
        self.per_second.is_none() || self.credits >= 1.0
    }

    /// Spends the credit of one signal.
    pub(crate) fn spend(&mut self) {
        self.credits -= 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spend_all(pace: &mut RateLimiter) -> u32 {
        let mut spent = 0;
        while pace.allows() {
            pace.spend();
            spent += 1;
        }
        spent
    }

    #[test]
    fn the_rate_holds_over_uneven_ticks() {
        let start = Instant::now();
        let mut pace = RateLimiter::new(5_000, start);
        assert_eq!(spend_all(&mut pace), 0);
        let mut spent = 0;
        for tick_ms in [10, 20, 21, 300, 310, 1_000] {
            pace.grant(start + Duration::from_millis(tick_ms));
            spent += spend_all(&mut pace);
        }
        assert!((4_999..=5_000).contains(&spent), "{spent}");
    }

    #[test]
    fn a_stall_saves_up_one_second() {
        let start = Instant::now();
        let mut pace = RateLimiter::new(100, start);
        pace.grant(start + Duration::from_secs(60));
        assert_eq!(spend_all(&mut pace), 100);
    }

    #[test]
    fn slow_rates_and_no_limit() {
        let start = Instant::now();
        let mut pace = RateLimiter::new(1, start);
        pace.grant(start + Duration::from_millis(900));
        assert!(!pace.allows());
        pace.grant(start + Duration::from_millis(1_000));
        assert!(pace.allows());
        assert!(RateLimiter::new(0, start).allows());
    }
}
