//! One claim, step by step as the rules say, until the log has its end.

use claims::{FoundRows, InsertAnswer, Step};
use fault_point::Point;
use store::{Remedy, StoreError};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::pipeline::crossing::committed::CommittedBatch;
use crate::pipeline::crossing::rejected::DeadLettered;
use crate::pipeline::crossing::rejected::{ClaimDeadLetters, Rejected};
use crate::pipeline::crossing::settled::Settled;
use crate::pipeline::log_lines::{CLAIMS_WAIT, OTHER_TABLE, OUTSIDE_FENCE, SPLIT, VIEW_REFUSED};
use crate::pipeline::stage::claimed::Claimed;
use crate::pipeline::stage::insert::{Insert, WINDOW_RETRY};
use crate::pipeline::stage::quarantine::Judgement;
use clock::now_ms;

/// Tries in a row that take too long, after which a claim is settled in halves.
const TIMEOUTS_TO_HALVE: u32 = 4;

/// Outcome of a step, outside of the rules.
enum Outcome {
    /// Another step.
    Next(Box<Claimed>),
    /// The claim was divided; these are to be completed.
    Divided(Vec<Claimed>),
    /// Nothing here.
    Over,
}

impl Insert {
    /// Completes claims, and the claims that take their place.
    pub async fn complete(&self, claimed: Claimed) {
        let has_rows = !claimed.block.rows().is_empty();
        let mut open = vec![claimed];
        while let Some(mut claimed) = open.pop() {
            claimed.begin_trace();
            let mut next = Some(Box::new(claimed));
            while let Some(claimed) = next.take() {
                match self.step(claimed).await {
                    Outcome::Next(claimed) if claimed.stands_aside() => self.aside(*claimed),
                    Outcome::Next(claimed) => next = Some(claimed),
                    Outcome::Divided(parts) => open.extend(self.besides(parts)),
                    Outcome::Over => {}
                }
            }
        }
        if has_rows {
            // Its block is tried here no more, so none of its inserts would end a halt. A claim
            // that still fails halts again.
            self.resume();
        }
    }

    /// The parts with rows. The others are completed besides: a dead letter that cannot be stored
    /// keeps no row from landing.
    fn besides(&self, parts: Vec<Claimed>) -> Vec<Claimed> {
        let (with_rows, without): (Vec<_>, Vec<_>) = parts
            .into_iter()
            .partition(|part| !part.block.rows().is_empty());
        without.into_iter().for_each(|part| self.aside(part));
        with_rows
    }

    /// Completes a claim besides the others.
    fn aside(&self, mut claimed: Claimed) {
        claimed.is_aside = true;
        self.spawn(|insert| async move { insert.complete(claimed).await });
    }

    async fn step(&self, mut claimed: Box<Claimed>) -> Outcome {
        let id = claimed.id;
        let changes = self.process.changes();
        let (step, is_open) = self
            .process
            .with(|instance| (instance.step(id), instance.log().claim(id).is_some()));
        if !is_open {
            self.closed(*claimed).await;
            return Outcome::Over;
        }
        match step {
            Step::Wait | Step::TakeOver => {
                self.heartbeat.waiting(self.process.changed(changes)).await;
            }
            Step::StoreDeadLetters => self.store_dead_letters(&mut claimed).await,
            Step::Send => self.send(&mut claimed).await,
            Step::Count => self.count(&mut claimed).await,
            Step::Finish => {
                if claimed.receipt.is_some() {
                    self.faults.reached(Point::InsertAnswered).await;
                }
                self.process.with(|instance| instance.finish(id));
                self.process.flush_soon();
            }
            Step::Split => return self.split(claimed).await,
            Step::Settle => {
                // The takeover reads another process's claim again when its fence is over, so that
                // its messages do not fill the memory until then.
                if self.is_mine(id) {
                    self.settle_later(*claimed);
                }
                return Outcome::Over;
            }
        }
        Outcome::Next(claimed)
    }

    /// Sends the block once.
    async fn send(&self, claimed: &mut Claimed) {
        self.heartbeat.waiting(claimed.pause()).await;
        let _permit = self.heartbeat.waiting(self.circuit.permit()).await;
        let is_same_table = match self.is_same_table(claimed).await {
            Ok(is_same) => is_same,
            Err(error) => return self.failed(&error, claimed.block.rows().len()).await,
        };
        let Some(attempt) = self.process.with(|instance| instance.send(claimed.id)) else {
            return;
        };
        if !is_same_table {
            warn!(claim = %claimed.id, "{OTHER_TABLE}");
            return self
                .process
                .with(|instance| instance.record_answer(attempt, InsertAnswer::OtherTable));
        }
        claimed.is_sent = true;
        self.quarantine.begins(&mut claimed.tries);
        // Each chunk has a time-out; how many there are depends on the batch.
        let insert = self.sink.insert(&claimed.block, claimed.fence);
        let answer = match self.heartbeat.waiting(insert).await {
            Ok(receipt) => {
                self.insert_time.set(receipt.duration());
                self.taken(claimed);
                let exact = receipt.is_exact();
                claimed.receipt = Some(receipt);
                InsertAnswer::Committed { exact }
            }
            Err(error) => self.not_taken(claimed, &error).await,
        };
        claimed.answered(answer, &self.circuit);
        self.process
            .with(|instance| instance.record_answer(attempt, answer));
    }

    /// Reports whether the table is the one of the first try, which knows the token: it is looked
    /// at before each further try, since EXCHANGE TABLES or a restore may come between.
    async fn is_same_table(&self, claimed: &Claimed) -> Result<bool, StoreError> {
        if !claimed.is_sent {
            return Ok(true);
        }
        let table = self.heartbeat.waiting(self.sink.read_table()).await?;
        Ok(self.process.with(|instance| {
            let claim = instance.log().claim(claimed.id);
            claim.is_none_or(|claim| claim.block.table == table.0)
        }))
    }

    /// ClickHouse takes inserts.
    fn taken(&self, claimed: &Claimed) {
        self.succeeded();
        let published = claimed.batch.deliveries.iter();
        let published = published.map(|one| one.published_at_ms());
        self.ops.metrics.pipeline.committed(published, now_ms());
    }

    async fn not_taken(&self, claimed: &mut Claimed, error: &StoreError) -> InsertAnswer {
        let count = claimed.batch.deliveries.len();
        claimed.trace.failed(error);
        match error.remedy() {
            Remedy::Bisect if error.is_over() && self.table_fits().await => {
                self.ops.metrics.pipeline.insert_failed(Remedy::Bisect);
                claimed.trace.refused(error);
                self.quarantine.refused(&mut claimed.tries);
                claimed.refusal = Some(error.into());
                claimed.view = error.view().map(str::to_owned);
                return InsertAnswer::Refused;
            }
            Remedy::Late => {
                self.ops.metrics.pipeline.insert_failed(Remedy::Late);
                warn!(count, %error, "{OUTSIDE_FENCE}");
                // ClickHouse's clock may have stepped; the fences of the next claims are right.
                self.learn_clock().await;
                return InsertAnswer::Late;
            }
            _ => self.failed(error, count).await,
        }
        claimed.timeouts = if error.is_timeout() {
            claimed.timeouts + 1
        } else {
            0
        };
        match error.remedy() {
            _ if claimed.timeouts >= TIMEOUTS_TO_HALVE => InsertAnswer::TooSlow,
            Remedy::Halve if error.is_over() => InsertAnswer::TooLarge,
            Remedy::Halt if error.is_over() => InsertAnswer::NotTaken,
            _ => InsertAnswer::Unknown,
        }
    }

    /// Looks for the rows of a claim.
    async fn count(&self, claimed: &mut Claimed) {
        let _permit = self.heartbeat.waiting(self.circuit.permit()).await;
        let began = std::time::SystemTime::now();
        let (created, sequences) = (claimed.stream_created_ns, claimed.sequences());
        let rows = claimed.block.rows().len();
        match self
            .sink
            .rows_of(claimed.id, created, &sequences, rows)
            .await
        {
            Ok(found) => {
                claimed.trace.looked_up(began, rows, found.len());
                if let (Some(refusal), false) = (&claimed.refusal, found.is_empty()) {
                    self.ops.metrics.pipeline.view_refusals_total.inc();
                    // The table takes rows.
                    self.succeeded();
                    warn!(
                        view = claimed.view.as_deref().unwrap_or("unknown"),
                        count = found.len(),
                        error = refusal.public,
                        "{VIEW_REFUSED}"
                    );
                }
                claimed.is_counted = found.len() >= rows;
                let found = FoundRows::new(found);
                self.process
                    .with(|instance| instance.record_count(claimed.id, found));
            }
            Err(error) => self.failed(&error, rows).await,
        }
    }

    /// Splits a claim, once its row is to blame.
    async fn split(&self, mut claimed: Box<Claimed>) -> Outcome {
        let is_refused = claimed.refusal.is_some();
        if claimed.block.rows().len() == 1 && is_refused {
            // What it waits for has to find room.
            for one in &mut claimed.batch.deliveries {
                one.lease.detach();
                one.lease.spare();
            }
            match self.quarantine.judge(*claimed) {
                Judgement::Wait => return Outcome::Over,
                Judgement::Again(row) => {
                    self.process.with(|instance| instance.try_again(row.id));
                    return Outcome::Next(row);
                }
                Judgement::Row(row) => claimed = row,
                Judgement::Table(rows) => return self.table_refuses(rows),
            }
        }
        let fence = self.fence();
        let id = self.process.nonce();
        let nonce = || self.process.nonce();
        let split = self
            .process
            .with(|instance| instance.split(id, claimed.id, fence, nonce));
        match split {
            Ok(Some(record)) => {
                info!(count = claimed.batch.deliveries.len(), "{SPLIT}");
                self.ops.metrics.claims.claims_split_total.inc();
                self.process.append(record).await;
                self.faults.reached(Point::SplitAppended).await;
                self.divided(*claimed).await
            }
            Ok(None) => Outcome::Next(claimed),
            Err(full) => {
                warn!(error = %full, "{CLAIMS_WAIT}");
                self.heartbeat.waiting(sleep(WINDOW_RETRY)).await;
                Outcome::Next(claimed)
            }
        }
    }

    /// The table refuses whatever it gets: all that waited is tried again after a pause.
    fn table_refuses(&self, rows: Vec<Claimed>) -> Outcome {
        if let Some(refusal) = rows.first().and_then(|row| row.refusal.clone()) {
            self.halted(
                &refusal.public,
                crate::ops::health::Dependency::Schema,
                rows.len(),
            );
        }
        self.try_again(&rows);
        Outcome::Divided(rows)
    }

    /// Goes on with the parts of a claim that this process has split or settled.
    async fn divided(&self, claimed: Claimed) -> Outcome {
        if self
            .process
            .with(|instance| instance.log().claim(claimed.id).is_some())
        {
            // The record was void.
            return Outcome::Next(Box::new(claimed));
        }
        Outcome::Divided(self.parts(claimed).await)
    }

    /// Has the dead letters of a claim stored.
    async fn store_dead_letters(&self, claimed: &mut Claimed) {
        let letters = ClaimDeadLetters::new(&self.process, claimed.id, claimed.batch.rejects.len());
        for Rejected { delivery, reason } in std::mem::take(&mut claimed.batch.rejects) {
            let rejected = Rejected { delivery, reason };
            // The stage ends after this one; if it is gone all the same, the process ends.
            if self
                .rejects
                .send((rejected, letters.clone()))
                .await
                .is_err()
            {
                return std::future::pending().await;
            }
        }
        let stored = self.heartbeat.waiting(letters.all()).await;
        self.process.with(|instance| {
            for letter in &stored {
                instance.record_dead_letter(claimed.id, letter.event().stream_seq);
            }
        });
        claimed.stored.extend(stored);
    }

    /// A claim is open no more: settles what the log says is done.
    pub async fn closed(&self, mut claimed: Claimed) {
        let receipt = claimed.receipt.take();
        let trace = std::mem::take(&mut claimed.trace);
        self.faults.reached(Point::DoneAppended).await;
        let (is_counted, tries) = (claimed.is_counted, claimed.tries);
        let (mut batch, stored) = claimed.into_batch();
        self.letters_done(stored).await;
        let Some(receipt) = receipt else {
            if is_counted {
                self.after_commit.offer(std::mem::take(&mut batch.rows));
            }
            return self.parked.hold(batch.left_to_others()).await;
        };
        let (committed, rest) = CommittedBatch::logged(&*self.process, batch, &receipt);
        trace.committed(&receipt);
        if let Some((committed, rows)) = committed {
            self.after_commit.offer(rows);
            // The ack stage ends last; without it the messages are delivered again.
            let _ = self.settled.send(Settled::Committed(committed)).await;
            let again = self.quarantine.taken(tries);
            self.try_again(&again);
            for row in again {
                Box::pin(self.complete(row)).await;
            }
        }
        if !rest.is_empty() {
            self.parked.hold(rest.left_to_others()).await;
        }
    }

    /// Acks messages whose dead letters are stored.
    pub async fn letters_done(&self, stored: Vec<DeadLettered>) {
        for letter in stored {
            let _ = self.settled.send(Settled::DeadLettered(letter)).await;
        }
    }

    /// Has rows that were refused sent again.
    fn try_again(&self, rows: &[Claimed]) {
        self.process.with(|instance| {
            for row in rows {
                instance.try_again(row.id);
            }
        });
    }
}

#[cfg(test)]
mod tests;
