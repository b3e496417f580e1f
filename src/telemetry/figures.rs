//! The metrics as `/statusz` and the live page tell them, for the daemon that writes them and
//! for the commands that read them.

use std::collections::BTreeMap;

use prometheus::proto::{Metric, MetricFamily, MetricType};
use serde::{Deserialize, Serialize};

/// Every metric by its full name, each with its series.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Figures(BTreeMap<String, Vec<Series>>);

/// One series of a metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The values of its labels by their names.
    pub labels: BTreeMap<String, String>,
    /// What was measured.
    #[serde(flatten)]
    pub figure: Figure,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Figure {
    /// How values are distributed.
    Histogram(Histogram),
    /// Of a counter or a gauge.
    Single {
        /// In the unit that the metric's name ends in.
        value: f64,
    },
}

/// How values are distributed, since the start or between two looks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Upper bounds, rising, each with how many values do not exceed it.
    pub buckets: Vec<(f64, u64)>,
    /// Of all values.
    pub sum: f64,
    /// How many there are.
    pub count: u64,
}

impl Figures {
    /// What a registry has gathered.
    pub fn of(families: &[MetricFamily]) -> Self {
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
    pub fn histogram(&self, name: &str) -> Histogram {
        match self.series(name).first().map(|series| &series.figure) {
            Some(Figure::Histogram(histogram)) => histogram.clone(),
            _ => Histogram::default(),
        }
    }
}

impl Series {
    fn of(metric: &Metric, kind: MetricType) -> Self {
        let labels = metric.get_label().iter();
        let labels = labels.map(|label| (label.name().to_owned(), label.value().to_owned()));
        Self {
            labels: labels.collect(),
            figure: match kind {
                MetricType::HISTOGRAM => Figure::Histogram(Histogram::of(metric)),
                MetricType::COUNTER => Figure::Single {
                    value: metric.get_counter().get_value(),
                },
                _ => Figure::Single {
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
        match self.figure {
            Figure::Single { value } => value,
            Figure::Histogram(_) => 0.0,
        }
    }
}

impl Histogram {
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

    /// The values that came after an earlier look at the same histogram.
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
        // Beyond the last bound; no more is known.
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

    fn histogram(counts: [u64; 3], sum: f64) -> Histogram {
        let bounds = [1.0, 2.0, 4.0].into_iter();
        Histogram {
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
        assert_eq!(Histogram::default().quantile(0.5), None);
        assert_eq!(Histogram::default().mean(), None);
    }

    #[test]
    fn what_is_beyond_the_last_bound_counts_as_that() {
        let beyond = Histogram {
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
        assert_eq!(later.since(&Histogram::default()), later);
    }
}
