//! What one process has tried of a claim, and what follows from the answers.

use std::collections::BTreeSet;

use super::Step;
use crate::flaw::{Flaw, Flaws};
use crate::id::Nonce;
use crate::record::Block;

/// Permission for one try of a claim's block.
#[derive(Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "flaws", derive(Clone))]
#[must_use = "a try without an answer keeps its claim waiting: report the answer, or that there was none"]
pub struct Attempt {
    claim: Nonce,
}

impl Attempt {
    pub(super) fn of(claim: Nonce) -> Self {
        Self { claim }
    }

    /// The claim, and the token of its block.
    pub fn claim(&self) -> Nonce {
        self.claim
    }
}

/// ClickHouse's answer to a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Its own and whole: the block is committed, or its token was known.
    Committed {
        /// Whether the rows written are those sent. With views they are more.
        exact: bool,
    },
    /// It refuses a value, and the try is over.
    Refused,
    /// The block is too large for its memory or time, and the try is over. A timeout of a
    /// replicated table does not say that: it is [`Self::Unknown`].
    TooLarge,
    /// The fence of the block is over.
    Late,
    /// Not sent: the table has become another one since the first try, and does not know the token.
    OtherTable,
    /// It did not take the block, for a reason that is not the block's, and the try is over.
    NotTaken,
    /// None in time, again and again, so the block may be too large. It may be committed.
    TooSlow,
    /// None, or a failure that does not say whether the block is committed.
    Unknown,
}

/// What the table has of a claim.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Found {
    sequences: BTreeSet<u64>,
}

impl Found {
    /// The sequences of the rows that carry the claim's nonce.
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

    fn is_all(&self, block: &Block) -> bool {
        block.rows().all(|seq| self.has(seq))
    }
}

/// One process's work on a claim.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Work {
    /// Dead letters that it has stored.
    pub dead_letters: BTreeSet<u64>,
    tries: Tries,
    /// A try is under way.
    is_open: bool,
    /// A try ended without an answer, so that it may land until the fence is over.
    is_unanswered: bool,
    answer: Option<Answer>,
    /// A try was too large or too slow, whatever the last answer is.
    was_too_large: bool,
    /// What the table has, asked after the last answer.
    pub found: Option<Found>,
    /// Its record that ends the claim is published, or about to be, and was not read yet.
    pub is_concluded: bool,
}

/// Tries of a block by this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
enum Tries {
    #[default]
    None,
    One,
    More,
}

impl Work {
    /// Reports whether a try is under way.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Reports whether ClickHouse has refused the last try of this process.
    pub fn is_refused(&self) -> bool {
        matches!(self.answer, Some(Answer::Refused))
    }

    /// Reports whether a try of this process was too large. Late ones follow it where nobody may
    /// split the claim before its fence.
    pub fn is_too_large(&self) -> bool {
        self.was_too_large
    }

    /// Counts a try.
    pub fn sent(&mut self) {
        self.tries = match self.tries {
            Tries::None => Tries::One,
            Tries::One | Tries::More => Tries::More,
        };
        self.is_open = true;
        self.answer = None;
        self.found = None;
    }

    /// Has the block sent again.
    pub fn try_again(&mut self) {
        self.answer = None;
        self.found = None;
    }

    /// Takes the answer to the try that is under way.
    pub fn answered(&mut self, answer: Answer) {
        self.is_open = false;
        self.is_unanswered |= matches!(answer, Answer::Unknown | Answer::TooSlow);
        self.was_too_large |= matches!(answer, Answer::TooLarge | Answer::TooSlow);
        self.answer = Some(answer);
    }

    /// The next step for a claim that this process may send. `is_only` says that it is the
    /// publisher, and that nobody has announced a takeover.
    pub fn step(&self, block: &Block, is_only: bool, flaws: Flaws) -> Step {
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
            None | Some(Answer::NotTaken) => Step::Send,
            // What has landed without an answer is not sent again.
            Some(Answer::Unknown | Answer::TooSlow) => match &self.found {
                None => Step::Count,
                Some(found) if found.is_all(block) => Step::Finish,
                Some(_) => Step::Send,
            },
            Some(Answer::Late) if flaws.has(Flaw::SplitsLate) => Step::Split,
            Some(Answer::Late | Answer::OtherTable) => Step::Settle,
            Some(Answer::Committed { exact: true }) if is_only && self.tries == Tries::One => {
                Step::Finish
            }
            Some(Answer::Committed { .. }) if flaws.has(Flaw::RetryUncounted) => Step::Finish,
            Some(Answer::Committed { .. }) => match &self.found {
                None => Step::Count,
                Some(found) if found.is_all(block) => Step::Finish,
                // The token was known, and the rows are not there: a server that was killed
                // between writing the two.
                Some(_) => Step::Settle,
            },
            Some(Answer::Refused | Answer::TooLarge) => self.refused(block, is_only, flaws),
        }
    }

    fn refused(&self, block: &Block, is_only: bool, flaws: Flaws) -> Step {
        let is_splittable = is_only && !self.is_unanswered;
        let is_too_large = self.answer == Some(Answer::TooLarge);
        match &self.found {
            None if is_splittable && flaws.has(Flaw::SplitsUncounted) => Step::Split,
            None => Step::Count,
            // A view refuses; the table has the rows all the same.
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
