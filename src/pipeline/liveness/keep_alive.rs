//! Courtesies to the server, on which no promise depends: in-progress acks for messages that are
//! held long, so that they are not delivered again, and NAKs for those that are given back, so that
//! they are delivered at once. The log decides what is stored, however often a message comes.

use std::time::Duration;

use jetstream::Subjects;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::debug;

use crate::pipeline::crossing::in_flight::InFlight;
use crate::pipeline::liveness::heartbeat::Heartbeat;
use crate::pipeline::port::connection::{Connection, Replies};

const IN_PROGRESS: &[u8] = b"+WPI";
/// Payload that gives a message back.
pub const NAK: &[u8] = b"-NAK";
/// Longest time for the server to get the last replies at a stop.
const FLUSH: Duration = Duration::from_secs(2);

/// Holds messages for longer, and gives them back.
pub struct KeepAlive<C> {
    pub client: C,
    pub ack_wait: Duration,
    pub in_flight: &'static InFlight,
    pub heartbeat: Heartbeat,
}

impl<C: Connection + Replies> KeepAlive<C> {
    /// Works until it is dropped.
    pub async fn run(self) {
        let mut ticks = interval(self.ack_wait / 8);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let next = async {
                tokio::select! {
                    replies = self.in_flight.given_back() => Some(replies),
                    _ = ticks.tick() => None,
                }
            };
            match self.heartbeat.waiting(next).await {
                Some(replies) => give_back(&self.client, replies).await,
                None => self.renew().await,
            }
        }
    }

    /// Asks for more time for all that is held for half of the ack wait.
    async fn renew(&self) {
        if !self.client.is_connected() {
            return;
        }
        let due = self.in_flight.due(self.ack_wait / 2);
        if due.is_empty() {
            return;
        }
        debug!(count = due.len(), "Asking JetStream for more time");
        self.client.send(due, IN_PROGRESS, None).await;
    }
}

/// Has messages delivered again, here or to another instance.
pub async fn give_back(to: &impl Replies, replies: Subjects) {
    if !replies.is_empty() {
        to.send(replies, NAK, None).await;
    }
}

/// Gives messages back before the process ends, and waits for the server.
pub async fn give_back_last(to: &impl Replies, replies: Subjects) {
    let count = replies.len();
    if count == 0 {
        return;
    }
    let sent = async {
        give_back(to, replies).await;
        to.confirmed().await
    };
    match timeout(FLUSH, sent).await {
        Ok(Ok(())) => debug!(count, "Messages were given back"),
        _ => debug!(
            count,
            "Messages were not given back; they are delivered again after the ack wait"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use jetstream::AckPolicy;
    use tokio::time::sleep;

    use super::*;
    use crate::pipeline::fakes::streams::FakeConnection;
    use crate::pipeline::fakes::{delivery, heartbeat, leased, source};

    const ACK_WAIT: Duration = Duration::from_secs(8);

    fn start() -> (Arc<FakeConnection>, &'static InFlight) {
        let (connection, in_flight) = (FakeConnection::new(), InFlight::new(10, 1_000));
        let keep_alive = KeepAlive {
            client: Arc::clone(&connection),
            ack_wait: ACK_WAIT,
            in_flight,
            heartbeat: heartbeat(),
        };
        tokio::spawn(keep_alive.run());
        (connection, in_flight)
    }

    #[tokio::test(start_paused = true)]
    async fn more_time_is_asked_for_a_message_that_is_held_for_half_of_the_ack_wait() {
        let (connection, in_flight) = start();
        let policy = source(AckPolicy::Explicit);
        let held = leased(in_flight, policy, vec![delivery(1)]).await;
        sleep(ACK_WAIT * 3 / 8).await;
        assert!(connection.take(IN_PROGRESS).is_empty());
        sleep(ACK_WAIT).await;
        let asked = connection.take(IN_PROGRESS);
        assert!((2..=3).contains(&asked.len()), "{asked:?}");
        drop(held);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_is_dropped_is_given_back_at_once() {
        let (connection, in_flight) = start();
        let policy = source(AckPolicy::Explicit);
        let mut held = leased(in_flight, policy, vec![delivery(1), delivery(2)]).await;
        drop(held.pop());
        sleep(Duration::from_millis(1)).await;
        assert_eq!(connection.take(NAK), [2]);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_connection_no_time_is_asked_for() {
        let (connection, in_flight) = start();
        let policy = source(AckPolicy::Explicit);
        let _held = leased(in_flight, policy, vec![delivery(1)]).await;
        connection.is_connected.store(false, Ordering::Relaxed);
        sleep(ACK_WAIT * 2).await;
        assert!(connection.take(IN_PROGRESS).is_empty());
        connection.is_connected.store(true, Ordering::Relaxed);
        sleep(ACK_WAIT / 8).await;
        assert_eq!(connection.take(IN_PROGRESS), [1]);
    }
}
