//! Asks JetStream for more time for messages that are held long.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use bytes::Bytes;
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

use super::in_flight::InFlight;

/// Renews every lease that is older than half of the ack wait, until it is dropped.
pub(super) async fn run(client: Client, in_flight: Arc<InFlight>, ack_wait: Duration) {
    const IN_PROGRESS: Bytes = Bytes::from_static(b"+WPI");
    // A lease is renewed at the latest when five eighths of its time are over.
    let mut ticks = interval(ack_wait / 8);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let replies = in_flight.renew_older_than(ack_wait / 2);
        if !replies.is_empty() {
            debug!(count = replies.len(), "Asking JetStream for more time");
        }
        for reply in replies {
            if let Err(error) = client.publish(reply, IN_PROGRESS).await {
                debug!(%error, "JetStream was not asked for more time");
            }
        }
    }
}
