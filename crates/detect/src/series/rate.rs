//! Rates of event types: signals of each type in each interval, as series.

use serde::{Deserialize, Serialize};

use crate::finding::{Finding, Unit};
use crate::key::Key;
use crate::series::Series;
use crate::table::Table;
use crate::time::SECOND_US;

/// Length of an interval: 5 minutes.
const INTERVAL_US: i64 = 300 * SECOND_US;
/// Mean deviation of twice the root of a Poisson count.
const NOISE: f64 = 0.8;
/// Most event types.
const TYPES_MAX: u32 = 256;
/// Most empty intervals that are counted after a pause of the whole stream: a day's.
const EMPTY_MAX: i64 = 288;

/// Counts of the open interval by event type, and the series of the closed ones.
#[derive(Debug, Serialize, Deserialize)]
pub struct TypeRates {
    /// Number of the open interval since the epoch.
    open: i64,
    types: Table<TypeRate>,
    /// Event types in the order of their first signals.
    names: Vec<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct TypeRate {
    count: f64,
    series: Series,
}

/// Finding about the rate of a type.
#[derive(Debug, Clone, PartialEq)]
pub struct RateFinding {
    /// The finding, in signals an interval.
    pub finding: Finding,
    /// The event type.
    pub event_type: String,
}

impl Default for TypeRates {
    fn default() -> Self {
        Self {
            open: 0,
            types: Table::new(TYPES_MAX),
            names: Vec::new(),
        }
    }
}

impl TypeRates {
    /// Counts a signal at the stream's newest time. The first signal of an interval closes the one
    /// before, for every type, also for those that went silent: returns its largest finding.
    pub fn count(&mut self, event_type: &str, newest_us: i64) -> Option<RateFinding> {
        let now = newest_us.div_euclid(INTERVAL_US);
        let mut largest = None::<RateFinding>;
        if now > self.open {
            let passed = if self.open == 0 {
                0
            } else {
                (now - self.open).min(EMPTY_MAX)
            };
            for ago in (0..passed).rev() {
                self.close((now - 1 - ago) * INTERVAL_US, &mut largest);
            }
            self.open = now;
        }
        let key = Key::series(event_type);
        if self.types.get(key).is_none() {
            if self.types.len() >= TYPES_MAX as usize {
                // Types are the operator's; a stream of made-up ones costs no memory.
                return largest;
            }
            self.names.push(event_type.to_owned());
        }
        self.types.state(key).count += 1.0;
        largest
    }

    /// Builds what a snapshot leaves out. Returns `false` if the parts contradict each other.
    pub fn rebuild(&mut self) -> bool {
        self.types.rebuild() && self.names.len() == self.types.len()
    }

    fn close(&mut self, at_us: i64, largest: &mut Option<RateFinding>) {
        for name in &self.names {
            let rate = self.types.state(Key::series(name));
            let count = std::mem::take(&mut rate.count);
            let Some(finding) = rate.series.look(at_us, 2.0 * count.sqrt(), NOISE) else {
                continue;
            };
            let most = largest
                .as_ref()
                .map_or(-1.0, |largest| largest.finding.score);
            if finding.score > most {
                let squared = |root: f64| (root / 2.0) * (root / 2.0);
                let (expected, observed) = (finding.figure.expected, finding.figure.observed);
                let (expected, observed) = (squared(expected), squared(observed));
                let finding = Finding::new(finding.score, Unit::Signals, expected, observed);
                let event_type = name.clone();
                *largest = Some(RateFinding {
                    finding,
                    event_type,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_goes_silent_is_found_by_signals_of_others() {
        let mut rates = TypeRates::default();
        let mut found = Vec::new();
        for second in 0..200_000_i64 {
            let at_us = 1_700_000_000 * SECOND_US + second * SECOND_US;
            let is_silent = second > 180_000;
            let event_type = if second % 2 == 0 || is_silent {
                "a"
            } else {
                "b"
            };
            if second % 10 < 2 {
                let finding = rates.count(event_type, at_us);
                found.extend(finding.filter(|found| found.finding.score > 8.0));
            }
        }
        let first = found.first().map(|found| found.event_type.clone());
        assert!(first.is_some(), "{found:?}");
        assert!(
            found.iter().any(|found| found.event_type == "b"),
            "{found:?}"
        );
        assert!(found.len() < 6, "{found:?}");
    }
}
