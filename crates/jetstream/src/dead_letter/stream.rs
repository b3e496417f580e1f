//! Reads and removes dead letters. Their stream may hold millions, so it is streamed and never
//! collected.

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{DiscardPolicy, Info};
use time::OffsetDateTime;

use crate::Plan;
use crate::stored::{self, StoredError, StoredMessage};
use crate::topology::{self, TopologyError};

use super::publish::has_no_room;
use super::read::join;
use super::{DeadLetterHead, NotStored, OriginalBody, Prefixes, subject};

/// Largest record of a replay in its stream, in bytes.
const RECORD_BYTES_MAX: u64 = 1024;

/// Reason for which dead letters cannot be read or removed.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterStreamError {
    /// The lookup of the stream failed.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// The stream of dead letters does not exist.
    #[error("stream {0} does not exist, so there are no dead letters; `risksignal run` creates it")]
    NoStream(String),
    /// The dead letter does not exist.
    #[error(
        "stream {stream} has no dead letter {sequence}; `risksignal dead-letters list` shows the existing ones"
    )]
    NoLetter {
        /// Stream of dead letters.
        stream: String,
        /// Requested sequence.
        sequence: u64,
    },
    /// Some parts of a dead letter are missing.
    #[error(
        "dead letter {sequence} has {found} of its {of} parts; a daemon may be publishing the others now, so try again, and purge it if that does not help"
    )]
    Incomplete {
        /// Sequence of the dead letter.
        sequence: u64,
        /// Number of present parts.
        found: usize,
        /// Number of expected parts.
        of: u64,
    },
    /// A message cannot be read or removed.
    #[error(transparent)]
    Stored(#[from] StoredError),
    /// The record of a replay cannot be written or read.
    #[error(
        "the record of the replay of dead letter {letter} is not stored: {source}{}",
        advice(.source)
    )]
    Intent {
        /// Sequence of the dead letter.
        letter: u64,
        /// Cause of the failure.
        source: NotStored,
    },
    /// Records of replays would push dead letters out of their stream.
    #[error(
        "stream {stream} is full and drops its oldest dead letters for new messages (discard: old), so the records of a replay would push out dead letters; raise its max_msgs and max_bytes for the time of the replay"
    )]
    PushesOut {
        /// Stream of dead letters.
        stream: String,
    },
    /// The scan failed for good.
    #[error("cannot read stream {stream} from sequence {from} on: {what}")]
    Scan {
        /// Stream of dead letters.
        stream: String,
        /// First unread sequence.
        from: u64,
        /// Cause of the failure.
        what: String,
    },
}

/// A dead letter with its body.
#[derive(Debug, Clone)]
pub struct WholeDeadLetter {
    /// Headers of the dead letter.
    pub head: DeadLetterHead,
    /// Message as the application published it.
    pub body: OriginalBody,
    /// Sequences of its parts in the stream of dead letters.
    pub sequences: Vec<u64>,
}

/// Range of a scan, and a filter that the server applies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SequenceRange {
    /// NATS pattern for the original subject; `None` accepts all.
    pub subject: Option<String>,
    /// Earliest time.
    pub since: Option<OffsetDateTime>,
    /// First sequence.
    pub first: u64,
    /// Last sequence; `None` means the last one when the stream was opened.
    pub last: Option<u64>,
    /// Reads the bodies, too.
    pub with_bodies: bool,
}

/// The stream of dead letters in its state at opening. A scan does not follow dead letters that
/// arrive later, such as those of a failed replay.
#[derive(Debug, Clone)]
pub struct DeadLetterStream {
    pub(super) context: Context,
    info: Info,
    subject_prefix: String,
    signals_prefix: String,
}

impl DeadLetterStream {
    /// Looks up the stream.
    ///
    /// # Errors
    /// Fails when the stream does not exist, or JetStream fails.
    pub async fn open(context: &Context, plan: Plan<'_>) -> Result<Self, DeadLetterStreamError> {
        let name = &plan.dead_letters.name;
        let info = topology::find_stream(context, name).await?;
        Ok(Self {
            context: context.clone(),
            info: info.ok_or_else(|| DeadLetterStreamError::NoStream(name.clone()))?,
            subject_prefix: plan.dead_letters.subject_prefix.clone(),
            signals_prefix: plan.stream.subject_prefix.clone(),
        })
    }

    /// Returns the name of the stream.
    pub fn stream(&self) -> &str {
        &self.info.config.name
    }

    /// Returns the creation time of the stream: nanoseconds since the epoch.
    pub fn created_ns(&self) -> i128 {
        self.info.created.unix_timestamp_nanos()
    }

    /// Returns the first sequence at opening.
    pub fn first_sequence(&self) -> u64 {
        self.info.state.first_sequence
    }

    /// Returns the last sequence at opening.
    pub fn last_sequence(&self) -> u64 {
        self.info.state.last_sequence
    }

    /// Checks that the stream had room for `records` more messages at opening, if it would drop
    /// dead letters for them. A stream that rejects new messages when full drops none.
    ///
    /// # Errors
    /// Returns [`DeadLetterStreamError::PushesOut`].
    pub fn check_room(&self, records: u64) -> Result<(), DeadLetterStreamError> {
        let (config, state) = (&self.info.config, &self.info.state);
        let fits = |max: i64, taken: u64, more: u64| {
            u64::try_from(max).map_or(true, |max| max == 0 || taken + more <= max)
        };
        let has_room = fits(config.max_messages, state.messages, records)
            && fits(config.max_bytes, state.bytes, records * RECORD_BYTES_MAX);
        if has_room || config.discard != DiscardPolicy::Old {
            return Ok(());
        }
        Err(DeadLetterStreamError::PushesOut {
            stream: self.stream().to_owned(),
        })
    }

    /// Returns patterns for the subjects of all dead letters whose original subjects match
    /// `pattern`, and of some others; none means every dead letter.
    pub(super) fn filters(&self, pattern: &str) -> Vec<String> {
        let prefixes = Prefixes {
            letters: &self.subject_prefix,
            signals: &self.signals_prefix,
        };
        subject::filters(prefixes, pattern, &self.info.config.subjects)
    }

    /// Returns the subject of the record of a dead letter's replay.
    pub(super) fn intent_subject(&self, letter: u64) -> String {
        format!(
            "{}.{}.~replay.{letter}",
            self.subject_prefix, self.signals_prefix
        )
    }

    /// Reports whether a dead letter's original subject matches a pattern. For a message from
    /// another program, the message's own subject counts.
    pub(super) fn matches(&self, head: &DeadLetterHead, pattern: &str) -> bool {
        let own = head.letter_subject.strip_prefix(&self.subject_prefix);
        let own = own.and_then(|rest| rest.strip_prefix('.'));
        let subject = Some(head.subject.as_str()).filter(|subject| !subject.is_empty());
        let subject = subject.or(own);
        subject.is_some_and(|subject| topology::subject_covers(pattern, subject))
    }

    /// Returns the dead letter with this sequence, or with a part of this sequence.
    ///
    /// # Errors
    /// Fails when the dead letter does not exist, or JetStream fails.
    pub async fn head(&self, sequence: u64) -> Result<DeadLetterHead, DeadLetterStreamError> {
        let message = self.message(sequence).await?;
        let head = head_of(&message);
        if head.replay_of.is_some() {
            return Err(self.no_letter(sequence));
        }
        if head.sequence == sequence {
            return Ok(head);
        }
        Ok(head_of(&self.message(head.sequence).await?))
    }

    /// Returns the dead letter with its body.
    ///
    /// # Errors
    /// Fails when the dead letter is gone, parts are missing, or JetStream fails.
    pub async fn whole(&self, sequence: u64) -> Result<WholeDeadLetter, DeadLetterStreamError> {
        let parts = self.parts(sequence).await?;
        let Some(first) = parts.first() else {
            return Err(self.no_letter(sequence));
        };
        let mut head = head_of(first);
        if parts.len() as u64 != head.part.of {
            return Err(DeadLetterStreamError::Incomplete {
                sequence,
                found: parts.len(),
                of: head.part.of,
            });
        }
        let headers = first.headers.as_ref();
        let headers = headers.map(|block| block.readable_headers());
        let sequences = parts.iter().map(|part| part.sequence).collect();
        let bodies: Vec<_> = parts.iter().map(|part| part.body.clone()).collect();
        let body = join(&head, &headers.unwrap_or_default(), &bodies);
        head.bytes = Some(body.bytes.len() as u64);
        Ok(WholeDeadLetter {
            head,
            body,
            sequences,
        })
    }

    /// Removes a dead letter with all its parts; returns `false` if it was already gone.
    ///
    /// # Errors
    /// Fails when JetStream fails.
    pub async fn remove(&self, head: &DeadLetterHead) -> Result<bool, DeadLetterStreamError> {
        let sequences = if head.part.of > 1 {
            let parts = self.parts(head.sequence).await?;
            parts.iter().map(|part| part.sequence).collect()
        } else {
            vec![head.sequence]
        };
        self.remove_sequences(&sequences).await
    }

    /// Removes the messages of a dead letter, the first one first: without its first part a dead
    /// letter counts as removed.
    ///
    /// # Errors
    /// Fails when JetStream fails.
    pub async fn remove_sequences(&self, sequences: &[u64]) -> Result<bool, DeadLetterStreamError> {
        let mut removed = false;
        for sequence in sequences {
            removed |= stored::remove(&self.context, self.stream(), *sequence).await?;
        }
        Ok(removed)
    }

    /// Removes a part whose first part is gone, as an interrupted removal leaves it.
    ///
    /// # Errors
    /// Fails when JetStream fails.
    pub async fn remove_orphan(
        &self,
        sequence: u64,
        head: &DeadLetterHead,
    ) -> Result<(), DeadLetterStreamError> {
        let first = stored::message(&self.context, self.stream(), head.sequence).await?;
        if first.is_none() {
            stored::remove(&self.context, self.stream(), sequence).await?;
        }
        Ok(())
    }

    async fn message(&self, sequence: u64) -> Result<StoredMessage, DeadLetterStreamError> {
        let found = stored::message(&self.context, self.stream(), sequence).await?;
        found.ok_or_else(|| self.no_letter(sequence))
    }

    /// Returns the present parts in order, from the first. Each has its own subject. Those of an
    /// older version follow each other on one subject, with other dead letters in between.
    async fn parts(&self, sequence: u64) -> Result<Vec<StoredMessage>, DeadLetterStreamError> {
        let Some(first) = stored::message(&self.context, self.stream(), sequence).await? else {
            return Ok(Vec::new());
        };
        let of = head_of(&first).part.of;
        let first_subject = first.subject.clone();
        let letter_subject = subject::without_part(&first_subject, of);
        let mut from = sequence;
        let mut parts = vec![first];
        while (parts.len() as u64) < of {
            let subject = match letter_subject {
                Some(letter) => subject::part_subject(letter, parts.len() as u64 + 1, of),
                None => first_subject.clone(),
            };
            from += 1;
            let next = stored::next_on_subject(&self.context, self.stream(), from, &subject);
            let Some(next) = next.await? else { break };
            from = next.sequence;
            let part = head_of(&next).part;
            if part.first_sequence == sequence && part.number == parts.len() as u64 + 1 {
                parts.push(next);
            }
        }
        Ok(parts)
    }

    pub(super) fn no_letter(&self, sequence: u64) -> DeadLetterStreamError {
        DeadLetterStreamError::NoLetter {
            stream: self.stream().to_owned(),
            sequence,
        }
    }
}

/// Returns advice if the stream has no room for a record.
fn advice(error: &NotStored) -> &'static str {
    match error {
        NotStored::Publish(error) if has_no_room(error) => {
            "; if the stream is full, raise its max_msgs or max_bytes for the time of the replay, since each running replay has a record there"
        }
        _ => "",
    }
}

fn head_of(message: &StoredMessage) -> DeadLetterHead {
    let headers = message.headers.as_ref();
    let headers = headers.map(|block| block.readable_headers());
    let mut head = DeadLetterHead::read(
        message.sequence,
        message.time,
        &message.subject,
        &headers.unwrap_or_default(),
    );
    head.bytes = Some(head.body_bytes(message.body.len() as u64));
    head
}
