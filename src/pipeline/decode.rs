//! From deliveries to batches: each message is judged once, its row encoded at once.
//!
//! Decoding and batching share one task: a signal takes about a microsecond, less than
//! handing it to another thread would.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use time::OffsetDateTime;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::{Instant, sleep_until};

use crate::signal::{Limits, Signal};
use crate::store::row::{self, Origin};
use crate::telemetry::kinds::KindTally;
use crate::telemetry::metrics::Metrics;

use super::batch::{CloseReason, ClosedBatch, OpenBatch};
use super::dead_letter::{Reason, Rejected};
use super::delivery::Delivery;

/// A valid signal: its row, and the message it came in.
#[derive(Debug)]
pub(super) struct Accepted<'r> {
    /// The encoded row.
    pub row: &'r [u8],
    /// The message.
    pub delivery: Delivery,
}

/// The stage between pull and insert.
pub(super) struct Decode {
    pub limits: Limits,
    pub max_wait: Duration,
    pub batch: OpenBatch,
    pub kinds: KindTally,
    pub metrics: Arc<Metrics>,
    pub deliveries: Receiver<Vec<Delivery>>,
    pub batches: Sender<ClosedBatch>,
    pub rejects: Sender<Rejected>,
}

impl Decode {
    /// Decodes until the pulls have ended, then closes what is open.
    pub async fn run(mut self) {
        let mut row = Vec::new();
        let mut closes_at = Instant::now();
        loop {
            tokio::select! {
                // A full channel must not keep a batch open beyond its time.
                biased;
                () = sleep_until(closes_at), if !self.batch.is_empty() => {
                    self.close(CloseReason::MaxWait).await;
                }
                chunk = self.deliveries.recv() => {
                    let Some(chunk) = chunk else { break };
                    let began = Instant::now();
                    let mut waited = Duration::ZERO;
                    for delivery in chunk {
                        if self.batch.is_empty() {
                            closes_at = Instant::now() + self.max_wait;
                        }
                        waited += self.take(delivery, &mut row).await;
                    }
                    let took = began.elapsed().saturating_sub(waited);
                    self.metrics.decode_duration_seconds.observe(took.as_secs_f64());
                    self.metrics.add_kinds(&mut self.kinds);
                }
            }
        }
        self.close(CloseReason::Drain).await;
    }

    /// Judges a message; returns how long a batch that closed waited to be handed on.
    async fn take(&mut self, delivery: Delivery, row: &mut Vec<u8>) -> Duration {
        row.clear();
        match judge(&delivery, &self.limits, row, &mut self.kinds) {
            Ok(()) => {
                if let Some(closed) = self.batch.push(Accepted { row, delivery }) {
                    let began = Instant::now();
                    self.send(closed).await;
                    return began.elapsed();
                }
            }
            Err(reason) => {
                // The receiver ends after this stage; if it is gone all the same, the
                // message is delivered again.
                let _ = self.rejects.send(Rejected { delivery, reason }).await;
            }
        }
        Duration::ZERO
    }

    async fn close(&mut self, reason: CloseReason) {
        if let Some(closed) = self.batch.close(reason) {
            self.send(closed).await;
        }
    }

    async fn send(&self, closed: ClosedBatch) {
        // As above: without a receiver the leases drop, and the messages come again.
        let _ = self.batches.send(closed).await;
    }
}

/// Appends the signal's row and counts its kind, or says why there is none.
fn judge(
    delivery: &Delivery,
    limits: &Limits,
    row: &mut Vec<u8>,
    kinds: &mut KindTally,
) -> Result<(), Reason> {
    let Message {
        subject, payload, ..
    } = &delivery.message;
    let signal = Signal::parse(payload, subject, limits).map_err(Reason::Invalid)?;
    let origin = Origin {
        subject,
        stream_created_ns: delivery.position.stream_created_ns,
        stream_seq: delivery.position.stream_seq,
        published_at_ms: delivery.published_at_ms,
        ingested_at_ms: now_ms(),
    };
    row::encode(row, &signal, &origin);
    kinds.count(&signal.event_type, signal.severity);
    Ok(())
}

/// Milliseconds since the epoch.
pub(super) fn now_ms() -> i64 {
    let ms = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    i64::try_from(ms).unwrap_or(i64::MAX)
}
