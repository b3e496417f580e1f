//! Rebuilds a log that lost records.

use std::collections::{BTreeMap, VecDeque};

use super::{Log, LogError, Stream};
use crate::id::{Nonce, Place, Position, Publisher};
use crate::record::{Body, Record, Snapshot};

/// What a process knows of a log that lost records, and what the log still has.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rebuild {
    known: Log,
    remaining: Log,
}

/// Proof that no try of any claim, known or lost, can land any more: of any whose fence is not above
/// the last one that was judged.
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

    /// The last fence of a claim that is over.
    pub(crate) fn last(self) -> i64 {
        self.last
    }
}

impl Rebuild {
    /// Begins with what the process had read.
    pub fn new(known: Log) -> Self {
        Self {
            known,
            remaining: Log::new(),
        }
    }

    /// Reads a record that the log still has, from its first one on.
    ///
    /// # Errors
    /// [`LogError::Renewed`] when another process has rebuilt the log.
    pub fn read(&mut self, seq: u64, record: &Record) -> Result<(), LogError> {
        if let Body::Snapshot(snapshot) = &record.body {
            let generation = snapshot.generation.unwrap_or(record.id);
            let is_known = self.known.tip() != Place::START;
            if is_known && generation != self.known.generation() {
                return Err(LogError::Renewed { seq });
            }
        }
        let is_first = self.remaining.tip() == Place::START;
        let result = self.remaining.read(seq, record);
        match result {
            // The record is void, and what follows is not.
            Err(LogError::Lost { .. } | LogError::Announced { .. }) => {}
            // Its snapshot was purged: no record counts.
            Err(LogError::Gap { .. }) if is_first => {}
            result => return result,
        }
        if self.remaining.tip().seq < seq {
            let id = record.id;
            self.remaining.advance(Place { seq, id });
        }
        Ok(())
    }

    /// Judges whether the fences of all claims are over. Those that nobody remembers were
    /// published before `since`, when the loss was announced; `longest` is the longest fence.
    /// All in ClickHouse's seconds: see [`super::super::FenceOver::judge`].
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

    /// Makes the snapshot with which the log begins anew. `last` are the last messages that the
    /// table and the dead letters have of each stream, asked since the fences are over. Done is
    /// what the log still has as done; no claim stays open, and everything else up to `last` and to
    /// what was claimed is in doubt: it is looked up before it is claimed. The record is published on
    /// condition that the log's last record is the last one that was read.
    pub fn record(
        &self,
        id: Nonce,
        publisher: Publisher,
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
            let stream = stream.or_insert_with(|| Stream::new(0));
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
            body: Body::Snapshot(Box::new(Snapshot {
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
