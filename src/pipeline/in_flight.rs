//! What this instance holds: the bound on messages and bytes, and every lease.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::Subject;
use slab::Slab;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Every message between its pull and its ack, within a fixed number of messages and bytes.
#[derive(Debug)]
pub(super) struct InFlight {
    inner: Mutex<Inner>,
    room: Notify,
}

#[derive(Debug)]
struct Inner {
    held: Slab<Held>,
    free_messages: usize,
    free_bytes: usize,
}

#[derive(Debug)]
struct Held {
    /// Where the ack goes.
    reply: Subject,
    /// When the ack wait last began anew.
    renewed: Instant,
    bytes: usize,
}

impl InFlight {
    /// Room for so many messages and bytes.
    pub fn new(max_messages: usize, max_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                held: Slab::new(),
                free_messages: max_messages,
                free_bytes: max_bytes,
            }),
            room: Notify::new(),
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

    /// Where to ask for more time: every lease that was last renewed `age` or longer ago,
    /// counted as renewed now.
    pub fn renew_older_than(&self, age: Duration) -> Vec<Subject> {
        let now = Instant::now();
        let mut inner = self.lock();
        let mut replies = Vec::new();
        for (_, held) in &mut inner.held {
            if now.duration_since(held.renewed) >= age {
                held.renewed = now;
                replies.push(held.reply.clone());
            }
        }
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

    fn release(&mut self, slot: usize) -> Option<Subject> {
        let held = self.held.try_remove(slot)?;
        self.free_messages += 1;
        self.free_bytes += held.bytes;
        Some(held.reply)
    }
}

/// Room for one pull; what the pull does not use returns when this is dropped.
#[derive(Debug)]
#[must_use = "dropping a reservation gives its room back"]
pub(super) struct Reservation {
    in_flight: Arc<InFlight>,
    messages: usize,
    bytes: usize,
}

impl Reservation {
    /// Messages still to come.
    pub fn messages(&self) -> usize {
        self.messages
    }

    /// Moves one message's share from the reservation to a lease.
    pub fn lease(&mut self, reply: Subject, bytes: usize) -> Lease {
        // The server holds a pull to its bounds, so that this never cuts anything off.
        let bytes = bytes.min(self.bytes);
        self.messages = self.messages.saturating_sub(1);
        self.bytes -= bytes;
        let held = Held {
            reply,
            renewed: Instant::now(),
            bytes,
        };
        Lease {
            slot: Some(self.in_flight.lock().held.insert(held)),
            in_flight: Arc::clone(&self.in_flight),
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut inner = self.in_flight.lock();
        inner.free_messages += self.messages;
        inner.free_bytes += self.bytes;
        drop(inner);
        self.in_flight.room.notify_waiters();
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
}

impl Lease {
    /// Gives the room back and returns where the ack goes. Only the ack stage calls this.
    pub fn settle(mut self) -> Option<Subject> {
        self.release()
    }

    fn release(&mut self) -> Option<Subject> {
        let reply = self.in_flight.lock().release(self.slot.take()?);
        self.in_flight.room.notify_waiters();
        reply
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(in_flight: &InFlight) -> (usize, usize) {
        let inner = in_flight.lock();
        (inner.free_messages, inner.free_bytes)
    }

    #[tokio::test(start_paused = true)]
    async fn room_is_given_back_however_a_lease_ends() {
        let in_flight = InFlight::new(10, 1000);
        let mut pull = in_flight.reserve(3, 600).await;
        assert_eq!(free(&in_flight), (7, 400));
        let acked = pull.lease("a".into(), 100);
        let dropped = pull.lease("b".into(), 200);
        drop(pull);
        assert_eq!(free(&in_flight), (8, 700));
        assert_eq!(acked.settle().as_deref(), Some("a"));
        assert_eq!(free(&in_flight), (9, 800));
        drop(dropped);
        assert_eq!(free(&in_flight), (10, 1000));
        assert_eq!(in_flight.messages(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pull_waits_for_its_whole_room() {
        let in_flight = InFlight::new(4, 1000);
        let mut first = in_flight.reserve(4, 100).await;
        let lease = first.lease("a".into(), 10);
        let waiting = tokio::spawn({
            let in_flight = Arc::clone(&in_flight);
            async move { in_flight.reserve(4, 100).await.messages() }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(first);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!waiting.is_finished());
        assert!(lease.settle().is_some());
        assert_eq!(waiting.await.unwrap(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_renewed_when_it_is_old_enough_and_only_then() {
        let in_flight = InFlight::new(10, 1000);
        let age = Duration::from_secs(15);
        let mut pull = in_flight.reserve(2, 100).await;
        let _old = pull.lease("old".into(), 1);
        tokio::time::advance(Duration::from_secs(10)).await;
        let _young = pull.lease("young".into(), 1);
        assert!(in_flight.renew_older_than(age).is_empty());
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(in_flight.renew_older_than(age), ["old".into()]);
        assert!(in_flight.renew_older_than(age).is_empty());
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(in_flight.renew_older_than(age), ["young".into()]);
    }
}
