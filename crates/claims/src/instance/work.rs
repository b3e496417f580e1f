//! One process's attempts for a claim, and the conclusions from their answers.

use std::collections::BTreeSet;

use super::step::Step;
use crate::block::ClaimBlock;
use crate::flaw::{Flaw, Flaws};
use crate::id::Nonce;

/// Permission for one attempt to insert a claim's block.
#[derive(Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "flaws", derive(Clone))]
#[must_use = "a try without an answer keeps its claim waiting: report the answer, or that there was none"]
pub struct InsertAttempt {
    claim: Nonce,
}

impl InsertAttempt {
    pub(super) fn new(claim: Nonce) -> Self {
        Self { claim }
    }

    /// Returns the claim, whose nonce is the token of its block.
    pub fn claim(&self) -> Nonce {
        self.claim
    }
}

/// Answer of ClickHouse to an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InsertAnswer {
    /// Complete answer of ClickHouse: the block is committed, or its token was known.
    Committed {
        /// True if ClickHouse wrote as many rows as were sent. With views it writes more.
        exact: bool,
    },
    /// ClickHouse rejects a value, and the attempt has ended.
    Refused,
    /// The block is too large for ClickHouse's memory or time, and the attempt has ended. A timeout
    /// of a replicated table does not prove that: it is [`Self::Unknown`].
    TooLarge,
    /// The fence of the block is over.
    Late,
    /// The block was not sent: the table was replaced since the first attempt, and does not know
    /// the token.
    OtherTable,
    /// ClickHouse did not accept the block, for a reason unrelated to it, and the attempt has
    /// ended.
    NotTaken,
    /// No answer in time, several times in a row, so the block may be too large. It may be
    /// committed.
    TooSlow,
    /// No answer, or a failure after which the block may or may not be committed.
    Unknown,
}

/// Rows of a claim in the table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct FoundRows {
    sequences: BTreeSet<u64>,
}

impl FoundRows {
    /// Creates it from the sequences of the rows with the claim's nonce.
    pub fn new(sequences: BTreeSet<u64>) -> Self {
        Self { sequences }
    }

    /// Reports whether a row was found.
    pub fn has(&self, stream_seq: u64) -> bool {
        self.sequences.contains(&stream_seq)
    }

    /// Reports whether no row was found.
    pub fn is_nothing(&self) -> bool {
        self.sequences.is_empty()
    }

    fn is_all(&self, block: &ClaimBlock) -> bool {
        block.rows().all(|seq| self.has(seq))
    }
}

/// Work of one process on a claim.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Work {
    /// Dead letters that the process has stored.
    pub dead_letters: BTreeSet<u64>,
    tries: Tries,
    /// True while an attempt is under way.
    is_open: bool,
    /// True if an attempt ended without an answer, so that it may land until the fence is over.
    is_unanswered: bool,
    answer: Option<InsertAnswer>,
    /// True if an attempt was too large or too slow, whatever the last answer is.
    was_too_large: bool,
    /// Rows in the table, looked up after the last answer.
    pub found: Option<FoundRows>,
    /// True if its record that ends the claim is being published, and was not read yet.
    pub is_concluded: bool,
}

/// Attempts of this process to insert a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
enum Tries {
    #[default]
    None,
    One,
    More,
}

impl Work {
    /// Reports whether an attempt is under way.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Reports whether ClickHouse rejected the last attempt of this process.
    pub fn is_refused(&self) -> bool {
        matches!(self.answer, Some(InsertAnswer::Refused))
    }

    /// Reports whether an attempt of this process was too large. Late answers may follow it when
    /// nobody may split the claim before its fence.
    pub fn is_too_large(&self) -> bool {
        self.was_too_large
    }

    /// Counts an attempt.
    pub fn count_attempt(&mut self) {
        self.tries = match self.tries {
            Tries::None => Tries::One,
            Tries::One | Tries::More => Tries::More,
        };
        self.is_open = true;
        self.answer = None;
        self.found = None;
    }

    /// Resets the attempts, so that the block is sent again.
    pub fn try_again(&mut self) {
        self.answer = None;
        self.found = None;
    }

    /// Records the answer to the current attempt.
    pub fn record_answer(&mut self, answer: InsertAnswer) {
        self.is_open = false;
        self.is_unanswered |= matches!(answer, InsertAnswer::Unknown | InsertAnswer::TooSlow);
        self.was_too_large |= matches!(answer, InsertAnswer::TooLarge | InsertAnswer::TooSlow);
        self.answer = Some(answer);
    }

    /// Returns the next step for a claim that this process may send. `is_only` is true if the
    /// process is the publisher and nobody has announced a takeover.
    pub fn step(&self, block: &ClaimBlock, is_only: bool, flaws: Flaws) -> Step {
        let mut dead_letters = block.dead_letters();
        if dead_letters.any(|seq| !self.dead_letters.contains(&seq)) {
            return Step::StoreDeadLetters;
        }
        if block.rows().next().is_none() {
            return Step::Finish;
        }
        if self.is_open {
            let splits = flaws.has(Flaw::SplitsUnanswered) && is_only;
            return if splits { Step::Split } else { Step::Wait };
        }
        match self.answer {
            None | Some(InsertAnswer::NotTaken) => Step::Send,
            // Rows that landed without an answer are not sent again.
            Some(InsertAnswer::Unknown | InsertAnswer::TooSlow) => match &self.found {
                None => Step::Count,
                Some(found) if found.is_all(block) => Step::Finish,
                Some(_) => Step::Send,
            },
            Some(InsertAnswer::Late) if flaws.has(Flaw::SplitsLate) => Step::Split,
            Some(InsertAnswer::Late | InsertAnswer::OtherTable) => Step::Settle,
            Some(InsertAnswer::Committed { exact: true })
                if is_only && self.tries == Tries::One =>
            {
                Step::Finish
            }
            Some(InsertAnswer::Committed { .. }) if flaws.has(Flaw::RetryUncounted) => Step::Finish,
            Some(InsertAnswer::Committed { .. }) => match &self.found {
                None => Step::Count,
                Some(found) if found.is_all(block) => Step::Finish,
                // ClickHouse knew the token and lacks the rows: it was killed between writing the
                // two.
                Some(_) => Step::Settle,
            },
            Some(InsertAnswer::Refused | InsertAnswer::TooLarge) => {
                self.refused(block, is_only, flaws)
            }
        }
    }

    fn refused(&self, block: &ClaimBlock, is_only: bool, flaws: Flaws) -> Step {
        let is_splittable = is_only && !self.is_unanswered;
        let is_too_large = self.answer == Some(InsertAnswer::TooLarge);
        match &self.found {
            None if is_splittable && flaws.has(Flaw::SplitsUncounted) => Step::Split,
            None => Step::Count,
            // A view rejects the block; the table has the rows all the same.
            Some(found) if found.is_all(block) => Step::Finish,
            Some(_) if is_too_large && (!is_splittable || block.rows().nth(1).is_none()) => {
                Step::Send
            }
            Some(found) if is_splittable && found.is_nothing() => Step::Split,
            Some(_) if is_only && flaws.has(Flaw::SplitsUnanswered) => Step::Split,
            Some(_) => Step::Settle,
        }
    }
}
