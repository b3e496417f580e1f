//! What this instance holds: the bound on messages and bytes, and every lease.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::Subject;
use slab::Slab;
use tokio::sync::Notify;

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
    bytes: usize,
}

/// A lease whose time should be extended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Renewal {
    /// Where to ask for more time.
    pub reply: Subject,
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
                    requested: Moment::now(),
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
            slot,
            id: held.id,
        })
        .collect()
    }

    /// Counts leases as begun anew at `since`, now that the server has confirmed that: those
    /// that are not older than the ack wait even now. The others may have run out before the
    /// server saw the renewal, and are somebody else's.
    pub fn renewed(&self, renewals: &[Renewal], since: Moment, ack_wait: Duration) {
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

    fn hold(&mut self, reply: Subject, since: Moment, bytes: usize) -> usize {
        let id = self.next_id;
        self.next_id += 1;
        self.held_bytes += bytes;
        self.held.insert(Held {
            id,
            reply,
            since,
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
#[must_use = "dropping a reservation gives its room back"]
pub(super) struct Reservation {
    in_flight: Arc<InFlight>,
    requested: Moment,
    messages: usize,
    bytes: usize,
}

impl Reservation {
    /// Messages still to come.
    pub fn messages(&self) -> usize {
        self.messages
    }

    /// Moves one message's share from the reservation to a lease.
    ///
    /// The server began the ack wait when it sent the message, which is not known here; it
    /// was not before the pull was made, so the lease counts from there. A message that
    /// waited in a socket while this process was stopped is then known to be late.
    pub fn lease(&mut self, reply: Subject, bytes: usize) -> Lease {
        // The server holds a pull to its bounds, so that this never cuts anything off.
        let bytes = bytes.min(self.bytes);
        self.messages = self.messages.saturating_sub(1);
        self.bytes -= bytes;
        Lease {
            slot: Some(self.in_flight.lock().hold(reply, self.requested, bytes)),
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
    /// The ack wait began no earlier than this.
    pub fn since(&self) -> Option<Moment> {
        let inner = self.in_flight.lock();
        inner.held.get(self.slot?).map(|held| held.since)
    }

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

    const ACK_WAIT: Duration = Duration::from_secs(30);

    fn due(in_flight: &InFlight, age_s: u64) -> Vec<Renewal> {
        in_flight.renewals_due(Duration::from_secs(age_s)..ACK_WAIT)
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
    async fn a_lease_counts_from_its_pull_and_is_due_when_it_is_old_enough() {
        let in_flight = InFlight::new(10, 1000);
        let mut pull = in_flight.reserve(1, 100).await;
        tokio::time::advance(Duration::from_secs(10)).await;
        let old = pull.lease("old".into(), 1);
        let mut pull = in_flight.reserve(1, 100).await;
        let _young = pull.lease("young".into(), 1);
        assert!(old.since().unwrap().age() >= Duration::from_secs(10));
        assert_eq!(due(&in_flight, 15), []);
        tokio::time::advance(Duration::from_secs(5)).await;
        let renewals = due(&in_flight, 15);
        assert_eq!(renewals.len(), 1);
        assert_eq!(renewals[0].reply.as_str(), "old");
        assert_eq!(due(&in_flight, 15), renewals, "until it is confirmed");
        in_flight.renewed(&renewals, Moment::now(), ACK_WAIT);
        assert_eq!(due(&in_flight, 15), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_does_not_count_for_the_next_holder_of_a_slot() {
        let in_flight = InFlight::new(10, 1000);
        let mut pull = in_flight.reserve(2, 100).await;
        let first = pull.lease("first".into(), 1);
        tokio::time::advance(Duration::from_secs(15)).await;
        let renewals = due(&in_flight, 15);
        drop(first);
        let _second = pull.lease("second".into(), 1);
        in_flight.renewed(&renewals, Moment::now(), ACK_WAIT);
        assert_eq!(due(&in_flight, 15)[0].reply.as_str(), "second");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_ran_out_is_never_renewed() {
        let in_flight = InFlight::new(10, 1000);
        let mut pull = in_flight.reserve(1, 100).await;
        let lease = pull.lease("a".into(), 1);
        tokio::time::advance(Duration::from_secs(20)).await;
        let renewals = due(&in_flight, 15);
        let asked = Moment::now();
        tokio::time::advance(Duration::from_secs(10)).await;
        in_flight.renewed(&renewals, asked, ACK_WAIT);
        assert!(
            lease.since().unwrap().age() >= ACK_WAIT,
            "the answer came too late"
        );
        assert_eq!(due(&in_flight, 15), []);
    }
}
