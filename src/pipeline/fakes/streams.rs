//! The connection, the stream of signals and that of dead letters in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_trait::async_trait;
use bytes::Bytes;
use claims::Position;
use jetstream::Subjects;
use jetstream::dead_letter::{DeadLetter, DeadLetterStreamError, NotStored, StoredDeadLetter};
use jetstream::stored::{StoredError, StoredMessage};
use jetstream::topology::TopologyError;
use time::OffsetDateTime;

use super::{CREATED, position};
use crate::claiming::ClaimingError;
use crate::pipeline::port::connection::{Connection, NotConfirmed, Replies};
use crate::pipeline::port::dead_letters::{Candidate, DeadLetterStore};
use crate::pipeline::port::signals::{SignalStream, StreamState};

/// A connection that a test breaks.
#[derive(Debug)]
pub struct FakeConnection {
    pub is_connected: AtomicBool,
    pub connects: AtomicU64,
    /// Questions for a confirmation of what was sent.
    pub confirmed: AtomicU64,
    sent: Mutex<Vec<(Bytes, &'static [u8])>>,
}

impl FakeConnection {
    /// A connection that is up, and was made once.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            is_connected: AtomicBool::new(true),
            connects: AtomicU64::new(1),
            confirmed: AtomicU64::new(0),
            sent: Mutex::default(),
        })
    }

    /// Breaks the connection and makes another one.
    pub fn reconnect(&self) {
        self.connects.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes the sequences of the replies with a payload, in the order in which they were sent.
    pub fn take(&self, payload: &[u8]) -> Vec<u64> {
        let mut sent = self.sent.lock().unwrap();
        let (taken, left) = std::mem::take(&mut *sent)
            .into_iter()
            .partition(|(_, one)| *one == payload);
        *sent = left;
        let taken: Vec<(Bytes, &[u8])> = taken;
        let sequence = |(reply, _): &(Bytes, &[u8])| super::sequence_of(reply);
        taken.iter().map(sequence).collect()
    }
}

impl Connection for FakeConnection {
    fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Relaxed)
    }

    fn connects(&self) -> u64 {
        self.connects.load(Ordering::Relaxed)
    }
}

impl Connection for Arc<FakeConnection> {
    fn is_connected(&self) -> bool {
        (**self).is_connected()
    }

    fn connects(&self) -> u64 {
        (**self).connects()
    }
}

impl Replies for Arc<FakeConnection> {
    async fn send(&self, replies: Subjects, payload: &'static [u8], connects: Option<u64>) {
        if connects.is_none_or(|connects| connects == self.connects()) {
            let replies = replies.iter();
            let replies = replies.map(|reply| (Bytes::copy_from_slice(reply), payload));
            self.sent.lock().unwrap().extend(replies);
        }
    }

    async fn confirmed(&self) -> Result<(), NotConfirmed> {
        self.confirmed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// The stream of signals.
#[derive(Debug, Default)]
pub struct FakeSignals {
    /// Bodies by sequence.
    pub bodies: Mutex<BTreeMap<u64, Bytes>>,
    /// The last sequence, of a message that may be gone.
    pub last_seq: AtomicU64,
    /// The consumer's ack floor.
    pub ack_floor: AtomicU64,
    /// Questions for the ack floor.
    pub asked: AtomicU64,
}

impl FakeSignals {
    /// Adds a message.
    pub fn publish(&self, stream_seq: u64, body: Bytes) {
        self.bodies.lock().unwrap().insert(stream_seq, body);
        self.last_seq.fetch_max(stream_seq, Ordering::Relaxed);
    }
}

/// The message that a stream has at a sequence.
pub fn stored_message(stream_seq: u64, body: Bytes) -> StoredMessage {
    let ns = i128::from(position(stream_seq).published_ns);
    StoredMessage {
        subject: "signals.t".to_owned(),
        sequence: stream_seq,
        headers: None,
        body,
        time: OffsetDateTime::from_unix_timestamp_nanos(ns).unwrap(),
    }
}

#[async_trait]
impl SignalStream for FakeSignals {
    async fn state(&self) -> Result<StreamState, ClaimingError> {
        Ok(StreamState {
            created_ns: CREATED,
            last_seq: self.last_seq.load(Ordering::Relaxed),
        })
    }

    async fn message(&self, stream_seq: u64) -> Result<Option<StoredMessage>, StoredError> {
        let body = self.bodies.lock().unwrap().get(&stream_seq).cloned();
        Ok(body.map(|body| stored_message(stream_seq, body)))
    }

    async fn next(&self, from: u64) -> Result<Option<u64>, StoredError> {
        let bodies = self.bodies.lock().unwrap();
        Ok(bodies.range(from..).next().map(|(seq, _)| *seq))
    }

    async fn ack_floor(&self) -> Result<u64, TopologyError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Ok(self.ack_floor.load(Ordering::Relaxed))
    }

    async fn agreed(&self, _created: i64, last: u64) -> Result<Position, ClaimingError> {
        Ok(position(last))
    }
}

/// The stream of dead letters.
#[derive(Debug, Default)]
pub struct FakeDeadLetters {
    /// Subjects of the letters.
    pub stored: Mutex<Vec<String>>,
    /// It takes nothing.
    pub is_full: AtomicBool,
    /// Tries to store a letter.
    pub tries: AtomicU64,
    /// Looks at the stream.
    pub looks: AtomicU64,
    /// Sequences of messages whose letters another process has stored.
    pub of_others: Mutex<BTreeSet<u64>>,
}

#[async_trait]
impl DeadLetterStore for FakeDeadLetters {
    async fn store(&self, letter: &DeadLetter) -> Result<StoredDeadLetter, NotStored> {
        self.tries.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        if self.is_full.load(Ordering::Relaxed) {
            return Err(PublishError::new(PublishErrorKind::TimedOut).into());
        }
        let mut stored = self.stored.lock().unwrap();
        stored.push(letter.first_subject());
        Ok(StoredDeadLetter::for_tests(stored.len() as u64))
    }

    async fn ensure(&self) -> Result<(), TopologyError> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn dead_lettered(
        &self,
        _created: i64,
        messages: Vec<Candidate>,
    ) -> Result<BTreeSet<u64>, ClaimingError> {
        let of_others = self.of_others.lock().unwrap();
        let asked = messages.iter().map(|one| one.stream_seq);
        Ok(asked.filter(|seq| of_others.contains(seq)).collect())
    }

    async fn dead_lettered_since(
        &self,
        _created: i64,
        messages: &BTreeMap<u64, i64>,
        _since: Option<OffsetDateTime>,
    ) -> Result<BTreeSet<u64>, DeadLetterStreamError> {
        let of_others = self.of_others.lock().unwrap();
        Ok(messages
            .keys()
            .filter(|seq| of_others.contains(seq))
            .copied()
            .collect())
    }
}
