//! Series of numbers: level, step, jump, pattern of the day and unrest.

mod excess;
mod rate;

pub use rate::TypeRates;

use serde::{Deserialize, Serialize};

use crate::finding::{Finding, Unit};
use crate::series::excess::{Excess, weight};
use crate::time::DAY_US;

/// Points that the level remembers.
const LONG: f64 = 1_000.0;
/// Points that the short mean remembers.
const SHORT: f64 = 6.0;
/// Points that the short-term unrest remembers.
const UNREST: f64 = 24.0;
/// Slots of the day's pattern: half hours.
const SLOTS: usize = 48;
/// Points of a slot before it predicts.
const SLOT_MIN: f64 = 3.0;
/// Least weight of a slot's newest point.
const SLOT_WEIGHT: f64 = 0.05;
/// Points before a series is scored. NAB leaves out 600 of 4,000.
const COUNT_MIN: f64 = 300.0;
/// Points before statistics are scored against their own tails.
const SETTLED: f64 = 20.0;
/// Points before deviations are cut.
const CUT_FROM: f64 = 50.0;
/// Deviations count up to this many mean deviations, so that an anomaly does not become the level.
const CUT: f64 = 4.0;
/// Weight of each further statistic beside the strongest.
const FURTHER: f64 = 0.7;
/// Largest score of one statistic.
const SCORE_MAX: f64 = 30.0;
/// Decay of the last alarm's score, each point: half is left after 346.
const RECORD_LEFT: f64 = 0.998;
/// Rise above the last alarm that is news.
const RISE: f64 = 1.5;
/// Largest number that is read, either side of zero: sums and differences stay finite.
const NUMBER_MAX: f64 = 1e100;

/// State of a series. Every statistic is scored against its own tail.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Series {
    count: f64,
    long: f64,
    short: f64,
    /// Mean deviation from the level.
    spread: f64,
    previous: f64,
    /// Mean step from point to point, over the long and the short term.
    jump: f64,
    jump_short: f64,
    /// Mean of each slot of the day, with its points.
    slots: Vec<(f64, f64)>,
    /// Mean deviation from the slots.
    slot_spread: f64,
    tails: [Excess; 4],
    /// Decayed score of the last alarm.
    record: f64,
}

/// Statistics of a point, each at least 0, and what they were made from.
struct Statistics {
    scored: [Option<f64>; 4],
    deviation: f64,
    jump: f64,
    slot: usize,
    slot_deviation: f64,
    least: f64,
}

impl Series {
    /// Takes a point. `None` in the warm-up of 300 points, and for a number that is not finite.
    ///
    /// The score is 0 unless it rises by half above the last alarm's, which decays: suppression
    /// belongs to the series.
    ///
    /// `noise` is the least deviation that counts, in the unit of the numbers; 0 if unknown.
    pub fn look(&mut self, at_us: i64, number: f64, noise: f64) -> Option<Finding> {
        if number.is_nan() || number.abs() > NUMBER_MAX {
            return None;
        }
        if self.slots.is_empty() {
            self.slots = vec![(0.0, 0.0); SLOTS];
            (self.previous, self.long, self.short) = (number, number, number);
        }
        self.count += 1.0;
        let statistics = self.statistics(at_us, number, noise);
        let (mut sum, mut strongest, mut is_pattern) = (0.0, 0.0_f64, false);
        for (index, (tail, value)) in self.tails.iter_mut().zip(statistics.scored).enumerate() {
            let score = value.map_or(0.0, |value| tail.take(value).min(SCORE_MAX));
            is_pattern = if score > strongest {
                index == 2
            } else {
                is_pattern
            };
            strongest = strongest.max(score);
            sum += score;
        }
        let by_pattern = self.slots[statistics.slot].0;
        let expected = if is_pattern { by_pattern } else { self.long };
        self.learn(number, &statistics);
        if self.count < COUNT_MIN {
            return None;
        }
        let score = strongest + FURTHER * (sum - strongest);
        self.record *= RECORD_LEFT;
        let is_news = score > self.record * RISE;
        self.record = if is_news { score } else { self.record };
        let score = if is_news { score } else { 0.0 };
        Some(Finding::new(score, Unit::Number, expected, number))
    }

    /// Statistics of a point: jump, step, distance from the day's pattern, change of unrest.
    fn statistics(&mut self, at_us: i64, number: f64, noise: f64) -> Statistics {
        let least = 1e-4 * self.long.abs() + noise + 1e-9;
        let jump = number - self.previous;
        self.short += weight(self.count, SHORT) * (number - self.short);
        self.jump_short += weight(self.count, UNREST) * (jump.abs() - self.jump_short);
        let day_share = at_us.rem_euclid(DAY_US) as f64 / DAY_US as f64;
        let slot = ((day_share * SLOTS as f64) as usize).min(SLOTS - 1);
        let (pattern, points) = self.slots[slot];
        let slot_deviation = number - pattern;
        let has_pattern = points >= SLOT_MIN;
        let scored = [
            Some(jump.abs() / (self.jump + least)),
            Some((self.short - self.long).abs() / (self.spread + least)),
            has_pattern.then(|| slot_deviation.abs() / (self.slot_spread + least)),
            Some(libm::log((self.jump_short + least) / (self.jump + least)).abs()),
        ];
        Statistics {
            scored: scored.map(|value| value.filter(|_| self.count >= SETTLED)),
            deviation: number - self.long,
            jump,
            slot,
            slot_deviation,
            least,
        }
    }

    fn learn(&mut self, number: f64, statistics: &Statistics) {
        let is_cut = self.count > CUT_FROM;
        let least = statistics.least;
        let cut = |deviation: f64, usual: f64| {
            let most = CUT * usual + least;
            if is_cut {
                deviation.clamp(-most, most)
            } else {
                deviation
            }
        };
        let weight_long = weight(self.count, LONG);
        let deviation = cut(statistics.deviation, self.spread);
        self.long += weight_long * deviation;
        self.spread += weight_long * (deviation.abs() - self.spread);
        let jump = cut(statistics.jump, self.jump);
        self.jump += weight_long * (jump.abs() - self.jump);
        let (pattern, points) = &mut self.slots[statistics.slot];
        if *points >= 1.0 {
            let known = *points > 8.0;
            let raw = statistics.slot_deviation;
            let deviation = if known {
                cut(raw, self.slot_spread)
            } else {
                raw
            };
            self.slot_spread += weight_long * (deviation.abs() - self.slot_spread);
            *pattern += (1.0 / (*points + 1.0)).max(SLOT_WEIGHT) * deviation;
        } else {
            *pattern = number;
        }
        *points += 1.0;
        self.previous = number;
    }

    /// Reports whether a snapshot's parts belong together.
    pub fn is_sound(&self) -> bool {
        self.slots.is_empty() || self.slots.len() == SLOTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores of a daily pattern in points of 5 minutes over 20 days, changed from a point on.
    fn alarms(change: impl Fn(i64, f64) -> f64) -> Vec<i64> {
        let mut series = Series::default();
        let mut alarms = Vec::new();
        for point in 0..20 * 288 {
            let day = point as f64 / 288.0 * core::f64::consts::TAU;
            let noise = (point * 7_919 % 101) as f64 / 101.0;
            let number = change(point, 100.0 + 20.0 * libm::sin(day) + 4.0 * noise);
            let finding = series.look(point * 300_000_000, number, 0.0);
            if finding.is_some_and(|finding| finding.score > 8.0) {
                alarms.push(point);
            }
        }
        alarms
    }

    #[test]
    fn a_usual_pattern_raises_nothing() {
        assert_eq!(alarms(|_, usual| usual), [0_i64; 0]);
    }

    #[test]
    fn a_spike_is_found_at_once() {
        let found = alarms(|point, usual| if point == 5_000 { 300.0 } else { usual });
        assert_eq!(found.first(), Some(&5_000));
    }

    #[test]
    fn a_step_is_found_once() {
        let found = alarms(|point, usual| if point >= 5_000 { usual + 60.0 } else { usual });
        assert!(
            found
                .first()
                .is_some_and(|first| (5_000..5_010).contains(first)),
            "{found:?}"
        );
        assert!(found.len() < 5, "{found:?}");
    }

    #[test]
    fn a_missing_peak_is_found_by_the_pattern() {
        let found = alarms(|point, usual| {
            if point > 5_184 {
                usual.min(100.0)
            } else {
                usual
            }
        });
        assert!(
            found
                .first()
                .is_some_and(|first| (5_184..5_330).contains(first)),
            "{found:?}"
        );
    }

    #[test]
    fn no_number_breaks_a_series() {
        let mut series = Series::default();
        let odd = [
            f64::NAN,
            f64::INFINITY,
            1e300,
            1e99,
            -1e99,
            0.0,
            1e-300,
            5.0,
        ];
        for point in 0..10_000_usize {
            let finding = series.look(point as i64, odd[point * point % odd.len()], 0.0);
            assert!(finding.is_none_or(|finding| finding.score.is_finite()));
        }
    }
}
