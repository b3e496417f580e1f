//! Claims that no try can complete: they wait for their fence, the table is asked, and the rest is
//! claimed under new nonces.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use claims::{Entry, Evidence, Fate, FenceOver, FoundRows, Nonce};
use fault_point::Point;
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

use crate::pipeline::log_lines::{
    CLAIMS_WAIT, FENCE_AT_STOP, LOST, SETTLE_UNANSWERED, SETTLE_WAITS, SETTLED,
};
use crate::pipeline::stage::claimed::Claimed;
use crate::pipeline::stage::insert::Insert;
use telemetry::repeats::LOSSES;

/// Between two looks at ClickHouse's clock.
const CLOCK_INTERVAL: Duration = Duration::from_secs(1);

/// Timeouts of one claim in a row that say that its block may be too large.
const SLOW_TIMEOUTS: u32 = 2;

impl Insert {
    /// Settles a claim of this process in a task of its own, since that takes minutes. At a stop
    /// the claim stays open, and the next process that looks after claims settles it.
    pub fn settle_later(&self, claimed: Claimed) {
        let (claim, count) = (claimed.id, claimed.batch.len());
        self.spawn(move |insert| async move {
            let shutdown = insert.shutdown.clone();
            let settled = shutdown.run_until_cancelled(insert.settle(claimed));
            match settled.await {
                Some(Some(claimed)) => {
                    for part in insert.parts(claimed).await {
                        insert.complete(part).await;
                    }
                }
                Some(None) => {}
                None => {
                    info!(%claim, count, "{FENCE_AT_STOP}");
                }
            }
        });
    }

    /// Settles a claim once its fence is over; `None` when another process ends it before.
    async fn settle(&self, claimed: Claimed) -> Option<Claimed> {
        info!(
            claim = %claimed.id,
            count = claimed.batch.len(),
            "{SETTLE_WAITS}"
        );
        let none = BTreeSet::new();
        loop {
            if !self.is_open(claimed.id) {
                self.closed(claimed).await;
                return None;
            }
            let (created, sequences) = (claimed.stream_created_ns, claimed.sequences());
            let rows = claimed.block.rows().len();
            if let Some(over) = self.fence_over(claimed.id, claimed.fence).await
                && let Some(found) = self.found(claimed.id, created, &sequences, rows).await
            {
                let evidence = Evidence {
                    over,
                    found: &found,
                    gone: &none,
                    unfit: &none,
                    blames_rows: claimed.tries.is_to_blame(),
                    is_slow: claimed.timeouts >= SLOW_TIMEOUTS,
                };
                if self.end(claimed.id, evidence).await {
                    return Some(claimed);
                }
            }
            sleep(CLOCK_INTERVAL).await;
        }
    }

    /// The claims of this process that have taken the place of one, with its messages. What is in
    /// none waits for the log.
    pub async fn parts(&self, claimed: Claimed) -> Vec<Claimed> {
        let parts = self.parts_of(&claimed);
        let (parts, rest, stored) = claimed.divide(parts);
        self.process.with(|instance| {
            for part in &parts {
                for letter in &part.stored {
                    instance.record_dead_letter(part.id, letter.event().stream_seq);
                }
            }
        });
        self.letters_done(stored).await;
        self.parked.hold(rest.left_to_others()).await;
        parts
    }

    /// The open claims of this process that have messages of a claim that ended.
    fn parts_of(&self, claimed: &Claimed) -> Vec<(Nonce, i64, Vec<Entry>)> {
        self.process.with(|instance| {
            let log = instance.log();
            let me = instance.publisher();
            let mut parts = Vec::new();
            for one in claimed.batch.messages() {
                let claims::Standing::Claimed(id) = log.standing(one.position) else {
                    continue;
                };
                let Some(claim) = log.claim(id).filter(|claim| claim.publisher == me) else {
                    continue;
                };
                if !parts.iter().any(|(part, _, _)| *part == id) {
                    parts.push((id, claim.block.fence, claim.block.entries.clone()));
                }
            }
            parts
        })
    }

    /// Reports whether a claim is open.
    pub fn is_open(&self, claim: Nonce) -> bool {
        self.process
            .with(|instance| instance.log().claim(claim).is_some())
    }

    /// Reports whether this process published a claim that is open.
    pub fn is_mine(&self, claim: Nonce) -> bool {
        self.process.with(|instance| {
            let publisher = instance.log().claim(claim).map(|claim| claim.publisher);
            publisher == Some(instance.publisher())
        })
    }

    /// Learns ClickHouse's clock, in which the fences of claims are set.
    pub async fn learn_clock(&self) {
        if let Err(error) = self.sink.learn_clock().await {
            debug!(%error, "ClickHouse does not say its time; the last one is counted on");
        }
    }

    /// The proof that no try can land any more, once ClickHouse's clock says so.
    pub async fn fence_over(&self, claim: Nonce, fence: i64) -> Option<FenceOver> {
        match self.sink.clock().await {
            Ok(now) => FenceOver::judge(fence, now, self.late_commit.as_secs() as i64),
            Err(error) => {
                warn!(%error, %claim, "ClickHouse does not say its time; a claim waits");
                None
            }
        }
    }

    /// Finds the rows of a claim, as `Sink::rows_of`; `None` where ClickHouse does not say.
    pub async fn found(
        &self,
        claim: Nonce,
        stream_created_ns: i64,
        sequences: &RangeInclusive<u64>,
        rows: usize,
    ) -> Option<FoundRows> {
        let found = self.sink.rows_of(claim, stream_created_ns, sequences, rows);
        match found.await {
            Ok(found) => Some(FoundRows::new(found)),
            Err(error) => {
                warn!(%error, %claim, "{SETTLE_UNANSWERED}");
                None
            }
        }
    }

    /// Publishes the settlement of a claim; reports whether it was read back.
    pub async fn end(&self, claim: Nonce, evidence: Evidence<'_>) -> bool {
        let (id, fence) = (self.process.nonce(), self.fence());
        let nonce = || self.process.nonce();
        let settled = self
            .process
            .with(|instance| instance.settle(id, claim, evidence, fence, nonce));
        match settled {
            Ok(Some(record)) => {
                if let claims::RecordBody::Settled { parts, lost, .. } = &record.body {
                    let rows = parts.iter().flat_map(|part| &part.entries);
                    let rows = rows.filter(|entry| entry.fate == Fate::Row).count();
                    info!(%claim, rows_sent_again = rows, "{SETTLED}");
                    self.ops.metrics.claims.claims_settled_total.inc();
                    self.ops
                        .metrics
                        .claims
                        .messages_lost_total
                        .inc_by(lost.len() as u64);
                    if !lost.is_empty() {
                        error!(target: LOSSES, %claim, ?lost, "{LOST}");
                    }
                }
                self.process.append(record).await;
                self.faults.reached(Point::SettledAppended).await;
                true
            }
            Ok(None) => !self.is_open(claim),
            Err(full) => {
                warn!(error = %full, "{CLAIMS_WAIT}");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests;
