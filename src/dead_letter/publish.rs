//! Storing a letter: each of its messages once, however often and however late it is repeated.

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID};
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::{Context, ErrorCode};
use bytes::Bytes;

use crate::jetstream::HeaderBlock;
use crate::jetstream::stored::{self, StoredError, StoredMessage};

use super::history::{number, text};
use super::{Letter, name, subject};

/// Headers that tell one letter, and one part of it, from every other.
const IDENTITY: [&str; 6] = [
    name::STREAM,
    name::STREAM_CREATED,
    name::SEQUENCE,
    name::PUBLISHED,
    name::PART,
    name::FIRST_PART,
];

/// Why a letter is not stored, as far as it is known.
#[derive(Debug, thiserror::Error)]
pub enum NotStored {
    /// The stream of dead letters does not take it, or does not answer.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The stream has a message on the letter's subject, and does not say which one.
    #[error(
        "the stream has a message already, which cannot be read to see that it is this letter (the NATS user needs $JS.API.STREAM.MSG.GET.{stream}): {source}"
    )]
    Unread {
        /// The stream of dead letters.
        stream: String,
        /// What the client or the server says.
        source: StoredError,
    },
    /// The stream has another message on the letter's subject.
    #[error(
        "stream {stream} has another message on the letter's subject, sequence {sequence}; `risksignal dead-letters purge --seq {sequence}` removes it"
    )]
    Another {
        /// The stream of dead letters.
        stream: String,
        /// The sequence of the other message.
        sequence: u64,
    },
    /// What the stream had on the letter's subject was removed at that moment.
    #[error("the stream had the letter, which was removed meanwhile")]
    Removed,
}

/// One message of a letter.
struct Part {
    subject: String,
    id: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Letter {
    /// Has `stream` keep every part, and returns the sequence of the first one.
    ///
    /// The stream takes only the first message on a part's subject. So a letter that is stored
    /// again after a crash is there once, however much later that is.
    ///
    /// # Errors
    /// When it is not known that the stream has every part. It may be tried again.
    pub async fn store(&self, context: &Context, stream: &str) -> Result<u64, NotStored> {
        let mut first = None;
        for index in 0..self.parts.len() {
            let sequence = self.part(index, first).store(context, stream).await?;
            first.get_or_insert(sequence);
        }
        // There is always a first part, if an empty one.
        Ok(first.unwrap_or_default())
    }

    fn part(&self, index: usize, first_sequence: Option<u64>) -> Part {
        let mut part = Part {
            subject: self.subject.clone(),
            id: self.message_id.clone(),
            headers: self.headers.clone(),
            body: self.parts[index].clone(),
        };
        let (number, of) = (index + 1, self.parts.len());
        if of > 1 {
            let bytes: usize = self.parts.iter().map(Bytes::len).sum();
            part.subject = subject::of_part(&self.subject, number as u64, of as u64);
            part.id = format!("{}-{number}", part.id);
            let number = format!("{number}/{of}");
            part.headers.insert(name::PART, number.as_str());
            part.headers
                .insert(name::BODY_BYTES, bytes.to_string().as_str());
        }
        if let Some(first) = first_sequence {
            let first = first.to_string();
            part.headers.insert(name::FIRST_PART, first.as_str());
        }
        part
    }
}

impl Part {
    async fn store(&self, context: &Context, stream: &str) -> Result<u64, NotStored> {
        let unread = |source| NotStored::Unread {
            stream: stream.to_owned(),
            source,
        };
        let ack = match self.publish(context, true).await {
            Ok(ack) if !ack.duplicate => return Ok(ack.sequence),
            Ok(ack) => ack,
            Err(error) if is_taken(&error) => return self.find(context, stream).await,
            Err(error) => return Err(error.into()),
        };
        // The id, under which an older version may have stored the letter on another subject,
        // does not say when the message was published: in a stream that was restored from a
        // backup another one may have had it.
        let found = stored::message(context, stream, ack.sequence).await;
        match found.map_err(unread)? {
            Some(found) if self.is(&found) => Ok(ack.sequence),
            _ => match self.publish(context, false).await {
                Ok(ack) => Ok(ack.sequence),
                Err(error) if is_taken(&error) => self.find(context, stream).await,
                Err(error) => Err(error.into()),
            },
        }
    }

    async fn publish(&self, context: &Context, with_id: bool) -> Result<PublishAck, PublishError> {
        let mut headers = self.headers.clone();
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
        if with_id {
            headers.insert(NATS_MESSAGE_ID, self.id.as_str());
        }
        let subject = self.subject.clone();
        let publish = context.publish_with_headers(subject, headers, self.body.clone());
        publish.await?.await
    }

    /// The sequence of this part, which the stream seems to have.
    async fn find(&self, context: &Context, stream: &str) -> Result<u64, NotStored> {
        let found = stored::next_on_subject(context, stream, 1, &self.subject).await;
        let found = found.map_err(|source| NotStored::Unread {
            stream: stream.to_owned(),
            source,
        })?;
        match found {
            Some(found) if self.is(&found) => Ok(found.sequence),
            Some(found) => Err(NotStored::Another {
                stream: stream.to_owned(),
                sequence: found.sequence,
            }),
            None => Err(NotStored::Removed),
        }
    }

    /// Whether a message is this part, if with another verdict on the same message.
    fn is(&self, message: &StoredMessage) -> bool {
        let headers = message.headers.as_ref().map(HeaderBlock::readable_headers);
        let headers = headers.unwrap_or_default();
        let same = |name| text(&headers, name) == text(&self.headers, name);
        let is_body = match self.headers.get(name::PART) {
            Some(_) => message.body == self.body,
            None => {
                without_headers(&headers, &message.body)
                    == without_headers(&self.headers, &self.body)
            }
        };
        IDENTITY.into_iter().all(same) && is_body
    }
}

/// Reports whether a stored message is the letter of a message with this body, or its first part,
/// judged by what it holds of the body: headers can be forged. A letter of another table than
/// `table` says nothing: the message may land in this one.
pub fn is_of(letter: &StoredMessage, table: &str, body: &[u8]) -> bool {
    let headers = letter.headers.as_ref().map(HeaderBlock::readable_headers);
    let headers = headers.unwrap_or_default();
    if text(&headers, name::TABLE).is_some_and(|other| other != table) {
        return false;
    }
    let is_part = headers.get(name::PART).is_some();
    without_headers(&headers, &letter.body).is_some_and(|held| match is_part {
        true => body.starts_with(held),
        false => held == body,
    })
}

/// The original body of a whole letter. Whether the original headers are before it differs with the
/// way in which the message was read.
fn without_headers<'b>(headers: &HeaderMap, body: &'b Bytes) -> Option<&'b [u8]> {
    body.get(usize::try_from(number(headers, name::HEADER_BYTES)).ok()?..)
}

/// Whether the subject has a message already. Replicas that have not agreed yet on an earlier
/// one say so under a code of their own.
pub(super) fn is_taken(error: &PublishError) -> bool {
    error.kind() == PublishErrorKind::WrongLastSequence
        || code(error) == Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT)
}

/// Whether the stream could not store a message: it is full, or its disk.
pub(super) fn has_no_room(error: &PublishError) -> bool {
    code(error) == Some(ErrorCode::STREAM_STORE_FAILED)
}

fn code(error: &PublishError) -> Option<ErrorCode> {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<async_nats::jetstream::Error>())
        .map(|error| error.error_code())
}
