//! Messages of a batch that may be claimed.

use std::collections::HashSet;

use claims::Standing;
use tokio::time::sleep;
use tracing::warn;

use crate::pipeline::crossing::batch::ClosedBatch;
use crate::pipeline::crossing::delivery::Delivery;
use crate::pipeline::crossing::in_flight::InFlight;
use crate::pipeline::port::dead_letters::Candidate;
use crate::pipeline::stage::insert::{Insert, WINDOW_RETRY};
use crate::pipeline::stage::letter::letter_subject;

impl Insert {
    /// The messages that may be claimed, each once. The others wait for the log.
    pub async fn free(&self, batch: ClosedBatch, stream_created_ns: i64) -> ClosedBatch {
        self.heartbeat.waiting(self.process.ready()).await;
        if self.are_all_free(&batch) {
            return batch;
        }
        // What was delivered over another connection is delivered again: the stream may have gone
        // back, and have another message at its sequence.
        let current = self.source.get();
        let (batch, _stale) = batch.split(|one| !one.lease.is_stale(current));
        let (batch, doubtful) = self.process.with(|instance| {
            batch.split(|one| instance.standing(one.position) != Standing::Doubtful)
        });
        let (clear, stored) = self.look_up(doubtful, stream_created_ns).await;
        self.absent(stream_created_ns, &stored).await;
        let looked_up: HashSet<u64> = clear
            .messages()
            .map(|one| one.position.stream_seq)
            .collect();
        let batch = batch.joined(clear).joined(stored);
        let mut seen = HashSet::new();
        let (free, others) = self.process.with(|instance| {
            batch.split(|one| {
                let seq = one.position.stream_seq;
                let is_free = match instance.standing(one.position) {
                    Standing::Free => true,
                    // One that is stored stays in doubt where its report was void.
                    Standing::Doubtful => looked_up.contains(&seq),
                    _ => false,
                };
                is_free && seen.insert(seq)
            })
        });
        self.parked.hold(others.left_to_others()).await;
        free
    }

    /// Returns true when the batch can be claimed as it is, which is the usual case: each message
    /// once, none stale, none claimed, none in doubt.
    fn are_all_free(&self, batch: &ClosedBatch) -> bool {
        let current = self.source.get();
        let leases = batch.messages().map(|one| &one.lease);
        batch.is_rising()
            && InFlight::are_current(leases, current)
            && self.process.with(|instance| {
                let mut messages = batch.messages();
                messages.all(|one| instance.standing(one.position) == Standing::Free)
            })
    }

    /// Looks messages up that may be stored without a claim: those that are not, and those that
    /// are.
    async fn look_up(
        &self,
        doubtful: ClosedBatch,
        stream_created_ns: i64,
    ) -> (ClosedBatch, ClosedBatch) {
        if doubtful.is_empty() {
            return doubtful.split(|_| true);
        }
        let messages: Vec<(u64, i64)> = doubtful
            .messages()
            .map(|one| (one.position.stream_seq, one.position.published_ns))
            .collect();
        let mut has_failed = false;
        loop {
            let rows = self.sink.having(stream_created_ns, &messages).await;
            let letters = self
                .dead_letters
                .dead_lettered(stream_created_ns, self.candidates(&doubtful))
                .await;
            match (rows, letters) {
                (Ok(rows), Ok(letters)) => {
                    if has_failed {
                        // No insert follows where all are stored, so none would end a halt.
                        self.resume();
                    }
                    return doubtful.split(|one| {
                        let seq = one.position.stream_seq;
                        !rows.contains(&seq) && !letters.contains(&seq)
                    });
                }
                (Err(error), _) => {
                    has_failed = true;
                    self.failed(&error, messages.len()).await;
                }
                (_, Err(error)) => warn!(%error, "Dead letters cannot be looked up; trying again"),
            }
            self.heartbeat.waiting(sleep(WINDOW_RETRY)).await;
        }
    }

    /// The messages of a batch, as their dead letters are looked up.
    fn candidates(&self, batch: &ClosedBatch) -> Vec<Candidate> {
        let candidate = |one: &Delivery| Candidate {
            stream_seq: one.position.stream_seq,
            published_at_ms: one.published_at_ms(),
            letter_subject: letter_subject(one, &self.settings, self.max_payload),
            body: one.shared_body(),
        };
        batch.messages().map(candidate).collect()
    }

    /// Reports messages that are stored without a claim.
    async fn absent(&self, stream_created_ns: i64, stored: &ClosedBatch) {
        let sequences = stored.messages().map(|one| one.position.stream_seq);
        self.report_absent(stream_created_ns, sequences.collect())
            .await;
    }

    /// Reports sequences that need no claim.
    pub async fn report_absent(&self, stream_created_ns: i64, mut sequences: Vec<u64>) {
        sequences.sort_unstable();
        for run in sequences.chunk_by(|one, next| one + 1 >= *next) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else {
                continue;
            };
            let id = self.process.nonce();
            let record = self
                .process
                .with(|instance| instance.absent(id, stream_created_ns, *first, *last));
            if let Some(record) = record {
                self.heartbeat.waiting(self.process.append(record)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
