//! A table in memory, which knows tokens, fails on demand and counts its inserts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use claims::Nonce;
use store::schema::SchemaError;
use store::{Block, Receipt, StoreError, TableId};
use tokio::time::Instant;

use crate::pipeline::port::sink::Sink;

/// VIOLATED_CONSTRAINT: a row is refused.
pub const REFUSED: u32 = 469;
/// MEMORY_LIMIT_EXCEEDED: the block is too large.
pub const TOO_LARGE: u32 = 241;
/// TOO_MANY_PARTS: the same block is sent again.
pub const BUSY: u32 = 252;
/// READONLY: the operator has to act.
pub const READONLY: u32 = 164;

/// The answer to one insert.
#[derive(Debug, Clone, Copy)]
pub enum FakeReply {
    /// ClickHouse's exception; nothing is committed.
    Exception(u32),
    /// The default of `ingested_at` finds the fence over.
    Late,
    /// No answer in time, after the commit or before it.
    Timeout { is_committed: bool },
    /// An OK that counts other rows too, such as those of views.
    Inexact,
}

/// An insert that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tried {
    pub claim: Nonce,
    pub rows: usize,
    pub at: Instant,
}

/// State of the table; tests change it.
#[derive(Debug)]
pub struct FakeTable {
    /// Answers to the next inserts; after them the table answers by itself.
    pub replies: VecDeque<FakeReply>,
    /// Sequences whose rows are refused.
    pub refused: BTreeSet<u64>,
    /// Rows above which a block is too large.
    pub rows_max: usize,
    /// It answers every insert and look-up with this exception, for as long as it is set.
    pub broken: Option<u32>,
    /// It does not fit.
    pub is_unfit: bool,
    /// Its identity.
    pub id: TableId,
    /// Seconds that its clock is ahead of a clock that began with the test at 0.
    pub ahead: i64,
    /// Rows by token.
    pub rows: BTreeMap<u128, BTreeSet<u64>>,
    /// All inserts.
    pub tried: Vec<Tried>,
    /// Counts of rows.
    pub counted: usize,
}

/// The table.
#[derive(Debug)]
pub struct FakeSink {
    table: Mutex<FakeTable>,
    began: Instant,
}

impl FakeSink {
    /// An empty table that takes everything.
    pub fn new() -> Self {
        Self {
            table: Mutex::new(FakeTable {
                replies: VecDeque::new(),
                refused: BTreeSet::new(),
                rows_max: usize::MAX,
                broken: None,
                is_unfit: false,
                id: TableId(7),
                ahead: 0,
                rows: BTreeMap::new(),
                tried: Vec::new(),
                counted: 0,
            }),
            began: Instant::now(),
        }
    }

    /// The table.
    pub fn table(&self) -> MutexGuard<'_, FakeTable> {
        self.table.lock().unwrap()
    }

    /// Sets the answers to the next inserts.
    pub fn reply(&self, replies: impl IntoIterator<Item = FakeReply>) {
        self.table().replies.extend(replies);
    }

    /// The sequences of all rows; fails where a row is there twice.
    pub fn landed(&self) -> Vec<u64> {
        let table = self.table();
        let mut all: Vec<u64> = table.rows.values().flatten().copied().collect();
        all.sort_unstable();
        assert!(all.is_sorted_by(|one, next| one < next), "twice: {all:?}");
        all
    }

    /// The inserts so far.
    pub fn tried(&self) -> Vec<Tried> {
        self.table().tried.clone()
    }
}

impl FakeTable {
    fn commit(&mut self, block: &Block) {
        let sequences = block.rows().iter().map(|row| row.stream_seq).collect();
        self.rows
            .entry(block.token().as_u128())
            .or_insert(sequences);
    }

    /// The table's own answer.
    fn judge(&self, block: &Block) -> Option<u32> {
        let is_refused = |seq: u64| self.refused.contains(&seq);
        if self.broken.is_some() {
            self.broken
        } else if block.rows().len() > self.rows_max {
            Some(TOO_LARGE)
        } else if block.rows().iter().any(|row| is_refused(row.stream_seq)) {
            Some(REFUSED)
        } else {
            None
        }
    }
}

fn exception(code: u32) -> StoreError {
    StoreError::exception_for_tests(code, "in a test")
}

#[async_trait]
impl Sink for FakeSink {
    async fn insert(&self, block: &Block, fence: i64) -> Result<Receipt, StoreError> {
        // An insert takes some time, in which others go on.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let now = self.seconds(Duration::ZERO);
        let mut table = self.table();
        table.tried.push(Tried {
            claim: Nonce(block.token().as_u128()),
            rows: block.rows().len(),
            at: Instant::now(),
        });
        let late = || Err(StoreError::exception_for_tests(395, LATE));
        let is_exact = match table.replies.pop_front() {
            Some(FakeReply::Exception(code)) => return Err(exception(code)),
            Some(FakeReply::Late) => return late(),
            Some(FakeReply::Timeout { is_committed }) => {
                if is_committed {
                    table.commit(block);
                }
                return Err(StoreError::timeout_for_tests());
            }
            Some(FakeReply::Inexact) => false,
            None if now >= fence => return late(),
            None => match table.judge(block) {
                Some(code) => return Err(exception(code)),
                None => true,
            },
        };
        table.commit(block);
        Ok(Receipt::for_tests(block, is_exact))
    }

    async fn rows_of(
        &self,
        claim: Nonce,
        _stream_created_ns: i64,
        sequences: &RangeInclusive<u64>,
        _rows: usize,
    ) -> Result<BTreeSet<u64>, StoreError> {
        let mut table = self.table();
        table.counted += 1;
        let rows = table.rows.get(&claim.0).cloned().unwrap_or_default();
        Ok(rows
            .into_iter()
            .filter(|seq| sequences.contains(seq))
            .collect())
    }

    async fn having(
        &self,
        _stream_created_ns: i64,
        messages: &[(u64, i64)],
    ) -> Result<BTreeSet<u64>, StoreError> {
        let table = self.table();
        if let Some(code) = table.broken {
            return Err(exception(code));
        }
        let all: BTreeSet<u64> = table.rows.values().flatten().copied().collect();
        let asked = messages.iter().map(|(seq, _)| *seq);
        Ok(asked.filter(|seq| all.contains(seq)).collect())
    }

    async fn verify(&self) -> Result<(), SchemaError> {
        if !self.table().is_unfit {
            return Ok(());
        }
        Err(SchemaError::Mismatch {
            table: "db.t".to_owned(),
            faults: vec!["a column is missing".to_owned()],
        })
    }

    fn table(&self) -> TableId {
        Self::table(self).id
    }

    async fn read_table(&self) -> Result<TableId, StoreError> {
        Ok(Self::table(self).id)
    }

    async fn clock(&self) -> Result<i64, StoreError> {
        Ok(self.seconds(Duration::ZERO))
    }

    async fn learn_clock(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn seconds(&self, ahead: Duration) -> i64 {
        let seconds = (self.began.elapsed() + ahead).as_secs();
        i64::try_from(seconds).unwrap_or(i64::MAX) + Self::table(self).ahead
    }
}

const LATE: &str = "risksignal: the fence of this claim is over";
