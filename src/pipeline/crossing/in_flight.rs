//! Messages that this instance holds: their bound, and every lease.

mod held;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jetstream::Subjects;
use tokio::sync::{Notify, OwnedMutexGuard};
use tokio::time::Instant;

use crate::pipeline::crossing::ack_subject::AckSubject;
use crate::pipeline::crossing::reply::SettledReplies;
use crate::pipeline::crossing::source::SignalSource;

use held::{ACK_SUBJECT_BYTES, Held, HeldChunk, HeldPlace};

/// Every message between its pull and its ack, within a fixed number of messages and bytes. It
/// lives as long as the process, so that a lease refers to it without counting.
#[derive(Debug)]
pub struct InFlight {
    inner: Mutex<Inner>,
    room: Notify,
    /// Messages were given back.
    given_back: Notify,
}

#[derive(Debug)]
struct Inner {
    held: Held,
    /// Replies to messages that are to be delivered again at once.
    given_back: Subjects,
}

impl InFlight {
    /// Room for so many messages and bytes, until the process ends.
    pub fn new(max_messages: usize, max_bytes: usize) -> &'static Self {
        Box::leak(Box::new(Self {
            inner: Mutex::new(Inner {
                held: Held::new(max_messages, max_bytes),
                given_back: Subjects::default(),
            }),
            room: Notify::new(),
            given_back: Notify::new(),
        }))
    }

    /// Waits until a whole pull has room, and takes that room.
    pub async fn reserve(&'static self, messages: usize, bytes: usize) -> Reservation {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // Before the look, so that what is freed after it is not missed.
            room.as_mut().enable();
            if self.lock().held.take(messages, bytes) {
                return Reservation {
                    in_flight: self,
                    messages,
                    bytes,
                };
            }
            room.await;
        }
    }

    /// Messages held now.
    pub fn messages(&self) -> usize {
        self.lock().held.messages()
    }

    /// Bytes of the messages held now.
    pub fn bytes(&self) -> usize {
        self.lock().held.bytes()
    }

    /// Gives back the room of leases, and returns where their acks go, in runs of one source. Only
    /// the ack stage calls this.
    pub fn settle(&self, leases: Vec<Lease>) -> Vec<SettledReplies> {
        let mut all = Vec::<SettledReplies>::new();
        // As a rule all are of one source.
        let mut first = Subjects::with_capacity(leases.len(), ACK_SUBJECT_BYTES);
        let mut add = |source, subject: &[u8]| match all.last_mut() {
            Some(last) if last.source == source => last.subjects.push(subject),
            _ => {
                let mut subjects = std::mem::take(&mut first);
                subjects.push(subject);
                all.push(SettledReplies { source, subjects });
            }
        };
        let mut inner = self.lock();
        for mut lease in leases {
            if let Some(ack) = lease.exhausted.take().and_then(|message| message.ack) {
                add(None, ack.as_bytes());
            }
            if let Some((_, at)) = lease.held.take() {
                inner.held.release(at, &mut add);
            }
        }
        drop(inner);
        self.room.notify_waiters();
        all
    }

    /// The sequences within a range of a stream whose messages are held.
    pub fn held_within(
        &self,
        stream_created_ns: i64,
        range: &RangeInclusive<u64>,
    ) -> BTreeSet<u64> {
        let inner = self.lock();
        let is_of = |source: SignalSource| source.stream_created_ns == stream_created_ns;
        let chunks = inner.held.chunks();
        let of_stream = chunks.filter(|chunk| chunk.source.is_some_and(is_of));
        let replies = of_stream.flat_map(HeldChunk::replies);
        replies
            .filter_map(AckSubject::parse)
            .map(|ack| ack.stream_seq)
            .filter(|seq| range.contains(seq))
            .collect()
    }

    /// Replies of all that is held for so long without a sign. From now on they have had one.
    pub fn due(&self, age: Duration) -> Subjects {
        self.lock().held.due(Instant::now(), age)
    }

    /// Returns true when no lease [is stale](Lease::is_stale); all are of one instance.
    pub fn are_current<'a>(
        leases: impl Iterator<Item = &'a Lease>,
        current: Option<SignalSource>,
    ) -> bool {
        let mut places = leases.filter_map(|lease| lease.held).peekable();
        let Some(&(in_flight, _)) = places.peek() else {
            return true;
        };
        let inner = in_flight.lock();
        places.all(|(_, at)| !is_stale(inner.held.source(at), current))
    }

    /// Waits for messages that are given back, and takes their replies.
    pub async fn given_back(&self) -> Subjects {
        loop {
            let given_back = std::mem::take(&mut self.lock().given_back);
            if !given_back.is_empty() {
                return given_back;
            }
            self.given_back.notified().await;
        }
    }

    /// Takes the replies of all messages that are given back or still held, before the process
    /// ends.
    pub fn give_back_all(&self) -> Subjects {
        let mut inner = self.lock();
        let mut replies = std::mem::take(&mut inner.given_back);
        let of_signals = inner.held.chunks().filter(|chunk| chunk.source.is_some());
        replies.extend(of_signals.flat_map(HeldChunk::replies));
        replies
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code panics while it holds the lock; the state is whole in any case.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_stale(source: Option<SignalSource>, current: Option<SignalSource>) -> bool {
    source.is_some() && source != current
}

/// Reservation for one pull; what the pull does not use returns when this is dropped.
#[derive(Debug)]
#[must_use = "dropping it gives the room back"]
pub struct Reservation {
    in_flight: &'static InFlight,
    messages: usize,
    bytes: usize,
}

impl Reservation {
    /// Messages still to come.
    pub fn messages(&self) -> usize {
        self.messages
    }

    /// Holds messages that arrived together, about `count` of them. Until the result is dropped,
    /// no other lease begins or ends.
    pub fn holding(&mut self, source: Option<SignalSource>, count: usize) -> Holding<'_> {
        Holding {
            inner: self.in_flight.lock(),
            chunk: Some(HeldChunk::now(source, count)),
            reservation: self,
        }
    }

    /// Moves the share of one advisory from the room to a lease.
    pub fn advisory(&mut self, subject: &[u8], bytes: usize) -> Lease {
        self.holding(None, 1).lease(subject, bytes)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut inner = self.in_flight.lock();
        inner.held.give(self.messages, self.bytes);
        drop(inner);
        self.in_flight.room.notify_waiters();
    }
}

/// Messages that are taken into leases.
#[derive(Debug)]
pub struct Holding<'a> {
    inner: MutexGuard<'static, Inner>,
    /// `None` once it is dropped.
    chunk: Option<HeldChunk>,
    reservation: &'a mut Reservation,
}

impl Holding<'_> {
    /// Moves the share of a message from the room to a lease: where its ack goes, and its bytes.
    pub fn lease(&mut self, subject: &[u8], bytes: usize) -> Lease {
        let room = &mut *self.reservation;
        // The server holds a pull to its bounds, so that this never cuts anything off.
        let bytes = bytes.min(room.bytes);
        let chunk = self.chunk.as_mut();
        let at = chunk.map(|chunk| self.inner.held.add(chunk, subject, bytes));
        room.messages = room.messages.saturating_sub(1);
        room.bytes -= bytes;
        Lease {
            held: at.map(|at| (room.in_flight, at)),
            exhausted: None,
        }
    }
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        if let Some(chunk) = self.chunk.take() {
            self.inner.held.hold(chunk);
        }
    }
}

/// The duty to settle one delivered message. Dropped without an ack, it gives its room and the
/// message back, which JetStream then delivers again at once.
#[derive(Debug)]
#[must_use = "dropping a lease means that the message is delivered again"]
pub struct Lease {
    /// `None` once it has given its room back, and for a message that was not delivered.
    held: Option<(&'static InFlight, HeldPlace)>,
    /// The message that an advisory is about, where this is the lease on an advisory.
    exhausted: Option<Box<ExhaustedMessage>>,
}

/// A message that was delivered too often, settled with the lease on its advisory.
#[derive(Debug)]
struct ExhaustedMessage {
    /// Address of the ack, if the message needs one.
    ack: Option<String>,
    /// Until this is dropped, no other such message is tried.
    turn: Option<OwnedMutexGuard<()>>,
}

impl Lease {
    /// None: of a message that was read and not delivered.
    pub fn none() -> Self {
        Self {
            held: None,
            exhausted: None,
        }
    }

    /// Gives its room back and goes on holding the message: of the few that wait for others.
    pub fn spare(&self) {
        if let Some((in_flight, at)) = self.held {
            in_flight.lock().held.spare(at);
            in_flight.room.notify_waiters();
        }
    }

    /// Keeps nothing of those that arrived with it, since it is held for longer.
    pub fn detach(&mut self) {
        if let Some((in_flight, at)) = &mut self.held {
            *at = in_flight.lock().held.detach(*at);
        }
    }

    /// Returns true for the lease on an advisory, which has no source.
    pub fn is_of_advisory(&self) -> bool {
        self.held.is_some() && self.source().is_none()
    }

    /// Reports whether its message may have come from another source than the one that is there:
    /// another message may have its sequence there. Advisories and messages that were read have
    /// none.
    pub fn is_stale(&self, current: Option<SignalSource>) -> bool {
        is_stale(self.source(), current)
    }

    fn source(&self) -> Option<SignalSource> {
        let (in_flight, at) = self.held?;
        in_flight.lock().held.source(at)
    }

    /// Has this lease on an advisory stand for the message too: that is acked with it, at
    /// `ack`, and its turn lasts as long as the lease.
    pub fn with_exhausted(mut self, ack: Option<String>, turn: OwnedMutexGuard<()>) -> Self {
        self.exhausted = Some(Box::new(ExhaustedMessage {
            ack,
            turn: Some(turn),
        }));
        self
    }

    /// Lets the next message that was delivered too often be tried, while this one waits.
    pub fn end_turn(&mut self) {
        if let Some(exhausted) = &mut self.exhausted {
            exhausted.turn = None;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // `None` once it is settled.
        let Some((in_flight, at)) = self.held.take() else {
            return;
        };
        let mut inner = in_flight.lock();
        let Inner { held, given_back } = &mut *inner;
        held.release(at, &mut |source, reply| {
            if source.is_some() {
                given_back.push(reply);
            }
        });
        drop(inner);
        in_flight.given_back.notify_one();
        in_flight.room.notify_waiters();
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
