//! Publishing of dead letters: each message is stored once, however often and however late the
//! daemon retries.

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID};
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::{Context, ErrorCode};
use bytes::Bytes;
use claims_log::PublicError;

use crate::HeaderBlock;
use crate::stored::{self, StoredError, StoredMessage};

use super::fields::{number, text};
use super::{DeadLetter, name, subject};

/// Headers that distinguish a dead letter, and a part, from every other.
const IDENTITY: [&str; 6] = [
    name::STREAM,
    name::STREAM_CREATED,
    name::SEQUENCE,
    name::PUBLISHED,
    name::PART,
    name::FIRST_PART,
];

/// Reason for which a dead letter may not be stored.
#[derive(Debug, thiserror::Error)]
pub enum NotStored {
    /// The stream of dead letters rejects it or does not answer.
    #[error("{}", PublicError(.0))]
    Publish(#[from] PublishError),
    /// The subject is taken, and the message there cannot be read.
    #[error(
        "the stream already has a message on the dead letter's subject, which cannot be read for comparison (the NATS user needs $JS.API.STREAM.MSG.GET.{stream}): {source}"
    )]
    Unread {
        /// Stream of dead letters.
        stream: String,
        /// Error of the client or the server.
        source: StoredError,
    },
    /// The stream has another message on the dead letter's subject.
    #[error(
        "stream {stream} has another message on the dead letter's subject, sequence {sequence}; `risksignal dead-letters purge --seq {sequence}` removes it"
    )]
    Another {
        /// Stream of dead letters.
        stream: String,
        /// Sequence of the other message.
        sequence: u64,
    },
    /// The message on the dead letter's subject was removed at that moment.
    #[error("the dead letter was removed from the stream meanwhile")]
    Removed,
}

/// One message of a dead letter.
struct Part {
    subject: String,
    id: String,
    headers: HeaderMap,
    body: Bytes,
}

/// Proof that a stream has a dead letter. Only the stream's answer creates it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredDeadLetter {
    sequence: u64,
}

impl StoredDeadLetter {
    /// Returns the sequence of the dead letter, or of its first part.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }
}

#[cfg(feature = "testing")]
impl StoredDeadLetter {
    /// Returns the answer that a letter is stored at a sequence, for tests.
    pub fn for_tests(sequence: u64) -> Self {
        Self { sequence }
    }
}

impl DeadLetter {
    /// Stores every part in `stream`.
    ///
    /// The stream accepts only the first message on a part's subject. So a retry after a crash
    /// stores nothing twice, however much later it comes.
    ///
    /// # Errors
    /// Fails when the stream may lack a part. The caller may retry.
    pub async fn store(
        &self,
        context: &Context,
        stream: &str,
    ) -> Result<StoredDeadLetter, NotStored> {
        let mut first = None;
        for index in 0..self.parts.len() {
            let sequence = self.part(index, first).store(context, stream).await?;
            first.get_or_insert(sequence);
        }
        // The first part always exists, even if empty.
        Ok(StoredDeadLetter {
            sequence: first.unwrap_or_default(),
        })
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
            part.subject = subject::part_subject(&self.subject, number as u64, of as u64);
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
        // An older version may have stored the dead letter on another subject under the same id.
        // The id does not include the publish time: in a stream restored from a backup, another
        // message may have had it.
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

    /// Returns the sequence of this part, which the stream seems to have.
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

    /// Reports whether a message is this part, possibly with another verdict on the same message.
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

/// Reports whether a stored message is the dead letter of a message with this body, or its first
/// part. Compares the body, since headers can be forged. A dead letter of another table than
/// `table` does not count: the message may fit this one.
pub fn is_dead_letter_of(letter: &StoredMessage, table: &str, body: &[u8]) -> bool {
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

/// Returns the original body of a whole dead letter. Original headers precede it or not, depending
/// on how the message was read.
fn without_headers<'b>(headers: &HeaderMap, body: &'b Bytes) -> Option<&'b [u8]> {
    body.get(usize::try_from(number(headers, name::HEADER_BYTES)).ok()?..)
}

/// Reports whether the subject has a message. Replicas that have not yet agreed on an earlier one
/// use a code of their own.
pub(super) fn is_taken(error: &PublishError) -> bool {
    error.kind() == PublishErrorKind::WrongLastSequence
        || code(error) == Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT)
}

/// Reports whether the stream, or its disk, is full.
pub(super) fn has_no_room(error: &PublishError) -> bool {
    code(error) == Some(ErrorCode::STREAM_STORE_FAILED)
}

fn code(error: &PublishError) -> Option<ErrorCode> {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<async_nats::jetstream::Error>())
        .map(|error| error.error_code())
}
