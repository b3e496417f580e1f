//! What JetStream says to a publish.

use async_nats::jetstream::{self, ErrorCode};
use async_nats::{Message, StatusCode};
use serde::Deserialize;

/// What JetStream says to a publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The stream has it.
    Stored {
        /// The stream's name.
        stream: String,
        /// The message's place in it; of the one stored before, for a duplicate.
        sequence: u64,
        /// The stream had one of the same id.
        duplicate: bool,
    },
    /// The stream, its account or the server has no room for it at present.
    Full(String),
    /// Nothing takes it at present.
    NotNow(String),
    /// It would be refused again.
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

impl Answer {
    /// From the message that came to the reply subject.
    pub fn of(message: &Message) -> Self {
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            return Self::NotNow("no stream takes the subject".to_owned());
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
            _ => Self::NotNow("the answer is no ack of JetStream".to_owned()),
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
        let words = error.to_string();
        match error.code() {
            _ if FULL.contains(&error.error_code()) => Self::Full(words),
            429 => Self::Full(words),
            // The same id is being stored at this moment, or the stream is not available.
            409 | 503 => Self::NotNow(words),
            _ => Self::Never(words),
        }
    }
}
