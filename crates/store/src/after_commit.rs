//! Consumers of committed rows, such as the cache.
//!
//! A consumer that must not miss a row is none of these, but a durable consumer of its own on the
//! stream.

use std::sync::Arc;

use crate::Rows;

/// A consumer of committed rows. It keeps what it is offered within a bound of its own, and loses
/// rows beyond that.
pub trait AfterCommit: Send + Sync {
    /// Takes rows that ClickHouse has, or loses them. Returns at once, since the pipeline waits for
    /// this call.
    fn offer(&self, rows: &Arc<Rows>);
}

/// All consumers of committed rows.
#[derive(Clone, Default)]
pub struct AfterCommits(Arc<[Arc<dyn AfterCommit>]>);

impl AfterCommits {
    /// Offers rows to each consumer. All share them.
    pub fn offer(&self, rows: Rows) {
        if self.0.is_empty() || rows.is_empty() {
            return;
        }
        let rows = Arc::new(rows);
        for consumer in self.0.iter() {
            consumer.offer(&rows);
        }
    }
}

impl FromIterator<Arc<dyn AfterCommit>> for AfterCommits {
    fn from_iter<I: IntoIterator<Item = Arc<dyn AfterCommit>>>(consumers: I) -> Self {
        Self(consumers.into_iter().collect())
    }
}
