//! The batch that messages are added to, and its bounds. Pure: no clock and no I/O.

use store::Rows;

use crate::pipeline::crossing::batch::{CloseReason, ClosedBatch};
use crate::pipeline::crossing::delivery::Delivery;
use crate::pipeline::crossing::reason::Reason;
use crate::pipeline::crossing::rejected::Rejected;
use telemetry::traces::BatchTrace;

/// Bounds of a batch.
#[derive(Debug, Clone, Copy)]
pub struct BatchBounds {
    /// Rows.
    pub max_rows: usize,
    /// Encoded bytes; the row that reaches this bound is still in the batch.
    pub max_bytes: usize,
}

/// The batch that messages are added to.
#[derive(Debug)]
pub struct OpenBatch {
    bounds: BatchBounds,
    rows: Rows,
    deliveries: Vec<Delivery>,
    rejects: Vec<Rejected>,
}

impl OpenBatch {
    /// An empty batch.
    pub fn new(bounds: BatchBounds) -> Self {
        Self {
            bounds,
            rows: Rows::default(),
            deliveries: Vec::new(),
            rejects: Vec::new(),
        }
    }

    /// Bounds it from now on, and those after it.
    pub fn set_bounds(&mut self, bounds: BatchBounds) {
        self.bounds = bounds;
    }

    /// Reports whether it has no messages.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.rejects.is_empty()
    }

    /// Reason for which it takes no further message; `None` while it takes one.
    pub fn full(&self) -> Option<CloseReason> {
        if self.rows.len() + self.rejects.len() >= self.bounds.max_rows {
            Some(CloseReason::MaxRows)
        } else if self.rows.bytes() >= self.bounds.max_bytes {
            Some(CloseReason::MaxBytes)
        } else {
            None
        }
    }

    /// Adds a message with the row that `encode` makes, or with the reason that it gives
    /// instead. Returns true when there is a row.
    pub fn push(
        &mut self,
        mut delivery: Delivery,
        encode: impl FnOnce(&Delivery, &mut Rows) -> Result<(), Reason>,
    ) -> bool {
        debug_assert!(self.full().is_none(), "a full batch closes first");
        match encode(&delivery, &mut self.rows) {
            Ok(()) => {
                self.deliveries.push(delivery);
                true
            }
            Err(reason) => {
                delivery.detach();
                self.rejects.push(Rejected { delivery, reason });
                false
            }
        }
    }

    /// Closes the batch, unless it is empty, and begins the next one, which is likely to be as
    /// large.
    pub fn close(&mut self, close_reason: CloseReason) -> Option<ClosedBatch> {
        if self.is_empty() {
            return None;
        }
        debug_assert_eq!(
            self.rows.len(),
            self.deliveries.len(),
            "a row for each message"
        );
        let rows = Rows::sized_like(&self.rows);
        let deliveries = Vec::with_capacity(self.deliveries.len());
        Some(ClosedBatch {
            rows: std::mem::replace(&mut self.rows, rows),
            deliveries: std::mem::replace(&mut self.deliveries, deliveries),
            rejects: std::mem::take(&mut self.rejects),
            close_reason,
            trace: BatchTrace::default(),
        })
    }
}

#[cfg(test)]
mod tests;
