//! The stream of dead letters, read and thinned out. It may hold millions, so letters are
//! passed through and never gathered.

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{DiscardPolicy, Info};
use time::OffsetDateTime;

use crate::jetstream::stored::{self, StoredError, StoredMessage};
use crate::jetstream::topology::{self, TopologyError};
use crate::settings::Settings;

use super::publish::has_no_room;
use super::read::join;
use super::scan::Scan;
use super::{Body, Head, NotStored, Prefixes, subject};

/// Bytes of the record of a replay in its stream, at most.
const RECORD_BYTES_MAX: u64 = 1024;

/// Why letters cannot be read or removed.
#[derive(Debug, thiserror::Error)]
pub enum LettersError {
    /// The stream cannot be looked up.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// There is no stream of dead letters.
    #[error("stream {0} does not exist, so there are no dead letters; `risksignal run` creates it")]
    NoStream(String),
    /// There is no such letter.
    #[error(
        "stream {stream} has no letter {sequence}; `risksignal dead-letters list` shows those there are"
    )]
    NoLetter {
        /// The stream of dead letters.
        stream: String,
        /// The sequence that was asked for.
        sequence: u64,
    },
    /// Some parts of a letter are not there.
    #[error(
        "letter {sequence} has {found} of its {of} parts; a daemon may be publishing the others just now, so try again, and purge it when that lasts"
    )]
    Incomplete {
        /// The letter's sequence.
        sequence: u64,
        /// Parts that are there.
        found: usize,
        /// Parts that there should be.
        of: u64,
    },
    /// A message cannot be had or removed.
    #[error(transparent)]
    Stored(#[from] StoredError),
    /// The record of a replay cannot be written or read.
    #[error(
        "the record of the replay of letter {letter} is not stored: {source}{}",
        advice(.source)
    )]
    Intent {
        /// The letter's sequence.
        letter: u64,
        /// Why.
        source: NotStored,
    },
    /// Records of replays would push letters out of their stream.
    #[error(
        "stream {stream} is full and drops its oldest letters for what comes (discard: old), so the records of a replay would lose letters; raise its max_msgs and max_bytes for the time of the replay"
    )]
    PushesOut {
        /// The stream of dead letters.
        stream: String,
    },
    /// Reading broke off for good.
    #[error("cannot read stream {stream} from sequence {from} on: {what}")]
    Scan {
        /// The stream of dead letters.
        stream: String,
        /// Where reading broke off.
        from: u64,
        /// Why.
        what: String,
    },
}

/// A letter with its body.
#[derive(Debug, Clone)]
pub struct Whole {
    /// What its headers say.
    pub head: Head,
    /// What the application had published.
    pub body: Body,
    /// Its sequences in the stream of dead letters: one for each part.
    pub sequences: Vec<u64>,
}

/// Where a scan begins and ends, and what the server leaves out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Range {
    /// A NATS pattern for the original subject; `None` takes all.
    pub subject: Option<String>,
    /// First time.
    pub since: Option<OffsetDateTime>,
    /// First sequence.
    pub first: u64,
    /// Last sequence; `None` is what was there when the stream was opened.
    pub last: Option<u64>,
}

/// The stream of dead letters, as it was when it was opened: a scan does not chase letters
/// that come later, such as those of a replay that failed.
#[derive(Debug, Clone)]
pub struct Letters {
    pub(super) context: Context,
    info: Info,
    subject_prefix: String,
    signals_prefix: String,
}

impl Letters {
    /// Looks the stream up.
    ///
    /// # Errors
    /// When there is none, or JetStream fails.
    pub async fn open(context: &Context, settings: &Settings) -> Result<Self, LettersError> {
        let name = &settings.dead_letters.name;
        let info = topology::find_stream(context, name).await?;
        Ok(Self {
            context: context.clone(),
            info: info.ok_or_else(|| LettersError::NoStream(name.clone()))?,
            subject_prefix: settings.dead_letters.subject_prefix.clone(),
            signals_prefix: settings.stream.subject_prefix.clone(),
        })
    }

    /// The stream's name.
    pub fn stream(&self) -> &str {
        &self.info.config.name
    }

    /// When the stream was created: nanoseconds since the epoch.
    pub fn created_ns(&self) -> i128 {
        self.info.created.unix_timestamp_nanos()
    }

    /// The last sequence when it was opened.
    pub fn last_sequence(&self) -> u64 {
        self.info.state.last_sequence
    }

    /// Checks that the stream had room for so many records when it was opened, where it would drop
    /// letters for them. One that refuses what finds no room drops none.
    ///
    /// # Errors
    /// [`LettersError::PushesOut`].
    pub fn check_room(&self, records: u64) -> Result<(), LettersError> {
        let (config, state) = (&self.info.config, &self.info.state);
        let fits = |max: i64, taken: u64, more: u64| {
            u64::try_from(max).map_or(true, |max| max == 0 || taken + more <= max)
        };
        let has_room = fits(config.max_messages, state.messages, records)
            && fits(config.max_bytes, state.bytes, records * RECORD_BYTES_MAX);
        if has_room || config.discard != DiscardPolicy::Old {
            return Ok(());
        }
        Err(LettersError::PushesOut {
            stream: self.stream().to_owned(),
        })
    }

    /// Patterns for the subjects of all letters whose original subjects match `pattern`, and
    /// of some others; none for every letter.
    pub(super) fn filters(&self, pattern: &str) -> Vec<String> {
        let prefixes = Prefixes {
            letters: &self.subject_prefix,
            signals: &self.signals_prefix,
        };
        subject::filters(prefixes, pattern, &self.info.config.subjects)
    }

    /// The subject of the record of a letter's replay.
    pub(super) fn intent_subject(&self, letter: u64) -> String {
        format!(
            "{}.{}.~replay.{letter}",
            self.subject_prefix, self.signals_prefix
        )
    }

    /// Whether a letter's original subject matches a pattern. Of a message that this program
    /// did not write, the own subject tells.
    pub(super) fn matches(&self, head: &Head, pattern: &str) -> bool {
        let own = head.letter_subject.strip_prefix(&self.subject_prefix);
        let own = own.and_then(|rest| rest.strip_prefix('.'));
        let subject = Some(head.subject.as_str()).filter(|subject| !subject.is_empty());
        let subject = subject.or(own);
        subject.is_some_and(|subject| topology::subject_covers(pattern, subject))
    }

    /// Reads the heads of all messages in a range, in order.
    pub fn scan(&self, range: Range) -> Scan<'_> {
        Scan::new(self, range)
    }

    /// The letter that has this sequence, or a part with it.
    ///
    /// # Errors
    /// When there is none, or JetStream fails.
    pub async fn head(&self, sequence: u64) -> Result<Head, LettersError> {
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

    /// The letter with its body.
    ///
    /// # Errors
    /// When it is gone, parts of it are not there, or JetStream fails.
    pub async fn whole(&self, sequence: u64) -> Result<Whole, LettersError> {
        let parts = self.parts(sequence).await?;
        let Some(first) = parts.first() else {
            return Err(self.no_letter(sequence));
        };
        let mut head = head_of(first);
        if parts.len() as u64 != head.part.of {
            return Err(LettersError::Incomplete {
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
        Ok(Whole {
            head,
            body,
            sequences,
        })
    }

    /// Removes a letter and all of its parts; `false` when it was gone already.
    ///
    /// # Errors
    /// When JetStream fails.
    pub async fn remove(&self, head: &Head) -> Result<bool, LettersError> {
        let sequences = if head.part.of > 1 {
            let parts = self.parts(head.sequence).await?;
            parts.iter().map(|part| part.sequence).collect()
        } else {
            vec![head.sequence]
        };
        self.remove_sequences(&sequences).await
    }

    /// Removes the messages of a letter, the first one first: a letter without its first
    /// part is no letter any more.
    ///
    /// # Errors
    /// When JetStream fails.
    pub async fn remove_sequences(&self, sequences: &[u64]) -> Result<bool, LettersError> {
        let mut removed = false;
        for sequence in sequences {
            removed |= stored::remove(&self.context, self.stream(), *sequence).await?;
        }
        Ok(removed)
    }

    /// Removes a part whose letter has lost its first part, which a removal that was
    /// interrupted leaves behind.
    ///
    /// # Errors
    /// When JetStream fails.
    pub async fn remove_orphan(&self, sequence: u64, head: &Head) -> Result<(), LettersError> {
        let first = stored::message(&self.context, self.stream(), head.sequence).await?;
        if first.is_none() {
            stored::remove(&self.context, self.stream(), sequence).await?;
        }
        Ok(())
    }

    async fn message(&self, sequence: u64) -> Result<StoredMessage, LettersError> {
        let found = stored::message(&self.context, self.stream(), sequence).await?;
        found.ok_or_else(|| self.no_letter(sequence))
    }

    /// The parts that are there, in order from the first. Each has a subject of its own;
    /// those of an older version follow each other on one, with other letters in between.
    async fn parts(&self, sequence: u64) -> Result<Vec<StoredMessage>, LettersError> {
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
                Some(letter) => subject::of_part(letter, parts.len() as u64 + 1, of),
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

    pub(super) fn no_letter(&self, sequence: u64) -> LettersError {
        LettersError::NoLetter {
            stream: self.stream().to_owned(),
            sequence,
        }
    }
}

/// What helps where the stream has no room for a record.
fn advice(error: &NotStored) -> &'static str {
    match error {
        NotStored::Publish(error) if has_no_room(error) => {
            "; if the stream is full, raise its max_msgs or max_bytes for the time of the replay, since each letter under way has a record there"
        }
        _ => "",
    }
}

fn head_of(message: &StoredMessage) -> Head {
    let headers = message.headers.as_ref();
    let headers = headers.map(|block| block.readable_headers());
    let mut head = Head::read(
        message.sequence,
        message.time,
        &message.subject,
        &headers.unwrap_or_default(),
    );
    head.bytes = Some(head.body_bytes(message.body.len() as u64));
    head
}
