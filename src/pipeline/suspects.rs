//! Rows that ClickHouse refuses, until it is known whether they or the table are to blame.
//!
//! A refusal alone blames nothing: a constraint or a materialized view that is wrong refuses every
//! row, and is mended after a while. So a row is to blame once ClickHouse has refused it, then taken
//! another block, then refused it again, each try begun after the answer before it. Between the two
//! refusals it waits here, where it keeps no insert from going. When many wait and nothing lands,
//! the table is at fault.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::claimed::Claimed;

/// Refused rows, and none taken in between, that speak against the table.
const AGAINST_TABLE: usize = 16;

/// Shared by all who insert.
#[derive(Debug, Default)]
pub(super) struct Suspects(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Claimed>,
    /// Counts refusals.
    refusals: u64,
    /// Refusals before the youngest block that was taken began.
    taken_after: u64,
}

/// Tries of a block and of the blocks that it was a part of, by the refusals before them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tries {
    /// The number of its first refusal.
    refused: Option<u64>,
    /// Refusals when the last try began.
    began_after: u64,
    /// [`State::taken_after`] when the last try began.
    taken_after: u64,
}

/// What to do with a refused row.
#[derive(Debug)]
pub(super) enum Judgement {
    /// Nothing yet; it waits here.
    Wait,
    /// A block was taken since: another refusal blames the row.
    Again(Box<Claimed>),
    /// The row is to blame.
    Row(Box<Claimed>),
    /// The table is to blame: all that waited, to be tried until it takes them.
    Table(Vec<Claimed>),
}

impl Suspects {
    /// Notes that a try begins.
    pub fn begins(&self, tries: &mut Tries) {
        let state = self.lock();
        tries.began_after = state.refusals;
        tries.taken_after = state.taken_after;
    }

    /// Notes that the try was refused.
    pub fn refused(&self, tries: &mut Tries) {
        let mut state = self.lock();
        state.refusals += 1;
        tries.refused.get_or_insert(state.refusals);
    }

    /// Notes that the try was taken, and returns the rows that are to be tried again.
    pub fn taken(&self, tries: Tries) -> Vec<Claimed> {
        let mut state = self.lock();
        state.taken_after = state.taken_after.max(tries.began_after);
        let taken_after = state.taken_after;
        let waiting = std::mem::take(&mut state.waiting);
        let (again, waiting) = waiting
            .into_iter()
            .partition(|row| row.tries.is_before(taken_after));
        state.waiting = waiting;
        again
    }

    /// Judges a claim of one row that was refused.
    pub fn judge(&self, row: Claimed) -> Judgement {
        let mut state = self.lock();
        if row.tries.is_to_blame() {
            return Judgement::Row(Box::new(row));
        }
        if row.tries.is_before(state.taken_after) {
            return Judgement::Again(Box::new(row));
        }
        state.waiting.push(row);
        if state.waiting.len() < AGAINST_TABLE {
            return Judgement::Wait;
        }
        Judgement::Table(std::mem::take(&mut state.waiting))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock; the state is whole in any case.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tries {
    /// Reports whether a block that was taken between its first refusal and its last try says that
    /// another refusal is the row's fault.
    pub fn is_to_blame(self) -> bool {
        self.is_before(self.taken_after)
    }

    /// Reports whether the first refusal is one of so many.
    fn is_before(self, refusals: u64) -> bool {
        self.refused.is_some_and(|refused| refused <= refusals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tries a block, which is refused.
    fn refused(suspects: &Suspects, tries: &mut Tries) {
        suspects.begins(tries);
        suspects.refused(tries);
    }

    #[test]
    fn a_row_is_to_blame_that_is_refused_before_and_after_another_is_taken() {
        let suspects = Suspects::default();
        let (mut row, mut other, mut early) =
            (Tries::default(), Tries::default(), Tries::default());
        suspects.begins(&mut other);
        suspects.taken(other);
        suspects.begins(&mut early);
        refused(&suspects, &mut row);
        assert!(!row.is_to_blame(), "others were taken before");
        suspects.taken(early);
        refused(&suspects, &mut row);
        assert!(!row.is_to_blame(), "the other had begun before");
        suspects.begins(&mut other);
        suspects.begins(&mut row);
        suspects.taken(other);
        suspects.refused(&mut row);
        assert!(!row.is_to_blame(), "the last try had begun before");
        refused(&suspects, &mut row);
        assert!(row.is_to_blame());
    }
}
