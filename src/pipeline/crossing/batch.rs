//! A closed batch: rows, and messages that become dead letters. Pure.

use store::Rows;

use crate::pipeline::crossing::delivery::Delivery;
use crate::pipeline::crossing::reason::Reason;
use crate::pipeline::crossing::rejected::Rejected;
use telemetry::traces::BatchTrace;

/// Reason for which a batch closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
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

/// A batch that takes no more: rows, and messages that become dead letters.
#[derive(Debug)]
pub struct ClosedBatch {
    /// Encoded rows.
    pub rows: Rows,
    /// The messages that the rows came in, in the rows' order.
    pub deliveries: Vec<Delivery>,
    /// Messages without a row.
    pub rejects: Vec<Rejected>,
    /// Reason for which it closed.
    pub close_reason: CloseReason,
    /// Its spans, which its parts share.
    pub trace: BatchTrace,
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

    /// Returns true when each message has a higher sequence than the one before, and so comes once.
    pub fn is_rising(&self) -> bool {
        let sequences = self.messages().map(|one| one.position.stream_seq);
        sequences.is_sorted_by(|one, next| one < next)
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
        let refused = self.deliveries.drain(..).map(|mut delivery| {
            delivery.detach();
            let reason = reason.clone();
            Rejected { delivery, reason }
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
        // Of a claimed batch the block has the rows.
        let is_claimed = self.rows.is_empty();
        debug_assert!(is_claimed || self.rows.len() == self.deliveries.len());
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
