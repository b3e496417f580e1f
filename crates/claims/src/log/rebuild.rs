//! Rebuild of a log that lost records.

use std::collections::{BTreeMap, VecDeque};

use super::{Log, LogReadError, StreamSequences};
use crate::id::{LogPosition, Nonce, Position, PublisherId};
use crate::record::{Record, RecordBody, Snapshot};

/// Knowledge of a process about a log that lost records, with the remaining records.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rebuild {
    known: Log,
    remaining: Log,
    /// True if a record is missing before the last one: up to the next snapshot, done messages are
    /// unknown.
    is_torn: bool,
}

/// Proof that no attempt of any claim, known or lost, can land any more, if its fence is not above
/// the last one judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllFencesOver {
    last: i64,
}

impl AllFencesOver {
    /// Judges by the last fence of all claims that may be under way: see
    /// [`crate::FenceOver::judge`].
    pub fn judge(last: i64, now: i64, late: i64) -> Option<Self> {
        (now > last.saturating_add(late)).then_some(Self { last })
    }

    /// Returns the last fence that is over.
    pub(crate) fn last(self) -> i64 {
        self.last
    }
}

impl Rebuild {
    /// Begins with the state that the process had read.
    pub fn new(known: Log) -> Self {
        Self {
            known,
            remaining: Log::new(),
            is_torn: false,
        }
    }

    /// Reads a remaining record of the log, from the first one on.
    ///
    /// # Errors
    /// Returns [`LogReadError::Renewed`] if another process has rebuilt the log.
    pub fn read(&mut self, seq: u64, record: &Record) -> Result<(), LogReadError> {
        if let RecordBody::Snapshot(snapshot) = &record.body {
            let generation = snapshot.generation.unwrap_or(record.id);
            let is_known = self.known.tip() != LogPosition::START;
            if is_known && generation != self.known.generation() {
                return Err(LogReadError::Renewed { seq });
            }
        }
        self.is_torn &= !matches!(record.body, RecordBody::Snapshot(_));
        if !self.is_torn {
            match self.remaining.read(seq, record) {
                // The record is void; the records after it are not.
                Err(LogReadError::Lost { .. } | LogReadError::Announced { .. }) => {}
                // A claim may contain messages that a missing one owned. And without its snapshot,
                // the log proves nothing at all.
                Err(LogReadError::Gap { .. }) => self.is_torn = true,
                result => return result,
            }
        }
        if self.remaining.tip().seq < seq {
            let id = record.id;
            self.remaining.advance(LogPosition { seq, id });
        }
        Ok(())
    }

    /// Judges whether the fences of all claims are over. Unknown claims were published before
    /// `since`, when the loss was announced; `longest` is the longest fence. All in ClickHouse's
    /// seconds: see [`super::super::FenceOver::judge`].
    pub fn fences_over(
        &self,
        since: i64,
        longest: i64,
        now: i64,
        late: i64,
    ) -> Option<AllFencesOver> {
        let known = self.known.last_fence().max(self.remaining.last_fence());
        AllFencesOver::judge(known.max(since.saturating_add(longest)), now, late)
    }

    /// Creates the snapshot with which the log begins again. `last` are the last messages of each
    /// stream in the table and the dead letters, looked up since the fences are over. Sequences
    /// that the remaining log has as done stay done, and no claim stays open. All others up to
    /// `last` and to the last claimed one are in doubt: they are looked up before they are claimed.
    /// The record is published on the condition that the log's last record is the last one that was
    /// read.
    pub fn record(
        &self,
        id: Nonce,
        publisher: PublisherId,
        _over: AllFencesOver,
        last: impl IntoIterator<Item = Position>,
    ) -> Record {
        let mut all = self.remaining.streams.clone();
        for (created, stream) in &self.known.streams {
            let mine = all.entry(*created).or_insert_with(|| stream.clone());
            mine.merge(stream);
        }
        for stream in all.values_mut() {
            stream.merge(&stream.clone());
            stream.rewound = 0;
        }
        for Position {
            stream_created_ns,
            stream_seq,
            published_ns,
        } in last
        {
            let stream = all.entry(stream_created_ns);
            let stream = stream.or_insert_with(|| StreamSequences::new(0));
            stream.doubt = stream.doubt.max(stream_seq);
            stream.witnesses.insert((stream_seq, published_ns));
        }
        let covers = self.remaining.tip();
        Record {
            id,
            publisher,
            generation: id,
            tip: covers,
            done: Vec::new(),
            body: RecordBody::Snapshot(Box::new(Snapshot {
                covers,
                generation: None,
                barrier: 0,
                streams: all,
                claims: BTreeMap::new(),
                tokens: BTreeMap::new(),
                forgotten: self.known.forgotten.max(self.remaining.forgotten),
                recent: VecDeque::new(),
            })),
        }
    }
}
