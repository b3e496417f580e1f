//! Metrics of the connection.

use metric_kit::{IntCounter, metrics};

metrics! {
    /// The connection to NATS.
    pub struct ConnectionMetrics {
        /// Connections to NATS that were made again.
        nats_reconnects_total: IntCounter;
    }
}

impl ConnectionMetrics {
    /// Counts the reconnects among all connects so far.
    pub fn connected(&self, connects: u64) {
        let again = connects.saturating_sub(1);
        let known = self.nats_reconnects_total.get();
        self.nats_reconnects_total
            .inc_by(again.saturating_sub(known));
    }
}
