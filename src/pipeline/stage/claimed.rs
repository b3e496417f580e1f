//! A claim that this process works on, with its messages.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use claims::{Cause, Entry, Fate, InsertAnswer, Nonce};
use store::{Block, Receipt};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use crate::pipeline::crossing::batch::ClosedBatch;
use crate::pipeline::crossing::in_flight::Reservation;
use crate::pipeline::crossing::reason::{Reason, Refusal};
use crate::pipeline::crossing::rejected::DeadLettered;
use crate::pipeline::stage::circuit::Circuit;
use crate::pipeline::stage::tries::Tries;
use clock::Backoff;
use telemetry::traces::InsertTrace;

/// A claim with all of its messages: rows under its token, and dead letters.
#[derive(Debug)]
pub struct Claimed {
    /// The claim, and the token of its block.
    pub id: Nonce,
    /// ClickHouse's second from which it refuses the block.
    pub fence: i64,
    /// Creation of the stream of its messages: nanoseconds since the epoch.
    pub stream_created_ns: i64,
    /// The block that is sent.
    pub block: Block,
    /// The messages; their rows are in the block.
    pub batch: ClosedBatch,
    /// Dead letters that are stored.
    pub stored: Vec<DeadLettered>,
    /// ClickHouse's last OK.
    pub receipt: Option<Receipt>,
    /// The table has its rows, by a count of this process.
    pub is_counted: bool,
    /// ClickHouse's refusal of the block.
    pub refusal: Option<Refusal>,
    /// The view that it names.
    pub view: Option<String>,
    /// A block may have been sent under its token, by any process.
    pub is_sent: bool,
    /// It is completed in a task of its own.
    pub is_aside: bool,
    /// Tries in a row that took too long.
    pub timeouts: u32,
    /// Its tries, and those of the claims that it was a part of.
    pub tries: Tries,
    /// Room for messages that were read and not delivered; shared by its parts.
    pub room: Option<Arc<Vec<Reservation>>>,
    /// The span of its insert.
    pub trace: InsertTrace,
    /// Pauses after tries that asked too much of ClickHouse.
    backoff: Option<Backoff>,
    /// The next try begins no earlier.
    next_try: Option<Instant>,
}

impl Claimed {
    /// A claim with its messages.
    pub fn new(id: Nonce, fence: i64, stream_created_ns: i64, mut batch: ClosedBatch) -> Self {
        let rows = std::mem::take(&mut batch.rows);
        debug_assert_eq!(rows.len(), batch.deliveries.len(), "a row for each message");
        Self {
            id,
            fence,
            stream_created_ns,
            block: Block::new(Uuid::from_u128(id.0), rows),
            batch,
            stored: Vec::new(),
            receipt: None,
            is_counted: false,
            refusal: None,
            view: None,
            is_sent: false,
            is_aside: false,
            timeouts: 0,
            tries: Tries::default(),
            room: None,
            trace: InsertTrace::default(),
            backoff: None,
            next_try: None,
        }
    }

    /// Begins the span of its insert, where it has rows.
    pub fn begin_trace(&mut self) {
        if !self.block.rows().is_empty() {
            self.trace = self.batch.trace.insert();
        }
    }

    /// Takes note of ClickHouse's answer. A block that is too large and cannot be divided is sent
    /// again after pauses of its own: other inserts that succeed do not end them.
    pub fn answered(&mut self, answer: InsertAnswer, circuit: &Circuit) {
        if matches!(answer, InsertAnswer::TooLarge | InsertAnswer::TooSlow) {
            let backoff = self.backoff.get_or_insert_with(|| circuit.backoff());
            self.next_try = Some(Instant::now() + backoff.pause());
        }
    }

    /// Reports whether it is better completed in a task of its own: it is too large, cannot be
    /// divided, and would hold up others until ClickHouse takes it.
    pub fn stands_aside(&self) -> bool {
        !self.is_aside && self.next_try.is_some() && self.block.rows().len() == 1
    }

    /// Waits until the next try may begin.
    pub async fn pause(&self) {
        if let Some(next_try) = self.next_try {
            sleep_until(next_try).await;
        }
    }

    /// The sequences of its messages, first to last.
    pub fn sequences(&self) -> RangeInclusive<u64> {
        let all = || self.batch.messages().map(|one| one.position.stream_seq);
        all().min().unwrap_or_default()..=all().max().unwrap_or_default()
    }

    /// The messages that are not stored as dead letters, with their rows.
    pub fn into_batch(self) -> (ClosedBatch, Vec<DeadLettered>) {
        let mut batch = self.batch;
        batch.rows = self.block.into_rows();
        (batch, self.stored)
    }

    /// The claims that have taken the place of this one, each with its messages, and those that
    /// are in none.
    pub fn divide(
        self,
        parts: Vec<(Nonce, i64, Vec<Entry>)>,
    ) -> (Vec<Self>, ClosedBatch, Vec<DeadLettered>) {
        let (stream_created_ns, refusal) = (self.stream_created_ns, self.refusal.clone());
        let (tries, room) = (self.tries, self.room.clone());
        let (mut rest, mut stored) = self.into_batch();
        let mut claimed = Vec::new();
        for (id, fence, entries) in parts {
            let fates: BTreeMap<u64, Fate> = entries
                .iter()
                .map(|entry| (entry.stream_seq, entry.fate))
                .collect();
            let (mut batch, others) =
                rest.split(|one| fates.contains_key(&one.position.stream_seq));
            rest = others;
            let is_refused = |fate: &Fate| *fate == Fate::DeadLetter(Cause::Refused);
            if batch.deliveries.len() == 1 && fates.values().any(is_refused) {
                let refusal = refusal.clone().unwrap_or_else(|| {
                    let words = "ClickHouse refused it; another instance saw its words".to_owned();
                    Refusal {
                        public: words.clone(),
                        words,
                    }
                });
                batch.refuse(&Reason::Refused(refusal));
            }
            let (mine, others) = stored
                .into_iter()
                .partition(|letter| fates.contains_key(&letter.event().stream_seq));
            stored = others;
            let mut part = Self::new(id, fence, stream_created_ns, batch);
            (part.stored, part.tries) = (mine, tries);
            part.room.clone_from(&room);
            claimed.push(part);
        }
        (claimed, rest, stored)
    }
}

/// The entries of a batch for its claim, by rising sequence.
pub fn entries(batch: &ClosedBatch) -> Vec<Entry> {
    let rows = batch.deliveries.iter().map(|one| (one, Fate::Row));
    let rejects = batch
        .rejects
        .iter()
        .map(|one| (&one.delivery, Fate::DeadLetter(one.reason.cause())));
    let mut entries: Vec<Entry> = rows
        .chain(rejects)
        .map(|(delivery, fate)| Entry {
            stream_seq: delivery.position.stream_seq,
            published_ns: delivery.position.published_ns,
            fate,
        })
        .collect();
    entries.sort_unstable_by_key(|entry| entry.stream_seq);
    debug_assert!(
        entries.is_sorted_by(|one, next| one.stream_seq < next.stream_seq),
        "a claim names each message once"
    );
    entries
}

#[cfg(test)]
mod tests;
