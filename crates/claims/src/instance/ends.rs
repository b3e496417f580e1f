//! Ends of a claim that cannot be completed: a split, or a settlement once its fence is over.

use std::collections::BTreeSet;

use super::parts::{Division, divide};
use super::work::Work;
use super::{FoundRows, Instance, Step};
use crate::block::Part;
use crate::entry::{Cause, Entry, Fate};
use crate::flaw::Flaw;
use crate::id::Nonce;
use crate::record::{Record, RecordBody};

/// Reason for which a record must wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordDelayed {
    /// The table's window has no room for another token.
    #[error(
        "the table's window of deduplication tokens is full: {tokens} claims of this claims log may still be inserted, and {limit} may be at once, which is half of the {window} tokens that the table keeps, shared by {logs} claims logs; nothing is claimed until some of their fences are over: raise the table's deduplication window, or lower batch.max_inserts_per_second or clickhouse.fence"
    )]
    WindowFull {
        /// Tokens of this log that must stay in the window.
        tokens: usize,
        /// Tokens that this log may have.
        limit: usize,
        /// Tokens that the table keeps.
        window: usize,
        /// Claims logs that share the window.
        logs: usize,
    },
    /// The log was not checked since the last connect.
    #[error("the claims log was not checked since the last connect; nothing is published yet")]
    Unchecked,
    /// The stream went back.
    #[error("the stream went back; its messages are not claimed until the claims log is rewound")]
    WentBack,
}

/// Proof that no attempt of a claim can land any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FenceOver {
    fence: i64,
}

impl FenceOver {
    /// Compares times of ClickHouse, in seconds: `now` is the lowest time of all live replicas.
    /// `late` is the longest time from ClickHouse's check of a fence to the block's commit, plus
    /// the largest tolerated step back of its clock.
    pub fn judge(fence: i64, now: i64, late: i64) -> Option<Self> {
        (now > fence.saturating_add(late)).then_some(Self { fence })
    }
}

/// Observations of a claim since its fence ended.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// Proof that the fence is over.
    pub over: FenceOver,
    /// Rows of the claim in the table, looked up since then.
    pub found: &'a FoundRows,
    /// Messages of the claim that are neither in the stream nor stored as dead letters.
    pub gone: &'a BTreeSet<u64>,
    /// Messages that were claimed as rows and that this process rejects, since its rules differ
    /// from the claiming process's. They become dead letters.
    pub unfit: &'a BTreeSet<u64>,
    /// True if a row whose rejection this process saw becomes a dead letter. False while ClickHouse
    /// rejects every row.
    pub blames_rows: bool,
    /// True if the attempts of this process took too long, so that the block may be too large.
    pub is_slow: bool,
}

impl Instance {
    /// Splits a claim that ClickHouse rejects, if that is the next step: into halves, or into a
    /// dead letter for a single row.
    ///
    /// # Errors
    /// Fails when the table's window has no room for the tokens of the parts, or the log was not
    /// checked.
    pub fn split(
        &mut self,
        id: Nonce,
        claim: Nonce,
        fence: i64,
        nonce: impl FnMut() -> Nonce,
    ) -> Result<Option<Record>, RecordDelayed> {
        if self.step(claim) != Step::Split {
            return Ok(None);
        }
        self.check_window()?;
        let Some(open) = self.log.claim(claim) else {
            return Ok(None);
        };
        let division = self.division(claim);
        let parts = divide(open.block.entries.clone(), division, fence, nonce);
        let body = RecordBody::Split { claim, parts };
        Ok(Some(self.record(id, body, Some(claim))))
    }

    /// Settles a claim of any publisher whose fence is over.
    ///
    /// # Errors
    /// Fails when the table's window has no room for the tokens of the parts, or the log was not
    /// checked.
    pub fn settle(
        &mut self,
        id: Nonce,
        claim: Nonce,
        evidence: Evidence<'_>,
        fence: i64,
        nonce: impl FnMut() -> Nonce,
    ) -> Result<Option<Record>, RecordDelayed> {
        self.check_window()?;
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
        let body = RecordBody::Settled { claim, parts, lost };
        Ok(Some(self.record(id, body, Some(claim))))
    }

    /// Returns the division of a claim, by this process's own observations.
    fn division(&self, claim: Nonce) -> Division {
        match self.works.get(&claim) {
            Some(work) if work.is_refused() => Division::Refused,
            Some(work) if work.is_too_large() => Division::Halves,
            _ => Division::Whole,
        }
    }

    /// Checks that the window has room for another token.
    pub(super) fn check_window(&self) -> Result<(), RecordDelayed> {
        if !self.is_joined {
            return Err(RecordDelayed::Unchecked);
        }
        let (tokens, limit) = (self.log.tokens(), self.tokens_limit());
        if tokens < limit {
            return Ok(());
        }
        Err(RecordDelayed::WindowFull {
            tokens,
            limit,
            window: self.window,
            logs: self.logs,
        })
    }
}

/// Returns the entry in the form that the settler can complete.
fn fitting(entry: Entry, unfit: &BTreeSet<u64>) -> Entry {
    let fate = match entry.fate {
        Fate::Row if unfit.contains(&entry.stream_seq) => Fate::DeadLetter(Cause::Invalid),
        fate => fate,
    };
    Entry { fate, ..entry }
}
