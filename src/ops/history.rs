//! The last minutes of a daemon, one point a second: for a page that is opened amid an outage.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metric_kit::Distribution;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::time::{MissedTickBehavior, interval};

use super::status::{Sources, Status};

/// Points that are kept: 15 minutes, some 100 KiB.
const KEPT: usize = 900;
/// Between two points.
const INTERVAL: Duration = Duration::from_secs(1);

/// Figures between two looks at a daemon.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Between {
    /// Signals inserted.
    pub signals_per_second: f64,
    /// Batches inserted.
    pub batches_per_second: f64,
    /// Dead letters stored.
    pub dead_letters_per_second: f64,
    /// Seconds from publish to commit.
    pub latency: Distribution,
    /// Seconds.
    pub insert: Distribution,
    /// Rows.
    pub batch_rows: Distribution,
}

impl Between {
    /// `None` when there was no time between them, or another process came.
    pub fn of(earlier: &Status, later: &Status) -> Option<Self> {
        let seconds = later.uptime_seconds - earlier.uptime_seconds;
        if seconds <= 0.0 {
            return None;
        }
        let (old, new) = (&earlier.metrics, &later.metrics);
        let rate = |name: &str| (new.total(name) - old.total(name)).max(0.0) / seconds;
        let histogram = |name: &str| new.histogram(name).since(&old.histogram(name));
        Some(Self {
            signals_per_second: rate("signals_inserted_total"),
            batches_per_second: rate("batches_inserted_total"),
            dead_letters_per_second: rate("signals_dead_lettered_total"),
            latency: histogram("end_to_end_latency_seconds"),
            insert: histogram("insert_duration_seconds"),
            batch_rows: histogram("batch_rows"),
        })
    }
}

/// One second of a daemon. A distribution has values only where something came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryPoint {
    /// Seconds since the epoch.
    pub at: f64,
    /// The daemon could ingest.
    pub ready: bool,
    /// Signals inserted.
    pub signals_per_second: f64,
    /// From publish to commit.
    pub latency_p50_ms: Option<f64>,
    /// From publish to commit.
    pub latency_p99_ms: Option<f64>,
    /// Signals that are not delivered.
    pub pending: f64,
    /// Signals that are delivered and not acked.
    pub unacked: f64,
    /// Rows of a batch, the mean.
    pub batch_rows: Option<f64>,
    /// Median time of an insert.
    pub insert_p50_ms: Option<f64>,
    /// Slow end of the times of an insert.
    pub insert_p99_ms: Option<f64>,
    /// Dead letters stored.
    pub dead_letters_per_second: f64,
}

impl HistoryPoint {
    fn of(between: &Between, status: &Status) -> Self {
        let ms = |histogram: &Distribution, share| histogram.quantile(share).map(|s| s * 1000.0);
        Self {
            at: unix_seconds(status.now),
            ready: status.health.ready,
            signals_per_second: between.signals_per_second,
            latency_p50_ms: ms(&between.latency, 0.5),
            latency_p99_ms: ms(&between.latency, 0.99),
            pending: status.metrics.total("consumer_pending_messages"),
            unacked: status.metrics.total("consumer_ack_pending_messages"),
            batch_rows: between.batch_rows.mean(),
            insert_p50_ms: ms(&between.insert, 0.5),
            insert_p99_ms: ms(&between.insert, 0.99),
            dead_letters_per_second: between.dead_letters_per_second,
        }
    }
}

/// The newest points, the oldest first. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct History(Arc<Mutex<VecDeque<HistoryPoint>>>);

impl History {
    /// Adds a point each second; never ends.
    pub async fn record(self, sources: Sources) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut earlier = sources.snapshot();
        loop {
            ticks.tick().await;
            let later = sources.snapshot();
            if let Some(between) = Between::of(&earlier, &later) {
                self.add(HistoryPoint::of(&between, &later));
            }
            earlier = later;
        }
    }

    /// Every point that is kept.
    pub fn points(&self) -> Vec<HistoryPoint> {
        self.lock().iter().cloned().collect()
    }

    /// The newest point.
    pub fn newest(&self) -> Option<HistoryPoint> {
        self.lock().back().cloned()
    }

    fn add(&self, point: HistoryPoint) {
        let mut points = self.lock();
        while points.len() >= KEPT {
            points.pop_front();
        }
        points.push_back(point);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<HistoryPoint>> {
        // No code panics while it holds the lock; the state is whole in any case.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unix_seconds(at: OffsetDateTime) -> f64 {
    at.unix_timestamp_nanos() as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_points_are_kept() {
        let history = History::default();
        let point = |at: usize| HistoryPoint {
            at: at as f64,
            ready: true,
            signals_per_second: 0.0,
            latency_p50_ms: None,
            latency_p99_ms: None,
            pending: 0.0,
            unacked: 0.0,
            batch_rows: None,
            insert_p50_ms: None,
            insert_p99_ms: None,
            dead_letters_per_second: 0.0,
        };
        for at in 0..KEPT + 5 {
            history.add(point(at));
        }
        let points = history.points();
        assert_eq!(points.len(), KEPT);
        assert_eq!((points[0].at, points[KEPT - 1].at), (5.0, 904.0));
        assert_eq!(history.newest(), Some(point(904)));
    }
}
