//! One declared metric.

use prometheus::core::Collector;
use prometheus::{HistogramOpts, Opts, Result};

/// Type of a metric in Prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only rises, and begins at zero with the process.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts values by their size.
    Histogram,
}

impl MetricKind {
    /// Its name in Prometheus.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A type of metric that can be declared.
pub trait Metric: Collector + Clone + 'static {
    /// Its type in Prometheus.
    const KIND: MetricKind;
    /// It has a series for each combination of label values.
    const IS_LABELED: bool;

    /// Makes the metric, with the series that are known beforehand.
    ///
    /// # Errors
    /// When a name is malformed.
    fn declared(declaration: &Declaration) -> Result<Self>;
}

/// A label of a metric's series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Every value that it takes; none where they are not known beforehand.
    pub values: &'static [&'static str],
}

/// One metric as it was declared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Declaration {
    /// Its name in Prometheus.
    pub name: &'static str,
    /// Its type.
    pub kind: MetricKind,
    /// Labels of its series.
    pub labels: &'static [Label],
    /// Upper bounds of a histogram, rising.
    pub buckets: &'static [f64],
    doc: &'static str,
}

impl Declaration {
    /// Declares a metric of type `M`; `doc` is the doc comment of its field.
    ///
    /// # Panics
    /// At compile time, when only one of type and declaration has labels, or buckets.
    pub const fn new<M: Metric>(
        name: &'static str,
        doc: &'static str,
        labels: &'static [Label],
        buckets: &'static [f64],
    ) -> Self {
        assert!(
            M::IS_LABELED != labels.is_empty(),
            "the type must be a Vec where there are labels, and only there"
        );
        assert!(
            matches!(M::KIND, MetricKind::Histogram) != buckets.is_empty(),
            "a histogram has buckets, and nothing else has"
        );
        Self {
            name,
            kind: M::KIND,
            labels,
            buckets,
            doc,
        }
    }

    /// The doc comment as one line, without the final period.
    pub fn help(&self) -> &'static str {
        let line = self.doc.trim();
        line.strip_suffix('.').unwrap_or(line)
    }

    pub(crate) fn label_names(&self) -> Vec<&'static str> {
        self.labels.iter().map(|label| label.name).collect()
    }

    pub(crate) fn options(&self) -> Opts {
        Opts::new(self.name, self.help())
    }

    pub(crate) fn histogram_options(&self) -> HistogramOpts {
        HistogramOpts::new(self.name, self.help()).buckets(self.buckets.to_vec())
    }

    /// Label values of each series that is known beforehand: none where a label is open.
    pub(crate) fn known_series(&self) -> Vec<Vec<&'static str>> {
        let with_label = |series: Vec<Vec<&'static str>>, label: &Label| {
            let longer = series.iter().flat_map(|values| {
                let longer = |value: &&'static str| [values.as_slice(), &[*value]].concat();
                label.values.iter().map(longer)
            });
            longer.collect()
        };
        self.labels.iter().fold(vec![Vec::new()], with_label)
    }
}
