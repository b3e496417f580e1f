//! Committed rows on their way to Redis, within a bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::mpsc;

use crate::store::Rows;
use crate::telemetry::metrics::Metrics;

/// Batches that wait; their bytes are bounded by a setting.
const BATCHES_MAX: usize = 1024;

/// Where the pipeline leaves what is committed. It never waits.
#[derive(Clone)]
pub struct Feed {
    shared: Arc<Shared>,
    sender: mpsc::Sender<Rows>,
}

/// The other end.
pub(super) struct Queue {
    shared: Arc<Shared>,
    receiver: mpsc::Receiver<Rows>,
}

struct Shared {
    /// Whether Redis can be told anything just now.
    is_open: AtomicBool,
    /// Whether anything was lost since that was last asked.
    overrun: AtomicBool,
    bytes: AtomicUsize,
    bytes_max: usize,
    metrics: Arc<Metrics>,
}

/// Both ends of a queue with that many bytes.
pub(super) fn queue(bytes_max: usize, metrics: Arc<Metrics>) -> (Feed, Queue) {
    let (sender, receiver) = mpsc::channel(BATCHES_MAX);
    let shared = Arc::new(Shared {
        is_open: AtomicBool::new(false),
        overrun: AtomicBool::new(false),
        bytes: AtomicUsize::new(0),
        bytes_max,
        metrics,
    });
    let feed = Feed {
        shared: Arc::clone(&shared),
        sender,
    };
    (feed, Queue { shared, receiver })
}

impl Feed {
    /// Takes rows that are committed, or makes the cache stale.
    pub fn offer(&self, rows: Rows) {
        let (shared, bytes, count) = (&self.shared, rows.bytes(), rows.len());
        if !shared.is_open.load(Ordering::Acquire) {
            return shared.metrics.cache_signals("lost", count);
        }
        let held = shared.bytes.fetch_add(bytes, Ordering::AcqRel);
        // A batch that is larger than the bound goes alone.
        let fits = held == 0 || held + bytes <= shared.bytes_max;
        if !fits || self.sender.try_send(rows).is_err() {
            shared.bytes.fetch_sub(bytes, Ordering::AcqRel);
            shared.overrun.store(true, Ordering::Release);
            shared.metrics.cache_signals("lost", count);
        }
    }
}

impl Queue {
    /// From now on rows are taken; all that were offered before are lost.
    pub fn open(&mut self) {
        self.discard();
        self.shared.overrun.store(false, Ordering::Release);
        self.shared.is_open.store(true, Ordering::Release);
    }

    /// Rows are lost until it is opened again.
    pub fn close(&mut self) {
        self.shared.is_open.store(false, Ordering::Release);
        self.discard();
    }

    /// Whether anything was lost while it was open.
    pub fn is_overrun(&self) -> bool {
        self.shared.overrun.load(Ordering::Acquire)
    }

    /// The next rows; `None` when none will come.
    pub async fn next(&mut self) -> Option<Rows> {
        let rows = self.receiver.recv().await?;
        self.shared.bytes.fetch_sub(rows.bytes(), Ordering::AcqRel);
        Some(rows)
    }

    /// Ends when none will come; what comes until then is lost.
    pub async fn ended(&mut self) {
        while let Some(rows) = self.next().await {
            self.shared.metrics.cache_signals("lost", rows.len());
        }
    }

    fn discard(&mut self) {
        while let Ok(rows) = self.receiver.try_recv() {
            self.shared.bytes.fetch_sub(rows.bytes(), Ordering::AcqRel);
            self.shared.metrics.cache_signals("lost", rows.len());
        }
    }
}
