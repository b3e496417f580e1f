//! Records of started replays. Such a record exists until it and its dead letter are removed. It
//! shows anyone who replays the dead letter again that the message may already be published.

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;

use crate::HeaderBlock;
use crate::stored;

use super::fields::{number, text};
use super::publish::is_taken;
use super::stream::{DeadLetterStream, DeadLetterStreamError};
use super::{NotStored, name};

/// Possible place of a replay's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Sequence of the record itself in the stream of dead letters.
    pub sequence: u64,
    /// Stream that the message is published to.
    pub stream: String,
    /// Creation time of that stream: nanoseconds since the epoch.
    pub stream_created_ns: i128,
    /// A sequence that the stream reached before anyone published the message.
    pub after: u64,
}

/// Result of an attempt to be the first to replay a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntentOutcome {
    /// Nobody has published the dead letter's message before.
    First(Intent),
    /// An earlier replay started, and may have published the message.
    Before(Intent),
}

impl DeadLetterStream {
    /// Records that a dead letter will be replayed to a stream whose sequence is at least `after`.
    /// The stream of dead letters accepts one such record for each dead letter.
    ///
    /// # Errors
    /// Fails when the stream may lack a readable record.
    pub async fn record_intent(
        &self,
        letter: u64,
        stream: &str,
        stream_created_ns: i128,
        after: u64,
    ) -> Result<IntentOutcome, DeadLetterStreamError> {
        let subject = self.intent_subject(letter);
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (NATS_EXPECTED_LAST_SUBJECT_SEQUENCE.as_ref(), "0".to_owned()),
            (name::REPLAY_OF, letter.to_string()),
            (name::REPLAY_STREAM, stream.to_owned()),
            (name::REPLAY_STREAM_CREATED, stream_created_ns.to_string()),
            (name::REPLAY_AFTER, after.to_string()),
        ] {
            headers.insert(name, value.as_str());
        }
        let publish = async {
            let context = &self.context;
            let publish = context.publish_with_headers(subject.clone(), headers, "".into());
            publish.await?.await
        };
        match publish.await {
            Ok(ack) => Ok(IntentOutcome::First(Intent {
                sequence: ack.sequence,
                stream: stream.to_owned(),
                stream_created_ns,
                after,
            })),
            Err(error) if is_taken(&error) => self.read_intent(letter, &subject).await,
            Err(source) => Err(DeadLetterStreamError::Intent {
                letter,
                source: NotStored::Publish(source),
            }),
        }
    }

    async fn read_intent(
        &self,
        letter: u64,
        subject: &str,
    ) -> Result<IntentOutcome, DeadLetterStreamError> {
        let found = stored::next_on_subject(&self.context, self.stream(), 1, subject).await?;
        // An earlier replay finished, and removed the record and the dead letter.
        let Some(found) = found else {
            return Err(self.no_letter(letter));
        };
        let headers = found.headers.as_ref().map(HeaderBlock::readable_headers);
        let headers = headers.unwrap_or_default();
        if number(&headers, name::REPLAY_OF) != letter {
            return Err(DeadLetterStreamError::Intent {
                letter,
                source: NotStored::Another {
                    stream: self.stream().to_owned(),
                    sequence: found.sequence,
                },
            });
        }
        let created = text(&headers, name::REPLAY_STREAM_CREATED);
        Ok(IntentOutcome::Before(Intent {
            sequence: found.sequence,
            stream: text(&headers, name::REPLAY_STREAM).unwrap_or_default(),
            stream_created_ns: created.and_then(|ns| ns.parse().ok()).unwrap_or_default(),
            after: number(&headers, name::REPLAY_AFTER),
        }))
    }

    /// Removes a record whose dead letter is gone, which makes it meaningless.
    ///
    /// # Errors
    /// Fails when JetStream fails.
    pub async fn remove_intent_without_letter(
        &self,
        sequence: u64,
        letter: u64,
    ) -> Result<(), DeadLetterStreamError> {
        let letter = stored::message(&self.context, self.stream(), letter).await?;
        if letter.is_none() {
            self.remove_sequences(&[sequence]).await?;
        }
        Ok(())
    }
}
