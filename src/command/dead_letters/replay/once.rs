//! Replaying a letter once, also when it is interrupted and repeated, however much later, and
//! when several do it side by side.
//!
//! Before anything is published, a record beside the letter says so, and which sequence the
//! stream of signals had: the stream of dead letters takes one record of a letter, so one who
//! finds it knows that the message may be published, and looks for it from that sequence on.
//! Who publishes has looked, or written the record, less than half of the stream's duplicate
//! window ago; so two who both found nothing publish within the window, under one id. The
//! record is removed after the letter, and the letter is read after the record is written: one
//! who comes late finds no letter.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::header::NATS_EXPECTED_STREAM;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::stream::Info;
use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::backoff::Backoff;
use crate::dead_letter::{Head, Intended, Intent, Letters, LettersError, NotStored, Whole};
use crate::fault_point::{FaultPoints, Point};
use crate::jetstream::stored::{self, StoredError};
use crate::jetstream::topology::{self, TopologyError};

use super::search::{self, Wanted};

/// Longest line of the protocol, after its verb, that nats-server takes by default.
const CONTROL_LINE_BYTES_MAX: usize = 4096;
/// The lengths of headers and message in such a line, and what is between.
const LENGTHS_BYTES_MAX: usize = 24;
/// Looks for a message that an interrupted replay may have published.
const LOOKS: u32 = 20;
/// Tries of one letter.
const TRIES: u32 = 5;

/// Why one letter stays where it is.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotReplayed {
    #[error(transparent)]
    Letters(#[from] LettersError),
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error("its headers do not name the original subject, so this program did not write it")]
    NoSubject,
    #[error("there is no stream {0} to publish it to")]
    NoStream(String),
    #[error(
        "with the headers of a replay it is larger than the server takes: {0}; raise max_payload for the time of the replay, or export it"
    )]
    TooLarge(PublishError),
    #[error(
        "its subject has {bytes} bytes, and the server's lines (max_control_line, 4 KiB by default) have room for {max} in a publish that is answered; export it"
    )]
    LongSubject {
        /// Bytes of the subject.
        bytes: usize,
        /// Bytes that there is room for.
        max: usize,
    },
    #[error("JetStream did not take it on {subject}: {source}")]
    Publish {
        subject: String,
        source: PublishError,
    },
    #[error(
        "a replay of it was interrupted, and stream {stream} cannot be read to see whether it was published: {what}"
    )]
    Search { stream: String, what: String },
    #[error(
        "a replay of it was interrupted, and stream {stream} no longer has all messages since, so it cannot tell whether it was published; look for it in ClickHouse, then purge the letter, or replay it with --again"
    )]
    Unknown { stream: String },
    #[error(
        "stream {stream} has another message under the id of this replay, sequence {sequence}, and forgets the id after its duplicate window, {} ms; find out who published that message, then replay the letter again",
        .window.as_millis()
    )]
    Another {
        stream: String,
        /// The sequence of the other message.
        sequence: u64,
        window: Duration,
    },
    #[error(
        "stream {stream} has a message under the id of this replay, which cannot be read to see that it is the letter's (the NATS user needs $JS.API.STREAM.MSG.GET.{stream}): {source}"
    )]
    Unread { stream: String, source: StoredError },
    #[error(
        "JetStream is away, or takes longer to answer than a part of the duplicate window of stream {stream}, {} ms",
        .window.as_millis()
    )]
    TooSlow { stream: String, window: Duration },
}

/// Replays letters.
pub(super) struct Replays<'a> {
    letters: &'a Letters,
    context: &'a Context,
    stream: String,
    info: Option<Info>,
    /// A sequence that the stream has by now.
    newest: AtomicU64,
    /// Publishes also what an interrupted replay may have published, where that cannot be told.
    again: bool,
    faults: FaultPoints,
}

/// What is known when a letter is about to be published.
enum Known {
    /// As of then, nobody has published it.
    NotPublished(Instant),
    /// The stream has it.
    Published,
}

impl<'a> Replays<'a> {
    /// Looks up the stream that messages are published to, for so many replays at once.
    pub async fn new(
        letters: &'a Letters,
        context: &'a Context,
        stream: &str,
        again: bool,
        at_once: usize,
        faults: FaultPoints,
    ) -> Result<Self, LettersError> {
        letters.check_room(at_once as u64)?;
        let info = topology::find_stream(context, stream).await?;
        let last = info.as_ref().map_or(0, |info| info.state.last_sequence);
        Ok(Self {
            letters,
            context,
            stream: stream.to_owned(),
            info,
            newest: AtomicU64::new(last),
            again,
            faults,
        })
    }

    /// Replays one letter: publishes it where nobody has, and removes it once that is known.
    pub async fn one(&self, head: Head) -> (u64, Result<(), NotReplayed>) {
        (head.sequence, self.replay(&head).await)
    }

    async fn replay(&self, head: &Head) -> Result<(), NotReplayed> {
        if head.subject.is_empty() {
            return Err(NotReplayed::NoSubject);
        }
        self.check_subject(&head.subject)?;
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        let mut tries = 1;
        loop {
            match self.attempt(head).await {
                Err(error) if tries < TRIES && error.may_pass() => {
                    warn!(letter = head.sequence, %error, "Letter not replayed; it is tried again");
                    sleep(backoff.pause()).await;
                    tries += 1;
                }
                result => return result,
            }
        }
    }

    async fn attempt(&self, head: &Head) -> Result<(), NotReplayed> {
        let Some(info) = &self.info else {
            return Err(NotReplayed::NoStream(self.stream.clone()));
        };
        let begun = Instant::now();
        let created = info.created.unix_timestamp_nanos();
        let after = self.newest.load(Ordering::Relaxed);
        let intended = self
            .letters
            .intend(head.sequence, &self.stream, created, after);
        let (intent, is_first) = match intended.await? {
            Intended::First(intent) => (intent, true),
            Intended::Before(intent) => (intent, false),
        };
        self.faults.reached(Point::ReplayIntended).await;
        // After the record: who has replayed the letter meanwhile has removed it.
        let letter = match self.letters.whole(head.sequence).await {
            Err(error @ LettersError::NoLetter { .. }) => {
                self.letters.remove_sequences(&[intent.sequence]).await?;
                return Err(error.into());
            }
            letter => letter?,
        };
        let id = format!(
            "replay-{}-{}-{}",
            self.letters.stream(),
            self.letters.created_ns(),
            head.sequence
        );
        let window = info.config.duplicate_window;
        let known = match is_first {
            true => Known::NotPublished(begun),
            false => self.look(&letter, &id, &intent, window).await?,
        };
        if let Known::NotPublished(since) = known {
            self.publish(&letter, &id, since, window).await?;
        }
        self.faults.reached(Point::ReplayPublished).await;
        self.letters.remove_sequences(&letter.sequences).await?;
        self.letters.remove_sequences(&[intent.sequence]).await?;
        Ok(())
    }

    /// Looks whether a replay that began before has published the letter's message.
    async fn look(
        &self,
        letter: &Whole,
        id: &str,
        intent: &Intent,
        window: Duration,
    ) -> Result<Known, NotReplayed> {
        let mut first = intent.after + 1;
        // The first look may take long; each of the others begins where the last one ended.
        for _ in 0..LOOKS {
            let since = Instant::now();
            let info = topology::find_stream(self.context, &intent.stream).await?;
            let created = |info: &Info| info.created.unix_timestamp_nanos();
            let info = info.filter(|info| created(info) == intent.stream_created_ns);
            let Some(info) = info.filter(|_| intent.stream == self.stream) else {
                return self.unknown(intent, since);
            };
            let wanted = Wanted {
                stream: &intent.stream,
                subject: &letter.head.subject,
                id,
                first,
                last: info.state.last_sequence,
            };
            let found = search::with_id(self.context, &wanted).await;
            let found = found.map_err(|what| NotReplayed::Search {
                stream: intent.stream.clone(),
                what,
            })?;
            for sequence in found {
                if self.is_message_of(letter, sequence).await? {
                    return Ok(Known::Published);
                }
            }
            // Removed by its age or by an operator, the message may have been there.
            let has_gaps = info.state.deleted_count.is_some_and(|count| count > 0);
            if has_gaps || info.state.first_sequence > intent.after + 1 {
                return self.unknown(intent, since);
            }
            if since.elapsed() < window / 4 {
                return Ok(Known::NotPublished(since));
            }
            first = wanted.last + 1;
        }
        Err(self.too_slow(window))
    }

    fn unknown(&self, intent: &Intent, since: Instant) -> Result<Known, NotReplayed> {
        if self.again {
            return Ok(Known::NotPublished(since));
        }
        Err(NotReplayed::Unknown {
            stream: intent.stream.clone(),
        })
    }

    /// Publishes the message of a letter that nobody had published as of `since`.
    async fn publish(
        &self,
        letter: &Whole,
        id: &str,
        since: Instant,
        window: Duration,
    ) -> Result<(), NotReplayed> {
        let Whole { head, body, .. } = letter;
        let mut headers = head.replay_headers(&body.headers, id);
        headers.insert(NATS_EXPECTED_STREAM, self.stream.as_str());
        // Without a connection, the client would send it whenever there is one again.
        let is_connected = self.context.client().connection_state() == State::Connected;
        if !is_connected || since.elapsed() >= window / 2 {
            return Err(self.too_slow(window));
        }
        let publish = async {
            let subject = head.subject.clone();
            let publish = self
                .context
                .publish_with_headers(subject, headers, body.bytes.clone());
            publish.await?.await
        };
        match publish.await {
            Ok(ack) => {
                self.newest.fetch_max(ack.sequence, Ordering::Relaxed);
                if ack.duplicate && !self.is_message_of(letter, ack.sequence).await? {
                    return Err(NotReplayed::Another {
                        stream: self.stream.clone(),
                        sequence: ack.sequence,
                        window,
                    });
                }
                Ok(())
            }
            Err(source) if source.kind() == PublishErrorKind::MaxPayloadExceeded => {
                Err(NotReplayed::TooLarge(source))
            }
            Err(source) => Err(NotReplayed::Publish {
                subject: head.subject.clone(),
                source,
            }),
        }
    }

    /// Reports whether a message of the stream is the letter's: the id alone does not say so, since
    /// any publisher may choose it.
    async fn is_message_of(&self, letter: &Whole, sequence: u64) -> Result<bool, NotReplayed> {
        let found = stored::message(self.context, &self.stream, sequence).await;
        let found = found.map_err(|source| NotReplayed::Unread {
            stream: self.stream.clone(),
            source,
        })?;
        Ok(found.is_some_and(|found| {
            found.subject == letter.head.subject && found.body == letter.body.bytes
        }))
    }

    fn too_slow(&self, window: Duration) -> NotReplayed {
        NotReplayed::TooSlow {
            stream: self.stream.clone(),
            window,
        }
    }

    /// Refuses a subject over which the server would close the connection, and with it fail
    /// every other replay.
    fn check_subject(&self, subject: &str) -> Result<(), NotReplayed> {
        // The subject of an answer is an inbox with one more token as long as its own.
        let inbox = self.context.client().new_inbox();
        let token = inbox.rsplit('.').next().map_or(0, str::len) + 1;
        let max = CONTROL_LINE_BYTES_MAX.saturating_sub(inbox.len() + token + LENGTHS_BYTES_MAX);
        if subject.len() <= max {
            return Ok(());
        }
        Err(NotReplayed::LongSubject {
            bytes: subject.len(),
            max,
        })
    }
}

impl NotReplayed {
    /// Whether another try, which looks first, may succeed.
    fn may_pass(&self) -> bool {
        let unanswered = |error: &PublishError| {
            let kind = error.kind();
            kind == PublishErrorKind::TimedOut || kind == PublishErrorKind::BrokenPipe
        };
        match self {
            Self::Search { .. } | Self::TooSlow { .. } => true,
            Self::Publish { source, .. } => unanswered(source),
            Self::Letters(LettersError::Intent { source, .. }) => {
                matches!(source, NotStored::Publish(error) if unanswered(error))
            }
            _ => false,
        }
    }
}
