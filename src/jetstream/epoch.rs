//! Since when the server remembers what it delivered.
//!
//! A nats-server that is killed forgets the deliveries and renewals of its last moments, and
//! counts the ack waits that it remembers as up to a second shorter (it writes down whole
//! seconds: `EncodeConsumerState`, measured with 2.15.1). So may a new leader of a consumer.
//! What was delivered before may then be delivered again while its first holder still has it.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{Config, StorageType};
use bytes::Bytes;
use serde::Deserialize;
use time::OffsetDateTime;

use super::topology::{self, TopologyError};
use crate::settings;

/// A time in which a consumer's deliveries are all remembered. Another one begins when the
/// server is restarted, the consumer has a new leader, or is made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    server_since: OffsetDateTime,
    consumer_created: OffsetDateTime,
}

#[cfg(test)]
impl Epoch {
    /// One that tests can tell from others.
    pub fn number(number: i64) -> Self {
        Self {
            server_since: OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(number),
            consumer_created: OffsetDateTime::UNIX_EPOCH,
        }
    }
}

#[derive(Deserialize)]
struct ConsumerInfo {
    #[serde(with = "time::serde::rfc3339")]
    created: OffsetDateTime,
    /// The server's time; nats-server 2.10 and later.
    #[serde(default, with = "time::serde::rfc3339::option")]
    ts: Option<OffsetDateTime>,
    cluster: Option<Cluster>,
}

#[derive(Deserialize)]
struct Cluster {
    name: Option<String>,
    /// Of a consumer with replicas; nats-server 2.12 and later.
    #[serde(default, with = "time::serde::rfc3339::option")]
    leader_since: Option<OffsetDateTime>,
}

/// The epoch of a consumer, and how old it is. `signals` is the stream whose marker tells when
/// a single server was started; `stream` is the consumer's.
///
/// # Errors
/// When the JetStream API fails, or there is no such consumer.
pub async fn current(
    context: &Context,
    signals: &settings::Stream,
    stream: &str,
    consumer: &str,
) -> Result<(Epoch, Duration), TopologyError> {
    let action = || format!("look up consumer {consumer} of stream {stream}");
    // Not by the crate's request, which has a body: the server refuses one here.
    let subject = format!("$JS.API.CONSUMER.INFO.{stream}.{consumer}");
    let answer = context.client().request(subject, Bytes::new()).await;
    let answer = answer.map_err(|error| TopologyError::api(action(), error))?;
    let info: ConsumerInfo = match serde_json::from_slice(&answer.payload) {
        Ok(Response::Ok(info)) => info,
        Ok(Response::Err { error }) => return Err(TopologyError::api(action(), error)),
        Err(error) => return Err(TopologyError::api(action(), error)),
    };
    let server_since = match info.cluster {
        // Without the time, what its replicas keep has to do.
        Some(cluster) if cluster.name.is_some() => {
            cluster.leader_since.unwrap_or(OffsetDateTime::UNIX_EPOCH)
        }
        _ => topology::ensure(context, marker(signals)).await?.created,
    };
    let epoch = Epoch {
        server_since,
        consumer_created: info.created,
    };
    let now = info.ts.unwrap_or_else(OffsetDateTime::now_utc);
    // Negative where the marker was made after the consumer was asked.
    let age = Duration::try_from(now - server_since.max(info.created)).unwrap_or_default();
    Ok((epoch, age))
}

/// A stream without messages, in memory, so that it is gone when the server was restarted:
/// when it was created, the server had been started. A server in a cluster needs none.
fn marker(signals: &settings::Stream) -> Config {
    let name = format!("{}_EPOCH", signals.name);
    Config {
        subjects: vec![name.clone()],
        name,
        storage: StorageType::Memory,
        num_replicas: 1,
        max_messages: 1,
        ..Config::default()
    }
}
