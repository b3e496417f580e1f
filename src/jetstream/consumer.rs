//! The durable pull consumer: created when absent, checked when present, and updated only where
//! that leaves its delivery state alone.

use async_nats::jetstream::{
    Context,
    consumer::{self, DeliverPolicy, Info, PriorityPolicy, ReplayPolicy, pull},
    context::ConsumerInfoErrorKind,
};

use super::topology::TopologyError;
use crate::settings::{AckPolicy, Consumer};

/// The only group of a consumer whose messages go to one instance at a time.
pub const PRIORITY_GROUP: &str = "risksignal";
/// The header that tells the instance which has the messages so, on each of them.
pub const PIN_ID: &str = "Nats-Pin-Id";
/// The server that knows of pinned clients, and newer ones.
const PINNED_CLIENTS_SINCE: (i64, i64, i64) = (2, 11, 0);

/// Gets the durable pull consumer: created when absent, updated where only its time-outs or
/// its bounds differ from the settings.
///
/// # Errors
/// When the JetStream API fails, the server knows no pinned clients and the settings need
/// them, or a consumer of that name exists whose delivery state would have to change.
pub async fn ensure(
    context: &Context,
    stream: &str,
    consumer: &Consumer,
) -> Result<Info, TopologyError> {
    check_server(context, consumer)?;
    let wanted = config(consumer);
    if let Some(found) = find(context, stream, &consumer.name).await? {
        check(stream, &found, consumer)?;
        let config = &found.config;
        if config.ack_wait == wanted.ack_wait
            && config.max_ack_pending == wanted.max_ack_pending
            && config.max_deliver == wanted.max_deliver
            && config.priority_timeout == wanted.priority_timeout
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

/// What is asked of the server.
fn config(consumer: &Consumer) -> pull::Config {
    let config = pull::Config {
        durable_name: Some(consumer.name.clone()),
        ack_policy: consumer::AckPolicy::Explicit,
        deliver_policy: DeliverPolicy::All,
        replay_policy: ReplayPolicy::Instant,
        ack_wait: consumer.ack_wait,
        max_ack_pending: i64::try_from(consumer.max_ack_pending).unwrap_or(i64::MAX),
        max_deliver: match consumer.max_deliver {
            0 => -1,
            times => i64::from(times),
        },
        ..pull::Config::default()
    };
    match consumer.ack_policy {
        AckPolicy::Explicit => config,
        AckPolicy::All => pull::Config {
            ack_policy: consumer::AckPolicy::All,
            priority_policy: PriorityPolicy::PinnedClient,
            priority_groups: vec![PRIORITY_GROUP.to_owned()],
            // A pull takes at most half of it, so one that is alive keeps its pin.
            priority_timeout: consumer.ack_wait / 2,
            ..config
        },
    }
}

/// Refuses a server that would make a consumer without a pinned client of what it is asked
/// for.
///
/// # Errors
/// [`TopologyError::NoPinnedClients`].
pub fn check_server(context: &Context, consumer: &Consumer) -> Result<(), TopologyError> {
    let (client, (major, minor, patch)) = (context.client(), PINNED_CLIENTS_SINCE);
    if consumer.ack_policy == AckPolicy::Explicit
        || client.is_server_compatible(major, minor, patch)
    {
        return Ok(());
    }
    Err(TopologyError::NoPinnedClients {
        version: client.server_info().version,
    })
}

/// The consumer's configuration and state, or `None` when there is no such consumer.
///
/// # Errors
/// When the JetStream API fails.
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

/// Refuses a consumer that the settings do not describe and that an update would not make so.
///
/// # Errors
/// [`TopologyError::ConsumerConflict`] with the first difference.
pub fn check(stream: &str, found: &Info, consumer: &Consumer) -> Result<(), TopologyError> {
    let (config, wanted) = (&found.config, self::config(consumer));
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
    if config.ack_policy != wanted.ack_policy {
        let (found, wanted) = (config.ack_policy, wanted.ack_policy);
        return differs("ack_policy", format!("{found:?}"), &format!("{wanted:?}"));
    }
    if config.priority_policy != wanted.priority_policy
        || config.priority_groups != wanted.priority_groups
    {
        let told = |policy, groups: &[String]| format!("{policy:?} {groups:?}");
        let found = told(&config.priority_policy, &config.priority_groups);
        let wanted = told(&wanted.priority_policy, &wanted.priority_groups);
        return differs("priority_policy", found, &wanted);
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
    Ok(())
}
