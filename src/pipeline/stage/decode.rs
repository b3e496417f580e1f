//! From deliveries to batches: each message is judged once, its row encoded at once.
//!
//! Decoding and batching share one task: a signal takes less than a microsecond, which is less
//! than a handover to another thread. When a batch closes is the rule of [`Batcher`]; here are the
//! clock, and the permits for inserts, without which no batch closes.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fault_point::{FaultPoints, Point};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::{Instant, sleep_until};

use crate::ops::Ops;
use crate::pipeline::batching::batcher::{BatchLimits, Batcher, Close};
use crate::pipeline::batching::open_batch::BatchBounds;
use crate::pipeline::batching::pace::InsertTime;
use crate::pipeline::crossing::batch::{CloseReason, ClosedBatch};
use crate::pipeline::crossing::delivery::{Delivery, DeliveryChunk};
use crate::pipeline::crossing::permit::InsertPermit;
use crate::pipeline::kinds::KindTally;
use crate::pipeline::liveness::heartbeat::Heartbeat;
use crate::pipeline::metrics::PipelineMetrics;
use crate::pipeline::options::BatchOptions;
use crate::pipeline::stage::encode::encode;
use crate::reload::SettingsHandle;
use crate::settings::Settings;
use telemetry::recent::Recent;
use telemetry::traces::Collecting;

/// The stage between pull and insert.
pub struct Decode {
    in_force: SettingsHandle,
    /// Settings in force when the last chunk came.
    settings: Arc<Settings>,
    insert_time: Arc<InsertTime>,
    batcher: Batcher,
    trace: Collecting,
    /// Room for inserts.
    permits: Arc<Semaphore>,
    kinds: KindTally,
    metrics: PipelineMetrics,
    recent: Arc<Recent>,
    channels: Channels,
    faults: FaultPoints,
    heartbeat: Heartbeat,
}

/// Input and output of the stage.
pub struct Channels {
    pub deliveries: Receiver<DeliveryChunk>,
    pub batches: Sender<(ClosedBatch, InsertPermit)>,
}

/// Next event of the stage.
enum Next {
    Close(CloseReason, InsertPermit),
    Chunk(Option<DeliveryChunk>),
}

impl Decode {
    /// A stage with an empty batch.
    pub fn new(
        mut in_force: SettingsHandle,
        channels: Channels,
        trace: Collecting,
        ops: &Ops,
        faults: FaultPoints,
        heartbeat: Heartbeat,
    ) -> Self {
        let settings = Arc::clone(&in_force.borrow_and_update());
        Self {
            in_force,
            insert_time: Arc::default(),
            batcher: Batcher::new(limits(&settings.batch), Instant::now().into_std()),
            trace,
            permits: Arc::new(Semaphore::new(settings.clickhouse.max_concurrent_inserts)),
            kinds: KindTally::default(),
            settings,
            metrics: ops.metrics.pipeline.clone(),
            recent: Arc::clone(&ops.recent),
            channels,
            faults,
            heartbeat,
        }
    }

    /// The duration of the last insert, set by the inserts.
    pub fn insert_time(&self) -> &Arc<InsertTime> {
        &self.insert_time
    }

    /// Decodes until the pulls have ended, then closes the open batch.
    pub async fn run(mut self) {
        loop {
            match self.next().await {
                Next::Close(reason, permit) => self.close(reason, permit).await,
                Next::Chunk(Some(chunk)) => self.take(chunk).await,
                Next::Chunk(None) => break,
            }
        }
        self.batcher.drain();
        self.close_when_due().await;
    }

    /// Decodes messages that arrived together, and closes each batch that they fill.
    async fn take(&mut self, chunk: DeliveryChunk) {
        self.take_up_settings().await;
        let began = Instant::now();
        let mut waited = Duration::ZERO;
        let DeliveryChunk {
            at,
            consumer_seq,
            deliveries,
        } = chunk;
        self.batcher
            .count(deliveries.len(), consumer_seq, began.into_std());
        for delivery in deliveries {
            if self.batcher.is_empty() {
                self.batcher.begin(Instant::now().into_std());
            }
            if delivery.given_up.is_none() {
                let subject = delivery.message.subject();
                self.faults.reached_by(Point::Decoding, subject).await;
            }
            self.push(delivery, at);
            if self.batcher.is_full() {
                waited += self.close_when_due().await;
            }
        }
        let took = began.elapsed().saturating_sub(waited);
        self.metrics.decoded(took, &mut self.kinds);
    }

    /// Takes up settings that SIGHUP has changed.
    async fn take_up_settings(&mut self) {
        // An error means that nothing will change them any more.
        if self.in_force.has_changed().unwrap_or(false) {
            self.settings = Arc::clone(&self.in_force.borrow_and_update());
            self.batcher.set_limits(limits(&self.settings.batch));
            if self.batcher.is_full() {
                self.close_when_due().await;
            }
        }
    }

    /// Waits for deliveries, or until the open batch may close.
    async fn next(&mut self) -> Next {
        let close = self.next_close();
        let deliveries = &mut self.channels.deliveries;
        let permit = async {
            match close {
                Some(close) => permit(&self.permits, close).await,
                None => pending().await,
            }
        };
        let next = async {
            tokio::select! {
                // A batch that is due goes before new messages.
                biased;
                Some((reason, permit)) = permit => Next::Close(reason, permit),
                chunk = deliveries.recv() => Next::Chunk(chunk),
            }
        };
        self.heartbeat.waiting(next).await
    }

    fn next_close(&self) -> Option<Close> {
        self.batcher.next_close(self.insert_time.get())
    }

    /// Closes the open batch, unless it is empty, as soon as it may close; returns the time that it
    /// waited for that.
    async fn close_when_due(&mut self) -> Duration {
        let Some(close) = self.next_close() else {
            return Duration::ZERO;
        };
        let began = Instant::now();
        let permit = self.heartbeat.waiting(permit(&self.permits, close)).await;
        let waited = began.elapsed();
        if let Some((reason, permit)) = permit {
            self.close(reason, permit).await;
        }
        waited
    }

    /// Not async, since a delivery would be moved into the future first.
    fn push(&mut self, mut delivery: Delivery, arrived: SystemTime) {
        let (limits, kinds) = (&self.settings.validation, &mut self.kinds);
        let (trace, recent) = (&mut self.trace, &self.recent);
        let given_up = delivery.given_up.take();
        self.batcher.push(delivery, |delivery, rows| {
            if let Some(reason) = given_up {
                return Err(*reason);
            }
            encode(delivery, limits, rows, |signal| {
                kinds.count(signal);
                if !signal.payload_faults.is_empty() {
                    recent.faulty.count(signal, delivery.position.stream_seq);
                }
            })?;
            trace.add(arrived, || delivery.headers());
            Ok(())
        });
    }

    async fn close(&mut self, reason: CloseReason, permit: InsertPermit) {
        if let Some(closed) = self.batcher.close(reason, Instant::now().into_std()) {
            let bytes = closed.rows.bytes();
            let trace = self.trace.close(closed.rows.len(), bytes, reason.as_str());
            let closed = closed.traced(trace);
            // Without a receiver the leases drop, and the messages are delivered again.
            let _ = self.channels.batches.send((closed, permit)).await;
        }
    }
}

fn limits(batch: &BatchOptions) -> BatchLimits {
    BatchLimits {
        bounds: BatchBounds {
            max_rows: batch.max_rows,
            max_bytes: batch.max_bytes,
        },
        max_wait: batch.max_wait,
        interval: Duration::from_secs(1) / batch.max_inserts_per_second,
    }
}

/// Room for an insert, once the batch may close. The semaphore is never closed, so this always
/// ends with a permit.
async fn permit(permits: &Arc<Semaphore>, close: Close) -> Option<(CloseReason, InsertPermit)> {
    sleep_until(Instant::from_std(close.not_before)).await;
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    Some((close.reason, permit))
}

#[cfg(test)]
mod tests;
