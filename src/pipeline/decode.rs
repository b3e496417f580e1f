//! From deliveries to batches: each message is judged once, its row encoded at once.
//!
//! Decoding and batching share one task: a signal takes less than a microsecond, which is less
//! than handing it to another thread would.
//!
//! A batch closes when it has collected for as long as the traffic makes it worth (`pace`), the
//! time that an insert takes has passed since the last one, the cap on their rate allows it,
//! and there is room for an insert; until then it grows.
//! So a signal in little traffic goes at once and alone, and a backlog in full batches.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use crate::fault_point::{FaultPoints, Point};
use crate::ops::Ops;
use crate::reload::InForce;
use crate::settings::{self, Settings};
use crate::signal::{Limits, Signal};
use crate::store::Rows;
use crate::store::row::Origin;
use crate::telemetry::kinds::KindTally;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::recent::Recent;
use crate::telemetry::traces::Collecting;

use super::batch::{Bounds, CloseReason, ClosedBatch, OpenBatch};
use super::dead_letter::Reason;
use super::delivery::{Arrived, Delivery};
use super::pace::{InsertTime, Pace};
use super::pulse::Pulse;

/// Room for one insert, given back when its batch has landed.
pub(super) type Slot = OwnedSemaphorePermit;

/// The stage between pull and insert.
pub(super) struct Decode {
    in_force: InForce,
    /// What was in force when the last chunk came.
    settings: Arc<Settings>,
    /// The least time between two inserts, by what they take; a full batch does not wait for
    /// that.
    insert_time: Arc<InsertTime>,
    /// When the last batch closed.
    closed_at: Instant,
    batch: OpenBatch,
    trace: Collecting,
    /// Room for inserts.
    slots: Arc<Semaphore>,
    kinds: KindTally,
    metrics: Arc<Metrics>,
    recent: Arc<Recent>,
    channels: Channels,
    faults: FaultPoints,
    pulse: Pulse,
}

/// What comes in, and where it goes.
pub(super) struct Channels {
    pub deliveries: Receiver<Arrived>,
    pub batches: Sender<(ClosedBatch, Slot)>,
}

/// What the stage goes on with.
enum Next {
    Slot(Slot),
    Chunk(Option<Arrived>),
}

impl Decode {
    /// A stage with an empty batch.
    pub fn new(
        mut in_force: InForce,
        channels: Channels,
        trace: Collecting,
        ops: &Ops,
        faults: FaultPoints,
        pulse: Pulse,
    ) -> Self {
        let settings = Arc::clone(&in_force.borrow_and_update());
        Self {
            in_force,
            insert_time: Arc::default(),
            closed_at: Instant::now(),
            batch: OpenBatch::new(bounds(&settings.batch)),
            trace,
            slots: Arc::new(Semaphore::new(settings.clickhouse.max_concurrent_inserts)),
            kinds: KindTally::default(),
            settings,
            metrics: Arc::clone(&ops.metrics),
            recent: Arc::clone(&ops.recent),
            channels,
            faults,
            pulse,
        }
    }

    /// Where the inserts tell how long they take.
    pub fn insert_time(&self) -> &Arc<InsertTime> {
        &self.insert_time
    }

    /// Decodes until the pulls have ended, then closes what is open.
    pub async fn run(mut self) {
        let mut pace = Pace::new(Instant::now());
        let mut closes_at = Instant::now();
        loop {
            let spacing = self.insert_time.get().min(self.settings.batch.max_wait);
            let not_before = closes_at.max(self.closed_at + spacing.max(self.insert_interval()));
            let chunk = match self.next(not_before).await {
                Next::Slot(slot) => {
                    self.close(CloseReason::Wait, slot).await;
                    continue;
                }
                Next::Chunk(Some(chunk)) => chunk,
                Next::Chunk(None) => break,
            };
            self.take_up();
            let began = Instant::now();
            let mut waited = Duration::ZERO;
            let Arrived {
                at,
                consumer_seq,
                deliveries,
            } = chunk;
            pace.count(deliveries.len(), consumer_seq, began);
            for delivery in deliveries {
                if self.batch.is_empty() {
                    closes_at = Instant::now() + pace.wait(self.settings.batch.max_wait);
                }
                if delivery.given_up.is_none() {
                    self.faults
                        .reached_by(Point::Decoding, &delivery.subject)
                        .await;
                }
                self.push(delivery, at);
                let Some(reason) = self.batch.full() else {
                    continue;
                };
                let full_at = Instant::now();
                if let Some(slot) = self.slot(self.closed_at + self.insert_interval()).await {
                    waited += full_at.elapsed();
                    self.close(reason, slot).await;
                }
            }
            let took = began.elapsed().saturating_sub(waited);
            self.metrics.decoded(took, &mut self.kinds);
        }
        if let Some(slot) = self.slot(Instant::now()).await {
            self.close(CloseReason::Drain, slot).await;
        }
    }

    /// Takes up what SIGHUP has changed.
    fn take_up(&mut self) {
        // An error means that nothing will change it any more.
        if self.in_force.has_changed().unwrap_or(false) {
            self.settings = Arc::clone(&self.in_force.borrow_and_update());
            self.batch.set_bounds(bounds(&self.settings.batch));
        }
    }

    /// The least time between two inserts, by the cap on their rate.
    fn insert_interval(&self) -> Duration {
        Duration::from_secs(1) / self.settings.batch.max_inserts_per_second
    }

    /// Waits for deliveries, or until the open batch may close.
    async fn next(&mut self, not_before: Instant) -> Next {
        let deliveries = &mut self.channels.deliveries;
        let next = async {
            tokio::select! {
                // What is late goes before what is new.
                biased;
                Some(slot) = slot(&self.slots, not_before), if !self.batch.is_empty() => Next::Slot(slot),
                chunk = deliveries.recv() => Next::Chunk(chunk),
            }
        };
        self.pulse.waiting(next).await
    }

    async fn slot(&self, not_before: Instant) -> Option<Slot> {
        self.pulse.waiting(slot(&self.slots, not_before)).await
    }

    /// Not async, since a delivery would be moved into the future first.
    fn push(&mut self, mut delivery: Delivery, arrived: SystemTime) {
        let (limits, kinds) = (&self.settings.validation, &mut self.kinds);
        let (trace, recent) = (&mut self.trace, &self.recent);
        let given_up = delivery.given_up.take();
        self.batch.push(delivery, |delivery, rows| {
            if let Some(reason) = given_up {
                return Err(*reason);
            }
            let signal = encode(delivery, limits, rows)?;
            kinds.count(&signal);
            if !signal.payload_faults.is_empty() {
                recent.faulty.count(&signal, delivery.position.stream_seq);
            }
            trace.add(arrived, delivery.headers.as_ref());
            Ok(())
        });
    }

    async fn close(&mut self, reason: CloseReason, slot: Slot) {
        self.closed_at = Instant::now();
        if let Some(closed) = self.batch.close(reason) {
            let bytes = closed.rows.bytes();
            let trace = self.trace.close(closed.rows.len(), bytes, reason.as_str());
            let closed = closed.traced(trace);
            // As above: without a receiver the leases drop, and the messages come again.
            let _ = self.channels.batches.send((closed, slot)).await;
        }
    }
}

fn bounds(batch: &settings::Batch) -> Bounds {
    Bounds {
        max_rows: batch.max_rows,
        max_bytes: batch.max_bytes,
    }
}

/// Room for an insert, when the time for one has come. The semaphore is never closed, so this
/// always ends with a slot.
async fn slot(slots: &Arc<Semaphore>, not_before: Instant) -> Option<Slot> {
    sleep_until(not_before).await;
    Arc::clone(slots).acquire_owned().await.ok()
}

/// Adds the signal's row, or says why there is none.
pub(super) fn encode<'a>(
    delivery: &'a Delivery,
    limits: &Limits,
    rows: &mut Rows,
) -> Result<Signal<'a>, Reason> {
    let Delivery { subject, body, .. } = delivery;
    let signal = Signal::parse(body, subject, limits).map_err(Reason::Invalid)?;
    let origin = Origin {
        subject,
        stream_created_ns: delivery.position.stream_created_ns,
        stream_seq: delivery.position.stream_seq,
        published_ns: delivery.position.published_ns,
    };
    rows.push(&signal, body, &origin);
    Ok(signal)
}
