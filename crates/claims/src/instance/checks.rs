//! Checks of the log and the stream after a connect.

use std::ops::RangeInclusive;

use super::Instance;
use crate::entry::Entry;
use crate::id::{Nonce, Position};
use crate::log::{AllFencesOver, LogReadError, Standing, StoredEntry};
use crate::record::{Record, RecordBody};

impl Instance {
    /// Notes that the connection to the log broke. Nothing is published, sent or stored before
    /// [`Self::join`].
    pub fn note_disconnect(&mut self) {
        self.is_joined = false;
        self.connected = Some(Nonce(0));
    }

    /// Creates the record of a new connection. The checks follow once the record was read. It
    /// carries no done claims, since it may be lost with the connection and replaced.
    pub fn connect(&mut self, id: Nonce) -> Record {
        self.connected = Some(id);
        let done = std::mem::take(&mut self.done);
        let record = self.record(id, RecordBody::Connected, None);
        self.done = done;
        record
    }

    /// Checks, after a connect, that the log continues after the tip and has its own answers.
    /// `last` is its last sequence, `at_tip` its record at the tip; `None` if that was purged.
    ///
    /// # Errors
    /// Fails when the log lost records.
    pub fn resume(&self, last: u64, at_tip: Option<Nonce>) -> Result<(), LogReadError> {
        self.log.resume(last, at_tip)?;
        let mut answered = self.unread.iter().filter_map(|unread| unread.seq);
        match answered.find(|seq| *seq > last) {
            Some(seq) => Err(LogReadError::Lost { seq }),
            None => Ok(()),
        }
    }

    /// Checks the entries of the table or the dead letters, as far as the log was read.
    ///
    /// # Errors
    /// Fails when an entry is stored that no record names, which means that the log lost records.
    pub fn explain(
        &self,
        stored: impl IntoIterator<Item = StoredEntry>,
    ) -> Result<(), LogReadError> {
        match stored.into_iter().find(|one| !self.log.explains(one)) {
            None => Ok(()),
            Some(other) => {
                let stream_seq = other.position.stream_seq;
                Err(LogReadError::Unexplained { stream_seq })
            }
        }
    }

    /// Checks the log after [`Self::resume`], once every process had the time to do the same.
    /// `stored` are the entries of the table and the dead letters at [`crate::Log::to_explain`];
    /// `last` is the log's last sequence, read after them. Returns whether this process has read
    /// the log up to there, including its record of the connection.
    ///
    /// # Errors
    /// Fails as [`Self::explain`] does.
    pub fn join(
        &mut self,
        stored: impl IntoIterator<Item = StoredEntry>,
        last: u64,
    ) -> Result<bool, LogReadError> {
        if self.connected.is_some() || self.log.tip().seq < last {
            return Ok(false);
        }
        self.explain(stored)?;
        self.is_joined = true;
        Ok(true)
    }

    /// Reports whether the log was checked since the last connect.
    pub fn is_joined(&self) -> bool {
        self.is_joined
    }

    /// Returns the standing of a message; [`Standing::Other`] also while it is unknown.
    pub fn standing(&self, position: Position) -> Standing {
        let went_back = self.went_back.contains_key(&position.stream_created_ns);
        if went_back || !self.is_joined {
            return Standing::Other;
        }
        self.log.standing(position)
    }

    /// Notes, before [`Self::join`], that a stream went back: it lacks one of its
    /// [`crate::Log::witnesses`], or has it with another publish time. No message of the stream is
    /// claimed or acked until a record rewinds it.
    pub fn note_stream_went_back(&mut self, stream_created_ns: i64) {
        let rewound = self.log.rewound(stream_created_ns);
        self.went_back.insert(stream_created_ns, rewound);
    }

    /// Counts done messages as in doubt, since the table may have lost their rows, and also those
    /// of claims that are open although their fences are over. Messages in doubt are looked up, and
    /// claimed if they are not stored. `over` covers the last fence of all claims from before the
    /// table was restored, in `range` or not. Returns `None` before the check of the log.
    pub fn reopen(
        &mut self,
        id: Nonce,
        over: AllFencesOver,
        stream_created_ns: i64,
        range: RangeInclusive<u64>,
    ) -> Option<Record> {
        let (first, last) = range.into_inner();
        let body = RecordBody::Reopened {
            stream_created_ns,
            first,
            last,
            over: over.last(),
        };
        self.is_joined.then(|| self.record(id, body, None))
    }

    /// Reports whether a stream went back and was not yet rewound.
    pub fn has_gone_back(&self, stream_created_ns: i64) -> bool {
        self.went_back.contains_key(&stream_created_ns)
    }

    /// Rewinds a stream that went back. `to` is the last message below all those stored with
    /// another publish time than the stream has now. An earlier one, or sequence 0 for none, is as
    /// safe and costs look-ups. Returns `None` while a claim above it is open, which must be
    /// completed or settled first.
    pub fn rewind(&mut self, id: Nonce, to: Position) -> Option<Record> {
        let stream = to.stream_created_ns;
        let is_above = |entry: &Entry| entry.stream_seq > to.stream_seq;
        let is_open = self.log.claims().any(|(_, claim)| {
            let block = &claim.block;
            block.stream_created_ns == stream && block.entries.iter().any(is_above)
        });
        let is_due = self.is_joined && self.went_back.contains_key(&stream) && !is_open;
        if !is_due {
            return None;
        }
        Some(self.record(id, RecordBody::Rewound(to), None))
    }
}
