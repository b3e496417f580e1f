//! The messages of another process's claim, read from the stream within the memory bound.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use claims::{Claim, Entry, Fate};
use futures_util::{StreamExt, TryStreamExt, stream};
use jetstream::dead_letter::DeadLetterStreamError;
use jetstream::stored::{StoredError, StoredMessage};
use time::OffsetDateTime;
use tokio::time::timeout;
use tracing::warn;

use crate::pipeline::crossing::in_flight::{InFlight, Reservation};
use crate::pipeline::port::signals::SignalStream;
use clock::unix_nanos;

use super::{Takeover, Unread};

/// Messages that are read at once.
const READS: usize = 8;
/// Bytes of messages that are reserved together.
const CHUNK_BYTES: usize = 256 * 1024;
/// A claim waits so long for room. Then it is read all the same: what holds the room may itself
/// wait for an insert to succeed, and this may be the only one. So the messages of
/// [`super::AT_ONCE`] claims may come on top of `consumer.max_in_flight_bytes`.
const ROOM_WAIT: Duration = Duration::from_secs(10);

/// Seconds from a claim to its fence, at most an hour, with as much for the clocks' difference. No
/// letter of the claim is older.
const CLAIMED_BEFORE: i64 = 2 * 3600;

/// The messages of a claim, as far as they are there.
pub struct ClaimMessages {
    pub found: BTreeMap<u64, StoredMessage>,
    /// Neither in the stream nor stored as dead letters.
    pub gone: BTreeSet<u64>,
    /// Stored as dead letters, and not among those found.
    pub stored: BTreeSet<u64>,
    /// The share of the memory bound that they take.
    pub room: Arc<Vec<Reservation>>,
}

/// Takes room for messages as they are read: at most the whole bound for one claim.
struct Reserving {
    in_flight: &'static InFlight,
    rooms: Vec<Reservation>,
    /// Bytes that were read and have no room yet.
    bytes: usize,
    /// Bytes left of the bound.
    left: usize,
}

impl Takeover {
    /// Reads messages of a claim.
    pub async fn read(&self, claim: &Claim, entries: Vec<Entry>) -> Result<ClaimMessages, Unread> {
        let _reading = self.reading.lock().await;
        let letters = entries.iter().filter(|entry| entry.fate != Fate::Row);
        let letters = letters.map(|entry| (entry.stream_seq, entry.published_ns));
        let stored = self.stored(claim, letters.collect()).await?;
        let read = |entry| read(&*self.signals, entry);
        let mut reads = stream::iter(entries.into_iter().map(read)).buffered(READS);
        let mut reserving = Reserving {
            in_flight: self.in_flight,
            rooms: Vec::new(),
            bytes: 0,
            left: self.settings.consumer.max_in_flight_bytes,
        };
        let (mut found, mut gone) = (BTreeMap::new(), BTreeSet::new());
        while let Some((entry, message)) = reads.try_next().await? {
            match message {
                _ if stored.contains(&entry.stream_seq) => {}
                Some(message) => {
                    reserving.read(&message).await;
                    found.insert(entry.stream_seq, message);
                }
                None => {
                    gone.insert(entry.stream_seq);
                }
            }
        }
        reserving.reserve().await;
        Ok(ClaimMessages {
            found,
            gone,
            stored,
            room: Arc::new(reserving.rooms),
        })
    }

    /// Finds the messages, by sequence and publish time, whose dead letters are stored. Only a
    /// claim makes a message a dead letter, so no other message has one.
    async fn stored(
        &self,
        claim: &Claim,
        wanted: BTreeMap<u64, i64>,
    ) -> Result<BTreeSet<u64>, DeadLetterStreamError> {
        if wanted.is_empty() {
            return Ok(BTreeSet::new());
        }
        let since = claim.block.fence.saturating_sub(CLAIMED_BEFORE);
        let since = OffsetDateTime::from_unix_timestamp(since).ok();
        let created = claim.block.stream_created_ns;
        let dead_letters = &self.insert.dead_letters;
        dead_letters
            .dead_lettered_since(created, &wanted, since)
            .await
    }
}

impl Reserving {
    async fn read(&mut self, message: &StoredMessage) {
        let headers = message.headers.as_ref().map_or(0, |one| one.bytes().len());
        self.bytes += message.subject.len() + headers + message.body.len();
        if self.bytes >= CHUNK_BYTES {
            self.reserve().await;
        }
    }

    async fn reserve(&mut self) {
        let bytes = std::mem::take(&mut self.bytes).min(self.left);
        if bytes == 0 {
            return;
        }
        match timeout(ROOM_WAIT, self.in_flight.reserve(0, bytes)).await {
            Ok(room) => {
                self.left -= bytes;
                self.rooms.push(room);
            }
            Err(_) => {
                warn!(
                    bytes,
                    "consumer.max_in_flight_bytes has no room for a claim that another process has left open; it is completed all the same"
                );
                self.left = 0;
            }
        }
    }
}

/// Reads the message of an entry; `None` when it is gone, or another one has its sequence.
async fn read(
    signals: &dyn SignalStream,
    entry: Entry,
) -> Result<(Entry, Option<StoredMessage>), StoredError> {
    let found = signals.message(entry.stream_seq).await?;
    let is_same = |found: &StoredMessage| unix_nanos(found.time) == entry.published_ns;
    Ok((entry, found.filter(is_same)))
}
