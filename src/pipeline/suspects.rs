//! Rows that ClickHouse refuses, until it is known whether they or the table are to blame.
//!
//! A refusal alone does not tell: a constraint or a materialized view that is wrong refuses
//! every row. So a row is blamed once ClickHouse has taken another one since, and until then it
//! waits here, where it keeps no insert from going. When many wait and nothing lands, the table
//! is at fault.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::batch::ClosedBatch;

/// Refused rows, and none taken in between, that speak against the table.
const AGAINST_TABLE: usize = 16;

/// A batch of one row that was refused, with ClickHouse's words.
pub(super) type Suspect = (ClosedBatch, String);

/// Shared by all who insert.
#[derive(Debug, Default)]
pub(super) struct Suspects(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Suspect>,
    /// Counts inserts that were taken.
    taken: u64,
}

/// What to do with refused rows.
#[derive(Debug)]
pub(super) enum Judgement {
    /// Nothing yet; they wait here.
    Wait,
    /// The rows are to blame.
    Rows(Vec<Suspect>),
    /// The table is to blame: all that waited, to be tried until it takes them.
    Table(Vec<Suspect>),
}

impl Suspects {
    /// How many inserts were taken until now.
    pub fn taken(&self) -> u64 {
        self.lock().taken
    }

    /// An insert was taken. The rows that waited are to blame.
    pub fn take(&self) -> Vec<Suspect> {
        let mut state = self.lock();
        state.taken += 1;
        std::mem::take(&mut state.waiting)
    }

    /// Judges rows of a batch that was begun when `taken_before` inserts were taken.
    pub fn judge(&self, refused: Vec<Suspect>, taken_before: u64) -> Judgement {
        let mut state = self.lock();
        if refused.is_empty() {
            return Judgement::Wait;
        }
        if state.taken > taken_before {
            return Judgement::Rows(refused);
        }
        state.waiting.extend(refused);
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
