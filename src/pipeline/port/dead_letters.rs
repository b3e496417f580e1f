//! The stream of dead letters as the stages see it: stores a letter once, and finds letters.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use jetstream::dead_letter::{
    DeadLetter, DeadLetterStream, DeadLetterStreamError, NotStored, StoredDeadLetter,
};
use jetstream::topology::{TopologyError, ensure_dead_letter_stream};
use time::OffsetDateTime;

use crate::claiming::{ClaimingError, Servers};

/// Letters that are looked up at once.
const LOOKS: usize = 32;

/// A message that may have a letter.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its sequence.
    pub stream_seq: u64,
    /// Its publish time: milliseconds since the epoch.
    pub published_at_ms: i64,
    /// Subject that its letter has.
    pub letter_subject: String,
    /// Its body.
    pub body: Bytes,
}

/// The stream of dead letters.
#[async_trait]
pub trait DeadLetterStore: Send + Sync {
    /// Stores a letter, or finds it stored.
    ///
    /// # Errors
    /// When it is not known that the stream has the whole letter. It may be tried again.
    async fn store(&self, letter: &DeadLetter) -> Result<StoredDeadLetter, NotStored>;

    /// Creates the stream where it is absent.
    ///
    /// # Errors
    /// When it cannot be created, or differs from the settings.
    async fn ensure(&self) -> Result<(), TopologyError>;

    /// Finds the messages that have a letter: their sequences. Each letter has a subject of its
    /// own. Older releases gave several one subject; of theirs only the newest are looked through.
    ///
    /// # Errors
    /// When JetStream fails.
    async fn dead_lettered(
        &self,
        stream_created_ns: i64,
        messages: Vec<Candidate>,
    ) -> Result<BTreeSet<u64>, ClaimingError>;

    /// Finds the messages, by sequence and publish time in nanoseconds, that have a letter which is
    /// not older than `since`. They are found by the letters' headers: the message may be gone from
    /// the stream, and with other settings or another `max_payload` its letter has another subject.
    ///
    /// # Errors
    /// When JetStream fails.
    async fn dead_lettered_since(
        &self,
        stream_created_ns: i64,
        messages: &BTreeMap<u64, i64>,
        since: Option<OffsetDateTime>,
    ) -> Result<BTreeSet<u64>, DeadLetterStreamError>;
}

#[async_trait]
impl DeadLetterStore for Servers {
    async fn store(&self, letter: &DeadLetter) -> Result<StoredDeadLetter, NotStored> {
        let name = &self.settings().dead_letters.name;
        letter.store(self.jetstream(), name).await
    }

    async fn ensure(&self) -> Result<(), TopologyError> {
        ensure_dead_letter_stream(self.jetstream(), self.settings().plan())
            .await
            .map(drop)
    }

    async fn dead_lettered(
        &self,
        stream_created_ns: i64,
        messages: Vec<Candidate>,
    ) -> Result<BTreeSet<u64>, ClaimingError> {
        let newest = self.newest_dead_letters(stream_created_ns).await?;
        let look = |one: Candidate| {
            let letter = newest.get(&(one.stream_seq, one.published_at_ms)).copied();
            async move {
                let is_stored = match letter {
                    Some(letter) => self.has_dead_letter_at(letter, &one.body).await?,
                    None => false,
                };
                let is_stored = is_stored
                    || self
                        .has_dead_letter_on(&one.letter_subject, &one.body)
                        .await?;
                Ok::<_, ClaimingError>(is_stored.then_some(one.stream_seq))
            }
        };
        let looks: Vec<_> = messages.into_iter().map(look).collect();
        let found: Vec<_> = stream::iter(looks)
            .buffer_unordered(LOOKS)
            .try_collect()
            .await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn dead_lettered_since(
        &self,
        stream_created_ns: i64,
        messages: &BTreeMap<u64, i64>,
        since: Option<OffsetDateTime>,
    ) -> Result<BTreeSet<u64>, DeadLetterStreamError> {
        let stream = &self.settings().stream.name;
        match DeadLetterStream::open(self.jetstream(), self.settings().plan()).await {
            Ok(letters) => {
                letters
                    .stored_sequences(stream, stream_created_ns, messages, since)
                    .await
            }
            Err(DeadLetterStreamError::NoStream(_)) => Ok(BTreeSet::new()),
            Err(error) => Err(error),
        }
    }
}
