//! Metrics of committed history.

use metric_kit::{IntCounter, IntGauge, IntGaugeVec, metrics};

use super::RetentionState;
use super::plan::{Holder, HolderKind, Policy};

metrics! {
    /// Committed history.
    pub struct HistoryMetrics {
        /// Committed messages that this instance has purged from the stream of signals
        /// (stream.keep).
        history_purged_messages_total: IntCounter;
        /// Bytes of these messages.
        history_purged_bytes_total: IntCounter;
        /// 1 where a durable consumer or a claims log holds back more than half of stream.keep;
        /// kind is own, consumer or claims_log.
        history_held: IntGaugeVec, label "stream", label "holder", label "kind" in &HolderKind::NAMES;
        /// 1 while committed history is never purged, since stream.keep is not set and this release
        /// did not create the stream.
        history_never_purged: IntGauge;
    }
}

impl HistoryMetrics {
    /// Sets the rule and the holders of committed history of a stream, and removes earlier holders.
    pub fn history(&self, stream: &str, before: Option<&RetentionState>, now: &RetentionState) {
        let is_never_purged = now.policy == Policy::NotSet;
        self.history_never_purged.set(is_never_purged.into());
        for gone in before.into_iter().flat_map(|before| &before.holders) {
            let is_same = |holder: &Holder| holder.name == gone.name && holder.kind == gone.kind;
            if !now.holders.iter().any(is_same) {
                let labels = [stream, &gone.name, gone.kind.name()];
                // An error means that there is no such series.
                let _ = self.history_held.remove_label_values(&labels);
            }
        }
        for holder in &now.holders {
            let labels = [stream, &holder.name, holder.kind.name()];
            let held = self.history_held.with_label_values(&labels);
            held.set(holder.holds_back.into());
        }
    }
}
