//! The values of all metrics as JSON, for the daemon that writes them and for programs that read
//! them.

use std::collections::BTreeMap;

use prometheus::proto::{Metric, MetricFamily, MetricType};
use serde::{Deserialize, Serialize};

/// Every metric by its full name, each with its series.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MetricValues(BTreeMap<String, Vec<Series>>);

/// One series of a metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The values of its labels by their names.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    #[serde(flatten)]
    pub value: Measure,
}

/// The value of a series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Measure {
    /// Values of a histogram.
    Histogram(Distribution),
    /// Value of a counter or a gauge.
    Single {
        /// In the unit that the metric's name ends in.
        value: f64,
    },
}

/// Distribution of a histogram's values, since the start or between two snapshots.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// Upper bounds, rising, each with the number of values that do not exceed it.
    pub buckets: Vec<(f64, u64)>,
    /// Sum of all values.
    pub sum: f64,
    /// Number of values.
    pub count: u64,
}

impl MetricValues {
    /// Converts what a registry gathered.
    pub(crate) fn of(families: &[MetricFamily]) -> Self {
        let families = families.iter().map(|family| {
            let metrics = family.get_metric().iter();
            let series = metrics.map(|metric| Series::of(metric, family.get_field_type()));
            (family.name().to_owned(), series.collect())
        });
        Self(families.collect())
    }

    /// The series of a metric, by its name behind `risksignal_`.
    pub fn series(&self, name: &str) -> &[Series] {
        let series = self.0.get(&format!("risksignal_{name}"));
        series.map_or(&[], Vec::as_slice)
    }

    /// The sum over the series of a counter or a gauge.
    pub fn total(&self, name: &str) -> f64 {
        self.series(name).iter().map(Series::value).sum()
    }

    /// A histogram without labels; one without values where there is none.
    pub fn histogram(&self, name: &str) -> Distribution {
        match self.series(name).first().map(|series| &series.value) {
            Some(Measure::Histogram(histogram)) => histogram.clone(),
            _ => Distribution::default(),
        }
    }
}

impl Series {
    fn of(metric: &Metric, kind: MetricType) -> Self {
        let labels = metric.get_label().iter();
        let labels = labels.map(|label| (label.name().to_owned(), label.value().to_owned()));
        Self {
            labels: labels.collect(),
            value: match kind {
                MetricType::HISTOGRAM => Measure::Histogram(Distribution::of(metric)),
                MetricType::COUNTER => Measure::Single {
                    value: metric.get_counter().get_value(),
                },
                _ => Measure::Single {
                    value: metric.get_gauge().get_value(),
                },
            },
        }
    }

    /// The value of a label; empty when there is none of that name.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// The value of a counter or a gauge.
    pub fn value(&self) -> f64 {
        match self.value {
            Measure::Single { value } => value,
            Measure::Histogram(_) => 0.0,
        }
    }
}

impl Distribution {
    fn of(metric: &Metric) -> Self {
        let histogram = metric.get_histogram();
        let buckets = histogram.get_bucket().iter();
        Self {
            buckets: buckets
                .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()))
                .collect(),
            sum: histogram.get_sample_sum(),
            count: histogram.get_sample_count(),
        }
    }

    /// Returns the values that came after an earlier snapshot of the same histogram.
    pub fn since(&self, earlier: &Self) -> Self {
        let counted = |index: usize| earlier.buckets.get(index).map_or(0, |bucket| bucket.1);
        let buckets = self.buckets.iter().enumerate();
        Self {
            buckets: buckets
                .map(|(index, (bound, count))| (*bound, count.saturating_sub(counted(index))))
                .collect(),
            sum: self.sum - earlier.sum,
            count: self.count.saturating_sub(earlier.count),
        }
    }

    /// The value that this share of all does not exceed, in proportion within its bucket, as
    /// Prometheus' `histogram_quantile` has it; `None` without values.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        let wanted = share * self.count as f64;
        let (mut lower, mut below) = (0.0, 0.0);
        for (upper, count) in &self.buckets {
            let count = *count as f64;
            if count >= wanted && count > below {
                return Some(lower + (upper - lower) * (wanted - below) / (count - below));
            }
            (lower, below) = (*upper, count);
        }
        // Beyond the last bound nothing more is known.
        Some(lower)
    }

    /// The mean; `None` without values.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(counts: [u64; 3], sum: f64) -> Distribution {
        let bounds = [1.0, 2.0, 4.0].into_iter();
        Distribution {
            buckets: bounds.zip(counts).collect(),
            sum,
            count: counts[2],
        }
    }

    #[test]
    fn quantiles_lie_within_their_bucket() {
        let ten = histogram([0, 10, 10], 15.0);
        assert_eq!(ten.quantile(0.5), Some(1.5));
        assert_eq!(ten.quantile(1.0), Some(2.0));
        assert_eq!(ten.mean(), Some(1.5));
        assert_eq!(Distribution::default().quantile(0.5), None);
        assert_eq!(Distribution::default().mean(), None);
    }

    #[test]
    fn what_is_beyond_the_last_bound_counts_as_that() {
        let beyond = Distribution {
            count: 5,
            ..histogram([0, 0, 1], 50.0)
        };
        assert_eq!(beyond.quantile(0.99), Some(4.0));
    }

    #[test]
    fn only_what_came_since_counts() {
        let (earlier, later) = (histogram([9, 9, 9], 9.0), histogram([9, 9, 13], 21.0));
        let between = later.since(&earlier);
        assert_eq!(between, histogram([0, 0, 4], 12.0));
        assert_eq!(between.quantile(0.5), Some(3.0));
        assert_eq!(later.since(&Distribution::default()), later);
    }
}
