//! Claims of others that stay open: completed before their fence, settled after it.
//!
//! A claim of a process that was killed lands [`TAKE_OVER_AFTER`] later, with some jitter, at the
//! next look of any other process, or of the same daemon after its next start. A claim whose fence
//! is over is settled at the first look past the late commit. A row that ClickHouse refuses waits
//! for its fence, since nobody else knows whether a try of the killed process is under way.

mod build;
mod messages;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use claims::{Cause, Claim, Evidence, Fate, Instance, Nonce, Step};
use fault_point::Point;
use jetstream::dead_letter::DeadLetterStreamError;
use jetstream::stored::StoredError;
use rand::RngExt;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::{info, warn};

use crate::pipeline::crossing::in_flight::InFlight;
use crate::pipeline::log_lines::TAKEN_OVER;
use crate::pipeline::port::signals::SignalStream;
use crate::pipeline::stage::claimed::Claimed;
use crate::pipeline::stage::insert::Insert;
use crate::reload::SettingsHandle;
use crate::settings::Settings;

/// Between two looks at what is open.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// After this time an open claim of another process is taken over. An insert that takes longer
/// lands once all the same.
const TAKE_OVER_AFTER: Duration = Duration::from_secs(4);
/// At most this is added to it, so that one of several processes is the first.
const JITTER: Duration = Duration::from_millis(500);
/// Claims of others that are worked on at once. The rest waits, the oldest first.
const AT_ONCE: usize = 2;
/// From a claim that could not be read to its next try.
const RETRY: Duration = Duration::from_secs(5);
/// Between two questions for ClickHouse's clock.
const CLOCK_INTERVAL: Duration = Duration::from_secs(3);

/// The task that looks after claims of others.
#[derive(Clone)]
pub struct Takeover {
    pub insert: Insert,
    pub signals: Arc<dyn SignalStream>,
    pub settings: Arc<Settings>,
    pub in_force: SettingsHandle,
    pub in_flight: &'static InFlight,
    /// Held while the messages of a claim are read, so that no two claims wait for each other's
    /// room.
    pub reading: Arc<Mutex<()>>,
}

/// Messages of a claim that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    #[error(transparent)]
    Stored(#[from] StoredError),
    #[error(transparent)]
    Letters(#[from] DeadLetterStreamError),
}

/// An open claim of another process.
#[derive(Debug, Clone, Copy)]
struct Seen {
    since: Instant,
    fence: i64,
    /// Not worked on before this time.
    not_before: Instant,
    is_at_work: bool,
    has_rows: bool,
    /// Nothing but its settlement ends it: it cannot be built before its fence.
    only_settled: bool,
}

/// Outcome of the work on a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Nothing is left to do here, for now.
    Worked,
    /// It cannot be built, so that only its settlement ends it.
    OnlySettled,
    /// A server does not answer.
    Failed,
}

impl Takeover {
    /// Looks after claims of others until shutdown.
    pub async fn run(self) {
        let shutdown = self.insert.shutdown.clone();
        let looks = async { tokio::join!(self.look(), self.learn_clock()) };
        shutdown.run_until_cancelled(looks).await;
    }

    /// Renews the estimate of ClickHouse's clock: it may step, and this machine may be suspended.
    async fn learn_clock(&self) {
        loop {
            sleep(CLOCK_INTERVAL).await;
            self.insert.learn_clock().await;
        }
    }

    async fn look(&self) {
        let jitter = rand::rng().random_range(Duration::ZERO..=JITTER);
        let mut seen: HashMap<Nonce, Seen> = HashMap::new();
        let mut work: JoinSet<(Nonce, Outcome)> = JoinSet::new();
        let mut ticks = interval(LOOK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let next = async {
                tokio::select! {
                    _ = ticks.tick() => None,
                    Some(worked) = work.join_next(), if !work.is_empty() => Some(worked),
                }
            };
            match self.insert.heartbeat.waiting(next).await {
                Some(Ok((id, outcome))) => {
                    if let Some(seen) = seen.get_mut(&id) {
                        seen.worked(outcome);
                    }
                }
                // A defect; it ends the pipeline as one in a stage does.
                Some(Err(error)) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => return,
                },
                None => self.insert.forget_tokens(),
            }
            while let Some((id, claim)) = self.next(&mut seen, TAKE_OVER_AFTER + jitter) {
                let this = self.besides();
                work.spawn(async move { (id, this.take(id, &claim).await) });
            }
        }
    }

    /// The same for a task of its own, whose steps are no sign of life of this one.
    fn besides(&self) -> Self {
        let insert = Insert {
            heartbeat: self.insert.heartbeat.unwatched(),
            ..self.insert.clone()
        };
        Self {
            insert,
            ..self.clone()
        }
    }

    /// The oldest claim that is due, by its fence, which counts as worked on from then. None while
    /// [`AT_ONCE`] are, with rows or without: a dead letter that cannot be stored holds up no row.
    /// None either while ClickHouse fails and somebody asks whether it is back.
    fn next(&self, seen: &mut HashMap<Nonce, Seen>, wait: Duration) -> Option<(Nonce, Claim)> {
        if self.insert.circuit.is_asking() {
            return None;
        }
        self.insert.process.with(|instance| {
            let (me, log) = (instance.publisher(), instance.log());
            seen.retain(|id, seen| seen.is_at_work || log.claim(*id).is_some());
            for (id, claim) in log.claims().filter(|(_, claim)| claim.publisher != me) {
                seen.entry(id).or_insert_with(|| Seen::new(claim));
            }
            let count = |rows| {
                let at_work = seen.values().filter(|seen| seen.is_at_work);
                at_work.filter(|seen| seen.has_rows == rows).count()
            };
            let has_place = [count(false) < AT_ONCE, count(true) < AT_ONCE];
            let due = seen.iter_mut().filter(|(id, seen)| {
                has_place[usize::from(seen.has_rows)]
                    && seen.is_ready(wait)
                    && self.is_due(instance, **id, seen)
            });
            let (id, oldest) = due.min_by_key(|(id, seen)| (seen.fence, **id))?;
            oldest.is_at_work = true;
            Some((*id, log.claim(*id)?.clone()))
        })
    }

    /// Reports whether a claim can be completed or settled now.
    fn is_due(&self, instance: &Instance, id: Nonce, seen: &Seen) -> bool {
        let Some(claim) = instance.log().claim(id) else {
            return false;
        };
        if self.is_over(claim) {
            return true;
        }
        let now = self.insert.sink.seconds(Duration::ZERO);
        let is_open = now < claim.block.fence;
        is_open && !seen.only_settled && instance.step(id) != Step::Settle
    }

    /// Reports whether a claim may be settled, by the estimate of ClickHouse's clock.
    fn is_over(&self, claim: &Claim) -> bool {
        let late = self.insert.late_commit.as_secs() as i64;
        let now = self.insert.sink.seconds(Duration::ZERO);
        now > claim.block.fence.saturating_add(late)
    }

    async fn take(&self, id: Nonce, claim: &Claim) -> Outcome {
        let worked = match self.is_over(claim) {
            true => self.settle(id, claim).await,
            false => self.complete(id, claim).await,
        };
        worked.unwrap_or_else(|error| {
            warn!(%error, claim = %id, "A claim of another process cannot be completed; trying again");
            Outcome::Failed
        })
    }

    /// Completes a claim before its fence.
    async fn complete(&self, id: Nonce, claim: &Claim) -> Result<Outcome, Unread> {
        let messages = self.read(claim, claim.block.entries.clone()).await?;
        if !messages.gone.is_empty() {
            // Nothing but the whole block may be sent.
            warn!(claim = %id, count = messages.gone.len(), "Messages of a claim that another process has left open are gone from the stream; the rest lands when the claim's fence is over");
            return Ok(Outcome::OnlySettled);
        }
        let (stored, room) = (messages.stored.clone(), Arc::clone(&messages.room));
        let Some(batch) = self.batch(claim, messages) else {
            return Ok(Outcome::OnlySettled);
        };
        self.count_stored(id, &stored);
        self.announce(id).await;
        let step = self.insert.process.with(|instance| instance.step(id));
        if matches!(step, Step::Wait | Step::TakeOver) {
            // It is done, or the log is checked after a connect and nobody would announce it later.
            return Ok(Outcome::Failed);
        }
        self.insert.ops.metrics.claims.claims_taken_over_total.inc();
        info!(claim = %id, count = batch.len(), "{TAKEN_OVER}");
        let block = &claim.block;
        let mut claimed = Claimed::new(id, block.fence, block.stream_created_ns, batch);
        (claimed.room, claimed.is_sent) = (Some(room), true);
        self.insert.complete(claimed).await;
        Ok(Outcome::Worked)
    }

    /// Takes dead letters of a claim as stored that the process which left it open has stored.
    fn count_stored(&self, id: Nonce, stored: &BTreeSet<u64>) {
        self.insert.process.with(|instance| {
            for stream_seq in stored {
                instance.record_dead_letter(id, *stream_seq);
            }
        });
    }

    /// Announces the takeover of a claim, where that is not done.
    async fn announce(&self, id: Nonce) {
        let process = &self.insert.process;
        let nonce = process.nonce();
        if let Some(record) = process.with(|instance| instance.take_over(nonce, id)) {
            process.append(record).await;
            self.insert.faults.reached(Point::TakeoverAnnounced).await;
        }
    }

    /// Settles a claim whose fence is over, and completes the rest.
    async fn settle(&self, id: Nonce, claim: &Claim) -> Result<Outcome, Unread> {
        let (insert, block) = (&self.insert, &claim.block);
        let Some(over) = insert.fence_over(id, block.fence).await else {
            return Ok(Outcome::Worked);
        };
        let sequences = || block.entries.iter().map(|entry| entry.stream_seq);
        let range = sequences().min().unwrap_or_default()..=sequences().max().unwrap_or_default();
        let (created, rows) = (block.stream_created_ns, block.rows().count());
        let Some(found) = insert.found(id, created, &range, rows).await else {
            return Ok(Outcome::Failed);
        };
        let mut left = claim.clone();
        let is_left = |fate, seq| fate != Fate::Row || !found.has(seq);
        left.block
            .entries
            .retain(|entry| is_left(entry.fate, entry.stream_seq));
        let messages = self.read(claim, left.block.entries.clone()).await?;
        self.count_stored(id, &messages.stored);
        let unfit = self.unfit(&left, &messages);
        let evidence = Evidence {
            over,
            found: &found,
            gone: &messages.gone,
            unfit: &unfit,
            // This process has tried no part.
            blames_rows: false,
            is_slow: false,
        };
        if !insert.end(id, evidence).await {
            return Ok(Outcome::Failed);
        }
        for entry in &mut left.block.entries {
            if unfit.contains(&entry.stream_seq) {
                entry.fate = Fate::DeadLetter(Cause::Invalid);
            }
        }
        let room = Arc::clone(&messages.room);
        if let Some(batch) = self.batch(&left, messages) {
            let mut claimed = Claimed::new(id, block.fence, block.stream_created_ns, batch);
            claimed.room = Some(room);
            // The parts are this process's own, which a stop completes.
            let parts = insert.spawn(|insert| async move {
                for part in insert.parts(claimed).await {
                    insert.complete(part).await;
                }
            });
            let _ = parts.await;
        }
        Ok(Outcome::Worked)
    }
}

impl Seen {
    fn new(claim: &Claim) -> Self {
        Self {
            since: Instant::now(),
            fence: claim.block.fence,
            not_before: Instant::now(),
            is_at_work: false,
            has_rows: claim.block.rows().next().is_some(),
            only_settled: false,
        }
    }

    /// Reports whether the claim is open for so long, and nobody here works on it.
    fn is_ready(&self, wait: Duration) -> bool {
        !self.is_at_work && self.since.elapsed() >= wait && self.not_before <= Instant::now()
    }

    fn worked(&mut self, outcome: Outcome) {
        self.is_at_work = false;
        self.only_settled |= outcome == Outcome::OnlySettled;
        let pause = match outcome {
            Outcome::Failed => RETRY,
            Outcome::Worked | Outcome::OnlySettled => LOOK_INTERVAL,
        };
        self.not_before = Instant::now() + pause;
    }
}

#[cfg(test)]
mod tests;
