//! Metrics of HTTP connections.

use metric_kit::{IntCounterVec, metrics};

metrics! {
    /// HTTP connections.
    pub struct ListenerMetrics {
        /// Connections that the daemon closed before their clients were done, by the setting of
        /// their listener and by reason: room (another client came, and this one kept the daemon
        /// waiting longest), share (its client has as many requests under way as it may have
        /// connections), unread (an answer was not read in time).
        connections_cut_total: IntCounterVec, label "listener" in &["ops.listen", "serve.listen"], label "reason" in &["room", "share", "unread"];
    }
}
