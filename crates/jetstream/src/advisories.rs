//! Advisories on messages that reached `consumer.max_deliver`. The server sends each advisory once,
//! to any subscriber. A stream stores them until a daemon runs again, since such a message may be
//! the one that ends the process.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use async_nats::jetstream::stream::{Config, RetentionPolicy};
use serde::Deserialize;
use time::OffsetDateTime;
use tokio::time::sleep;

use super::stored::{self, StoredError};
use super::topology::{self, TopologyError};
use super::{Plan, consumer};

/// Time that an advisory may take to reach its stream.
const ON_ITS_WAY: Duration = Duration::from_secs(2);

/// Reasons for which the pending advisories cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum AdvisoriesError {
    /// The lookup of their stream failed.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// An advisory cannot be read.
    #[error(
        "cannot read the advisories on messages that reached consumer.max_deliver, so the claims log cannot begin above them: {0}; does nats.user lack $JS.API.STREAM.MSG.GET of their stream (infra/nats/least-privilege.conf)?"
    )]
    Stored(#[from] StoredError),
}

/// Advisory of the server on such a message.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Advisory {
    /// Sequence of the message in the stream of signals.
    pub stream_seq: u64,
    /// Number of its deliveries.
    pub deliveries: u64,
    /// Time at which the server gave up on it.
    #[serde(with = "time::serde::rfc3339")]
    pub timestamp: OffsetDateTime,
}

/// Returns the name of the stream of the consumer's advisories. Each consumer has its own, since
/// two streams cannot have one subject.
pub fn stream_name(plan: Plan<'_>) -> String {
    format!(
        "{}_ADVISORIES_{}",
        plan.dead_letters.name, plan.consumer.name
    )
}

/// Returns the number of unhandled advisories; `None` if their stream is gone.
///
/// # Errors
/// Fails when the JetStream API fails.
pub async fn pending_count(
    context: &Context,
    plan: Plan<'_>,
) -> Result<Option<u64>, TopologyError> {
    let stream = topology::find_stream(context, &stream_name(plan)).await?;
    // A work-queue stream holds exactly the unacked messages.
    Ok(stream.map(|stream| stream.state.messages))
}

/// Returns the sequences of messages of a stream whose advisories are unhandled. The consumer's ack
/// floor may be above them, since the server waits for no ack of such a message.
///
/// # Errors
/// Fails when JetStream does not answer, or the user may not read the stream of advisories.
pub async fn pending_sequences(
    context: &Context,
    plan: Plan<'_>,
    stream_created: OffsetDateTime,
) -> Result<BTreeSet<u64>, AdvisoriesError> {
    let (mut found, mut from) = (BTreeSet::new(), 1);
    if pending_count(context, plan).await?.unwrap_or(0) == 0 {
        return Ok(found);
    }
    let stream = stream_name(plan);
    while let Some(message) = stored::next_on_subject(context, &stream, from, ">").await? {
        from = message.sequence.saturating_add(1);
        // The handler skips an unreadable advisory, too.
        let advisory = serde_json::from_slice::<Advisory>(&message.body);
        let of_stream = advisory.ok().filter(|one| one.timestamp > stream_created);
        found.extend(of_stream.map(|one| one.stream_seq));
    }
    Ok(found)
}

/// Remedy for [`lost_count`] messages, for people.
pub const LOST_REMEDY: &str = "stop every instance, delete the consumer (`nats consumer rm`), and start them again: every message of the stream is delivered again; those in ClickHouse are not inserted again, but those whose dead letters were replayed or removed are";

/// Returns the number of messages that the consumer gave up on without an advisory, because the
/// server could not store it. This is a lower bound, since messages under redelivery hide some.
///
/// The server counts a message as redelivered until it is acked or removed, even after it gave up
/// on the message, which is then no longer pending. With `consumer.max_deliver` at 1, nats-server
/// 2.11 and later report none (<https://github.com/nats-io/nats-server/pull/6877>). With the ack
/// policy `all` the count is 0, since deliveries have no bound.
///
/// # Errors
/// Fails when the JetStream API fails.
pub async fn lost_count(context: &Context, plan: Plan<'_>) -> Result<u64, TopologyError> {
    match without_advisory(context, plan).await? {
        0 => Ok(0),
        first => {
            // An advisory may still be on its way to its stream.
            sleep(ON_ITS_WAY).await;
            let second = without_advisory(context, plan).await?;
            Ok(first.min(second))
        }
    }
}

async fn without_advisory(context: &Context, plan: Plan<'_>) -> Result<u64, TopologyError> {
    let Plan {
        stream, consumer, ..
    } = plan;
    let Some(consumer) = consumer::find(context, &stream.name, &consumer.name).await? else {
        return Ok(0);
    };
    if consumer.config.ack_policy == AckPolicy::All {
        return Ok(0);
    }
    let left = pending_count(context, plan).await?.unwrap_or(0);
    let given_up = consumer
        .num_redelivered
        .saturating_sub(consumer.num_ack_pending);
    Ok((given_up as u64).saturating_sub(left))
}

/// Finds or creates the stream of advisories and its consumer, which all instances share.
///
/// # Errors
/// Fails when the JetStream API fails, or the stream exists without the advisories' subject.
pub async fn ensure(
    context: &Context,
    plan: Plan<'_>,
) -> Result<Consumer<pull::Config>, TopologyError> {
    let stream = topology::ensure(context, config(plan)).await?.config.name;
    let name = &plan.consumer.name;
    let consumer = pull::Config {
        durable_name: Some(name.clone()),
        ack_policy: AckPolicy::Explicit,
        deliver_policy: DeliverPolicy::All,
        // Twice the ack wait of signals: a lease on an advisory begins late, and is renewed at the
        // pace of one on a signal.
        ack_wait: plan.consumer.ack_wait * 2,
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

/// Returns the subject of the consumer's advisories.
pub fn subject(plan: Plan<'_>) -> String {
    format!(
        "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{}.{}",
        plan.stream.name, plan.consumer.name
    )
}

fn config(plan: Plan<'_>) -> Config {
    Config {
        name: stream_name(plan),
        subjects: vec![subject(plan)],
        retention: RetentionPolicy::WorkQueue,
        storage: topology::storage(plan.stream.storage),
        num_replicas: plan.stream.replicas,
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
