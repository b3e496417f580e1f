//! Time that a batch collects signals: the longer, the more of them come. Knows no clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Time that a batch collects, for each signal a second.
///
/// An insert costs ClickHouse some milliseconds however few its rows, and a row some
/// microseconds. At 1,000 signals a second a batch then waits for 2.5 ms, at 10,000 for 25 ms
/// with 250 rows, at 100,000 for 250 ms with 25,000 rows, whose own cost is all that counts.
const WAIT_FOR_EACH_PER_SECOND: Duration = Duration::from_nanos(2_500);
/// Time over which the traffic is averaged.
const MEMORY: Duration = Duration::from_millis(500);

/// Messages by which one pull may overtake another, as two pulls of 5,000 do. A consumer whose
/// sequence is behind by more was recreated.
const OVERTAKEN_MAX: u64 = 10_000;

/// Duration of the last insert, set by the inserts. By it a slow ClickHouse gets fewer and larger
/// batches, whatever makes it slow.
#[derive(Debug, Default)]
pub struct InsertTime(AtomicU64);

impl InsertTime {
    /// Takes note of the duration of an insert.
    pub fn set(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.0.store(micros, Ordering::Relaxed);
    }

    /// The duration of the last insert; zero before the first.
    pub fn get(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// The pace of batches.
#[derive(Debug)]
pub struct BatchPace {
    signals_per_second: f64,
    consumer_seq: Option<u64>,
    counted_at: Instant,
}

impl BatchPace {
    /// A pace for no traffic.
    pub fn new(now: Instant) -> Self {
        Self {
            signals_per_second: 0.0,
            consumer_seq: None,
            counted_at: now,
        }
    }

    /// Counts signals that came since the last call. `consumer_seq` is the number of deliveries of
    /// the consumer so far, where it is known. Those to other instances count too: ClickHouse has
    /// the inserts of all, whose rate would grow with the square of the number of instances if each
    /// went by its own share.
    pub fn count(&mut self, signals: usize, consumer_seq: Option<u64>, now: Instant) {
        let signals = self.delivered(consumer_seq).unwrap_or(signals as u64) as f64;
        let interval_s = now.saturating_duration_since(self.counted_at).as_secs_f64();
        self.counted_at = now;
        // An average whose weights decay with age; right for intervals of any length.
        let memory = MEMORY.as_secs_f64();
        let decay = (-interval_s / memory).exp();
        let weight = match interval_s > 0.0 {
            true => (1.0 - decay) / interval_s,
            false => 1.0 / memory,
        };
        self.signals_per_second = self.signals_per_second * decay + signals * weight;
    }

    /// Deliveries of the consumer, to any instance, since the last call; `None` when that is not
    /// known.
    fn delivered(&mut self, consumer_seq: Option<u64>) -> Option<u64> {
        let seq = consumer_seq?;
        match self.consumer_seq {
            Some(before) if before.saturating_sub(seq) <= OVERTAKEN_MAX => {
                self.consumer_seq = Some(seq.max(before));
                Some(seq.saturating_sub(before))
            }
            _ => {
                self.consumer_seq = Some(seq);
                None
            }
        }
    }

    /// Time that a batch which begins now collects, at most `max_wait`.
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
        let mut pace = BatchPace::new(now);
        for _ in 0..5_000 {
            now += every;
            pace.count(signals, None, now);
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
        let mut pace = BatchPace::new(now);
        pace.count(100_000, None, now);
        assert_eq!(pace.wait(MAX_WAIT), MAX_WAIT);
        now += Duration::from_secs(10);
        pace.count(1, None, now);
        assert!(pace.wait(MAX_WAIT) < Duration::from_micros(10));
    }

    #[test]
    fn what_others_are_delivered_counts() {
        let mut now = Instant::now();
        let mut pace = BatchPace::new(now);
        // Every fourth comes here, of 10,000 a second; chunks overtake one another.
        for chunk in 0..10_000_u64 {
            now += Duration::from_millis(1);
            pace.count(2, Some((chunk ^ 1) * 10), now);
        }
        let wait = pace.wait(MAX_WAIT);
        assert!(is_about(wait, 25.0), "{wait:?}");
        // A consumer that is recreated counts from the start.
        for chunk in 0..5_000_u64 {
            now += Duration::from_millis(1);
            pace.count(1, Some(chunk), now);
        }
        let wait = pace.wait(MAX_WAIT);
        assert!(is_about(wait, 2.5), "{wait:?}");
        // What others were delivered in a long silence was no burst.
        now += Duration::from_secs(100);
        pace.count(1, Some(105_000), now);
        let wait = pace.wait(MAX_WAIT);
        assert!(is_about(wait, 2.5), "{wait:?}");
    }
}
