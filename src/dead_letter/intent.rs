//! Records of replays that have begun. One stands beside its letter until both are removed, and
//! tells whoever replays the letter again that the message may be published already.

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;

use crate::jetstream::HeaderBlock;
use crate::jetstream::stored;

use super::history::{number, text};
use super::publish::is_taken;
use super::stream::{Letters, LettersError};
use super::{NotStored, name};

/// Where a replay's message may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The record's own sequence in the stream of dead letters.
    pub sequence: u64,
    /// The stream that the message is published to.
    pub stream: String,
    /// When that stream was created: nanoseconds since the epoch.
    pub stream_created_ns: i128,
    /// A sequence that the stream had before the message was published by anybody.
    pub after: u64,
}

/// What has become of the wish to be the first who replays a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intended {
    /// Nobody has published the letter's message before.
    First(Intent),
    /// Somebody has begun before, and may have.
    Before(Intent),
}

impl Letters {
    /// Records that a letter is going to be replayed to a stream, whose sequence is `after` at
    /// least. The stream of dead letters takes one such record of a letter.
    ///
    /// # Errors
    /// When it is not known to have one, which can be read.
    pub async fn intend(
        &self,
        letter: u64,
        stream: &str,
        stream_created_ns: i128,
        after: u64,
    ) -> Result<Intended, LettersError> {
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
            Ok(ack) => Ok(Intended::First(Intent {
                sequence: ack.sequence,
                stream: stream.to_owned(),
                stream_created_ns,
                after,
            })),
            Err(error) if is_taken(&error) => self.read_intent(letter, &subject).await,
            Err(source) => Err(LettersError::Intent {
                letter,
                source: NotStored::Publish(source),
            }),
        }
    }

    async fn read_intent(&self, letter: u64, subject: &str) -> Result<Intended, LettersError> {
        let found = stored::next_on_subject(&self.context, self.stream(), 1, subject).await?;
        // Whoever had it has replayed the letter, and removed both.
        let Some(found) = found else {
            return Err(self.no_letter(letter));
        };
        let headers = found.headers.as_ref().map(HeaderBlock::readable_headers);
        let headers = headers.unwrap_or_default();
        if number(&headers, name::REPLAY_OF) != letter {
            return Err(LettersError::Intent {
                letter,
                source: NotStored::Another {
                    stream: self.stream().to_owned(),
                    sequence: found.sequence,
                },
            });
        }
        let created = text(&headers, name::REPLAY_STREAM_CREATED);
        Ok(Intended::Before(Intent {
            sequence: found.sequence,
            stream: text(&headers, name::REPLAY_STREAM).unwrap_or_default(),
            stream_created_ns: created.and_then(|ns| ns.parse().ok()).unwrap_or_default(),
            after: number(&headers, name::REPLAY_AFTER),
        }))
    }

    /// Removes a record whose letter is gone; without its letter it means nothing.
    ///
    /// # Errors
    /// When JetStream fails.
    pub async fn remove_intent_without_letter(
        &self,
        sequence: u64,
        letter: u64,
    ) -> Result<(), LettersError> {
        let letter = stored::message(&self.context, self.stream(), letter).await?;
        if letter.is_none() {
            self.remove_sequences(&[sequence]).await?;
        }
        Ok(())
    }
}
