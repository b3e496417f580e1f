//! Single messages of a stream, by sequence.

use async_nats::jetstream::context::RequestError;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::{Context, ErrorCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use claims_log::{PublicAnswer, PublicError};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::HeaderBlock;

/// A message from its stream. Its headers are not parsed yet: a client library may fail to.
#[derive(Debug, Clone)]
pub struct StoredMessage {
    /// Subject that it was published on.
    pub subject: String,
    /// Sequence in the stream.
    pub sequence: u64,
    /// Headers, if it has any.
    pub headers: Option<HeaderBlock>,
    /// Body of the message.
    pub body: Bytes,
    /// Time at which the stream stored it.
    pub time: OffsetDateTime,
}

/// Reason for which a message cannot be read or removed.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    /// The server did not answer.
    #[error("JetStream does not answer for message {sequence} of stream {stream}: {}", PublicError(.source))]
    Request {
        /// Name of the stream.
        stream: String,
        /// Sequence of the message.
        sequence: u64,
        /// Error of the client.
        source: RequestError,
    },
    /// The server rejected the request. Displayed without its words.
    #[error("JetStream cannot {action} message {sequence} of stream {stream}: {}", PublicAnswer(.answer))]
    Refused {
        /// Requested action.
        action: &'static str,
        /// Name of the stream.
        stream: String,
        /// Sequence of the message.
        sequence: u64,
        /// Answer of the server.
        answer: async_nats::jetstream::Error,
    },
    /// The answer has an unknown form.
    #[error("cannot read JetStream's answer for message {sequence} of stream {stream}: {what}")]
    Answer {
        /// Name of the stream.
        stream: String,
        /// Sequence of the message.
        sequence: u64,
        /// Fault of the answer.
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

/// Returns the message with this sequence; `None` if there is none.
///
/// # Errors
/// Fails when JetStream does not answer, or not with a message.
pub async fn message(
    context: &Context,
    stream: &str,
    sequence: u64,
) -> Result<Option<StoredMessage>, StoredError> {
    get(context, stream, sequence, json!({ "seq": sequence })).await
}

/// Returns the first message on a subject whose sequence is `sequence` or higher.
///
/// # Errors
/// Fails as [`message`] does.
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
    let answer: Response<Answer> = ask(context, "GET", stream, sequence, &request).await?;
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
            answer: error,
        }),
    }
}

/// Sends a request about one message, and reads JetStream's answer.
async fn ask<T: DeserializeOwned>(
    context: &Context,
    action: &str,
    stream: &str,
    sequence: u64,
    request: &Value,
) -> Result<Response<T>, StoredError> {
    let answer = context.request(format!("STREAM.MSG.{action}.{stream}"), request);
    answer.await.map_err(|source| StoredError::Request {
        stream: stream.to_owned(),
        sequence,
        source,
    })
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

/// Removes a message; returns `false` if it was not there.
///
/// # Errors
/// Fails when JetStream does not answer, or denies the request.
pub async fn remove(context: &Context, stream: &str, sequence: u64) -> Result<bool, StoredError> {
    #[derive(Deserialize)]
    struct Removed {
        success: bool,
    }
    // Overwriting the bytes on disk would take long, and a removal does not need it.
    let request = json!({ "seq": sequence, "no_erase": true });
    let answer: Response<Removed> = ask(context, "DELETE", stream, sequence, &request).await?;
    match answer {
        Response::Ok(removed) => Ok(removed.success),
        // The sequence is unknown, or its message was removed before.
        Response::Err { error } if is_absent(&error) => Ok(false),
        Response::Err { error } => Err(StoredError::Refused {
            action: "remove",
            stream: stream.to_owned(),
            sequence,
            answer: error,
        }),
    }
}

/// Reports whether a removal failed since there was nothing to remove.
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
