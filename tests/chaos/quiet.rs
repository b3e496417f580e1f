//! Waits until everything is published and settled.

use std::time::Duration;

use anyhow::{Result, bail};
use testkit::nats::{DEAD_LETTERS, STREAM};
use testkit::process::Process;
use tokio::time::{Instant, sleep};

use super::world::World;

/// No run is about time; one without progress for so long will not go on.
const STANDSTILL: Duration = Duration::from_secs(120);

/// Progress of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Progress {
    publishing: bool,
    stored: u64,
    pending: u64,
    unacked: usize,
    /// The sum of the consumers'.
    acked_up_to: u64,
    /// On messages that were delivered too often.
    advisories: u64,
}

/// Waits until the publisher has ended, nothing is pending on the consumer, and no message that
/// was delivered too often is left.
pub async fn quiet(world: &World, publisher: &mut Process) -> Result<()> {
    let jetstream = world.nats[0].jetstream().await;
    let mut last: Option<Progress> = None;
    let mut moved = Instant::now();
    loop {
        sleep(Duration::from_millis(500)).await;
        world.check_daemons();
        let publishing = match publisher.status() {
            None => true,
            Some(status) if status.success() => false,
            Some(status) => bail!("the publisher ended with {status}: {}", publisher.output()),
        };
        let now = progress(&jetstream, &world.consumers(), publishing).await;
        if let Some(now) = now
            && !now.publishing
            && now.pending == 0
            && now.unacked == 0
            && now.advisories == 0
        {
            return Ok(());
        }
        if now.is_some() && now != last {
            last = now;
            moved = Instant::now();
        }
        if moved.elapsed() > STANDSTILL {
            bail!("it never came to rest; it is stuck at {last:?}");
        }
    }
}

/// `None` while JetStream does not answer, or a consumer is not there.
async fn progress(
    jetstream: &async_nats::jetstream::Context,
    consumers: &[&str],
    publishing: bool,
) -> Option<Progress> {
    let stream = jetstream.get_stream(STREAM).await.ok()?;
    let mut progress = Progress {
        publishing,
        stored: stream.cached_info().state.messages,
        pending: 0,
        unacked: 0,
        acked_up_to: 0,
        advisories: 0,
    };
    for name in consumers {
        let consumer = stream.consumer_info(name).await.ok()?;
        let advisories = format!("{DEAD_LETTERS}_ADVISORIES_{name}");
        let advisories = jetstream.get_stream(advisories).await.ok()?;
        progress.pending += consumer.num_pending;
        progress.unacked += consumer.num_ack_pending;
        progress.acked_up_to += consumer.ack_floor.stream_sequence;
        progress.advisories += advisories.cached_info().state.messages;
    }
    Some(progress)
}
