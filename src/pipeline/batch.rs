//! When a batch closes. Pure: it is told of time, and does no I/O.

use crate::store::{Block, Rows};
use crate::telemetry::traces::BatchTrace;

use super::dead_letter::{Reason, Rejected};
use super::delivery::Delivery;
use super::tries::Tries;

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
    /// It has collected for long enough.
    Wait,
    /// Nothing more will come.
    Drain,
}

impl CloseReason {
    /// The reason's name in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MaxRows => "max_rows",
            Self::MaxBytes => "max_bytes",
            Self::Wait => "wait",
            Self::Drain => "drain",
        }
    }
}

/// The batch that rows are added to.
#[derive(Debug)]
pub(super) struct OpenBatch {
    bounds: Bounds,
    rows: Rows,
    deliveries: Vec<Delivery>,
}

/// A batch that changes no more: a retry sends the same rows with the same token.
#[derive(Debug)]
pub(super) struct ClosedBatch {
    block: Block,
    tries: Tries,
    deliveries: Vec<Delivery>,
    close_reason: CloseReason,
    trace: BatchTrace,
}

impl OpenBatch {
    /// An empty batch.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            rows: Rows::default(),
            deliveries: Vec::new(),
        }
    }

    /// Bounds it from now on, and those after it.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Why it can take no further row, if it cannot.
    pub fn full(&self) -> Option<CloseReason> {
        if self.rows.len() >= self.bounds.max_rows {
            Some(CloseReason::MaxRows)
        } else if self.rows.bytes() >= self.bounds.max_bytes {
            Some(CloseReason::MaxBytes)
        } else {
            None
        }
    }

    /// Adds a message with the row that `encode` makes of it.
    ///
    /// # Errors
    /// The message, when `encode` gives a reason instead.
    pub fn push(
        &mut self,
        delivery: Delivery,
        encode: impl FnOnce(&Delivery, &mut Rows) -> Result<(), Reason>,
    ) -> Result<(), Box<Rejected>> {
        match encode(&delivery, &mut self.rows) {
            Ok(()) => {
                self.deliveries.push(delivery);
                Ok(())
            }
            Err(reason) => Err(Box::new(Rejected { delivery, reason })),
        }
    }

    /// Closes the batch, unless it is empty, and begins the next one, which is likely to be as
    /// large.
    pub fn close(&mut self, close_reason: CloseReason) -> Option<ClosedBatch> {
        let rows = Rows::sized_like(&self.rows);
        let deliveries = Vec::with_capacity(self.deliveries.len());
        ClosedBatch::new(
            std::mem::replace(&mut self.rows, rows),
            std::mem::replace(&mut self.deliveries, deliveries),
            close_reason,
        )
    }
}

impl ClosedBatch {
    /// `None` when there are no rows.
    fn new(rows: Rows, deliveries: Vec<Delivery>, close_reason: CloseReason) -> Option<Self> {
        (!rows.is_empty()).then(|| Self {
            block: Block::new(rows),
            tries: Tries::default(),
            deliveries,
            close_reason,
            trace: BatchTrace::default(),
        })
    }

    /// The same with its spans, which its parts share.
    pub fn traced(self, trace: BatchTrace) -> Self {
        Self { trace, ..self }
    }

    /// What ClickHouse gets.
    pub fn block(&self) -> &Block {
        &self.block
    }

    /// Puts the same rows under a new token.
    pub fn under_new_token(self) -> Self {
        Self {
            block: Block::new(self.block.into_rows()),
            tries: self.tries.under_new_token(),
            ..self
        }
    }

    /// The tries to insert the rows so far.
    pub fn tries(&self) -> &Tries {
        &self.tries
    }

    /// The tries so far, to record another.
    pub fn tries_mut(&mut self) -> &mut Tries {
        &mut self.tries
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

    /// Its spans.
    pub fn trace(&self) -> &BatchTrace {
        &self.trace
    }

    /// The messages, without the rows.
    pub fn into_deliveries(self) -> Vec<Delivery> {
        self.deliveries
    }

    /// The rows, and the messages that they came in.
    pub fn into_parts(self) -> (Rows, Vec<Delivery>) {
        (self.block.into_rows(), self.deliveries)
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
        let mut first = (Rows::default(), Vec::new());
        let mut second = (Rows::default(), Vec::new());
        for (index, delivery) in self.deliveries.into_iter().enumerate() {
            let (rows, deliveries) = if sides[index] {
                &mut first
            } else {
                &mut second
            };
            rows.push_from(self.block.rows(), index);
            deliveries.push(delivery);
        }
        let part = |(rows, deliveries)| {
            let part = Self::new(rows, deliveries, self.close_reason)?;
            Some(Self {
                tries: self.tries.under_new_token(),
                ..part.traced(self.trace.clone())
            })
        };
        (part(first), part(second))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::delivery::Position;
    use super::super::in_flight::InFlight;
    use super::*;
    use crate::jetstream::epoch::Epoch;
    use crate::settings::Settings;
    use crate::signal::{Invalid, Signal};
    use crate::store::row::Origin;

    async fn delivery(stream_seq: u64) -> Delivery {
        let mut pull = InFlight::new(1, 1)
            .reserve(1, 1)
            .await
            .requested(Epoch::number(1));
        Delivery {
            subject: "signals.t".into(),
            body: Bytes::new(),
            headers: None,
            unreadable_headers: None,
            position: Position {
                stream_created_ns: 0,
                stream_seq,
            },
            published_at_ms: 0,
            attempt: 1,
            may_be_stored: false,
            lease: pull.lease("ack".into(), 1).unwrap(),
        }
    }

    fn sequences(batch: &ClosedBatch) -> Vec<u64> {
        let deliveries = batch.deliveries().iter();
        deliveries
            .map(|delivery| delivery.position.stream_seq)
            .collect()
    }

    /// What is sent for the batch, which has each payload somewhere.
    fn sent(batch: &ClosedBatch) -> String {
        let chunks: Vec<Bytes> = batch.block().chunks(0, 1 << 20).collect();
        String::from_utf8_lossy(&chunks.concat()).into_owned()
    }

    async fn push(batch: &mut OpenBatch, payload: &str, stream_seq: u64) {
        let delivery = delivery(stream_seq).await;
        let pushed = batch.push(delivery, |delivery, rows| {
            let body = Bytes::from(format!(
                r#"{{"event_time":0,"source_id":"s","payload":{payload},"severity":1,"trace_id":"3b32aef0-228a-5924-a25d-9362bb7bf65d"}}"#
            ));
            let limits = Settings::default().validation;
            let signal = Signal::parse(&body, &delivery.subject, &limits).unwrap();
            let origin = Origin {
                subject: &delivery.subject,
                stream_created_ns: 0,
                stream_seq,
                published_at_ms: 0,
            };
            rows.push(&signal, &body, &origin);
            Ok(())
        });
        pushed.unwrap();
    }

    fn bounds(max_rows: usize, max_bytes: usize) -> Bounds {
        Bounds {
            max_rows,
            max_bytes,
        }
    }

    #[tokio::test]
    async fn a_batch_is_full_with_its_last_row() {
        let mut batch = OpenBatch::new(bounds(3, 10_000));
        push(&mut batch, "{}", 1).await;
        push(&mut batch, "{}", 2).await;
        assert_eq!(batch.full(), None);
        push(&mut batch, "{}", 3).await;
        assert_eq!(batch.full(), Some(CloseReason::MaxRows));
        let closed = batch.close(CloseReason::MaxRows).unwrap();
        assert_eq!(closed.close_reason(), CloseReason::MaxRows);
        assert_eq!(closed.block().rows().len(), 3);
        assert_eq!(sequences(&closed), [1, 2, 3]);
        assert!(batch.is_empty());
    }

    #[tokio::test]
    async fn a_batch_is_full_when_it_reaches_its_bytes() {
        let mut batch = OpenBatch::new(bounds(100, 1_000));
        push(&mut batch, "{}", 1).await;
        assert_eq!(batch.full(), None);
        let long = format!(r#"{{"x":"{}"}}"#, "y".repeat(900));
        push(&mut batch, &long, 2).await;
        assert_eq!(batch.full(), Some(CloseReason::MaxBytes));
        let closed = batch.close(CloseReason::MaxBytes).unwrap();
        assert!(closed.block().rows().bytes() > 1_000);
    }

    #[tokio::test]
    async fn an_empty_batch_does_not_close() {
        let mut batch = OpenBatch::new(bounds(3, 10_000));
        assert!(batch.close(CloseReason::Wait).is_none());
        push(&mut batch, "{}", 1).await;
        let closed = batch.close(CloseReason::Drain).unwrap();
        assert_eq!(closed.close_reason(), CloseReason::Drain);
        assert!(batch.close(CloseReason::Drain).is_none());
    }

    #[tokio::test]
    async fn what_has_no_row_is_not_in_the_batch() {
        let mut batch = OpenBatch::new(bounds(3, 10_000));
        let reason = Reason::Invalid(Invalid::NotJson("no".to_owned()));
        let rejected = batch.push(delivery(1).await, |_, _| Err(reason.clone()));
        assert_eq!(rejected.unwrap_err().reason, reason);
        assert!(batch.close(CloseReason::Drain).is_none());
    }

    #[tokio::test]
    async fn a_split_keeps_each_row_with_its_message() {
        let mut batch = OpenBatch::new(bounds(4, 10_000));
        for (stream_seq, payload) in [(1, r#"{"one":1}"#), (2, "{}"), (3, r#"{"three":3}"#)] {
            push(&mut batch, payload, stream_seq).await;
        }
        let closed = batch.close(CloseReason::Drain).unwrap();
        let token = closed.block().token();
        let is_even = |_, delivery: &Delivery| delivery.position.stream_seq.is_multiple_of(2);
        let (even, odd) = closed.split(is_even);
        let (even, odd) = (even.unwrap(), odd.unwrap());
        assert_eq!(sequences(&even), [2]);
        assert!(!sent(&even).contains("one") && !sent(&even).contains("three"));
        assert_eq!(sequences(&odd), [1, 3]);
        let both = sent(&odd);
        assert!(both.find("one").unwrap() < both.find("three").unwrap());
        assert_ne!(even.block().token(), token);
        assert_ne!(even.block().token(), odd.block().token());

        let token = odd.block().token();
        let (none, all) = odd.split(|_, _| false);
        assert!(none.is_none());
        assert_eq!(
            all.unwrap().block().token(),
            token,
            "all of its rows, the same token"
        );
    }
}
