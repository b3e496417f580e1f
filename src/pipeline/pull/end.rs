//! How a pull ends.

use std::time::Duration;

use async_nats::{Message, StatusCode};

use crate::jetstream::topology::TopologyError;

/// Why a pull failed; the next one has a new subscription.
#[derive(Debug, thiserror::Error)]
pub(super) enum PullError {
    #[error("cannot subscribe: {0}")]
    Subscribe(#[from] async_nats::SubscribeError),
    #[error("cannot ask for messages: {0}")]
    Request(#[from] async_nats::PublishError),
    #[error("the server sent no heartbeat for {}", humantime::format_duration(*.0))]
    Silent(Duration),
    #[error("the server ended the pull: {0}")]
    Ended(String),
    #[error("the subscription was closed")]
    Closed,
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error("the stream or the consumer was recreated")]
    SourceChanged,
    #[error("the client has connected again")]
    Reconnected,
}

/// How a pull ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It has all it asked for, or its time is over: ask again.
    Done,
    /// The daemon stops.
    Stopped,
}

/// What a status means for the pull; `None` for one that does not end it.
pub(super) fn ending(status: StatusCode, message: &Message) -> Option<Result<End, PullError>> {
    let description = message.description.as_deref().unwrap_or_default();
    match status {
        StatusCode::IDLE_HEARTBEAT => None,
        // Comes behind the last message of a pull with a bound on bytes; that message has
        // ended the pull.
        _ if description.contains("Batch Completed") => None,
        StatusCode::TIMEOUT | StatusCode::NOT_FOUND => Some(Ok(End::Done)),
        // The next message does not fit into what is left of this pull's bytes. A pull has
        // room for the largest message there can be, which is checked at the start.
        _ if description.contains("Exceeds MaxBytes") => Some(Ok(End::Done)),
        status => Some(Err(PullError::Ended(format!("{status} {description}")))),
    }
}
