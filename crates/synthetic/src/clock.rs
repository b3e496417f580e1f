//! Clock of the generator. It only moves forward, by its own steps or on the caller's request.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use time::OffsetDateTime;

/// Time of the next signal, and its text.
#[derive(Debug)]
pub(super) struct Clock {
    now_us: i64,
    mean_gap_us: u64,
    /// Second for which `text` was written.
    second: Option<i64>,
    text: String,
}

impl Clock {
    pub(super) fn new(start_ms: i64, mean_gap_us: u64) -> Self {
        Self {
            now_us: start_ms.saturating_mul(1000),
            mean_gap_us,
            second: None,
            text: String::new(),
        }
    }

    /// Moves to `now_ms` since the epoch, unless the clock is already past it.
    pub(super) fn advance_to(&mut self, now_ms: i64) {
        self.now_us = self.now_us.max(now_ms.saturating_mul(1000));
    }

    /// Moves by a random gap of the mean length.
    pub(super) fn step(&mut self, rng: &mut ChaCha8Rng) {
        let gap_us = rng.random_range(0..=self.mean_gap_us.saturating_mul(2));
        self.now_us = self.now_us.saturating_add_unsigned(gap_us);
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.now_us.div_euclid(1000)
    }

    /// Returns the time as RFC 3339 in UTC, with milliseconds.
    pub(super) fn rfc3339(&mut self) -> &str {
        let now_ms = self.now_ms();
        let second = now_ms.div_euclid(1000);
        // Formatting a date is slow, and thousands of signals share one second.
        if self.second != Some(second) {
            let at = OffsetDateTime::from_unix_timestamp(second)
                .unwrap_or(OffsetDateTime::UNIX_EPOCH)
                .to_utc();
            self.text = format!(
                "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.000Z",
                at.year(),
                u8::from(at.month()),
                at.day(),
                at.hour(),
                at.minute(),
                at.second()
            );
            self.second = Some(second);
        }
        let ms = now_ms.rem_euclid(1000);
        self.text.truncate(self.text.len().saturating_sub(4));
        for digit in [ms / 100, ms / 10 % 10, ms % 10] {
            // A single digit always fits.
            self.text
                .push(char::from(b'0' + u8::try_from(digit).unwrap_or(0)));
        }
        self.text.push('Z');
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_written_to_the_millisecond_and_only_goes_forward() {
        let mut clock = Clock::new(1_683_029_999_007, 10);
        assert_eq!(clock.rfc3339(), "2023-05-02T12:19:59.007Z");
        clock.advance_to(1_683_029_999_120);
        assert_eq!(clock.rfc3339(), "2023-05-02T12:19:59.120Z");
        clock.advance_to(1_683_029_999_000);
        assert_eq!(clock.rfc3339(), "2023-05-02T12:19:59.120Z");
        clock.advance_to(1_683_030_000_000);
        assert_eq!(clock.rfc3339(), "2023-05-02T12:20:00.000Z");
    }
}
