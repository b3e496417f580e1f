//! The metrics of storages and of committed history.

use crate::capacity::Storage;
use crate::retention::History;
use crate::retention::plan::{Holder, Policy};

use super::metrics::{Metrics, set_or_remove, signed};

impl Metrics {
    /// Sets the fullness of a storage.
    pub fn storage(&self, storage: &Storage) {
        let level = storage.level() as i64;
        set_or_remove(&self.storage_level, &storage.name, Some(level));
        let seconds = storage.fullness.seconds_until_full.map(signed);
        set_or_remove(&self.storage_full_seconds, &storage.name, seconds);
    }

    /// Sets the rule and the holders of committed history of a stream, and removes holders of before.
    pub fn history(&self, stream: &str, before: Option<&History>, now: &History) {
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
