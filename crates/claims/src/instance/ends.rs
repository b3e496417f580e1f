//! What ends a claim that cannot be completed: a split, or a settlement once its fence is over.

use std::collections::BTreeSet;

use super::parts::{Division, divide};
use super::work::Work;
use super::{Found, Instance, Step};
use crate::flaw::Flaw;
use crate::id::Nonce;
use crate::record::{Body, Cause, Entry, Fate, Part, Record};

/// A record that must not be published for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotNow {
    /// The table's window has no place for another token.
    #[error(
        "the table's window of deduplication tokens is full: {tokens} claims of this claims log may still be inserted, and {limit} may be at once, which is half of the {window} tokens that the table keeps, shared by {logs} claims logs; nothing is claimed until some of their fences are over: raise the table's deduplication window, or lower batch.max_inserts_per_second or clickhouse.fence"
    )]
    WindowFull {
        /// Tokens of this log that must stay.
        tokens: usize,
        /// Tokens that it may have.
        limit: usize,
        /// Tokens that the table keeps.
        window: usize,
        /// Claims logs that share them.
        logs: usize,
    },
    /// The log was not checked since the connection was made.
    #[error("the claims log was not checked since the last connect; nothing is published yet")]
    Unchecked,
    /// The stream went back.
    #[error("the stream went back; nothing of it is claimed before the claims log is rewound")]
    WentBack,
}

/// Proof that no try of a claim can land any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FenceOver {
    fence: i64,
}

impl FenceOver {
    /// Judges by ClickHouse's clock: `now` is the lowest time that all live replicas answer,
    /// `late` the longest time between ClickHouse's look at a fence and the block's commit,
    /// with the largest step back of its clock that is tolerated. All in seconds.
    pub fn judge(fence: i64, now: i64, late: i64) -> Option<Self> {
        (now > fence.saturating_add(late)).then_some(Self { fence })
    }
}

/// What was seen of a claim since its fence is over.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// Proof that the fence is over.
    pub over: FenceOver,
    /// What the table has of the claim, asked since then.
    pub found: &'a Found,
    /// Its messages that are neither in the stream nor stored as dead letters.
    pub gone: &'a BTreeSet<u64>,
    /// Its messages that were claimed as rows and of which this process makes none, since it has
    /// other rules than the one that claimed them. They become dead letters.
    pub unfit: &'a BTreeSet<u64>,
    /// Whether a row that this process saw refused becomes a dead letter. Not while ClickHouse
    /// refuses every row.
    pub blames_rows: bool,
    /// Says that the tries of this process took too long, so that the block may be too large.
    pub is_slow: bool,
}

impl Instance {
    /// Splits a claim that ClickHouse refuses, when that is the next step: into halves, or a
    /// dead letter in the place of a single row.
    ///
    /// # Errors
    /// When the table's window has no place for the tokens of the parts, or the log was not
    /// checked.
    pub fn split(
        &mut self,
        id: Nonce,
        claim: Nonce,
        fence: i64,
        nonce: impl FnMut() -> Nonce,
    ) -> Result<Option<Record>, NotNow> {
        if self.step(claim) != Step::Split {
            return Ok(None);
        }
        self.room()?;
        let Some(open) = self.log.claim(claim) else {
            return Ok(None);
        };
        let division = self.division(claim);
        let parts = divide(open.block.entries.clone(), division, fence, nonce);
        let body = Body::Split { claim, parts };
        Ok(Some(self.record(id, body, Some(claim))))
    }

    /// Settles a claim whose fence is over, whoever published it.
    ///
    /// # Errors
    /// When the table's window has no place for the tokens of the parts, or the log was not
    /// checked.
    pub fn settle(
        &mut self,
        id: Nonce,
        claim: Nonce,
        evidence: Evidence<'_>,
        fence: i64,
        nonce: impl FnMut() -> Nonce,
    ) -> Result<Option<Record>, NotNow> {
        self.room()?;
        let Some(open) = self.log.claim(claim) else {
            return Ok(None);
        };
        let nothing = Work::default();
        let work = self.works.get(&claim).unwrap_or(&nothing);
        if work.is_concluded || work.is_open() || evidence.over.fence < open.block.fence {
            return Ok(None);
        }
        let (mut left, mut lost) = (Vec::new(), Vec::new());
        for entry in &open.block.entries {
            let is_stored = match entry.fate {
                Fate::Row => evidence.found.has(entry.stream_seq),
                Fate::DeadLetter(_) => work.dead_letters.contains(&entry.stream_seq),
            };
            let is_blind = self.flaws.has(Flaw::UnfitUncounted);
            if is_stored && !(is_blind && evidence.unfit.contains(&entry.stream_seq)) {
                continue;
            }
            if evidence.gone.contains(&entry.stream_seq) {
                lost.push(entry.stream_seq);
            } else {
                left.push(fitting(*entry, evidence.unfit));
            }
        }
        let division = match self.division(claim) {
            Division::Refused if !evidence.blames_rows && !self.flaws.has(Flaw::BlamesAnyRow) => {
                Division::Whole
            }
            Division::Whole if evidence.is_slow && !self.flaws.has(Flaw::KeepsSlowWhole) => {
                Division::Halves
            }
            division => division,
        };
        let parts: Vec<Part> = divide(left, division, fence, nonce);
        let body = Body::Settled { claim, parts, lost };
        Ok(Some(self.record(id, body, Some(claim))))
    }

    /// How a claim is divided, by what this process has seen of it itself.
    fn division(&self, claim: Nonce) -> Division {
        match self.works.get(&claim) {
            Some(work) if work.is_refused() => Division::Refused,
            Some(work) if work.is_too_large() => Division::Halves,
            _ => Division::Whole,
        }
    }

    /// Reports whether another token may be published.
    pub(super) fn room(&self) -> Result<(), NotNow> {
        if !self.is_joined {
            return Err(NotNow::Unchecked);
        }
        let (tokens, limit) = (self.log.tokens(), self.tokens_limit());
        if tokens < limit {
            return Ok(());
        }
        Err(NotNow::WindowFull {
            tokens,
            limit,
            window: self.window,
            logs: self.logs,
        })
    }
}

/// The entry as the settler can complete it.
fn fitting(entry: Entry, unfit: &BTreeSet<u64>) -> Entry {
    let fate = match entry.fate {
        Fate::Row if unfit.contains(&entry.stream_seq) => Fate::DeadLetter(Cause::Invalid),
        fate => fate,
    };
    Entry { fate, ..entry }
}
