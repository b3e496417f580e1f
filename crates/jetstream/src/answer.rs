//! Answers of JetStream to a publish.

use async_nats::jetstream::{self, ErrorCode};
use async_nats::{Message, StatusCode};
use claims_log::PublicAnswer;
use serde::Deserialize;
use tracing::debug;

/// Answer of JetStream to a publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishAnswer {
    /// The stream has stored the message.
    Stored {
        /// Name of the stream.
        stream: String,
        /// Sequence of the message, or of the earlier one if this is a duplicate.
        sequence: u64,
        /// True if the stream already had a message of the same id.
        duplicate: bool,
    },
    /// The stream, its account or the server has no room at present.
    Full(String),
    /// Nothing accepts the message at present.
    NotNow(String),
    /// The server would reject the message again.
    Never(String),
}

#[derive(Deserialize)]
struct Ack {
    #[serde(default)]
    stream: String,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<jetstream::Error>,
}

impl PublishAnswer {
    /// Parses a message that arrived on the reply subject.
    pub fn parse(message: &Message) -> Self {
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            return Self::NotNow("no stream has the subject".to_owned());
        }
        match serde_json::from_slice::<Ack>(&message.payload) {
            Ok(Ack {
                error: Some(error), ..
            }) => Self::refusal(&error),
            Ok(ack) if ack.seq > 0 => Self::Stored {
                stream: ack.stream,
                sequence: ack.seq,
                duplicate: ack.duplicate,
            },
            _ => Self::NotNow("the answer is not an ack of JetStream".to_owned()),
        }
    }

    fn refusal(error: &jetstream::Error) -> Self {
        const FULL: [ErrorCode; 5] = [
            ErrorCode::STREAM_STORE_FAILED,
            ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
            ErrorCode::INSUFFICIENT_RESOURCES,
            ErrorCode::MEMORY_RESOURCES_EXCEEDED,
            ErrorCode::STORAGE_RESOURCES_EXCEEDED,
        ];
        debug!(words = %error, "JetStream's own words");
        let words = PublicAnswer(error).to_string();
        match error.code() {
            _ if FULL.contains(&error.error_code()) => Self::Full(words),
            429 => Self::Full(words),
            // The same id is being stored right now, or the stream is unavailable.
            409 | 503 => Self::NotNow(words),
            _ => Self::Never(words),
        }
    }
}
