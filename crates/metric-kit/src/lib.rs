//! Metrics that are declared once, next to the code that counts them.
//!
//! A component declares its metrics with [`metrics!`]. The struct, the registration with the first
//! series of known labels, and the reference page come from that declaration. Names follow
//! <https://prometheus.io/docs/practices/naming/>.

mod declaration;
mod group;
mod metric;
mod reference;
mod registry;
mod snapshot;

pub use declaration::{Declaration, Label, Metric, MetricKind};
pub use group::{Group, MetricGroup};
pub use metric::signed;
pub use prometheus::{
    Error, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Result,
    TEXT_FORMAT,
};
pub use reference::reference;
pub use registry::Registry;
pub use snapshot::{Distribution, Measure, MetricValues, Series};

/// Bounds of histograms of times in seconds, from 50 µs to 5 minutes, each about 2.2 times the one
/// before.
pub const SECONDS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];
