//! What this instance holds: the bound on messages and bytes, and every lease.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::Subject;
use slab::Slab;
use tokio::sync::{Notify, OwnedMutexGuard};

use crate::jetstream::epoch::Epoch;

use super::moment::Moment;

/// Every message between its pull and its ack, within a fixed number of messages and bytes.
#[derive(Debug)]
pub(super) struct InFlight {
    inner: Mutex<Inner>,
    room: Notify,
}

#[derive(Debug)]
struct Inner {
    held: Slab<Held>,
    /// Counts leases, so that a slot that was used again is told from its former holder.
    next_id: u64,
    free_messages: usize,
    free_bytes: usize,
    held_bytes: usize,
}

#[derive(Debug)]
struct Held {
    id: u64,
    /// Where the ack goes.
    reply: Subject,
    /// The ack wait began no earlier than this.
    since: Moment,
    /// The server that gave it out remembers it for as long as this lasts.
    epoch: Epoch,
    bytes: usize,
}

/// A lease whose time should be extended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Renewal {
    /// Where to ask for more time.
    pub reply: Subject,
    /// When it was given out.
    pub epoch: Epoch,
    slot: usize,
    id: u64,
}

impl InFlight {
    /// Room for so many messages and bytes.
    pub fn new(max_messages: usize, max_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                held: Slab::new(),
                next_id: 0,
                free_messages: max_messages,
                free_bytes: max_bytes,
                held_bytes: 0,
            }),
            room: Notify::new(),
        })
    }

    /// Waits until a whole pull has room, and takes that room. The pull's request comes after
    /// [`Room::requested`].
    pub async fn reserve(self: &Arc<Self>, messages: usize, bytes: usize) -> Room {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // Before the look, so that what is freed after it is not missed.
            room.as_mut().enable();
            if self.lock().take(messages, bytes) {
                return Room {
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

    /// Since when the oldest of some leases is held; `None` when one is held no more.
    pub fn oldest<'l>(&self, leases: impl Iterator<Item = &'l Lease>) -> Option<Moment> {
        let inner = self.lock();
        let since = |lease: &Lease| inner.held.get(lease.slot?).map(|held| held.since);
        let mut oldest = Moment::now();
        for lease in leases {
            oldest = oldest.earliest(since(lease)?);
        }
        Some(oldest)
    }

    /// Gives back the room of leases, and returns where their acks go. Only the ack stage
    /// calls this.
    pub fn settle(&self, leases: Vec<Lease>) -> Vec<Subject> {
        let mut inner = self.lock();
        let mut replies = Vec::with_capacity(leases.len());
        for mut lease in leases {
            replies.extend(lease.exhausted.take().map(|message| message.ack));
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

    /// Every lease whose age is within `ages`.
    pub fn renewals_due(&self, ages: Range<Duration>) -> Vec<Renewal> {
        let inner = self.lock();
        let due = inner
            .held
            .iter()
            .filter(|(_, held)| ages.contains(&held.since.age()));
        due.map(|(slot, held)| Renewal {
            reply: held.reply.clone(),
            epoch: held.epoch,
            slot,
            id: held.id,
        })
        .collect()
    }

    /// Counts leases as begun anew at `since`, now that the server has confirmed that: those
    /// that are not older than the ack wait even now. The others may have run out before the
    /// server saw the renewal, and are somebody else's.
    pub fn renewed<'r>(
        &self,
        renewals: impl IntoIterator<Item = &'r Renewal>,
        since: Moment,
        ack_wait: Duration,
    ) {
        let mut inner = self.lock();
        for renewal in renewals {
            let held = inner.held.get_mut(renewal.slot);
            let is_held = |held: &&mut Held| held.id == renewal.id && held.since.age() < ack_wait;
            if let Some(held) = held.filter(is_held) {
                held.since = since;
            }
        }
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

    fn hold(&mut self, reply: Subject, since: Moment, epoch: Epoch, bytes: usize) -> usize {
        let id = self.next_id;
        self.next_id += 1;
        self.held_bytes += bytes;
        self.held.insert(Held {
            id,
            reply,
            since,
            epoch,
            bytes,
        })
    }

    fn release(&mut self, slot: usize) -> Option<Subject> {
        let held = self.held.try_remove(slot)?;
        self.free_messages += 1;
        self.free_bytes += held.bytes;
        self.held_bytes -= held.bytes;
        Some(held.reply)
    }
}

/// Room for one pull; what the pull does not use returns when this is dropped.
#[derive(Debug)]
#[must_use = "dropping it gives the room back"]
pub(super) struct Room {
    in_flight: Arc<InFlight>,
    messages: usize,
    bytes: usize,
}

impl Room {
    /// The room of a pull that is asked for from now on, in this epoch.
    pub fn requested(self, epoch: Epoch) -> Reservation {
        Reservation {
            room: self,
            since: Moment::now(),
            epoch,
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut inner = self.in_flight.lock();
        inner.free_messages += self.messages;
        inner.free_bytes += self.bytes;
        drop(inner);
        self.in_flight.room.notify_waiters();
    }
}

/// Room for one pull that has been asked for.
#[derive(Debug)]
#[must_use = "dropping a reservation gives its room back"]
pub(super) struct Reservation {
    room: Room,
    since: Moment,
    epoch: Epoch,
}

impl Reservation {
    /// Messages still to come.
    pub fn messages(&self) -> usize {
        self.room.messages
    }

    /// Moves the shares of messages from the reservation to leases, each with where its ack
    /// goes and its bytes.
    ///
    /// The server began the ack wait when it sent the message, which is not known here; it
    /// was not before the pull was made, so the lease counts from there. A message that
    /// waited in a socket while this process was stopped is then known to be late.
    pub fn leases(&mut self, messages: impl Iterator<Item = (Subject, usize)>) -> Vec<Lease> {
        let Self { room, since, epoch } = self;
        let mut inner = room.in_flight.lock();
        let leases = messages.map(|(reply, bytes)| {
            // The server holds a pull to its bounds, so that this never cuts anything off.
            let bytes = bytes.min(room.bytes);
            room.messages = room.messages.saturating_sub(1);
            room.bytes -= bytes;
            Lease {
                slot: Some(inner.hold(reply, *since, *epoch, bytes)),
                in_flight: Arc::clone(&room.in_flight),
                exhausted: None,
            }
        });
        leases.collect()
    }

    /// As [`Self::leases`], for one message.
    pub fn lease(&mut self, reply: Subject, bytes: usize) -> Option<Lease> {
        self.leases(std::iter::once((reply, bytes))).pop()
    }
}

/// The duty to settle one delivered message. Dropped without an ack, it only gives its room
/// back, and JetStream delivers the message again after the ack wait.
#[derive(Debug)]
#[must_use = "dropping a lease means that the message is delivered again"]
pub(super) struct Lease {
    /// `None` once it has given its room back.
    slot: Option<usize>,
    in_flight: Arc<InFlight>,
    /// Where it is a lease on an advisory: what that is about.
    exhausted: Option<Box<ExhaustedMessage>>,
}

/// A message that was delivered too often, which its advisory's lease stands for.
#[derive(Debug)]
struct ExhaustedMessage {
    ack: Subject,
    /// Until this is dropped, no other such message is tried.
    turn: Option<OwnedMutexGuard<()>>,
}

impl Lease {
    /// The ack wait began no earlier than this.
    pub fn since(&self) -> Option<Moment> {
        let inner = self.in_flight.lock();
        inner.held.get(self.slot?).map(|held| held.since)
    }

    /// Has this lease on an advisory stand for the message too: that is acked with it, at
    /// `ack`, and its turn lasts as long as the lease.
    pub fn with_exhausted(mut self, ack: Subject, turn: OwnedMutexGuard<()>) -> Self {
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
        self.in_flight.lock().release(slot);
        self.in_flight.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
