//! Checks of the log and the stream after a connection was made.

use std::ops::RangeInclusive;

use super::Instance;
use crate::id::{Nonce, Position};
use crate::log::{AllFencesOver, LogError, Standing, Stored};
use crate::record::{Body, Entry, Record};

impl Instance {
    /// Takes note that the connection to the log broke: nothing is published, sent or stored
    /// before [`Self::join`].
    pub fn disconnected(&mut self) {
        self.is_joined = false;
        self.connected = Some(Nonce(0));
    }

    /// Says that the connection was made. The checks follow once the record was read. It takes along
    /// nothing that is done: where it is lost with the connection, another one takes its place.
    pub fn connect(&mut self, id: Nonce) -> Record {
        self.connected = Some(id);
        let done = std::mem::take(&mut self.done);
        let record = self.record(id, Body::Connected, None);
        self.done = done;
        record
    }

    /// Checks, after a connection was made, that the log goes on behind what was read and has
    /// what it has answered. `last` is its last sequence, `at_tip` its record at the tip;
    /// `None` when that was purged.
    ///
    /// # Errors
    /// When the log lost records.
    pub fn resume(&self, last: u64, at_tip: Option<Nonce>) -> Result<(), LogError> {
        self.log.resume(last, at_tip)?;
        let mut answered = self.unread.iter().filter_map(|unread| unread.seq);
        match answered.find(|seq| *seq > last) {
            Some(seq) => Err(LogError::Lost { seq }),
            None => Ok(()),
        }
    }

    /// Checks what the table or the dead letters have, as far as the log was read.
    ///
    /// # Errors
    /// When something is stored that no record names: the log lost records.
    pub fn explain(&self, stored: impl IntoIterator<Item = Stored>) -> Result<(), LogError> {
        match stored.into_iter().find(|one| !self.log.explains(one)) {
            None => Ok(()),
            Some(other) => {
                let stream_seq = other.position.stream_seq;
                Err(LogError::Unexplained { stream_seq })
            }
        }
    }

    /// Checks the log after [`Self::resume`], once every process had the time for that.
    /// `stored` is what the table and the dead letters have at [`crate::Log::to_explain`]; `last`
    /// is the log's last sequence, asked after them. Returns whether the log was read so far,
    /// and what says that the connection was made.
    ///
    /// # Errors
    /// As [`Self::explain`].
    pub fn join(
        &mut self,
        stored: impl IntoIterator<Item = Stored>,
        last: u64,
    ) -> Result<bool, LogError> {
        if self.connected.is_some() || self.log.tip().seq < last {
            return Ok(false);
        }
        self.explain(stored)?;
        self.is_joined = true;
        Ok(true)
    }

    /// Reports whether the log was checked since the connection was made.
    pub fn is_joined(&self) -> bool {
        self.is_joined
    }

    /// What becomes of a message; [`Standing::Other`] also while that cannot be said.
    pub fn standing(&self, position: Position) -> Standing {
        let went_back = self.went_back.contains_key(&position.stream_created_ns);
        if went_back || !self.is_joined {
            return Standing::Other;
        }
        self.log.standing(position)
    }

    /// Takes note, before [`Self::join`], that a stream went back: one of its
    /// [`crate::Log::witnesses`] is not in it as it was. Nothing of it is
    /// claimed or acked before a record rewinds it.
    pub fn stream_went_back(&mut self, stream_created_ns: i64) {
        let rewound = self.log.rewound(stream_created_ns);
        self.went_back.insert(stream_created_ns, rewound);
    }

    /// Counts done messages as in doubt, since the table may have lost their rows, and those of
    /// claims that are still open although their fences are over: they are looked up, and claimed
    /// where they are stored nowhere. `over` was judged by the last fence of all claims from before
    /// the table was restored, in `range` or not. `None` before the log was checked.
    pub fn reopen(
        &mut self,
        id: Nonce,
        over: AllFencesOver,
        stream_created_ns: i64,
        range: RangeInclusive<u64>,
    ) -> Option<Record> {
        let (first, last) = range.into_inner();
        let body = Body::Reopened {
            stream_created_ns,
            first,
            last,
            over: over.last(),
        };
        self.is_joined.then(|| self.record(id, body, None))
    }

    /// Reports whether a stream went back and was not rewound yet.
    pub fn has_gone_back(&self, stream_created_ns: i64) -> bool {
        self.went_back.contains_key(&stream_created_ns)
    }

    /// Rewinds a stream that went back. `to` is the last message below all that are stored
    /// with another publish time than the stream has now; an earlier one, or sequence 0 for
    /// none, costs look-ups and is as safe. `None` while a claim above it is open: it is completed, or settled,
    /// first.
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
        Some(self.record(id, Body::Rewound(to), None))
    }
}
