//! Types of metrics.

use prometheus::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Result,
};

use crate::declaration::{Declaration, Metric, MetricKind};

macro_rules! single {
    ($type:ty, $kind:ident, $options:ident) => {
        impl Metric for $type {
            const KIND: MetricKind = MetricKind::$kind;
            const IS_LABELED: bool = false;

            fn declared(declaration: &Declaration) -> Result<Self> {
                Self::with_opts(declaration.$options())
            }
        }
    };
}

macro_rules! labeled {
    ($type:ty, $kind:ident, $options:ident) => {
        impl Metric for $type {
            const KIND: MetricKind = MetricKind::$kind;
            const IS_LABELED: bool = true;

            fn declared(declaration: &Declaration) -> Result<Self> {
                let metric = Self::new(declaration.$options(), &declaration.label_names())?;
                for values in declaration.known_series() {
                    metric.get_metric_with_label_values(&values)?;
                }
                Ok(metric)
            }
        }
    };
}

single!(IntCounter, Counter, options);
single!(IntGauge, Gauge, options);
single!(Histogram, Histogram, histogram_options);
labeled!(IntCounterVec, Counter, options);
labeled!(IntGaugeVec, Gauge, options);
labeled!(HistogramVec, Histogram, histogram_options);

/// Converts a count to the type of a gauge; one that does not fit becomes the largest.
pub fn signed(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}
