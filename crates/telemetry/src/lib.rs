//! The log, the lines and metrics of batches and dead letters, and traces.

pub mod event_metrics;
pub mod events;
mod excerpt;
pub mod faulty;
pub mod happened;
pub mod log;
pub mod log_lines;
mod options;
pub mod recent;
pub mod repeats;
pub mod traces;

pub use event_metrics::EventMetrics;
pub use options::{LogOptions, OtelOptions};
