//! Single messages of a stream, by sequence.

use async_nats::jetstream::context::RequestError;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::{Context, ErrorCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::HeaderBlock;

/// A message as its stream keeps it. Its headers are not read yet: a client library may not
/// be able to.
#[derive(Debug, Clone)]
pub struct StoredMessage {
    /// The subject it was published on.
    pub subject: String,
    /// Its sequence in the stream.
    pub sequence: u64,
    /// Its headers, where it has any.
    pub headers: Option<HeaderBlock>,
    /// Its body.
    pub body: Bytes,
    /// When the stream took it.
    pub time: OffsetDateTime,
}

/// Why a message cannot be had or removed.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    /// No answer came.
    #[error("JetStream does not answer for message {sequence} of stream {stream}: {source}")]
    Request {
        /// The stream.
        stream: String,
        /// The sequence.
        sequence: u64,
        /// What the client says.
        source: RequestError,
    },
    /// The server refused.
    #[error("JetStream cannot {action} message {sequence} of stream {stream}: {source}")]
    Refused {
        /// What was asked.
        action: &'static str,
        /// The stream.
        stream: String,
        /// The sequence.
        sequence: u64,
        /// What the server says.
        source: async_nats::jetstream::Error,
    },
    /// The answer is not what this program knows.
    #[error("cannot read JetStream's answer for message {sequence} of stream {stream}: {what}")]
    Answer {
        /// The stream.
        stream: String,
        /// The sequence.
        sequence: u64,
        /// What is wrong with it.
        what: String,
    },
}

#[derive(Deserialize)]
struct Answer {
    message: Encoded,
}

#[derive(Deserialize)]
struct Encoded {
    subject: String,
    seq: u64,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
    time: String,
}

/// The message with this sequence; `None` when there is none (any more).
///
/// # Errors
/// When JetStream does not answer, or not with a message.
pub async fn message(
    context: &Context,
    stream: &str,
    sequence: u64,
) -> Result<Option<StoredMessage>, StoredError> {
    get(context, stream, sequence, json!({ "seq": sequence })).await
}

/// The first message on a subject whose sequence is `sequence` or higher.
///
/// # Errors
/// As [`message`].
pub async fn next_on_subject(
    context: &Context,
    stream: &str,
    sequence: u64,
    subject: &str,
) -> Result<Option<StoredMessage>, StoredError> {
    let request = json!({ "seq": sequence, "next_by_subj": subject });
    get(context, stream, sequence, request).await
}

async fn get(
    context: &Context,
    stream: &str,
    sequence: u64,
    request: Value,
) -> Result<Option<StoredMessage>, StoredError> {
    let answer: Response<Answer> = context
        .request(format!("STREAM.MSG.GET.{stream}"), &request)
        .await
        .map_err(|source| StoredError::Request {
            stream: stream.to_owned(),
            sequence,
            source,
        })?;
    match answer {
        Response::Ok(answer) => {
            decode(answer.message)
                .map(Some)
                .map_err(|what| StoredError::Answer {
                    stream: stream.to_owned(),
                    sequence,
                    what,
                })
        }
        Response::Err { error } if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => Ok(None),
        Response::Err { error } => Err(StoredError::Refused {
            action: "get",
            stream: stream.to_owned(),
            sequence,
            source: error,
        }),
    }
}

fn decode(message: Encoded) -> Result<StoredMessage, String> {
    let bytes = |text: &str| STANDARD.decode(text).map_err(|error| error.to_string());
    Ok(StoredMessage {
        headers: match message.hdrs.as_str() {
            "" => None,
            encoded => Some(HeaderBlock::new(bytes(encoded)?)),
        },
        body: bytes(&message.data)?.into(),
        time: OffsetDateTime::parse(&message.time, &Rfc3339).map_err(|error| error.to_string())?,
        subject: message.subject,
        sequence: message.seq,
    })
}

/// Removes a message; `false` when it was not there (any more).
///
/// # Errors
/// When JetStream does not answer, or does not allow it.
pub async fn remove(context: &Context, stream: &str, sequence: u64) -> Result<bool, StoredError> {
    #[derive(Deserialize)]
    struct Removed {
        success: bool,
    }
    // To overwrite the bytes on disk would take long, and is not what a removal is for.
    let request = json!({ "seq": sequence, "no_erase": true });
    let answer: Response<Removed> = context
        .request(format!("STREAM.MSG.DELETE.{stream}"), &request)
        .await
        .map_err(|source| StoredError::Request {
            stream: stream.to_owned(),
            sequence,
            source,
        })?;
    match answer {
        Response::Ok(removed) => Ok(removed.success),
        // There is no such message: the sequence is unknown, or was removed before.
        Response::Err { error } if is_absent(&error) => Ok(false),
        Response::Err { error } => Err(StoredError::Refused {
            action: "remove",
            stream: stream.to_owned(),
            sequence,
            source: error,
        }),
    }
}

/// Whether a removal failed since there was nothing to remove.
fn is_absent(error: &async_nats::jetstream::Error) -> bool {
    [
        ErrorCode::NO_MESSAGE_FOUND,
        ErrorCode::SEQUENCE_NOT_FOUND,
        ErrorCode::STREAM_MESSAGE_DELETE_FAILED,
    ]
    .contains(&error.error_code())
        && ["not found", "no message found"]
            .iter()
            .any(|words| error.to_string().contains(words))
}
