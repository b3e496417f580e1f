//! Committed rows on their way to Redis, within a bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use store::{AfterCommit, Rows};
use tokio::sync::mpsc;

use super::metrics::CacheMetrics;

/// Batches that wait; their bytes are bounded by a setting.
const BATCHES_MAX: usize = 1024;

/// The cache as a consumer of committed rows: the end of the queue that takes them.
pub struct Feed {
    shared: Arc<Shared>,
    sender: mpsc::Sender<Arc<Rows>>,
}

/// The other end.
pub(super) struct Queue {
    shared: Arc<Shared>,
    receiver: mpsc::Receiver<Arc<Rows>>,
}

struct Shared {
    /// The feeder takes rows now.
    is_open: AtomicBool,
    /// Rows were lost since the queue was opened.
    overrun: AtomicBool,
    bytes: AtomicUsize,
    bytes_max: usize,
    metrics: CacheMetrics,
}

/// Both ends of a queue with that many bytes.
#[expect(
    clippy::disallowed_methods,
    reason = "bounded in batches and, by the room, in bytes"
)]
pub(super) fn queue(bytes_max: usize, metrics: CacheMetrics) -> (Feed, Queue) {
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

impl AfterCommit for Feed {
    /// Takes rows into the queue, or makes the cache stale.
    fn offer(&self, rows: &Arc<Rows>) {
        let (shared, bytes, count) = (&self.shared, rows.bytes(), rows.len());
        if !shared.is_open.load(Ordering::Acquire) {
            return shared.metrics.signals("lost", count);
        }
        let held = shared.bytes.fetch_add(bytes, Ordering::AcqRel);
        // A batch that is larger than the bound goes alone.
        let fits = held == 0 || held + bytes <= shared.bytes_max;
        if !fits || self.sender.try_send(Arc::clone(rows)).is_err() {
            shared.bytes.fetch_sub(bytes, Ordering::AcqRel);
            shared.overrun.store(true, Ordering::Release);
            shared.metrics.signals("lost", count);
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

    /// Reports whether rows were lost while it was open.
    pub fn is_overrun(&self) -> bool {
        self.shared.overrun.load(Ordering::Acquire)
    }

    /// The next rows; `None` when none will come.
    pub async fn next(&mut self) -> Option<Arc<Rows>> {
        let rows = self.receiver.recv().await?;
        self.shared.bytes.fetch_sub(rows.bytes(), Ordering::AcqRel);
        Some(rows)
    }

    /// Ends when none will come; what comes until then is lost.
    pub async fn ended(&mut self) {
        while let Some(rows) = self.next().await {
            self.shared.metrics.signals("lost", rows.len());
        }
    }

    fn discard(&mut self) {
        while let Ok(rows) = self.receiver.try_recv() {
            self.shared.bytes.fetch_sub(rows.bytes(), Ordering::AcqRel);
            self.shared.metrics.signals("lost", rows.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use metric_kit::{MetricGroup, Registry};

    use super::*;
    use signal::{Limits, Signal};
    use store::AfterCommits;
    use store::row::RowOrigin;

    fn rows(count: u64) -> Arc<Rows> {
        let body = Bytes::from_static(
            br#"{"event_time":0,"source_id":"s","payload":{},"severity":1,"trace_id":"3b32aef0-228a-5924-a25d-9362bb7bf65d","wallet_address":"0x1"}"#,
        );
        let limits = Limits::default();
        let signal = Signal::parse(&body, "signals.t", &limits).unwrap();
        let mut rows = Rows::default();
        for stream_seq in 0..count {
            let origin = RowOrigin {
                subject: "signals.t",
                stream_created_ns: 1,
                stream_seq,
                published_ns: 0,
            };
            rows.push(&signal, &body, &origin);
        }
        Arc::new(rows)
    }

    #[tokio::test]
    async fn what_finds_no_room_is_lost_and_that_is_known() {
        let metrics = CacheMetrics::register(&Registry::default()).unwrap();
        let lost = || {
            let lost = metrics.cache_signals_total.with_label_values(&["lost"]);
            lost.get()
        };
        let (feed, mut queue) = queue(rows(10).bytes(), metrics.clone());
        feed.offer(&rows(1));
        assert_eq!(lost(), 1, "nobody takes rows");
        queue.open();
        feed.offer(&rows(6));
        feed.offer(&rows(4));
        assert!(!queue.is_overrun());
        feed.offer(&rows(1));
        assert!(queue.is_overrun());
        assert_eq!(lost(), 2);
        assert_eq!(queue.next().await.unwrap().len(), 6);
        feed.offer(&rows(6));
        assert_eq!(lost(), 2, "there is room again");
        queue.close();
        assert_eq!(lost(), 12);
        queue.open();
        assert!(!queue.is_overrun());
        feed.offer(&rows(100));
        assert_eq!(lost(), 12, "one that is larger goes alone");
        drop(feed);
        assert_eq!(queue.next().await.unwrap().len(), 100);
        assert!(queue.next().await.is_none());
    }

    /// A consumer that counts the rows that it is offered.
    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl AfterCommit for Counter {
        fn offer(&self, rows: &Arc<Rows>) {
            self.0.fetch_add(rows.len(), Ordering::Relaxed);
        }
    }

    #[test]
    fn a_full_queue_loses_its_own_rows_and_those_of_no_other_consumer() {
        let metrics = CacheMetrics::register(&Registry::default()).unwrap();
        let (feed, mut queue) = queue(rows(2).bytes(), metrics.clone());
        queue.open();
        let counter = Arc::<Counter>::default();
        let both: [Arc<dyn AfterCommit>; 2] = [Arc::new(feed), counter.clone()];
        let both: AfterCommits = both.into_iter().collect();
        for _ in 0..100 {
            both.offer(Arc::into_inner(rows(1)).unwrap());
        }
        assert_eq!(counter.0.load(Ordering::Relaxed), 100);
        let lost = metrics.cache_signals_total.with_label_values(&["lost"]);
        assert_eq!(lost.get(), 98);
        assert!(queue.is_overrun());
    }
}
