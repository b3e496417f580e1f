//! Metrics of the program.

use metric_kit::{IntGauge, IntGaugeVec, metrics};

metrics! {
    /// The program.
    pub struct ProgramMetrics {
        /// Always 1; the version is a label.
        build_info: IntGaugeVec, label "version";
        /// 1 while /readyz says so.
        ready: IntGauge;
    }
}

impl ProgramMetrics {
    /// Sets the version of the program.
    pub fn set_version(&self, version: &str) {
        self.build_info.with_label_values(&[version]).set(1);
    }
}
