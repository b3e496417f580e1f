//! One process: its permitted steps with a claim, and its conclusions from answers.

mod checks;
mod ends;
mod parts;
mod step;
mod work;

pub use ends::{Evidence, FenceOver, RecordDelayed};
pub use step::Step;
pub use work::{FoundRows, InsertAnswer, InsertAttempt};

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::block::ClaimBlock;
use crate::flaw::{Flaw, Flaws};
use crate::id::{Nonce, PublisherId};
use crate::log::{Log, LogReadError};
use crate::record::{Done, Proof, Record, RecordBody};

use work::Work;

/// A process that reads the log and works on claims.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Instance {
    me: PublisherId,
    /// The log, shared by copies of the process, of which the model makes many.
    log: Arc<Log>,
    /// Tokens that the table keeps.
    window: usize,
    /// Claims logs whose blocks go to the table.
    logs: usize,
    /// True once the log was checked after a connect against the read and stored entries.
    is_joined: bool,
    /// Nonce of its unread record of the connection.
    connected: Option<Nonce>,
    /// Streams that went back, with the log position of their previous rewind.
    went_back: BTreeMap<i64, u64>,
    works: BTreeMap<Nonce, Work>,
    /// Done claims that no record has published yet.
    done: Vec<Done>,
    /// Own records that this process has not read yet.
    unread: Vec<Unread>,
    flaws: Flaws,
}

/// An own record that this process has not read yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Unread {
    id: Nonce,
    /// Sequence of the record, once the log has answered.
    seq: Option<u64>,
    /// Claims that it ends.
    ends: Vec<Nonce>,
}

impl Instance {
    /// Creates a starting process: a new publisher that has read nothing. `window` is the number of
    /// tokens that the table keeps.
    pub fn new(me: PublisherId, window: usize) -> Self {
        Self {
            me,
            log: Arc::default(),
            window,
            logs: 1,
            is_joined: false,
            connected: Some(Nonce(0)),
            went_back: BTreeMap::new(),
            works: BTreeMap::new(),
            done: Vec::new(),
            unread: Vec::new(),
            flaws: Flaws::default(),
        }
    }

    /// Breaks a rule.
    #[cfg(feature = "flaws")]
    pub fn break_rule(mut self, flaw: Option<Flaw>) -> Self {
        self.flaws = Flaws::break_rule(flaw);
        self.log = Arc::new(Log::new().break_rule(flaw));
        self
    }

    /// Marks the process as joined.
    #[cfg(feature = "flaws")]
    pub fn mark_joined(mut self) -> Self {
        self.connected = None;
        self.is_joined = true;
        self
    }

    /// Hashes everything but the log, which the model identifies by its tip.
    #[cfg(feature = "flaws")]
    pub fn hash_without_log<H: std::hash::Hasher>(&self, state: &mut H) {
        use std::hash::Hash;
        let (works, done, unread) = (&self.works, &self.done, &self.unread);
        let link = (self.is_joined, self.connected, &self.went_back);
        (self.me, link, works, done, unread).hash(state);
    }

    /// Returns the log as far as it was read.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Returns the identifier of the process.
    pub fn publisher(&self) -> PublisherId {
        self.me
    }

    /// Reads the record at `seq` of the log.
    ///
    /// # Errors
    /// Fails when the record does not follow the one before. It then has no effect.
    pub fn read(&mut self, seq: u64, record: &Record) -> Result<(), LogReadError> {
        let is_other = |mine: &Unread| mine.seq == Some(seq) && mine.id != record.id;
        if self.unread.iter().any(is_other) {
            return Err(LogReadError::Lost { seq });
        }
        Arc::make_mut(&mut self.log).read(seq, record)?;
        self.settle_unread(Some(record.id));
        self.connected.take_if(|id| *id == record.id);
        let log = &self.log;
        self.went_back
            .retain(|stream, rewound| log.rewound(*stream) <= *rewound);
        self.works.retain(|claim, _| log.claim(*claim).is_some());
        self.done.retain(|done| log.claim(done.claim).is_some());
        Ok(())
    }

    /// Notes the log's answer that it stored the record at `seq`. If the answer is lost, the
    /// process publishes the record again; a second copy changes nothing.
    ///
    /// # Errors
    /// Fails when the log lost records, since an earlier record had that sequence.
    pub fn confirm_published(&mut self, record: &Record, seq: u64) -> Result<(), LogReadError> {
        if seq <= record.tip.seq {
            return Err(LogReadError::Lost { seq });
        }
        let id = record.id;
        for unread in self.unread.iter_mut().filter(|unread| unread.id == id) {
            unread.seq = Some(seq);
        }
        self.settle_unread(None);
        Ok(())
    }

    /// Shares the table's window among `logs` claims logs, including this one.
    pub fn share_window(&mut self, logs: usize) {
        self.logs = logs.max(1);
    }

    /// Returns the number of this log's tokens at which claiming stops. The logs share half of the
    /// window equally, so that no token leaves it before its claim's fence and late commit are
    /// over.
    pub fn tokens_limit(&self) -> usize {
        self.window / 2 / self.logs
    }

    /// Forgets tokens that may leave the window at `now`: see [`Log::forget_tokens`].
    pub fn forget_tokens(&mut self, now: i64, late: i64) {
        if self.log.would_forget_tokens(now, late) {
            Arc::make_mut(&mut self.log).forget_tokens(now, late);
        }
    }

    /// Claims messages. The claim does not get those that are not free. Nothing is sent before the
    /// record was read back.
    ///
    /// # Errors
    /// Fails when the table's window has no room for the token, or the log was not checked.
    pub fn claim(&mut self, id: Nonce, block: ClaimBlock) -> Result<Record, RecordDelayed> {
        // Dead letters take no room in the window.
        if block.rows().next().is_some() {
            self.check_window()?;
        }
        if !self.is_joined {
            return Err(RecordDelayed::Unchecked);
        }
        if self.went_back.contains_key(&block.stream_created_ns) {
            return Err(RecordDelayed::WentBack);
        }
        Ok(self.record(id, RecordBody::Claim(block), None))
    }

    /// Reports whether done claims are unpublished.
    pub fn has_done(&self) -> bool {
        self.is_joined && !self.done.is_empty()
    }

    /// Publishes done claims, if no other record does.
    pub fn flush(&mut self, id: Nonce) -> Option<Record> {
        self.has_done()
            .then(|| self.record(id, RecordBody::Nothing, None))
    }

    /// Announces the takeover of a claim, if that is the next step.
    pub fn take_over(&mut self, id: Nonce, claim: Nonce) -> Option<Record> {
        (self.step(claim) == Step::TakeOver)
            .then(|| self.record(id, RecordBody::Takeover(claim), None))
    }

    /// Reports sequences that need no claim: see [`RecordBody::Absent`].
    pub fn absent(
        &mut self,
        id: Nonce,
        stream_created_ns: i64,
        first: u64,
        last: u64,
    ) -> Option<Record> {
        let body = RecordBody::Absent {
            stream_created_ns,
            first,
            last,
        };
        let is_sure = self.is_joined && !self.went_back.contains_key(&stream_created_ns);
        is_sure.then(|| self.record(id, body, None))
    }

    /// Creates a snapshot of the log. It is published on the condition that the log's last record
    /// is the one that it covers.
    pub fn snapshot(&self, id: Nonce) -> Option<Record> {
        self.is_joined.then(|| Record {
            id,
            publisher: self.me,
            generation: self.log.generation(),
            tip: self.log.tip(),
            done: Vec::new(),
            body: RecordBody::Snapshot(Box::new(self.log.snapshot())),
        })
    }

    /// Returns this process's next step with a claim.
    pub fn step(&self, id: Nonce) -> Step {
        let Some(claim) = self.log.claim(id).filter(|_| self.is_joined) else {
            return Step::Wait;
        };
        let is_mine = claim.publisher == self.me;
        if !is_mine && !claim.takers.contains(&self.me) {
            return Step::TakeOver;
        }
        let nothing = Work::default();
        let work = self.works.get(&id).unwrap_or(&nothing);
        if work.is_concluded {
            let goes_on = self.flaws.has(Flaw::SendsAfterSplit) && !work.is_open();
            return if goes_on { Step::Send } else { Step::Wait };
        }
        let is_only =
            is_mine && (claim.takers.is_empty() || self.flaws.has(Flaw::OnlyTryAnnounced));
        work.step(&claim.block, is_only, self.flaws)
    }

    /// Permits one attempt to insert a claim's block, if that is the next step.
    pub fn send(&mut self, claim: Nonce) -> Option<InsertAttempt> {
        (self.step(claim) == Step::Send).then(|| {
            self.works.entry(claim).or_default().count_attempt();
            InsertAttempt::new(claim)
        })
    }

    /// Sends a claim that ClickHouse rejects again instead of splitting it: the table may be at
    /// fault, not the row.
    pub fn try_again(&mut self, claim: Nonce) {
        if self.step(claim) == Step::Split
            && let Some(work) = self.works.get_mut(&claim)
        {
            work.try_again();
        }
    }

    /// Records the answer to an attempt.
    pub fn record_answer(&mut self, attempt: InsertAttempt, answer: InsertAnswer) {
        if let Some(work) = self.works.get_mut(&attempt.claim()) {
            work.record_answer(answer);
        }
    }

    /// Records the rows of a claim in the table, looked up after the last answer.
    pub fn record_count(&mut self, claim: Nonce, found: FoundRows) {
        if let Some(work) = self.works.get_mut(&claim) {
            work.found = Some(found);
        }
    }

    /// Records that a dead letter of an open claim is stored.
    pub fn record_dead_letter(&mut self, claim: Nonce, stream_seq: u64) {
        if self.log.claim(claim).is_some() {
            let work = self.works.entry(claim).or_default();
            work.dead_letters.insert(stream_seq);
        }
    }

    /// Concludes that a claim is done, if that is the next step. The next record publishes it.
    pub fn finish(&mut self, claim: Nonce) -> Option<Done> {
        if self.step(claim) != Step::Finish {
            return None;
        }
        let has_rows = self.log.claim(claim)?.block.rows().next().is_some();
        let work = self.works.entry(claim).or_default();
        // A claim without rows is complete, no matter which process tried.
        let proof = if has_rows && work.found.is_none() {
            Proof::OnlyTry
        } else {
            Proof::Counted
        };
        work.is_concluded = true;
        let done = Done { claim, proof };
        self.done.push(done);
        Some(done)
    }

    /// Creates a record, which publishes done claims and may end a claim.
    fn record(&mut self, id: Nonce, body: RecordBody, ends: Option<Nonce>) -> Record {
        let done = std::mem::take(&mut self.done);
        let ends: Vec<Nonce> = done.iter().map(|done| done.claim).chain(ends).collect();
        for claim in &ends {
            self.works.entry(*claim).or_default().is_concluded = true;
        }
        let seq = None;
        self.unread.push(Unread { id, seq, ends });
        Record {
            id,
            publisher: self.me,
            generation: self.log.generation(),
            tip: self.log.tip(),
            done,
            body,
        }
    }

    /// Continues with claims that a record of this process failed to end. The record was read,
    /// itself or within a snapshot.
    fn settle_unread(&mut self, read: Option<Nonce>) {
        let tip = self.log.tip().seq;
        let is_read =
            |unread: &Unread| Some(unread.id) == read || unread.seq.is_some_and(|seq| seq <= tip);
        let (read, unread) = std::mem::take(&mut self.unread)
            .into_iter()
            .partition(is_read);
        self.unread = unread;
        let read: Vec<Unread> = read;
        for claim in read.iter().flat_map(|read| &read.ends) {
            if let Some(work) = self.works.get_mut(claim) {
                work.is_concluded = false;
            }
        }
    }
}

#[cfg(test)]
mod tests;
