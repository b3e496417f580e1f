//! Messages that this instance holds: their bound, and every lease.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use slab::Slab;
use tokio::sync::{Notify, OwnedMutexGuard};
use tokio::time::Instant;

use crate::pipeline::crossing::ack_subject::AckSubject;
use crate::pipeline::crossing::reply::Reply;
use crate::pipeline::crossing::source::SignalSource;

/// Every message between its pull and its ack, within a fixed number of messages and bytes.
#[derive(Debug)]
pub struct InFlight {
    inner: Mutex<Inner>,
    room: Notify,
    /// Messages were given back.
    given_back: Notify,
}

#[derive(Debug)]
struct Inner {
    held: Slab<Held>,
    /// Replies to messages that are to be delivered again at once.
    given_back: Vec<Bytes>,
    free_messages: usize,
    free_bytes: usize,
    held_bytes: usize,
    /// The bound, which the free room never exceeds.
    max: (usize, usize),
}

#[derive(Debug)]
struct Held {
    reply: Reply,
    /// Time at which the server got the last sign that it is held.
    renewed_at: Instant,
    bytes: usize,
    /// Its room was given back, although it is held.
    is_spared: bool,
}

impl InFlight {
    /// Room for so many messages and bytes.
    pub fn new(max_messages: usize, max_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                held: Slab::new(),
                given_back: Vec::new(),
                free_messages: max_messages,
                free_bytes: max_bytes,
                held_bytes: 0,
                max: (max_messages, max_bytes),
            }),
            room: Notify::new(),
            given_back: Notify::new(),
        })
    }

    /// Waits until a whole pull has room, and takes that room.
    pub async fn reserve(self: &Arc<Self>, messages: usize, bytes: usize) -> Reservation {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // Before the look, so that what is freed after it is not missed.
            room.as_mut().enable();
            if self.lock().take(messages, bytes) {
                return Reservation {
                    in_flight: Arc::clone(self),
                    messages,
                    bytes,
                };
            }
            room.await;
        }
    }

    /// Messages held now.
    pub fn messages(&self) -> usize {
        self.lock().held.len()
    }

    /// Gives back the room of leases, and returns where their acks go. Only the ack stage
    /// calls this.
    pub fn settle(&self, leases: Vec<Lease>) -> Vec<Reply> {
        let mut inner = self.lock();
        let mut replies = Vec::with_capacity(leases.len());
        for mut lease in leases {
            let message = lease.exhausted.take();
            replies.extend(
                message
                    .and_then(|message| message.ack)
                    .map(Reply::unchecked),
            );
            replies.extend(lease.slot.take().and_then(|slot| inner.release(slot)));
        }
        drop(inner);
        self.room.notify_waiters();
        replies
    }

    /// Bytes of the messages held now.
    pub fn bytes(&self) -> usize {
        self.lock().held_bytes
    }

    /// The sequences within a range of a stream whose messages are held.
    pub fn held_within(
        &self,
        stream_created_ns: i64,
        range: &RangeInclusive<u64>,
    ) -> BTreeSet<u64> {
        let inner = self.lock();
        let held = inner.held.iter().map(|(_, held)| &held.reply);
        let is_of = |source: SignalSource| source.stream_created_ns == stream_created_ns;
        held.filter(|reply| reply.source.is_some_and(is_of))
            .filter_map(|reply| AckSubject::parse(&reply.subject))
            .map(|ack| ack.stream_seq)
            .filter(|seq| range.contains(seq))
            .collect()
    }

    /// Replies of all that is held for so long without a sign. From now on they have had one.
    pub fn due(&self, age: Duration) -> Vec<Bytes> {
        let now = Instant::now();
        let mut inner = self.lock();
        let due = inner.held.iter_mut().map(|(_, held)| held);
        let due = due.filter(|held| now.saturating_duration_since(held.renewed_at) >= age);
        due.map(|held| {
            held.renewed_at = now;
            held.reply.subject.clone()
        })
        .collect()
    }

    /// Returns true when no lease [is stale](Lease::is_stale); all are of one instance.
    pub fn are_current<'a>(
        leases: impl Iterator<Item = &'a Lease>,
        current: Option<SignalSource>,
    ) -> bool {
        let mut leases = leases.peekable();
        let Some(first) = leases.peek() else {
            return true;
        };
        let inner = first.in_flight.lock();
        leases.all(|lease| !lease.is_stale_in(&inner, current))
    }

    /// Waits for messages that are given back, and takes their replies.
    pub async fn given_back(&self) -> Vec<Bytes> {
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
    pub fn give_back_all(&self) -> Vec<Bytes> {
        let mut inner = self.lock();
        let mut replies = std::mem::take(&mut inner.given_back);
        let held = inner.held.iter().map(|(_, held)| &held.reply);
        let of_signals = held.filter(|reply| reply.source.is_some());
        replies.extend(of_signals.map(|reply| reply.subject.clone()));
        replies
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code panics while it holds the lock; the state is whole in any case.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn take(&mut self, messages: usize, bytes: usize) -> bool {
        let fits = self.free_messages >= messages && self.free_bytes >= bytes;
        if fits {
            self.free_messages -= messages;
            self.free_bytes -= bytes;
        }
        fits
    }

    /// Gives room back.
    fn give(&mut self, messages: usize, bytes: usize) {
        self.free_messages += messages;
        self.free_bytes += bytes;
        debug_assert!(
            self.free_messages <= self.max.0 && self.free_bytes <= self.max.1,
            "room is given back once"
        );
    }

    fn hold(&mut self, reply: Reply, bytes: usize, now: Instant) -> usize {
        self.held_bytes += bytes;
        self.held.insert(Held {
            reply,
            renewed_at: now,
            bytes,
            is_spared: false,
        })
    }

    fn release(&mut self, slot: usize) -> Option<Reply> {
        let held = self.held.try_remove(slot)?;
        self.held_bytes -= held.bytes;
        if !held.is_spared {
            self.give(1, held.bytes);
        }
        Some(held.reply)
    }

    fn spare(&mut self, slot: usize) {
        let Some(held) = self.held.get_mut(slot).filter(|held| !held.is_spared) else {
            return;
        };
        held.is_spared = true;
        let bytes = held.bytes;
        self.give(1, bytes);
    }
}

/// Reservation for one pull; what the pull does not use returns when this is dropped.
#[derive(Debug)]
#[must_use = "dropping it gives the room back"]
pub struct Reservation {
    in_flight: Arc<InFlight>,
    messages: usize,
    bytes: usize,
}

impl Reservation {
    /// Messages still to come.
    pub fn messages(&self) -> usize {
        self.messages
    }

    /// Moves the shares of signals from the room to leases, each with where its ack goes and its
    /// bytes.
    pub fn leases(
        &mut self,
        source: SignalSource,
        messages: impl Iterator<Item = (Bytes, usize)>,
    ) -> Vec<Lease> {
        let in_flight = Arc::clone(&self.in_flight);
        let mut inner = in_flight.lock();
        let source = Some(source);
        // One reading of the clock for all: a reading for each was a tenth of the daemon's CPU.
        let now = Instant::now();
        messages
            .map(|(subject, bytes)| self.lease(&mut inner, Reply { subject, source }, bytes, now))
            .collect()
    }

    /// Moves the share of one advisory from the room to a lease.
    pub fn advisory(&mut self, subject: Bytes, bytes: usize) -> Lease {
        let in_flight = Arc::clone(&self.in_flight);
        let (mut inner, reply) = (in_flight.lock(), Reply::unchecked(subject));
        self.lease(&mut inner, reply, bytes, Instant::now())
    }

    fn lease(&mut self, inner: &mut Inner, reply: Reply, bytes: usize, now: Instant) -> Lease {
        // The server holds a pull to its bounds, so that this never cuts anything off.
        let bytes = bytes.min(self.bytes);
        self.messages = self.messages.saturating_sub(1);
        self.bytes -= bytes;
        Lease {
            slot: Some(inner.hold(reply, bytes, now)),
            in_flight: Arc::clone(&self.in_flight),
            exhausted: None,
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut inner = self.in_flight.lock();
        inner.give(self.messages, self.bytes);
        drop(inner);
        self.in_flight.room.notify_waiters();
    }
}

/// The duty to settle one delivered message. Dropped without an ack, it gives its room and the
/// message back, which JetStream then delivers again at once.
#[derive(Debug)]
#[must_use = "dropping a lease means that the message is delivered again"]
pub struct Lease {
    /// `None` once it has given its room back.
    slot: Option<usize>,
    in_flight: Arc<InFlight>,
    /// The message that an advisory is about, where this is the lease on an advisory.
    exhausted: Option<Box<ExhaustedMessage>>,
}

/// A message that was delivered too often, settled with the lease on its advisory.
#[derive(Debug)]
struct ExhaustedMessage {
    /// Address of the ack, if the message needs one.
    ack: Option<Bytes>,
    /// Until this is dropped, no other such message is tried.
    turn: Option<OwnedMutexGuard<()>>,
}

impl Lease {
    /// None: of a message that was read and not delivered.
    pub fn none(in_flight: &Arc<InFlight>) -> Self {
        Self {
            slot: None,
            in_flight: Arc::clone(in_flight),
            exhausted: None,
        }
    }

    /// Gives its room back and goes on holding the message: of the few that wait for others.
    pub fn spare(&self) {
        let Some(slot) = self.slot else { return };
        self.in_flight.lock().spare(slot);
        self.in_flight.room.notify_waiters();
    }

    /// Copies the address of its ack out of the block that its message was read into.
    pub fn detach(&self) {
        let mut inner = self.in_flight.lock();
        if let Some(held) = self.slot.and_then(|slot| inner.held.get_mut(slot)) {
            held.reply.subject = Bytes::copy_from_slice(&held.reply.subject);
        }
    }

    /// Returns true for the lease on an advisory, which has no source.
    pub fn is_of_advisory(&self) -> bool {
        let inner = self.in_flight.lock();
        let held = self.slot.and_then(|slot| inner.held.get(slot));
        held.is_some_and(|held| held.reply.source.is_none())
    }

    /// Reports whether its message may have come from another source than the one that is there:
    /// another message may have its sequence there. Advisories and messages that were read have
    /// none.
    pub fn is_stale(&self, current: Option<SignalSource>) -> bool {
        self.is_stale_in(&self.in_flight.lock(), current)
    }

    fn is_stale_in(&self, inner: &Inner, current: Option<SignalSource>) -> bool {
        let held = self.slot.and_then(|slot| inner.held.get(slot));
        let source = held.and_then(|held| held.reply.source);
        source.is_some() && source != current
    }

    /// Has this lease on an advisory stand for the message too: that is acked with it, at
    /// `ack`, and its turn lasts as long as the lease.
    pub fn with_exhausted(mut self, ack: Option<Bytes>, turn: OwnedMutexGuard<()>) -> Self {
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
        let Some(slot) = self.slot.take() else { return };
        let mut inner = self.in_flight.lock();
        let given_back = inner.release(slot).filter(|reply| reply.source.is_some());
        inner
            .given_back
            .extend(given_back.map(|reply| reply.subject));
        drop(inner);
        self.in_flight.given_back.notify_one();
        self.in_flight.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
