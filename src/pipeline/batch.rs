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
    rows: Rows,
}

/// A batch that changes no more: a retry sends the same bytes with the same token.
#[derive(Debug)]
pub(super) struct ClosedBatch {
    block: Block,
    /// Where each row begins in the block.
    starts: Vec<usize>,
    deliveries: Vec<Delivery>,
    close_reason: CloseReason,
}

/// Encoded rows behind their header, and the message that each came in.
#[derive(Debug, Default)]
struct Rows {
    encoded: Vec<u8>,
    starts: Vec<usize>,
    deliveries: Vec<Delivery>,
}

impl Rows {
    /// No rows, with room for as many as `other` has: the next batch is likely to be as
    /// large as this one.
    fn sized_like(other: &Self) -> Self {
        Self {
            encoded: Vec::with_capacity(other.encoded.len()),
            starts: Vec::with_capacity(other.starts.len()),
            deliveries: Vec::with_capacity(other.deliveries.len()),
        }
    }

    fn push(&mut self, row: &[u8], delivery: Delivery) {
        if self.deliveries.is_empty() {
            row::encode_header(&mut self.encoded);
        }
        self.starts.push(self.encoded.len());
        self.encoded.extend_from_slice(row);
        self.deliveries.push(delivery);
    }

    /// `None` when there are no rows.
    fn close(self, close_reason: CloseReason) -> Option<ClosedBatch> {
        let rows = self.deliveries.len();
        (rows > 0).then(|| ClosedBatch {
            block: Block::new(rows, self.encoded),
            starts: self.starts,
            deliveries: self.deliveries,
            close_reason,
        })
    }
}

impl OpenBatch {
    /// An empty batch.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            rows: Rows::default(),
        }
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.deliveries.is_empty()
    }

    /// Adds a row, and returns the batch when that closed it.
    pub fn push(&mut self, accepted: Accepted<'_>) -> Option<ClosedBatch> {
        self.rows.push(accepted.row, accepted.delivery);
        if self.rows.deliveries.len() >= self.bounds.max_rows {
            self.close(CloseReason::MaxRows)
        } else if self.rows.encoded.len() >= self.bounds.max_bytes {
            self.close(CloseReason::MaxBytes)
        } else {
            None
        }
    }

    /// Closes the batch, unless it is empty, and begins the next one.
    pub fn close(&mut self, close_reason: CloseReason) -> Option<ClosedBatch> {
        let next = Rows::sized_like(&self.rows);
        std::mem::replace(&mut self.rows, next).close(close_reason)
    }
}

impl ClosedBatch {
    /// What ClickHouse gets.
    pub fn block(&self) -> &Block {
        &self.block
    }

    /// The messages that the rows came in, in the rows' order.
    pub fn deliveries(&self) -> &[Delivery] {
        &self.deliveries
    }

    /// Rows, always at least one.
    pub fn len(&self) -> usize {
        self.deliveries.len()
    }

    /// Why it closed.
    pub fn close_reason(&self) -> CloseReason {
        self.close_reason
    }

    /// The messages, without the rows.
    pub fn into_deliveries(self) -> Vec<Delivery> {
        self.deliveries
    }

    /// Two batches: of the rows for whose index and message `is_first` holds, and of the
    /// others. A batch that keeps all of its rows keeps its token too; otherwise each has a
    /// new one, since a token stands for its very rows.
    pub fn split(
        self,
        mut is_first: impl FnMut(usize, &Delivery) -> bool,
    ) -> (Option<Self>, Option<Self>) {
        let sides: Vec<bool> = self
            .deliveries
            .iter()
            .enumerate()
            .map(|(index, delivery)| is_first(index, delivery))
            .collect();
        match (sides.contains(&true), sides.contains(&false)) {
            (true, false) => return (Some(self), None),
            (false, true) => return (None, Some(self)),
            _ => {}
        }
        let mut ends = self.starts[1..].to_vec();
        ends.push(self.block.bytes());
        let mut first = Rows::default();
        let mut second = Rows::default();
        for (index, delivery) in self.deliveries.into_iter().enumerate() {
            let row = &self.block.encoded()[self.starts[index]..ends[index]];
            let side = if sides[index] {
                &mut first
            } else {
                &mut second
            };
            side.push(row, delivery);
        }
        (
            first.close(self.close_reason),
            second.close(self.close_reason),
        )
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
            unreadable_headers: None,
            position: Position {
                stream_created_ns: 0,
                stream_seq,
            },
            published_at_ms: 0,
            attempt: 1,
            may_be_stored: false,
            lease: pull.lease("ack".into(), 1),
        }
    }

    fn sequences(batch: &ClosedBatch) -> Vec<u64> {
        let deliveries = batch.deliveries().iter();
        deliveries
            .map(|delivery| delivery.position.stream_seq)
            .collect()
    }

    /// The rows' bytes, without the header.
    fn rows(batch: &ClosedBatch) -> &[u8] {
        let mut header = Vec::new();
        row::encode_header(&mut header);
        batch
            .block()
            .encoded()
            .strip_prefix(header.as_slice())
            .unwrap()
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
        assert_eq!(closed.close_reason(), CloseReason::MaxRows);
        assert_eq!(closed.block().rows(), 3);
        assert_eq!(sequences(&closed), [1, 2, 3]);
        assert_eq!(rows(&closed), b"abc");
        assert!(batch.is_empty());
    }

    #[tokio::test]
    async fn a_batch_closes_when_it_reaches_its_bytes() {
        let mut batch = OpenBatch::new(bounds(100, 1_000));
        assert!(push(&mut batch, &[0; 200], 1).await.is_none());
        let closed = push(&mut batch, &[0; 900], 2).await.unwrap();
        assert_eq!(closed.close_reason(), CloseReason::MaxBytes);
        assert_eq!(closed.block().rows(), 2);
        assert!(closed.block().bytes() > 1_100, "the header comes first");
    }

    #[tokio::test]
    async fn an_empty_batch_does_not_close() {
        let mut batch = OpenBatch::new(bounds(3, 10_000));
        assert!(batch.close(CloseReason::MaxWait).is_none());
        assert!(push(&mut batch, b"a", 1).await.is_none());
        let closed = batch.close(CloseReason::Drain).unwrap();
        assert_eq!(closed.close_reason(), CloseReason::Drain);
        assert!(batch.close(CloseReason::Drain).is_none());
    }

    #[tokio::test]
    async fn a_split_keeps_each_row_with_its_message() {
        let mut batch = OpenBatch::new(bounds(4, 10_000));
        let mut closed = None;
        for (stream_seq, row) in [(1, &b"a"[..]), (2, b"bb"), (3, b"ccc"), (4, b"d")] {
            closed = push(&mut batch, row, stream_seq).await;
        }
        let token = closed.as_ref().unwrap().block().token();
        let is_even = |_, delivery: &Delivery| delivery.position.stream_seq.is_multiple_of(2);
        let (even, odd) = closed.unwrap().split(is_even);
        let (even, odd) = (even.unwrap(), odd.unwrap());
        assert_eq!((sequences(&even), rows(&even)), (vec![2, 4], &b"bbd"[..]));
        assert_eq!((sequences(&odd), rows(&odd)), (vec![1, 3], &b"accc"[..]));
        assert_ne!(even.block().token(), token);
        assert_ne!(even.block().token(), odd.block().token());

        let token = even.block().token();
        let (none, all) = even.split(|_, _| false);
        assert!(none.is_none());
        assert_eq!(
            all.unwrap().block().token(),
            token,
            "all of its rows, the same token"
        );
    }
}
