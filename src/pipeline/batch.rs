//! When a batch closes. Pure: it is told of time, and does no I/O.

use crate::store::{Block, row};

use super::decode::Accepted;
use super::delivery::Delivery;

/// What a batch may grow to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Rows.
    pub max_rows: usize,
    /// Encoded bytes; the row that reaches this bound is still in the batch.
    pub max_bytes: usize,
}

/// Why a batch closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CloseReason {
    /// It has all the rows it may have.
    MaxRows,
    /// It has all the bytes it may have.
    MaxBytes,
    /// Its first row has waited long enough.
    MaxWait,
    /// Nothing more will come.
    Drain,
}

impl CloseReason {
    /// The reason's name in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MaxRows => "max_rows",
            Self::MaxBytes => "max_bytes",
            Self::MaxWait => "max_wait",
            Self::Drain => "drain",
        }
    }
}

/// The batch that rows are added to.
#[derive(Debug)]
pub(super) struct OpenBatch {
    bounds: Bounds,
    encoded: Vec<u8>,
    deliveries: Vec<Delivery>,
}

/// A batch that changes no more: a retry sends the same bytes with the same token.
#[derive(Debug)]
pub(super) struct ClosedBatch {
    /// The rows.
    pub block: Block,
    /// The messages that the rows came in, in the rows' order.
    pub deliveries: Vec<Delivery>,
    /// Why it closed.
    pub close_reason: CloseReason,
}

impl OpenBatch {
    /// An empty batch.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            encoded: Vec::new(),
            deliveries: Vec::new(),
        }
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    /// Adds a row, and returns the batch when that closed it.
    pub fn push(&mut self, accepted: Accepted<'_>) -> Option<ClosedBatch> {
        if self.is_empty() {
            row::encode_header(&mut self.encoded);
        }
        self.encoded.extend_from_slice(accepted.row);
        self.deliveries.push(accepted.delivery);
        if self.deliveries.len() >= self.bounds.max_rows {
            self.close(CloseReason::MaxRows)
        } else if self.encoded.len() >= self.bounds.max_bytes {
            self.close(CloseReason::MaxBytes)
        } else {
            None
        }
    }

    /// Closes the batch, unless it is empty, and begins the next one.
    pub fn close(&mut self, close_reason: CloseReason) -> Option<ClosedBatch> {
        if self.is_empty() {
            return None;
        }
        // The next batch is likely to be as large as this one.
        let next = Vec::with_capacity(self.encoded.len());
        let encoded = std::mem::replace(&mut self.encoded, next);
        let next = Vec::with_capacity(self.deliveries.len());
        let deliveries = std::mem::replace(&mut self.deliveries, next);
        Some(ClosedBatch {
            block: Block::new(deliveries.len(), encoded),
            deliveries,
            close_reason,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::delivery::Position;
    use super::super::in_flight::InFlight;
    use super::*;

    async fn delivery(stream_seq: u64) -> Delivery {
        let mut pull = InFlight::new(1, 1).reserve(1, 1).await;
        Delivery {
            message: async_nats::Message {
                subject: "signals.t".into(),
                reply: None,
                payload: Default::default(),
                headers: None,
                status: None,
                description: None,
                length: 0,
            },
            position: Position {
                stream_created_ns: 0,
                stream_seq,
            },
            published_at_ms: 0,
            attempt: 1,
            lease: pull.lease("ack".into(), 1),
        }
    }

    async fn push(batch: &mut OpenBatch, row: &[u8], stream_seq: u64) -> Option<ClosedBatch> {
        let delivery = delivery(stream_seq).await;
        batch.push(Accepted { row, delivery })
    }

    fn bounds(max_rows: usize, max_bytes: usize) -> Bounds {
        Bounds {
            max_rows,
            max_bytes,
        }
    }

    #[tokio::test]
    async fn a_batch_closes_with_its_last_row() {
        let mut batch = OpenBatch::new(bounds(3, 10_000));
        assert!(push(&mut batch, b"a", 1).await.is_none());
        assert!(push(&mut batch, b"b", 2).await.is_none());
        let closed = push(&mut batch, b"c", 3).await.unwrap();
        assert_eq!(closed.close_reason, CloseReason::MaxRows);
        assert_eq!(closed.block.rows(), 3);
        let order: Vec<_> = closed
            .deliveries
            .iter()
            .map(|delivery| delivery.position.stream_seq)
            .collect();
        assert_eq!(order, [1, 2, 3]);
        assert!(batch.is_empty());
    }

    #[tokio::test]
    async fn a_batch_closes_when_it_reaches_its_bytes() {
        let mut batch = OpenBatch::new(bounds(100, 1_000));
        assert!(push(&mut batch, &[0; 200], 1).await.is_none());
        let closed = push(&mut batch, &[0; 900], 2).await.unwrap();
        assert_eq!(closed.close_reason, CloseReason::MaxBytes);
        assert_eq!(closed.block.rows(), 2);
        assert!(closed.block.bytes() > 1_100, "the header comes first");
    }

    #[tokio::test]
    async fn an_empty_batch_does_not_close() {
        let mut batch = OpenBatch::new(bounds(3, 10_000));
        assert!(batch.close(CloseReason::MaxWait).is_none());
        assert!(push(&mut batch, b"a", 1).await.is_none());
        let closed = batch.close(CloseReason::Drain).unwrap();
        assert_eq!(closed.close_reason, CloseReason::Drain);
        assert!(batch.close(CloseReason::Drain).is_none());
    }
}
