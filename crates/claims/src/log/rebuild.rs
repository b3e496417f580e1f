//! Rebuilds a log that lost records.

use std::collections::BTreeMap;

use super::{Log, LogError, Stored};
use crate::id::{Nonce, Place, Position, Publisher};
use crate::record::{Body, Record, Snapshot};

/// What a process knows of a log that lost records, and what the log still has.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rebuild {
    known: Log,
    remaining: Log,
}

/// Proof that no try of any claim, known or lost, can land any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllFencesOver(());

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
        match self.remaining.read(seq, record) {
            // The record is void, and what follows is not.
            Err(LogError::Lost { .. } | LogError::Announced { .. }) => {
                let id = record.id;
                self.remaining.advance(Place { seq, id });
                Ok(())
            }
            result => result,
        }
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
        let logs = [&self.known, &self.remaining].into_iter();
        let fences = logs.flat_map(|log| log.claims.values().map(|claim| claim.block.fence));
        let last = fences.fold(since.saturating_add(longest), i64::max);
        (now > last.saturating_add(late)).then_some(AllFencesOver(()))
    }

    /// The floor of each stream. The table and the dead letters are asked for what they have
    /// above it.
    pub fn floors(&self) -> BTreeMap<i64, u64> {
        let streams = self.known.streams.iter().chain(&self.remaining.streams);
        let mut floors = BTreeMap::new();
        for (created, stream) in streams {
            let floor = floors.entry(*created).or_insert(0);
            *floor = stream.floor.max(*floor);
        }
        floors
    }

    /// Makes the snapshot with which the log begins anew. Done is what was done, and what the
    /// table and the dead letters have (`stored`, asked since the fences are over); no claim
    /// stays open, and everything else is free. It is published on condition that the log's
    /// last record is the last one that was read.
    pub fn record(
        &self,
        id: Nonce,
        publisher: Publisher,
        _over: AllFencesOver,
        stored: impl IntoIterator<Item = Stored>,
    ) -> Record {
        let mut all = Log::new();
        for log in [&self.known, &self.remaining] {
            for (created, stream) in &log.streams {
                all.stream(*created).merge(stream);
            }
        }
        let mut last = BTreeMap::new();
        for Stored { position, .. } in stored {
            let stream = all.stream(position.stream_created_ns);
            stream.finish(std::iter::once(position.stream_seq));
            last.entry(position.stream_created_ns)
                .and_modify(|last: &mut Position| *last = position.max(*last))
                .or_insert(position);
        }
        for position in last.into_values() {
            let stream = all.stream(position.stream_created_ns);
            let witness = (position.stream_seq, position.published_ns);
            stream.witnesses.insert(witness);
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
                streams: all.streams,
                claims: BTreeMap::new(),
                tokens: BTreeMap::new(),
                forgotten: self.known.forgotten.max(self.remaining.forgotten),
            })),
        }
    }
}
