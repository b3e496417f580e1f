//! One process: what it may do with a claim, and what it concludes from an answer.

mod checks;
mod ends;
mod parts;
mod work;

pub use ends::{Evidence, FenceOver, NotNow};
pub use work::{Answer, Attempt, Found};

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::flaw::{Flaw, Flaws};
use crate::id::{Nonce, Publisher};
use crate::log::{Log, LogError};
use crate::record::{Block, Body, Done, Proof, Record};

use work::Work;

/// One process that reads the log and works on claims.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Instance {
    me: Publisher,
    /// Shared by copies of the process, of which the model makes many.
    log: Arc<Log>,
    /// Tokens that the table keeps.
    window: usize,
    /// Claims logs whose blocks go to the table.
    logs: usize,
    /// Since the connection was made, the log was checked against what was read and stored.
    is_joined: bool,
    /// Its record that says that the connection was made; `None` once that was read.
    connected: Option<Nonce>,
    /// Streams that went back, and the place that they were rewound at before that.
    went_back: BTreeMap<i64, u64>,
    works: BTreeMap<Nonce, Work>,
    /// Claims that are done, in no record yet.
    done: Vec<Done>,
    /// Its records that were not read yet.
    unread: Vec<Unread>,
    flaws: Flaws,
}

/// A record of this process that was not read yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Unread {
    id: Nonce,
    /// Its place, once the log has answered.
    seq: Option<u64>,
    /// Claims that it ends.
    ends: Vec<Nonce>,
}

/// What a process does next with an open claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing: an answer or a record is waited for.
    Wait,
    /// Announce a takeover, or leave it to the publisher.
    TakeOver,
    /// Store the claim's dead letters.
    StoreDeadLetters,
    /// Send the block.
    Send,
    /// Look for the claim's rows in the table.
    Count,
    /// Conclude that the claim is done.
    Finish,
    /// Split the claim: ClickHouse refuses the block, and nothing of it is stored.
    Split,
    /// Wait until the fence is over, look for the rows, and settle the claim.
    Settle,
}

impl Instance {
    /// A process that starts: another publisher than any before, which has read nothing.
    /// `window` is the number of tokens that the table keeps.
    pub fn new(me: Publisher, window: usize) -> Self {
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

    /// The same with a broken rule.
    #[cfg(feature = "flaws")]
    pub fn breaking(mut self, flaw: Option<Flaw>) -> Self {
        self.flaws = Flaws::breaking(flaw);
        self.log = Arc::new(Log::new().breaking(flaw));
        self
    }

    /// The same, joined already.
    #[cfg(feature = "flaws")]
    pub fn joined(mut self) -> Self {
        self.connected = None;
        self.is_joined = true;
        self
    }

    /// Hashes all but what it has read, which the model knows by the tip.
    #[cfg(feature = "flaws")]
    pub fn hash_without_log<H: std::hash::Hasher>(&self, state: &mut H) {
        use std::hash::Hash;
        let (works, done, unread) = (&self.works, &self.done, &self.unread);
        let link = (self.is_joined, self.connected, &self.went_back);
        (self.me, link, works, done, unread).hash(state);
    }

    /// What it has read.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The process.
    pub fn publisher(&self) -> Publisher {
        self.me
    }

    /// Reads the record at `seq` of the log.
    ///
    /// # Errors
    /// When it does not follow the one before. Nothing of it counts then.
    pub fn read(&mut self, seq: u64, record: &Record) -> Result<(), LogError> {
        let is_other = |mine: &Unread| mine.seq == Some(seq) && mine.id != record.id;
        if self.unread.iter().any(is_other) {
            return Err(LogError::Lost { seq });
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

    /// Takes the log's answer that the record stands at `seq`. An answer may be lost: then the
    /// same record is published again, and a second copy changes nothing.
    ///
    /// # Errors
    /// When the log lost records, since it had that place before.
    pub fn published(&mut self, record: &Record, seq: u64) -> Result<(), LogError> {
        if seq <= record.tip.seq {
            return Err(LogError::Lost { seq });
        }
        let id = record.id;
        for unread in self.unread.iter_mut().filter(|unread| unread.id == id) {
            unread.seq = Some(seq);
        }
        self.settle_unread(None);
        Ok(())
    }

    /// Shares the table's window with other claims logs: there are `logs` with this one.
    pub fn share_window(&mut self, logs: usize) {
        self.logs = logs.max(1);
    }

    /// Tokens of this log at which nothing more is claimed. Each log has its share of half of the
    /// window, so that no token leaves it before its claim's fence and late commit are over.
    pub fn tokens_limit(&self) -> usize {
        self.window / 2 / self.logs
    }

    /// Forgets tokens that may leave the window at `now`: see [`Log::forget_tokens`].
    pub fn forget_tokens(&mut self, now: i64, late: i64) {
        if self.log.forgets_tokens(now, late) {
            Arc::make_mut(&mut self.log).forget_tokens(now, late);
        }
    }

    /// Claims messages. Of those that are not free, the claim gets none. Nothing is sent
    /// before the record was read back.
    ///
    /// # Errors
    /// When the table's window has no place for the token, or the log was not checked.
    pub fn claim(&mut self, id: Nonce, block: Block) -> Result<Record, NotNow> {
        // Dead letters take no place in the window.
        if block.rows().next().is_some() {
            self.room()?;
        }
        if !self.is_joined {
            return Err(NotNow::Unchecked);
        }
        if self.went_back.contains_key(&block.stream_created_ns) {
            return Err(NotNow::WentBack);
        }
        Ok(self.record(id, Body::Claim(block), None))
    }

    /// Reports whether claims are done that no record says so of yet.
    pub fn has_done(&self) -> bool {
        self.is_joined && !self.done.is_empty()
    }

    /// Publishes what is done, where no other record takes it along.
    pub fn flush(&mut self, id: Nonce) -> Option<Record> {
        self.has_done()
            .then(|| self.record(id, Body::Nothing, None))
    }

    /// Announces the takeover of a claim, when that is the next step.
    pub fn take_over(&mut self, id: Nonce, claim: Nonce) -> Option<Record> {
        (self.step(claim) == Step::TakeOver).then(|| self.record(id, Body::Takeover(claim), None))
    }

    /// Reports sequences that need no claim: see [`Body::Absent`].
    pub fn absent(
        &mut self,
        id: Nonce,
        stream_created_ns: i64,
        first: u64,
        last: u64,
    ) -> Option<Record> {
        let body = Body::Absent {
            stream_created_ns,
            first,
            last,
        };
        let is_sure = self.is_joined && !self.went_back.contains_key(&stream_created_ns);
        is_sure.then(|| self.record(id, body, None))
    }

    /// A snapshot of what was read. It is published on condition that the log's last record is
    /// the one that it covers.
    pub fn snapshot(&self, id: Nonce) -> Option<Record> {
        self.is_joined.then(|| Record {
            id,
            publisher: self.me,
            generation: self.log.generation(),
            tip: self.log.tip(),
            done: Vec::new(),
            body: Body::Snapshot(Box::new(self.log.snapshot())),
        })
    }

    /// What this process does next with a claim.
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

    /// Permits one try of a claim's block, when that is the next step.
    pub fn send(&mut self, claim: Nonce) -> Option<Attempt> {
        (self.step(claim) == Step::Send).then(|| {
            self.works.entry(claim).or_default().sent();
            Attempt::of(claim)
        })
    }

    /// Has a claim that ClickHouse refuses sent again, instead of being split: the table may be
    /// at fault, and not the row.
    pub fn try_again(&mut self, claim: Nonce) {
        if self.step(claim) == Step::Split
            && let Some(work) = self.works.get_mut(&claim)
        {
            work.try_again();
        }
    }

    /// Takes the answer to a try.
    pub fn answered(&mut self, attempt: Attempt, answer: Answer) {
        if let Some(work) = self.works.get_mut(&attempt.claim()) {
            work.answered(answer);
        }
    }

    /// Takes what the table has of a claim, asked after the last answer.
    pub fn counted(&mut self, claim: Nonce, found: Found) {
        if let Some(work) = self.works.get_mut(&claim) {
            work.found = Some(found);
        }
    }

    /// Takes a dead letter of an open claim as stored.
    pub fn stored_dead_letter(&mut self, claim: Nonce, stream_seq: u64) {
        if self.log.claim(claim).is_some() {
            let work = self.works.entry(claim).or_default();
            work.dead_letters.insert(stream_seq);
        }
    }

    /// Concludes that a claim is done, when that is the next step. The next record says so.
    pub fn finish(&mut self, claim: Nonce) -> Option<Done> {
        if self.step(claim) != Step::Finish {
            return None;
        }
        let has_rows = self.log.claim(claim)?.block.rows().next().is_some();
        let work = self.works.entry(claim).or_default();
        // Of no rows all are there, whoever has tried.
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

    /// Makes a record, which takes along what is done and may end a claim.
    fn record(&mut self, id: Nonce, body: Body, ends: Option<Nonce>) -> Record {
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

    /// Goes on with claims that a record of this process was to end and did not: it was read,
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
