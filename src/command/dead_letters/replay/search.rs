//! Search for a message in the stream that a replay publishes to.

use std::time::Duration;

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use futures_util::StreamExt;
use tokio::time::timeout;
use tracing::debug;

/// Messages in one request; only their headers are sent.
const PAGE: usize = 1000;
/// Time limit for the next message of a page.
const SILENCE: Duration = Duration::from_secs(5);
/// Idle time after which the server removes a reader.
const INACTIVE: Duration = Duration::from_secs(60);

/// Target of a search.
pub(super) struct SearchTarget<'a> {
    pub stream: &'a str,
    pub subject: &'a str,
    /// Message id.
    pub id: &'a str,
    /// First possible sequence.
    pub first: u64,
    /// Last possible sequence.
    pub last: u64,
}

/// Returns the sequences of all messages with the id, which any publisher may choose. Reads the
/// headers of all messages on the subject in the range.
///
/// # Errors
/// Fails when a message in the range cannot be read.
pub(super) async fn with_id(
    context: &Context,
    wanted: &SearchTarget<'_>,
) -> Result<Vec<u64>, String> {
    let mut found = Vec::new();
    if wanted.first > wanted.last {
        return Ok(found);
    }
    let config = pull::Config {
        deliver_policy: DeliverPolicy::ByStartSequence {
            start_sequence: wanted.first,
        },
        ack_policy: AckPolicy::None,
        // In the list, since the other field must fit into the subject of the request.
        filter_subjects: vec![wanted.subject.to_owned()],
        headers_only: true,
        memory_storage: true,
        num_replicas: 1,
        inactive_threshold: INACTIVE,
        ..pull::Config::default()
    };
    let reader = context.create_consumer_on_stream(config, wanted.stream);
    let reader = reader.await.map_err(|error| error.to_string())?;
    let all_read = read(&reader, wanted, &mut found).await;
    let name = reader.cached_info().name.clone();
    let deleted = context.delete_consumer_from_stream(name, wanted.stream);
    if let Err(error) = deleted.await {
        debug!(%error, "Reader not removed; the server forgets it");
    }
    all_read.map(|()| found)
}

async fn read(
    reader: &Consumer<pull::Config>,
    wanted: &SearchTarget<'_>,
    found: &mut Vec<u64>,
) -> Result<(), String> {
    let mut delivered = 0;
    let mut left = reader.cached_info().num_pending;
    while left > 0 {
        let page = reader.fetch().max_messages(PAGE).messages().await;
        let mut page = page.map_err(|error| error.to_string())?;
        let before = delivered;
        loop {
            let message = timeout(SILENCE, page.next()).await;
            let message = message.map_err(|_| "the server went silent".to_owned())?;
            let Some(message) = message else { break };
            let message = message.map_err(|error| error.to_string())?;
            let info = message.info().map_err(|error| error.to_string())?;
            delivered += 1;
            if info.consumer_sequence != delivered {
                return Err("messages were lost on the way".to_owned());
            }
            let headers = message.headers.as_ref();
            let id = headers.and_then(|headers| headers.get(NATS_MESSAGE_ID));
            if id.is_some_and(|id| id.as_str() == wanted.id) {
                found.push(info.stream_sequence);
            }
            if info.stream_sequence >= wanted.last {
                return Ok(());
            }
            left = info.pending;
        }
        if delivered == before {
            return Err("the server has messages and does not send them".to_owned());
        }
    }
    Ok(())
}
