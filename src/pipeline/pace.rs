//! How long a batch collects signals: the longer, the more of them come, and never for less
//! time than an insert takes. Pure: it is told of time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How long a batch collects for each signal a second.
///
/// An insert costs ClickHouse some milliseconds however few its rows, and a row some
/// microseconds. At 1,000 signals a second a batch then waits for 2.5 ms, at 10,000 for 25 ms
/// with 250 rows, at 100,000 for 250 ms with 25,000 rows, whose own cost is all that counts.
const WAIT_FOR_EACH_PER_SECOND: Duration = Duration::from_nanos(2_500);
/// Over which time the traffic is averaged.
const MEMORY: Duration = Duration::from_millis(500);

/// How long the last insert took, told by those who insert. A ClickHouse that is slow gets
/// fewer and larger batches by that, whatever makes it slow.
#[derive(Debug, Default)]
pub(super) struct InsertTime(AtomicU64);

impl InsertTime {
    /// An insert took so long.
    pub fn set(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.0.store(micros, Ordering::Relaxed);
    }

    /// How long the last one took.
    pub fn get(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// The pace of batches.
#[derive(Debug)]
pub(super) struct Pace {
    signals_per_second: f64,
    counted_at: Instant,
}

impl Pace {
    /// A pace for no traffic.
    pub fn new(now: Instant) -> Self {
        Self {
            signals_per_second: 0.0,
            counted_at: now,
        }
    }

    /// Learns that so many signals came since it was last told.
    pub fn count(&mut self, signals: usize, now: Instant) {
        let elapsed = now.saturating_duration_since(self.counted_at).as_secs_f64();
        self.counted_at = now;
        // An average whose weights decay with age; right for intervals of any length.
        let decay = (-elapsed / MEMORY.as_secs_f64()).exp();
        self.signals_per_second =
            self.signals_per_second * decay + signals as f64 / MEMORY.as_secs_f64();
    }

    /// How long a batch that begins now collects, at most `max_wait`.
    pub fn wait(&self, max_wait: Duration) -> Duration {
        let wait = WAIT_FOR_EACH_PER_SECOND.as_secs_f64() * self.signals_per_second;
        Duration::try_from_secs_f64(wait)
            .unwrap_or(max_wait)
            .min(max_wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_WAIT: Duration = Duration::from_millis(250);

    /// The wait after some seconds of steady traffic in groups of `signals`.
    fn wait_at(signals: usize, every: Duration) -> Duration {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        for _ in 0..5_000 {
            now += every;
            pace.count(signals, now);
        }
        pace.wait(MAX_WAIT)
    }

    fn is_about(wait: Duration, expected_ms: f64) -> bool {
        (wait.as_secs_f64() * 1000.0 - expected_ms).abs() < expected_ms * 0.1
    }

    #[test]
    fn the_wait_follows_the_traffic() {
        let ms = Duration::from_millis;
        assert!(is_about(wait_at(1, ms(10)), 0.25));
        assert!(is_about(wait_at(1, ms(1)), 2.5));
        assert!(is_about(wait_at(10, ms(1)), 25.0));
        assert!(is_about(wait_at(500, ms(50)), 25.0));
        assert_eq!(wait_at(200, ms(1)), MAX_WAIT);
    }

    #[test]
    fn a_signal_after_silence_goes_at_once() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        pace.count(100_000, now);
        assert_eq!(pace.wait(MAX_WAIT), MAX_WAIT);
        now += Duration::from_secs(10);
        pace.count(1, now);
        assert!(pace.wait(MAX_WAIT) < Duration::from_micros(10));
    }
}
