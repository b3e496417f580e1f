//! Messages that left the stream before any instance claimed them.

use std::ops::RangeInclusive;
use std::time::Duration;

use telemetry::repeats::LOSSES;
use tokio::time::Instant;
use tracing::error;

use crate::capacity::{Monitored, for_expired};
use crate::ops::Ops;
use crate::pipeline::log_lines::EXPIRED;

/// Time after the last loss for which the warning stays.
const SHOWN: Duration = Duration::from_secs(3600);

/// Counts and reports such messages.
pub struct Expired {
    stream: String,
    ops: Ops,
    /// Number of messages in the warning, which is absent at 0.
    count: u64,
    newest: Instant,
}

impl Expired {
    /// Starts without any.
    pub fn new(stream: &str, ops: &Ops) -> Self {
        Self {
            stream: stream.to_owned(),
            ops: ops.clone(),
            count: 0,
            newest: Instant::now(),
        }
    }

    /// Reports the messages of a range, which the claims log now passes. Another instance that
    /// found them at the same moment reports them, too.
    pub fn note(&mut self, range: RangeInclusive<u64>) {
        if range.is_empty() {
            return;
        }
        let (first, last) = (*range.start(), *range.end());
        let count = (last - first).saturating_add(1);
        error!(target: LOSSES, stream = self.stream, first, last, count, "{EXPIRED}");
        self.ops.metrics.claims.messages_lost_total.inc_by(count);
        self.count = self.count.saturating_add(count);
        self.newest = Instant::now();
        let warning = for_expired(&self.stream, self.count, &range);
        self.ops
            .board
            .set_condition(Monitored::Stream, Some(warning));
    }

    /// Ends a warning that was shown for long enough.
    pub fn forget_old(&mut self) {
        if self.count > 0 && self.newest.elapsed() > SHOWN {
            self.count = 0;
            self.ops.board.set_condition(Monitored::Stream, None);
        }
    }
}
