//! The publisher: a process of its own, which no fault reaches. It publishes every message of
//! a run, each until JetStream has answered for it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::{self, Context};
use async_nats::{ConnectOptions, HeaderMap};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::signals::message;

/// The header that names to the oracle the message of a dead letter.
pub const NUMBER_HEADER: &str = "Chaos-Number";

/// Messages published and not yet answered for, at most.
const UNANSWERED_MAX: u32 = 2_000;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Messages to publish, and the servers.
#[derive(Debug, Clone)]
pub struct Job {
    /// NATS servers, separated by commas.
    pub servers: String,
    pub seed: u64,
    pub count: u64,
    /// Messages a second.
    pub rate: u64,
}

/// Publishes the numbers from 0 to `count`; when an outage has held it up, as fast as it can.
pub async fn publish(job: &Job) -> Result<()> {
    let servers: Vec<&str> = job.servers.split(',').collect();
    let client = ConnectOptions::new()
        .name("chaos publisher")
        .retry_on_initial_connect()
        .reconnect_delay_callback(|_| RETRY_PAUSE)
        .connect(servers)
        .await?;
    let context = jetstream::new(client);
    let room = Arc::new(Semaphore::new(UNANSWERED_MAX as usize));
    let start = Instant::now();
    for number in 0..job.count {
        sleep_until(start + Duration::from_secs(number) / u32::try_from(job.rate)?).await;
        let permit = Arc::clone(&room).acquire_owned().await?;
        let (context, seed) = (context.clone(), job.seed);
        tokio::spawn(async move {
            until_answered(&context, seed, number).await;
            drop(permit);
        });
    }
    let _all = room.acquire_many(UNANSWERED_MAX).await?;
    Ok(())
}

/// Publishes one message under the same id until the stream has it.
async fn until_answered(context: &Context, seed: u64, number: u64) {
    let message = message(seed, number);
    let body = bytes::Bytes::from(message.body);
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, format!("{seed}-{number}"));
    headers.insert(NUMBER_HEADER, number.to_string());
    loop {
        let published = async {
            context
                .publish_with_headers(message.subject, headers.clone(), body.clone())
                .await?
                .await
        };
        if let Ok(Ok(_)) = timeout(ANSWER_TIMEOUT, published).await {
            return;
        }
        sleep(RETRY_PAUSE).await;
    }
}
