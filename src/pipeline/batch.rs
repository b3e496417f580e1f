//! When a batch closes. Pure: it is told of time, and does no I/O.

use crate::store::Rows;
use crate::telemetry::traces::BatchTrace;

use super::dead_letter::{Reason, Rejected};
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

/// The batch that messages are added to.
#[derive(Debug)]
pub(super) struct OpenBatch {
    bounds: Bounds,
    rows: Rows,
    deliveries: Vec<Delivery>,
    rejects: Vec<Rejected>,
}

/// A batch that takes no more: rows, and messages that become dead letters.
#[derive(Debug)]
pub(super) struct ClosedBatch {
    /// Encoded rows.
    pub rows: Rows,
    /// The messages that the rows came in, in the rows' order.
    pub deliveries: Vec<Delivery>,
    /// Messages without a row.
    pub rejects: Vec<Rejected>,
    /// Why it closed.
    pub close_reason: CloseReason,
    /// Its spans, which its parts share.
    pub trace: BatchTrace,
}

impl OpenBatch {
    /// An empty batch.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            rows: Rows::default(),
            deliveries: Vec::new(),
            rejects: Vec::new(),
        }
    }

    /// Bounds it from now on, and those after it.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// Reports whether it has no messages.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.rejects.is_empty()
    }

    /// Why it can take no further message, if it cannot.
    pub fn full(&self) -> Option<CloseReason> {
        if self.rows.len() + self.rejects.len() >= self.bounds.max_rows {
            Some(CloseReason::MaxRows)
        } else if self.rows.bytes() >= self.bounds.max_bytes {
            Some(CloseReason::MaxBytes)
        } else {
            None
        }
    }

    /// Adds a message with the row that `encode` makes of it, or with the reason that it gives
    /// instead. Returns whether there is a row.
    pub fn push(
        &mut self,
        delivery: Delivery,
        encode: impl FnOnce(&Delivery, &mut Rows) -> Result<(), Reason>,
    ) -> bool {
        match encode(&delivery, &mut self.rows) {
            Ok(()) => {
                self.deliveries.push(delivery);
                true
            }
            Err(reason) => {
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

impl ClosedBatch {
    /// The same with its spans.
    pub fn traced(self, trace: BatchTrace) -> Self {
        Self { trace, ..self }
    }

    /// Messages.
    pub fn len(&self) -> usize {
        self.deliveries.len() + self.rejects.len()
    }

    /// Reports whether it has no messages.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All messages: first those with rows.
    pub fn messages(&self) -> impl Iterator<Item = &Delivery> {
        let rejected = self.rejects.iter().map(|rejected| &rejected.delivery);
        self.deliveries.iter().chain(rejected)
    }

    /// All messages, without the rows: another process lands them, or has.
    pub fn left_to_others(self) -> impl Iterator<Item = Delivery> {
        self.trace.left_to_others(self.deliveries.len());
        let rejected = self.rejects.into_iter().map(|rejected| rejected.delivery);
        self.deliveries.into_iter().chain(rejected)
    }

    /// Turns every row into a dead letter.
    pub fn refuse(&mut self, reason: &Reason) {
        self.trace.refused(self.deliveries.len());
        self.rows = Rows::default();
        let refused = self.deliveries.drain(..).map(|delivery| Rejected {
            delivery,
            reason: reason.clone(),
        });
        self.rejects.extend(refused);
    }

    /// Both together.
    pub fn joined(mut self, mut other: Self) -> Self {
        if self.is_empty() {
            return other;
        }
        for index in 0..other.rows.len() {
            self.rows.push_from(&other.rows, index);
        }
        self.deliveries.append(&mut other.deliveries);
        self.rejects.append(&mut other.rejects);
        self
    }

    /// Batches of at most so many messages; none when there are no messages.
    pub fn chunks(self, messages_max: usize) -> Vec<Self> {
        if self.is_empty() {
            return Vec::new();
        }
        let (mut rest, mut chunks) = (self, Vec::new());
        while rest.len() > messages_max {
            let mut taken = 0;
            let (chunk, others) = rest.split(|_| {
                taken += 1;
                taken <= messages_max
            });
            chunks.push(chunk);
            rest = others;
        }
        chunks.push(rest);
        chunks
    }

    /// Two batches: of the messages with rows, and of those without.
    pub fn split_rejects(mut self) -> (Self, Self) {
        let without = Self {
            rows: Rows::default(),
            deliveries: Vec::new(),
            rejects: std::mem::take(&mut self.rejects),
            close_reason: self.close_reason,
            trace: self.trace.clone(),
        };
        (self, without)
    }

    /// Two batches: of the messages for which `is_first` holds, and of the others.
    pub fn split(self, mut is_first: impl FnMut(&Delivery) -> bool) -> (Self, Self) {
        let sides: Vec<bool> = self.deliveries.iter().map(&mut is_first).collect();
        let (first, second) = self
            .rejects
            .into_iter()
            .partition(|rejected| is_first(&rejected.delivery));
        let empty = |rejects| Self {
            rows: Rows::default(),
            deliveries: Vec::new(),
            rejects,
            close_reason: self.close_reason,
            trace: self.trace.clone(),
        };
        let (mut first, mut second) = (empty(first), empty(second));
        if sides.iter().all(|side| *side) {
            (first.rows, first.deliveries) = (self.rows, self.deliveries);
        } else if sides.iter().all(|side| !*side) {
            (second.rows, second.deliveries) = (self.rows, self.deliveries);
        } else {
            for (index, delivery) in self.deliveries.into_iter().enumerate() {
                let side = if sides[index] {
                    &mut first
                } else {
                    &mut second
                };
                side.rows.push_from(&self.rows, index);
                side.deliveries.push(delivery);
            }
        }
        (first, second)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use claims::Position;

    use super::super::in_flight::{InFlight, Lease};
    use super::*;
    use crate::settings::Settings;
    use crate::signal::{Invalid, Signal};
    use crate::store::Block;
    use crate::store::row::Origin;
    use uuid::Uuid;

    async fn delivery(stream_seq: u64) -> Delivery {
        Delivery {
            subject: "signals.t".into(),
            body: Bytes::new(),
            headers: None,
            unreadable_headers: None,
            position: Position {
                stream_created_ns: 0,
                stream_seq,
                published_ns: 0,
            },
            attempt: 1,
            given_up: None,
            lease: Lease::none(&InFlight::new(1, 1)),
        }
    }

    fn sequences(batch: &ClosedBatch) -> Vec<u64> {
        let deliveries = batch.messages();
        deliveries
            .map(|delivery| delivery.position.stream_seq)
            .collect()
    }

    /// What is sent for the batch, which has each payload somewhere.
    fn sent(batch: &ClosedBatch) -> String {
        let mut rows = Rows::default();
        for index in 0..batch.rows.len() {
            rows.push_from(&batch.rows, index);
        }
        let chunks: Vec<Bytes> = Block::new(Uuid::nil(), rows).chunks(0, 1 << 20).collect();
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
                published_ns: 0,
            };
            rows.push(&signal, &body, &origin);
            Ok(())
        });
        assert!(pushed);
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
        assert_eq!(closed.close_reason, CloseReason::MaxRows);
        assert_eq!(closed.rows.len(), 3);
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
        assert!(closed.rows.bytes() > 1_000);
    }

    #[tokio::test]
    async fn an_empty_batch_does_not_close() {
        let mut batch = OpenBatch::new(bounds(3, 10_000));
        assert!(batch.close(CloseReason::Wait).is_none());
        push(&mut batch, "{}", 1).await;
        let closed = batch.close(CloseReason::Drain).unwrap();
        assert_eq!(closed.close_reason, CloseReason::Drain);
        assert!(batch.close(CloseReason::Drain).is_none());
    }

    #[tokio::test]
    async fn what_has_no_row_is_in_the_batch_with_its_reason() {
        let mut batch = OpenBatch::new(bounds(3, 10_000));
        let reason = Reason::Invalid(Invalid::NotJson("no".to_owned()));
        assert!(!batch.push(delivery(1).await, |_, _| Err(reason.clone())));
        let closed = batch.close(CloseReason::Drain).unwrap();
        assert_eq!((closed.len(), closed.rows.len()), (1, 0));
        assert_eq!(closed.rejects[0].reason, reason);
    }

    #[tokio::test]
    async fn a_split_keeps_each_row_with_its_message() {
        let mut batch = OpenBatch::new(bounds(5, 10_000));
        for (stream_seq, payload) in [(1, r#"{"one":1}"#), (2, "{}"), (3, r#"{"three":3}"#)] {
            push(&mut batch, payload, stream_seq).await;
        }
        for stream_seq in [4, 5] {
            let reason = Reason::Claimed(claims::Cause::Refused);
            batch.push(delivery(stream_seq).await, |_, _| Err(reason));
        }
        let closed = batch.close(CloseReason::Drain).unwrap();
        let is_even = |delivery: &Delivery| delivery.position.stream_seq.is_multiple_of(2);
        let (even, odd) = closed.split(is_even);
        assert_eq!(sequences(&even), [2, 4]);
        assert!(!sent(&even).contains("one") && !sent(&even).contains("three"));
        assert_eq!(sequences(&odd), [1, 3, 5]);
        let both = sent(&odd);
        assert!(both.find("one").unwrap() < both.find("three").unwrap());
        let (none, mut all) = odd.split(|_| false);
        assert!(none.is_empty());
        assert_eq!(sequences(&all), [1, 3, 5]);
        all.refuse(&Reason::Claimed(claims::Cause::Refused));
        assert_eq!((all.rows.len(), all.rejects.len()), (0, 3));
    }
}
