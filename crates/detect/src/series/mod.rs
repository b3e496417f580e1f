//! Series of numbers: their level.

use serde::{Deserialize, Serialize};

use crate::finding::{Finding, Unit};

/// State of a series.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Series {
    count: u32,
    mean: f64,
    variance: f64,
}

impl Series {
    /// Takes a point.
    pub fn look(&mut self, _at_us: i64, number: f64) -> Option<Finding> {
        if !number.is_finite() {
            return None;
        }
        let deviation = number - self.mean;
        let score = deviation.abs() / self.variance.max(1e-12).sqrt();
        self.count = self.count.saturating_add(1);
        let weight = (1.0 / f64::from(self.count)).max(0.01);
        self.mean += weight * deviation;
        self.variance += weight * (deviation * deviation - self.variance);
        (self.count > 100).then(|| Finding::new(score, Unit::Number, self.mean, number))
    }
}
