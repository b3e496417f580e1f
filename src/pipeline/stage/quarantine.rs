//! Rows that ClickHouse refuses, until it is known whether they or the table are to blame.
//!
//! A refusal alone blames nothing: a constraint or a materialized view that is wrong refuses every
//! row, and is mended after a while. So a row is to blame once ClickHouse has refused it, then
//! taken another block, then refused it again, each try begun after the answer before it. Between
//! the two refusals it waits here, where it keeps no insert from going. When many wait and nothing
//! lands, the table is at fault.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::pipeline::stage::claimed::Claimed;
use crate::pipeline::stage::tries::Tries;

/// Refused rows, and none taken in between, that speak against the table.
const AGAINST_TABLE: usize = 16;

/// Rows without a verdict, shared by all who insert.
#[derive(Debug, Default)]
pub struct Quarantine(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Claimed>,
    /// Counts refusals.
    refusals: u64,
    /// Number of refusals before the youngest block that was taken began.
    taken_after: u64,
}

/// Verdict on a refused row.
#[derive(Debug)]
pub enum Judgement {
    /// Nothing yet; it waits here.
    Wait,
    /// A block was taken since: another refusal blames the row.
    Again(Box<Claimed>),
    /// The row is to blame.
    Row(Box<Claimed>),
    /// The table is to blame: all that waited, to be tried until it takes them.
    Table(Vec<Claimed>),
}

impl Quarantine {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Tries a block, which is refused.
    fn refused(quarantine: &Quarantine, tries: &mut Tries) {
        quarantine.begins(tries);
        quarantine.refused(tries);
    }

    #[test]
    fn a_row_is_to_blame_that_is_refused_before_and_after_another_is_taken() {
        let quarantine = Quarantine::default();
        let (mut row, mut other, mut early) =
            (Tries::default(), Tries::default(), Tries::default());
        quarantine.begins(&mut other);
        quarantine.taken(other);
        quarantine.begins(&mut early);
        refused(&quarantine, &mut row);
        assert!(!row.is_to_blame(), "others were taken before");
        quarantine.taken(early);
        refused(&quarantine, &mut row);
        assert!(!row.is_to_blame(), "the other had begun before");
        quarantine.begins(&mut other);
        quarantine.begins(&mut row);
        quarantine.taken(other);
        quarantine.refused(&mut row);
        assert!(!row.is_to_blame(), "the last try had begun before");
        refused(&quarantine, &mut row);
        assert!(row.is_to_blame());
    }
}
