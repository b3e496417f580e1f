//! Base state of a wallet, for one asset and one direction.

use serde::{Deserialize, Serialize};

use super::rate::expected_in;
use crate::time::{DAY_US, Moment, SECOND_US, remaining};

/// Weight of a new amount or gap, once the state has seen many.
const WEIGHT_MIN: f64 = 0.01;
/// Signals that the asset's spread counts for, beside the wallet's own.
const PRIOR_COUNT: f64 = 20.0;
/// Deviations above the mean count up to this many standard deviations, so that one large theft
/// does not make the next one usual.
const DEVIATION_MAX: f64 = 1.5;
/// Deviations below the mean count up to this one, in ln(amount): a factor of 20.
const DEVIATION_MIN: f64 = -3.0;
/// Least mean square deviation, in ln(amount).
const VARIANCE_MIN: f64 = 0.01;
/// Signals before a wallet's amounts have a meaning.
pub const AMOUNTS_MIN: u16 = 5;
/// Signals before a wallet's rates and gaps have a meaning.
pub const RATES_MIN: u16 = 10;
/// Steps of a stored silence: it is kept as a fixed-point number of 16 bits.
const SILENCE_STEPS: f64 = 256.0;
/// Full circle of hours as a fixed-point number of 16 bits.
const HOUR_STEPS: f64 = 32_000.0;

/// Statistics of a wallet, for an asset and a direction: 64 bytes.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Wallet {
    last_us: i64,
    /// Position of its last signal.
    position: u64,
    /// Decayed counts of signals, over the short and the long window.
    fast: f32,
    slow: f32,
    /// Mean of ln(amount), and the mean squares of deviations above and below.
    mean: f32,
    above: f32,
    below: f32,
    /// Mean and variance of ln(1 + seconds since the signal before).
    gap_mean: f32,
    gap_variance: f32,
    /// Decayed counts of new counterparties.
    new_fast: f32,
    new_slow: f32,
    /// Second of the first signal, since the epoch.
    first_s: u32,
    count: u16,
    /// Largest recent silence in standard deviations, decayed over the short window.
    silence: u16,
    /// Mean direction of the hour of the day.
    hour_x: i16,
    hour_y: i16,
}

const _: () = assert!(size_of::<Wallet>() <= 64);

/// Windows of rates, in microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Windows {
    /// Short window.
    pub fast_us: i64,
    /// Long window.
    pub slow_us: i64,
}

/// A wallet's state at the time of a signal, before the signal counts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Before {
    /// Signals so far, up to 65,535.
    pub count: u16,
    /// Position of the signal before; 0 if there is none.
    pub position: u64,
    /// Signals in the short window.
    pub fast: f64,
    /// Signals expected there, from the long window.
    pub expected: f64,
    /// New counterparties in the short window.
    pub new_fast: f64,
    /// New counterparties expected there.
    pub new_expected: f64,
    /// Share of signals to new counterparties, from 0 to 1.
    pub new_share: f64,
    /// Mean of ln(amount).
    pub mean: f64,
    /// Standard deviation of ln(amount) above the mean, with the asset's as its prior.
    pub spread: f64,
    /// ln(1 + seconds since the signal before); 0 for a signal out of order.
    pub gap: f64,
    /// Mean of that.
    pub gap_usual: f64,
    /// Largest silence of the short window in standard deviations, with this gap.
    pub silence: f64,
    /// Length of the mean direction of the hour: 1 if all signals come at one hour, 0 at any.
    pub hour_focus: f64,
    /// Distance of this hour from the mean one, from 0 (equal) to 2 (opposite).
    pub hour_distance: f64,
    /// New counterparties over the long window.
    new_slow: f64,
    /// Signals over the long window.
    slow: f64,
    is_late: bool,
    hour: (f64, f64),
}

impl Wallet {
    /// State at a moment. `variance` is the asset's: see `Asset::variance_within`.
    pub fn before(&self, moment: Moment, windows: Windows, variance: f64) -> Before {
        let elapsed_us = if self.count == 0 {
            0
        } else {
            (moment.at_us - self.last_us).max(0)
        };
        let gap_s = if moment.is_late {
            0.0
        } else {
            elapsed_us as f64 / SECOND_US as f64
        };
        let fast_left = remaining(elapsed_us, windows.fast_us);
        let slow_left = remaining(elapsed_us, windows.slow_us);
        let slow = f64::from(self.slow) * slow_left;
        let new_slow = f64::from(self.new_slow) * slow_left;
        let age = (moment.at_us / SECOND_US - i64::from(self.first_s)).max(0) as f64;
        let window = windows.fast_us as f64 / SECOND_US as f64;
        let tau = windows.slow_us as f64 / SECOND_US as f64;
        let per_slow = expected_in(window, 1.0, tau, age);
        let ln_gap = libm::log1p(gap_s);
        let gap_spread = (f64::from(self.gap_variance) + 0.25).sqrt();
        let silence = (ln_gap - f64::from(self.gap_mean)) / gap_spread;
        let silence = if self.count >= RATES_MIN {
            silence
        } else {
            0.0
        };
        let silence_left = f64::from(self.silence) / SILENCE_STEPS * fast_left;
        let day_share = moment.at_us.rem_euclid(DAY_US) as f64 / DAY_US as f64;
        let angle = day_share * core::f64::consts::TAU;
        let hour = (libm::cos(angle), libm::sin(angle));
        let (x, y) = (
            f64::from(self.hour_x) / HOUR_STEPS,
            f64::from(self.hour_y) / HOUR_STEPS,
        );
        let focus = (x * x + y * y).sqrt();
        let cosine = (x * hour.0 + y * hour.1) / focus.max(1e-6);
        Before {
            count: self.count,
            position: self.position,
            fast: f64::from(self.fast) * fast_left,
            expected: slow * per_slow,
            new_fast: f64::from(self.new_fast) * fast_left,
            new_expected: new_slow * per_slow,
            new_share: ((new_slow + 0.5) / (slow + 1.0)).min(1.0),
            mean: f64::from(self.mean),
            spread: self.spread(variance),
            gap: ln_gap,
            gap_usual: f64::from(self.gap_mean),
            silence: silence.max(silence_left).max(0.0),
            hour_focus: focus.min(1.0),
            hour_distance: (1.0 - cosine).clamp(0.0, 2.0),
            new_slow,
            slow,
            is_late: moment.is_late,
            hour,
        }
    }

    /// Counts a signal. A late one counts for amounts alone, and without moving the time back.
    pub fn count(&mut self, moment: Moment, position: u64, before: &Before, is_new: bool) {
        self.position = position;
        if before.is_late && self.count > 0 {
            self.count = self.count.saturating_add(1);
            return;
        }
        if self.count == 0 {
            self.first_s = u32::try_from(moment.at_us / SECOND_US).unwrap_or(u32::MAX);
        } else {
            let weight = (1.0 / f64::from(self.count)).max(WEIGHT_MIN);
            let deviation = before.gap - f64::from(self.gap_mean);
            self.gap_mean += (weight * deviation) as f32;
            let old = f64::from(self.gap_variance);
            self.gap_variance = (old + weight * (deviation * deviation - old)) as f32;
        }
        let new = f64::from(u8::from(is_new));
        self.fast = (before.fast + 1.0) as f32;
        self.slow = (before.slow + 1.0) as f32;
        self.new_fast = (before.new_fast + new) as f32;
        self.new_slow = (before.new_slow + new) as f32;
        self.silence = (before.silence * SILENCE_STEPS).min(65_535.0) as u16;
        let weight = (1.0 / f64::from(self.count.saturating_add(1))).max(0.02);
        let turn = |old: i16, new: f64| {
            let old = f64::from(old);
            (old + weight * (new * HOUR_STEPS - old)) as i16
        };
        self.hour_x = turn(self.hour_x, before.hour.0);
        self.hour_y = turn(self.hour_y, before.hour.1);
        self.last_us = self.last_us.max(moment.at_us);
        self.count = self.count.saturating_add(1);
    }

    /// Adds the amount of a signal that was counted; `spread` is that before it.
    pub fn add_amount(&mut self, ln: f64, spread: f64) {
        let count = f64::from(self.count.max(1));
        let weight = (1.0 / count).max(WEIGHT_MIN);
        let mut deviation = ln - f64::from(self.mean);
        if self.count > AMOUNTS_MIN {
            deviation = deviation.clamp(DEVIATION_MIN, DEVIATION_MAX * spread);
        }
        self.mean += (weight * deviation) as f32;
        if self.count > 1 {
            let side = if deviation > 0.0 {
                &mut self.above
            } else {
                &mut self.below
            };
            let old = f64::from(*side);
            let new = old + (2.0 * weight).min(1.0) * (deviation * deviation - old);
            *side = new as f32;
        }
    }

    /// Standard deviation above the mean, where the asset's counts for twenty signals.
    fn spread(&self, variance: f64) -> f64 {
        let count = f64::from(self.count);
        let sum = f64::from(self.above) * count + variance * PRIOR_COUNT;
        (sum / (count + PRIOR_COUNT)).max(VARIANCE_MIN).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOWS: Windows = Windows {
        fast_us: DAY_US / 4,
        slow_us: 14 * DAY_US,
    };

    fn at(hours: i64) -> Moment {
        Moment {
            at_us: (20_000 * 24 + hours) * DAY_US / 24,
            is_late: false,
        }
    }

    fn fed(hours: impl Iterator<Item = i64>, ln: f64) -> Wallet {
        let mut wallet = Wallet::default();
        for hour in hours {
            let before = wallet.before(at(hour), WINDOWS, 0.3);
            wallet.count(at(hour), 1, &before, false);
            wallet.add_amount(ln + 0.1 * (hour % 3) as f64, before.spread);
        }
        wallet
    }

    #[test]
    fn a_steady_wallet_is_predicted() {
        let wallet = fed((0..2_000).step_by(2), 5.0);
        let before = wallet.before(at(2_000), WINDOWS, 0.3);
        assert!((before.expected - 3.0).abs() < 0.3, "{before:?}");
        assert!((before.fast - 2.5).abs() < 0.5, "{before:?}");
        assert!((before.mean - 5.1).abs() < 0.1, "{before:?}");
        assert!(before.silence < 1.0 && before.spread < 0.2, "{before:?}");
    }

    #[test]
    fn a_silence_is_remembered_for_the_burst_that_follows() {
        let mut wallet = fed((0..400).step_by(2), 5.0);
        let first = wallet.before(at(2_000), WINDOWS, 0.3);
        assert!(first.silence > 5.0, "{first:?}");
        wallet.count(at(2_000), 1, &first, false);
        let second = wallet.before(at(2_001), WINDOWS, 0.3);
        assert!(second.silence > 4.0, "{second:?}");
    }

    #[test]
    fn a_late_signal_changes_no_rate() {
        let mut wallet = fed((0..400).step_by(2), 5.0);
        let late = Moment {
            is_late: true,
            ..at(10)
        };
        let before = wallet.before(at(400), WINDOWS, 0.3);
        let of_late = wallet.before(late, WINDOWS, 0.3);
        wallet.count(late, 9, &of_late, true);
        let after = wallet.before(at(400), WINDOWS, 0.3);
        assert_eq!((after.fast, after.gap), (before.fast, before.gap));
        assert_eq!(after.new_fast, before.new_fast);
    }

    #[test]
    fn an_unusual_hour_is_far_from_the_mean() {
        let wallet = fed((0..100).map(|day| day * 24 + 12), 5.0);
        let noon = wallet.before(at(2_412), WINDOWS, 0.3);
        let midnight = wallet.before(at(2_424), WINDOWS, 0.3);
        assert!(
            noon.hour_focus > 0.9 && noon.hour_distance < 0.1,
            "{noon:?}"
        );
        assert!(midnight.hour_distance > 1.9, "{midnight:?}");
    }
}
