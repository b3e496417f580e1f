//! The durable pull consumer: created if absent, checked if present, and updated only if its
//! delivery state stays.

use async_nats::jetstream::{
    Context,
    consumer::{self, DeliverPolicy, Info, PriorityPolicy, ReplayPolicy, pull},
    context::ConsumerInfoErrorKind,
};

use super::topology::TopologyError;
use crate::{AckPolicy, ConsumerOptions};

/// Priority group of a consumer created by a release before the claims log.
const FORMER_GROUP: &str = "risksignal";

/// Finds or creates the durable pull consumer, and updates timeouts and bounds that differ from the
/// settings. An existing consumer keeps its ack policy.
///
/// # Errors
/// Fails when the JetStream API fails, or an existing consumer of that name would lose its delivery
/// state.
pub async fn ensure(
    context: &Context,
    stream: &str,
    consumer: &ConsumerOptions,
) -> Result<Info, TopologyError> {
    let mut policy = consumer.ack_policy;
    let found = find(context, stream, &consumer.name).await?;
    if let Some(found) = &found {
        policy = check(stream, found)?;
    }
    let wanted = config(consumer, policy);
    if let Some(found) = found {
        let config = &found.config;
        if config.ack_wait == wanted.ack_wait
            && config.max_ack_pending == wanted.max_ack_pending
            && config.max_deliver == wanted.max_deliver
            && config.priority_groups == wanted.priority_groups
        {
            return Ok(found);
        }
    }
    context
        .create_consumer_on_stream(wanted, stream)
        .await
        .map(|created| created.cached_info().clone())
        .map_err(|error| {
            TopologyError::api(
                format!(
                    "create or update consumer {} of stream {stream}",
                    consumer.name
                ),
                error,
            )
        })
}

/// Returns the requested configuration.
fn config(consumer: &ConsumerOptions, policy: AckPolicy) -> pull::Config {
    pull::Config {
        durable_name: Some(consumer.name.clone()),
        ack_policy: match policy {
            AckPolicy::Explicit => consumer::AckPolicy::Explicit,
            AckPolicy::All => consumer::AckPolicy::All,
        },
        deliver_policy: DeliverPolicy::All,
        replay_policy: ReplayPolicy::Instant,
        ack_wait: consumer.ack_wait,
        max_ack_pending: i64::try_from(consumer.max_ack_pending).unwrap_or(i64::MAX),
        max_deliver: match (policy, consumer.max_deliver) {
            // An ack would cover a message that the server gave up on together with later ones.
            (AckPolicy::All, _) | (_, 0) => -1,
            (AckPolicy::Explicit, times) => i64::from(times),
        },
        ..pull::Config::default()
    }
}

/// Returns the consumer's configuration and state, or `None` if there is no such consumer.
///
/// # Errors
/// Fails when the JetStream API fails.
pub async fn find(
    context: &Context,
    stream: &str,
    name: &str,
) -> Result<Option<Info>, TopologyError> {
    let api = |error: async_nats::Error| {
        TopologyError::api(format!("look up consumer {name} of stream {stream}"), error)
    };
    let stream = context
        .get_stream_no_info(stream)
        .await
        .map_err(|error| api(error.into()))?;
    match stream.consumer_info(name).await {
        Ok(info) => Ok(Some(info)),
        Err(error)
            if matches!(
                error.kind(),
                ConsumerInfoErrorKind::NotFound | ConsumerInfoErrorKind::StreamNotFound
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(api(error.into())),
    }
}

/// Returns the consumer's ack policy. Rejects a consumer that the daemon cannot use and that an
/// update would not change.
///
/// # Errors
/// Returns [`TopologyError::ConsumerConflict`] with the first difference.
pub fn check(stream: &str, found: &Info) -> Result<AckPolicy, TopologyError> {
    let config = &found.config;
    let differs = |key, found: String, wanted: &str| {
        Err(TopologyError::ConsumerConflict {
            stream: stream.to_owned(),
            consumer: config.name.clone().unwrap_or_default(),
            key,
            found,
            wanted: wanted.to_owned(),
        })
    };
    if let Some(subject) = &config.deliver_subject {
        return differs("deliver_subject", subject.clone(), "none (a pull consumer)");
    }
    let policy = match config.ack_policy {
        consumer::AckPolicy::Explicit => AckPolicy::Explicit,
        consumer::AckPolicy::All => AckPolicy::All,
        found => return differs("ack_policy", format!("{found:?}"), "Explicit or All"),
    };
    // An update removes an earlier one.
    let is_former = config.priority_policy == PriorityPolicy::PinnedClient
        && config.priority_groups == [FORMER_GROUP];
    if config.priority_policy != PriorityPolicy::None && !is_former {
        let found = format!("{:?} {:?}", config.priority_policy, config.priority_groups);
        return differs("priority_policy", found, "none");
    }
    if config.deliver_policy != DeliverPolicy::All {
        let found = format!("{:?}", config.deliver_policy);
        return differs("deliver_policy", found, "All");
    }
    if config.replay_policy != ReplayPolicy::Instant {
        let found = format!("{:?}", config.replay_policy);
        return differs("replay_policy", found, "Instant");
    }
    if !config.filter_subject.is_empty() || !config.filter_subjects.is_empty() {
        let found = format!("{:?} {:?}", config.filter_subject, config.filter_subjects);
        return differs("filter_subject", found, "none");
    }
    if config.headers_only {
        return differs("headers_only", "true".to_owned(), "false");
    }
    if !config.backoff.is_empty() {
        let found = format!("{:?}", config.backoff);
        return differs("backoff", found, "none (ack_wait holds)");
    }
    Ok(policy)
}
