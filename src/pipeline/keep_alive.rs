//! Courtesies to the server, on which nothing rests: in-progress acks for messages that are held
//! long, so that they are not delivered again, and NAKs for those that are given back, so that
//! they are delivered at once. The log decides what is stored, however often a message comes.

use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, Subject};
use bytes::Bytes;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::debug;

use super::in_flight::InFlight;
use super::pulse::Pulse;

const IN_PROGRESS: Bytes = Bytes::from_static(b"+WPI");
const NAK: Bytes = Bytes::from_static(b"-NAK");
/// How long the server may take at a stop to get what is given back.
const FLUSH: Duration = Duration::from_secs(2);

/// Holds messages for longer, and gives them back.
pub(super) struct KeepAlive {
    pub client: Client,
    pub ack_wait: Duration,
    pub in_flight: Arc<InFlight>,
    pub pulse: Pulse,
}

impl KeepAlive {
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
            match self.pulse.waiting(next).await {
                Some(replies) => give_back(&self.client, replies).await,
                None => self.renew().await,
            }
        }
    }

    /// Asks for more time for all that is held for half of the ack wait.
    async fn renew(&self) {
        if self.client.connection_state() != State::Connected {
            return;
        }
        let due = self.in_flight.due(self.ack_wait / 2);
        if due.is_empty() {
            return;
        }
        debug!(count = due.len(), "Asking JetStream for more time");
        for reply in due {
            send(&self.client, reply, IN_PROGRESS).await;
        }
    }
}

/// Has messages delivered again, here or to another instance.
pub(super) async fn give_back(client: &Client, replies: impl IntoIterator<Item = Subject>) {
    for reply in replies {
        send(client, reply, NAK).await;
    }
}

/// As [`give_back`], before the process ends.
pub(super) async fn give_back_last(client: &Client, replies: Vec<Subject>) {
    let count = replies.len();
    if count == 0 {
        return;
    }
    let sent = async {
        give_back(client, replies).await;
        client.flush().await
    };
    match timeout(FLUSH, sent).await {
        Ok(Ok(())) => debug!(count, "Messages were given back"),
        _ => debug!(
            count,
            "Messages were not given back; they are delivered again after the ack wait"
        ),
    }
}

async fn send(client: &Client, reply: Subject, what: Bytes) {
    if let Err(error) = client.publish(reply, what).await {
        debug!(%error, "Not sent; the message is delivered again after the ack wait");
    }
}
