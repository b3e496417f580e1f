//! A consumer that does nothing with the messages but count and ack them: the most that any
//! consumer could reach.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use async_nats::Client;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::world::World;

/// Messages looked at together, when more are there; of these AckAll acks the last.
const CHUNK_MESSAGES: usize = 512;
/// Ends a run that gets nothing more.
const SILENCE: Duration = Duration::from_secs(30);

/// Way of pulling.
#[derive(Debug, Clone, Copy)]
pub struct Tuning {
    /// Pulls open at once.
    pub pulls: usize,
    /// Messages that one asks for.
    pub batch: usize,
}

/// A message's sequence, and when JetStream stored it, in nanoseconds since the epoch.
pub type Published = (u64, i64);

/// Drains a whole stream through a new consumer; how long that took.
pub async fn drain(
    world: &World,
    stream: &str,
    policy: AckPolicy,
    tuning: Tuning,
    count: u64,
) -> Result<Duration> {
    let consumer = create(world, stream, policy, false).await?;
    // As a consumer has it, not shared with what else this program does.
    let client = async_nats::connect(world.nats.url()).await?;
    let started = Instant::now();
    let puller = Puller::new(client.clone(), stream, &consumer, policy, tuning, count);
    puller.run().await?;
    client.flush().await?;
    let elapsed = started.elapsed();
    let stream = world.jetstream.get_stream_no_info(stream).await?;
    stream.delete_consumer(&consumer).await?;
    Ok(elapsed)
}

/// Time at which JetStream stored each message of a stream.
pub async fn published(world: &World, stream: &str, count: u64) -> Result<Vec<Published>> {
    let consumer = create(world, stream, AckPolicy::None, true).await?;
    let client = async_nats::connect(world.nats.url()).await?;
    let tuning = Tuning {
        pulls: 1,
        batch: 5_000,
    };
    let mut puller = Puller::new(client, stream, &consumer, AckPolicy::None, tuning, count);
    puller.is_recording = true;
    let mut published = puller.run().await?;
    published.sort_unstable();
    Ok(published)
}

/// Makes a durable consumer with the daemon's own bounds.
async fn create(
    world: &World,
    stream: &str,
    policy: AckPolicy,
    headers_only: bool,
) -> Result<String> {
    let name = format!("drain-{policy:?}-{}", rand::random::<u32>());
    let config = pull::Config {
        durable_name: Some(name.clone()),
        ack_policy: policy,
        max_ack_pending: 200_000,
        headers_only,
        ..pull::Config::default()
    };
    world
        .jetstream
        .create_consumer_on_stream(config, stream)
        .await?;
    Ok(name)
}

/// One of the tasks that pull side by side.
#[derive(Clone)]
struct Puller {
    client: Client,
    subject: String,
    policy: AckPolicy,
    tuning: Tuning,
    left: Arc<AtomicU64>,
    done: CancellationToken,
    /// Keeps the time at which each message was stored, which takes some time.
    is_recording: bool,
}

impl Puller {
    fn new(
        client: Client,
        stream: &str,
        consumer: &str,
        policy: AckPolicy,
        tuning: Tuning,
        count: u64,
    ) -> Self {
        Self {
            client,
            subject: format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"),
            policy,
            tuning,
            left: Arc::new(AtomicU64::new(count)),
            done: CancellationToken::new(),
            is_recording: false,
        }
    }

    /// Pulls until all messages have come.
    async fn run(&self) -> Result<Vec<Published>> {
        let mut tasks = JoinSet::new();
        for _ in 0..self.tuning.pulls {
            tasks.spawn(self.clone().pull());
        }
        let mut published = Vec::new();
        while let Some(task) = tasks.join_next().await {
            published.extend(task??);
        }
        let left = self.left.load(Ordering::Relaxed);
        ensure!(left == 0, "{left} messages did not come");
        Ok(published)
    }

    async fn pull(self) -> Result<Vec<Published>> {
        let inbox = self.client.new_inbox();
        let messages = self.client.subscribe(inbox.clone()).await?;
        let mut chunks = messages.ready_chunks(CHUNK_MESSAGES);
        let request = json!({"batch": self.tuning.batch, "expires": 5_000_000_000_u64});
        let request = Bytes::from(request.to_string());
        let mut published = Vec::new();
        loop {
            self.client
                .publish_with_reply(self.subject.clone(), inbox.clone(), request.clone())
                .await?;
            let mut wanted = self.tuning.batch;
            while wanted > 0 {
                let chunk = tokio::select! {
                    chunk = timeout(SILENCE, chunks.next()) => chunk?.unwrap_or_default(),
                    () = self.done.cancelled() => return Ok(published),
                };
                // A status ends a pull that has waited for too long.
                let replies = chunk.iter().filter(|message| message.status.is_none());
                let replies: Vec<_> = replies
                    .filter_map(|message| message.reply.as_ref())
                    .collect();
                wanted = match chunk.len() == replies.len() {
                    true => wanted.saturating_sub(replies.len()),
                    false => 0,
                };
                self.ack(&replies).await?;
                if self.is_recording {
                    published.extend(replies.iter().filter_map(|reply| position(reply)));
                }
                let count = replies.len() as u64;
                if self.left.fetch_sub(count, Ordering::Relaxed) == count {
                    self.done.cancel();
                }
            }
        }
    }

    async fn ack(&self, replies: &[&async_nats::Subject]) -> Result<()> {
        const ACK: Bytes = Bytes::from_static(b"+ACK");
        let from = match self.policy {
            AckPolicy::Explicit => 0,
            AckPolicy::All => replies.len().saturating_sub(1),
            AckPolicy::None => replies.len(),
        };
        for reply in &replies[from..] {
            self.client.publish((*reply).clone(), ACK).await?;
        }
        Ok(())
    }
}

/// `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<ns>.<pending>`.
fn position(reply: &str) -> Option<Published> {
    let mut tokens = reply.split('.').skip(5);
    let seq = tokens.next()?.parse().ok()?;
    Some((seq, tokens.nth(1)?.parse().ok()?))
}
