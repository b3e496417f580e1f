//! Rows that ClickHouse refuses, until it is known whether they or the table are to blame.
//!
//! A refusal alone does not tell: a constraint or a materialized view that is wrong refuses
//! every row. So a row is blamed once ClickHouse has taken another one since, and until then it
//! waits here, where it keeps no insert from going. When many wait and nothing lands, the table
//! is at fault.

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
    /// Counts inserts that were taken.
    taken: u64,
}

/// What to do with a refused row.
#[derive(Debug)]
pub(super) enum Judgement {
    /// Nothing yet; it waits here.
    Wait,
    /// The row is to blame.
    Row(Box<Claimed>),
    /// The table is to blame: all that waited, to be tried until it takes them.
    Table(Vec<Claimed>),
}

impl Suspects {
    /// Inserts that were taken until now.
    pub fn taken(&self) -> u64 {
        self.lock().taken
    }

    /// Reports whether an insert was taken since so many were.
    pub fn has_taken(&self, taken_before: u64) -> bool {
        self.taken() > taken_before
    }

    /// Counts an insert that was taken. The rows that waited are to blame.
    pub fn take(&self) -> Vec<Claimed> {
        let mut state = self.lock();
        state.taken += 1;
        std::mem::take(&mut state.waiting)
    }

    /// Judges a claim of one row, by the inserts that were taken since it was first sent.
    pub fn judge(&self, row: Claimed) -> Judgement {
        let mut state = self.lock();
        if state.taken > row.taken_before {
            return Judgement::Row(Box::new(row));
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
