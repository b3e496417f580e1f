//! Advisories on messages that were delivered as often as they may be. The server sends each
//! once, to whoever listens; a stream of its own keeps them for when a daemon is up again, as
//! it may be just such a message that ends the process.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use async_nats::jetstream::stream::{Config, RetentionPolicy};
use serde::Deserialize;
use time::OffsetDateTime;
use tokio::time::sleep;

use super::consumer;
use super::topology::{self, TopologyError};
use crate::settings::Settings;

/// How long an advisory may be on its way to its stream.
const ON_ITS_WAY: Duration = Duration::from_secs(2);

/// What the server says of such a message.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Advisory {
    /// The message's sequence in the stream of signals.
    pub stream_seq: u64,
    /// How often it was delivered.
    pub deliveries: u64,
    /// When the server gave up on it.
    #[serde(with = "time::serde::rfc3339")]
    pub timestamp: OffsetDateTime,
}

/// The stream of the consumer's advisories. Each consumer has its own, since no two streams
/// may take one subject.
pub fn stream_name(settings: &Settings) -> String {
    format!(
        "{}_ADVISORIES_{}",
        settings.dead_letters.name, settings.consumer.name
    )
}

/// How many advisories are not handled yet; `None` when their stream is gone.
///
/// # Errors
/// When the JetStream API fails.
pub async fn left(context: &Context, settings: &Settings) -> Result<Option<u64>, TopologyError> {
    let stream = topology::find_stream(context, &stream_name(settings)).await?;
    // A stream with the retention of a work queue keeps just what is not acked.
    Ok(stream.map(|stream| stream.state.messages))
}

/// What to do about [`lost`] messages, for people.
pub const LOST_REMEDY: &str = "stop every instance, delete the consumer (`nats consumer rm`), and start them again: every message of the stream is looked at once more; those in ClickHouse are left out, but those whose dead letters were replayed or removed come again";

/// How many messages the consumer has given up on without an advisory that is still to be
/// handled: the server could not store it. At least so many; that messages are being
/// delivered again hides some.
///
/// The server counts a message as redelivered until it is acked or removed, also when it has
/// given up on it, which is when it is no longer pending. With `consumer.max_deliver` at 1,
/// nats-server 2.11 and later report none (<https://github.com/nats-io/nats-server/pull/6877>).
/// Nothing is told where the consumer's ack policy is `all`: there is no bound on deliveries.
///
/// # Errors
/// When the JetStream API fails.
pub async fn lost(context: &Context, settings: &Settings) -> Result<u64, TopologyError> {
    match without_advisory(context, settings).await? {
        0 => Ok(0),
        first => {
            // An advisory may be on its way to its stream.
            sleep(ON_ITS_WAY).await;
            let second = without_advisory(context, settings).await?;
            Ok(first.min(second))
        }
    }
}

async fn without_advisory(context: &Context, settings: &Settings) -> Result<u64, TopologyError> {
    let Settings {
        stream, consumer, ..
    } = settings;
    let Some(consumer) = consumer::find(context, &stream.name, &consumer.name).await? else {
        return Ok(0);
    };
    if consumer.config.ack_policy == AckPolicy::All {
        return Ok(0);
    }
    let left = left(context, settings).await?.unwrap_or(0);
    let given_up = consumer
        .num_redelivered
        .saturating_sub(consumer.num_ack_pending);
    Ok((given_up as u64).saturating_sub(left))
}

/// Gets the stream of advisories and its consumer, which all instances share; creates what is
/// absent.
///
/// # Errors
/// When the JetStream API fails, or the stream exists without the advisories' subject.
pub async fn ensure(
    context: &Context,
    settings: &Settings,
) -> Result<Consumer<pull::Config>, TopologyError> {
    let stream = topology::ensure(context, config(settings))
        .await?
        .config
        .name;
    let name = &settings.consumer.name;
    let consumer = pull::Config {
        durable_name: Some(name.clone()),
        ack_policy: AckPolicy::Explicit,
        deliver_policy: DeliverPolicy::All,
        // Twice the ack wait of signals: a lease on an advisory begins late, and is renewed
        // as if it were one on a signal.
        ack_wait: settings.consumer.ack_wait * 2,
        max_deliver: -1,
        ..pull::Config::default()
    };
    let created = context.create_consumer_on_stream(consumer, &stream).await;
    created.map_err(|error| {
        TopologyError::api(
            format!("create or update consumer {name} of stream {stream}"),
            error,
        )
    })
}

/// The subject that the server sends the consumer's advisories on.
pub fn subject(settings: &Settings) -> String {
    format!(
        "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{}.{}",
        settings.stream.name, settings.consumer.name
    )
}

fn config(settings: &Settings) -> Config {
    Config {
        name: stream_name(settings),
        subjects: vec![subject(settings)],
        retention: RetentionPolicy::WorkQueue,
        storage: topology::storage(settings.stream.storage),
        num_replicas: settings.stream.replicas,
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advisory_is_read() {
        let json = r#"{"type":"io.nats.jetstream.advisory.v1.max_deliver","id":"7se1",
            "timestamp":"2026-11-24T18:23:11.952921668Z","stream":"S","consumer":"c",
            "stream_seq":1,"deliveries":2}"#;
        let advisory: Advisory = serde_json::from_str(json).unwrap();
        assert_eq!((advisory.stream_seq, advisory.deliveries), (1, 2));
    }
}
