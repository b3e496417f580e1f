//! Asks JetStream for more time for messages that are held long.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, RequestError};
use bytes::Bytes;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, warn};

use super::delivery::AckSubject;
use super::in_flight::{InFlight, Renewal};
use super::moment::Moment;
use super::pulse::Pulse;

const IN_PROGRESS: Bytes = Bytes::from_static(b"+WPI");

/// Renews every lease that is older than half of the ack wait, until it is dropped.
pub(super) async fn run(
    client: Client,
    in_flight: Arc<InFlight>,
    ack_wait: Duration,
    pulse: Pulse,
) {
    // A lease is renewed at the latest when five eighths of its time are over.
    let mut ticks = interval(ack_wait / 8);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pulse.waiting(ticks.tick()).await;
        let mut due = in_flight.renewals_due(ack_wait / 2..ack_wait);
        // Signals have one consumer, advisories another.
        due.sort_by(|one, other| consumer(one).cmp(consumer(other)));
        for due in due.chunk_by(|one, other| consumer(one) == consumer(other)) {
            let since = Moment::now();
            match renew(&client, due).await {
                Ok(()) => in_flight.renewed(due, since, ack_wait),
                Err(error) => warn!(
                    count = due.len(),
                    %error,
                    "JetStream did not confirm more time; what is held is delivered again if that lasts"
                ),
            }
        }
    }
}

fn consumer(renewal: &Renewal) -> &str {
    AckSubject::consumer(&renewal.reply)
}

/// Asks for more time for every lease of one consumer. The last one is asked with a reply: the
/// consumer handles what one connection sends it in order, so its answer stands for all.
/// Without that proof a lease must not count as renewed, since an instance may insert only
/// what it holds.
async fn renew(client: &Client, due: &[Renewal]) -> Result<(), RequestError> {
    let Some((last, others)) = due.split_last() else {
        return Ok(());
    };
    debug!(count = due.len(), "Asking JetStream for more time");
    for renewal in others {
        if let Err(error) = client.publish(renewal.reply.clone(), IN_PROGRESS).await {
            debug!(%error, "Not sent");
        }
    }
    client.request(last.reply.clone(), IN_PROGRESS).await?;
    Ok(())
}
