//! The block of another process's claim, as the claim says it.

use std::collections::BTreeSet;
use std::sync::Arc;

use claims::{Cause, Claim, Fate};
use signal::Signal;
use store::Rows;
use tracing::warn;

use crate::pipeline::crossing::batch::{CloseReason, ClosedBatch};
use crate::pipeline::crossing::delivery::Delivery;
use crate::pipeline::crossing::in_flight::Lease;
use crate::pipeline::crossing::reason::Reason;
use crate::pipeline::crossing::rejected::Rejected;
use crate::pipeline::stage::encode::encode;
use telemetry::traces::BatchTrace;

use super::Takeover;
use super::messages::ClaimMessages;

impl Takeover {
    /// The messages that were claimed as rows and that this process takes for invalid.
    pub fn unfit(&self, claim: &Claim, messages: &ClaimMessages) -> BTreeSet<u64> {
        let settings = Arc::clone(&self.in_force.borrow());
        let limits = &settings.validation;
        let is_unfit = |seq: &u64| {
            let message = messages.found.get(seq);
            message.is_some_and(|one| Signal::parse(&one.body, &one.subject, limits).is_err())
        };
        claim.block.rows().filter(is_unfit).collect()
    }

    /// The batch of a claim, as the claim says it; `None` where this version would build another
    /// one.
    pub fn batch(&self, claim: &Claim, mut messages: ClaimMessages) -> Option<ClosedBatch> {
        let mut batch = ClosedBatch {
            rows: Rows::default(),
            deliveries: Vec::new(),
            rejects: Vec::new(),
            close_reason: CloseReason::Drain,
            trace: BatchTrace::default(),
        };
        let settings = Arc::clone(&self.in_force.borrow());
        let limits = &settings.validation;
        // They were counted by the process that claimed them.
        for entry in &claim.block.entries {
            let Some(message) = messages.found.remove(&entry.stream_seq) else {
                continue;
            };
            let lease = Lease::none();
            let created = claim.block.stream_created_ns;
            let delivery = Delivery::of_stored(message, created, 1, lease);
            let encoded = match entry.fate {
                Fate::Row => encode(&delivery, limits, &mut batch.rows, |_| ()),
                // It may be what ends the process.
                Fate::DeadLetter(Cause::MaxDeliveries) => Ok(()),
                Fate::DeadLetter(_) => encode(&delivery, limits, &mut Rows::default(), |_| ()),
            };
            match (entry.fate, encoded) {
                (Fate::Row, Ok(())) => batch.deliveries.push(delivery),
                (Fate::Row, Err(reason)) => {
                    warn!(
                        stream_seq = entry.stream_seq,
                        reason = reason.public(),
                        "This version takes a claimed message for invalid; it becomes a dead letter when the claim's fence is over, unless an instance that takes it is started before"
                    );
                    return None;
                }
                (Fate::DeadLetter(_), Err(reason)) => {
                    batch.rejects.push(Rejected { delivery, reason });
                }
                (Fate::DeadLetter(cause), Ok(())) => {
                    let reason = Reason::Claimed(cause);
                    batch.rejects.push(Rejected { delivery, reason });
                }
            }
        }
        Some(batch)
    }
}
