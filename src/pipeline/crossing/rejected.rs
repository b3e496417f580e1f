//! Messages that cannot land, on their way to the stream of dead letters and from there to the ack.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};

use claims::{Instance, Nonce};
use jetstream::dead_letter::StoredDeadLetter;
use tokio::sync::Notify;

use crate::pipeline::crossing::delivery::Delivery;
use crate::pipeline::crossing::in_flight::Lease;
use crate::pipeline::crossing::reason::Reason;
use crate::pipeline::port::claims_log::ClaimsLog;
use telemetry::happened;

/// A message that cannot land, and why.
#[derive(Debug)]
pub struct Rejected {
    /// The message.
    pub delivery: Delivery,
    /// Reason for which it cannot land.
    pub reason: Reason,
}

/// The dead letters of one claim, as their stream acknowledges them.
#[derive(Debug, Clone)]
pub struct ClaimDeadLetters {
    process: Arc<dyn ClaimsLog>,
    claim: Nonce,
    stored: Arc<StdMutex<Vec<DeadLettered>>>,
    all: usize,
    changed: Arc<Notify>,
    is_over: Arc<AtomicBool>,
}

impl ClaimDeadLetters {
    /// The `all` dead letters of a claim, none of which is stored yet.
    pub fn new(process: &Arc<dyn ClaimsLog>, claim: Nonce, all: usize) -> Self {
        Self {
            process: Arc::clone(process),
            claim,
            stored: Arc::default(),
            all,
            changed: Arc::default(),
            is_over: Arc::default(),
        }
    }

    /// Waits until all are stored, or the claim is open no more; then others may be, too.
    pub async fn all(self) -> Vec<DeadLettered> {
        loop {
            if let Some(stored) = self.take() {
                return stored;
            }
            self.changed.notified().await;
        }
    }

    /// Reports whether the log has an end of the claim. Then another process has stored the
    /// letters, or will; one that was replayed or purged since must not be stored again.
    pub fn are_over(&self) -> bool {
        let is_open = |instance: &mut Instance| instance.log().claim(self.claim).is_some();
        if self.process.with(is_open) {
            return false;
        }
        self.is_over.store(true, Ordering::Relaxed);
        self.changed.notify_one();
        true
    }

    fn take(&self) -> Option<Vec<DeadLettered>> {
        let mut stored = self.lock();
        let is_over = stored.len() >= self.all || self.is_over.load(Ordering::Relaxed);
        is_over.then(|| std::mem::take(&mut *stored))
    }

    /// Adds one that is stored.
    pub fn add(&self, letter: DeadLettered) {
        self.lock().push(letter);
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<DeadLettered>> {
        // No code panics while it holds the lock.
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A dead letter that its stream has acknowledged. Made only where that answer arrives, so
/// that nothing else can be acked.
#[derive(Debug)]
pub struct DeadLettered {
    lease: Lease,
    event: happened::DeadLetteredEvent,
}

impl DeadLettered {
    /// Proves by the stream's answer that the letter of a message is stored.
    pub fn new(rejected: Rejected, stored: &StoredDeadLetter) -> Self {
        let Rejected { delivery, reason } = rejected;
        Self {
            event: happened::DeadLetteredEvent {
                reason: reason.code(),
                error: reason.public(),
                subject: delivery.subject().into_owned(),
                stream_seq: delivery.position.stream_seq,
                dead_letter_seq: stored.sequence(),
            },
            lease: delivery.lease,
        }
    }

    /// The event for log and metrics.
    pub fn event(&self) -> &happened::DeadLetteredEvent {
        &self.event
    }

    /// The lease, to be settled.
    pub fn into_lease(self) -> Lease {
        self.lease
    }
}
