//! Suppression: a subject that raised an anomaly is quiet for a time.

use serde::{Deserialize, Serialize};

use crate::detector::Detector;
use crate::key::Key;
use crate::table::Table;

/// Quiet subjects at most: those that raised an anomaly last.
const SUBJECTS_MAX: u32 = 65_536;

/// Subjects that raised an anomaly, each with the detector that did.
#[derive(Debug, Serialize, Deserialize)]
pub struct Quiet {
    subjects: Table<Last>,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Last {
    until_us: i64,
    odds: f64,
}

impl Default for Quiet {
    fn default() -> Self {
        Self {
            subjects: Table::new(SUBJECTS_MAX),
        }
    }
}

impl Quiet {
    /// Reports whether a subject is quiet for a detector at a time, with these odds.
    pub fn holds(&self, subject: Key, by: Detector, now_us: i64, odds: f64, rise: f64) -> bool {
        let last = self.subjects.get(of(subject, by));
        last.is_some_and(|last| now_us < last.until_us && odds < last.odds * rise)
    }

    /// Begins a quiet time.
    pub fn begin(&mut self, subject: Key, by: Detector, until_us: i64, odds: f64) {
        *self.subjects.state(of(subject, by)) = Last { until_us, odds };
    }

    /// Builds what a snapshot leaves out. Returns `false` if the parts contradict each other.
    pub fn rebuild(&mut self) -> bool {
        self.subjects.rebuild()
    }
}

fn of(subject: Key, by: Detector) -> Key {
    subject.pair(Key::series(by.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_subject_speaks_when_the_odds_rise() {
        let mut quiet = Quiet::default();
        let (one, other) = (Key::address("a"), Key::address("b"));
        quiet.begin(one, Detector::Amount, 100, 1.0);
        assert!(quiet.holds(one, Detector::Amount, 50, 1.5, 2.0));
        assert!(!quiet.holds(one, Detector::Amount, 50, 2.0, 2.0));
        assert!(!quiet.holds(one, Detector::Amount, 100, 1.0, 2.0));
        assert!(!quiet.holds(one, Detector::Rate, 50, 1.0, 2.0));
        assert!(!quiet.holds(other, Detector::Amount, 50, 1.0, 2.0));
    }
}
