//! The registry of all metrics.

use prometheus::process_collector::ProcessCollector;
use prometheus::{Encoder, Error, Result, TextEncoder};

use crate::declaration::{Declaration, Metric};
use crate::snapshot::MetricValues;

/// The registry of all metrics. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Registry(prometheus::Registry);

impl Registry {
    /// Makes and registers the metric of the next declaration; for [`crate::metrics!`].
    ///
    /// # Errors
    /// When a name is malformed, or registered already.
    pub fn next<'d, M: Metric>(
        &self,
        declarations: &mut impl Iterator<Item = &'d Declaration>,
    ) -> Result<M> {
        let missing = || Error::Msg("a metric has no declaration".to_owned());
        let metric = M::declared(declarations.next().ok_or_else(missing)?)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    /// Registers the metrics of the process, `process_*`.
    ///
    /// # Errors
    /// When they are registered already.
    pub fn register_process(&self) -> Result<()> {
        self.0.register(Box::new(ProcessCollector::for_self()))
    }

    /// Writes every metric in Prometheus' text format, version 0.0.4.
    ///
    /// # Errors
    /// When a metric has no value: a defect.
    pub fn render(&self) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.0.gather(), &mut text)?;
        Ok(text)
    }

    /// Returns the value of every metric.
    pub fn snapshot(&self) -> MetricValues {
        MetricValues::of(&self.0.gather())
    }
}

#[cfg(test)]
#[allow(dead_code)] // Fields of examples that only the registry reads.
mod tests {
    use super::*;
    use crate::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, MetricGroup};

    const OFFICES: &[&str] = &["east", "west"];

    crate::metrics! {
        /// Letters.
        pub struct StoredMetrics {
            /// Letters that were posted.
            letters_posted_total: IntCounter;
            /// Letters that came back.
            letters_returned_total: IntCounterVec, label "reason" in &["address", "postage"], label "office" in OFFICES;
            /// Letters by their sender.
            letters_held: IntGaugeVec, label "sender", label "office" in OFFICES;
            /// Grams of a letter.
            letter_grams: Histogram, buckets &[20.0, 50.0];
            /// Time of a letter.
            letter_days: HistogramVec, label "office", buckets &[1.0, 2.0];
        }
    }

    #[test]
    fn series_begin_at_zero_where_every_label_is_known() {
        let registry = Registry::default();
        StoredMetrics::register(&registry).unwrap();
        let text = String::from_utf8(registry.render().unwrap()).unwrap();
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                "risksignal_letter_grams_bucket{le=\"20\"} 0",
                "risksignal_letter_grams_bucket{le=\"50\"} 0",
                "risksignal_letter_grams_bucket{le=\"+Inf\"} 0",
                "risksignal_letter_grams_sum 0",
                "risksignal_letter_grams_count 0",
                "risksignal_letters_posted_total 0",
                "risksignal_letters_returned_total{office=\"east\",reason=\"address\"} 0",
                "risksignal_letters_returned_total{office=\"east\",reason=\"postage\"} 0",
                "risksignal_letters_returned_total{office=\"west\",reason=\"address\"} 0",
                "risksignal_letters_returned_total{office=\"west\",reason=\"postage\"} 0",
            ]
        );
        let help = "# HELP risksignal_letters_posted_total Letters that were posted\n# TYPE risksignal_letters_posted_total counter\n";
        assert!(text.contains(help), "{text}");
    }

    #[test]
    fn a_name_is_registered_once() {
        let registry = Registry::default();
        StoredMetrics::register(&registry).unwrap();
        assert!(StoredMetrics::register(&registry).is_err());
    }
}
