//! Looking for a message in the stream that a replay publishes to.

use std::time::Duration;

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use futures_util::StreamExt;
use tokio::time::timeout;
use tracing::debug;

/// Messages that are asked for at once; only their headers come.
const PAGE: usize = 1000;
/// How long the next message of a page may take.
const SILENCE: Duration = Duration::from_secs(5);
/// The server forgets a reader that has not asked for so long.
const INACTIVE: Duration = Duration::from_secs(60);

/// What to look for.
pub(super) struct Wanted<'a> {
    pub stream: &'a str,
    pub subject: &'a str,
    /// The id it was published under.
    pub id: &'a str,
    /// The first sequence it may have.
    pub first: u64,
    /// The last sequence it may have.
    pub last: u64,
}

/// The sequences of all messages with the id: any publisher may choose that id. Reads the headers
/// of all messages on the subject in the range.
///
/// # Errors
/// When not all of them could be read.
pub(super) async fn with_id(context: &Context, wanted: &Wanted<'_>) -> Result<Vec<u64>, String> {
    let mut found = Vec::new();
    if wanted.first > wanted.last {
        return Ok(found);
    }
    let config = pull::Config {
        deliver_policy: DeliverPolicy::ByStartSequence {
            start_sequence: wanted.first,
        },
        ack_policy: AckPolicy::None,
        // In the list, since the other has to fit into the subject of the request.
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
    wanted: &Wanted<'_>,
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
